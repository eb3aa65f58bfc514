//! The state of profiles and nodes as a page, with how much of the kernel each profile leaves open.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use kube::core::error_boundary::InvalidObject;

use super::render;
use super::source;
use super::survey::{NodeState, Profile, State, Survey};
use crate::html::{Block, Cell, Page, Share, Table, Tone};
use crate::openness::{self, Group, Openness};
use crate::stored;
use crate::text::moment;
use crate::view::View;
use seccomp_operator_api::{SeccompProfile, SourceState};
use seccomp_profile::{Arch, Loader, Runtime};

/// What profiles leave open on nodes of an architecture; those that mean nothing are not among them.
pub struct Open {
    arch: Arch,
    profiles: BTreeMap<String, (Openness, Vec<Group>)>,
}

/// For the first architecture of those that are looked at everywhere that a node has.
pub fn openness(stored: &[Result<SeccompProfile, InvalidObject>], survey: &Survey) -> Open {
    let has = |arch: &Arch| {
        let mut arches = survey.nodes.iter().map(|node| node.architecture.as_str());
        arches.any(|name| Arch::named(name) == Some(*arch))
    };
    let known = stored::ARCHES.into_iter().find(has);
    let arch = known.unwrap_or(Arch::X86_64);
    let library = stored::library(stored);
    let names = survey.profiles.iter().map(|profile| &profile.name);
    let open = |name: &String| {
        let profile = stored::compose(&library, name, arch).ok()?;
        let view = View::from_profile(&profile, arch, Loader::any(Runtime::Runc)).ok()?;
        let groups = openness::by_group(&view, arch);
        Some((name.clone(), (Openness::of(&view, arch), groups)))
    };
    Open {
        arch,
        profiles: names.filter_map(open).collect(),
    }
}

pub fn page(survey: &Survey, open: &Open, now: Timestamp) -> String {
    let title = match &survey.profiles[..] {
        [one] => format!("SeccompProfile {}", one.name),
        _ => "SeccompProfiles and nodes".to_owned(),
    };
    let mut page = Page::new(title)
        .about(format!("As the cluster had it at {}.", moment(now)))
        .section("In short", vec![figures(survey)]);
    if survey.sees_profiles {
        page = page.section("Profiles", profiles(survey));
    }
    page.section("Left open", map(open))
        .section("Failures", failures(survey))
        .section("Sources", sources(survey))
        .section("Warnings", warnings(survey))
        .section("Outdated pods", outdated(survey))
        .section("Nodes", nodes(survey))
        .notes(&survey.notes)
        .html()
}

fn tone(state: State) -> Tone {
    match state {
        State::Ready => Tone::Good,
        State::Progressing | State::Unseen => Tone::Note,
        State::Deleting => Tone::Plain,
        State::Failed | State::Unstartable | State::Invalid => Tone::Bad,
    }
}

fn node_tone(state: NodeState) -> Tone {
    match state {
        NodeState::InSync => Tone::Good,
        NodeState::Behind => Tone::Note,
        NodeState::NoAgent => Tone::Plain,
        NodeState::Failing | NodeState::Silent => Tone::Bad,
    }
}

fn source_tone(state: SourceState) -> Tone {
    match state {
        SourceState::Ready => Tone::Good,
        SourceState::Unseen => Tone::Note,
        SourceState::Suspended => Tone::Plain,
        SourceState::Failed => Tone::Bad,
    }
}

fn figures(survey: &Survey) -> Block {
    let summary = &survey.summary;
    let profiles = summary.profiles.iter();
    let profiles = profiles
        .map(|(state, number)| (*number, format!("profiles {}", state.word()), tone(*state)));
    let nodes = summary.nodes.iter();
    let nodes = nodes.map(|(state, number)| {
        (
            *number,
            format!("nodes {}", state.word()),
            node_tone(*state),
        )
    });
    let sources = summary.sources.iter();
    let sources = sources.map(|(state, number)| {
        let word = format!("sources {}", source::word(*state));
        (*number, word, source_tone(*state))
    });
    let figures: Vec<_> = profiles.chain(nodes).chain(sources).collect();
    if figures.is_empty() {
        return Block::Text("There are no SeccompProfiles, and no node has an agent.".into());
    }
    Block::Figures(figures)
}

fn number(number: i32) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn profiles(survey: &Survey) -> Vec<Block> {
    let mut table = Table::new(&[
        "Profile",
        "State",
        "Nodes",
        "Used by",
        "Outdated",
        "By default",
        "Path",
        "Why",
    ]);
    for profile in &survey.profiles {
        table.row(vec![
            Cell::Code(profile.name.clone()),
            Cell::Badge(tone(profile.state), profile.state.word().to_owned()),
            Cell::Bar(on_nodes(profile)),
            Cell::Number(number(profile.used_by)),
            Cell::Number(number(profile.outdated)),
            Cell::Code(profile.default_action.clone().unwrap_or_default()),
            Cell::Code(profile.path.clone().unwrap_or_default()),
            Cell::Text(profile.message.clone()),
        ]);
    }
    match table.block() {
        Some(table) => vec![table],
        None => vec![Block::Text("There are no SeccompProfiles.".into())],
    }
}

fn on_nodes(profile: &Profile) -> Vec<Share> {
    let share = |tone, number, word| Share { tone, number, word };
    let (ready, failed) = (number(profile.ready), number(profile.failed));
    let others = number(profile.desired).saturating_sub(ready + failed);
    vec![
        share(Tone::Good, ready, "have it"),
        share(Tone::Note, others, "wait"),
        share(Tone::Bad, failed, "could not take it"),
    ]
}

