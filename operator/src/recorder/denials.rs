//! What this node's recorder has to say of the profiles that are observed, or on trial: a plain function of what was counted.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use seccomp_operator_api::{
    Denial, DenialReport, Listening, MAX_DENIED_VALUES, ObservedDenial, ObservedTrial,
    RecordedArgument, TriedDenial,
};
use seccomp_recorder::{Count, Recorded, Subject};

use super::report::{cut, ended_before, number, time};

/// Whose call it is: profile, digest of the next version where that would refuse it, pod, container, call, architecture.
type Key<'a> = (&'a str, Option<&'a str>, &'a str, &'a str, &'a str, String);

/// The report of all containers that run under an observed profile or one on trial, or did.
pub fn report(recorded: &[Recorded], node: &str) -> DenialReport {
    let mut all = BTreeMap::<Key<'_>, Denial>::new();
    for recorded in recorded {
        let subject = &recorded.subject;
        let Some(listening) = Listening::from_metadata(&subject.metadata) else {
            continue;
        };
        // A recorder may have been killed between naming a call and counting it.
        let made = |count: &&Count| count.start_up + count.steady > 0;
        for count in recorded.counts.calls.iter().filter(made) {
            let trial = listening.trial.filter(|_| !count.refused);
            // What happens and is on no trial is nobody's business.
            if !count.refused && trial.is_none() {
                continue;
            }
            let key = (
                listening.profile,
                trial,
                subject.pod_uid.as_str(),
                subject.container.as_str(),
                count.call.name(),
                count.arch.to_string(),
            );
            let denial = denial(subject, count);
            match all.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(denial);
                }
                Entry::Occupied(mut entry) => {
                    entry.get_mut().absorb(denial);
                }
            }
        }
    }
    let (mut denials, mut tried) = (Vec::new(), Vec::new());
    let mut trials = trials(recorded);
    for ((profile, digest, ..), mut denial) in all {
        denial.arguments.iter_mut().for_each(shorten);
        let observed = ObservedDenial {
            profile: profile.to_owned(),
            denial,
        };
        let Some(digest) = digest else {
            denials.push(observed);
            continue;
        };
        if let Some(trial) = trials.get_mut(&(profile, digest)) {
            trial.count = trial.count.saturating_add(observed.denial.count);
        }
        tried.push(TriedDenial {
            digest: digest.to_owned(),
            observed,
        });
    }
    let report = DenialReport::new(node, env!("CARGO_PKG_VERSION"), denials);
    report.with_trials(trials.into_values().collect(), tried)
}

fn denial(subject: &Subject, count: &Count) -> Denial {
    Denial {
        namespace: cut(&subject.namespace, 63),
        pod: subject.pod.clone(),
        pod_uid: cut(&subject.pod_uid, 64),
        container: cut(&subject.container, 63),
        call: count.call.name().to_owned(),
        architecture: count.arch.to_string(),
        count: number(count.start_up.saturating_add(count.steady)),
        first_seen: time(count.first_seen),
        last_seen: time(count.last_seen),
        arguments: count.arguments.iter().map(argument).collect(),
        ..Denial::default()
    }
}

/// The trials that containers are or were on, by profile and digest, and how many are. Nothing is counted yet.
fn trials(recorded: &[Recorded]) -> BTreeMap<(&str, &str), ObservedTrial> {
    let mut running = BTreeMap::<_, (BTreeSet<_>, BTreeSet<_>)>::new();
    for recorded in recorded {
        let subject = &recorded.subject;
        let listening = Listening::from_metadata(&subject.metadata);
        let Some((profile, digest)) = listening.and_then(|of| Some((of.profile, of.trial?))) else {
            continue;
        };
        let (pods, containers) = running.entry((profile, digest)).or_default();
        if recorded.ended.is_none() {
            pods.insert(subject.pod_uid.as_str());
            containers.insert(subject.container_id.as_str());
        }
    }
    let many = |set: BTreeSet<_>| i32::try_from(set.len()).unwrap_or(i32::MAX);
    let trials = running
        .into_iter()
        .map(|((profile, digest), (pods, containers))| {
            let trial = ObservedTrial {
                profile: profile.to_owned(),
                digest: digest.to_owned(),
                pods: many(pods),
                containers: many(containers),
                count: 0,
            };
            ((profile, digest), trial)
        });
    trials.collect()
}

/// Those of containers under an observed profile, or one on trial, that ended before a time, with all that was executed into them.
pub fn over(recorded: &[Recorded], time: u64) -> impl Iterator<Item = &Recorded> {
    let ended: BTreeSet<_> = ended_before(recorded, time);
    recorded.iter().filter(move |recorded| {
        let subject = &recorded.subject;
        Listening::from_metadata(&subject.metadata).is_some()
            && ended.contains(subject.container_id.as_str())
    })
}

fn argument(argument: &seccomp_recorder::Arguments) -> RecordedArgument {
    let values = argument.values.iter();
    RecordedArgument {
        index: argument.index,
        values: values.map(|value| format!("{value:#x}")).collect(),
        more: argument.more,
    }
}

fn shorten(argument: &mut RecordedArgument) {
    argument.more |= argument.values.len() > MAX_DENIED_VALUES;
    argument.values.truncate(MAX_DENIED_VALUES);
}

