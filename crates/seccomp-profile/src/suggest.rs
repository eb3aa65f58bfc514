//! The known word that a misspelt one was most likely meant to be.

/// Longer words than any name that the engine knows are not compared.
const MAX_LENGTH: usize = 48;

/// The word among `known` that is closest to `word`, if it is close enough to be worth saying. Case does not count.
pub(super) fn suggestion<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > MAX_LENGTH {
        return None;
    }
    let word = word.trim().to_ascii_lowercase();
    let tolerance = match word.len() {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    known
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= tolerance)
        .map(|candidate| {
            let lower = candidate.to_ascii_lowercase();
            (strsim::osa_distance(&word, &lower), candidate)
        })
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_word_that_was_meant_and_nothing_far_fetched() {
        let known = ["chmod", "fchmod", "openat", "clock_nanosleep"];
        for (word, meant) in [
            ("chmdo", Some("chmod")),
            ("CHMOD", Some("chmod")),
            ("opentat", Some("openat")),
            ("clock_nanosleap", Some("clock_nanosleep")),
            ("xx", None),
            ("", None),
            ("frobnicate", None),
        ] {
            assert_eq!(suggestion(word, known.into_iter()), meant, "{word}");
        }
        assert_eq!(suggestion(&"x".repeat(1 << 20), known.into_iter()), None);
    }
}
