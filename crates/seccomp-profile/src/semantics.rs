//! The semantics of a profile, call by call, and the rules that say them so that libseccomp understands them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::action::Action;
use super::arch::Arch;
use super::arg_set::ArgSet;
use super::condition::{Condition, MAX_CONDITIONAL};
use super::decision::{Decision, TooComplex, WorkBudget};
use super::errno::Errno;
use super::memo::{Memo, remembered};
use super::model::{Clauses, Miscompilation, Model};
use super::oci::{ArchSet, Flags, Listener, Profile, Rule};
use super::problem::{Collector, Path, Problem, Problems};
use super::syscall::Syscall;

/// A profile as decisions instead of rules: what can be changed, combined and compared.
#[derive(Debug, Clone)]
pub struct Semantics {
    pub(super) default: Action,
    pub(super) architectures: ArchSet,
    pub(super) flags: Flags,
    pub(super) listener: Option<Listener>,
    /// All calls that the profile names, also those for which it says what the default says.
    pub(super) calls: BTreeMap<Syscall, Decision>,
}

/// The order of rules: first those without conditions, because libseccomp drops what comes after them for a call; then
/// those with many before those with few, which libseccomp combines better.
type Key = (usize, Vec<Condition>, Action);

/// Conditions of which all hold, and what happens then.
type Clause = (Vec<Condition>, Action);

impl Profile {
    /// What it does, in canonical form: see [`Semantics::profile`]. A profile may compare with numbers of more than 32 bits if runtimes
    /// make the same of what is written.
    pub fn canonical(&self, at: &str) -> Result<Self, Problems> {
        let complex = |error| too_complex(at, error);
        let (written, after) = self.semantics().map_err(complex)?.profile_and_model(at)?;
        let before = self.model().map_err(complex)?;
        if !before.flaws().is_empty() {
            return written.without_wide(at); // what libseccomp combines wrongly is nothing to compare with
        }
        match before.difference(&after) {
            Some((arch, number, _)) => Err(too_wide(at, arch, &name(arch, number))),
            None => Ok(written),
        }
    }

    /// Itself, if no architecture of 32 bits reads another number from it than the one that is written.
    fn without_wide(self, at: &str) -> Result<Self, Problems> {
        self.check_wide(at)?;
        Ok(self)
    }

    fn check_wide(&self, at: &str) -> Result<(), Problems> {
        let is_wide = |rule: &&Rule| rule.conditions.iter().any(Condition::is_wide);
        let mut wide = self.rules.iter().filter(is_wide);
        match wide.find_map(|rule| self.narrow(&rule.syscalls)) {
            Some((arch, call)) => Err(too_wide(at, arch, call.name())),
            None => Ok(()),
        }
    }

    /// One of these calls and an architecture of 32 bits whose programs can make it.
    pub(super) fn narrow(&self, calls: &[Syscall]) -> Option<(Arch, Syscall)> {
        calls.iter().find_map(|call| {
            let mut narrow = self.architectures.iter().filter(|arch| !arch.is_64_bit());
            Some((narrow.find(|arch| call.is_made_through(*arch))?, *call))
        })
    }

    /// Its semantics, to be changed or combined: an error if it does something else on an architecture of 32 bits, since then what is
    /// made of its semantics could let through what it refuses. `at` is the path of what it is about.
    pub fn exact_semantics(&self, at: &str) -> Result<Semantics, Problems> {
        self.check_wide(at)?;
        self.semantics().map_err(|error| too_complex(at, error))
    }

    /// What its rules say. On an architecture of 32 bits it may do something else: see [`Self::exact_semantics`].
    pub fn semantics(&self) -> Result<Semantics, TooComplex> {
        let mut calls = BTreeMap::<_, Clauses>::new();
        for rule in &self.rules {
            for call in &rule.syscalls {
                let clauses = calls.entry(*call).or_default();
                if rule.action != self.default_action {
                    for conditions in rule.alternatives() {
                        clauses.add(conditions, true, rule.action);
                    }
                }
            }
        }
        let mut budget = WorkBudget::for_profile();
        let decide = |(call, clauses): (Syscall, Clauses)| {
            let (decision, _) = clauses.decision(true, self.default_action, &mut budget)?;
            Ok((call, decision))
        };
        Ok(Semantics {
            default: self.default_action,
            architectures: self.architectures,
            flags: self.flags,
            listener: self.listener.clone(),
            calls: calls.into_iter().map(decide).collect::<Result<_, _>>()?,
        })
    }
}

