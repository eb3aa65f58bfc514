//! `kubectl seccomp denials --suggest`: what a profile would have to say to allow what it was seen to refuse. Pure.
//!
//! What `deny` says of a call goes, as far as it stands in the way; what the base refuses comes into `allow`, with the values that were
//! seen where they are known. The engine decides each step: nothing is suggested that would not help.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::block::entries::{SOCKET_TYPE, number};
use crate::stored::{compose, with};
use seccomp_operator_api::{Denial, SeccompProfile};
use seccomp_profile::{
    Action, Arch, ArgIndex, Arguments, Errno, Library, Loader, Runtime, Syscall, group,
};

/// More combinations of values than these are allowed whatever the values.
const MAX_COMBINATIONS: usize = 8;

/// What becomes of one profile.
#[derive(Debug, PartialEq)]
pub struct Suggestion {
    /// It, with the changes.
    pub changed: SeccompProfile,
    /// The calls that it would allow.
    pub allowed: BTreeSet<String>,
    /// The calls that are left as they are, and why.
    pub left: BTreeMap<String, String>,
}

/// What the profile would have to say to allow these calls.
pub fn suggest(profile: &SeccompProfile, library: &Library, denials: &[&Denial]) -> Suggestion {
    let mut suggestion = Suggestion {
        changed: profile.clone(),
        allowed: BTreeSet::new(),
        left: BTreeMap::new(),
    };
    for (name, seen) in seen(denials) {
        match allow(&suggestion.changed, library, &name, &seen) {
            Ok(changed) => {
                suggestion.changed = changed;
                suggestion.allowed.insert(name);
            }
            Err(why) => {
                suggestion.left.insert(name, why);
            }
        }
    }
    suggestion
}

/// What is known of the refused calls of one name.
#[derive(Debug, Default)]
struct Seen {
    arches: BTreeSet<String>,
    /// The values of each argument that is kept; none where it had more than are kept.
    values: BTreeMap<u8, Option<BTreeSet<u64>>>,
    /// It was kept from happening; otherwise it was only logged.
    stopped: bool,
}

fn seen(denials: &[&Denial]) -> BTreeMap<String, Seen> {
    let mut all = BTreeMap::<_, Seen>::new();
    for denial in denials {
        let seen = all.entry(denial.call.clone()).or_default();
        seen.arches.insert(denial.architecture.clone());
        seen.stopped |= !denial.outcome.happened();
        for argument in &denial.arguments {
            let read = argument.values.iter().map(|value| {
                let digits = value.strip_prefix("0x")?;
                u64::from_str_radix(digits, 16).ok()
            });
            let read = read.collect::<Option<BTreeSet<_>>>();
            let read = read.filter(|values| !argument.more && !values.is_empty());
            let known = seen.values.entry(argument.index);
            let known = known.or_insert_with(|| Some(BTreeSet::new()));
            match (known.as_mut(), read) {
                (Some(known), Some(read)) => known.extend(read),
                _ => *known = None,
            }
        }
    }
    all
}

impl Seen {
    /// Each combination of the values that are known: conditions that a call of those values has, and a call that has them.
    fn combinations(&self, call: Syscall) -> Vec<(Vec<Value>, Arguments)> {
        let mut all = vec![(Vec::new(), Arguments::ZEROS)];
        for (index, values) in &self.values {
            let (Some(values), Some(index)) = (values, ArgIndex::new(u64::from(*index))) else {
                continue;
            };
            let conditions: BTreeMap<_, _> = values
                .iter()
                .map(|value| condition(call, index, *value))
                .collect();
            if conditions.is_empty() || all.len() * conditions.len() > MAX_COMBINATIONS {
                continue;
            }
            let with = all.iter().flat_map(|(before, arguments)| {
                conditions.values().map(move |(condition, value)| {
                    let conditions = [before.as_slice(), std::slice::from_ref(condition)].concat();
                    (conditions, arguments.with(index, *value))
                })
            });
            all = with.collect();
        }
        all
    }
}

/// Under what it is told from others: the condition and the value. Two types of sockets that differ in their flags are one.
fn condition(call: Syscall, index: ArgIndex, value: u64) -> (u64, (Value, u64)) {
    let is_type = matches!(call.name(), "socket" | "socketpair") && index.get() == 1;
    if is_type {
        let kind = value & SOCKET_TYPE;
        let condition =
            json!({"index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": SOCKET_TYPE, "valueTwo": kind});
        return (kind, (condition, kind));
    }
    let condition = json!({"index": index.get(), "op": "SCMP_CMP_EQ", "value": number(value)});
    (value, (condition, value))
}

