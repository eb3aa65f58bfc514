//! Who loads a profile: container runtimes by version, and what they make of the same document.
//!
//! Measured with runc 1.1.5, 1.3.6, 1.4.3 and 1.5.3, crun 1.8.1 and 1.28, and youki 0.7.0; the versions between are those
//! whose change logs name the change.

use std::fmt;
use std::str::FromStr;

use super::action::Action;
use super::arch::Arch;
use super::errno::Errno;
use super::oci::{Flag, Profile};
use super::runtime::Runtime;

/// A container runtime, and its version if that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Loader {
    /// The runtime.
    pub runtime: Runtime,
    /// Its version: major, minor, patch.
    pub version: Option<(u16, u16, u16)>,
}

impl Loader {
    /// A runtime of any version.
    #[must_use]
    pub const fn any(runtime: Runtime) -> Self {
        Self {
            runtime,
            version: None,
        }
    }

    /// Whether it puts a piece before the filter that answers `ENOSYS` to calls newer than the newest that the profile names
    /// (runc `libcontainer/seccomp/patchbpf`); of a runtime without a version, whether its newest does. Until 1.1.15 runc does so
    /// only if the profile states `architectures`.
    #[must_use]
    pub fn answers_new_calls_with_enosys(self, states_architectures: bool) -> bool {
        let generation = Generation::of(self).last();
        generation.is_some_and(|generation| generation.has_stub(states_architectures))
    }

    /// Whether it drops the conditions of a rule after the sixth; of a runtime without a version, whether its newest that was
    /// measured does.
    #[must_use]
    pub fn reads_six_conditions(self) -> bool {
        let newest = self.version.unwrap_or((1, 28, 0));
        self.runtime == Runtime::Crun && newest < (1, 30, 0)
    }
}

impl fmt::Display for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.runtime.name())?;
        match self.version {
            None => Ok(()),
            Some((major, minor, 0)) => write!(f, " {major}.{minor}"),
            Some((major, minor, patch)) => write!(f, " {major}.{minor}.{patch}"),
        }
    }
}

/// `runc`, `runc=1.1.5`, `crun=1.28`; what packagers add to a version is not looked at.
impl FromStr for Loader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('=') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let mut known = Runtime::ALL.iter().copied();
        let runtime = known
            .find(|runtime| runtime.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                let names: Vec<_> = Runtime::ALL.iter().map(|runtime| runtime.name()).collect();
                format!("the runtimes are {}", names.join(", "))
            })?;
        let version = version.map(|version| {
            read_version(version).ok_or_else(|| {
                format!(
                    "{version:?} is no version; write {} or {}=1.2.3",
                    runtime.name(),
                    runtime.name()
                )
            })
        });
        Ok(Self {
            runtime,
            version: version.transpose()?,
        })
    }
}

/// Two or three numbers; `v` before them, and what follows them, is not looked at.
fn read_version(text: &str) -> Option<(u16, u16, u16)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit());
    let mut numbers = text[..end.unwrap_or(text.len())].split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    let patch = match numbers.next() {
        None | Some("") => 0,
        Some(patch) => patch.parse().ok()?,
    };
    Some((major, minor, patch))
}

impl Profile {
    /// Whether it is another profile, and crun takes the two for the same: from 1.7 on it keeps the filters that it has made, and
    /// looks for one by everything but the errors of rules.
    #[must_use]
    pub fn shares_kept_filter_with(&self, other: &Self) -> bool {
        self != other && self.without_errors() == other.without_errors()
    }

    fn without_errors(&self) -> Self {
        let mut plain = self.clone();
        for rule in &mut plain.rules {
            rule.action = match rule.action {
                Action::Errno(_) => Action::Errno(Errno::EPERM),
                Action::Trace(_) => Action::Trace(Errno::EPERM),
                action => action,
            };
        }
        plain
    }

    /// The profile that a runtime takes this one for: crun reads six conditions of a rule and drops the others.
    #[must_use]
    pub fn as_read_by(mut self, loader: Loader) -> Self {
        if loader.reads_six_conditions() {
            for rule in &mut self.rules {
                rule.conditions.truncate(6);
            }
        }
        self
    }
}

/// Versions of a runtime that treat every profile alike, as far as this crate knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation {
    pub(super) runtime: Runtime,
    /// The first version of it.
    since: (u16, u16, u16),
}

/// All of them, by runtime and version.
const GENERATIONS: [Generation; 9] = [
    Generation::new(Runtime::Runc, (0, 0, 0)),
    Generation::new(Runtime::Runc, (1, 1, 15)),
    Generation::new(Runtime::Runc, (1, 2, 0)),
    Generation::new(Runtime::Runc, (1, 2, 8)),
    Generation::new(Runtime::Runc, (1, 4, 1)),
    Generation::new(Runtime::Runc, (1, 5, 0)),
    Generation::new(Runtime::Crun, (0, 0, 0)),
    Generation::new(Runtime::Crun, (1, 30, 0)),
    Generation::new(Runtime::Youki, (0, 0, 0)),
];

