//! Coverage for people: a row per container, and what it comes to.

use std::fmt::Write as _;

use super::effective::{Kind, Row, Source, State, Summary};
use super::what_if::{AssignedProfile, Outcome, counts, semantics};
use crate::table::Table;
use crate::text::{Style, plural, wrap};
use seccomp_operator_api::Mode;

/// How to show it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout {
    /// Of more than one namespace.
    pub namespaces: bool,
    /// With nodes and images.
    pub wide: bool,
}

/// A row per container, and a summary of `all` of them.
pub fn coverage(
    shown: &[Row],
    all: &Summary,
    layout: Layout,
    notes: &[String],
    style: Style,
) -> String {
    let mut table = Table::new([
        "NAMESPACE",
        "POD",
        "CONTAINER",
        "PROFILE",
        "SOURCE",
        "NODE",
        "IMAGE",
        "NOTE",
    ]);
    let if_wide = |text: &str| {
        if layout.wide {
            text.to_owned()
        } else {
            String::new()
        }
    };
    for row in shown {
        table.row([
            if layout.namespaces {
                row.namespace.clone()
            } else {
                String::new()
            },
            row.pod.clone(),
            container(row),
            profile(row),
            row.source.word().to_owned(),
            if_wide(row.node.as_deref().unwrap_or_default()),
            if_wide(&row.image),
            note(row),
        ]);
    }
    let mut out = String::new();
    if !shown.is_empty() {
        out += &table.lines(style);
        out.push('\n');
    }
    out + &summary(all) + &told(notes)
}

pub fn container(row: &Row) -> String {
    match row.kind {
        Kind::Container => row.container.clone(),
        Kind::Init => format!("{} (init)", row.container),
        Kind::Ephemeral => format!("{} (ephemeral)", row.container),
    }
}

pub fn profile(row: &Row) -> String {
    match (&row.profile, row.state) {
        (Some(profile), State::Unset) => {
            format!("Unconfined or node default ({})", profile.describe())
        }
        (Some(profile), _) => profile.describe(),
        (None, State::Privileged) => "Unconfined".to_owned(),
        (None, State::NotLinux) => String::new(),
        (None, _) => "Unconfined or node default".to_owned(),
    }
}

