//! `SeccompRecordingReport`: what one node's recorder saw for one recording. One object per recording and node, in the recording's
//! namespace, and only that node's recorder writes it: several nodes never write the same object.
//!
//! Like a SeccompNode it is a report, not a wish: it has no spec, and one server-side apply creates and updates it. The recording
//! owns it (the controller sees to that), so that it goes with the recording and outlives the node.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::recording::{MAX_RECORDING_NAME, MAX_VALUES};
use super::schema;
use super::workload::workload;

/// What one node's recorder saw for one recording.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "seccomp-operator.io",
    version = "v1alpha1",
    kind = "SeccompRecordingReport",
    namespaced,
    shortname = "screp",
    category = "security",
    no_spec,
    derive = "PartialEq",
    doc = "What one node's recorder saw for one recording. Written by the operator.",
    printcolumn(name = "Recording", type_ = "string", json_path = ".recording.name"),
    printcolumn(name = "Node", type_ = "string", json_path = ".node"),
    printcolumn(name = "Recorder", type_ = "string", json_path = ".recorderVersion"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct RecordingReport {
    /// The recording.
    pub recording: RecordingReference,
    /// The node whose recorder writes this. It never changes.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// The recorder's version.
    #[schemars(length(max = 64))]
    pub recorder_version: String,
    /// Why calls are missing, if some are: a sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub degraded: Option<String>,
    /// The containers that were recorded. Of those that have ended, several of one name may be one entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub containers: Vec<RecordedContainer>,
}

/// Which recording a report is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RecordingReference {
    /// Its name; the namespace is that of the report.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// Its uid: one made again under the same name is another recording.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// A container that was recorded, or several of one name that have ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedContainer {
    /// The pod's name; the last one's, where this is of several.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// The pod's uid, likewise.
    #[schemars(length(max = 64))]
    pub pod_uid: String,
    /// The container's name.
    #[schemars(length(max = 63))]
    pub container: String,
    /// The container's id at the runtime, likewise.
    #[schemars(length(max = 128))]
    pub container_id: String,
    /// The image, as the runtime names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// When the runtime handed the container over; the first one, where this is of several.
    #[schemars(schema_with = "schema::time")]
    pub started: Option<Time>,
    /// When its last process ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub ended: Option<Time>,
    /// The recorder has lost it: both of its processes had ended while the container ran. Where it still runs, its calls fail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unheard: bool,
    /// How many containers this is of, where it is of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub merged: Option<i32>,
    /// Calls that were answered without being read: counted, but nobody knows which they were.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    #[schemars(range(min = 0))]
    pub unnamed: i64,
    /// The calls by architecture and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 600))]
    pub calls: Vec<RecordedCall>,
}

/// How often a container made a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedCall {
    /// The architecture that it was made through, as profiles write it: `SCMP_ARCH_X86_64`.
    #[schemars(length(max = 32))]
    pub architecture: String,
    /// The system call.
    #[schemars(length(max = 64))]
    pub name: String,
    /// By the container's own processes, in its first seconds.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    #[schemars(range(min = 0))]
    pub start_up: i64,
    /// By the container's own processes, later.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    #[schemars(range(min = 0))]
    pub steady: i64,
    /// By processes that were started in the running container: `kubectl exec` and exec probes.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    #[schemars(range(min = 0))]
    pub exec: i64,
    /// How many of all these the base refused.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    #[schemars(range(min = 0))]
    pub refused: i64,
    /// When it was first seen.
    #[schemars(schema_with = "schema::time")]
    pub first_seen: Option<Time>,
    /// When it was last seen.
    #[schemars(schema_with = "schema::time")]
    pub last_seen: Option<Time>,
    /// The values that its arguments had, where they are worth keeping: the domain of a socket, the command of bpf. Those of refused calls
    /// are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 6))]
    pub arguments: Vec<RecordedArgument>,
}

/// The values that an argument had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedArgument {
    /// Which argument, from 0.
    #[schemars(range(min = 0, max = 5), extend("format" = "int32"))]
    pub index: u8,
    /// The values, each once, in ascending order; as `0x1f`, since JSON has no numbers of 64 bits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 18)))]
    pub values: Vec<String>,
    /// There were more values than are kept: it may have any.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// The largest report, in bytes of JSON: an API server takes objects of one and a half megabytes.
