//! A plan and what came of it, for people and as manifests. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::plan::{Change, Fate, Plan, Standing, marked};
use crate::Failure;
use crate::call::Call;
use crate::manifest;
use crate::table::Table;
use crate::text::{Style, plural, wrap};
use seccomp_operator_api::SeccompProfile;

/// So many rows of what cannot be reached; more are a number.
const MAX_OPEN: usize = 30;

/// The plan.
pub fn plan(calls: &[Call], plan: &Plan, style: Style) -> String {
    let calls: Vec<_> = calls.iter().map(|call| call.text.as_str()).collect();
    let mut out = wrap("To be refused: ", &calls.join(", "));
    let mut table = Table::new(["OBJECT", "CHANGE", "CONTAINERS"]);
    let users = users(&plan.fates);
    for (name, change) in &plan.profiles {
        let users = users.get(name.as_str()).copied().unwrap_or_default();
        table.row([
            format!("seccompprofile/{name}"),
            of_profile(change),
            users.to_string(),
        ]);
    }
    if let Some((name, change)) = &plan.policy {
        let what = match change {
            Change::Made(policy) => format!("made, priority {}", policy.spec.priority),
            Change::Changed(policy) => format!("gets priority {}", policy.spec.priority),
            _ => "stays".to_owned(),
        };
        table.row([format!("seccomppolicy/{name}"), what, String::new()]);
    }
    out += "\n";
    out += &table.lines(style);
    out += "\n";
    out += &standing(plan, style);
    for note in &plan.notes {
        out += &wrap("note: ", note);
    }
    out
}

fn of_profile(change: &Change<SeccompProfile>) -> String {
    match change {
        Change::Made(profile) => {
            let base = profile.spec.base.as_deref().unwrap_or_default();
            format!("made on {base}: deny {}", entries(profile))
        }
        Change::Changed(profile) => format!("deny gets {}", entries(profile)),
        Change::Stands => "refuses it already".to_owned(),
        Change::Impossible(why) => format!("cannot be changed: {why}"),
    }
}

fn entries(profile: &SeccompProfile) -> String {
    let entry = |entry: &serde_json::Value| {
        let name = entry.as_str().or_else(|| entry["name"].as_str());
        let name = name.unwrap_or_default().to_owned();
        let args = entry["args"].as_array().into_iter().flatten();
        let args: Vec<_> = args
            .map(|arg| {
                let masked = &arg["valueTwo"];
                let value = if masked.is_null() {
                    &arg["value"]
                } else {
                    masked
                };
                format!("{}={}", arg["index"], value.to_string().trim_matches('"'))
            })
            .collect();
        match args.as_slice() {
            [] => name,
            args => format!("{name}({})", args.join(", ")),
        }
    };
    let all: Vec<_> = marked(profile).iter().map(entry).collect();
    all.join(" ")
}

/// How many containers have, or would have, each profile.
fn users(fates: &[Fate]) -> BTreeMap<&str, usize> {
    let mut users = BTreeMap::new();
    for fate in fates {
        if let Standing::Covered(name) | Standing::Restart(name) = &fate.standing {
            *users.entry(name.as_str()).or_default() += 1;
        }
    }
    users
}

/// How the containers stand, and those that are not reached.
pub fn standing(plan: &Plan, style: Style) -> String {
    let of = |is: fn(&Standing) -> bool| {
        let fates = plan.fates.iter().filter(|fate| is(&fate.standing));
        fates.count()
    };
    let pods: BTreeSet<_> = (plan.fates.iter())
        .map(|fate| (&fate.namespace, &fate.pod))
        .collect();
    let mut parts = vec![format!(
        "{} refuse it",
        of(|standing| matches!(standing, Standing::Covered(_)))
    )];
    let restarts = plan.to_restart().len();
    if restarts > 0 {
        parts.push(format!(
            "{} will after a restart of {}",
            of(|standing| matches!(standing, Standing::Restart(_))),
            plural(restarts, "pod")
        ));
    }
    let open = plan.open().count();
    if open > 0 {
        parts.push(format!("{open} cannot be reached"));
    }
    let mut out = format!(
        "{} in {}: {}\n",
        plural(plan.fates.len(), "container"),
        plural(pods.len(), "pod"),
        parts.join(", ")
    );
    if open > 0 {
        let mut table = Table::new(["NAMESPACE", "POD", "CONTAINER", "NOT REACHED"]);
        for (fate, why) in plan.open().take(MAX_OPEN) {
            table.row([
                fate.namespace.clone(),
                fate.pod.clone(),
                fate.container.clone(),
                why.to_owned(),
            ]);
        }
        out += "\n";
        out += &table.lines(style);
        if open > MAX_OPEN {
            let _ = writeln!(out, "and {} more", open - MAX_OPEN);
        }
    }
    out
}

/// What is to be made and changed, one document each, as `kubectl apply` takes it.
pub fn manifests(plan: &Plan) -> Result<String, Failure> {
    let mut out = String::new();
    let mut add = |document: String| {
        if !out.is_empty() {
            out += "---\n";
        }
        out += &document;
    };
    for profile in plan.profiles.values().filter_map(Change::object) {
        add(manifest::profile(profile)?);
    }
    let policy = plan.policy.as_ref();
    if let Some(policy) = policy.and_then(|(_, change)| change.object()) {
        add(manifest::policy(policy)?);
    }
    Ok(out)
}