pub fn note(row: &Row) -> String {
    let not_linux = (row.state == State::NotLinux).then(|| "not Linux".to_owned());
    let reason = row.reason.as_ref().map(|reason| match row.source {
        Source::None => reason.clone(),
        _ => format!("not enforced: {reason}"),
    });
    let trial = row.on_trial.as_ref().map(|policy| {
        format!("on trial for SeccompPolicy {policy:?}: runtime-default is in force")
    });
    let parts = [not_linux, reason, trial, row.warning.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn summary(summary: &Summary) -> String {
    let parts = [
        (summary.runtime_default, "RuntimeDefault"),
        (summary.on_trial, "on trial (runtime-default)"),
        (summary.localhost, "Localhost"),
        (summary.unconfined, "Unconfined"),
        (summary.unset, "unset (Unconfined or node default)"),
        (summary.privileged, "privileged (not enforced)"),
        (summary.sandboxed, "in a sandbox (not enforced)"),
        (summary.not_linux, "not Linux"),
    ];
    let parts: Vec<_> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let told = |number: usize, what: &str| match number {
        0 => String::new(),
        number => format!("; {what}: {number}"),
    };
    let warnings = told(
        summary.unstartable,
        "under a profile that starts no container",
    ) + &told(summary.foreign, "on nodes with a foreign file")
        + &told(summary.warnings, "profiles with a warning");
    let colon = if parts.is_empty() { "" } else { ": " };
    let head = format!(
        "{}, {}{colon}",
        plural(summary.pods, "pod"),
        plural(summary.containers, "container")
    );
    wrap("", &format!("{head}{}{warnings}", parts.join(", ")))
}

/// A row per pod that would change, and what would become of the others.
pub fn what_if(outcomes: &[Outcome], layout: Layout, notes: &[String], style: Style) -> String {
    let mut table = Table::new(["NAMESPACE", "POD", "WOULD GET", "AT", "BY"]);
    let changed = || {
        outcomes
            .iter()
            .filter(|outcome| !outcome.changes.is_empty())
    };
    for outcome in changed() {
        let by = policies(outcome);
        for change in &outcome.changes {
            table.row([
                if layout.namespaces {
                    outcome.namespace.clone()
                } else {
                    String::new()
                },
                outcome.pod.clone(),
                change.describe(),
                place(change),
                by.clone(),
            ]);
        }
    }
    let mut out = String::new();
    if changed().next().is_some() {
        out += &table.lines(style);
        out.push('\n');
    }
    let counts: Vec<_> = counts(outcomes)
        .iter()
        .map(|(reason, count)| format!("{count} {}", semantics(reason)))
        .collect();
    let colon = if counts.is_empty() { "" } else { ": " };
    let mut sentence = plural(outcomes.len(), "pod");
    if !outcomes.is_empty() {
        let _ = write!(sentence, ", {} would change", changed().count());
    }
    sentence += colon;
    let _ = write!(sentence, "{}", counts.join(", "));
    out + &wrap("", &sentence) + &told(notes)
}

/// The policies that would change a pod, and what those do that enforce nothing yet.
pub fn policies(outcome: &Outcome) -> String {
    let by = outcome.policies.iter().map(|by| match by.mode {
        Mode::Enforce => by.name.clone(),
        Mode::Observe => format!("{} (observes)", by.name),
        Mode::Trial => format!("{} (on trial)", by.name),
    });
    by.collect::<Vec<_>>().join(", ")
}

pub fn place(change: &AssignedProfile) -> String {
    let container = change.container.as_ref();
    container.map_or_else(|| "pod".to_owned(), |name| format!("container {name}"))
}

fn told(notes: &[String]) -> String {
    notes.iter().map(|note| wrap("note: ", note)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::effective::{Surroundings, rows, tests::placed};
    use super::*;
    use serde_json::json;

    fn some() -> Vec<Row> {
        let privileged = json!({"privileged": true, "seccompProfile": {"type": "RuntimeDefault"}});
        let spec = json!({
            "nodeName": "n1",
            "initContainers": [{"name": "first", "image": "x"}],
            "containers": [
                {"name": "main", "image": "nginx:1", "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/\u{7}.json"}}},
                {"name": "root", "securityContext": privileged},
            ],
        });
        rows(
            &placed("ns", "web", &json!({}), spec),
            &Surroundings::default(),
        )
    }

    #[test]
    fn each_container_has_a_row_and_all_of_them_a_line() {
        let rows = some();
        let text = coverage(
            &rows,
            &Summary::count(&rows),
            Layout::default(),
            &["less is known".into()],
            Style::plain(),
        );
        assert_eq!(
            text,
            "\
POD   CONTAINER      PROFILE                         SOURCE      NOTE
web   first (init)   Unconfined or node default
web   main           Localhost profiles/\\u{7}.json   container
web   root           RuntimeDefault                  container   not enforced: the container is privileged

1 pod, 3 containers: 1 Localhost, 1 unset (Unconfined or node default), 1 privileged (not enforced)
note: less is known
"
        );
        let layout = Layout {
            namespaces: true,
            wide: true,
        };
        let wide = coverage(&rows, &Summary::count(&rows), layout, &[], Style::plain());
        for part in ["NAMESPACE", "ns ", "n1 ", "nginx:1"] {
            assert!(wide.contains(part), "{wide}");
        }
    }

    #[test]
    fn nothing_is_said_in_one_line() {
        let text = coverage(
            &[],
            &Summary::default(),
            Layout::default(),
            &[],
            Style::plain(),
        );
        assert_eq!(text, "0 pods, 0 containers\n");
        assert_eq!(
            what_if(&[], Layout::default(), &[], Style::plain()),
            "0 pods\n"
        );
    }
}
