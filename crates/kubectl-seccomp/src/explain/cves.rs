//! `explain --cves`: which published holes of the kernel a profile keeps its programs from. The table is data (`data/cves.yaml`); what a profile
//! does with the calls that an attack needs says the engine.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::call::{self, Call};
use crate::text::{Style, plural, wrap};
use crate::view::{CallEffect, View};
use seccomp_profile::{Arch, Capability, CapabilitySet, Target};

const TABLE: &str = include_str!("../../data/cves.yaml");

/// A hole, and what an attack cannot do without.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hole {
    id: String,
    /// What people call it.
    name: Option<String>,
    /// Where in the kernel it is, in a sentence.
    what: String,
    /// Who says so in public.
    source: String,
    /// What an attack needs, all of it.
    needs: Vec<Need>,
}

/// One thing that an attack needs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", untagged)]
enum Need {
    /// One of these calls.
    Calls(Vec<NeededCall>),
    /// A capability, also one over a user namespace of one's own.
    Capability { capability: NeededCapability },
}

/// A call with the arguments that matter: `socket(AF_ALG)`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct NeededCall(Call);

impl TryFrom<String> for NeededCall {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        call::one(&text).map(Self)
    }
}

/// A capability by its name.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct NeededCapability(Capability);

impl TryFrom<String> for NeededCapability {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let capability = Capability::named(&name);
        capability
            .map(Self)
            .ok_or("no capability has that name".into())
    }
}

/// The calls that make a user namespace, over which one has all capabilities.
const NEW_USER_NAMESPACE: [&str; 3] = [
    "unshare(CLONE_NEWUSER)",
    "clone(CLONE_NEWUSER|SIGCHLD)",
    "clone3",
];

/// The table.
pub fn holes() -> Result<Vec<Hole>, String> {
    serde_saphyr::from_str(TABLE).map_err(|error| error.to_string())
}

/// What a profile does about a hole.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "verdict")]
enum Verdict {
    /// Something that an attack needs is refused.
    Stopped { by: String },
    /// The same, but not to programs of another architecture.
    OpenToOthers { by: String, others: Vec<String> },
    /// Nothing stops it.
    NotStopped,
}

/// A hole with what a profile does about it.
#[derive(Debug, Serialize)]
pub struct Judged {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    what: String,
    source: String,
    needs: Vec<String>,
    #[serde(flatten)]
    verdict: Verdict,
}

/// What a profile does about each hole.
pub fn judge(holes: Vec<Hole>, view: &View, target: &Target) -> Vec<Judged> {
    let judged = holes.into_iter().map(|hole| Judged {
        verdict: verdict(&hole.needs, view, target.capabilities),
        needs: hole.needs.iter().map(Need::words).collect(),
        id: hole.id,
        name: hole.name,
        what: hole.what,
        source: hole.source,
    });
    judged.collect()
}

fn verdict(needs: &[Need], view: &View, capabilities: CapabilitySet) -> Verdict {
    let Some(native) = view.arches().next() else {
        return Verdict::NotStopped;
    };
    let is_open = |need: &&Need, arch| need.is_open(view, arch, capabilities);
    let Some(by) = needs.iter().find(|need| !is_open(need, native)) else {
        return Verdict::NotStopped;
    };
    let by = by.refused(native);
    let others = view.arches().skip(1).filter(|arch| {
        // A program may make its calls through either.
        let mut needs = needs.iter();
        needs.all(|need| is_open(&need, native) || is_open(&need, *arch))
    });
    let others: Vec<_> = others.map(|arch| arch.native_name().to_owned()).collect();
    if others.is_empty() {
        Verdict::Stopped { by }
    } else {
        Verdict::OpenToOthers { by, others }
    }
}

impl Need {
    fn words(&self) -> String {
        match self {
            Self::Calls(calls) => texts(calls).join(" or "),
            Self::Capability { capability } => {
                format!("{} or a new user namespace", capability.0.name())
            }
        }
    }

    /// What is refused where it is not to be had.
    fn refused(&self, native: Arch) -> String {
        match self {
            Self::Calls(calls) => {
                let names = texts(calls).join(" and ");
                let is_there = |one: &NeededCall| {
                    let call = one.0.syscall;
                    call.number(native).is_some() || call.multiplexed(native).is_some()
                };
                if calls.iter().any(is_there) {
                    names
                } else {
                    format!("{names}, which {} does not have", native.native_name())
                }
            }
            Self::Capability { capability } => {
                let name = capability.0.name();
                format!("new user namespaces, and the container has no {name}")
            }
        }
    }

