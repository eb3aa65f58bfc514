//! Nodes and agents that come and go, and the start-up taint.

use super::*;
use crate::controller::agents::Away;

#[test]
fn a_node_that_leaves_stops_counting() {
    let mut index = cluster();
    index.report("n1", &report(10, &[]));
    index.gone(Kind::Node, "n2");
    assert_eq!(ready(&index).0, "True");
}

#[test]
fn a_node_whose_agent_is_gone_is_not_ready_and_says_why() {
    let mut index = cluster();
    for node in ["n1", "n2"] {
        index.report(node, &report(10, &[]));
    }
    index.take_dirty(9);
    index.gone(Kind::Agent, "agent-n2");
    assert_eq!(index.wakes(), Some(PATIENCE));
    index.tick(PATIENCE.saturating_sub(Duration::from_secs(1)));
    assert!(
        index.take_dirty(9).is_empty(),
        "agents are replaced now and then"
    );
    assert_eq!(ready(&index).0, "True");
    index.tick(PATIENCE);
    assert_eq!(index.wakes(), None);
    assert!(index.take_dirty(9).contains("a"));
    let (holds, reason, message) = ready(&index);
    assert_eq!((holds.as_str(), reason.as_str()), ("False", "AgentGone"));
    assert!(
        message.contains("on 1 of 2 nodes; waiting for n2 (no agent runs there)"),
        "{message}"
    );
    assert_eq!(index.counts().nodes.silent, 1);
    index.agent("agent-n2-new", ready_on("n2"));
    assert!(index.take_dirty(9).contains("a"));
    assert_eq!(ready(&index).0, "True");
}

#[test]
fn a_node_that_the_daemon_set_leaves_stops_counting() {
    let mut index = cluster();
    for node in ["n1", "n2"] {
        index.report(node, &report(10, &[]));
    }
    index.gone(Kind::Agent, "agent-n2");
    index.daemon_set("agents", Some(1));
    assert_eq!(status(&index).nodes.unwrap().summary, "1/1");
    assert_eq!(ready(&index).0, "True");
}

#[test]
fn the_start_up_taint_goes_once_the_agent_of_this_very_node_is_ready_and_in_sync() {
    let time = |seconds| Some(Timestamp::from_second(seconds).unwrap());
    let agent = |created, away| {
        let mut agent = ready_on("new").unwrap();
        (agent.created, agent.away) = (time(created), away);
        Some(agent)
    };
    let mut index = cluster();
    let tainted = SeenNode {
        created: time(100),
        tainted: vec![1],
        ..linux("u", BTreeMap::new())
    };
    index.node("new", tainted.clone());
    assert!(index.untaint().is_empty(), "no agent is there");
    index.agent("agent-new", agent(101, Some(Away::default())));
    index.report("new", &report(9, &[]));
    assert!(index.untaint().is_empty(), "it has yet to get a profile");
    index.report("new", &report(10, &[]));
    assert!(index.untaint().is_empty(), "the agent is not ready");
    index.agent("agent-new", agent(99, None));
    assert!(
        index.untaint().is_empty(),
        "the agent is older than the node"
    );
    index.agent("agent-new", agent(101, None));
    assert_eq!(index.untaint(), [("new".to_owned(), vec![1])]);
    index.profile("b", seen(1, 20), valid);
    assert!(index.untaint().is_empty(), "there is another profile");
    let mut failing = report(20, &[("b", "no space")]);
    index.report("new", &failing);
    assert!(index.untaint().is_empty(), "it could not write");
    failing.spec.failures[0].reason = "FolderReplaced".into();
    index.report("new", &failing);
    assert!(index.untaint().is_empty(), "it wrote elsewhere");
    failing.spec.failures[0].reason = "Conflict".into();
    index.report("new", &failing);
    assert_eq!(index.untaint().len(), 1);
    index.node(
        "new",
        SeenNode {
            tainted: vec![],
            ..tainted
        },
    );
    assert!(index.untaint().is_empty());
}

#[test]
fn a_node_counts_while_any_of_its_agent_pods_is_there() {
    let mut index = cluster();
    index.agent("agent-n2-new", ready_on("n2"));
    index.gone(Kind::Agent, "agent-n2");
    assert_eq!(status(&index).nodes.unwrap().desired, 2);
    index.gone(Kind::Agent, "agent-n2-new");
    assert_eq!(status(&index).nodes.unwrap().desired, 1);
}

#[test]
fn a_report_without_its_node_as_owner_is_found() {
    let mut index = cluster();
    index.report("n1", &report(10, &[]));
    assert_eq!(index.unowned(), ["n1"]);
}

#[test]
fn a_node_selector_that_selects_no_node_is_named_as_the_reason() {
    let mut index = cluster();
    let selecting = SeenProfile {
        node_selector: BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]),
        ..seen(2, 11)
    };
    index.profile("a", selecting, valid);
    let (holds, reason, message) = ready(&index);
    assert_eq!((holds.as_str(), reason.as_str()), ("False", "NoNodes"));
    assert!(
        message.starts_with("spec.nodeSelector selects no node, of 2 nodes with an agent; "),
        "{message}"
    );
    index.gone(Kind::Agent, "agent-n1");
    index.gone(Kind::Agent, "agent-n2");
    index.daemon_set("agents", Some(0));
    assert_eq!(ready(&index).2, "no node runs the agent yet");
}
