//! The semantics that hand what they would let happen to a listener first: what a recording of calls is made with.

use super::action::Action;
use super::arg_set::ArgSet;
use super::decision::{Decision, TooComplex, WorkBudget};
use super::oci::Listener;
use super::semantics::Semantics;
use super::syscall::Syscall;

impl Semantics {
    /// What it lets happen, logged or not, is notified to the listener at the socket `path`, under the same conditions; what it
    /// refuses is refused as before. Calls that are `assumed` stay as they are, and so does `write`, which no runtime lets a profile
    /// notify. Where the default lets calls happen, each call of the architectures is named, since runtimes refuse to notify by default.
    pub fn notified(
        &self,
        is_assumed: impl Fn(Syscall) -> bool,
        path: &str,
        metadata: Option<&str>,
    ) -> Result<Self, TooComplex> {
        let mut notified = self.clone();
        if self.default.is_permitted() {
            let is_there = |call: &Syscall| {
                self.architectures
                    .iter()
                    .any(|arch| call.number(arch).is_some())
            };
            for call in Syscall::all().filter(is_there) {
                let default = || Decision::always(self.default);
                notified.calls.entry(call).or_insert_with(default);
            }
        }
        let ask = |action: Action| {
            if action.is_permitted() {
                Action::Notify
            } else {
                action
            }
        };
        let mut budget = WorkBudget::for_profile();
        for (call, decision) in &mut notified.calls {
            if *call != Syscall::WRITE && !is_assumed(*call) {
                decision.change(&[ArgSet::ALL], ask, &mut budget)?;
            }
        }
        notified.listener = Some(Listener {
            path: path.to_owned(),
            metadata: metadata.map(str::to_owned),
        });
        Ok(notified)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Arch, Arguments, CapabilitySet, Errno, KernelVersion, Target, parse};

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
            .notified(is_assumed, "/run/s.sock", Some("one"))
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
