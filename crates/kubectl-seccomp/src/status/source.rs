//! How a SeccompSource stands: where a SeccompProfile comes from, and whether it is what that says now.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use seccomp_operator_api::{SeccompSource, source_condition};
use serde::Serialize;

/// A SeccompSource, whose SeccompProfile has the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    pub name: String,
    /// How it stands.
    pub state: SourceState,
    /// A word for programs: the condition's.
    pub reason: String,
    /// Why it is in that state.
    pub message: String,
    /// The artifact that is asked for.
    pub reference: String,
    /// The digest of the artifact that the profile was made of.
    pub digest: Option<String>,
    /// Who signed that, where a signature is asked for.
    pub signed_by: Option<String>,
    /// When the registry last gave that.
    pub last_pulled: Option<Time>,
}

/// How a source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum SourceState {
    /// The profile is what the artifact says, as of the last pull.
    Ready,
    /// The registry is left alone, as the spec says.
    Suspended,
    /// The controller has not looked at the newest generation.
    Unseen,
    /// It could not be pulled, verified or kept as a profile; the profile stays as it was.
    Failed,
}

impl SourceState {
    /// For a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Suspended => "Suspended",
            Self::Unseen => "Unseen",
            Self::Failed => "Failed",
        }
    }
}

impl Source {
    /// By the source's condition, if that is of its newest generation.
    pub fn of(source: SeccompSource) -> Self {
        let status = source.status.clone().unwrap_or_default();
        let is_seen = status.observed_generation.is_some()
            && status.observed_generation == source.metadata.generation;
        let mut conditions = status.conditions.into_iter();
        let ready = conditions.find(|c| c.type_ == source_condition::READY);
        let (state, reason, message) = match ready.filter(|_| is_seen) {
            None => {
                let message = "the controller has not looked at the newest generation; does it run, with sources.enabled?";
                (SourceState::Unseen, String::new(), message.to_owned())
            }
            Some(ready) => {
                let state = match ready.reason.as_str() {
                    source_condition::SUSPENDED => SourceState::Suspended,
                    _ if ready.status == "True" => SourceState::Ready,
                    _ => SourceState::Failed,
                };
                (state, ready.reason, ready.message)
            }
        };
        Self {
            name: source.name_any(),
            state,
            reason,
            message,
            reference: source.spec.reference,
            digest: status.digest,
            signed_by: status.signed_by,
            last_pulled: status.last_pulled,
        }
    }

    /// The word that says most: the reason of a failure, else the state.
    pub fn word(&self) -> &str {
        match self.state {
            SourceState::Failed => &self.reason,
            state => state.word(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn source(generation: u64, conditions: &Value) -> Source {
        let source = json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompSource",
            "metadata": {"name": "web", "generation": generation}, "spec": {"reference": "r.example/web:v1"},
            "status": {"observedGeneration": 2, "digest": "sha256:1", "conditions": conditions},
        });
        Source::of(serde_json::from_value(source).unwrap())
    }

    #[test]
    fn a_source_is_what_the_condition_of_its_newest_generation_says() {
        for (generation, status, reason, state, word) in [
            (2, "True", "Pulled", SourceState::Ready, "Ready"),
            (2, "False", "PullFailed", SourceState::Failed, "PullFailed"),
            (2, "False", "NotSigned", SourceState::Failed, "NotSigned"),
            (2, "True", "Suspended", SourceState::Suspended, "Suspended"),
            (2, "False", "Suspended", SourceState::Suspended, "Suspended"),
            (3, "True", "Pulled", SourceState::Unseen, "Unseen"),
        ] {
            let condition = json!([{
                "type": "Ready", "status": status, "reason": reason, "message": "so it is",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]);
            let source = source(generation, &condition);
            assert_eq!((source.state, source.word()), (state, word), "{reason}");
            assert_eq!(source.message == "so it is", state != SourceState::Unseen);
        }
        assert_eq!(source(2, &json!([])).state, SourceState::Unseen);
    }
}