impl Semantics {
    /// The profile in its canonical form: rules sorted, at most one of them for a call and its arguments where their actions
    /// differ, and only such as libseccomp combines to these semantics. An error if there are none; `at` is the path of what it is about.
    ///
    /// What is written counts, not what was asked for: the complement of a mask can have wider numbers than the mask.
    pub fn profile(&self, at: &str) -> Result<Profile, Problems> {
        let (profile, _) = self.profile_and_model(at)?;
        profile.without_wide(at)
    }

    fn profile_and_model(&self, at: &str) -> Result<(Profile, Model), Problems> {
        let mut profile = self.written().map_err(|error| too_complex(at, error))?;
        let mut model = profile.model().map_err(|error| too_complex(at, error))?;
        let is_void =
            |flaw: &Miscompilation| matches!(flaw, Miscompilation::NumberNotLoaded { .. });
        if model.flaws().iter().any(is_void) {
            let mended = self.with_first_calls();
            profile = mended.written().map_err(|error| too_complex(at, error))?;
            model = profile.model().map_err(|error| too_complex(at, error))?;
        }
        let mut problems = Collector::default();
        for flaw in model.flaws() {
            problems.add(&Path::Root(at), || flaw.explained());
        }
        problems.finish((profile, model))
    }

    fn written(&self) -> Result<Profile, TooComplex> {
        let mut conditional = 0;
        let mut budget = WorkBudget::for_profile();
        let mut rules = BTreeMap::<Key, Vec<Syscall>>::new();
        for (call, decision) in &self.calls {
            // That a call is named tells runc that the profile knows it, also where the default is meant.
            let of_call = match decision.constant() {
                Some(action) => vec![(Vec::new(), action)],
                None => settled(decision, self.default, &mut budget)?,
            };
            conditional += of_call
                .iter()
                .map(|(conditions, _)| conditions.len())
                .sum::<usize>();
            if conditional > MAX_CONDITIONAL {
                return Err(TooComplex);
            }
            for (conditions, action) in of_call {
                let order = match conditions.len() {
                    0 => 0,
                    many => 7 - many,
                };
                rules
                    .entry((order, conditions, action))
                    .or_default()
                    .push(*call);
            }
        }
        Ok(Profile {
            default_action: self.default,
            architectures: self.architectures,
            states_architectures: true,
            flags: self.flags,
            listener: self.listener.clone(),
            rules: rules
                .into_iter()
                .map(|((_, conditions, action), syscalls)| Rule {
                    syscalls,
                    conditions,
                    action,
                })
                .collect(),
        })
    }

    /// It, and a rule without conditions for calls that are in every architecture's table and in no kernel, which makes
    /// libseccomp load the number of a call (see [`Miscompilation::NumberNotLoaded`]). The rule says what the kernel says.
    fn with_first_calls(&self) -> Self {
        let action = match Action::Errno(Errno::ENOSYS) {
            action if action == self.default => Action::Errno(Errno::EPERM),
            action => action,
        };
        let mut mended = self.clone();
        for call in UNIMPLEMENTED {
            let decision = || Decision::always(action);
            mended.calls.entry(call).or_insert_with(decision);
        }
        mended
    }
}

/// The rules of a decision, such that reading them and writing them again makes no others.
///
/// The same arguments fall into parts in many ways where ranges and masks overlap, and the parts are what is written.
fn settled(
    decision: &Decision,
    default: Action,
    budget: &mut WorkBudget,
) -> Result<Vec<Clause>, TooComplex> {
    let Some(parts) = decision.divided() else {
        return settle(decision, default, budget);
    };
    // Of what is divided the parts are all that counts.
    let key = (parts.to_vec(), default);
    let weigh = |(parts, _): &Divided, rules: &Vec<Clause>| weight(parts, rules);
    remembered(&SETTLED, key, weigh, budget, |_, budget| {
        settle(decision, default, budget)
    })
}