fn map(open: &Open) -> Vec<Block> {
    let mut table = Table::new(&[
        "Profile",
        "Left open",
        "Groups that are stopped",
        "Groups that are stopped in part",
    ]);
    for (name, (openness, groups)) in &open.profiles {
        let named = |test: fn(&Openness) -> bool| {
            let groups = groups.iter().filter(|group| test(&group.openness));
            let named = groups.filter(|group| group.name.starts_with('@'));
            Cell::Codes(named.map(|group| group.name.to_owned()).collect())
        };
        table.row(vec![
            Cell::Code(name.clone()),
            Cell::Bar(openness.shares()),
            named(|group| group.open + group.logged + group.conditional == 0),
            named(|group| {
                group.open + group.logged + group.conditional > 0
                    && group.stopped + group.conditional > 0
            }),
        ]);
    }
    let Some(table) = table.block() else {
        return Vec::new();
    };
    let sentence = format!(
        "Of the syscalls of {}, as runc on a node with a new kernel has the profile. `kubectl seccomp explain -o html` shows each call.",
        open.arch.native_name()
    );
    vec![Block::Text(sentence), openness::legend(), table]
}

fn failures(survey: &Survey) -> Vec<Block> {
    let mut table = Table::new(&["Profile", "Reason", "Message", "Nodes"]);
    for ((profile, reason, message), nodes) in render::alike(survey) {
        table.row(vec![
            Cell::Code(profile.to_owned()),
            Cell::Badge(Tone::Bad, reason.to_owned()),
            Cell::Text(message.to_owned()),
            Cell::Codes(nodes),
        ]);
    }
    table.block().into_iter().collect()
}

fn sources(survey: &Survey) -> Vec<Block> {
    let mut table = Table::new(&[
        "Profile",
        "State",
        "Reference",
        "Digest",
        "Signed by",
        "Why",
    ]);
    for source in &survey.sources {
        table.row(vec![
            Cell::Code(source.name.clone()),
            Cell::Badge(source_tone(source.state), source.word().to_owned()),
            Cell::Code(source.reference.clone()),
            Cell::Code(source.digest.clone().unwrap_or_default()),
            Cell::Text(source.signed_by.clone().unwrap_or_default()),
            Cell::Text(source.message.clone()),
        ]);
    }
    table.block().into_iter().collect()
}

fn warnings(survey: &Survey) -> Vec<Block> {
    let mut table = Table::new(&["Profile", "Warning"]);
    for profile in &survey.profiles {
        let mut sentences = profile.warnings.clone();
        if !profile.foreign.is_empty() {
            let nodes = profile.foreign.join(", ");
            sentences.push(format!("pods start under somebody else's file on {nodes}"));
        }
        if profile.state != State::Unstartable && profile.startable.status == "False" {
            sentences.push(profile.startable.message.clone());
        }
        for sentence in sentences {
            table.row(vec![Cell::Code(profile.name.clone()), Cell::Text(sentence)]);
        }
    }
    table.block().into_iter().collect()
}

fn outdated(survey: &Survey) -> Vec<Block> {
    let mut table = Table::new(&["Pod", "Namespace", "Node", "Profile"]);
    for profile in &survey.profiles {
        for pod in &profile.outdated_pods {
            table.row(vec![
                Cell::Code(pod.name.clone()),
                Cell::Code(pod.namespace.clone()),
                Cell::Code(pod.node.clone()),
                Cell::Code(profile.name.clone()),
            ]);
        }
    }
    table.block().into_iter().collect()
}

fn nodes(survey: &Survey) -> Vec<Block> {
    let mut table = Table::new(&[
        "Node",
        "State",
        "Why",
        "Architecture",
        "Kernel",
        "Runtime",
        "Agent",
    ]);
    for node in &survey.nodes {
        table.row(vec![
            Cell::Code(node.name.clone()),
            Cell::Badge(node_tone(node.state), node.state.word().to_owned()),
            Cell::Text(node.message.clone()),
            Cell::Text(node.architecture.clone()),
            Cell::Text(node.kernel_version.clone()),
            Cell::Text(node.container_runtime.clone().unwrap_or_default()),
            Cell::Text(node.agent_version.clone()),
        ]);
    }
    table.block().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::survey::{Observed, survey};
    use super::*;
    use crate::html::well_formed;
    use serde_json::json;

    #[test]
    fn profiles_have_their_state_and_what_they_leave_open() {
        let profile = |name: &str, spec| -> SeccompProfile {
            serde_json::from_value(json!({
                "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile",
                "metadata": {"name": name, "generation": 1}, "spec": spec,
            }))
            .unwrap()
        };
        let profiles = vec![
            Ok(profile(
                "web",
                json!({"base": "runtime-default", "deny": ["@keyring"]}),
            )),
            Ok(profile("above", json!({"base": "web"}))),
            Ok(profile("<b>gone</b>", json!({"base": "nothing"}))),
        ];
        let observed = Observed {
            profiles,
            ..Observed::default()
        };
        let mut survey = survey(&observed, vec!["<b>note</b>".into()]);
        survey.sees_profiles = true;
        let open = openness(&observed.profiles, &survey);
        assert_eq!(open.profiles.len(), 2);
        assert_eq!(open.profiles["web"], open.profiles["above"]);
        let html = page(&survey, &open, Timestamp::UNIX_EPOCH);
        let seen = well_formed::check(&html).unwrap();
        assert!(!seen.tags.contains_key("b"));
        for part in [
            "<code>@keyring</code>",
            "&lt;b&gt;gone",
            ">Left open</h2>",
            ">Unseen</span>",
        ] {
            assert!(html.contains(part), "{part}");
        }
    }
}