impl Generation {
    const fn new(runtime: Runtime, since: (u16, u16, u16)) -> Self {
        Self { runtime, since }
    }

    /// Those that a loader may be of, the oldest first.
    fn of(loader: Loader) -> impl Iterator<Item = Self> {
        let of_runtime = move |generation: &Self| generation.runtime == loader.runtime;
        let known = GENERATIONS.into_iter().filter(of_runtime);
        let newest = loader.version.and_then(|version| {
            let mut older = GENERATIONS.into_iter().rev().filter(of_runtime);
            older.find(|generation| generation.since <= version)
        });
        known.filter(move |generation| newest.is_none_or(|newest| newest == *generation))
    }

    /// See [`Loader::answers_new_calls_with_enosys`].
    pub(super) fn has_stub(self, states_architectures: bool) -> bool {
        self.runtime == Runtime::Runc && (states_architectures || self.since >= (1, 1, 15))
    }

    /// Whether it takes a flag. runc before 1.2 refuses all of them.
    pub(super) fn takes_flag(self, flag: Flag) -> bool {
        self.runtime != Runtime::Runc
            || self.since
                >= match flag {
                    Flag::WaitKillableRecv => (1, 5, 0),
                    _ => (1, 2, 0),
                }
    }

    /// Whether it takes an architecture in `architectures`, as far as that is its own doing and not its libseccomp's.
    pub(super) fn takes_architecture(self, arch: Arch) -> bool {
        self.runtime != Runtime::Runc
            || match arch {
                Arch::Riscv64 => self.since >= (1, 2, 0),
                Arch::Loongarch64 => self.since >= (1, 4, 1),
                _ => true,
            }
    }
}

/// The runtimes that a profile may come to: those that a finding is asked or told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaders {
    /// By the place in `GENERATIONS`.
    generations: u16,
    /// The one that was asked for.
    asked: Option<Loader>,
}

impl Loaders {
    /// All that are known.
    pub const ALL: Self = Self {
        generations: (1 << GENERATIONS.len()) - 1,
        asked: None,
    };

    /// Those of one runtime, or one version of it.
    #[must_use]
    pub fn only(loader: Loader) -> Self {
        let asked = Some(loader);
        let generations = Generation::of(loader).collect::<Vec<_>>();
        Self { asked, ..Self::ALL }.for_which(|generation| generations.contains(&generation))
    }

    /// The one that was asked for; none for all.
    pub(super) fn asked(self) -> Option<Loader> {
        self.asked
    }

    /// Those of which `test` is true.
    pub(super) fn for_which(self, test: impl Fn(Generation) -> bool) -> Self {
        let kept = self.iter().filter(|(_, generation)| test(*generation));
        Self {
            generations: kept.fold(0, |kept, (i, _)| kept | 1 << i),
            ..self
        }
    }

    pub(super) fn is_empty(self) -> bool {
        self.generations == 0
    }

    /// Whether some version of a runtime is among them.
    pub(super) fn contains(self, runtime: Runtime) -> bool {
        self.iter()
            .any(|(_, generation)| generation.runtime == runtime)
    }

    /// The generation among them of which what was measured of that version is true.
    pub(super) fn generation_of(
        self,
        runtime: Runtime,
        version: (u16, u16, u16),
    ) -> Option<Generation> {
        let version = Some(version);
        let measured = Generation::of(Loader { runtime, version }).last();
        let mut mine = self.iter().map(|(_, generation)| generation);
        mine.find(|generation| measured == Some(*generation))
    }

    fn iter(self) -> impl Iterator<Item = (usize, Generation)> {
        let all = GENERATIONS.into_iter().enumerate();
        all.filter(move |(i, _)| self.generations & (1 << i) != 0)
    }

    /// In words, for "with ...": `runc before 1.2, crun and youki`.
    fn words(self) -> Vec<String> {
        if let Some(asked) = self.asked.filter(|asked| asked.version.is_some()) {
            return vec![asked.to_string()];
        }
        let mut words = Vec::new();
        for runtime in Runtime::ALL {
            let of_runtime = |(_, generation): &(usize, Generation)| generation.runtime == *runtime;
            let all: Vec<_> = GENERATIONS
                .into_iter()
                .enumerate()
                .filter(of_runtime)
                .collect();
            let is_in = |i: usize| self.generations & (1 << all[i].0) != 0;
            let mut i = 0;
            while i < all.len() {
                let start = i;
                while i < all.len() && is_in(i) {
                    i += 1;
                }
                if i == start {
                    i += 1;
                    continue;
                }
                let name = runtime.name();
                let since = |i: usize| number(all[i].1.since);
                words.push(match (start == 0, i == all.len()) {
                    (true, true) => name.to_owned(),
                    (true, false) => format!("{name} before {}", since(i)),
                    (false, true) => format!("{name} from {} on", since(start)),
                    (false, false) => {
                        format!("{name} from {} to before {}", since(start), since(i))
                    }
                });
            }
        }
        words
    }
}

