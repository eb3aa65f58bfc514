//! What this node's recorder has to say of each recording: a plain function of what was counted.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::remembered::mark;
use seccomp_operator_api::{
    RecordedArgument, RecordedCall, RecordedContainer, RecordingReference, RecordingReport,
    absorb_calls,
};
use seccomp_recorder::{Counts, Recorded, Subject};

/// Where a report lies: its namespace and name.
pub type Key = (String, String);

/// Which recording somebody belongs to: nobody is counted for a recording of another namespace than his own.
pub fn key_of(subject: &Subject, node: &str) -> Option<(Key, RecordingReference)> {
    let (namespace, recording) = RecordingReference::from_metadata(&subject.metadata)?;
    let key = (namespace, recording.report_name(node));
    (subject.namespace == key.0).then_some((key, recording))
}

/// A report for each recording that somebody belongs to. `known`: containers that the recorder has forgotten and earlier reports had.
pub fn reports(
    recorded: &[Recorded],
    known: &BTreeMap<Key, Vec<RecordedContainer>>,
    node: &str,
) -> BTreeMap<Key, RecordingReport> {
    let mut all = BTreeMap::<Key, (RecordingReport, BTreeMap<&str, RecordedContainer>)>::new();
    let is_of_nobody = |recorded: &&Recorded| recorded.subject == Subject::default();
    let lost = recorded
        .iter()
        .filter(is_of_nobody)
        .any(|recorded| recorded.counts != Counts::default());
    for recorded in recorded {
        let subject = &recorded.subject;
        let Some((key, recording)) = key_of(subject, node) else {
            continue;
        };
        let (report, containers) = all.entry(key).or_insert_with(|| {
            let report = RecordingReport {
                recording,
                node: node.to_owned(),
                recorder_version: env!("CARGO_PKG_VERSION").to_owned(),
                degraded: lost.then(|| "containers called what could not be told apart: there were too many at once".to_owned()),
                containers: Vec::new(),
            };
            (report, BTreeMap::new())
        });
        if recorded.counts.nameless > 0 {
            report.degraded.get_or_insert_with(|| {
                format!(
                    "{:?} made calls that are no system calls of a known kernel: {}",
                    subject.container, recorded.counts.nameless
                )
            });
        }
        let container =
            containers
                .entry(&subject.container_id)
                .or_insert_with(|| RecordedContainer {
                    pod: subject.pod.clone(),
                    pod_uid: cut(&subject.pod_uid, 64),
                    container: cut(&subject.container, 63),
                    container_id: cut(&subject.container_id, 128),
                    image: (!subject.image.is_empty()).then(|| subject.image.clone()),
                    started: time(recorded.started),
                    ..RecordedContainer::default()
                });
        if !subject.exec {
            container.started = time(recorded.started);
            container.ended = recorded.ended.and_then(time);
        }
        container.unnamed = container
            .unnamed
            .saturating_add(number(recorded.counts.unnamed));
        let calls = calls(&recorded.counts, subject.exec);
        absorb_calls(&mut container.calls, &calls);
    }
    let finish = |(key, (mut report, containers)): (Key, (RecordingReport, BTreeMap<&str, _>))| {
        report.containers = known.get(&key).cloned().unwrap_or_default();
        report.containers.extend(containers.into_values());
        report
            .containers
            .sort_by(|a, b| (&a.started, &a.container_id).cmp(&(&b.started, &b.container_id)));
        report.fit();
        (key, report)
    };
    all.into_iter().map(finish).collect()
}

fn calls(counts: &Counts, exec: bool) -> Vec<RecordedCall> {
    let call = |count: &seccomp_recorder::Count| {
        let (start_up, steady) = (number(count.start_up), number(count.steady));
        let argument = |argument: &seccomp_recorder::Arguments| RecordedArgument {
            index: argument.index,
            values: argument
                .values
                .iter()
                .map(|value| format!("{value:#x}"))
                .collect(),
            more: argument.more,
        };
        RecordedCall {
            architecture: count.arch.to_string(),
            name: count.call.name().to_owned(),
            start_up: if exec { 0 } else { start_up },
            steady: if exec { 0 } else { steady },
            exec: if exec {
                start_up.saturating_add(steady)
            } else {
                0
            },
            refused: if count.refused {
                start_up.saturating_add(steady)
            } else {
                0
            },
            first_seen: time(count.first_seen),
            last_seen: time(count.last_seen),
            // Those of what is refused make no condition of a profile.
            arguments: if count.refused {
                Vec::new()
            } else {
                count.arguments.iter().map(argument).collect()
            },
        }
    };
    // A recorder may have been killed between naming a call and counting it.
    counts
        .calls
        .iter()
        .map(call)
        .filter(|call| call.count() > 0)
        .collect()
}