/// The parts of a decision, and the default.
type Divided = (Vec<(ArgSet, Action)>, Action);

fn weight(parts: &[(ArgSet, Action)], rules: &[Clause]) -> usize {
    let conditions = rules.iter().map(|(of, _)| of.len() + 1);
    conditions.sum::<usize>() + parts.len()
}

thread_local! {
    static SETTLED: RefCell<Memo<Divided, Vec<Clause>>> = RefCell::default();
}

fn settle(
    decision: &Decision,
    default: Action,
    budget: &mut WorkBudget,
) -> Result<Vec<Clause>, TooComplex> {
    const ROUNDS: usize = 8;
    let mut rules = decision.rules(default)?;
    for _ in 0..ROUNDS {
        let mut clauses = Clauses::default();
        for (conditions, action) in &rules {
            clauses.add(conditions, true, *action);
        }
        // What is too complex to be read again is too complex to be written.
        let (again, _) = clauses.decision(true, default, budget)?;
        let again = again.rules(default)?;
        if again == rules {
            break;
        }
        rules = again;
    }
    Ok(rules)
}

/// `afs_syscall` was never there; `nfsservctl` was removed in Linux 3.1. Each architecture has one of them at least.
const UNIMPLEMENTED: [Syscall; 2] = [Syscall::AFS_SYSCALL, Syscall::NFSSERVCTL];

/// Libseccomp compares the lower halves of numbers where arguments have 32 bits, which is not what they say.
fn too_wide(at: &str, arch: Arch, call: &str) -> Problems {
    Problem {
        path: at.to_owned(),
        reason: format!("compares {call} with numbers of more than 32 bits, and {arch} sees their lower halves only"),
        remedy: format!("use numbers of 32 bits and conditions on one argument, or leave {arch} out of architectures"),
    }
    .into()
}

pub(super) fn too_complex(at: &str, error: TooComplex) -> Problems {
    Problem {
        path: at.to_owned(),
        reason: error.to_string(),
        remedy: "use fewer conditions, and such as exclude each other".to_owned(),
    }
    .into()
}

fn name(arch: Arch, number: u32) -> String {
    Syscall::numbered(arch, number).map_or_else(|| number.to_string(), |call| call.to_string())
}

impl Miscompilation {
    /// The call that it is about, if it is about one.
    pub(super) fn call(&self) -> Option<Syscall> {
        match self {
            Self::Refused { call, .. } => Some(*call),
            flaw => Syscall::numbered(flaw.arch(), flaw.number()?),
        }
    }

