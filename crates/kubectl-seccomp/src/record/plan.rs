//! What `record` decides: names, times, and the words that it shows. Plain functions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

pub use crate::restart::Kind;
use crate::text::plural;
use seccomp_operator_api::{
    CallArgument, RecordingStop, Requirement, RequirementOperator, SeccompRecording,
    SeccompRecordingSpec, Selector, recording_condition,
};
use seccomp_profile::Syscall;
use seccomp_recording::profile::{Made, Refused};
use seccomp_recording::progress::{curve, progress};
use seccomp_recording::{Findings, show_length};

/// A workload as the user names it: `deployment/web`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub kind: Kind,
    pub name: String,
}

/// Reads `deployment/web`, with the short names that kubectl has.
pub fn workload(text: &str) -> Result<Workload, String> {
    let wrong = || {
        format!(
            "{text:?} is no workload; write deployment/NAME, statefulset/NAME or daemonset/NAME"
        )
    };
    let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
    let kind = match kind {
        "deployment" | "deployments" | "deploy" | "deployment.apps" => Kind::Deployment,
        "statefulset" | "statefulsets" | "sts" | "statefulset.apps" => Kind::StatefulSet,
        "daemonset" | "daemonsets" | "ds" | "daemonset.apps" => Kind::DaemonSet,
        _ => return Err(wrong()),
    };
    if name.is_empty() || name.contains('/') {
        return Err(wrong());
    }
    Ok(Workload {
        kind,
        name: name.to_owned(),
    })
}

/// A selector of Kubernetes as a recording has it.
pub fn selector(selector: &LabelSelector) -> Result<Selector, String> {
    let expressions = selector.match_expressions.iter().flatten();
    let expressions = expressions.map(|expression| {
        let operator = match expression.operator.as_str() {
            "In" => RequirementOperator::In,
            "NotIn" => RequirementOperator::NotIn,
            "Exists" => RequirementOperator::Exists,
            "DoesNotExist" => RequirementOperator::DoesNotExist,
            other => return Err(format!("the workload's selector has an operator {other:?}")),
        };
        Ok(Requirement {
            key: expression.key.clone(),
            operator,
            values: expression.values.clone().unwrap_or_default(),
        })
    });
    Ok(Selector {
        match_labels: selector.match_labels.clone().unwrap_or_default(),
        match_expressions: expressions.collect::<Result<_, _>>()?,
    })
}

/// Reads `setsockopt:2`. What is wrong with the call itself, the recording says.
pub fn argument(text: &str) -> Result<CallArgument, String> {
    let read = || {
        let (call, index) = text.split_once(':')?;
        let (call, index) = (call.to_owned(), index.parse().ok()?);
        Some(CallArgument { call, index }).filter(|argument| argument.known().is_some())
    };
    read().ok_or_else(|| {
        format!("{text:?} is no argument of a call; write a call's name and an index from 0 to 5, as in setsockopt:2")
    })
}

/// The spec of the recording. It ends a minute after the command would end it, so that one whose user is gone does not go on for ever.
pub fn spec(selector: Selector, length: Duration, overrides: bool) -> SeccompRecordingSpec {
    let after = length.saturating_add(Duration::from_mins(1));
    let default: Option<SeccompRecordingSpec> =
        serde_json::from_value(json!({ "podSelector": {} })).ok();
    SeccompRecordingSpec {
        pod_selector: selector,
        stop: Some(RecordingStop {
            after: Some(show_length(after)),
            quiet_for: None,
        }),
        overrides,
        ..default.unwrap_or_default()
    }
}

/// Whether pods are recorded, or why not yet, or why never.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Records,
    Waits(String),
    Failed(String),
}

pub fn state(recording: &SeccompRecording) -> State {
    let conditions = recording
        .status
        .iter()
        .flat_map(|status| &status.conditions);
    let find = |type_: &str| {
        conditions
            .clone()
            .find(|condition| condition.type_ == type_)
    };
    if let Some(degraded) = find(recording_condition::DEGRADED)
        && degraded.status == "True"
        && ![
            recording_condition::CALLS_MISSING,
            recording_condition::RECORDER_AWAY,
            recording_condition::PODS_UNHEARD,
        ]
        .contains(&degraded.reason.as_str())
    {
        return State::Failed(degraded.message.clone());
    }
    match find(recording_condition::RECORDING) {
        Some(condition) if condition.status == "True" => State::Records,
        Some(condition) => State::Waits(condition.message.clone()),
        None => State::Waits("the operator's controller has not seen it yet".into()),
    }
}

/// One line about how the recording comes on.
pub fn line(findings: &Findings, left: Duration, now: Timestamp) -> String {
    let progress = progress(findings, now);
    let mut text = format!(
        "{} in {}, {} new in the last minute, {} left",
        plural(progress.known, "call"),
        plural(findings.now + findings.were, "container"),
        progress.new_in_last_minute,
        show_length(left)
    );
    let curve = curve(findings, Duration::from_mins(1), now, 12);
    if curve.len() > 1 {
        let numbers: Vec<_> = curve.iter().map(ToString::to_string).collect();
        let _ = write!(text, " (by the minute: {})", numbers.join(" "));
    }
    text
}