const MAX_REPORT: usize = 1_000_000;

/// So many containers has a report at most.
const MAX_CONTAINERS: usize = 128;

impl RecordingReport {
    /// Makes the report as small as it has to be: of the containers that have ended, those of one name become one entry, the oldest
    /// first. Should that not do, the last containers are left out, and `degraded` says so.
    pub fn fit(&mut self) {
        // Each entry is measured once: of a large report this is called for every change.
        let size = |container: &RecordedContainer| {
            serde_json::to_vec(container).map_or(MAX_REPORT, |json| json.len() + 1)
        };
        let mut sizes: Vec<usize> = self.containers.iter().map(size).collect();
        let fits = |sizes: &[usize]| {
            sizes.len() <= MAX_CONTAINERS && sizes.iter().sum::<usize>() <= MAX_REPORT
        };
        while !fits(&sizes) {
            let Some((first, second)) = self.mergeable() else {
                break;
            };
            let later = self.containers.remove(second);
            sizes.remove(second);
            if let Some(container) = self.containers.get_mut(first) {
                container.absorb(&later);
                if let Some(known) = sizes.get_mut(first) {
                    *known = size(container);
                }
            }
        }
        let mut left_out = 0;
        while !fits(&sizes) {
            sizes.pop();
            self.containers.pop();
            left_out += 1;
        }
        if left_out > 0 {
            self.degraded = Some(format!(
                "containers whose calls did not fit into the report: {left_out}"
            ));
        }
    }

    /// The first two entries of containers of one name that have ended; of one workload as long as there are such.
    fn mergeable(&self) -> Option<(usize, usize)> {
        self.first_two(|container| (workload(&container.pod), container.container.as_str()))
            .or_else(|| self.first_two(|container| ("", container.container.as_str())))
    }

    fn first_two<'a>(
        &'a self,
        key: impl Fn(&'a RecordedContainer) -> (&'a str, &'a str),
    ) -> Option<(usize, usize)> {
        let mut ended = BTreeMap::new();
        for (position, container) in self.containers.iter().enumerate() {
            if container.ended.is_some()
                && let Some(first) = ended.insert(key(container), position)
            {
                return Some((first, position));
            }
        }
        None
    }
}

impl RecordedContainer {
    /// Adds what another container of the same name, a later one, called.
    pub fn absorb(&mut self, later: &Self) {
        let count = |container: &Self| container.merged.unwrap_or(1);
        self.merged = Some(count(self).saturating_add(count(later)));
        self.pod.clone_from(&later.pod);
        self.pod_uid.clone_from(&later.pod_uid);
        self.container_id.clone_from(&later.container_id);
        self.image.clone_from(&later.image);
        self.started = earlier(self.started.take(), later.started.clone());
        self.ended = self
            .ended
            .take()
            .and_then(|ended| Some(ended.max(later.ended.clone()?)));
        self.unnamed = self.unnamed.saturating_add(later.unnamed);
        absorb_calls(&mut self.calls, &later.calls);
    }
}

/// Adds calls to those that are known, each architecture and name once, in their order.
pub fn absorb_calls(known: &mut Vec<RecordedCall>, more: &[RecordedCall]) {
    let key = |call: &RecordedCall| (call.architecture.clone(), call.name.clone());
    let mut all: BTreeMap<_, _> = known.drain(..).map(|call| (key(&call), call)).collect();
    for call in more {
        match all.entry(key(call)) {
            Entry::Vacant(entry) => {
                entry.insert(call.clone());
            }
            Entry::Occupied(mut entry) => entry.get_mut().absorb(call),
        }
    }
    known.extend(all.into_values());
}

pub(crate) fn earlier(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl RecordedArgument {
    /// Adds what the argument was in other calls. More values than are kept are none at all: it may have any.
    pub fn absorb(&mut self, other: &Self) {
        let mut values: BTreeSet<_> = self.numbers().chain(other.numbers()).collect();
        self.more |= other.more || values.len() > MAX_VALUES;
        if self.more {
            values.clear();
        }
        self.values = values.iter().map(|value| format!("{value:#x}")).collect();
    }

    /// The values as numbers; what is none is left out.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        let number = |value: &String| u64::from_str_radix(value.strip_prefix("0x")?, 16).ok();
        self.values.iter().filter_map(number)
    }
}

