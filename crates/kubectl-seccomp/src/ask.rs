//! What a command that takes a while, or changes a cluster, says to the user meanwhile, and asks before.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::Failure;

/// How often a line goes to a log.
const SHOW_EVERY: Duration = Duration::from_secs(30);

/// On a terminal in one line that changes; elsewhere now and then a line.
pub fn show(line: &str, shown: &mut Option<Instant>) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
        drop(std::io::stderr().flush());
    } else if shown.is_none_or(|last| last.elapsed() >= SHOW_EVERY) {
        eprintln!("{line}");
        *shown = Some(Instant::now());
    }
}

/// Whether the user says yes. `what` is what --yes would do without asking: `to restart the workload`.
pub fn confirmed(question: &str, what: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!(
            "nobody is there to ask; say --yes {what}"
        )));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}