    /// What is wrong, and what to do.
    pub(super) fn explained(&self) -> (String, String) {
        let arch = self.arch();
        let call = match self {
            Self::Refused { call, .. } => call.to_string(),
            flaw => flaw
                .number()
                .map_or_else(String::new, |number| name(arch, number)),
        };
        match self {
            Self::Overlap { .. } | Self::Refused { .. } => (
                format!("gives {call} two actions for the same arguments on {arch}"),
                format!(
                    "let the conditions exclude each other; where sockets and IPC go through socketcall and ipc, \
                     also with one rule for those, or leave {arch} out of architectures"
                ),
            ),
            Self::Merge { .. } => (
                format!("has conditions on {call} that libseccomp does not combine reliably on {arch}"),
                "use conditions on one argument, or SCMP_CMP_EQ and SCMP_CMP_MASKED_EQ with values of 32 bits".to_owned(),
            ),
            Self::NumberNotLoaded { .. } => (
                format!("is void on {arch}: libseccomp does not load the number of a call if the first one with a rule is not one of that architecture"),
                format!("add a rule without arguments for a call that {arch} has"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{CapabilitySet, KernelVersion, Target, parse};

    const AMD64: Target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };

    fn profile(document: &Value) -> Profile {
        parse(document, "").unwrap().resolve(&AMD64)
    }

    /// The rules of the canonical form of a document that denies by default, one a line.
    fn written(syscalls: &Value, architectures: &[&str]) -> String {
        let document = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures, "syscalls": syscalls});
        let profile = profile(&document).canonical("spec").unwrap();
        let lines = profile.rules.iter().map(|rule| {
            let conditions: Vec<_> = rule.conditions.iter().map(ToString::to_string).collect();
            format!(
                "{} {:?} {}",
                rule.action,
                rule.syscalls,
                conditions.join(", ")
            )
            .trim_end()
            .to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn rules_are_sorted_joined_and_what_is_void_is_gone() {
        let allow = |names: Value, args: Value| json!({"names": names, "action": "SCMP_ACT_ALLOW", "args": args});
        let arg = |op: &str, value: u64| json!({"index": 0, "op": format!("SCMP_CMP_{op}"), "value": value});
        let syscalls = json!([
            allow(json!(["write"]), json!([arg("EQ", 1)])),
            allow(json!(["write", "read"]), json!([])),
            {"names": ["read"], "action": "SCMP_ACT_LOG"},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"},
            allow(json!(["socket"]), json!([arg("GT", 40)])),
            allow(json!(["socket"]), json!([arg("LE", 37)])),
            allow(json!(["socket"]), json!([arg("EQ", 39)])),
            allow(json!(["personality"]), json!([arg("NE", 8)])),
        ]);
        assert_eq!(
            written(&syscalls, &[]),
            "SCMP_ACT_ERRNO(EPERM) [ptrace]\n\
             SCMP_ACT_ERRNO(ENOSYS) [clone3]\n\
             SCMP_ACT_ALLOW [read, write]\n\
             SCMP_ACT_ALLOW [personality] arg0 != 8\n\
             SCMP_ACT_ALLOW [socket] arg0 < 38\n\
             SCMP_ACT_ALLOW [socket] arg0 == 39\n\
             SCMP_ACT_ALLOW [socket] arg0 >= 41"
        );
    }

    #[test]
    fn a_range_between_two_bounds_becomes_masks() {
        // As runtimes read it, two conditions on one argument are two rules.
        let between = json!([{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 1, "op": "SCMP_CMP_GE", "value": 16},
            {"index": 1, "op": "SCMP_CMP_LT", "value": 8},
        ]}]);
        assert_eq!(
            written(&between, &[]),
            "SCMP_ACT_ALLOW [ioctl] arg1 < 8\nSCMP_ACT_ALLOW [ioctl] arg1 >= 16"
        );
    }

    #[test]
    fn a_condition_that_two_overlapping_regions_have_is_written_once() {
        let arg = |index: u8, op: &str, value: u64| json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value});
        let syscalls = json!([
            {"names": ["chown32"], "action": "SCMP_ACT_ALLOW", "args": [arg(0, "NE", 16), arg(1, "EQ", 9), arg(0, "GE", 1)]},
            {"names": ["chown32"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": [
                arg(1, "LT", 1),
                {"index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 38, "valueTwo": 32},
                arg(1, "GE", 16),
            ]},
        ]);
        let written = written(&syscalls, &["SCMP_ARCH_X86"]);
        assert!(!written.contains("[chown32, chown32]"), "{written}");
    }

    #[test]
    fn what_makes_libseccomp_forget_the_number_of_calls_is_mended() {
        let document = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X32"],
            "syscalls": [
                {"names": ["socketcall"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}]},
            ],
        });
        let profile = profile(&document);
        let flaws = profile.model().unwrap().flaws().to_vec();
        assert_eq!(
            flaws,
            [
                Miscompilation::NumberNotLoaded { arch: Arch::X86_64 },
                Miscompilation::NumberNotLoaded { arch: Arch::X32 }
            ]
        );
        let written = profile.canonical("").unwrap();
        assert_eq!(written.model().unwrap().flaws(), []);
        let is_added = |rule: &Rule| rule.syscalls() == UNIMPLEMENTED;
        assert!(written.rules().iter().any(is_added));
        for &arch in Arch::ALL {
            assert!(
                UNIMPLEMENTED.iter().any(|call| call.number(arch).is_some()),
                "{arch}"
            );
        }
    }

    #[test]
    fn what_is_mended_stays_as_it_is_when_it_is_written_again() {
        let document = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{"names": ["socketcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
        });
        let written = profile(&document).canonical("").unwrap();
        let names: Vec<_> = written.rules().iter().flat_map(Rule::syscalls).collect();
        assert_eq!(names.len(), 3, "{written:?}");
        assert_eq!(written.canonical("").as_ref(), Ok(&written));
    }

    #[test]
    fn masks_and_ranges_that_overlap_are_written_the_same_again() {
        // Knuth's numbers: the same profiles each time.
        let mut seed = 1u64;
        let mut below = |bound: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % bound
        };
        let mut written = 0;
        for _ in 0..60 {
            let rules: Vec<_> = (0..4)
                .map(|_| {
                    let action =
                        ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"][usize::from(below(2) == 0)];
                    let op =
                        ["MASKED_EQ", "MASKED_EQ", "LT", "GT"][usize::try_from(below(4)).unwrap()];
                    let mut arg =
                        json!({"index": 1, "op": format!("SCMP_CMP_{op}"), "value": below(64)});
                    if op == "MASKED_EQ" {
                        arg["valueTwo"] = below(64).into();
                    }
                    json!({"names": ["ioctl"], "action": action, "args": [arg]})
                })
                .collect();
            let document = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
            let Ok(document) = parse(&document, "") else {
                continue;
            };
            let profile = document.resolve(&AMD64);
            let Ok(canonical) = profile.canonical("") else {
                continue;
            };
            assert_eq!(canonical.canonical("").as_ref(), Ok(&canonical));
            written += 1;
        }
        assert!(written > 20, "{written}");
    }

    #[test]
    fn masks_that_an_architecture_of_32_bits_would_not_see_are_refused() {
        let allow = |value: u64, at: u8| {
            json!({"names": ["chown32"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": at, "op": "SCMP_CMP_EQ", "value": value},
                {"index": 1 - at, "op": "SCMP_CMP_NE", "value": 0},
            ]})
        };
        let with = |second: &str, at: u8| {
            json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "architectures": ["SCMP_ARCH_X86_64", second],
                "syscalls": [allow(3, at), allow(0, at)],
            })
        };
        // "Not 0" is "at least 1", and that combines behind a value.
        assert!(profile(&with("SCMP_ARCH_X86", 0)).canonical("spec").is_ok());
        let document = profile(&with("SCMP_ARCH_X86", 1));
        let flaws = document.model().unwrap().flaws().to_vec();
        assert!(
            matches!(flaws[..], [Miscompilation::Merge { .. }, ..]),
            "{flaws:?}"
        );
        // Masks are how libseccomp combines them, and 32 of those for "not 0" are for the upper half.
        for said in [
            document.canonical("spec"),
            document.semantics().unwrap().profile("spec"),
        ] {
            let said = said.unwrap_err().to_string();
            assert!(
                said.starts_with("spec: compares chown32 with numbers of more than 32 bits, and SCMP_ARCH_X86 sees "),
                "{said}"
            );
        }
        assert!(profile(&with("SCMP_ARCH_X32", 1)).canonical("spec").is_ok());
    }

    #[test]
    fn two_actions_for_one_way_into_the_kernel_are_refused() {
        // Both rules for `socket` become rules for `socketcall(1)` on i386.
        let syscalls = |first: &str| {
            json!([
                {"names": [first], "action": "SCMP_ACT_ALLOW"},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_NE", "value": 38}]},
                {"names": ["socket"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}]},
            ])
        };
        let document = |first| json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "syscalls": syscalls(first)});
        let canonical = |first| profile(&document(first)).canonical("spec");
        let said = canonical("read").unwrap_err().to_string();
        assert!(
            said.starts_with(
                "spec: gives socketcall two actions for the same arguments on SCMP_ARCH_X86; "
            ),
            "{said}"
        );
        assert!(canonical("socketcall").is_ok());
    }
}