impl RecordedCall {
    /// Adds how often, when and with what arguments the call was made elsewhere.
    pub fn absorb(&mut self, other: &Self) {
        // Of calls that were all refused no values are kept, and none of theirs are missing.
        let seen = |call: &Self| call.count() > call.refused;
        if seen(self) && seen(other) {
            self.arguments = (0..6)
                .filter_map(|index| {
                    let of = |call: &Self| {
                        let mut arguments = call.arguments.iter();
                        arguments.find(|argument| argument.index == index).cloned()
                    };
                    // One that does not say may have had any.
                    let (mut mine, theirs) = of(self).zip(of(other))?;
                    mine.absorb(&theirs);
                    Some(mine)
                })
                .collect();
        } else if seen(other) {
            self.arguments.clone_from(&other.arguments);
        }
        let sum = |mine: &mut i64, theirs: i64| *mine = mine.saturating_add(theirs);
        sum(&mut self.start_up, other.start_up);
        sum(&mut self.steady, other.steady);
        sum(&mut self.exec, other.exec);
        sum(&mut self.refused, other.refused);
        self.first_seen = earlier(self.first_seen.take(), other.first_seen.clone());
        self.last_seen = self.last_seen.take().max(other.last_seen.clone());
    }

    /// How often it was made.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.start_up
            .saturating_add(self.steady)
            .saturating_add(self.exec)
    }
}

impl RecordingReference {
    /// The reference as the text that a recording profile has as its `listenerMetadata`, which the runtime hands to the recorder with
    /// each filter: `<namespace>/<name>/<uid>`.
    #[must_use]
    pub fn to_metadata(&self, namespace: &str) -> String {
        format!("{namespace}/{}/{}", self.name, self.uid)
    }

