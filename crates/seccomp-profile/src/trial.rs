//! Two versions of a profile at once: the one in force decides, and what the next would refuse in addition is reported.

use std::collections::BTreeSet;

use super::action::Action;
use super::algebra::CARRIERS;
use super::arch::Arch;
use super::decision::{Decision, TooComplex, WorkBudget};
use super::oci::Listener;
use super::semantics::Semantics;
use super::syscall::Syscall;

/// How the calls are reported that the next version would refuse and the one in force lets happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reporting {
    /// A listener is notified: it has to let them happen.
    Notify,
    /// The kernel makes them and writes them into its audit log.
    Log,
}

/// A profile on trial.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What the version in force refuses is refused as by it; what it lets happen and the next refuses is reported; all else is as by the
    /// version in force. It has no listener yet.
    pub semantics: Semantics,
    /// The calls that are reported, for some arguments or for all.
    pub reported: BTreeSet<Syscall>,
    /// The calls that the next version would refuse in addition, for some arguments or for all, without its being reported.
    pub unreported: BTreeSet<Syscall>,
    /// The architectures that the next version leaves out: nothing is reported of what is called through them.
    pub left_out: Vec<Arch>,
    /// Whether calls that neither version names would be refused in addition.
    pub unnamed: bool,
}

impl Reporting {
    const fn action(self) -> Action {
        match self {
            Self::Notify => Action::Notify,
            Self::Log => Action::Log,
        }
    }
}

/// Whether the next version refuses what is let happen now. What it leaves to a listener is not for this profile to say; a tracer that is
/// not there refuses.
fn is_lost(now: Action, next: Action) -> bool {
    now.is_permitted() && !next.is_permitted() && next != Action::Notify
}

impl Trial {
    /// Whether the next version refuses anything in addition.
    #[must_use]
    pub fn refuses_more(&self) -> bool {
        self.unnamed
            || !(self.reported.is_empty() && self.unreported.is_empty() && self.left_out.is_empty())
    }

    /// Reports nothing of such calls, where the profile cannot be written otherwise.
    fn settle(&mut self, now: &Semantics, are: impl Fn(Syscall, &Decision) -> bool) {
        if self.semantics.profile("").is_ok() {
            return;
        }
        for (call, decision) in &mut self.semantics.calls {
            if self.reported.contains(call) && are(*call, decision) {
                *decision = now.decision_for(*call);
                self.reported.remove(call);
                self.unreported.insert(*call);
            }
        }
    }

    /// What is written where a listener is notified: this one.
    #[must_use]
    pub fn notifying(&self, path: &str, metadata: &str) -> Semantics {
        Semantics {
            listener: Some(Listener {
                path: path.to_owned(),
                metadata: Some(metadata.to_owned()),
            }),
            ..self.semantics.clone()
        }
    }
}

impl Semantics {
    /// Itself in force and `next` on trial. Calls that are `silent` stay as they are, and so do those of which the arguments to report
    /// cannot be told from others through every architecture, and those that carry others. Where the default lets calls happen that the next
    /// version's refuses, a listener is notified of each call of the architectures by its name, since runtimes refuse to notify by default.
    pub fn trial(
        &self,
        next: &Self,
        reporting: Reporting,
        is_silent: impl Fn(Syscall) -> bool,
    ) -> Result<Trial, TooComplex> {
        // A rule that says what the default says is none, and whether a carrier has one matters.
        let mut carriers = CARRIERS.iter();
        let is_free = carriers.all(|carrier| !self.calls.contains_key(carrier));
        if reporting == Reporting::Log && is_free && is_lost(self.default, next.default) {
            let trial = self.trial_over(Action::Log, next, reporting, &is_silent)?;
            if trial.semantics.profile("").is_ok() {
                return Ok(trial);
            }
        }
        self.trial_over(self.default, next, reporting, &is_silent)
    }

