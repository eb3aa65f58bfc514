//! The semantics that hand calls to a listener first: what a recording of calls, or of refusals, is made with.

use super::action::Action;
use super::algebra::CARRIERS;
use super::arch::Arch;
use super::arg_set::ArgSet;
use super::decision::{Decision, TooComplex, WorkBudget};
use super::errno::Errno;
use super::oci::Listener;
use super::semantics::Semantics;
use super::syscall::Syscall;

impl Semantics {
    /// Where it takes an action that `is_asked` about, the listener at the socket `path` is notified instead, under the same
    /// conditions; everything else is as before. Calls that are `assumed` stay as they are, and so does `write`, which no runtime lets a
    /// profile notify. Where it is asked about the default, each call of the architectures is named, since runtimes refuse to notify by
    /// default. runc answers `ENOSYS` to calls newer than all that are named; those of them that stay as they are do so by a rule.
    pub fn notified(
        &self,
        is_asked: impl Fn(Action) -> bool,
        is_assumed: impl Fn(Syscall) -> bool,
        path: &str,
        metadata: Option<&str>,
    ) -> Result<Self, TooComplex> {
        let listener = listener(path, metadata);
        self.asking(&is_asked, &is_assumed, &|_| true, &|_, _| true, listener)
    }

    /// As [`Self::notified`], where that leaves everything else as it is through every architecture but X32, which few kernels have.
    /// Nothing is asked about calls that runc answers `ENOSYS` since they are newer than all that are named, nor about a call of which
    /// the arguments to ask about cannot be told from others through every architecture.
    pub fn notified_exactly(
        &self,
        is_asked: impl Fn(Action) -> bool,
        is_assumed: impl Fn(Syscall) -> bool,
        path: &str,
        metadata: Option<&str>,
    ) -> Result<Self, TooComplex> {
        let arches = self.architectures.iter();
        let last: Vec<_> = arches
            .filter(|arch| *arch != Arch::X32)
            .map(|arch| (arch, self.last(arch)))
            .collect();
        // A rule for a carrier would stand above those for what it carries.
        let may_be_named = |call: Syscall| {
            let mut last = last.iter();
            last.all(|(arch, last)| call.number(*arch) <= *last) && !CARRIERS.contains(&call)
        };
        let can_be_told = |call, decision: &Decision| self.can_tell(call, decision);
        let listener = listener(path, metadata);
        self.asking(
            &is_asked,
            &is_assumed,
            &may_be_named,
            &can_be_told,
            listener,
        )
    }

    fn asking(
        &self,
        is_asked: &dyn Fn(Action) -> bool,
        is_assumed: &dyn Fn(Syscall) -> bool,
        may_be_named: &dyn Fn(Syscall) -> bool,
        may_be_asked: &dyn Fn(Syscall, &Decision) -> bool,
        listener: Listener,
    ) -> Result<Self, TooComplex> {
        let mut notified = self.clone();
        let stays = |call: Syscall| call == Syscall::WRITE || is_assumed(call);
        if is_asked(self.default) {
            let is_there = |call: &Syscall| {
                let mut arches = self.architectures.iter();
                arches.any(|arch| call.number(arch).is_some()) && may_be_named(*call)
            };
            for call in Syscall::all().filter(is_there) {
                let action = match self.default {
                    default if default.is_permitted() || !stays(call) => default,
                    _ if self.is_newer(call) => Action::Errno(Errno::ENOSYS),
                    _ => continue,
                };
                let decision = || Decision::always(action);
                notified.calls.entry(call).or_insert_with(decision);
            }
        }
        let ask = |action: Action| {
            if is_asked(action) {
                Action::Notify
            } else {
                action
            }
        };
        let mut budget = WorkBudget::for_profile();
        for (call, decision) in &mut notified.calls {
            if !stays(*call) {
                let mut asked = decision.clone();
                asked.change(&[ArgSet::ALL], ask, &mut budget)?;
                if may_be_asked(*call, &asked) {
                    *decision = asked;
                }
            }
        }
        notified.listener = Some(listener);
        Ok(notified)
    }

    /// Whether the call has a number above those of all calls that are named: that of the machine itself, or else another one.
    fn is_newer(&self, call: Syscall) -> bool {
        let mut arches: Vec<_> = self.architectures.iter().collect();
        arches.sort_by_key(|arch| !arch.is_64_bit());
        let numbers = |arch: &Arch| Some((*arch, call.number(*arch)?));
        let Some((arch, number)) = arches.iter().find_map(numbers) else {
            return false;
        };
        self.last(arch).is_some_and(|last| number > last)
    }

    /// The highest number of those that are named.
    fn last(&self, arch: Arch) -> Option<u32> {
        let named = self.calls.keys();
        named.filter_map(|named| named.number(arch)).max()
    }
}

