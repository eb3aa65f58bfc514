//! Whether anything is heard at all. The group is silent, without an error, outside the machine's first network namespace, and where the kernel does not
//! audit. So the reader makes a call itself that is logged, and waits for its record.

use std::path::Path;

use crate::sys;

/// How the thread is called that makes the call, and a digit or two: a record says it.
const NAME: &str = "scmp-hearing-";

/// Why nothing is heard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Deaf {
    /// `CAP_AUDIT_READ` lacks.
    #[error("lacks the capability AUDIT_READ in the machine's first user namespace")]
    Forbidden,
    /// There is no such group.
    #[error("the kernel has no audit records ({0})")]
    NoAudit(String),
    /// The kernel does not log what filters ask to be logged.
    #[error(
        "the kernel does not log what profiles ask it to log: kernel.seccomp.actions_logged is \"{0}\"; add `log`"
    )]
    NotLogged(String),
    /// The test could not be made.
    #[error("cannot make the call that proves it ({0})")]
    NoProof(String),
    /// The node is a container.
    #[error(
        "this node is itself a container (its PID namespace is not the machine's first), and the kernel tells containers nothing"
    )]
    Contained,
    /// The record does not come.
    #[error(
        "the kernel sends no records: the reader's network namespace is not the machine's first, auditing is off (audit=0), or its rules exclude SECCOMP"
    )]
    Silent,
    /// Records come, and name other processes.
    #[error(
        "records name processes of another PID namespace than the reader's: it takes hostPID, on a node that is no container"
    )]
    Elsewhere,
}

impl Deaf {
    /// A word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Forbidden => "Forbidden",
            Self::NoAudit(_) => "NoAudit",
            Self::NotLogged(_) => "NotLogged",
            Self::NoProof(_) => "NoProof",
            Self::Contained => "Contained",
            Self::Silent => "Silent",
            Self::Elsewhere => "Elsewhere",
        }
    }

    /// All words.
    pub const WORDS: [&'static str; 7] = [
        "Forbidden",
        "NoAudit",
        "NotLogged",
        "NoProof",
        "Contained",
        "Silent",
        "Elsewhere",
    ];
}

/// The name of the thread that makes the call for the `nth` time.
pub(crate) fn name(nth: u64) -> String {
    format!("{NAME}{:02}", nth % 100)
}

/// Whether it is the name of such a thread.
pub(crate) fn is_own(comm: &str) -> bool {
    comm.strip_prefix('"')
        .is_some_and(|rest| rest.starts_with(NAME))
}

/// Makes the call in a thread of its own, which ends with it.
pub(crate) fn call(nth: u64) -> Result<(), Deaf> {
    let made = std::thread::Builder::new().name(name(nth)).spawn(|| {
        sys::log_own_calls(sys::GETPPID)?;
        sys::getppid();
        Ok(())
    });
    let made = made.and_then(|thread| thread.join().unwrap_or(Ok(())));
    made.map_err(|error: std::io::Error| Deaf::NoProof(error.to_string()))
}

/// Which actions the kernel logs (`kernel.seccomp.actions_logged`); none where it cannot be read.
#[must_use]
pub fn actions_logged(proc: &Path) -> Option<String> {
    let text = std::fs::read_to_string(proc.join("sys/kernel/seccomp/actions_logged")).ok()?;
    Some(text.trim().to_owned())
}

/// Whether this process's PID namespace is the machine's first: its number is the same in every kernel (`PROC_PID_INIT_INO`).
pub(crate) fn is_in_first_pid_namespace() -> Option<bool> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_str()? == "pid:[4026531836]")
}

/// Why the record did not come.
pub(crate) fn silence(actions_logged: Option<&str>, in_first_pid_namespace: Option<bool>) -> Deaf {
    let logs = |text: &&str| !text.split_whitespace().any(|action| action == "log");
    if let Some(text) = actions_logged.filter(logs) {
        return Deaf::NotLogged(text.to_owned());
    }
    match in_first_pid_namespace {
        Some(false) => Deaf::Contained,
        _ => Deaf::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_silence_is_what_is_known_of_it() {
        let all = "kill_process kill_thread trap errno user_notif trace log";
        for (actions, first, expected) in [
            (Some(all), Some(true), Deaf::Silent),
            (Some(all), Some(false), Deaf::Contained),
            (None, None, Deaf::Silent),
            (
                Some("kill_process"),
                Some(false),
                Deaf::NotLogged("kill_process".into()),
            ),
        ] {
            let silence = silence(actions, first);
            assert_eq!(silence, expected);
            assert!(Deaf::WORDS.contains(&silence.word()));
        }
    }

    #[test]
    fn the_thread_is_known_by_its_name() {
        assert!(name(1234).len() <= 15 && is_own(&format!("\"{}\"", name(1234))));
        assert!(!is_own("\"scmp\""));
    }
}