    /// The namespace and the reference that a `listenerMetadata` names.
    #[must_use]
    pub fn from_metadata(text: &str) -> Option<(String, Self)> {
        let mut parts = text.split('/');
        let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
        let fits = |part: &str, longest: usize| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
            !part.is_empty() && part.len() <= longest && part.bytes().all(plain)
        };
        let valid = parts.next().is_none()
            && fits(namespace, 63)
            && fits(name, MAX_RECORDING_NAME)
            && fits(uid, 64);
        valid.then(|| {
            let reference = Self {
                name: name.to_owned(),
                uid: uid.to_owned(),
            };
            (namespace.to_owned(), reference)
        })
    }

    /// The name of the report that a node's recorder writes. Nodes have long names; those that do not fit are cut, and told apart by a
    /// digest.
    #[must_use]
    pub fn report_name(&self, node: &str) -> String {
        const LONGEST: usize = 253;
        let digest = [&self.name, "/", &self.uid, "/", node]
            .iter()
            .flat_map(|part| part.bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let digest = format!("{digest:016x}");
        let mut name = format!("{}.{node}", self.name);
        let mut room = LONGEST - digest.len() - 1;
        while !name.is_char_boundary(room.min(name.len())) {
            room -= 1;
        }
        name.truncate(room);
        format!("{}.{digest}", name.trim_end_matches(['.', '-']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(name: &str) -> RecordingReference {
        RecordingReference {
            name: name.into(),
            uid: "1f0c7f3e-5a5a-4a59-8d0e-0c1f0b8f2a11".into(),
        }
    }

    #[test]
    fn the_runtime_hands_back_which_recording_it_is() {
        let web = reference("web.v2");
        let text = web.to_metadata("shop");
        assert_eq!(
            RecordingReference::from_metadata(&text),
            Some(("shop".into(), web))
        );
        let long = "x".repeat(101);
        for wrong in [
            "",
            "a/b",
            "a/b/c/d",
            "a//c",
            "A/b/c",
            "a/b/../c",
            &format!("a/{long}/c"),
        ] {
            assert_eq!(RecordingReference::from_metadata(wrong), None, "{wrong}");
        }
    }

    fn call(name: &str, count: i64, values: &[&str]) -> RecordedCall {
        RecordedCall {
            architecture: "SCMP_ARCH_X86_64".into(),
            name: name.into(),
            steady: count,
            arguments: vec![RecordedArgument {
                index: 0,
                values: values.iter().map(|value| (*value).into()).collect(),
                more: false,
            }],
            ..RecordedCall::default()
        }
    }

    #[test]
    fn calls_of_two_containers_are_counted_together_with_the_values_of_both() {
        let mut known = vec![call("socket", 2, &["0x2"]), call("bind", 1, &[])];
        absorb_calls(
            &mut known,
            &[call("socket", 3, &["0x1", "0xa"]), call("listen", 1, &[])],
        );
        let names: Vec<_> = known.iter().map(|c| (&c.name[..], c.count())).collect();
        assert_eq!(names, [("bind", 1), ("listen", 1), ("socket", 5)]);
        assert_eq!(known[2].arguments[0].values, ["0x1", "0x2", "0xa"]);
        let many: Vec<_> = (0..60).map(|n| format!("{:#x}", 100 + n)).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        known[2].absorb(&call("socket", 1, &many));
        assert!(known[2].arguments[0].values.len() == 63 && !known[2].arguments[0].more);
        known[2].absorb(&call("socket", 1, &["0x3", "0x4"]));
        assert!(known[2].arguments[0].values.is_empty() && known[2].arguments[0].more);
    }

    #[test]
    fn an_argument_that_one_side_did_not_keep_may_have_any_value_unless_all_its_calls_were_refused()
    {
        let silent = |refused| RecordedCall {
            arguments: vec![],
            refused,
            ..call("socket", 1, &[])
        };
        let mut known = call("socket", 1, &["0x1"]);
        known.absorb(&silent(1));
        assert_eq!(known.arguments[0].values, ["0x1"]);
        known.absorb(&silent(0));
        assert_eq!(known.arguments, []);
        let mut refused = silent(1);
        refused.absorb(&call("socket", 1, &["0x1"]));
        assert_eq!(refused.arguments[0].values, ["0x1"]);
    }

    #[test]
    fn a_report_of_very_many_containers_stays_small_and_loses_no_call_of_those_that_ended() {
        let container = |n: u32, ended: bool| RecordedContainer {
            pod: format!("web-{n}"),
            container: "web".into(),
            container_id: format!("{n:064}"),
            ended: ended.then_some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)),
            calls: (0..400)
                .map(|call_number| call(&format!("call_{call_number}"), 1, &["0x1"]))
                .collect(),
            ..RecordedContainer::default()
        };
        let mut report = RecordingReport {
            containers: (0..40).map(|n| container(n, n >= 2)).collect(),
            ..RecordingReport::default()
        };
        let calls = |report: &RecordingReport| -> i64 {
            let calls = report.containers.iter().flat_map(|c| &c.calls);
            calls.map(RecordedCall::count).sum()
        };
        report.fit();
        assert_eq!(calls(&report), 40 * 400);
        assert_eq!(report.degraded, None);
        assert!(serde_json::to_vec(&report).unwrap().len() < 1_100_000);
        assert!(report.containers.len() < 40);
        assert!(report.containers.iter().any(|c| c.merged.is_some()));

        let mut report = RecordingReport {
            containers: (0..40).map(|n| container(n, false)).collect(),
            ..RecordingReport::default()
        };
        report.fit();
        assert!(serde_json::to_vec(&report).unwrap().len() < 1_100_000);
        let said = report.degraded.unwrap();
        assert!(
            said.starts_with("containers whose calls did not fit into the report: "),
            "{said}"
        );
    }

    #[test]
    fn reports_of_other_nodes_and_recordings_have_other_names() {
        let name = reference("web").report_name("node-1");
        // Recorders of two versions write it during an upgrade: it must stay what it is.
        assert_eq!(name, "web.node-1.5a615e0ecf37d3df");
        let node = "n".repeat(253);
        let long = reference(&"r".repeat(100));
        for other in [
            reference("web").report_name("node-2"),
            reference("web2").report_name("node-1"),
            RecordingReference {
                uid: "2".into(),
                ..reference("web")
            }
            .report_name("node-1"),
            long.report_name(&node),
            long.report_name(&node[1..]),
        ] {
            assert_ne!(other, name);
            assert!(other.len() <= 253, "{other}");
        }
    }
}