/// What the profile does with calls, on each architecture that they were made through.
struct Judge<'a> {
    library: &'a Library,
    name: &'a str,
    call: Syscall,
    arches: Vec<(Arch, Arch)>,
    calls: Vec<Arguments>,
    /// It is enough that they happen; otherwise nobody is to log them either.
    may_be_logged: bool,
}

impl Judge<'_> {
    /// All actions that the calls get under this profile.
    fn actions(&self, profile: &SeccompProfile) -> Result<Vec<Action>, String> {
        let library = with(self.library, profile);
        let mut actions = Vec::new();
        for (node, arch) in &self.arches {
            let composed = compose(&library, self.name, *node);
            let composed = composed.map_err(|error| error.to_string())?;
            let model = composed.model().map_err(|error| error.to_string())?;
            let Some(number) = self.call.number(*arch) else {
                continue;
            };
            let runc = Loader::any(Runtime::Runc);
            let decide = |call: &Arguments| model.decide_under(runc, *arch, number, call);
            actions.extend(self.calls.iter().map(decide));
        }
        Ok(actions)
    }

    fn permits(&self, profile: &SeccompProfile) -> bool {
        let actions = self.actions(profile).unwrap_or_default();
        !actions.is_empty() && actions.iter().all(|action| self.suffices(*action))
    }

    fn suffices(&self, action: Action) -> bool {
        action == Action::Allow || self.may_be_logged && action.is_permitted()
    }

    /// Whether the profile logs all that it does not name, so that it is learned what it has to allow.
    fn logs_by_default(&self, profile: &SeccompProfile) -> bool {
        let library = with(self.library, profile);
        let mut nodes = self.arches.iter();
        let mut composed = nodes
            .by_ref()
            .map(|(node, _)| compose(&library, self.name, *node));
        composed.any(|profile| profile.is_ok_and(|of| of.default_action() == Action::Log))
    }
}

/// The profile, changed so that it allows these calls of one name; or why that is not suggested.
fn allow(
    profile: &SeccompProfile,
    library: &Library,
    call: &str,
    seen: &Seen,
) -> Result<SeccompProfile, String> {
    let call = Syscall::named(call).ok_or("this version does not know the call")?;
    let combinations = seen.combinations(call);
    let arches = seen.arches.iter().filter_map(|name| {
        let arch = Arch::named(name)?;
        let mut nodes = Arch::KUBERNETES.iter();
        let node = nodes.find(|node| node.abis().contains(&arch))?;
        Some((*node, arch))
    });
    let judge = Judge {
        library,
        name: profile.metadata.name.as_deref().unwrap_or_default(),
        call,
        arches: arches.collect(),
        calls: combinations
            .iter()
            .map(|(_, arguments)| *arguments)
            .collect(),
        may_be_logged: seen.stopped,
    };
    let now = judge.actions(profile)?;
    if now.iter().all(|action| judge.suffices(*action)) {
        return Err("the profile allows it by now".into());
    }
    let is_named = entries(&profile.spec.log, call)
        .iter()
        .any(|(_, names)| names.is_some());
    if !seen.stopped && (is_named || !judge.logs_by_default(profile)) {
        return Err("it happens, and the profile asks for it to be logged".into());
    }
    let falls_back = |action: &Action| *action == Action::Errno(Errno::ENOSYS);
    if now.iter().any(falls_back) {
        return Err("it is answered ENOSYS, so that programs do without it".into());
    }
    let deny = entries(&profile.spec.deny, call);
    let mut out: BTreeSet<_> = (0..deny.len()).filter(|at| deny[*at].1.is_some()).collect();
    let mut changed = profile.clone();
    changed.spec.deny = without(&deny, &out);
    if !judge.permits(&changed) {
        let allow = combinations.into_iter().map(|(conditions, _)| {
            if conditions.is_empty() {
                Value::from(call.name())
            } else {
                json!({ "name": call.name(), "args": conditions })
            }
        });
        let lacking = allow.filter(|entry| !profile.spec.allow.contains(entry));
        changed.spec.allow.extend(lacking);
    }
    if !judge.permits(&changed) {
        return Err("spec.allow does not help; allow it in the profile's base".into());
    }
    // What does not stand in the way stays.
    for at in out.clone() {
        out.remove(&at);
        let mut with = changed.clone();
        with.spec.deny = without(&deny, &out);
        if !judge.permits(&with) {
            out.insert(at);
        }
    }
    changed.spec.deny = without(&deny, &out);
    Ok(changed)
}

