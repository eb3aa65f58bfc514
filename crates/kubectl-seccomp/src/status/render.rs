//! The state of profiles and nodes for people: what is wrong in full, what is well in numbers.

use std::collections::BTreeMap;

use super::source::{self, Source};
use super::survey::{NodeState, Profile, State, Survey};
use crate::table::{Table, few};
use crate::text::{Style, plural, visible, wrap};
use seccomp_operator_api::SourceState;

/// How many failures, and how many names beside one, are listed; `-o json` has all.
const MAX_FAILURES: usize = 20;
const MAX_NAMES: usize = 5;
/// As many pods, of those that one has to restart.
const MAX_PODS: usize = 50;

/// All profiles and nodes.
pub fn all(survey: &Survey, style: Style) -> String {
    let mut out = String::new();
    if !survey.sees_profiles {
        return nodes(survey, style) + &notes(survey);
    }
    if survey.profiles.is_empty() {
        out += "There are no SeccompProfiles.\n";
    } else {
        out += &profiles(survey, style);
    }
    out.push('\n');
    out += &nodes(survey, style);
    out += &sources(survey, style);
    out += &failures(survey, style);
    out + &notes(survey)
}

/// One profile, in detail.
pub fn one(survey: &Survey, style: Style) -> String {
    let Some(profile) = survey.profiles.first() else {
        return String::new();
    };
    let mut out = style.bold(&format!(
        "{}: {}\n",
        visible(&profile.name),
        profile.state.word()
    ));
    let mut fact = |name: &str, value: &str| {
        if !value.is_empty() {
            out += &wrap(&format!("  {name:<14}"), &visible(value));
        }
    };
    fact("", &profile.message);
    fact(
        "for pods",
        &profile
            .path
            .as_ref()
            .map_or_else(String::new, |path| format!("localhostProfile: {path}")),
    );
    fact(
        "by default",
        profile.default_action.as_deref().unwrap_or_default(),
    );
    fact(
        "nodes",
        &format!(
            "{} should have it, {} do, {} could not take it",
            profile.desired, profile.ready, profile.failed
        ),
    );
    fact("waiting for", &few(&profile.waiting, MAX_NAMES));
    for source in &survey.sources {
        fact("source", &origin(source));
        fact("", &source.message);
    }
    if !profile.foreign.is_empty() {
        let nodes = few(&profile.foreign, MAX_NAMES);
        fact(
            "foreign file",
            &format!("pods start under somebody else's file on {nodes}"),
        );
    }
    if profile.state != State::Unstartable && profile.startable.status != "True" {
        fact("starts", &profile.startable.message);
    }
    let users: Vec<_> = profile
        .users
        .iter()
        .map(|(node, pods)| format!("{pods} on {node}"))
        .collect();
    let users = match &users[..] {
        [] => String::new(),
        users => format!(": {}", few(users, MAX_NAMES)),
    };
    fact(
        "used by",
        &format!("{}{users}", plural(profile.used_by, "pod")),
    );
    if profile.outdated > 0 {
        fact(
            "outdated",
            &format!(
                "{} with an older content, until created anew",
                plural(profile.outdated, "running container")
            ),
        );
        let pods: Vec<_> = profile
            .outdated_pods
            .iter()
            .map(|pod| format!("{}/{}", pod.namespace, pod.name))
            .collect();
        fact("in the pods", &few(&pods, MAX_PODS));
    }
    for warning in &profile.warnings {
        fact("warning", warning);
    }
    out + &failures(survey, style) + &notes(survey)
}

fn profiles(survey: &Survey, style: Style) -> String {
    let mut table = Table::new([
        "PROFILE", "READY", "FAILED", "USED BY", "OUTDATED", "STATE", "PATH",
    ]);
    let number = |n: i32| if n == 0 { String::new() } else { n.to_string() };
    for profile in &survey.profiles {
        table.row([
            profile.name.clone(),
            format!("{}/{}", profile.ready, profile.desired),
            number(profile.failed),
            profile.used_by.to_string(),
            number(profile.outdated),
            profile.state.word().to_owned(),
            profile.path.clone().unwrap_or_default(),
        ]);
    }
    table.lines(style)
}

fn nodes(survey: &Survey, style: Style) -> String {
    let counts: Vec<_> = survey
        .summary
        .nodes
        .iter()
        .map(|(state, count)| format!("{count} {}", state.word()))
        .collect();
    if !survey.sees_nodes {
        return String::new();
    }
    if counts.is_empty() {
        return "No node has an agent.\n".to_owned();
    }
    let mut out = style.bold(&format!("NODES   {}\n", counts.join(", ")));
    let mut alike: BTreeMap<(NodeState, &str), Vec<String>> = BTreeMap::new();
    for node in &survey.nodes {
        // What fails is listed by profile.
        if matches!(
            node.state,
            NodeState::Behind | NodeState::Silent | NodeState::NoAgent
        ) {
            // Agents that are behind are so at versions of their own.
            let message = if node.state == NodeState::Behind {
                ""
            } else {
                &node.message
            };
            alike
                .entry((node.state, message))
                .or_default()
                .push(node.name.clone());
        }
    }
    for ((state, message), names) in alike {
        let because = match message {
            "" => "their agents have not applied the newest profiles yet",
            message => message,
        };
        let sentence = format!("{}: {}", few(&names, MAX_NAMES), visible(because));
        out += &wrap(&format!("  {:<17} ", state.word()), &sentence);
    }
    out
}

