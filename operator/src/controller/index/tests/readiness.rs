//! On which nodes a profile is.

use super::*;
use seccomp_operator_api::labels_digest;

#[test]
fn a_profile_is_ready_when_every_node_has_applied_its_generation() {
    let mut index = cluster();
    assert_eq!(ready(&index).1, "Progressing");
    index.report("n1", &report(10, &[]));
    assert_eq!(status(&index).nodes.unwrap().summary, "1/2");
    assert!(ready(&index).2.contains("waiting for n2"));
    index.report("n2", &report(12, &[]));
    assert_eq!(ready(&index).0, "True");
    assert_eq!(status(&index).localhost_profile.unwrap(), "profiles/a.json");
    assert_eq!(status(&index).nodes.unwrap().summary, "2/2");
}

#[test]
fn an_applied_version_beyond_all_bounds_is_taken_as_it_is() {
    let mut index = cluster();
    index.report("n1", &report(u64::MAX, &[]));
    index.report("n1", &report(1, &[]));
    index.report("n1", &report(u64::MAX, &[]));
    assert_eq!(status(&index).nodes.unwrap().ready, 1);
}

#[test]
fn a_failure_is_counted_and_named_with_its_reason() {
    let mut index = cluster();
    index.report("n1", &report(10, &[("a", "No space left on device")]));
    index.report("n2", &report(10, &[("other", "x")]));
    let (holds, reason, message) = ready(&index);
    assert_eq!((holds.as_str(), reason.as_str()), ("False", "Failed"));
    assert!(message.contains("1 of 2") && message.contains("n1: No space left on device"));
    assert_eq!(status(&index).failures.len(), 1);
}

#[test]
fn nodes_with_somebody_elses_file_are_counted_apart() {
    let mut index = cluster();
    let mut foreign = report(10, &[("a", "pods that start on this node run under it")]);
    foreign.spec.failures[0].reason = "Conflict".into();
    index.report("n1", &foreign);
    index.report("n2", &report(10, &[("a", "No space left on device")]));
    let nodes = status(&index).nodes.unwrap();
    assert_eq!((nodes.failed, nodes.foreign), (2, 1));
    assert!(ready(&index).2.contains("run under it"));
}

#[test]
fn a_profile_with_a_selector_counts_only_nodes_with_the_labels_that_their_agents_know() {
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    };
    let gpu = labels(&[("gpu", "yes")]);
    let mut index = empty();
    index.node("n1", linux("u1", gpu.clone()));
    index.node("n2", linux("u2", BTreeMap::new()));
    index.agent("p1", ready_on("n1"));
    index.agent("p2", ready_on("n2"));
    let selecting = SeenProfile {
        node_selector: gpu.clone(),
        ..seen(1, 10)
    };
    index.profile("a", selecting, valid);
    let told = |digest: Option<String>| {
        let mut report = report(10, &[]);
        report.spec.node.labels_digest = digest;
        report
    };
    index.report("n1", &told(None));
    index.report("n2", &told(Some(labels_digest(&BTreeMap::new()))));
    assert_eq!(status(&index).nodes.unwrap().summary, "0/1");
    index.take_dirty(9);
    index.report("n1", &told(Some(labels_digest(&gpu))));
    assert!(index.take_dirty(9).contains("a"));
    assert_eq!(status(&index).nodes.unwrap().summary, "1/1");
    index.node("n2", linux("u2", gpu));
    assert!(index.take_dirty(9).contains("a"));
    assert_eq!(status(&index).nodes.unwrap().summary, "1/2");
}

#[test]
fn each_profile_and_each_node_is_counted_once() {
    let mut index = cluster();
    index.node("n3", linux("u3", BTreeMap::new()));
    index.node("n4", linux("u4", BTreeMap::new()));
    index.agent("agent-n4", ready_on("n4"));
    index.report("n1", &report(10, &[]));
    index.report("n2", &report(9, &[]));
    let counts = index.counts().nodes;
    assert_eq!(
        (counts.in_sync, counts.behind, counts.silent),
        (1, 1, 1),
        "n3 runs no agent and is not asked for one"
    );
    let with = |name: &str, index: &mut Index, status: SeccompProfileStatus| {
        let mut seen = seen(1, 10);
        seen.status = status;
        index.profile(name, seen, valid);
    };
    let progressing = status(&index);
    index.gone(Kind::Agent, "agent-n4");
    index.report("n2", &report(10, &[]));
    let ready = status(&index);
    index.report("n2", &report(10, &[("a", "no")]));
    let failed = status(&index);
    index.profile("bad", seen(1, 10), || Err("no".into()));
    let invalid = status_of(&index, "bad");
    let mut stale = ready.clone();
    stale.observed_generation = Some(0);
    with("a", &mut index, ready);
    with("b", &mut index, failed);
    with("c", &mut index, progressing);
    with("d", &mut index, stale);
    with("bad", &mut index, invalid);
    let counts = index.counts().profiles;
    assert_eq!(
        (
            counts.ready,
            counts.failed,
            counts.invalid,
            counts.progressing
        ),
        (1, 1, 1, 2)
    );
    assert_eq!(index.counts().dirty, 5);
}

#[test]
fn without_nodes_nothing_is_ready() {
    let mut index = empty();
    index.profile("a", seen(1, 10), valid);
    assert_eq!(ready(&index).1, "NoNodes");
    let os = BTreeMap::from([("kubernetes.io/os".to_owned(), "windows".to_owned())]);
    index.node("windows", linux("w", os));
    index.node("no-agent", linux("x", BTreeMap::new()));
    assert_eq!(ready(&index).1, "NoNodes");
}