fn number((major, minor, patch): (u16, u16, u16)) -> String {
    match patch {
        0 => format!("{major}.{minor}"),
        _ => format!("{major}.{minor}.{patch}"),
    }
}

impl fmt::Display for Loaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words();
        match words.split_last() {
            None => Ok(()),
            Some((last, [])) => f.write_str(last),
            Some((last, others)) => write!(f, "{} and {last}", others.join(", ")),
        }
    }
}

impl From<Loader> for Loaders {
    fn from(loader: Loader) -> Self {
        Self::only(loader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loader_is_a_runtime_and_perhaps_a_version() {
        let read = |text: &str| text.parse::<Loader>().map(|loader| loader.to_string());
        for (text, said) in [
            ("runc", "runc"),
            ("runc=1.1.5", "runc 1.1.5"),
            ("crun=1.28", "crun 1.28"),
            ("youki=v0.7.0", "youki 0.7"),
            ("runc=1.1.5+ds1-1+deb12u1", "runc 1.1.5"),
            ("runc=1.5.0-rc.2", "runc 1.5"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(said), "{text}");
        }
        assert_eq!(
            read("docker"),
            Err("the runtimes are runc, crun, youki".into())
        );
        for wrong in ["runc=", "runc=1", "runc=new", "runc=1.x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_runc_has_the_piece_that_answers_enosys_and_its_1_1_only_where_architectures_are_stated()
    {
        let has = |text: &str, stated| {
            let loader: Loader = text.parse().unwrap();
            loader.answers_new_calls_with_enosys(stated)
        };
        assert!(has("runc=1.1.5", true) && !has("runc=1.1.5", false));
        assert!(has("runc=1.1.15", false) && has("runc=1.3.6", false) && has("runc", false));
        assert!(!has("crun", true) && !has("crun=1.28", true) && !has("youki", true));
    }

    #[test]
    fn the_runtimes_of_which_something_is_true_are_named() {
        let all = Loaders::ALL;
        assert_eq!(all.to_string(), "runc, crun and youki");
        let without_stub = all.for_which(|generation| !generation.has_stub(false));
        assert_eq!(
            without_stub.to_string(),
            "runc before 1.1.15, crun and youki"
        );
        let log = all.for_which(|generation| !generation.takes_flag(Flag::Log));
        assert_eq!(log.to_string(), "runc before 1.2");
        let asked = |text: &str| Loaders::only(text.parse().unwrap());
        assert_eq!(asked("runc=1.3.6").to_string(), "runc 1.3.6");
        let none = asked("runc=1.3.6").for_which(|generation| !generation.has_stub(false));
        assert!(none.is_empty());
        let old = asked("runc").for_which(|generation| !generation.has_stub(false));
        assert_eq!(old.to_string(), "runc before 1.1.15");
        let measured = |text: &str| asked(text).generation_of(Runtime::Runc, (1, 1, 5));
        assert!(measured("runc=1.1.4").is_some() && measured("runc=1.3.6").is_none());
    }

    #[test]
    fn crun_does_not_tell_profiles_by_the_errors_of_their_rules() {
        let profile = |errno: u16, default: u16, call: &str| {
            let document = serde_json::json!({
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": default,
                "syscalls": [
                    {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
                    {"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": errno},
                ],
            });
            crate::parse(&document, "")
                .unwrap()
                .resolve(&crate::Target {
                    arch: Arch::X86_64,
                    kernel: crate::KernelVersion::CURRENT,
                    capabilities: crate::CapabilitySet::RUNTIME_DEFAULT,
                })
        };
        let first = profile(77, 1, "getppid");
        assert!(first.shares_kept_filter_with(&profile(133, 1, "getppid")));
        assert!(!first.shares_kept_filter_with(&profile(77, 1, "getppid")));
        assert!(!first.shares_kept_filter_with(&profile(133, 38, "getppid")));
        assert!(!first.shares_kept_filter_with(&profile(133, 1, "getpid")));
    }

    #[test]
    fn crun_reads_six_conditions_until_it_was_mended() {
        let reads_six = |text: &str| text.parse::<Loader>().unwrap().reads_six_conditions();
        assert!(reads_six("crun") && reads_six("crun=1.8.1") && reads_six("crun=1.28"));
        assert!(!reads_six("crun=1.30") && !reads_six("runc") && !reads_six("youki"));
    }
}
