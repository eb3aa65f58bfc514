//! `SeccompDenialReport`: what one node's recorder saw refused under the profiles with `spec.observe`. One object per node, with the node's
//! name, and only that node's recorder writes it.
//!
//! Like a SeccompNode it is a report, not a wish: it has no spec, and one server-side apply creates and updates it. It names pods, calls
//! and argument values up to a bound, whatever containers do: who calls in a loop what is refused changes numbers in it and nothing
//! else.

use std::cmp::Reverse;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::recording_report::{RecordedArgument, earlier};
use super::schema;

/// What the metadata of an observed profile begin with. Those of a recording have no colon.
const OBSERVED: &str = "observe:";
/// What comes before the digest of the next version of a profile on trial.
const TRIED: &str = "trial:";

/// How many refused calls a report names, those of each container apart.
pub const MAX_DENIALS: usize = 256;
/// How many values of an argument a report names; of one that had more it says so.
pub const MAX_DENIED_VALUES: usize = 8;
/// How many refused calls the status of a profile names.
pub const MAX_PROFILE_DENIALS: usize = 20;

/// What one node's recorder saw refused under the profiles that are observed.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "seccomp-operator.io",
    version = "v1alpha1",
    kind = "SeccompDenialReport",
    shortname = "scdr",
    category = "security",
    no_spec,
    derive = "PartialEq",
    doc = "What one node's recorder saw refused under the profiles that are observed. Written by the operator.",
    printcolumn(name = "Recorder", type_ = "string", json_path = ".recorderVersion"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct DenialReport {
    /// The node whose recorder writes this: the object's name.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// The recorder's version.
    #[schemars(length(max = 64))]
    pub recorder_version: String,
    /// The refused calls of the containers that run, and of those that have ended within the last hour, the most frequent first. Also
    /// written when there are none.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub denials: Vec<ObservedDenial>,
    /// How many refused calls did not fit into `denials`, those of each container apart.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    #[schemars(range(min = 0))]
    pub more: i32,
    /// The trials that containers of the node are on, up to 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub trials: Vec<ObservedTrial>,
    /// The calls that were let happen and that the next version of a profile would refuse, the most frequent 256 first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub would_refuse: Vec<TriedDenial>,
}

/// A trial, as one node's recorder sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedTrial {
    /// The SeccompProfile's name.
    #[schemars(length(min = 1, max = 200))]
    pub profile: String,
    /// What tells the next version from others.
    #[schemars(length(max = 16))]
    pub digest: String,
    /// How many pods are on it.
    #[schemars(range(min = 0))]
    pub pods: i32,
    /// How many containers of them.
    #[schemars(range(min = 0))]
    pub containers: i32,
    /// How often they, and those that have ended within the last hour, called what would be refused.
    #[schemars(range(min = 0))]
    pub count: i64,
}

/// A call that the next version of a profile would refuse a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TriedDenial {
    /// What tells the next version from others.
    #[schemars(length(max = 16))]
    pub digest: String,
    /// What would be refused, and to whom.
    #[serde(flatten)]
    pub observed: ObservedDenial,
}

/// A call that a profile refused a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedDenial {
    /// The SeccompProfile's name.
    #[schemars(length(min = 1, max = 200))]
    pub profile: String,
    /// What was refused, and to whom.
    #[serde(flatten)]
    pub denial: Denial,
}

/// What became of a call.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Outcome {
    /// It returned an error.
    #[default]
    Refused,
    /// Its thread or process was killed.
    Killed,
    /// Its thread got a signal in its place.
    Trapped,
    /// It happened, and the kernel logged it.
    Logged,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Killed, Self::Trapped, Self::Logged];

    /// A word for a sentence.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Killed => "killed",
            Self::Trapped => "trapped",
            Self::Logged => "logged",
        }
    }

    /// Whether it happened.
    #[must_use]
    pub const fn happened(self) -> bool {
        matches!(self, Self::Logged)
    }
}

