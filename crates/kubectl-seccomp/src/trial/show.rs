//! What is known of a trial, for people and programs: pure.

use std::fmt::Write as _;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde::Serialize;

use super::subject::Found;
use crate::denials::cells;
use crate::table::Table;
use crate::text::{Style, plural};
use seccomp_operator_api::{Denial, SeccompPolicy, Trial, TrialReport, TrialStatus, condition};

/// What is known.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// As the command takes it.
    #[serde(skip)]
    label: String,
    profile: String,
    /// Whose profile is tried, if it is a policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    /// How it is reported.
    report: TrialReport,
    /// Whether the controller has seen this next version.
    is_known: bool,
    /// Since when it is on trial.
    since: Option<Timestamp>,
    /// For how long, in seconds.
    seconds: Option<i64>,
    /// How many pods use the profile, and how many of them are on trial: recorders hear them.
    used_by: i32,
    pods: i32,
    containers: i32,
    /// How often what would have been refused was called, at least.
    count: i64,
    denials: Vec<Denial>,
    /// What the operator says of the trial.
    warnings: Vec<String>,
}

impl Shown {
    pub fn of(found: &Found, now: Timestamp) -> Self {
        let profile = &found.profile;
        let trial = profile.spec.trial.as_ref();
        let status = profile.status.clone().unwrap_or_default();
        let digest = trial.map(Trial::digest);
        let known = status
            .trial
            .filter(|known| Some(&known.digest) == digest.as_ref());
        let is_known = known.is_some();
        let TrialStatus {
            since,
            pods,
            containers,
            count,
            denials,
            ..
        } = known.unwrap_or_default();
        let since = since.map(|since| since.0);
        let is_of_trial = |warning: &String| {
            warning.starts_with("spec.trial") || warning.starts_with("once spec.trial")
        };
        let mut warnings: Vec<_> = status.warnings.into_iter().filter(is_of_trial).collect();
        if let Some(policy) = &found.policy {
            warnings.extend(of_policy(policy));
        }
        Self {
            label: found.label.clone(),
            policy: found.policy.as_ref().map(ResourceExt::name_any),
            profile: profile.metadata.name.clone().unwrap_or_default(),
            report: trial.map(|trial| trial.report).unwrap_or_default(),
            is_known,
            since,
            seconds: since.map(|since| now.duration_since(since).as_secs()),
            used_by: status.used_by.unwrap_or_default(),
            pods,
            containers,
            count,
            denials,
            warnings,
        }
    }

    /// Whether nothing would have been refused, as far as anybody heard.
    pub fn is_quiet(&self) -> bool {
        self.count == 0
    }

    pub fn text(&self, style: Style) -> String {
        let mut text = String::new();
        let mut line = |sentence: &str| {
            let _ = writeln!(text, "{sentence}"); // a string takes all
        };
        let name = &self.label;
        if !self.is_known {
            line(&match self.policy {
                None => format!("The controller has not seen this next version of {name} yet."),
                Some(_) => format!("The trial of {name} has not begun yet."),
            });
            return text + &self.notes();
        }
        let long = SignedDuration::from_secs(self.seconds.unwrap_or_default().max(0));
        let pods = match self.used_by {
            1 => "1 pod that uses".to_owned(),
            many => format!("{many} pods that use"),
        };
        let (hear, lacks) = match self.report {
            TrialReport::Notify => ("recorders", "recorder and log instead"),
            TrialReport::Log => ("audit readers", "audit reader that hears"),
        };
        line(&format!(
            "{name} has been on trial for {long:#}; {hear} hear {} of {pods} it ({}).",
            self.pods,
            plural(self.containers, "container")
        ));
        if self.pods < self.used_by {
            line(&format!(
                "The others were started before the trial (`kubectl seccomp restart --outdated`), or their nodes have no {lacks}."
            ));
        }
        if self.is_quiet() {
            line("Nothing that was heard would have been refused.");
        } else {
            line(&format!(
                "Calls that would have been refused: {} at least.",
                self.count
            ));
            line("");
            text += &self.table(style);
        }
        text += &self.notes();
        let (promotes, drops) = match self.policy {
            None => ("makes the next version the one in force", "ends the trial"),
            Some(_) => ("has the policy enforced", "deletes it"),
        };
        let _ = writeln!(
            text,
            "\n`kubectl seccomp trial promote {name}` {promotes}, `... drop {name}` {drops}."
        ); // as above
        text
    }

    fn notes(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            let _ = writeln!(text, "note: {warning}"); // a string takes all
        }
        text
    }

    fn table(&self, style: Style) -> String {
        let mut table = Table::new([
            "NAMESPACE",
            "POD",
            "CONTAINER",
            "CALL",
            "COUNT",
            "LAST",
            "ARGUMENTS",
        ]);
        for denial in &self.denials {
            table.row(cells(denial));
        }
        table.lines(style)
    }
}

/// What the operator says of a policy on trial, beside what it says of the profile that is kept for it.
fn of_policy(policy: &SeccompPolicy) -> Vec<String> {
    let status = policy.status.clone().unwrap_or_default();
    let mut conditions = status.conditions.into_iter();
    let not_ready = conditions.find(|one| one.type_ == condition::READY && one.status == "False");
    let why = not_ready.map(|condition| condition.message);
    why.into_iter().chain(status.warnings).collect()
}

