//! Lengths of time as Kubernetes' users write them: `90s`, `1h30m`.

use std::fmt::Write as _;
use std::time::Duration;

/// The units, with their seconds.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A year: what is longer is a mistake.
const LONGEST: u64 = 366 * 86_400;

/// Reads a length of time, or says why it is none.
pub fn parse_length(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no length of time; write it as 90s, 10m, 1h30m or 2d");
    let (mut seconds, mut number, mut units) = (0_u64, None, &UNITS[..]);
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            let before: u64 = number.unwrap_or_default();
            let more = before
                .checked_mul(10)
                .and_then(|n| n.checked_add(digit.into()));
            number = Some(more.ok_or_else(wrong)?);
            continue;
        }
        // Each unit once, the larger before the smaller.
        let place = units
            .iter()
            .position(|(unit, _)| *unit == c)
            .ok_or_else(wrong)?;
        let (_, length) = units[place];
        units = &units[place + 1..];
        let part = number.take().and_then(|n: u64| n.checked_mul(length));
        seconds = part
            .and_then(|part| seconds.checked_add(part))
            .ok_or_else(wrong)?;
    }
    if number.is_some() || seconds == 0 || seconds > LONGEST {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}

/// Writes a length of time so that [`parse_length`] reads it.
#[must_use]
pub fn show_length(length: Duration) -> String {
    let mut seconds = length.as_secs();
    let mut text = String::new();
    for (unit, size) in UNITS {
        if seconds >= size {
            let _ = write!(text, "{}{unit}", seconds / size);
            seconds %= size;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("10m", 600),
            ("1h30m", 5400),
            ("2d", 172_800),
            ("1d1s", 86_401),
        ] {
            assert_eq!(
                parse_length(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for wrong in [
            "",
            "s",
            "10",
            "0s",
            "5m5h",
            "1m1m",
            "1.5h",
            "-1s",
            "9999999999999999999d",
            "400d",
            "1H",
        ] {
            assert!(
                parse_length(wrong).is_err_and(|said| said.contains("1h30m")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_length_is_shown_as_it_is_read() {
        for text in ["1m30s", "10m", "1h30m", "2d"] {
            assert_eq!(show_length(parse_length(text).unwrap()), text);
        }
        assert_eq!(show_length(Duration::from_millis(300)), "0s");
    }
}
