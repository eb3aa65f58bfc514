//! The words of problems: pieces of the document as a message shows them, and what was most likely meant.

use serde_json::Value;

use crate::suggest::suggestion;

/// A piece of the document as a message shows it: in quotes, without control characters, and not without end.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

pub(super) fn one_of(words: &[&str]) -> String {
    format!("write one of {}", words.join(", "))
}

/// "is not `kind`", and the word that was most likely meant, or else all the words there are.
pub(super) fn not_a(text: &str, kind: &str, words: &[&str], prefix: &str) -> (String, String) {
    let reason = format!("{} is not {kind}", quoted(text));
    let bare = text.trim().to_ascii_uppercase();
    let prefixed = format!("{prefix}{bare}");
    let meant = words
        .iter()
        .copied()
        .find(|word| *word == bare || *word == prefixed);
    let meant = meant
        .or_else(|| suggestion(text, words.iter().copied()))
        .or_else(|| suggestion(&prefixed, words.iter().copied()));
    (
        reason,
        meant.map_or_else(|| one_of(words), |word| format!("write {word:?}")),
    )
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A field's name as a path shows it.
pub(super) fn quoted_key(key: &str) -> String {
    let plain = key.len() <= 40
        && !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-$".contains(&b));
    if plain { key.to_owned() } else { quoted(key) }
}
