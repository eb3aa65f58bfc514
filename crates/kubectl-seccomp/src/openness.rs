//! How much of the kernel a profile leaves open: its syscalls counted by what happens to them, all of them and by the engine's groups.

use super::html::{Block, Share, Tone};
use super::view::{CallEffect, View};
use seccomp_profile::{Action, Arch, Syscall, group, groups};

/// Syscalls by what happens to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Openness {
    pub open: usize,
    pub logged: usize,
    /// It depends on the arguments.
    pub conditional: usize,
    pub stopped: usize,
}

/// The calls of a group that an architecture has.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// With its `@`; `(in no group)` for the rest.
    pub name: &'static str,
    pub openness: Openness,
    pub stopped: Vec<&'static str>,
    pub conditional: Vec<&'static str>,
}

impl Openness {
    /// Of all syscalls.
    pub fn of(view: &View, arch: Arch) -> Self {
        let rows = view.rows(arch);
        Self::count(rows.iter().map(|(_, effect)| effect))
    }

    fn count<'a>(effects: impl Iterator<Item = &'a CallEffect<'a>>) -> Self {
        let mut openness = Self::default();
        for effect in effects {
            *match effect {
                CallEffect::Always(Action::Allow) => &mut openness.open,
                CallEffect::Always(Action::Log) => &mut openness.logged,
                CallEffect::Always(_) => &mut openness.stopped,
                CallEffect::ByArguments(_) => &mut openness.conditional,
            } += 1;
        }
        openness
    }

    /// As parts of a bar, that which is open first.
    pub fn shares(self) -> Vec<Share> {
        let numbers = [self.open, self.logged, self.conditional, self.stopped];
        let words = WORDS.into_iter().zip(numbers);
        words
            .map(|((tone, word), number)| Share { tone, number, word })
            .collect()
    }
}

const WORDS: [(Tone, &str); 4] = [
    (Tone::Plain, "open"),
    (Tone::Note, "logged"),
    (Tone::Warn, "by arguments"),
    (Tone::Good, "stopped"),
];

/// What the colours of [`Openness::shares`] mean.
pub fn legend() -> Block {
    Block::Legend(WORDS.to_vec())
}

/// The same by groups of calls; those without a call on this architecture are left out.
pub fn by_group(view: &View, arch: Arch) -> Vec<Group> {
    let rows = view.rows(arch);
    let of = |name, is_in: &dyn Fn(Syscall) -> bool| {
        let rows: Vec<_> = rows.iter().filter(|(call, _)| is_in(*call)).collect();
        let named = |test: fn(&CallEffect<'_>) -> bool| {
            let rows = rows.iter().filter(|(_, effect)| test(effect));
            let mut names: Vec<_> = rows.map(|(call, _)| call.name()).collect();
            names.sort_unstable();
            names
        };
        Group {
            name,
            openness: Openness::count(rows.iter().map(|(_, effect)| effect)),
            stopped: named(
                |effect| matches!(effect, CallEffect::Always(action) if !action.is_permitted()),
            ),
            conditional: named(|effect| matches!(effect, CallEffect::ByArguments(_))),
        }
    };
    let known: Vec<_> = groups()
        .filter_map(|name| Some((name, group(name)?)))
        .collect();
    let in_none = |call| !known.iter().any(|(_, calls)| calls.contains(&call));
    let found = known
        .iter()
        .map(|(name, calls)| of(*name, &|call| calls.contains(&call)))
        .chain(std::iter::once(of("(in no group)", &in_none)));
    found
        .filter(|group| group.openness != Openness::default())
        .collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use seccomp_profile::{
        CapabilitySet, KernelVersion, Loader, Profile, Runtime, Target, builtin,
    };

    /// A built-in for a node of amd64.
    pub fn resolved(name: &str) -> Profile {
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        };
        builtin(name).unwrap().resolve(&target)
    }

    fn view(name: &str) -> View {
        let profile = resolved(name);
        View::from_profile(&profile, Arch::X86_64, Loader::any(Runtime::Runc)).unwrap()
    }

    #[test]
    fn every_call_is_counted_once_and_stands_in_a_group() {
        let view = view("runtime-default");
        let all = Openness::of(&view, Arch::X86_64);
        let sum = all.open + all.logged + all.conditional + all.stopped;
        assert_eq!(sum, view.rows(Arch::X86_64).len());
        assert!(
            all.open > 250 && all.stopped > 30 && all.conditional > 0,
            "{all:?}"
        );
        let groups = by_group(&view, Arch::X86_64);
        let named = |name| groups.iter().find(|group| group.name == name).unwrap();
        assert_eq!(named("@reboot").openness.stopped, 3);
        assert_eq!(
            named("@reboot").stopped,
            ["kexec_file_load", "kexec_load", "reboot"]
        );
        assert_eq!(named("@network-io").conditional, ["socket"]);
        assert_eq!(named("@chmod").openness.open, 4);
    }
}
