//! What other programs put around a line that they carry: JSON of log pipelines, the journal's forms, times and names of
//! pods. Pure.

use std::borrow::Cow;

use serde_json::Value;

/// The keys under which a message is kept: the journal's, Docker's, rsyslog's and Fluent Bit's, dmesg's; below
/// `jsonPayload` Cloud Logging has the same, and beside it `textPayload`.
const KEYS: [&str; 5] = ["MESSAGE", "log", "message", "msg", "textPayload"];

/// The line within; the line itself where nothing is around it; none if it is JSON that is broken.
pub fn unwrapped(line: &str) -> Option<Cow<'_, str>> {
    // Of `json-seq` and `json-sse`.
    let line = line.strip_prefix('\x1e').unwrap_or(line);
    let line = line.strip_prefix("data: ").unwrap_or(line);
    if line.starts_with("{\"") || line.starts_with("{ \"") || line == "{}" {
        return object(line);
    }
    let trimmed = line.trim_start();
    if let Some(message) = trimmed.strip_prefix("MESSAGE=") {
        return Some(Cow::Borrowed(message));
    }
    Some(member(trimmed).map_or(Cow::Borrowed(line), Cow::Owned))
}

fn object(line: &str) -> Option<Cow<'_, str>> {
    // Most of a journal is of others.
    let may_be = ["1326", "SECCOMP", "SYSCALL", "audit", ":["];
    let keyed = KEYS.iter().any(|key| line.contains(key));
    if !keyed && !may_be.iter().any(|part| line.contains(part)) {
        return Some(Cow::Borrowed(""));
    }
    let entry: Value = serde_json::from_str(line).ok()?;
    let message = message(&entry).or_else(|| message(entry.get("jsonPayload")?));
    Some(Cow::Owned(message.unwrap_or_default()))
}

fn message(entry: &Value) -> Option<String> {
    KEYS.iter().find_map(|key| text(entry.get(key)?))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim_end_matches(['\n', '\r']).to_owned()),
        // What is not plain text the journal writes as a list of bytes.
        Value::Array(bytes) => {
            let bytes: Option<Vec<u8>> = bytes
                .iter()
                .map(|b| b.as_u64().and_then(|b| u8::try_from(b).ok()))
                .collect();
            Some(String::from_utf8_lossy(&bytes?).into_owned())
        }
        _ => None,
    }
}

/// `"msg": "...",`: a member of an object that has many lines, as of `dmesg --json` and `journalctl -o json-pretty`.
fn member(line: &str) -> Option<String> {
    let (key, value) = line.strip_prefix('"')?.split_once('"')?;
    if !KEYS.contains(&key) {
        return None;
    }
    let value = value.trim_start().strip_prefix(':')?.trim();
    let value = value.strip_suffix(',').unwrap_or(value);
    text(&serde_json::from_str(value).ok()?)
}

/// The line without what a runtime, `kubectl logs`, compose or syslog put before it: times in RFC 3339, `stdout F`,
/// `[pod/web-0/app]`, `web-0 app`, `web-1  |`, `Nov 28 22:58:11 node1 strace[123]:`.
pub fn without_prefix(line: &str) -> &str {
    let mut line = line;
    loop {
        let next = pod(line)
            .or_else(|| time(line))
            .or_else(|| compose(line))
            .or_else(|| syslog(line))
            .or_else(|| stern(line));
        match next {
            Some(rest) => line = rest,
            None => return line,
        }
    }
}

fn pod(line: &str) -> Option<&str> {
    let (_, rest) = line.strip_prefix("[pod/")?.split_once("] ")?;
    Some(rest)
}

/// `2026-11-28T22:58:11.123456789Z `, and the stream of a CRI log behind it.
fn time(line: &str) -> Option<&str> {
    let (time, rest) = line.split_once(' ')?;
    let shape = time.as_bytes();
    let is_time = shape.len() >= 20
        && shape[..4].iter().all(u8::is_ascii_digit)
        && (shape[4], shape[7], shape[10], shape[13]) == (b'-', b'-', b'T', b':');
    let streams = ["stdout F ", "stderr F ", "stdout P ", "stderr P "];
    let stream = |rest: &'_ str| {
        streams
            .iter()
            .find(|s| rest.starts_with(**s))
            .map_or(0, |s| s.len())
    };
    is_time.then(|| &rest[stream(rest)..])
}

/// A name, spaces, a bar: strace writes no bar before a call's bracket.
fn compose(line: &str) -> Option<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let rest = line.trim_start_matches(is_name);
    let is_named = rest.len() < line.len();
    rest.trim_start().strip_prefix("| ").filter(|_| is_named)
}