/// What a report said of containers that are not counted any more: their calls stay part of the recording.
pub fn kept(before: &RecordingReport, recorded: &[Recorded]) -> Vec<RecordedContainer> {
    let is_counted = |container: &RecordedContainer| {
        container.merged.is_none()
            && recorded
                .iter()
                .any(|recorded| recorded.subject.container_id == container.container_id)
    };
    let mut kept: Vec<_> = before
        .containers
        .iter()
        .filter(|container| !is_counted(container))
        .cloned()
        .collect();
    mark(&mut kept, recorded);
    kept
}

/// The ids of the containers that ended before a time, with all that was executed into them.
pub fn ended_before(recorded: &[Recorded], time: u64) -> BTreeSet<&str> {
    let is_over = |recorded: &Recorded| recorded.ended.is_some_and(|ended| ended < time);
    let ids = |over: bool| {
        let of = recorded
            .iter()
            .filter(move |recorded| is_over(recorded) == over);
        of.map(|recorded| recorded.subject.container_id.as_str())
            .collect::<BTreeSet<_>>()
    };
    &ids(true) - &ids(false)
}

/// Whether `report` says more than other numbers and times.
pub fn says_news(before: &RecordingReport, report: &RecordingReport) -> bool {
    let what = |report: &RecordingReport| {
        let containers = report.containers.iter().map(|container| {
            let calls = container.calls.iter().map(|call| {
                (
                    call.architecture.clone(),
                    call.name.clone(),
                    call.refused > 0,
                    call.arguments.clone(),
                )
            });
            (
                container.container_id.clone(),
                container.ended.clone(),
                container.unheard,
                calls.collect::<Vec<_>>(),
            )
        });
        (report.degraded.clone(), containers.collect::<Vec<_>>())
    };
    what(before) != what(report)
}

pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn time(seconds: u64) -> Option<Time> {
    Timestamp::from_second(i64::try_from(seconds).ok()?)
        .ok()
        .map(Time)
}

