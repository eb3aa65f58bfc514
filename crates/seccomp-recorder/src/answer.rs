//! What is answered to a call: what the profile that a filter stands on would do with it; and of which arguments values are kept. Both
//! come with the filter's descriptor, so that whoever has the one has the other.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use seccomp_profile::{
    Action, Arch, ArgIndex, Arguments, CapabilitySet, Errno, KernelVersion, Model, Profile,
    Syscall, Target, parse,
};

use crate::sys::Notification;

/// The longest text of a [`Standing`]: runtime-default's has a third of it.
pub const MAX_STANDING: usize = 20 << 10;

/// The profile that a filter stands on and the arguments whose values are kept, as JSON; empty where nothing is asked about but what is let happen. Clones share it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Standing(Arc<str>);

/// What a filter asks about, of what the profile says that it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Asked {
    /// What is let happen, and what is refused.
    Both,
    /// What is refused alone.
    Refusals,
    /// What is let happen alone.
    Permissions,
}

/// What a call returns that a signal has interrupted.
const EINTR: u16 = 4;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The kernel makes it.
    Proceed,
    /// It returns this error, and is not made.
    Refuse(u16),
}

/// What a [`Standing`] says.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) answers: Answers,
    /// Arguments whose values are kept beside the [usual](crate::ARGUMENTS) ones.
    pub(crate) kept: Vec<(Syscall, ArgIndex)>,
}

/// What to answer, call by call.
#[derive(Debug)]
pub(crate) enum Answers {
    /// The filter asks about nothing that is to be refused.
    All,
    /// What runc makes of this profile.
    As(Box<Model>),
    /// What runc makes of this profile refuses, and nobody is asked about anything else.
    Refusals(Box<Model>),
    /// What runc makes of this profile lets happen, and nobody is asked about anything else.
    Permissions(Box<Model>),
    /// Nobody knows what is to be let happen.
    None,
}

impl Default for Standing {
    fn default() -> Self {
        Self(Arc::from(""))
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Standing({} bytes)", self.0.len())
    }
}

impl From<String> for Standing {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Standing> for String {
    fn from(standing: Standing) -> Self {
        standing.0.as_ref().to_owned()
    }
}

impl Standing {
    /// The text for a profile in canonical form, if it is short enough to go with a descriptor.
    pub(crate) fn of(
        profile: &Profile,
        kept: &[(Syscall, ArgIndex)],
        asked: Asked,
    ) -> Option<Self> {
        let document: Value = serde_json::from_slice(&profile.to_canonical_json()).ok()?;
        let kept: Vec<_> = kept
            .iter()
            .map(|(call, argument)| json!([call.name(), argument.get()]))
            .collect();
        let text = json!({"arguments": kept, "base": document, "asked": asked}).to_string();
        (text.len() <= MAX_STANDING).then(|| text.into())
    }

    /// As it goes with a descriptor.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Shares the text of an equal one.
    pub(crate) fn share<'a>(&mut self, mut others: impl Iterator<Item = &'a Self>) {
        if let Some(other) = others.find(|other| *other == self) {
            *self = other.clone();
        }
    }

    /// What it says. What cannot be read lets nothing happen.
    pub(crate) fn read(&self) -> Known {
        let text: Value = serde_json::from_str(&self.0).unwrap_or_default();
        let model = || text.get("base").and_then(model);
        let answers = if self.0.is_empty() {
            Answers::All
        } else {
            let asked = text.get("asked").map(Asked::deserialize);
            let known = match asked.and_then(Result::ok) {
                Some(Asked::Refusals) => Answers::Refusals,
                Some(Asked::Permissions) => Answers::Permissions,
                Some(Asked::Both) | None => Answers::As,
            };
            model().map_or(Answers::None, |model| known(Box::new(model)))
        };
        let kept = |pair: &Value| {
            let call = Syscall::named(pair.get(0)?.as_str()?)?;
            Some((call, ArgIndex::new(pair.get(1)?.as_u64()?)?))
        };
        let pairs = text.get("arguments").and_then(Value::as_array);
        Known {
            answers,
            kept: pairs.into_iter().flatten().filter_map(kept).collect(),
        }
    }
}

fn model(document: &Value) -> Option<Model> {
    let listed = document.get("architectures")?.as_array()?.iter();
    let listed: Vec<_> = listed
        .filter_map(|name| Arch::named(name.as_str()?))
        .collect();
    let hosts = Arch::KUBERNETES.iter();
    let hosts = hosts.filter(|host| listed.iter().all(|arch| host.abis().contains(arch)));
    // In a canonical form nothing else depends on the target.
    let target = Target {
        arch: *hosts.min_by_key(|host| host.abis().len())?,
        kernel: KernelVersion::CURRENT,
        capabilities: CapabilitySet::EMPTY,
    };
    parse(document, "").ok()?.resolve(&target).model().ok()
}

