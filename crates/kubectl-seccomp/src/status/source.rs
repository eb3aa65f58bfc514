//! How a SeccompSource stands: where a SeccompProfile comes from, and whether it is what that says now.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use seccomp_operator_api::{SeccompSource, SourceState};
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

/// For a table.
pub fn word(state: SourceState) -> &'static str {
    match state {
        SourceState::Ready => "Ready",
        SourceState::Suspended => "Suspended",
        SourceState::Unseen => "Unseen",
        SourceState::Failed => "Failed",
    }
}

impl Source {
    /// By the source's condition, if that is of its newest generation.
    pub fn of(source: SeccompSource) -> Self {
        let name = source.name_any();
        let status = source.status.unwrap_or_default();
        let state = status.state(source.metadata.generation);
        let ready = status.ready().filter(|_| state != SourceState::Unseen);
        let (reason, message) = match ready {
            Some(ready) => (ready.reason.clone(), ready.message.clone()),
            None => {
                let message = "the controller has not looked at the newest generation; does it run, with sources.enabled?";
                (String::new(), message.to_owned())
            }
        };
        Self {
            name,
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
            state => word(state),
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
