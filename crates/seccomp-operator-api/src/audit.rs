//! `SeccompAuditReport`: what one node's audit reader heard that seccomp logged or killed, whoever's profile it was. One object per node, with
//! the node's name, and only that node's reader writes it.
//!
//! It is a kind of its own beside `SeccompDenialReport`, which the node's recorder writes: neither may write the other's, and a node's name says all.
//! No call is in both: what a recorder is notified of the kernel does not log as refused.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::denial::{Denial, ObservedTrial, Outcome, TriedDenial};
use super::schema;

/// How many calls a report names, those of each container apart.
pub const MAX_AUDITED: usize = 256;
/// How many calls it names whose container could not be told.
pub const MAX_UNPLACED: usize = 32;

/// What one node's audit reader heard.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "seccomp-operator.io",
    version = "v1alpha1",
    kind = "SeccompAuditReport",
    shortname = "scar",
    category = "security",
    no_spec,
    derive = "PartialEq",
    doc = "What one node's audit reader heard that seccomp logged or killed. Written by the operator.",
    printcolumn(name = "Hears", type_ = "boolean", json_path = ".hearing.hears"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".hearing.reason"),
    printcolumn(name = "Lost", type_ = "integer", json_path = ".lost"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct AuditReport {
    /// The node whose reader writes this: the object's name.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// The reader's version.
    #[schemars(length(max = 64))]
    pub reader_version: String,
    /// Whether the reader hears anything: it makes a call itself now and then that is logged.
    pub hearing: Hearing,
    /// The calls of the containers that run, and of those that have ended within the last hour: what did not happen first, then the most frequent.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub calls: Vec<AuditedCall>,
    /// How many calls did not fit into `calls`, those of each container apart, at least.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    #[schemars(range(min = 0))]
    pub more: i32,
    /// The calls of the last hour whose container could not be told, since their process was gone: the most frequent 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub unplaced: Vec<UnplacedCall>,
    /// How often the container could not be told, since the reader started.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    #[schemars(range(min = 0))]
    pub unplaced_count: i64,
    /// How many records were lost, since the reader started, at least: the numbers of some never came.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    #[schemars(range(min = 0))]
    pub lost: i64,
    /// The trials with `report: Log` that containers of the node are on, up to 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub trials: Vec<ObservedTrial>,
    /// The calls that were logged because the next version of a profile would refuse them, the most frequent 256 first. They are not in `calls`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub would_refuse: Vec<TriedDenial>,
}

/// Whether a reader hears anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hearing {
    /// A call that it made itself was heard.
    pub hears: bool,
    /// Why it hears nothing, or not all, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// The same, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
}

/// Calls of one kind of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditedCall {
    /// The name of the SeccompProfile that the container states; absent where it states something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub profile: Option<String>,
    /// What it states, where that is none: `RuntimeDefault`, `Localhost other.json`. A program may have made the filter itself, whatever is stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub stated: Option<String>,
    /// What was called, by whom, and what became of it.
    #[serde(flatten)]
    pub denial: Denial,
}

/// Calls of one kind of processes whose container could not be told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnplacedCall {
    /// The thread's name, as it has given it to itself.
    #[schemars(length(max = 64))]
    pub comm: String,
    /// The system call.
    #[schemars(length(max = 64))]
    pub call: String,
    /// The architecture that it was made through, as profiles write it: `SCMP_ARCH_X86_64`.
    #[schemars(length(max = 32))]
    pub architecture: String,
    /// What became of it.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    pub outcome: Outcome,
    /// How often.
    #[schemars(range(min = 0))]
    pub count: i64,
    /// When last.
    #[schemars(schema_with = "schema::time")]
    pub last_seen: Option<Time>,
}