    fn is_open(&self, view: &View, arch: Arch, capabilities: CapabilitySet) -> bool {
        match self {
            Self::Calls(calls) => calls.iter().any(|call| call.is_open(view, arch)),
            Self::Capability { capability } => {
                let has = capabilities.iter().any(|one| one == capability.0);
                let calls = NEW_USER_NAMESPACE.map(|text| NeededCall::try_from(text.to_owned()));
                has || calls.iter().flatten().any(|call| call.is_open(view, arch))
            }
        }
    }
}

fn texts(calls: &[NeededCall]) -> Vec<&str> {
    calls.iter().map(|call| call.0.text.as_str()).collect()
}

impl NeededCall {
    /// Whether the profile lets it through, by its own number or by that of the call that carries it.
    fn is_open(&self, view: &View, arch: Arch) -> bool {
        let own = self.0.syscall.number(arch).is_some_and(|number| {
            let Ok(known) = self.0.known(arch) else {
                // A number that is another there: nothing is claimed.
                return true;
            };
            is_let_through(&view.effect(arch, number), &known)
        });
        let carried = self
            .0
            .syscall
            .multiplexed(arch)
            .is_some_and(|(through, first)| {
                let known = [Some(first), None, None, None, None, None];
                let number = through.number(arch);
                number.is_some_and(|number| is_let_through(&view.effect(arch, number), &known))
            });
        own || carried
    }
}

/// Whether some arguments get through, of those that are not known.
fn is_let_through(effect: &CallEffect<'_>, known: &[Option<u64>; 6]) -> bool {
    let actions = match effect {
        CallEffect::Always(action) => vec![*action],
        CallEffect::ByArguments(decision) => decision.actions_given(known),
    };
    actions.into_iter().any(|action| !action.refuses())
}

