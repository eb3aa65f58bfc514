//! Coverage as a page: by namespace, and by container.

use k8s_openapi::jiff::Timestamp;

use super::effective::{Row, State, Summary};
use super::render;
use super::what_if::{self, Outcome};
use crate::html::{Block, Cell, Page, Share, Table, Tone};
use crate::text::{moment, plural};

/// Namespaces with their containers counted. Rows of one stand together.
pub fn by_namespace(rows: &[Row]) -> Vec<(String, Summary)> {
    let chunks = rows.chunk_by(|a, b| a.namespace == b.namespace);
    chunks
        .filter_map(|rows| Some((rows.first()?.namespace.clone(), Summary::count(rows))))
        .collect()
}

/// The containers of `rows`, which may be fewer than those that are counted.
pub fn coverage(
    rows: &[Row],
    all: &Summary,
    namespaces: &[(String, Summary)],
    notes: &[String],
    now: Timestamp,
) -> String {
    let mut by_namespace = Table::new(&[
        "Namespace",
        "Pods",
        "Containers",
        "Confined and open",
        "Warnings",
    ]);
    for (name, summary) in namespaces {
        by_namespace.row(vec![
            Cell::Code(name.clone()),
            Cell::Number(summary.pods),
            Cell::Number(summary.containers),
            Cell::Bar(shares(summary)),
            Cell::Number(summary.warnings),
        ]);
    }
    let legend = shares(all).iter().map(|s| (s.tone, s.word)).collect();
    let by_namespace = by_namespace
        .block()
        .map(|table| [Block::Legend(legend), table]);
    Page::new("Seccomp profiles of containers")
        .about(format!(
            "What filters the containers of all pods that had not finished at {}.",
            moment(now)
        ))
        .section("In short", vec![figures(all)])
        .section("Namespaces", by_namespace.into_iter().flatten().collect())
        .section("Containers", containers(rows))
        .notes(notes)
        .html()
}

fn figures(all: &Summary) -> Block {
    let confined = all.runtime_default + all.localhost + all.on_trial;
    let warn = |number, words: &str| (number, words.to_owned(), Tone::Warn);
    let mut figures = vec![
        (all.pods, "pods".to_owned(), Tone::Plain),
        (all.containers, "containers".to_owned(), Tone::Plain),
        (confined, "confined by a profile".to_owned(), Tone::Good),
        warn(all.unset, "unset: Unconfined or node default"),
        (all.unconfined, "Unconfined".to_owned(), Tone::Bad),
        (
            all.privileged,
            "privileged, so not enforced".to_owned(),
            Tone::Bad,
        ),
    ];
    let rare = [
        warn(all.unstartable, "under a profile that starts no container"),
        warn(all.foreign, "on nodes with a foreign file"),
        warn(all.warnings, "profiles with a warning"),
    ];
    figures.extend(rare.into_iter().filter(|(number, ..)| *number > 0));
    Block::Figures(figures)
}

/// What is open first.
fn shares(summary: &Summary) -> Vec<Share> {
    let share = |tone, number, word| Share { tone, number, word };
    vec![
        share(
            Tone::Bad,
            summary.unconfined + summary.privileged,
            "Unconfined or privileged",
        ),
        share(Tone::Warn, summary.unset, "unset"),
        share(
            Tone::Plain,
            summary.sandboxed + summary.not_linux,
            "in a sandbox or not Linux",
        ),
        share(Tone::Note, summary.on_trial, "on trial"),
        share(
            Tone::Good,
            summary.runtime_default + summary.localhost,
            "confined",
        ),
    ]
}

fn containers(rows: &[Row]) -> Vec<Block> {
    let mut table = Table::new(&[
        "Container",
        "State",
        "Profile",
        "Source",
        "Note",
        "Pod",
        "Namespace",
        "Node",
        "Image",
    ]);
    for row in rows {
        let (tone, word) = state(row);
        table.row(vec![
            Cell::Code(render::container(row)),
            Cell::Badge(tone, word.to_owned()),
            Cell::Text(render::profile(row)),
            Cell::Text(row.source.word().to_owned()),
            Cell::Text(render::note(row)),
            Cell::Code(row.pod.clone()),
            Cell::Code(row.namespace.clone()),
            Cell::Code(row.node.clone().unwrap_or_default()),
            Cell::Code(row.image.clone()),
        ]);
    }
    table.block().into_iter().collect()
}