impl AuditReport {
    /// The same report with these calls, as far as they fit, `left_out` beside them.
    #[must_use]
    pub fn with_calls(mut self, mut calls: Vec<AuditedCall>, left_out: u64) -> Self {
        calls.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let more = calls.len().saturating_sub(MAX_AUDITED) as u64;
        calls.truncate(MAX_AUDITED);
        self.calls = calls;
        self.more = i32::try_from(more.saturating_add(left_out)).unwrap_or(i32::MAX);
        self
    }

    /// The same report with these, as far as they fit.
    #[must_use]
    pub fn with_unplaced(mut self, mut unplaced: Vec<UnplacedCall>) -> Self {
        unplaced.sort_by(|a, b| a.rank().cmp(&b.rank()));
        unplaced.truncate(MAX_UNPLACED);
        self.unplaced = unplaced;
        self
    }

    /// The same report with what is known of trials, as far as it fits.
    #[must_use]
    pub fn with_trials(mut self, trials: Vec<ObservedTrial>, tried: Vec<TriedDenial>) -> Self {
        self.trials = trials;
        self.trials.truncate(MAX_AUDITED);
        self.would_refuse = tried;
        self.would_refuse.sort_by(|a, b| a.rank().cmp(&b.rank()));
        self.would_refuse.truncate(MAX_AUDITED);
        self
    }
}

impl AuditedCall {
    /// In the order of denials, and among equals by what is stated.
    fn rank(&self) -> (impl Ord, &Option<String>, &Option<String>) {
        (self.denial.rank(), &self.profile, &self.stated)
    }
}

impl UnplacedCall {
    fn rank(&self) -> impl Ord {
        let count = std::cmp::Reverse(self.count);
        let named = (&self.comm, &self.call, &self.architecture);
        (self.outcome.happened(), count, named, self.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(pod: usize, outcome: Outcome, count: i64) -> AuditedCall {
        AuditedCall {
            profile: Some("audit-all".into()),
            stated: None,
            denial: Denial {
                pod: format!("web-{pod:04}"),
                call: "chmod".into(),
                outcome,
                count,
                ..Denial::default()
            },
        }
    }

    #[test]
    fn who_is_logged_all_the_time_hides_nobody_who_was_killed() {
        let logged = (0..1000).map(|pod| call(pod, Outcome::Logged, 1_000_000));
        let all = logged.chain([call(7, Outcome::Killed, 1)]).collect();
        let report = AuditReport::default().with_calls(all, 5);
        assert_eq!((report.calls.len(), report.more), (MAX_AUDITED, 750));
        assert_eq!(report.calls[0], call(7, Outcome::Killed, 1));
    }

    #[test]
    fn a_call_is_flat_and_says_what_became_of_it_unless_it_was_refused() {
        let value = serde_json::to_value(call(1, Outcome::Killed, 2)).unwrap();
        assert_eq!(
            (&value["outcome"], &value["pod"]),
            (&"Killed".into(), &"web-0001".into())
        );
        let read: AuditedCall = serde_json::from_value(value).unwrap();
        assert_eq!(read, call(1, Outcome::Killed, 2));
        let refused = serde_json::to_value(call(1, Outcome::Refused, 2)).unwrap();
        assert!(refused.get("outcome").is_none());
    }

    /// An object of etcd has no more than one and a half megabytes.
    #[test]
    fn the_largest_report_is_small() {
        let long = |length| "x".repeat(length);
        let call = AuditedCall {
            profile: None,
            stated: Some(long(300)),
            denial: Denial {
                namespace: long(63),
                pod: long(253),
                pod_uid: long(36),
                container: long(63),
                call: long(64),
                architecture: long(32),
                count: i64::MAX,
                ..Denial::default()
            },
        };
        let tried = TriedDenial {
            digest: long(16),
            observed: super::super::ObservedDenial {
                profile: long(200),
                denial: call.denial.clone(),
            },
        };
        let report = AuditReport::default().with_calls(vec![call; 5000], 0);
        let report = report.with_trials(vec![], vec![tried; 5000]);
        let length = serde_json::to_vec(&report).unwrap().len();
        assert!(length < 600_000, "{length}");
    }
}