/// `Nov 28 22:58:11 node1 strace[123]: ` or, in other clothes of the journal's, anything before `NAME[123]: `.
fn syslog(line: &str) -> Option<&str> {
    const MONTHS: [&str; 12] = [
        "Jan ", "Feb ", "Mar ", "Apr ", "May ", "Jun ", "Jul ", "Aug ", "Sep ", "Oct ", "Nov ",
        "Dec ",
    ];
    let dated = MONTHS.iter().any(|month| line.starts_with(month));
    // Neither a call nor a text comes before it.
    let end = line.find(['(', '"']).unwrap_or(line.len());
    let tag = &line[..line[..end].find("]: ")?];
    let rest = &line[tag.len() + "]: ".len()..];
    let (before, pid) = tag.rsplit_once('[')?;
    let is_tag = pid.bytes().all(|b| b.is_ascii_digit()) && !pid.is_empty();
    (is_tag && (dated || before.split(' ').count() == 2)).then_some(rest)
}

/// A pod and a container, or a namespace and these, as stern writes them: nothing but what tracers begin lines with may follow.
fn stern(line: &str) -> Option<&str> {
    let is_trace = |rest: &str| {
        let starts = ["[pid ", "<... ", "+++ ", "--- ", "strace: "];
        let is_word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_';
        let word = rest.as_bytes().iter().take_while(|b| is_word(b)).count();
        starts.iter().any(|start| rest.starts_with(start))
            || rest.starts_with(|c: char| c.is_ascii_digit())
            || word > 0 && rest.as_bytes().get(word) == Some(&b'(')
    };
    let mut rest = line;
    for words in 1..=3 {
        let (name, after) = rest.split_once(' ')?;
        let is_of_name =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if !name.bytes().all(is_of_name) || !name.bytes().any(|b| b.is_ascii_lowercase()) {
            return None;
        }
        rest = after;
        if words > 1 && is_trace(rest) {
            return Some(rest);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_out_of_what_carries_it() {
        for (line, want) in [
            ("plain", Some("plain")),
            (r#"{"log":"a \"b\"\n","stream":"stdout"}"#, Some("a \"b\"")),
            (r#"{"message":"a"}"#, Some("a")),
            (r#"{"msg":"a"}"#, Some("a")),
            (
                r#"{"jsonPayload":{"MESSAGE":"a"},"insertId":"1"}"#,
                Some("a"),
            ),
            (r#"{"textPayload":"a"}"#, Some("a")),
            ("\x1e{\"MESSAGE\":\"a\"}", Some("a")),
            (r#"data: {"MESSAGE":[97,27]}"#, Some("a\x1b")),
            (
                "\t\"MESSAGE\" : \"SECCOMP comm=\\\"a\\\"\",",
                Some("SECCOMP comm=\"a\""),
            ),
            (r#"         "msg": "a""#, Some("a")),
            (r#""pri": "a""#, Some(r#""pri": "a""#)),
            ("    MESSAGE=SECCOMP a", Some("SECCOMP a")),
            (r#"{"SYSLOG":1}"#, Some("")),
            (r#"{"MESSAGE":"cut off"#, None),
            (
                "{sa_handler=0x55}, NULL, 8) = 0",
                Some("{sa_handler=0x55}, NULL, 8) = 0"),
            ),
        ] {
            assert_eq!(unwrapped(line).as_deref(), want, "{line}");
        }
    }

    #[test]
    fn prefixes_are_cut_off() {
        for (line, want) in [
            (
                "2026-11-28T22:58:11.123456789Z getpid() = 1",
                "getpid() = 1",
            ),
            (
                "2026-11-28T22:58:11.1+00:00 stderr F getpid() = 1",
                "getpid() = 1",
            ),
            (
                "[pod/web-0/app] 2026-11-28T22:58:11.1Z 12 getpid() = 1",
                "12 getpid() = 1",
            ),
            ("web-1  | 12 getpid() = 1", "12 getpid() = 1"),
            (
                "Nov 28 22:58:11 node1 strace[123]: getpid() = 1",
                "getpid() = 1",
            ),
            ("web-0 app 12 getpid() = 12", "12 getpid() = 12"),
            (
                "shop web-0.x app 2026-11-28T22:58:11.1Z getpid() = 12",
                "getpid() = 12",
            ),
            (
                "web-0 app <... read resumed>) = 0",
                "<... read resumed>) = 0",
            ),
            ("hello from the program", "hello from the program"),
            ("read 12 3 write(", "read 12 3 write("),
            ("[pid 12] getpid() = 1", "[pid 12] getpid() = 1"),
            (
                "open(\"a\", O_RDONLY| O_CLOEXEC) = 3",
                "open(\"a\", O_RDONLY| O_CLOEXEC) = 3",
            ),
            ("write(1, \"x[1]: \", 6) = 6", "write(1, \"x[1]: \", 6) = 6"),
            ("12 22:58:11 getpid() = 1", "12 22:58:11 getpid() = 1"),
        ] {
            assert_eq!(without_prefix(line), want, "{line}");
        }
    }
}