/// Where a profile comes from.
fn origin(source: &Source) -> String {
    let Source {
        reference, digest, ..
    } = source;
    let digest = digest.iter().map(|digest| format!(", {digest}"));
    let signed = source.signed_by.iter();
    let signed = signed.map(|signer| format!(", signed by {signer}"));
    let more: String = digest.chain(signed).collect();
    format!("{}: {reference}{more}", source.word())
}

/// The sources by state, and those that are not as they should be.
fn sources(survey: &Survey, style: Style) -> String {
    let counts: Vec<_> = survey
        .summary
        .sources
        .iter()
        .map(|(state, count)| format!("{count} {}", source::word(*state)))
        .collect();
    if counts.is_empty() {
        return String::new();
    }
    let mut out = style.bold(&format!("SOURCES   {}\n", counts.join(", ")));
    let is_well =
        |source: &&Source| matches!(source.state, SourceState::Ready | SourceState::Suspended);
    let wrong: Vec<_> = survey.sources.iter().filter(|s| !is_well(s)).collect();
    for source in wrong.iter().take(MAX_FAILURES) {
        out += &wrap(
            "  ",
            &visible(&format!("{}: {}", source.name, origin(source))),
        );
        out += &wrap("      ", &visible(&source.message));
    }
    out + &unlisted(wrong.len())
}

/// How many of so many are above what is listed.
fn unlisted(all: usize) -> String {
    match all.saturating_sub(MAX_FAILURES) {
        0 => String::new(),
        more => format!("  and {more} more; -o json has all of them\n"),
    }
}

/// The failures by profile, reason and message, each with its nodes.
pub fn alike(survey: &Survey) -> BTreeMap<(&str, &str, &str), Vec<String>> {
    let mut alike: BTreeMap<(&str, &str, &str), Vec<String>> = BTreeMap::new();
    for Profile {
        name,
        state,
        message,
        failures,
        ..
    } in &survey.profiles
    {
        if matches!(state, State::Invalid | State::Unstartable) {
            alike.entry((name, state.word(), message)).or_default();
        }
        for failure in failures {
            let key = (
                name.as_str(),
                failure.reason.as_str(),
                failure.message.as_str(),
            );
            alike.entry(key).or_default().push(failure.node.clone());
        }
    }
    // Of profiles that are gone, or failed where they no longer belong.
    let known: Vec<_> = survey.profiles.iter().map(|p| p.name.as_str()).collect();
    for node in &survey.nodes {
        for failure in node
            .failures
            .iter()
            .filter(|f| !known.contains(&f.profile.as_str()))
        {
            let key = (
                failure.profile.as_str(),
                failure.reason.as_str(),
                failure.message.as_str(),
            );
            alike.entry(key).or_default().push(node.name.clone());
        }
    }
    alike
}

/// Equal failures are listed once, with their nodes.
fn failures(survey: &Survey, style: Style) -> String {
    let alike = alike(survey);
    if alike.is_empty() {
        return String::new();
    }
    let mut out = style.bold(&format!("\nFAILURES   {}\n", alike.len()));
    for ((profile, reason, message), nodes) in alike.iter().take(MAX_FAILURES) {
        let place = match &nodes[..] {
            [] => String::new(),
            nodes => format!(" on {}", few(nodes, MAX_NAMES)),
        };
        out += &wrap(
            "  ",
            &format!(
                "{}{}: {}",
                visible(profile),
                visible(&place),
                visible(reason)
            ),
        );
        out += &wrap("      ", &visible(message));
    }
    out + &unlisted(alike.len())
}