/// An entry of `deny`, and if it is about the call, what else it says.
type Entry<'a> = (&'a Value, Option<Vec<Value>>);

fn entries(deny: &[Value], call: Syscall) -> Vec<Entry<'_>> {
    let others = |entry: &Value| {
        let name = entry.as_str().or_else(|| entry["name"].as_str())?;
        let calls = group(name).or_else(|| Some(vec![Syscall::named(name)?]))?;
        let others = calls.iter().filter(|other| **other != call);
        let others = others.map(|other| named_as(entry, *other)).collect();
        calls.contains(&call).then_some(others)
    };
    deny.iter().map(|entry| (entry, others(entry))).collect()
}

/// `deny`, in which these entries say nothing of the call.
fn without(deny: &[Entry<'_>], out: &BTreeSet<usize>) -> Vec<Value> {
    let kept = deny.iter().enumerate().map(|(at, (entry, others))| {
        let others = others.clone().filter(|_| out.contains(&at));
        others.unwrap_or_else(|| vec![(*entry).clone()])
    });
    kept.flatten().collect()
}

/// The entry, for another call.
fn named_as(entry: &Value, call: Syscall) -> Value {
    let mut other = entry.clone();
    match other.as_object_mut() {
        Some(fields) => {
            fields.insert("name".into(), call.name().into());
        }
        None => other = call.name().into(),
    }
    other
}

#[cfg(test)]
mod tests {
    use seccomp_operator_api::{Outcome, define};

    use super::*;

    fn profile(spec: &Value) -> SeccompProfile {
        let object = json!({"apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile",
            "metadata": {"name": "tight"}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    fn denial(call: &str, arguments: &Value) -> Denial {
        let mut denial = json!({"namespace": "shop", "pod": "web-0", "podUid": "u", "container": "web", "call": call,
            "architecture": "SCMP_ARCH_X86_64", "count": 1, "firstSeen": null, "lastSeen": null});
        denial["arguments"] = arguments.clone();
        serde_json::from_value(denial).unwrap()
    }

    fn suggested(spec: &Value, denials: &[Denial]) -> Suggestion {
        let profile = profile(spec);
        let mut library = Library::default();
        library.define("tight", define(&Ok(profile.clone())));
        suggest(&profile, &library, &denials.iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_stands_in_the_way_goes_and_what_the_base_refuses_is_allowed() {
        let value = |index: u8, values: &[&str]| json!([{"index": index, "values": values}]);
        let equal =
            |index: u8, value: u64| json!({"index": index, "op": "SCMP_CMP_EQ", "value": value});
        let of = |call: &str, args: Value| json!({"name": call, "args": args});
        let base = "runtime-default";
        let more = json!([{"index": 0, "values": ["0x1"], "more": true}]);
        for (spec, call, arguments, allow, deny) in [
            // A group keeps its other calls, and an entry its error.
            (
                json!({"base": base, "deny": ["@keyring", "bpf"], "allow": ["keyctl"]}),
                "keyctl",
                json!([]),
                json!(["keyctl"]),
                json!(["add_key", "request_key", "bpf"]),
            ),
            (
                json!({"base": base, "deny": [{"name": "@clock", "errno": "EACCES"}], "allow": ["@clock"]}),
                "clock_settime",
                json!([]),
                json!(["@clock"]),
                json!(null),
            ),
            (
                json!({"base": base, "deny": ["chmod"]}),
                "chmod",
                json!([]),
                json!([]),
                json!([]),
            ),
            // The base refuses it.
            (
                json!({"base": base}),
                "keyctl",
                json!([]),
                json!(["keyctl"]),
                json!([]),
            ),
            (
                json!({"base": base}),
                "keyctl",
                value(0, &["0x0", "0xb"]),
                json!([
                    of("keyctl", json!([equal(0, 0)])),
                    of("keyctl", json!([equal(0, 11)]))
                ]),
                json!([]),
            ),
            (
                json!({"base": base}),
                "keyctl",
                more,
                json!(["keyctl"]),
                json!([]),
            ),
            // Denied and refused below.
            (
                json!({"base": base, "deny": ["keyctl"]}),
                "keyctl",
                json!([]),
                json!(["keyctl"]),
                json!([]),
            ),
            // Of two entries, the one that is about other values stays.
            (
                json!({"base": base, "deny": [of("socket", json!([equal(0, 38)])), of("socket", json!([equal(0, 16)]))]}),
                "socket",
                json!([{"index": 0, "values": ["0x10"]}, {"index": 1, "values": ["0x3", "0x80003"]}]),
                json!([]),
                json!([of("socket", json!([equal(0, 38)]))]),
            ),
        ] {
            let suggestion = suggested(&spec, &[denial(call, &arguments)]);
            assert_eq!(suggestion.left, BTreeMap::new(), "{spec}");
            let changed = suggestion.changed.spec;
            assert_eq!(Value::from(changed.allow), allow, "{spec}");
            if deny.is_null() {
                let is_other = |entry: &Value| entry["name"] != call && entry["errno"] == "EACCES";
                assert!(changed.deny.iter().all(is_other), "{:?}", changed.deny);
                assert!(changed.deny.len() > 1, "{:?}", changed.deny);
            } else {
                assert_eq!(Value::from(changed.deny), deny, "{spec}");
            }
        }
    }

    #[test]
    fn the_flags_of_a_type_are_not_part_of_what_is_allowed() {
        let spec = json!({"profile": {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["read", "write", "openat2"], "action": "SCMP_ACT_ALLOW"}]}});
        let arguments =
            json!([{"index": 0, "values": ["0x2"]}, {"index": 1, "values": ["0x1", "0x80001"]}]);
        let suggestion = suggested(&spec, &[denial("socket", &arguments)]);
        let args = json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": 2},
            {"index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 15, "valueTwo": 1}]);
        assert_eq!(
            suggestion.changed.spec.allow,
            [json!({"name": "socket", "args": args})]
        );
        assert_eq!(suggestion.allowed, ["socket".to_owned()].into());
    }

    #[test]
    fn what_needs_no_change_or_cannot_be_helped_is_left_with_the_reason() {
        let spec = json!({"base": "runtime-default", "deny": ["chmod", {"name": "openat2", "errno": "ENOSYS"}]});
        let denials =
            ["mkdir", "openat2", "chmod", "no_such_call"].map(|call| denial(call, &json!([])));
        let suggestion = suggested(&spec, &denials);
        let left: Vec<_> = suggestion
            .left
            .iter()
            .map(|(call, why)| (call.as_str(), why.as_str()))
            .collect();
        assert_eq!(
            left,
            [
                ("mkdir", "the profile allows it by now"),
                ("no_such_call", "this version does not know the call"),
                (
                    "openat2",
                    "it is answered ENOSYS, so that programs do without it"
                ),
            ]
        );
        assert_eq!(suggestion.allowed, ["chmod".to_owned()].into());
        let broken = suggested(&json!({"base": "nowhere"}), &[denial("chmod", &json!([]))]);
        assert!(broken.left["chmod"].contains("nowhere"), "{broken:?}");
    }

    #[test]
    fn what_an_audit_profile_logs_is_allowed_and_what_kills_too() {
        let with = |call: &str, outcome: Outcome| Denial {
            outcome,
            ..denial(call, &json!([]))
        };
        let [chmod, mkdir] = ["chmod", "mkdir"].map(|call| with(call, Outcome::Logged));
        let spec = json!({"base": "audit", "log": ["mkdir"]});
        let suggestion = suggested(&spec, &[chmod.clone(), mkdir]);
        assert_eq!(suggestion.changed.spec.allow, [json!("chmod")]);
        assert!(suggestion.left["mkdir"].contains("asks for it to be logged"));
        let by_rule = suggested(
            &json!({"base": "runtime-default", "log": ["chmod"]}),
            &[chmod],
        );
        assert!(by_rule.left["chmod"].contains("asks for it to be logged"));
        let spec = json!({"profile": {"defaultAction": "SCMP_ACT_KILL_PROCESS", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["read", "write", "openat2"], "action": "SCMP_ACT_ALLOW"}]}});
        let suggestion = suggested(&spec, &[with("chmod", Outcome::Killed)]);
        assert_eq!(suggestion.changed.spec.allow, [json!("chmod")]);
    }
}
