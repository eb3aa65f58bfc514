//! Which nodes have an agent, and whether it does its work: a pure state.
//!
//! A node should have profiles when an agent is meant to be there, and that is the DaemonSet's business: its pods say where, and
//! its status says how many there should be. As long as it lacks one, a node whose agent reported before and has no pod now is taken
//! for a node without the agent that it should have; when it lacks none, no agent is meant to be there.
//!
//! An agent is replaced now and then, in an update above all. So one that is away counts as gone only after some patience.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

/// An agent's pod as the watch saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// Where it runs, or is meant to run.
    pub node: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Why it does not do its work; none when it is ready.
    pub away: Option<Away>,
}

/// An agent that is not ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Away {
    /// For so long already.
    pub since: Duration,
    /// A word that says why, such as `CrashLoopBackOff`, where there is one.
    pub why: Option<String>,
}

/// What to expect of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: no agent is meant to be there.
    #[default]
    Unmanaged,
    /// An agent is there, or was a moment ago.
    Managed,
    /// An agent should be there and is not, or does nothing: a sentence's end that says why.
    Gone(String),
}

#[derive(Debug)]
struct Pod {
    agent: Agent,
    /// When it counts as gone, if it is away.
    gone_at: Duration,
}

/// See the module's head. Moments are durations since the start of the process.
#[derive(Debug)]
pub struct Agents {
    patience: Duration,
    pods: HashMap<String, Pod>,
    /// The pods on each node; never empty.
    by_node: HashMap<String, Vec<String>>,
    /// How many agents each DaemonSet wants.
    wanted: BTreeMap<String, usize>,
    /// The nodes that reported and have no pod.
    missing: BTreeMap<String, Missing>,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    /// When the agent counts as gone.
    gone_at: Duration,
    /// No agent has been meant to be there for a while. So whatever is missing later is missing elsewhere.
    dismissed: bool,
}

