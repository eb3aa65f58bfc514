//! The profile of a recording: it allows what was recorded, what is assumed and what the container runtime needs, of that no more than
//! the base allows, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::findings::{Call, Findings};
use seccomp_operator_api::MAX_VALUES;
use seccomp_profile::{
    Arch, ArgIndex, Arguments, CapabilitySet, Delivery, Finding, KernelVersion, Problems, Profile,
    Runtime, Semantics, Syscall, Target, every_program_needs, lint_document, parse, parse_slice,
};

/// Conditions are made of so many values at most: a program that shows more may as well show another one tomorrow.
const FEW: usize = 8;

/// The arguments that a profile tells apart, of calls that nobody else than the program makes.
const CONDITIONAL: [(&str, ArgIndex); 3] = [
    ("bpf", ArgIndex::FIRST),
    ("personality", ArgIndex::FIRST),
    ("socket", ArgIndex::FIRST),
];

/// What a profile is made with.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The calls that are not recorded but assumed.
    pub assumed: &'a [Syscall],
    /// Whether what only processes called that were started in a running container is left out.
    pub without_exec: bool,
    /// Arguments by whose values calls are allowed, beside those of which that is always so.
    pub arguments: &'a [(Syscall, ArgIndex)],
}

impl Options<'_> {
    /// The arguments that the profile tells apart, and by how many values at most.
    fn conditional(&self) -> impl Iterator<Item = (Syscall, ArgIndex, usize)> {
        let asked = self
            .arguments
            .iter()
            .map(|(call, index)| (*call, *index, MAX_VALUES));
        let usual = CONDITIONAL.iter().filter_map(|(name, index)| {
            let call = Syscall::named(name)?;
            let is_asked = self.arguments.iter().any(|(asked, _)| *asked == call);
            (!is_asked).then_some((call, *index, FEW))
        });
        asked.chain(usual)
    }
}

/// A profile, and what is to be known of it.
#[derive(Clone, Debug)]
pub struct Made {
    /// The document, as a SeccompProfile has it in `spec.profile`.
    pub document: Value,
    /// How many of its calls were recorded.
    pub recorded: usize,
    /// The calls that it allows though they were not recorded: assumed, or needed by the container runtime.
    pub assumed: BTreeSet<Syscall>,
    /// The calls that it leaves out since only processes made them that were started in a running container.
    pub exec_only: BTreeSet<Syscall>,
    /// The calls that were wanted and that the base refused, some or all of them: the profile refuses these as well.
    pub refused: BTreeMap<Syscall, Refused>,
    /// What the engine's linter says of it.
    pub findings: Vec<Finding>,
}