/// A call that was refused to a container, or that ended it; from the audit reader also one that was logged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Denial {
    /// The pod's namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// The pod's name.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// The pod's uid.
    #[schemars(length(max = 64))]
    pub pod_uid: String,
    /// The container's name.
    #[schemars(length(max = 63))]
    pub container: String,
    /// The system call.
    #[schemars(length(max = 64))]
    pub call: String,
    /// The architecture that it was made through, as profiles write it: `SCMP_ARCH_X86_64`.
    #[schemars(length(max = 32))]
    pub architecture: String,
    /// What became of it.
    #[serde(default, skip_serializing_if = "schema::is_zero")]
    pub outcome: Outcome,
    /// How often it was refused, or would have been, to processes that were executed into the container as well.
    #[schemars(range(min = 0))]
    pub count: i64,
    /// When it was first refused.
    #[schemars(schema_with = "schema::time")]
    pub first_seen: Option<Time>,
    /// When it was last refused.
    #[schemars(schema_with = "schema::time")]
    pub last_seen: Option<Time>,
    /// The first values that its arguments had, where they say why it was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 6))]
    pub arguments: Vec<RecordedArgument>,
}

impl Denial {
    /// Adds the same call of other processes of the container.
    pub fn absorb(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.first_seen = earlier(self.first_seen.take(), other.first_seen);
        self.last_seen = self.last_seen.take().max(other.last_seen);
        for argument in other.arguments {
            let mut mine = self.arguments.iter_mut();
            match mine.find(|mine| mine.index == argument.index) {
                Some(mine) => mine.absorb(&argument),
                None => self.arguments.push(argument),
            }
        }
    }

    /// Whose call it is.
    pub(crate) fn key(&self) -> [&str; 6] {
        let Self {
            namespace,
            pod,
            container,
            call,
            architecture,
            ..
        } = self;
        let outcome = self.outcome.word();
        [namespace, pod, container, call, architecture, outcome]
    }

    /// What did not happen before what did: a program that calls what is only logged must hide nothing. Then the most frequent first,
    /// and among equals in a fixed order.
    pub(crate) fn rank(&self) -> (bool, Reverse<i64>, [&str; 6]) {
        (self.outcome.happened(), Reverse(self.count), self.key())
    }
}

impl TriedDenial {
    /// As that of denials, and among equals of those by whose it is.
    pub(crate) fn rank(&self) -> (impl Ord, &str, &str) {
        let ObservedDenial { profile, denial } = &self.observed;
        (denial.rank(), profile, &self.digest)
    }
}

/// The most frequent of these, in their order, at most so many.
#[must_use]
pub fn most_frequent(mut denials: Vec<Denial>, most: usize) -> Vec<Denial> {
    denials.sort_by(|a, b| a.rank().cmp(&b.rank()));
    denials.truncate(most);
    denials
}

impl DenialReport {
    /// A report of these, as far as they fit.
    #[must_use]
    pub fn new(node: &str, recorder_version: &str, mut denials: Vec<ObservedDenial>) -> Self {
        denials.sort_by(|a, b| (a.denial.rank(), &a.profile).cmp(&(b.denial.rank(), &b.profile)));
        let more = denials.len().saturating_sub(MAX_DENIALS);
        denials.truncate(MAX_DENIALS);
        Self {
            node: node.to_owned(),
            recorder_version: recorder_version.to_owned(),
            denials,
            more: i32::try_from(more).unwrap_or(i32::MAX),
            ..Self::default()
        }
    }

    /// The same report with what is known of trials, as far as it fits.
    #[must_use]
    pub fn with_trials(mut self, trials: Vec<ObservedTrial>, tried: Vec<TriedDenial>) -> Self {
        self.trials = trials;
        self.trials.truncate(MAX_DENIALS);
        self.would_refuse = tried;
        self.would_refuse.sort_by(|a, b| a.rank().cmp(&b.rank()));
        self.would_refuse.truncate(MAX_DENIALS);
        self
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.denials.is_empty() && self.trials.is_empty() && self.would_refuse.is_empty()
    }
}