#[cfg(test)]
mod tests {
    use seccomp_operator_api::{SeccompProfile, SeccompProfileSpec};
    use seccomp_profile::Library;
    use serde_json::{Value, json};

    use super::*;

    fn shown(status: &Value, report: &str) -> Shown {
        let spec =
            json!({"base": "runtime-default", "trial": {"deny": ["@chmod"], "report": report}});
        let spec: SeccompProfileSpec = serde_json::from_value(spec).unwrap();
        let mut profile = SeccompProfile::new("no-chmod", spec);
        let mut status = status.clone();
        if status["trial"]["digest"] == "own" {
            status["trial"]["digest"] = profile.spec.trial.as_ref().unwrap().digest().into();
        }
        profile.status = Some(serde_json::from_value(status).unwrap());
        let found = Found {
            label: "no-chmod".into(),
            profile,
            policy: None,
            library: Library::default(),
        };
        Shown::of(&found, "2026-01-02T03:00:00Z".parse().unwrap())
    }

    fn text(shown: &Shown) -> String {
        shown.text(Style::plain())
    }

    #[test]
    fn it_is_said_for_how_long_who_is_heard_and_what_would_be_refused() {
        let denial = json!({
            "namespace": "shop", "pod": "web-0", "podUid": "u", "container": "web", "call": "fchmodat", "architecture": "SCMP_ARCH_X86_64",
            "count": 12, "firstSeen": "2026-01-01T00:00:00Z", "lastSeen": "2026-01-01T00:00:09Z",
        });
        let mut status = json!({"usedBy": 3, "warnings": ["spec.trial: would refuse sendto", "spec.deny[0]: other"],
            "trial": {"digest": "own", "since": "2026-01-01T00:00:00Z", "pods": 2, "containers": 2, "count": 12, "denials": [denial]}});
        let said = text(&shown(&status, "Notify"));
        for line in [
            "no-chmod has been on trial for 27h; recorders hear 2 of 3 pods that use it (2 containers).",
            "The others were started before the trial",
            "Calls that would have been refused: 12 at least.",
            "shop        web-0   web         fchmodat   12      2026-01-01T00:00:09Z",
            "note: spec.trial: would refuse sendto",
        ] {
            assert!(said.contains(line), "{line}\n{said}");
        }
        assert!(!said.contains("spec.deny[0]"), "{said}");
        status["trial"]["count"] = 0.into();
        status["trial"]["denials"] = json!([]);
        status["trial"]["pods"] = 3.into();
        let quiet = shown(&status, "Notify");
        assert!(quiet.is_quiet());
        let said = text(&quiet);
        assert!(
            said.contains("Nothing that was heard would have been refused."),
            "{said}"
        );
        assert!(!said.contains("The others"), "{said}");
        let logged = text(&shown(&status, "Log"));
        assert!(
            logged.contains("audit readers hear 3 of 3 pods"),
            "{logged}"
        );
        let data = serde_json::to_value(quiet).unwrap();
        assert_eq!(
            (&data["seconds"], &data["pods"]),
            (&json!(97_200), &json!(3))
        );
    }

    #[test]
    fn what_was_heard_of_another_next_version_is_not_shown() {
        let status = json!({"trial": {"digest": "0000000000000000", "pods": 2, "containers": 2, "count": 12}});
        let shown = shown(&status, "Notify");
        assert!(!shown.is_known && shown.count == 0);
        assert!(text(&shown).contains("has not seen this next version of no-chmod yet"));
    }

    #[test]
    fn a_policy_s_trial_is_shown_by_the_policy_s_name_and_with_what_is_said_of_it() {
        use crate::trial::subject::tests::{of_policy, stored};
        let spec = json!({"base": "runtime-default", "trial": {"base": "web"}});
        let of = |profiles| {
            Shown::of(
                &of_policy("Trial", profiles).unwrap(),
                Timestamp::UNIX_EPOCH,
            )
        };
        let early = text(&of(vec![]));
        assert!(
            early.starts_with(
                "The trial of policy/shop has not begun yet.\nnote: not on all nodes\n"
            ),
            "{early}"
        );
        let digest = stored("trial.shop", &spec, &json!({}))
            .unwrap()
            .spec
            .trial
            .unwrap()
            .digest();
        let status = json!({"usedBy": 3, "trial": {"digest": digest, "since": null, "pods": 3, "containers": 3, "count": 0}});
        let shown = of(vec![stored("trial.shop", &spec, &status)]);
        let said = text(&shown);
        for part in [
            "recorders hear 3 of 3 pods that use it",
            "note: spec.overrides[0]: stays",
            "`kubectl seccomp trial promote policy/shop` has the policy enforced, `... drop policy/shop` deletes it.",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let data = serde_json::to_value(shown).unwrap();
        assert_eq!(
            (&data["policy"], &data["profile"]),
            (&json!("shop"), &json!("trial.shop"))
        );
    }
}