fn notes(survey: &Survey) -> String {
    survey
        .notes
        .iter()
        .map(|note| wrap("note: ", note))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::survey::{Node, Startable, Summary};
    use super::*;
    use seccomp_operator_api::Failure;

    fn profile(name: &str, state: State, failures: Vec<Failure>) -> Profile {
        Profile {
            name: name.into(),
            state,
            message: "a sentence".into(),
            path: Some(format!("profiles/{name}.json")),
            default_action: Some("SCMP_ACT_ALLOW".into()),
            desired: 300,
            ready: 300 - i32::try_from(failures.len()).unwrap(),
            failed: i32::try_from(failures.len()).unwrap(),
            used_by: 4,
            outdated: 0,
            outdated_pods: vec![],
            startable: Startable::default(),
            foreign: vec![],
            warnings: vec![],
            failures,
            waiting: vec![],
            users: BTreeMap::new(),
        }
    }

    fn node(name: &str, state: NodeState, message: &str) -> Node {
        Node {
            name: name.into(),
            state,
            message: message.into(),
            failures: vec![],
            architecture: "amd64".into(),
            kernel_version: "6.1".into(),
            container_runtime: None,
            agent_version: "0.1.0".into(),
        }
    }

    fn survey(profiles: Vec<Profile>, nodes: Vec<Node>) -> Survey {
        let mut summary = Summary::default();
        for node in &nodes {
            *summary.nodes.entry(node.state).or_default() += 1;
        }
        Survey {
            sees_profiles: true,
            sees_nodes: true,
            summary,
            profiles,
            nodes,
            sources: vec![],
            notes: vec!["you may not list nodes".into()],
        }
    }

    #[test]
    fn many_nodes_are_summed_up_and_each_failure_stands_once() {
        let failure = |node: usize, message: &str| Failure {
            node: format!("node{node:03}.some-rather-long-zone.example.com"),
            reason: "WriteFailed".into(),
            message: message.into(),
        };
        let full =
            "cannot write profiles/a.json: No space left on device (os error 28); ".repeat(3);
        let failures = (0..200).map(|n| failure(n, &full)).collect();
        let nodes = (0..300).map(|n| match n {
            0..200 => node(&format!("node{n:03}"), NodeState::Failing, "1"),
            200 => node("node200", NodeState::Silent, "its agent is gone"),
            201 => node("node201", NodeState::Behind, "at 5"),
            202 => node("node202", NodeState::Behind, "at 6"),
            _ => node(&format!("node{n:03}"), NodeState::InSync, ""),
        });
        let survey = survey(
            vec![
                profile("a", State::Failed, failures),
                profile("well", State::Ready, vec![]),
            ],
            nodes.collect(),
        );
        let text = all(&survey, Style::plain());
        assert!(
            text.lines().all(|line| line.chars().count() <= 120),
            "{text}"
        );
        assert!(text.lines().count() < 25, "{text}");
        assert!(
            text.contains("NODES   97 in sync, 2 behind, 200 failing, 1 silent\n"),
            "{text}"
        );
        assert!(text.contains("node200: its agent is gone"), "{text}");
        assert!(text.contains("node201, node202: their agents"), "{text}");
        let words: Vec<_> = text.split_whitespace().collect();
        assert_eq!(
            words.join(" ").matches("No space left").count(),
            3,
            "{text}"
        );
        assert!(text.contains("and 195 more: WriteFailed"), "{text}");
        assert!(text.contains("a         100/300   200      4"), "{text}");
        assert!(text.ends_with("note: you may not list nodes\n"), "{text}");
    }

    #[test]
    fn an_invalid_profile_is_a_failure_without_a_node() {
        let text = all(
            &survey(vec![profile("bad", State::Invalid, vec![])], vec![]),
            Style::plain(),
        );
        assert!(
            text.contains("FAILURES   1\n  bad: Invalid\n      a sentence\n"),
            "{text}"
        );
        assert!(text.contains("No node has an agent."), "{text}");
    }

    fn source(name: &str, state: SourceState, reason: &str) -> Source {
        Source {
            name: name.into(),
            state,
            reason: reason.into(),
            message: format!("what there is to know of {name}"),
            reference: format!("r.example/{name}:v1"),
            digest: Some("sha256:12".into()),
            signed_by: Some("the key 1".into()),
            last_pulled: None,
        }
    }

    #[test]
    fn sources_are_counted_and_told_of_where_they_failed() {
        let mut survey = survey(vec![profile("web", State::Ready, vec![])], vec![]);
        let without = all(&survey, Style::plain());
        assert!(!without.contains("SOURCES"), "{without}");
        survey.sources = vec![
            source("web", SourceState::Failed, "PullFailed"),
            source("well", SourceState::Ready, "Pulled"),
        ];
        survey.summary.sources =
            BTreeMap::from([(SourceState::Ready, 1), (SourceState::Failed, 1)]);
        let text = all(&survey, Style::plain());
        let said = "SOURCES   1 Ready, 1 Failed
  web: PullFailed: r.example/web:v1, sha256:12, signed by the key 1
      what there is to know of web
";
        assert!(text.contains(said), "{text}");
        assert!(survey.has_failures() && !survey.is_ready());
        let survey = survey.only("web").unwrap();
        let text = one(&survey, Style::plain());
        assert!(text.contains("PullFailed: r.example/web:v1"), "{text}");
        assert!(!text.contains("of well"), "{text}");
    }

    #[test]
    fn one_profile_is_told_in_detail() {
        let mut detailed = profile(
            "a",
            State::Failed,
            vec![Failure {
                node: "n1".into(),
                reason: "Conflict".into(),
                message: "the file is somebody else's".into(),
            }],
        );
        detailed.users = BTreeMap::from([("n2".into(), 4)]);
        detailed.outdated = 2;
        let text = one(&survey(vec![detailed], vec![]), Style::plain());
        for part in [
            "a: Failed\n",
            "a sentence",
            "localhostProfile: profiles/a.json",
            "300 should have it, 299 do, 1 could not take it",
            "4 pods: 4 on n2",
            "2 running containers with an older content",
            "a on n1: Conflict\n      the file is somebody else's\n",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
}
