//! What goes to standard output: bytes, and data as JSON or YAML.

use std::io::Write as _;

use serde::Serialize;

use super::Failure;

/// Writes to standard output.
pub fn print(bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(bytes.as_ref())
        .map_err(Failure::Stdout)
}

/// Indented JSON, with a final line break.
pub fn json(data: &impl Serialize) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(data)? + "\n")
}

/// YAML.
pub fn yaml(data: &impl Serialize) -> Result<String, Failure> {
    Ok(serde_saphyr::to_string(data)?)
}