fn listener(path: &str, metadata: Option<&str>) -> Listener {
    Listener {
        path: path.to_owned(),
        metadata: metadata.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Arguments, CapabilitySet, KernelVersion, Target, parse};

    const AMD64: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion { major: 6, minor: 1 },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };

    fn decide(document: &Value, call: &str, args: [u64; 6]) -> Action {
        let semantics = parse(document, "")
            .unwrap()
            .resolve(&AMD64)
            .semantics()
            .unwrap();
        let is_assumed = |call: Syscall| call.name() == "read";
        let notified = semantics
            .notified(Action::is_permitted, is_assumed, "/run/s.sock", Some("one"))
            .unwrap();
        let profile = notified.profile("spec").unwrap();
        let listener = profile.listener().unwrap();
        assert_eq!(
            (listener.path.as_str(), listener.metadata.as_deref()),
            ("/run/s.sock", Some("one"))
        );
        let number = Syscall::named(call).unwrap().number(Arch::X86_64).unwrap();
        profile
            .model()
            .unwrap()
            .decide(Arch::X86_64, number, &Arguments::from(args))
    }

    #[test]
    fn what_is_let_through_is_asked_about_and_what_is_refused_stays_refused() {
        let document = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {"names": ["read", "write", "mkdir"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["rmdir"], "action": "SCMP_ACT_LOG"},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 2}]},
            ],
        });
        let [first, second] = [[2, 0, 0, 0, 0, 0], [38, 0, 0, 0, 0, 0]];
        for (call, args, action) in [
            ("read", first, Action::Allow),
            ("write", first, Action::Allow),
            ("mkdir", first, Action::Notify),
            ("rmdir", first, Action::Notify),
            ("socket", first, Action::Notify),
            ("socket", second, Action::Errno(Errno::EPERM)),
            ("clone3", first, Action::Errno(Errno::ENOSYS)),
            ("ptrace", first, Action::Errno(Errno::EPERM)),
        ] {
            assert_eq!(decide(&document, call, args), action, "{call}");
        }
    }

    #[test]
    fn where_refusals_are_asked_about_each_is_named_and_what_is_new_stays_unknown() {
        let document = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {"names": ["statx"], "action": "SCMP_ACT_ALLOW"}, {"names": ["bpf"], "action": "SCMP_ACT_KILL"},
            ],
        });
        let semantics = parse(&document, "").unwrap().resolve(&AMD64);
        let semantics = semantics.semantics().unwrap();
        let is_asked = |action| matches!(action, Action::Errno(_));
        let is_assumed = |call: Syscall| ["read", "openat2"].contains(&call.name());
        let notified = semantics.notified(is_asked, is_assumed, "/run/s.sock", None);
        let model = notified.unwrap().profile("").unwrap().model().unwrap();
        for (call, action) in [
            ("statx", Action::Allow),
            ("bpf", Action::KillThread),
            ("mkdir", Action::Notify),
            ("mseal", Action::Notify),
            ("read", Action::Errno(Errno::EPERM)),
            ("write", Action::Errno(Errno::EPERM)),
            // Newer than statx.
            ("openat2", Action::Errno(Errno::ENOSYS)),
        ] {
            let number = Syscall::named(call).unwrap().number(Arch::X86_64).unwrap();
            let said = model.decide_under_runc(Arch::X86_64, number, &Arguments::ZEROS);
            assert_eq!(said, action, "{call}");
        }
    }

    #[test]
    fn what_cannot_be_asked_about_without_changing_more_stays_as_it_is() {
        let document = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [
                {"names": ["read", "write", "statx", "bind"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 0}]},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 0xffff_ffff_u32}]},
                {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": 8}]},
            ],
        });
        let semantics = parse(&document, "").unwrap().resolve(&AMD64);
        let semantics = semantics.semantics().unwrap();
        let is_asked = |action| matches!(action, Action::Errno(_));
        let is_assumed = |call: Syscall| call.name() == "openat";
        let notified = semantics.notified_exactly(is_asked, is_assumed, "/run/s.sock", None);
        let model = notified.unwrap().profile("").unwrap().model().unwrap();
        for (arch, call, action) in [
            (Arch::X86_64, "statx", Action::Allow),
            (Arch::X86_64, "mkdir", Action::Notify),
            (Arch::X86, "mkdir", Action::Notify),
            (Arch::X86_64, "openat", Action::Errno(Errno::EPERM)),
            // Newer than statx; the last one by the number that it has on one of the two.
            (Arch::X86_64, "openat2", Action::Errno(Errno::ENOSYS)),
            (Arch::X86, "openat2", Action::Errno(Errno::ENOSYS)),
            (Arch::X86, "arch_prctl", Action::Errno(Errno::ENOSYS)),
            (Arch::X86_64, "arch_prctl", Action::Errno(Errno::EPERM)),
            (Arch::X86_64, "kill", Action::Notify),
            // Its first argument says that it is socket.
            (Arch::X86, "socketcall", Action::Notify),
            // What is neither of two takes masks of 64 bits, of which programs of 32 bits have but the lower half.
            (Arch::X86_64, "personality", Action::Errno(Errno::EPERM)),
            (Arch::X86, "personality", Action::Errno(Errno::EPERM)),
        ] {
            let number = Syscall::named(call).unwrap().number(arch).unwrap();
            let said = model.decide_under_runc(arch, number, &[1, 1, 0, 0, 0, 0].into());
            assert_eq!(said, action, "{arch} {call}");
        }
        let number = Syscall::SOCKETCALL.number(Arch::X86).unwrap();
        let bind = model.decide_under_runc(Arch::X86, number, &[2, 0, 0, 0, 0, 0].into());
        assert_eq!(bind, Action::Allow);
    }

    #[test]
    fn where_the_default_lets_calls_happen_each_is_named() {
        let document = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_KILL"}],
        });
        for (call, action) in [
            ("mkdir", Action::Notify),
            ("bpf", Action::KillThread),
            ("read", Action::Allow),
            ("write", Action::Allow),
        ] {
            assert_eq!(decide(&document, call, [0; 6]), action, "{call}");
        }
    }
}