#[cfg(test)]
mod tests {
    use seccomp_profile::{Arch, Syscall};
    use seccomp_recorder::{Arguments, Counts};

    use super::*;

    fn count(name: &str, refused: bool, times: u64, values: &[u64]) -> Count {
        Count {
            arch: Arch::X86_64,
            call: Syscall::named(name).unwrap(),
            refused,
            start_up: 0,
            steady: times,
            first_seen: 100,
            last_seen: 100 + times,
            arguments: vec![Arguments {
                index: 0,
                values: values.to_vec(),
                more: false,
            }],
        }
    }

    fn container(id: &str, metadata: &str, exec: bool, calls: Vec<Count>) -> Recorded {
        let subject = Subject {
            container_id: id.into(),
            namespace: "shop".into(),
            pod: "web-0".into(),
            pod_uid: "u1".into(),
            container: "web".into(),
            metadata: metadata.into(),
            exec,
            ..Subject::default()
        };
        let counts = Counts {
            calls,
            ..Counts::default()
        };
        Recorded::new(subject, 100, Some(300), counts)
    }

    #[test]
    fn of_each_container_it_is_said_what_was_refused_whichever_process_called() {
        let recorded = [
            container(
                "c1",
                "observe:tight",
                false,
                vec![
                    count("mount", true, 2, &[1]),
                    count("keyctl", true, 0, &[]),
                    count("mkdir", false, 7, &[]),
                ],
            ),
            container(
                "c1",
                "observe:tight",
                true,
                vec![count("mount", true, 3, &[2])],
            ),
            // The same container, started again.
            container(
                "c2",
                "observe:tight",
                false,
                vec![count("mount", true, 4, &[1])],
            ),
            container(
                "c3",
                "observe:other",
                false,
                vec![count("mount", true, 1, &[])],
            ),
            container(
                "c4",
                "shop/web/u1",
                false,
                vec![count("mount", true, 9, &[])],
            ),
        ];
        let report = report(&recorded, "n1");
        assert_eq!(report.node, "n1");
        let said = report.denials.iter().map(|observed| {
            let denial = &observed.denial;
            let last_seen = denial.last_seen.clone();
            (
                observed.profile.as_str(),
                denial.call.as_str(),
                denial.count,
                last_seen,
            )
        });
        let said: Vec<_> = said.collect();
        assert_eq!(
            said,
            [
                ("tight", "mount", 9, time(104)),
                ("other", "mount", 1, time(101))
            ]
        );
        let denial = &report.denials[0].denial;
        assert_eq!(
            (denial.pod.as_str(), denial.container.as_str()),
            ("web-0", "web")
        );
        assert_eq!(denial.arguments[0].values, ["0x1", "0x2"]);
    }

    #[test]
    fn of_a_trial_it_is_said_who_is_on_it_and_what_would_be_refused() {
        const DIGEST: &str = "34e78c2287b96582";
        let tried = format!("trial:{DIGEST}:tight");
        let both = format!("observe:trial:{DIGEST}:both");
        let mut recorded = [
            container("c1", &tried, false, vec![count("chmod", false, 2, &[])]),
            container("c1", &tried, true, vec![count("chmod", false, 3, &[])]),
            container("c2", &tried, false, vec![]),
            container(
                "c3",
                &both,
                false,
                vec![count("chmod", false, 4, &[]), count("mount", true, 5, &[])],
            ),
        ];
        recorded[2].subject.pod_uid = "u2".into();
        for running in &mut recorded[1..3] {
            running.ended = None;
        }
        let report = report(&recorded, "n1");
        let trials = report.trials.iter();
        let trials: Vec<_> = trials
            .map(|of| (of.profile.as_str(), of.pods, of.containers, of.count))
            .collect();
        assert_eq!(trials, [("both", 0, 0, 4), ("tight", 2, 2, 5)]);
        let said = |observed: &ObservedDenial| {
            let denial = &observed.denial;
            (observed.profile.clone(), denial.call.clone(), denial.count)
        };
        let would: Vec<_> = report
            .would_refuse
            .iter()
            .map(|tried| said(&tried.observed))
            .collect();
        let of = |profile: &str, call: &str, count| (profile.to_owned(), call.to_owned(), count);
        assert_eq!(would, [of("tight", "chmod", 5), of("both", "chmod", 4)]);
        assert!(
            report
                .would_refuse
                .iter()
                .all(|tried| tried.digest == DIGEST)
        );
        let refused: Vec<_> = report.denials.iter().map(said).collect();
        assert_eq!(refused, [of("both", "mount", 5)]);
    }

    #[test]
    fn of_many_values_the_first_are_said() {
        let values: Vec<_> = (0..40).collect();
        let call = count("ptrace", true, 40, &values);
        let report = report(&[container("c1", "observe:tight", false, vec![call])], "n1");
        let argument = &report.denials[0].denial.arguments[0];
        assert_eq!(argument.values.len(), MAX_DENIED_VALUES);
        assert!(argument.more);
    }

    #[test]
    fn what_ended_long_ago_under_an_observed_profile_is_over() {
        let recorded = [
            container("c1", "observe:tight", false, vec![]),
            container("c2", "shop/web/u1", false, vec![]),
        ];
        let ids = |time| {
            let over = over(&recorded, time);
            over.map(|recorded| recorded.subject.container_id.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(200), [""; 0]);
        assert_eq!(ids(400), ["c1"]);
    }
}
