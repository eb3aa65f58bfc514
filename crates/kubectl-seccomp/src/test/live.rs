//! The cases of a file by the filter in force in this very process, as `probe` asks it: no call is executed. What is decided is pure; `probe`
//! does the rest.

use super::check::{Failed, Outcome, name};
use super::expect::Expected;
use super::file::{Abi, Case, Suite};
use crate::machine;
use crate::probe::Decision;
use seccomp_profile::{Action, ArgIndex, Arguments, Errno, Syscall};

/// A call to ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which.
    pub call: Syscall,
    /// Its arguments.
    pub args: Arguments,
}

/// The calls that a case asks about, or why it asks about none here.
pub fn plan(case: &Case, suite: &Suite) -> Result<Vec<Asked>, String> {
    let target = case.target.or(&suite.target);
    let arch = machine::HOST;
    let native = arch.native_name();
    if target.arch.is_some() && !target.arches().contains(&arch) {
        return Err(format!("is not about {native}, which this machine is"));
    }
    let is_native = |abi: &Abi| matches!(abi, Abi::Native | Abi::All) || *abi == Abi::One(arch);
    let mut abis = target.abi.iter().flat_map(|abis| abis.iter());
    if target.abi.is_some() && !abis.any(|abi| is_native(&abi.0)) {
        return Err("is about programs of other architectures".into());
    }
    let mut asked = Vec::new();
    for calls in case.call.iter() {
        for call in calls
            .iter()
            .filter(|call| call.syscall.number(arch).is_some())
        {
            let known = call.known(arch)?;
            if known[5].is_some() {
                return Err(format!(
                    "states the sixth argument of {}, which marks a probe",
                    call.syscall
                ));
            }
            // What is not stated may be anything: nothing, and everything.
            for other in [0, u64::MAX] {
                let arguments = ArgIndex::ALL.iter().zip(known);
                let args = arguments.fold(Arguments::ZEROS, |args, (place, value)| {
                    args.with(*place, value.unwrap_or(other))
                });
                asked.push(Asked {
                    call: call.syscall,
                    args,
                });
            }
        }
    }
    if asked.is_empty() {
        return Err(format!("has no call of {native}"));
    }
    Ok(asked)
}

/// What came of a case, with the decisions on its calls.
pub fn judge(case: &Case, asked: &[Asked], decisions: &[Decision]) -> Outcome {
    let mut failures: Vec<Failed> = Vec::new();
    for (asked, decision) in asked.iter().zip(decisions) {
        let reason = match is_met(case.expect.0, *decision) {
            Some(true) => continue,
            Some(false) => format!("is {decision} here"),
            None => format!("is {decision} here, which does not tell"),
        };
        let what = asked.call.name();
        if !failures
            .iter()
            .any(|one| one.what == what && one.reason == reason)
        {
            failures.push(Failed {
                what: what.to_owned(),
                reason,
            });
        }
    }
    Outcome {
        name: name(case),
        calls: asked.len(),
        failures,
        skipped: None,
    }
}

/// Whether what became of a call is what is expected, as far as it can be told: a caller sees no record, and whether it or all of its
/// threads were killed only who waits for it.
fn is_met(expected: Expected, decision: Decision) -> Option<bool> {
    let any = |actions: &[Action]| actions.iter().any(|action| expected.is_met_by(*action));
    match decision {
        Decision::Permitted => Some(any(&[
            Action::Allow,
            Action::Log,
            Action::Trace(Errno::EPERM),
        ])),
        Decision::Errno(errno) => {
            let errno = u64::try_from(errno).ok().and_then(Errno::new)?;
            Some(expected.is_met_by(Action::Errno(errno)))
        }
        Decision::Trapped => Some(any(&[Action::Trap])),
        Decision::Killed => Some(any(&[Action::KillThread, Action::KillProcess])),
        Decision::Untold | Decision::Died(_) | Decision::Silent => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::file::parse;
    use seccomp_profile::Arch;

    fn suite(cases: &str) -> Suite {
        let mut suites = parse(&format!("profile: p\ncases: [{cases}]")).unwrap();
        suites.remove(0)
    }

    #[test]
    fn what_is_not_stated_is_asked_with_nothing_and_with_everything() {
        let suite = suite("{call: [getpid, 'socket(AF_INET, _, 6)'], expect: allow}");
        let asked = plan(&suite.cases[0], &suite).unwrap();
        let args: Vec<[u64; 6]> = asked.iter().map(|asked| asked.args.into()).collect();
        assert_eq!(asked.len(), 4);
        assert_eq!(args[2], [2, 0, 6, 0, 0, 0]);
        assert_eq!(args[3][..4], [2, u64::MAX, 6, u64::MAX]);
    }

    #[test]
    fn what_is_about_another_machine_is_left_out() {
        let other = if machine::HOST == Arch::X86_64 {
            "arm64"
        } else {
            "amd64"
        };
        for target in [format!("arch: {other}"), "abi: [arm]".into()] {
            let suite = suite(&format!(
                "{{call: getpid, expect: allow, target: {{{target}}}}}"
            ));
            assert!(plan(&suite.cases[0], &suite).is_err(), "{target}");
        }
    }

    #[test]
    fn a_decision_meets_what_it_can_be_told_from() {
        for (word, decision, met) in [
            ("allow", Decision::Permitted, Some(true)),
            ("log", Decision::Permitted, Some(true)),
            ("stopped", Decision::Permitted, Some(false)),
            ("errno(EPERM)", Decision::Errno(1), Some(true)),
            ("errno(ENOSYS)", Decision::Errno(1), Some(false)),
            ("kill", Decision::Killed, Some(true)),
            ("trap", Decision::Killed, Some(false)),
            ("stopped", Decision::Trapped, Some(true)),
            ("allow", Decision::Untold, None),
        ] {
            assert_eq!(is_met(word.parse().unwrap(), decision), met, "{word}");
        }
        let suite = suite("{call: getpid, expect: stopped}");
        let asked = plan(&suite.cases[0], &suite).unwrap();
        let outcome = judge(&suite.cases[0], &asked, &[Decision::Permitted; 2]);
        assert_eq!(outcome.failures.len(), 1);
        assert_eq!(outcome.failures[0].reason, "is permitted here");
    }
}