/// The SeccompProfile.
pub fn profile(name: &str, annotations: &BTreeMap<String, String>, made: &Made) -> Value {
    json!({
        "apiVersion": "seccomp-operator.io/v1alpha1",
        "kind": "SeccompProfile",
        "metadata": { "name": name, "annotations": annotations },
        "spec": { "profile": made.document },
    })
}

/// What is to be known of the profile, in lines.
pub fn summary(findings: &Findings, made: &Made) -> String {
    let mut text = format!(
        "The profile allows {} that were recorded and {} that are assumed.\n",
        plural(made.recorded, "call"),
        plural(made.assumed.len(), "call")
    );
    if !made.exec_only.is_empty() {
        let names: Vec<_> = made.exec_only.iter().map(|call| call.name()).collect();
        let names = names.join(" ");
        let _ = writeln!(text, "Left out, since only exec made them: {names}");
    }
    if !made.refused.is_empty() {
        let _ = writeln!(
            text,
            "Wanted, refused by the base, and not allowed by the profile: {}",
            refused(&made.refused)
        );
    }
    for gap in &findings.gaps {
        let _ = writeln!(text, "Calls may be missing: {gap}");
    }
    for finding in &made.findings {
        if finding.severity >= seccomp_profile::Severity::Warning {
            let _ = writeln!(text, "{finding}");
        }
    }
    text
}

/// Each call with how often it was refused: `mount (2), socket (5 of 9)`.
fn refused(calls: &BTreeMap<Syscall, Refused>) -> String {
    let said = calls.iter().map(|(call, of)| {
        if of.refused == of.made {
            format!("{call} ({})", of.refused)
        } else {
            format!("{call} ({} of {})", of.refused, of.made)
        }
    });
    said.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_goes_by_kubectl_s_names() {
        let web = |kind| {
            Ok(Workload {
                kind,
                name: "web".into(),
            })
        };
        assert_eq!(workload("deployment/web"), web(Kind::Deployment));
        assert_eq!(workload("sts/web"), web(Kind::StatefulSet));
        assert_eq!(workload("ds/web"), web(Kind::DaemonSet));
        for wrong in ["web", "pod/web", "deployment/", "deployment/a/b"] {
            assert!(
                workload(wrong).is_err_and(|said| said.contains("deployment/NAME")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_argument_goes_by_its_call_and_its_place() {
        let read = argument("setsockopt:2").unwrap();
        assert_eq!((read.call.as_str(), read.index), ("setsockopt", 2));
        for wrong in ["setsockopt", "setsockopt:6", "nothing:0", ":1", "bind:x"] {
            assert!(
                argument(wrong).is_err_and(|said| said.contains("setsockopt:2")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_recording_ends_by_itself_should_its_user_be_gone() {
        let selector = Selector {
            match_labels: [("app".into(), "web".into())].into(),
            ..Selector::default()
        };
        let spec = spec(selector.clone(), Duration::from_mins(10), false);
        assert_eq!(spec.stop.unwrap().after.as_deref(), Some("11m"));
        assert_eq!(
            (spec.pod_selector, spec.base.as_str()),
            (selector, "runtime-default")
        );
    }

    #[test]
    fn what_was_wanted_and_refused_is_said_with_how_often() {
        let of = |name, refused, made| (Syscall::named(name).unwrap(), Refused { refused, made });
        let calls = [of("mount", 2, 2), of("socket", 5, 9)].into();
        assert_eq!(refused(&calls), "mount (2), socket (5 of 9)");
    }

    #[test]
    fn a_state_is_what_the_conditions_say() {
        let recording = |conditions: Value| -> SeccompRecording {
            serde_json::from_value(json!({
                "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompRecording", "metadata": {"name": "web"},
                "spec": {"podSelector": {}}, "status": {"conditions": conditions},
            })).unwrap()
        };
        let condition = |type_: &str, status: &str, reason: &str| {
            json!({
                "type": type_, "status": status, "reason": reason, "message": reason, "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        };
        assert!(matches!(state(&recording(json!([]))), State::Waits(_)));
        let records = condition("Recording", "True", "Recording");
        assert_eq!(state(&recording(json!([records]))), State::Records);
        assert_eq!(
            state(&recording(json!([condition(
                "Recording",
                "False",
                "Preparing"
            )]))),
            State::Waits("Preparing".into())
        );
        let invalid = condition("Degraded", "True", "Invalid");
        assert_eq!(
            state(&recording(json!([records, invalid]))),
            State::Failed("Invalid".into())
        );
        for reason in ["CallsMissing", "RecorderAway", "PodsUnheard"] {
            let missing = condition("Degraded", "True", reason);
            assert_eq!(state(&recording(json!([records, missing]))), State::Records);
        }
    }
}