/// The longest beginning of at most so many bytes: what is longer, no runtime says.
pub(super) fn cut(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most))
        .unwrap_or(text)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use seccomp_profile::{Arch, Syscall};
    use seccomp_recorder::{Arguments, Count};

    use super::*;

    fn count(name: &str, start_up: u64, steady: u64) -> Count {
        Count {
            arch: Arch::X86_64,
            call: Syscall::named(name).unwrap(),
            refused: false,
            start_up,
            steady,
            first_seen: 100,
            last_seen: 200,
            arguments: Vec::new(),
        }
    }

    fn recorded(id: &str, exec: bool, calls: Vec<Count>) -> Recorded {
        let subject = Subject {
            container_id: id.into(),
            namespace: "shop".into(),
            pod: "web-0".into(),
            container: "web".into(),
            metadata: "shop/web/u1".into(),
            exec,
            ..Subject::default()
        };
        let counts = Counts {
            calls,
            ..Counts::default()
        };
        Recorded::new(subject, 100, Some(300), counts)
    }

    fn only(
        recorded: &[Recorded],
        known: &BTreeMap<Key, Vec<RecordedContainer>>,
    ) -> RecordingReport {
        let mut all = reports(recorded, known, "n1");
        assert_eq!(all.len(), 1);
        all.pop_first().unwrap().1
    }

    #[test]
    fn a_container_and_what_is_executed_into_it_are_one_entry() {
        let mut socket = count("socket", 1, 0);
        socket.arguments = vec![Arguments {
            index: 0,
            values: vec![2, 10],
            more: false,
        }];
        let container = recorded(
            "c1",
            false,
            vec![count("mkdir", 2, 3), socket, count("rmdir", 0, 0)],
        );
        let exec = recorded("c1", true, vec![count("mkdir", 0, 7), count("chmod", 1, 1)]);
        let report = only(&[container, exec], &BTreeMap::new());
        assert_eq!(
            (report.node.as_str(), report.recording.name.as_str()),
            ("n1", "web")
        );
        let [container] = &report.containers[..] else {
            panic!("{report:?}")
        };
        assert_eq!(
            (container.pod.as_str(), container.container.as_str()),
            ("web-0", "web")
        );
        assert_eq!(container.ended, time(300));
        let calls: Vec<_> = container
            .calls
            .iter()
            .map(|c| (c.name.as_str(), c.start_up, c.steady, c.exec))
            .collect();
        assert_eq!(
            calls,
            [("chmod", 0, 0, 2), ("mkdir", 2, 3, 7), ("socket", 1, 0, 0)]
        );
        let argument = &container.calls[2].arguments[0];
        assert_eq!(
            (argument.index, argument.values.clone()),
            (0, vec!["0x2".to_owned(), "0xa".to_owned()])
        );
    }

    #[test]
    fn what_the_base_refuses_is_counted_and_its_arguments_are_not_kept() {
        let domains = |values: &[u64]| {
            vec![Arguments {
                index: 0,
                values: values.to_vec(),
                more: false,
            }]
        };
        let mut allowed = count("socket", 1, 2);
        allowed.arguments = domains(&[2]);
        let mut refused = Count {
            refused: true,
            ..count("socket", 0, 4)
        };
        refused.arguments = domains(&[40]);
        let mount = Count {
            refused: true,
            ..count("mount", 1, 0)
        };
        let all = vec![allowed.clone(), refused, mount];
        let report = only(&[recorded("c1", false, all)], &BTreeMap::new());
        let calls = &report.containers[0].calls;
        let said: Vec<_> = calls
            .iter()
            .map(|c| (c.name.as_str(), c.count(), c.refused))
            .collect();
        assert_eq!(said, [("mount", 1, 1), ("socket", 7, 4)]);
        assert_eq!(calls[1].arguments[0].values, ["0x2"]);
        // That something is refused at all is news.
        let before = only(&[recorded("c1", false, vec![allowed])], &BTreeMap::new());
        assert!(says_news(&before, &report));
    }

    #[test]
    fn nobody_is_counted_for_a_recording_of_another_namespace() {
        let mut other = recorded("c1", false, vec![count("mkdir", 1, 0)]);
        other.subject.namespace = "bank".into();
        let mut none = recorded("c2", false, vec![count("mkdir", 1, 0)]);
        none.subject.metadata = "../x".into();
        assert!(reports(&[other, none], &BTreeMap::new(), "n1").is_empty());
    }

    #[test]
    fn what_is_not_counted_any_more_stays_in_the_report() {
        let (first, second) = (
            recorded("c1", false, vec![count("mkdir", 1, 0)]),
            recorded("c2", false, vec![count("rmdir", 1, 0)]),
        );
        let before = only(&[first, second.clone()], &BTreeMap::new());
        let left = [second];
        let key = key_of(&left[0].subject, "n1").unwrap().0;
        let known = BTreeMap::from([(key, kept(&before, &left))]);
        let after = only(&left, &known);
        assert_eq!(after, before);
        assert!(!says_news(&before, &after));
    }

    #[test]
    fn a_container_is_over_with_all_that_was_executed_into_it() {
        let ended = |id: &str, exec, ended| {
            let subject = recorded(id, exec, vec![]).subject;
            Recorded::new(subject, 1, ended, Counts::default())
        };
        let all = [
            ended("c1", false, Some(10)),
            ended("c1", true, Some(5)),
            ended("c2", false, Some(10)),
            ended("c2", true, None),
            ended("c3", false, Some(20)),
        ];
        assert_eq!(ended_before(&all, 15), BTreeSet::from(["c1"]));
    }

    #[test]
    fn numbers_are_no_news() {
        let report = |times| {
            only(
                &[recorded("c1", false, vec![count("mkdir", 0, times)])],
                &BTreeMap::new(),
            )
        };
        assert!(!says_news(&report(1), &report(2)));
        let more = only(
            &[recorded(
                "c1",
                false,
                vec![count("mkdir", 0, 1), count("rmdir", 0, 1)],
            )],
            &BTreeMap::new(),
        );
        assert!(says_news(&report(1), &more));
    }

    #[test]
    fn calls_without_a_place_or_a_name_are_said() {
        let container = recorded("c1", false, vec![]);
        let nobody = Recorded::new(
            Subject::default(),
            0,
            None,
            Counts {
                nameless: 1,
                ..Counts::default()
            },
        );
        let said = only(&[container.clone(), nobody], &BTreeMap::new()).degraded;
        assert!(said.unwrap().contains("too many at once"));
        let mut strange = container;
        strange.counts.nameless = 5;
        let said = only(&[strange], &BTreeMap::new()).degraded.unwrap();
        assert_eq!(
            said,
            "\"web\" made calls that are no system calls of a known kernel: 5"
        );
    }
}
