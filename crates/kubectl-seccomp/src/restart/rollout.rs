//! How a workload's rollout stands, as `kubectl rollout status` reads it, and what cannot be rolled out. Pure.

use serde_json::Value;

use super::Kind;

/// How far a rollout is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All pods are new and available.
    Done,
    /// So many of all pods are new.
    Rolls { new: i64, of: i64 },
    /// It does not go on by itself.
    Stuck(String),
}

fn number(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// Why a change of the template makes no new pods, if it makes none.
pub fn obstacle(kind: Kind, object: &Value) -> Option<&'static str> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    match kind {
        Kind::Deployment if object["spec"]["paused"] == true => {
            Some("it is paused: `kubectl rollout resume` it first")
        }
        Kind::StatefulSet | Kind::DaemonSet
            if text("/spec/updateStrategy/type") == Some("OnDelete") =>
        {
            Some("its updateStrategy is OnDelete: delete its pods")
        }
        _ => None,
    }
}

/// How the rollout of this object stands.
pub fn progress(kind: Kind, object: &Value) -> Progress {
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64);
    let wanted = wanted.unwrap_or(1);
    let seen =
        number(object, "/status/observedGeneration") >= number(object, "/metadata/generation");
    let rolls = |new: i64, of: i64| Progress::Rolls {
        new: if seen { new.min(of) } else { 0 },
        of,
    };
    match kind {
        Kind::Deployment => {
            let new = number(object, "/status/updatedReplicas");
            if seen && let Some(why) = deadline(object) {
                return Progress::Stuck(why);
            }
            let all = number(object, "/status/replicas");
            let available = number(object, "/status/availableReplicas");
            if seen && new >= wanted && all <= new && available >= new {
                return Progress::Done;
            }
            rolls(available.min(new), wanted)
        }
        Kind::StatefulSet => {
            let new = number(object, "/status/updatedReplicas");
            let kept = number(object, "/spec/updateStrategy/rollingUpdate/partition");
            let of = (wanted - kept).max(0);
            let is_ready = number(object, "/status/readyReplicas") >= wanted;
            if seen && is_ready && new >= of {
                return Progress::Done;
            }
            rolls(new, of)
        }
        Kind::DaemonSet => {
            let of = number(object, "/status/desiredNumberScheduled");
            let new = number(object, "/status/updatedNumberScheduled");
            if seen && new >= of && number(object, "/status/numberAvailable") >= of {
                return Progress::Done;
            }
            rolls(new, of)
        }
    }
}

/// Why a Deployment's controller has given up, if it has.
fn deadline(object: &Value) -> Option<String> {
    let mut conditions = object["status"]["conditions"].as_array()?.iter();
    let given_up = conditions.find(|condition| {
        condition["type"] == "Progressing" && condition["reason"] == "ProgressDeadlineExceeded"
    })?;
    Some(given_up["message"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rollout_is_done_when_kubectl_says_so() {
        let deployment = |seen: i64, updated: i64, all: i64, available: i64| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": {
                "observedGeneration": seen, "updatedReplicas": updated, "replicas": all, "availableReplicas": available}})
        };
        let stateful = |updated: i64, ready: i64, partition: i64| {
            json!({"metadata": {"generation": 2}, "spec": {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": partition}}},
                "status": {"observedGeneration": 2, "updatedReplicas": updated, "readyReplicas": ready}})
        };
        let daemon = |updated: i64, available: i64| {
            json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "desiredNumberScheduled": 3,
                "updatedNumberScheduled": updated, "numberAvailable": available}})
        };
        let rolls = |new| Progress::Rolls { new, of: 3 };
        for (kind, object, want) in [
            // What the controller has not seen yet is not done, whatever the numbers.
            (Kind::Deployment, deployment(1, 3, 3, 3), rolls(0)),
            (Kind::Deployment, deployment(2, 1, 4, 4), rolls(1)),
            (Kind::Deployment, deployment(2, 3, 4, 3), rolls(3)),
            (Kind::Deployment, deployment(2, 3, 3, 2), rolls(2)),
            (Kind::Deployment, deployment(2, 3, 3, 3), Progress::Done),
            (Kind::StatefulSet, stateful(2, 3, 0), rolls(2)),
            (Kind::StatefulSet, stateful(3, 2, 0), rolls(3)),
            (Kind::StatefulSet, stateful(3, 3, 0), Progress::Done),
            (Kind::StatefulSet, stateful(1, 3, 2), Progress::Done),
            (Kind::DaemonSet, daemon(2, 3), rolls(2)),
            (Kind::DaemonSet, daemon(3, 2), rolls(3)),
            (Kind::DaemonSet, daemon(3, 3), Progress::Done),
        ] {
            assert_eq!(progress(kind, &object), want, "{kind:?} {object}");
        }
        let mut stuck = deployment(2, 1, 4, 3);
        stuck["status"]["conditions"] = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "message": "ReplicaSet \"web-1\" has timed out progressing."}]);
        assert!(
            matches!(progress(Kind::Deployment, &stuck), Progress::Stuck(why) if why.contains("timed out"))
        );
    }

    #[test]
    fn what_makes_no_new_pods_is_no_rollout() {
        let paused = json!({"spec": {"paused": true}});
        assert!(obstacle(Kind::Deployment, &paused).is_some_and(|why| why.contains("resume")));
        let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
        assert!(obstacle(Kind::StatefulSet, &on_delete).is_some());
        assert!(obstacle(Kind::DaemonSet, &on_delete).is_some());
        assert_eq!(obstacle(Kind::DaemonSet, &json!({"spec": {}})), None);
    }
}