    /// Whether a call that the kernel logged, while this version is in force and `next` on trial, was logged for the trial: the next version
    /// would refuse it for some arguments, and this one logs it for none. One that both may be is this version's own.
    #[must_use]
    pub fn is_logged_for(&self, next: &Self, call: Syscall) -> bool {
        let (now, then) = (self.decision_for(call), next.decision_for(call));
        let is_own = now.find(&then, |now, _| now == Action::Log).is_some();
        !is_own && now.find(&then, is_lost).is_some()
    }

    /// The same with a default that is its own, or reports.
    fn trial_over(
        &self,
        default: Action,
        next: &Self,
        reporting: Reporting,
        is_silent: &dyn Fn(Syscall) -> bool,
    ) -> Result<Trial, TooComplex> {
        let unnamed = is_lost(self.default, next.default);
        let mut semantics = Self {
            default,
            ..self.clone()
        };
        let report = |now, next| {
            if is_lost(now, next) {
                reporting.action()
            } else {
                now
            }
        };
        let (mut reported, mut unreported) = (BTreeSet::new(), BTreeSet::new());
        let mut budget = WorkBudget::for_profile();
        for call in self.named_beside(next, unnamed && default == self.default) {
            let (now, then) = (self.decision_for(call), next.decision_for(call));
            let is_concerned = now.find(&then, is_lost).is_some();
            let mut decision = now.clone();
            if is_concerned && !is_silent(call) && !CARRIERS.contains(&call) {
                let both = now.combine(&then, report, &mut budget)?;
                if semantics.can_tell_beside(call, &both) {
                    decision = both;
                    reported.insert(call);
                } else {
                    unreported.insert(call);
                }
            } else if is_concerned && self.is_there(call) {
                unreported.insert(call);
            }
            // A rule for a carrier would stand above those for what it carries, where there is none yet.
            let is_default = decision.constant() == Some(semantics.default);
            if self.calls.contains_key(&call) || !is_default && !CARRIERS.contains(&call) {
                semantics.calls.insert(call, decision);
            }
        }
        let arches = self.architectures.iter();
        let mut trial = Trial {
            semantics,
            reported,
            unreported,
            left_out: arches
                .filter(|arch| !next.architectures.contains(*arch))
                .collect(),
            unnamed,
        };
        // Calls share what libseccomp makes of their conditions in ways that none of them shows alone.
        let is_carried = |call: Syscall| !self.carriers(call).is_empty();
        trial.settle(self, |call, _| is_carried(call));
        trial.settle(self, |_, decision| decision.constant().is_none());
        Ok(trial)
    }

    /// What the architectures pass this call through.
    fn carriers(&self, call: Syscall) -> BTreeSet<Syscall> {
        let through = self.architectures.iter();
        let through = through.filter_map(|arch| Some(call.multiplexed(arch)?.0));
        through.collect()
    }

    /// The calls of which the next version may say something else than this one, or `all` that its architectures have. One that a default
    /// refuses is refused under this version: to name it would make it known.
    fn named_beside(&self, next: &Self, all: bool) -> BTreeSet<Syscall> {
        let mut calls: BTreeSet<_> = self.calls.keys().copied().collect();
        if self.default.is_permitted() {
            calls.extend(next.calls.keys().copied());
        }
        if all {
            calls.extend(Syscall::all().filter(|call| self.is_there(*call)));
        }
        calls
    }

    fn is_there(&self, call: Syscall) -> bool {
        let mut arches = self.architectures.iter();
        arches.any(|arch| call.number(arch).is_some())
    }

    /// Whether the decision for this call can be written so that every architecture makes the same of it.
    pub(super) fn can_tell(&self, call: Syscall, decision: &Decision) -> bool {
        decision.constant().is_some() || self.is_exact_with(call, decision, &CARRIERS)
    }

    /// The same, beside what else comes through the call's carrier: libseccomp puts all of it into the carrier's rules.
    fn can_tell_beside(&self, call: Syscall, decision: &Decision) -> bool {
        let own = self.carriers(call);
        if own.is_empty() {
            return self.can_tell(call, decision);
        }
        let shares = |other: &Syscall| !own.is_disjoint(&self.carriers(*other));
        let beside: Vec<_> = self.calls.keys().copied().filter(shares).collect();
        self.is_exact_with(call, decision, &[&beside[..], &CARRIERS].concat())
    }