impl Agents {
    /// None. One that is away counts as gone after `patience`.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            pods: HashMap::new(),
            by_node: HashMap::new(),
            wanted: BTreeMap::new(),
            missing: BTreeMap::new(),
        }
    }

    /// The pods' names.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.pods.keys().map(String::as_str)
    }

    /// The DaemonSets' names.
    pub fn daemon_sets(&self) -> impl Iterator<Item = &str> {
        self.wanted.keys().map(String::as_str)
    }

    /// A pod exists in this form. Gives the nodes that it concerns.
    pub fn pod(&mut self, name: &str, agent: Agent, now: Duration) -> Vec<String> {
        let mut nodes = Vec::new();
        if self
            .pods
            .get(name)
            .is_some_and(|known| known.agent.node != agent.node)
        {
            nodes.extend(self.gone(name));
        }
        let left = |away: &Away| self.patience.saturating_sub(away.since);
        let gone_at = now + agent.away.as_ref().map(left).unwrap_or_default();
        let node = agent.node.clone();
        if self
            .pods
            .insert(name.to_owned(), Pod { agent, gone_at })
            .is_none()
        {
            let pods = self.by_node.entry(node.clone()).or_default();
            pods.push(name.to_owned());
        }
        nodes.push(node);
        nodes
    }

    /// A pod is gone. Gives the node that it was on.
    pub fn gone(&mut self, name: &str) -> Option<String> {
        let node = self.pods.remove(name)?.agent.node;
        if let Some(pods) = self.by_node.get_mut(&node) {
            pods.retain(|pod| pod != name);
            if pods.is_empty() {
                self.by_node.remove(&node);
            }
        }
        Some(node)
    }

    /// The nodes where an agent does its work.
    pub fn at_work(&self) -> impl Iterator<Item = &str> {
        let at_work = self.pods.values().filter(|pod| pod.agent.away.is_none());
        at_work.map(|pod| pod.agent.node.as_str())
    }

    /// A DaemonSet wants so many agents, or is gone.
    pub fn wants(&mut self, daemon_set: &str, agents: Option<usize>) {
        match agents {
            Some(agents) => self.wanted.insert(daemon_set.to_owned(), agents),
            None => self.wanted.remove(daemon_set),
        };
    }

    /// Whether an agent is missing somewhere. Without a DaemonSet all are.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.wanted.is_empty() || self.wanted.values().sum::<usize>() > self.by_node.len()
    }

    /// The nodes that reported and have no pod.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.missing.keys().cloned().collect()
    }

    /// What to expect of a node, and when that changes by itself. `reported`: there is a report of its agent.
    pub fn standing(
        &mut self,
        node: &str,
        reported: bool,
        now: Duration,
    ) -> (Standing, Option<Duration>) {
        let known = self.by_node.get(node);
        let pods = known
            .into_iter()
            .flatten()
            .filter_map(|pod| self.pods.get(pod));
        let mut pods = pods.peekable();
        let (gone_at, why) = if pods.peek().is_some() {
            self.missing.remove(node);
            // The pod that has been away for the shortest time is the one to hope for.
            let best = pods.max_by_key(|pod| (pod.agent.away.is_none(), pod.gone_at));
            let Some((away, gone_at)) =
                best.and_then(|pod| Some((pod.agent.away.as_ref()?, pod.gone_at)))
            else {
                return (Standing::Managed, None);
            };
            let why = away.why.iter().map(|why| format!(": {why}"));
            (
                gone_at,
                format!("its agent is not ready{}", why.collect::<String>()),
            )
        } else if reported {
            let short = self.is_short();
            let missing = self.missing.entry(node.to_owned()).or_insert(Missing {
                gone_at: now + self.patience,
                dismissed: false,
            });
            missing.dismissed |= !short && missing.gone_at <= now;
            if missing.dismissed {
                return (Standing::Unmanaged, None);
            } else if !short {
                return (Standing::Unmanaged, Some(missing.gone_at));
            }
            (missing.gone_at, "no agent runs there".to_owned())
        } else {
            self.missing.remove(node);
            return (Standing::Unmanaged, None);
        };
        if gone_at > now {
            (Standing::Managed, Some(gone_at))
        } else {
            (Standing::Gone(why), None)
        }
    }

    /// Whether an agent that was created no earlier than `node_created` is ready on the node.
    #[must_use]
    pub fn is_ready(&self, node: &str, node_created: Option<Timestamp>) -> bool {
        let pods = self.by_node.get(node).into_iter().flatten();
        let mut pods = pods.filter_map(|pod| self.pods.get(pod));
        pods.any(|pod| pod.agent.away.is_none() && pod.agent.created >= node_created)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ready(node: &str) -> Agent {
        Agent {
            node: node.into(),
            ..Agent::default()
        }
    }

    fn away(node: &str, seconds: u64, why: &str) -> Agent {
        let away = Away {
            since: at(seconds),
            why: Some(why.into()),
        };
        Agent {
            away: Some(away),
            ..ready(node)
        }
    }

    /// A DaemonSet that wants two agents, and has them.
    fn two() -> Agents {
        let mut agents = Agents::new(PATIENCE);
        agents.wants("ds", Some(2));
        agents.pod("p1", ready("n1"), at(0));
        agents.pod("p2", ready("n2"), at(0));
        agents
    }

    fn managed(until: u64) -> (Standing, Option<Duration>) {
        (Standing::Managed, Some(at(until)))
    }

    fn gone(why: &str) -> (Standing, Option<Duration>) {
        (Standing::Gone(why.into()), None)
    }

    #[test]
    fn a_node_with_a_ready_agent_is_managed_and_one_without_any_is_not() {
        let mut agents = two();
        assert_eq!(
            agents.standing("n1", false, at(9)),
            (Standing::Managed, None)
        );
        assert_eq!(agents.standing("n3", false, at(9)).0, Standing::Unmanaged);
    }

    #[test]
    fn an_agent_that_is_away_is_waited_for_and_then_gone_until_it_is_ready_again() {
        let mut agents = two();
        agents.pod("p1", away("n1", 0, "CrashLoopBackOff"), at(100));
        assert_eq!(agents.standing("n1", true, at(159)), managed(160));
        let sentence = gone("its agent is not ready: CrashLoopBackOff");
        assert_eq!(agents.standing("n1", true, at(160)), sentence);
        // Heard of late, such as by a controller that has just started.
        agents.pod("p2", away("n2", 50, "x"), at(100));
        assert_eq!(agents.standing("n2", true, at(100)), managed(110));
        agents.pod("p2", away("n2", 500, "x"), at(101));
        assert!(matches!(
            agents.standing("n2", true, at(101)).0,
            Standing::Gone(_)
        ));
        agents.pod("p1", ready("n1"), at(161));
        assert_eq!(
            agents.standing("n1", true, at(161)),
            (Standing::Managed, None)
        );
    }

    #[test]
    fn a_pod_that_takes_over_from_one_that_is_away_is_the_one_that_counts() {
        let mut agents = two();
        agents.pod("p1", away("n1", 500, "x"), at(100));
        agents.pod("p1-new", away("n1", 0, "ContainerCreating"), at(100));
        assert_eq!(agents.standing("n1", true, at(100)), managed(160));
        agents.pod("p1-new", ready("n1"), at(101));
        assert_eq!(
            agents.standing("n1", true, at(101)),
            (Standing::Managed, None)
        );
        assert_eq!(agents.gone("p1-new").as_deref(), Some("n1"));
        assert!(matches!(
            agents.standing("n1", true, at(102)).0,
            Standing::Gone(_)
        ));
    }

    #[test]
    fn a_node_that_lacks_the_agent_that_it_should_have_is_waited_for_and_then_gone() {
        let mut agents = two();
        agents.gone("p2");
        assert!(agents.is_short());
        assert_eq!(agents.standing("n2", true, at(10)), managed(70));
        assert_eq!(agents.standing("n2", true, at(69)), managed(70));
        assert_eq!(
            agents.standing("n2", true, at(70)),
            gone("no agent runs there")
        );
        assert_eq!(agents.missing(), ["n2"]);
        agents.pod("p3", ready("n2"), at(80));
        assert_eq!(
            agents.standing("n2", true, at(80)),
            (Standing::Managed, None)
        );
        assert!(agents.missing().is_empty());
    }

    #[test]
    fn without_a_daemon_set_every_agent_is_missing() {
        let mut agents = two();
        agents.wants("ds", None);
        for pod in ["p1", "p2"] {
            agents.gone(pod);
        }
        assert_eq!(agents.standing("n1", true, at(10)), managed(70));
        assert_eq!(
            agents.standing("n1", true, at(70)),
            gone("no agent runs there")
        );
    }

    #[test]
    fn a_node_that_no_agent_is_meant_for_any_more_stops_counting_for_good() {
        let mut agents = two();
        agents.gone("p2");
        agents.standing("n2", true, at(10));
        agents.wants("ds", Some(1));
        assert_eq!(
            agents.standing("n2", true, at(11)),
            (Standing::Unmanaged, Some(at(70)))
        );
        agents.standing("n2", true, at(70));
        // An update replaces the other node's agent: what is missing is missing there.
        agents.gone("p1");
        assert_eq!(agents.standing("n1", true, at(100)), managed(160));
        assert_eq!(agents.standing("n2", true, at(100)).0, Standing::Unmanaged);
        agents.pod("p3", ready("n2"), at(101));
        assert_eq!(agents.standing("n2", true, at(101)).0, Standing::Managed);
    }

    #[test]
    fn a_pod_may_move() {
        let mut agents = two();
        assert_eq!(agents.pod("p2", ready("n3"), at(1)), ["n2", "n3"]);
        assert_eq!(agents.standing("n2", false, at(1)).0, Standing::Unmanaged);
        assert_eq!(agents.standing("n3", false, at(1)).0, Standing::Managed);
        assert_eq!(agents.gone("unheard-of"), None);
    }

    #[test]
    fn only_an_agent_that_came_with_or_after_the_node_is_ready_for_it() {
        let time = |seconds| Some(Timestamp::from_second(seconds).unwrap());
        let mut agents = two();
        let born = |seconds| Agent {
            created: time(seconds),
            ..ready("n1")
        };
        agents.pod("p1", born(100), at(0));
        assert!(agents.is_ready("n1", time(100)));
        assert!(
            !agents.is_ready("n1", time(101)),
            "it is another node's of that name"
        );
        let pod = Agent {
            created: time(100),
            ..away("n1", 0, "x")
        };
        agents.pod("p1", pod, at(0));
        assert!(!agents.is_ready("n1", time(100)));
    }
}