/// Text for people.
pub fn text(judged: &[Judged], style: Style) -> String {
    let of = |test: fn(&Verdict) -> bool| judged.iter().filter(move |one| test(&one.verdict));
    let mut out = String::new();
    for (head, test) in [
        (
            "Stopped",
            (|verdict| matches!(verdict, Verdict::Stopped { .. })) as fn(&Verdict) -> bool,
        ),
        (
            "Stopped, but not to programs of other architectures",
            |verdict| matches!(verdict, Verdict::OpenToOthers { .. }),
        ),
        ("Not stopped", |verdict| *verdict == Verdict::NotStopped),
    ] {
        let number = of(test).count();
        if number == 0 {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        let head = format!("{head}: {number} of {}\n", judged.len());
        out += &style.bold(&head);
        for one in of(test) {
            let name = one.name.as_ref().map(|name| format!(" ({name})"));
            let by = match &one.verdict {
                Verdict::Stopped { by } => format!(" Refused: {by}."),
                Verdict::OpenToOthers { by, others } => {
                    format!(" Refused: {by}; open through {}.", others.join(", "))
                }
                Verdict::NotStopped => String::new(),
            };
            let head = format!("  {}{}: ", one.id, name.unwrap_or_default());
            out += &wrap(&head, &format!("{}{by}", one.what));
            let _ = writeln!(out, "    {}", one.source);
        }
    }
    let stopped = of(|verdict| matches!(verdict, Verdict::Stopped { .. })).count();
    if stopped == 0 {
        out += &wrap(
            "\n",
            &format!(
                "The profile stops none of the {}.",
                plural(judged.len(), "hole")
            ),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use seccomp_profile::{KernelVersion, Loader, Runtime, parse};
    use serde_json::{Value, json};

    fn target(capabilities: CapabilitySet) -> Target {
        Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities,
        }
    }

    fn verdicts(document: &Value, capabilities: CapabilitySet) -> Vec<(String, Verdict)> {
        let target = target(capabilities);
        let profile = parse(document, "").unwrap().resolve(&target);
        let view = View::from_profile(&profile, target.arch, Loader::any(Runtime::Runc)).unwrap();
        let judged = judge(holes().unwrap(), &view, &target).into_iter();
        judged.map(|one| (one.id, one.verdict)).collect()
    }

    #[test]
    fn each_hole_of_the_table_has_a_number_a_sentence_a_source_and_what_it_needs() {
        let holes = holes().unwrap();
        assert!(holes.len() >= 25, "{}", holes.len());
        let ids: BTreeSet<_> = holes.iter().map(|hole| &hole.id).collect();
        assert_eq!(ids.len(), holes.len());
        for hole in &holes {
            let number = hole.id.strip_prefix("CVE-").unwrap();
            let (year, number) = number.split_once('-').unwrap();
            assert!(year.len() == 4 && number.len() >= 4, "{}", hole.id);
            assert!(
                hole.what.ends_with('.') && hole.what.len() > 30,
                "{}",
                hole.id
            );
            assert!(hole.source.starts_with("https://"), "{}", hole.id);
            assert!(!hole.needs.is_empty(), "{}", hole.id);
        }
    }

    #[test]
    fn what_allows_all_stops_none_and_what_refuses_all_stops_each() {
        let all = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]});
        for (id, verdict) in verdicts(&all, CapabilitySet::EMPTY) {
            assert_eq!(verdict, Verdict::NotStopped, "{id}");
        }
        let none = json!({"defaultAction": "SCMP_ACT_ERRNO"});
        for (id, verdict) in verdicts(&none, CapabilitySet::from_bits(u64::MAX)) {
            assert!(
                matches!(verdict, Verdict::Stopped { .. }),
                "{id}: {verdict:?}"
            );
        }
    }

    #[test]
    fn a_call_that_an_architecture_lacks_is_not_called_refused_there() {
        let target = Target {
            arch: Arch::Aarch64,
            ..target(CapabilitySet::EMPTY)
        };
        let document = parse(&json!({"defaultAction": "SCMP_ACT_ALLOW"}), "").unwrap();
        let profile = document.resolve(&target);
        let view = View::from_profile(&profile, target.arch, Loader::any(Runtime::Runc)).unwrap();
        let judged = judge(holes().unwrap(), &view, &target).into_iter();
        let stopped: Vec<_> = judged
            .filter(|one| one.verdict != Verdict::NotStopped)
            .collect();
        let by = "modify_ldt, which arm64 does not have".to_owned();
        assert_eq!(stopped.len(), 1);
        assert_eq!(stopped[0].verdict, Verdict::Stopped { by });
    }

    #[test]
    fn a_call_is_refused_for_its_arguments_a_capability_with_its_user_namespaces() {
        let find = |document: &Value, capabilities, id: &str| {
            let verdicts = verdicts(document, capabilities);
            verdicts.into_iter().find(|(one, _)| one == id).unwrap().1
        };
        let arg =
            |index: u8, op: &str, value: u64| json!([{"index": index, "op": op, "value": value}]);
        let no_af_alg = |arches: &[&str]| {
            json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": arches, "syscalls": [
                {"names": ["splice"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": arg(0, "SCMP_CMP_NE", 38)}]})
        };
        let by = "socket(AF_ALG) and io_uring_setup".to_owned();
        let copy_fail = "CVE-2026-31431";
        let native = find(&no_af_alg(&[]), CapabilitySet::EMPTY, copy_fail);
        assert_eq!(native, Verdict::Stopped { by: by.clone() });
        // There, socketcall carries the arguments where no filter sees them.
        let wide = no_af_alg(&["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        let wide = find(&wide, CapabilitySet::EMPTY, copy_fail);
        let others = vec!["x86".to_owned()];
        assert_eq!(wide, Verdict::OpenToOthers { by, others });

        // What is open for some arguments is open to an attack that may use these.
        let attach = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "args": arg(0, "SCMP_CMP_EQ", 16)}]});
        let any_request = find(&attach, CapabilitySet::EMPTY, "CVE-2014-4699");
        assert_eq!(any_request, Verdict::NotStopped);
        let trace_me = find(&attach, CapabilitySet::EMPTY, "CVE-2019-13272");
        assert!(matches!(trace_me, Verdict::Stopped { .. }), "{trace_me:?}");

        let no_namespaces = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["unshare", "clone3"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [
                {"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0x1000_0000, "valueTwo": 0x1000_0000}]}]});
        let nf_tables = "CVE-2024-1086";
        let stopped = find(&no_namespaces, CapabilitySet::RUNTIME_DEFAULT, nf_tables);
        assert!(matches!(stopped, Verdict::Stopped { .. }), "{stopped:?}");
        let admin =
            CapabilitySet::RUNTIME_DEFAULT.with(Capability::named("CAP_NET_ADMIN").unwrap());
        assert_eq!(find(&no_namespaces, admin, nf_tables), Verdict::NotStopped);
    }
}