impl Answers {
    /// What to answer to this call.
    pub(crate) fn to(&self, call: &Notification) -> Answer {
        let model = match self {
            Self::All => return Answer::Proceed,
            Self::None => return Answer::Refuse(Errno::EPERM.get()),
            Self::As(model) | Self::Refusals(model) | Self::Permissions(model) => model,
        };
        let mut arches = Arch::ALL.iter();
        let Some(arch) = arches.find(|arch| arch.audit_arch() == call.arch) else {
            return Answer::Refuse(Errno::ENOSYS.get());
        };
        match model.decide_under_runc(*arch, call.number, &Arguments::from(call.args)) {
            action if action.is_permitted() && !matches!(self, Self::Refusals(_)) => {
                Answer::Proceed
            }
            Action::Errno(errno) if errno.get() > 0 => Answer::Refuse(errno.get()),
            // The kernel does the rest itself and asks nobody.
            _ => Answer::Refuse(Errno::EPERM.get()),
        }
    }

    /// What to answer to a call that nobody has read: as if a signal had come, so that it is made again, where it may be one to refuse.
    pub(crate) fn to_unread(&self) -> Answer {
        match self {
            Self::All | Self::Permissions(_) => Answer::Proceed,
            Self::As(_) | Self::Refusals(_) | Self::None => Answer::Refuse(EINTR),
        }
    }
}

#[cfg(test)]
mod tests {
    use seccomp_profile::{RUNTIME_DEFAULT, builtin};

    use super::*;

    fn standing(asked: Asked) -> Standing {
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        };
        let base = builtin(RUNTIME_DEFAULT).unwrap().resolve(&target);
        let call = Syscall::named("setsockopt").unwrap();
        Standing::of(&base, &[(call, ArgIndex::new(2).unwrap())], asked).unwrap()
    }

    fn answer(answers: &Answers, arch: Arch, call: &str, first: u64) -> Answer {
        let number = Syscall::named(call).unwrap().number(arch).unwrap();
        answers.to(&Notification {
            id: 1,
            arch: arch.audit_arch(),
            number,
            args: [first, 0, 0, 0, 0, 0],
        })
    }

    #[test]
    fn a_call_gets_what_the_profile_gives_it() {
        let standing = standing(Asked::Both);
        assert!(standing.text().len() < MAX_STANDING / 2, "{standing:?}");
        let Known { answers, kept } = standing.read();
        let said: Vec<_> = kept
            .iter()
            .map(|(c, index)| (c.name(), index.get()))
            .collect();
        assert_eq!(said, [("setsockopt", 2)]);
        let refused = |errno: Errno| Answer::Refuse(errno.get());
        for (arch, call, first, expected) in [
            (Arch::X86_64, "mkdir", 0, Answer::Proceed),
            (Arch::X86_64, "socket", 2, Answer::Proceed),
            (Arch::X86_64, "socket", 40, refused(Errno::EPERM)),
            (Arch::X86_64, "mount", 0, refused(Errno::EPERM)),
            (Arch::X86_64, "clone3", 0, refused(Errno::ENOSYS)),
            // runc's own answer to what is newer than the profile.
            (Arch::X86_64, "fchroot", 0, refused(Errno::ENOSYS)),
            (Arch::X86, "mkdir", 0, Answer::Proceed),
            (Arch::X86, "mount", 0, refused(Errno::EPERM)),
            (Arch::X32, "mkdir", 0, Answer::Proceed),
        ] {
            assert_eq!(
                answer(&answers, arch, call, first),
                expected,
                "{arch} {call}"
            );
        }
        assert_eq!(answers.to_unread(), Answer::Refuse(EINTR));
    }

    #[test]
    fn where_only_refusals_are_asked_about_nothing_is_let_happen() {
        let answers = standing(Asked::Refusals).read().answers;
        for (call, errno) in [
            ("mount", Errno::EPERM),
            ("clone3", Errno::ENOSYS),
            ("mkdir", Errno::EPERM),
        ] {
            let said = answer(&answers, Arch::X86_64, call, 0);
            assert_eq!(said, Answer::Refuse(errno.get()), "{call}");
        }
        assert_eq!(answers.to_unread(), Answer::Refuse(EINTR));
    }

    #[test]
    fn where_only_permissions_are_asked_about_what_nobody_has_read_happens_and_a_refusal_is_refused()
     {
        let answers = standing(Asked::Permissions).read().answers;
        let said = |call| answer(&answers, Arch::X86_64, call, 0);
        assert_eq!(said("mkdir"), Answer::Proceed);
        assert_eq!(said("mount"), Answer::Refuse(Errno::EPERM.get()));
        assert_eq!(answers.to_unread(), Answer::Proceed);
    }

    #[test]
    fn what_cannot_be_read_lets_nothing_happen_and_nothing_lets_all() {
        for wrong in [
            "{",
            "{}",
            "[]",
            r#"{"base": {"architectures": ["SCMP_ARCH_X86_64"]}}"#,
            r#"{"arguments": []}"#,
        ] {
            let answers = Standing::from(wrong.to_owned()).read().answers;
            let said = answer(&answers, Arch::X86_64, "mkdir", 0);
            assert_eq!(said, Answer::Refuse(Errno::EPERM.get()), "{wrong}");
        }
        let all = Standing::default().read().answers;
        assert_eq!(answer(&all, Arch::X86_64, "mount", 0), Answer::Proceed);
        assert_eq!(all.to_unread(), Answer::Proceed);
    }

    #[test]
    fn equal_texts_are_kept_once() {
        let (one, mut other) = (standing(Asked::Both), standing(Asked::Both));
        assert!(!Arc::ptr_eq(&one.0, &other.0));
        other.share([&one].into_iter());
        assert!(Arc::ptr_eq(&one.0, &other.0));
    }
}
