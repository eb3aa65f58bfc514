//! What can be the key and the value of a label. An object with another does not exist, so a selector that asks for one never holds.

/// What to write instead of [`not_a_key`].
pub const KEY_REMEDY: &str = "write a name of at most 63 letters, digits, '-', '_' and '.', after a DNS subdomain and '/' if it has a prefix";
/// What to write instead of [`not_a_value`].
pub const VALUE_REMEDY: &str = "write at most 63 letters, digits, '-', '_' and '.', the first and last a letter or digit, or nothing";

/// Why a selector with this key selects nothing.
#[must_use]
pub fn not_a_key(key: &str) -> String {
    format!("{key:?} cannot be the key of a label, so no object has it")
}

/// Why a selector with this value selects nothing.
#[must_use]
pub fn not_a_value(value: &str) -> String {
    format!("{value:?} cannot be the value of a label, so no object has it")
}

/// A label's name or value, when not empty.
fn is_word(word: &str) -> bool {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = word.as_bytes();
    bytes.len() <= 63 && end(bytes.first()) && end(bytes.last()) && bytes.iter().all(|&b| inside(b))
}

/// Whether a label can have this value.
#[must_use]
pub fn is_value(value: &str) -> bool {
    value.is_empty() || is_word(value)
}

/// Whether a label can have this key.
#[must_use]
pub fn is_key(key: &str) -> bool {
    let Some((prefix, name)) = key.split_once('/') else {
        return is_word(key);
    };
    let lower = |label: &str| {
        let end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = label.as_bytes();
        end(bytes.first())
            && end(bytes.last())
            && bytes
                .iter()
                .all(|&b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    prefix.len() <= 253 && prefix.split('.').all(lower) && is_word(name)
}