    /// Whether this decision for a call, beside what it has for these, is what libseccomp makes of it.
    fn is_exact_with(&self, call: Syscall, decision: &Decision, beside: &[Syscall]) -> bool {
        let others = beside.iter();
        let others = others.filter_map(|other| Some((*other, self.calls.get(other)?.clone())));
        let some = Self {
            listener: None,
            calls: others.chain([(call, decision.clone())]).collect(),
            ..*self
        };
        some.profile("").is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::algebra::tests::{document, read};
    use crate::{Arguments, Model};

    fn call(name: &str) -> Syscall {
        Syscall::named(name).unwrap()
    }

    fn is_assumed(call: Syscall) -> bool {
        ["read", "write"].contains(&call.name())
    }

    fn trial(now: &Value, next: &Value, reporting: Reporting) -> Trial {
        let (now, next) = (read(now).unwrap(), read(next).unwrap());
        now.trial(&next, reporting, is_assumed).unwrap()
    }

    fn names(calls: &BTreeSet<Syscall>) -> Vec<&str> {
        calls.iter().map(|call| call.name()).collect()
    }

    fn allowing(names: &[&str]) -> Value {
        json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
        })
    }

    #[test]
    fn what_is_refused_in_addition_is_reported_and_nothing_else_changes() {
        let now = allowing(&["read", "mkdir", "chmod", "socket"]);
        let mut next = allowing(&["mkdir", "bind"]);
        let few = json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 2}]});
        next["syscalls"].as_array_mut().unwrap().push(few);
        let trial = trial(&now, &next, Reporting::Notify);
        assert!(trial.refuses_more() && !trial.unnamed);
        assert_eq!(names(&trial.unreported), ["read"]);
        let model = trial.notifying("/run/s.sock", "m").profile("").unwrap();
        let model = model.model().unwrap();
        for (name, first, action) in [
            ("read", 0, Action::Allow),
            ("mkdir", 0, Action::Allow),
            ("chmod", 0, Action::Notify),
            ("socket", 2, Action::Allow),
            ("socket", 38, Action::Notify),
            // Allowed by the next version only.
            ("bind", 0, Action::Errno(crate::Errno::EPERM)),
            // Newer than all that the version in force names.
            ("mseal", 0, Action::Errno(crate::Errno::ENOSYS)),
        ] {
            let number = call(name).number(Arch::X86_64).unwrap();
            let said =
                model.decide_under_runc(Arch::X86_64, number, &[first, 0, 0, 0, 0, 0].into());
            assert_eq!(said, action, "{name} {first}");
        }
    }

    #[test]
    fn an_allowlist_is_tried_on_an_open_profile_call_by_call_or_by_the_default() {
        let open =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"]});
        let next = allowing(&["mkdir"]);
        let decide = |trial: &Trial, name: &str| {
            let number = call(name).number(Arch::X86_64).unwrap();
            let profile = trial.semantics.profile("").unwrap();
            let model = profile.model().unwrap();
            model.decide_under_runc(Arch::X86_64, number, &Arguments::ZEROS)
        };
        let notified = trial(&open, &next, Reporting::Notify);
        let logged = trial(&open, &next, Reporting::Log);
        assert!(notified.unnamed && logged.unnamed);
        assert_eq!(notified.semantics.default, Action::Allow);
        for (name, by_listener, by_log) in [
            ("mkdir", Action::Allow, Action::Allow),
            ("mseal", Action::Notify, Action::Log),
            ("read", Action::Allow, Action::Log),
        ] {
            assert_eq!(decide(&notified, name), by_listener, "{name}");
            assert_eq!(decide(&logged, name), by_log, "{name}");
        }
        assert!(names(&notified.unreported).contains(&"read"));
    }

    #[test]
    fn a_version_that_refuses_no_more_is_known_and_one_without_an_architecture_too() {
        let now = allowing(&["read", "mkdir"]);
        let more = trial(&now, &allowing(&["read", "mkdir", "bpf"]), Reporting::Log);
        assert!(!more.refuses_more());
        let mut both = now.clone();
        both["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        let fewer = trial(&both, &now, Reporting::Notify);
        assert!(fewer.refuses_more());
        assert_eq!(fewer.left_out, [Arch::X86]);
    }

    /// How the two versions and the trial answer, each as runc loads it.
    struct Answers {
        now: Action,
        next: Action,
        tried: Action,
    }

    fn answers(models: [&Model; 3], arch: Arch, number: u32, args: &Arguments) -> Answers {
        let [now, next, tried] = models.map(|model| model.decide_under_runc(arch, number, args));
        Answers { now, next, tried }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(250))]
        /// The promise of a trial: what happens today happens, what is refused today is refused as today, and what the next version
        /// would refuse in addition is reported.
        #[test]
        fn nothing_that_happens_today_is_refused_and_what_would_be_is_reported(
            now in document(), next in document(), logs in any::<bool>(),
        ) {
            let model = |semantics: &Semantics| semantics.profile("").ok()?.model().ok();
            let (Some(now), Some(next)) = (read(&now), read(&next)) else { return Ok(()) };
            let (Some(before), Some(after)) = (model(&now), model(&next)) else { return Ok(()) };
            let reporting = if logs { Reporting::Log } else { Reporting::Notify };
            let trial = now.trial(&next, reporting, is_assumed).unwrap();
            let tried = trial.semantics.profile("");
            prop_assert!(tried.is_ok(), "{:?}", tried);
            let tried = tried.unwrap().model().unwrap();
            let reported = reporting.action();
            let calls = ["socket", "socketcall", "bind", "read", "personality", "chown32", "mseal", "mkdir", "shmget", "openat2"];
            let calls = calls.into_iter().map(call);
            let pairs = calls.flat_map(|call| [Arch::X86_64, Arch::X86].map(|arch| (call, arch)));
            for (call, arch) in pairs.filter(|(_, arch)| now.architectures.contains(*arch)) {
                let Some(number) = call.number(arch) else { continue };
                let is_carrier = CARRIERS.contains(&call);
                for first in (0..6).chain([1 << 32, (1 << 32) + 1, u64::MAX]) {
                    for second in [0, 1, 3, 5, 1 << 32, u64::MAX] {
                        let args = [first, second, 0, 0, 0, 0].into();
                        let of = answers([&before, &after, &tried], arch, number, &args);
                        let is_reported = of.tried == reported && of.now.is_permitted();
                        prop_assert!(of.tried == of.now || is_reported, "{arch} {call} {first} {second}: {} became {}", of.now, of.tried);
                        let is_lost = is_lost(of.now, of.next);
                        if is_lost && !is_carrier && next.architectures.contains(arch) && !trial.unreported.contains(&call) {
                            prop_assert_eq!(of.tried, reported, "{} {} {} {}", arch, call, first, second);
                        }
                        if of.tried != of.now && !is_carrier && next.architectures.contains(arch) {
                            prop_assert!(is_lost, "{arch} {call} {first} {second}: {}", of.next);
                        }
                        // Who hears that it was logged knows neither the arguments nor the profile's file.
                        if of.tried == Action::Log && !is_carrier && next.architectures.contains(arch) {
                            let is_own = |now, _| now == Action::Log;
                            let decision = now.decision_for(call);
                            let may_be_own = decision.find(&decision, is_own).is_some();
                            let is_of_trial = now.is_logged_for(&next, call);
                            prop_assert!(if is_of_trial { is_lost } else { may_be_own }, "{arch} {call} {first} {second}");
                        }
                    }
                }
            }
            if !trial.refuses_more() {
                prop_assert_eq!(before.excess_over(&tried), None);
                prop_assert_eq!(tried.excess_over(&before), None);
            }
        }
    }
}