/// How often a call was wanted in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// How often the base refused it.
    pub refused: i64,
    /// How often it was made, those included.
    pub made: i64,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum NoProfile {
    /// No call is known.
    #[error("nothing has been recorded yet")]
    Nothing,
    /// The base cannot be composed.
    #[error("the base of the recording cannot be used: {0}")]
    Base(String),
    /// The engine refuses it.
    #[error("cannot make a profile of the recording")]
    Refused(#[from] Problems),
    /// It would not do for what was recorded, or allows more than the base: a fault of this program's.
    #[error("the profile made of the recording {0}; this is a defect of the operator")]
    Wrong(String),
}

/// Makes the profile. `base` gives what was recorded under, for a machine of that architecture.
pub fn make(
    findings: &Findings,
    options: Options<'_>,
    base: impl Fn(Arch) -> Result<Profile, String>,
) -> Result<Made, NoProfile> {
    let natives = findings.natives();
    if natives.is_empty() {
        return Err(NoProfile::Nothing);
    }
    let calls: Vec<_> = findings.calls().collect();
    let exec_only: BTreeSet<_> = calls
        .iter()
        .filter(|call| options.without_exec && call.is_exec_only())
        .map(|call| (call.arch, call.syscall))
        .collect();
    let wanted: Vec<_> = calls
        .iter()
        .filter(|call| call.succeeded() && !exec_only.contains(&(call.arch, call.syscall)))
        .copied()
        .collect();
    let mut whole: Option<Semantics> = None;
    for native in &natives {
        let base = base(*native).map_err(NoProfile::Base)?;
        let own = for_machine(*native, &wanted, &options, &base)?;
        whole = Some(match whole {
            Some(others) => others
                .union(&own)
                .map_err(|error| NoProfile::Wrong(error.to_string()))?,
            None => own,
        });
    }
    let profile = whole.ok_or(NoProfile::Nothing)?.profile("profile")?;
    for call in &wanted {
        check(&profile, &options, call)?;
    }
    let recorded: BTreeSet<_> = wanted.iter().map(|call| call.syscall).collect();
    let mut assumed = BTreeSet::new();
    let mut lints = Vec::new();
    for native in &natives {
        assumed.extend(not_recorded(*native, &options));
        let document = parse_slice(&profile.to_canonical_json(), "profile")?;
        for finding in lint_document(&document, Delivery::Rendered, &target(*native), "profile") {
            if !lints.contains(&finding) {
                lints.push(finding);
            }
        }
    }
    let mut refused = BTreeMap::<_, Refused>::new();
    for call in &calls {
        let of_call = refused.entry(call.syscall).or_default();
        of_call.refused = of_call.refused.saturating_add(call.seen.refused);
        of_call.made = of_call.made.saturating_add(call.seen.count());
    }
    refused.retain(|_, of_call| of_call.refused > 0);
    let document = serde_json::from_slice(&profile.to_canonical_json());
    Ok(Made {
        document: document
            .map_err(|error| NoProfile::Wrong(format!("cannot be read back ({error})")))?,
        recorded: recorded.len(),
        assumed: assumed.difference(&recorded).copied().collect(),
        exec_only: exec_only
            .iter()
            .map(|(_, call)| *call)
            .filter(|call| !recorded.contains(call))
            .collect(),
        refused,
        findings: lints,
    })
}

/// The machine that a profile is made for. Nothing in the document depends on kernel and capabilities.
fn target(arch: Arch) -> Target {
    Target {
        arch,
        kernel: KernelVersion::CURRENT,
        capabilities: CapabilitySet::EMPTY,
    }
}

/// What is allowed though nobody has seen it.
fn not_recorded(native: Arch, options: &Options<'_>) -> BTreeSet<Syscall> {
    let runtimes = [Runtime::Runc, Runtime::Crun];
    let assumed = options.assumed.iter().copied();
    let assumed =
        assumed.filter(|call| native.abis().iter().any(|abi| call.number(*abi).is_some()));
    runtimes
        .iter()
        .flat_map(|runtime| runtime.needs(native))
        .chain(every_program_needs(&[native]))
        .chain(assumed)
        .collect()
}

/// With conditions where the values of arguments are few, and without where the engine finds those too many.
fn for_machine(
    native: Arch,
    wanted: &[Call<'_>],
    options: &Options<'_>,
    base: &Profile,
) -> Result<Semantics, NoProfile> {
    let whole = allow_list(native, wanted, options, base, true);
    whole.or_else(|_| allow_list(native, wanted, options, base, false))
}

fn allow_list(
    native: Arch,
    wanted: &[Call<'_>],
    options: &Options<'_>,
    base: &Profile,
    with_conditions: bool,
) -> Result<Semantics, NoProfile> {
    let own: Vec<_> = wanted
        .iter()
        .filter(|call| native.abis().contains(&call.arch))
        .collect();
    let mut names = not_recorded(native, options);
    let mut rules = Vec::new();
    let mut conditional = BTreeSet::new();
    for (call, index, most) in options.conditional() {
        if names.contains(&call) {
            continue;
        }
        if with_conditions && let Some(values) = few_values(&own, call, index, most) {
            conditional.insert(call);
            rules.extend(values.into_iter().map(|value| {
                let condition = json!({"index": index.get(), "op": "SCMP_CMP_EQ", "value": format!("{value:#x}")});
                json!({"names": [call.name()], "action": "SCMP_ACT_ALLOW", "args": [condition]})
            }));
        }
    }
    names.extend(own.iter().map(|call| call.syscall));
    names.retain(|call| !conditional.contains(call));
    let names: Vec<_> = names.iter().map(|call| call.name()).collect();
    rules.push(json!({"names": names, "action": "SCMP_ACT_ALLOW"}));
    let mut arches: BTreeSet<_> = own.iter().map(|call| call.arch).collect();
    arches.insert(native);
    let arches: Vec<_> = arches.iter().map(ToString::to_string).collect();
    let document =
        json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": arches, "syscalls": rules});
    let profile = parse(&document, "profile")?.resolve(&target(native));
    let below = base.exact_semantics("base")?;
    let too_complex = |error: seccomp_profile::TooComplex| NoProfile::Base(error.to_string());
    let both = profile
        .exact_semantics("profile")?
        .intersection(&below)
        .map_err(too_complex)?;
    // Both speak of the same architectures only by chance: what ran was let in by the base.
    let made = both.profile("profile")?;
    if let Some(excess) = made.semantics().map_err(too_complex)?.excess_over(&below) {
        return Err(NoProfile::Wrong(format!(
            "allows more than the base ({excess:?})"
        )));
    }
    Ok(both)
}

/// The values that an argument had, over all architectures of a machine, if they are all known and few.
fn few_values(
    calls: &[&Call<'_>],
    call: Syscall,
    index: ArgIndex,
    most: usize,
) -> Option<BTreeSet<u64>> {
    let mut values = BTreeSet::new();
    for call in calls.iter().filter(|seen| seen.syscall == call) {
        let mut arguments = call.seen.arguments.iter();
        let argument =
            arguments.find(|argument| argument.index == index.get() && !argument.more)?;
        values.extend(argument.numbers());
    }
    (!values.is_empty() && values.len() <= most).then_some(values)
}

/// Whether a call that was made would be let through.
fn check(profile: &Profile, options: &Options<'_>, call: &Call<'_>) -> Result<(), NoProfile> {
    let model = profile
        .model()
        .map_err(|error| NoProfile::Wrong(error.to_string()))?;
    let Some(number) = call.syscall.number(call.arch) else {
        return Ok(());
    };
    let permitted = |args: &Arguments| model.decide(call.arch, number, args).is_permitted();
    let mut conditional = options.conditional();
    let known = conditional.find(|(known, ..)| *known == call.syscall);
    let values = known.and_then(|(_, index, most)| {
        Some((index, few_values(&[call], call.syscall, index, most)?))
    });
    let passes = match values {
        Some((index, values)) => values
            .iter()
            .all(|value| permitted(&Arguments::ZEROS.with(index, *value))),
        // What the base lets through for some arguments was made with such.
        None => {
            let mut decisions = model.calls();
            let decision =
                decisions.find(|(arch, known, _)| (*arch, *known) == (call.arch, number));
            decision.is_some_and(|(_, _, decision)| {
                decision
                    .actions()
                    .iter()
                    .any(|action| action.is_permitted())
            })
        }
    };
    if passes {
        Ok(())
    } else {
        Err(NoProfile::Wrong(format!(
            "would stop {} on {}, which was recorded",
            call.syscall, call.arch
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::tests::report;
    use seccomp_profile::{Action, Errno, RUNTIME_DEFAULT, Severity, builtin};

    fn base(arch: Arch) -> Result<Profile, String> {
        let target = Target {
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
            ..target(arch)
        };
        Ok(builtin(RUNTIME_DEFAULT)
            .ok_or("no built-in")?
            .resolve(&target))
    }

    fn assumed() -> Vec<Syscall> {
        let names = "read write openat close mmap clone clone3 execve exit_group futex prctl ioctl";
        names.split(' ').filter_map(Syscall::named).collect()
    }

    fn made(calls: &Value, without_exec: bool) -> Made {
        let report = report(
            "n",
            &json!([{"pod": "p", "container": "c", "calls": calls}]),
        );
        let options = Options {
            assumed: &assumed(),
            without_exec,
            arguments: &[(
                Syscall::named("setsockopt").unwrap(),
                ArgIndex::new(2).unwrap(),
            )],
        };
        make(&Findings::new([&report]), options, base).unwrap()
    }

    /// What the document does with a call on a machine.
    fn decide(made: &Made, native: Arch, arch: Arch, call: &str, args: [u64; 6]) -> Action {
        let profile = parse(&made.document, "").unwrap().resolve(&target(native));
        let number = Syscall::named(call).unwrap().number(arch).unwrap();
        profile.model().unwrap().decide(arch, number, &args.into())
    }

    const EPERM: Action = Action::Errno(Errno::EPERM);

    #[test]
    fn it_allows_what_was_recorded_and_assumed_and_nothing_else() {
        let made = made(
            &json!([
                ["X86_64", "bind", {"startUp": 1}], ["X86_64", "socket", {"startUp": 2, "arguments": [{"index": 0, "values": ["0x1", "0xa"]}]}],
                ["X86_64", "mkdir", {"exec": 1}],
            ]),
            false,
        );
        let on = |call, first| {
            decide(
                &made,
                Arch::X86_64,
                Arch::X86_64,
                call,
                [first, 0, 0, 0, 0, 0],
            )
        };
        for call in ["bind", "mkdir", "read", "capset", "execve", "rt_sigreturn"] {
            assert_eq!(on(call, 0), Action::Allow, "{call}");
        }
        for call in ["listen", "unlink", "ptrace", "mount", "getpriority"] {
            assert_eq!(on(call, 0), EPERM, "{call}");
        }
        assert_eq!(
            [on("socket", 1), on("socket", 10), on("socket", 2)],
            [Action::Allow, Action::Allow, EPERM]
        );
        // As the base has it: no new namespaces, and clone3 as if there were none.
        assert_eq!(
            [on("clone", 0x11), on("clone", 0x1000_0011)],
            [Action::Allow, EPERM]
        );
        assert_eq!(on("clone3", 0), Action::Errno(Errno::ENOSYS));
        assert_eq!(made.recorded, 3);
        assert!(made.assumed.iter().any(|call| call.name() == "futex"));
        assert!(made.assumed.iter().all(|call| call.name() != "bind"));
        let worst = made.findings.iter().map(|finding| finding.severity).max();
        assert!(worst < Some(Severity::Error), "{:?}", made.findings);
        // A 32-bit program never ran.
        assert_eq!(made.document["architectures"], json!(["SCMP_ARCH_X86_64"]));
    }

    #[test]
    fn values_that_are_many_or_not_all_known_make_no_condition() {
        let many: Vec<_> = (0..9).map(|n| format!("{n:#x}")).collect();
        for arguments in [
            json!([{"index": 0, "values": many}]),
            json!([{"index": 0, "more": true}]),
            json!([]),
        ] {
            let made = made(
                &json!([["X86_64", "socket", {"steady": 9, "arguments": arguments}]]),
                false,
            );
            let on = |family| {
                decide(
                    &made,
                    Arch::X86_64,
                    Arch::X86_64,
                    "socket",
                    [family, 0, 0, 0, 0, 0],
                )
            };
            // The base refuses AF_VSOCK whatever was seen.
            assert_eq!(
                [on(2), on(16), on(40)],
                [Action::Allow, Action::Allow, EPERM]
            );
        }
    }

    #[test]
    fn what_only_exec_called_and_what_was_refused_can_be_left_out_and_is_named() {
        let calls = json!([
            ["X86_64", "mkdir", {"exec": 1}], ["X86_64", "bind", {"exec": 1, "steady": 1}],
            ["X86_64", "mount", {"steady": 2, "refused": 2}],
            ["X86_64", "socket", {"steady": 9, "refused": 5, "arguments": [{"index": 0, "values": ["0x2"]}]}],
        ]);
        let made = made(&calls, true);
        let on = |call| decide(&made, Arch::X86_64, Arch::X86_64, call, [0; 6]);
        assert_eq!(
            [on("mkdir"), on("bind"), on("mount")],
            [EPERM, Action::Allow, EPERM]
        );
        let names =
            |calls: &BTreeSet<Syscall>| calls.iter().map(|call| call.name()).collect::<Vec<_>>();
        assert_eq!(names(&made.exec_only), ["mkdir"]);
        let refused: Vec<_> = made.refused.iter().collect();
        let refused: Vec<_> = refused
            .iter()
            .map(|(call, of)| (call.name(), of.refused, of.made))
            .collect();
        assert_eq!(refused, [("mount", 2, 2), ("socket", 5, 9)]);
        let socket = |family| {
            let args = [family, 0, 0, 0, 0, 0];
            decide(&made, Arch::X86_64, Arch::X86_64, "socket", args)
        };
        assert_eq!([socket(2), socket(40)], [Action::Allow, EPERM]);
    }

    #[test]
    fn programs_of_32_bits_and_machines_of_other_kinds_get_their_calls() {
        let made = made(
            &json!([
                ["X86", "mkdir", {"steady": 1}], ["X86_64", "bind", {"steady": 1}], ["AARCH64", "mkdirat", {"steady": 1}],
            ]),
            false,
        );
        assert_eq!(
            decide(&made, Arch::X86_64, Arch::X86, "mkdir", [0; 6]),
            Action::Allow
        );
        assert_eq!(
            decide(&made, Arch::X86_64, Arch::X86, "read", [0; 6]),
            Action::Allow
        );
        assert_eq!(
            decide(&made, Arch::X86_64, Arch::X86_64, "bind", [0; 6]),
            Action::Allow
        );
        assert_eq!(
            decide(&made, Arch::Aarch64, Arch::Aarch64, "mkdirat", [0; 6]),
            Action::Allow
        );
        assert_eq!(
            decide(&made, Arch::Aarch64, Arch::Aarch64, "mount", [0; 6]),
            EPERM
        );
    }

    #[test]
    fn a_call_is_allowed_by_the_argument_that_was_asked_for() {
        let options: Vec<_> = (0..20).map(|n| format!("{n:#x}")).collect();
        for (values, third) in [
            (json!({"index": 2, "values": options}), EPERM),
            (json!({"index": 2, "more": true}), Action::Allow),
        ] {
            let made = made(
                &json!([["X86_64", "setsockopt", {"steady": 20, "arguments": [values]}]]),
                false,
            );
            let on = |option| {
                let args = [0, 0, option, 0, 0, 0];
                decide(&made, Arch::X86_64, Arch::X86_64, "setsockopt", args)
            };
            assert_eq!([on(0), on(19)], [Action::Allow; 2]);
            assert_eq!(on(20), third);
        }
    }

    #[test]
    fn without_a_call_there_is_no_profile() {
        let options = Options {
            assumed: &[],
            without_exec: false,
            arguments: &[],
        };
        assert!(matches!(
            make(&Findings::default(), options, base),
            Err(NoProfile::Nothing)
        ));
    }
}