/// What a node's recorder hears of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listening<'a> {
    /// The SeccompProfile's name.
    pub profile: &'a str,
    /// Whether it hears what is refused.
    pub observes: bool,
    /// What tells the next version that is on trial from others.
    pub trial: Option<&'a str>,
}

impl<'a> Listening<'a> {
    /// The text that the profile's file has as its `listenerMetadata`, which the runtime hands to the recorder with each filter.
    #[must_use]
    pub fn to_metadata(&self) -> String {
        let observes = if self.observes { OBSERVED } else { "" };
        match self.trial {
            Some(digest) => format!("{observes}{TRIED}{digest}:{}", self.profile),
            None => format!("{observes}{}", self.profile),
        }
    }

    /// What such a text says.
    #[must_use]
    pub fn from_metadata(metadata: &'a str) -> Option<Self> {
        let (observes, rest) = match metadata.strip_prefix(OBSERVED) {
            Some(rest) => (true, rest),
            None => (false, metadata),
        };
        let (trial, profile) = match rest.strip_prefix(TRIED) {
            Some(rest) => {
                let (digest, profile) = rest.split_once(':')?;
                (Some(digest), profile)
            }
            None => (None, rest),
        };
        let is_digest =
            |digest: &str| digest.len() == 16 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        let is_said = observes || trial.is_some();
        let is_right = is_said && trial.is_none_or(is_digest);
        (is_right && super::ProfileName::parse(profile).is_ok()).then_some(Self {
            profile,
            observes,
            trial,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecordingReference;

    #[test]
    fn the_runtime_hands_back_what_is_heard_of_which_profile() {
        let digest = Some("83df1b1cb1ac02eb");
        for (observes, trial) in [(true, None), (true, digest), (false, digest)] {
            let listening = Listening {
                profile: "team.tight",
                observes,
                trial,
            };
            let text = listening.to_metadata();
            assert_eq!(Listening::from_metadata(&text), Some(listening));
            assert_eq!(RecordingReference::from_metadata(&text), None);
        }
        for wrong in [
            "",
            "tight",
            "observe/tight/1",
            "observe:",
            "observe:../x",
            "trial:x",
            "trial:0:tight",
            "trial:83df1b1cb1ac02eb:",
        ] {
            assert_eq!(Listening::from_metadata(wrong), None, "{wrong}");
        }
    }

    fn denial(pod: usize, count: i64) -> ObservedDenial {
        let denial = Denial {
            namespace: "shop".into(),
            pod: format!("web-{pod:04}"),
            pod_uid: "1f0c7f3e-5a5a-4a59-8d0e-0c1f0b8f2a11".into(),
            container: "web".into(),
            call: "mount".into(),
            count,
            ..Denial::default()
        };
        ObservedDenial {
            profile: "tight".into(),
            denial,
        }
    }

    #[test]
    fn a_report_has_the_most_frequent_denials_and_says_how_many_are_left_out() {
        let all = (0..1000).map(|pod| denial(pod, if pod == 700 { 9 } else { 1 }));
        let report = DenialReport::new("n1", "1", all.collect());
        assert_eq!((report.denials.len(), report.more), (MAX_DENIALS, 744));
        assert_eq!(report.denials[0], denial(700, 9));
        assert_eq!(report.denials[1], denial(0, 1));
    }

    #[test]
    fn a_denial_of_a_report_is_flat() {
        let value = serde_json::to_value(denial(1, 2)).unwrap();
        assert_eq!(value["profile"], "tight");
        assert_eq!(value["podUid"], "1f0c7f3e-5a5a-4a59-8d0e-0c1f0b8f2a11");
        let read: ObservedDenial = serde_json::from_value(value).unwrap();
        assert_eq!(read, denial(1, 2));
    }
}
