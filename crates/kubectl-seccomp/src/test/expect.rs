//! What a case expects of a call, in words that are short enough to be written by hand.

use std::fmt;
use std::str::FromStr;

use seccomp_profile::{Action, Errno};

/// One action, or one of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The call is made, and nobody hears of it.
    Allow,
    /// The call is made and recorded.
    Log,
    /// Either of these.
    Permitted,
    /// The call is not made, and returns this error; any, if there is none.
    Errno(Option<Errno>),
    /// SIGSYS, which a program may handle.
    Trap,
    /// The thread or the process dies.
    Kill,
    /// The thread dies.
    KillThread,
    /// The process dies.
    KillProcess,
    /// The call is not made, in whatever way.
    Stopped,
    /// A listener decides.
    Notify,
    /// A tracer decides.
    Trace,
}

/// The words without an error in brackets.
const WORDS: [(&str, Expected); 11] = [
    ("allow", Expected::Allow),
    ("log", Expected::Log),
    ("permitted", Expected::Permitted),
    ("errno", Expected::Errno(None)),
    ("trap", Expected::Trap),
    ("kill", Expected::Kill),
    ("kill-thread", Expected::KillThread),
    ("kill-process", Expected::KillProcess),
    ("stopped", Expected::Stopped),
    ("notify", Expected::Notify),
    ("trace", Expected::Trace),
];

impl Expected {
    /// The words that may be written.
    pub fn words() -> impl Iterator<Item = &'static str> {
        WORDS.iter().map(|(word, _)| *word)
    }

    /// Whether an action is what is expected.
    pub fn is_met_by(self, action: Action) -> bool {
        match self {
            Self::Allow => action == Action::Allow,
            Self::Log => action == Action::Log,
            Self::Permitted => action.is_permitted(),
            Self::Errno(None) => matches!(action, Action::Errno(_)),
            Self::Errno(Some(errno)) => action == Action::Errno(errno),
            Self::Trap => action == Action::Trap,
            Self::Kill => matches!(action, Action::KillThread | Action::KillProcess),
            Self::KillThread => action == Action::KillThread,
            Self::KillProcess => action == Action::KillProcess,
            Self::Stopped => action.refuses(),
            Self::Notify => action == Action::Notify,
            Self::Trace => matches!(action, Action::Trace(_)),
        }
    }
}

impl FromStr for Expected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, expected)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*expected);
        }
        let errno = text
            .strip_prefix("errno(")
            .and_then(|rest| rest.strip_suffix(')'));
        if let Some(errno) = errno {
            let errno = self::errno(errno).ok_or_else(|| {
                format!("{errno:?} is no error; write a name such as EPERM, or a number up to 4094")
            })?;
            return Ok(Self::Errno(Some(errno)));
        }
        let words: Vec<_> = Self::words().collect();
        Err(format!(
            "{text:?} is nothing that can be expected; write one of {}",
            words.join(", ")
        ))
    }
}

/// The error of that number, or of that name as most architectures have it.
fn errno(text: &str) -> Option<Errno> {
    let all = || (0..=u64::from(Errno::MAX)).filter_map(Errno::new);
    match text.parse() {
        Ok(number) => Errno::new(number),
        Err(_) => all().find(|errno| errno.name() == Some(text)),
    }
}

/// As it is written.
impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Errno(Some(errno)) = self {
            return write!(f, "errno({errno})");
        }
        let word = WORDS.iter().find(|(_, expected)| expected == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

/// An action in the words of a case.
pub fn word(action: Action) -> String {
    match action {
        Action::Allow => Expected::Allow.to_string(),
        Action::Log => Expected::Log.to_string(),
        Action::Errno(errno) => Expected::Errno(Some(errno)).to_string(),
        Action::Trap => Expected::Trap.to_string(),
        Action::KillThread => Expected::KillThread.to_string(),
        Action::KillProcess => Expected::KillProcess.to_string(),
        Action::Notify => Expected::Notify.to_string(),
        Action::Trace(_) => Expected::Trace.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_met_by_its_actions_alone() {
        let enosys = Action::Errno(Errno::ENOSYS);
        let eperm = Action::Errno(Errno::EPERM);
        let all = [
            Action::KillProcess,
            Action::KillThread,
            Action::Trap,
            eperm,
            enosys,
            Action::Notify,
            Action::Trace(Errno::EPERM),
            Action::Log,
            Action::Allow,
        ];
        for (word, met) in [
            ("allow", &[Action::Allow][..]),
            ("log", &[Action::Log]),
            ("permitted", &[Action::Log, Action::Allow]),
            ("errno", &[eperm, enosys]),
            ("errno(ENOSYS)", &[enosys]),
            ("errno(1)", &[eperm]),
            ("trap", &[Action::Trap]),
            ("kill", &[Action::KillProcess, Action::KillThread]),
            ("kill-thread", &[Action::KillThread]),
            ("kill-process", &[Action::KillProcess]),
            (
                "stopped",
                &[
                    Action::KillProcess,
                    Action::KillThread,
                    Action::Trap,
                    eperm,
                    enosys,
                ],
            ),
            ("notify", &[Action::Notify]),
            ("trace", &[Action::Trace(Errno::EPERM)]),
        ] {
            let expected: Expected = word.parse().unwrap();
            let found: Vec<_> = all
                .into_iter()
                .filter(|action| expected.is_met_by(*action))
                .collect();
            assert_eq!(found, met, "{word}");
        }
    }

    #[test]
    fn words_are_read_as_they_are_written_and_others_are_refused() {
        for word in Expected::words().chain(["errno(ENOSYS)", "errno(0)"]) {
            assert_eq!(word.parse::<Expected>().unwrap().to_string(), word);
        }
        for (text, reason) in [
            ("deny", "write one of allow, log,"),
            ("errno(EPREM)", "\"EPREM\" is no error"),
            ("errno(5000)", "\"5000\" is no error"),
        ] {
            let error = text.parse::<Expected>().unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