fn state(row: &Row) -> (Tone, &'static str) {
    match row.state {
        State::Confined if row.on_trial.is_some() => (Tone::Note, "on trial"),
        State::Confined => (Tone::Good, "confined"),
        State::Unconfined => (Tone::Bad, "Unconfined"),
        State::Unset => (Tone::Warn, "unset"),
        State::Privileged => (Tone::Bad, "privileged"),
        State::Sandboxed => (Tone::Plain, "in a sandbox"),
        State::NotLinux => (Tone::Plain, "not Linux"),
    }
}

/// What policies would change.
pub fn what_if(outcomes: &[Outcome], notes: &[String], now: Timestamp) -> String {
    let mut table = Table::new(&["Pod", "Namespace", "Would get", "At", "By"]);
    for outcome in outcomes {
        for change in &outcome.changes {
            table.row(vec![
                Cell::Code(outcome.pod.clone()),
                Cell::Code(outcome.namespace.clone()),
                Cell::Text(change.describe()),
                Cell::Text(render::place(change)),
                Cell::Text(render::policies(outcome)),
            ]);
        }
    }
    let counts = what_if::counts(outcomes);
    let counts = counts.iter().map(|(reason, number)| {
        let words = format!("pods {}", what_if::semantics(reason));
        (*number, words, Tone::Plain)
    });
    let counts: Vec<_> = counts.collect();
    Page::new("What SeccompPolicies would change")
        .about(format!(
            "What would become of {}, were they created anew at {}; policies that observe, or are on trial, are taken for enforced.",
            plural(outcomes.len(), "pod"),
            moment(now)
        ))
        .section(
            "In short",
            (!counts.is_empty())
                .then_some(Block::Figures(counts))
                .into_iter()
                .collect(),
        )
        .section("Changes", table.block().into_iter().collect())
        .notes(notes)
        .html()
}

#[cfg(test)]
mod tests {
    use super::super::effective::{Surroundings, rows, tests::placed};
    use super::*;
    use crate::html::well_formed;
    use serde_json::json;

    #[test]
    fn namespaces_are_counted_and_containers_listed() {
        let confined = json!({"seccompProfile": {"type": "RuntimeDefault"}});
        let of = |namespace, context| {
            let spec = json!({"containers": [{"name": "<b>c</b>", "image": "<b>", "securityContext": context}]});
            let placed = placed(namespace, "p", &json!({}), spec);
            rows(&placed, &Surroundings::default())
        };
        let rows = [
            of("a", confined),
            of("b", json!({"privileged": true})),
            of("b", json!({})),
        ]
        .concat();
        let namespaces = by_namespace(&rows);
        let numbers = namespaces.iter().map(|(n, s)| (n.as_str(), s.containers));
        assert_eq!(numbers.collect::<Vec<_>>(), [("a", 1), ("b", 2)]);
        let notes = ["<b>note</b>".to_owned()];
        let all = Summary::count(&rows);
        let html = coverage(&rows, &all, &namespaces, &notes, Timestamp::UNIX_EPOCH);
        let seen = well_formed::check(&html).unwrap();
        assert!(!seen.tags.contains_key("b") && seen.tags["table"] == 2);
        for part in [
            "1 Unconfined or privileged, 1 unset",
            "at 1970-01-01 00:00 UTC",
            "<span class=\"badge bad\">privileged</span>",
        ] {
            assert!(html.contains(part), "{part}");
        }
        let empty = coverage(&[], &Summary::default(), &[], &[], Timestamp::UNIX_EPOCH);
        well_formed::check(&empty).unwrap();
        let what_if = what_if(&[], &notes, Timestamp::UNIX_EPOCH);
        well_formed::check(&what_if).unwrap();
    }
}
