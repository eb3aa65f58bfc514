//! Whatever order changes, answers, writes and restarts come in: no status says that a profile is ready before every node has it.
//!
//! A small cluster of its own, in which everything is delivered late and in any order that the API server allows: each watch tells all that happened to
//! its kind, in order, and none knows how far another is.

use super::*;

const NODES: usize = 3;
/// `derived` derives from `base`, `other` is by itself.
const PROFILES: [&str; 3] = ["base", "derived", "other"];
const SEEDS: u64 = 100;
const STEPS: usize = 120;

/// A sequence that is the same for the same seed (xorshift).
struct Draw(u64);

impl Draw {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(most).unwrap()).unwrap()
    }
}

/// What the agent of a node does: it takes the changes of the profile list in order, and then says up to which version.
#[derive(Clone, Default)]
struct SimulatedAgent {
    /// So many of the changes were taken.
    taken: usize,
    /// The generation of each profile that is on the disk, and of what it derives from.
    has: BTreeMap<&'static str, i64>,
    newest: u64,
    applied: u64,
    due: bool,
}

#[derive(Clone)]
struct Stored {
    name: &'static str,
    generation: i64,
    version: u64,
    status: SeccompProfileStatus,
}

/// An API server, its nodes, and one controller that knows a part of it.
struct World {
    version: u64,
    profiles: BTreeMap<&'static str, Stored>,
    changes: Vec<Stored>,
    reports: Vec<(usize, SeccompNode)>,
    agents: Vec<SimulatedAgent>,
    index: Index,
    /// So many of the changes and of the reports the controller has seen.
    seen: (usize, usize),
}

fn spec_of(name: &str) -> Defined {
    match name {
        "derived" => on("base"),
        _ => valid(),
    }
}

fn controller() -> Index {
    let mut index = empty();
    index.daemon_set("agents", Some(NODES));
    for node in 0..NODES {
        index.node(
            &node.to_string(),
            linux(&format!("u{node}"), BTreeMap::new()),
        );
        index.agent(&format!("agent-{node}"), ready_on(&node.to_string()));
    }
    index
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            version: 100,
            profiles: BTreeMap::new(),
            changes: Vec::new(),
            reports: Vec::new(),
            agents: vec![SimulatedAgent::default(); NODES],
            index: controller(),
            seen: (0, 0),
        };
        for name in PROFILES {
            world.change(name);
        }
        world
    }

    fn store(&mut self, mut stored: Stored) {
        self.version += 1;
        stored.version = self.version;
        self.profiles.insert(stored.name, stored.clone());
        self.changes.push(stored);
    }

    /// Somebody changes a spec, or makes the profile.
    fn change(&mut self, name: &'static str) {
        let known = self.profiles.get(name).cloned();
        let mut stored = known.unwrap_or(Stored {
            name,
            generation: 0,
            version: 0,
            status: SeccompProfileStatus::default(),
        });
        stored.generation += 1;
        self.store(stored);
    }

    /// An agent takes some changes, and says what follows.
    fn apply(&mut self, node: usize, most: usize) {
        let agent = &mut self.agents[node];
        for change in self.changes.iter().skip(agent.taken).take(most) {
            agent.taken += 1;
            agent.newest = change.version;
            let current = change.status.observed_generation == Some(change.generation);
            let revision = change.status.revision.as_ref().filter(|_| current);
            let revision = revision.map_or(0, |revision| revision.parse().unwrap());
            agent.due |= revision > agent.applied;
            let had = agent.has.insert(change.name, change.generation);
            agent.due |= had != Some(change.generation);
        }
        if std::mem::take(&mut agent.due) {
            agent.applied = agent.newest;
            let said = report(agent.applied, &[]);
            self.reports.push((node, said));
        }
    }

    fn see_changes(&mut self, most: usize) {
        for change in self.changes.iter().skip(self.seen.0).take(most) {
            self.seen.0 += 1;
            let seen = SeenProfile {
                uid: change.name.into(),
                status: change.status.clone(),
                ..seen(change.generation, change.version)
            };
            self.index
                .profile(change.name, seen, || spec_of(change.name));
        }
    }

    fn see_reports(&mut self, most: usize) {
        for (node, said) in self.reports.iter().skip(self.seen.1).take(most) {
            self.seen.1 += 1;
            self.index.report(&node.to_string(), said);
        }
    }

    /// Another replica leads: it lists what there is.
    fn restart(&mut self) {
        self.index = controller();
        for stored in self.profiles.clone().into_values() {
            let seen = SeenProfile {
                uid: stored.name.into(),
                status: stored.status,
                ..seen(stored.generation, stored.version)
            };
            self.index
                .profile(stored.name, seen, || spec_of(stored.name));
        }
        let last: BTreeMap<_, _> = self.reports.iter().cloned().collect();
        for (node, said) in last {
            self.index.report(&node.to_string(), &said);
        }
        self.seen = (self.changes.len(), self.reports.len());
    }

    /// The controller writes what it wants of one profile, to the very version that it knows.
    fn write(&mut self, name: &'static str, seed: u64) {
        let Some(wanted) = self.index.wanted(name, now()) else {
            return;
        };
        let (Some(status), Some(stored)) = (wanted.status, self.profiles.get(name)) else {
            return;
        };
        if stored.version != wanted.version {
            return;
        }
        let stored = stored.clone();
        if is_ready(&status) {
            for (node, agent) in self.agents.iter().enumerate() {
                let has = agent.has.get(name).copied().unwrap_or_default();
                assert!(
                    has >= stored.generation,
                    "seed {seed}: {name} is not on node {node} yet"
                );
            }
            // What it derives from may be newer than the controller knows; of what it knows all is there.
            let known = self
                .index
                .profiles
                .get("base")
                .filter(|_| name == "derived");
            for (node, agent) in self.agents.iter().enumerate() {
                let has = agent.has.get("base").copied().unwrap_or_default();
                let known = known.map_or(0, |known| known.seen.generation);
                assert!(
                    has >= known,
                    "seed {seed}: the base of {name} is not on node {node} yet"
                );
            }
        }
        self.store(Stored { status, ..stored });
    }
}

fn is_ready(status: &SeccompProfileStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|of| of.type_ == condition::READY && of.status == "True")
}

#[test]
fn no_order_of_changes_and_answers_makes_a_profile_ready_too_early() {
    let mut ready = 0;
    for seed in 1..=SEEDS {
        let mut world = World::new();
        let mut draw = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for _ in 0..STEPS {
            let most = 1 + draw.below(6);
            match draw.below(20) {
                0 | 1 => world.change(PROFILES[draw.below(PROFILES.len())]),
                2..=7 => world.apply(draw.below(NODES), most),
                8..=11 => world.see_changes(most),
                12..=14 => world.see_reports(most),
                15 if most == 1 => world.restart(),
                _ => world.write(PROFILES[draw.below(PROFILES.len())], seed),
            }
        }
        // Once nothing changes any more, everything comes to be ready, and nothing is written for ever.
        for _ in 0..10 {
            for node in 0..NODES {
                world.apply(node, usize::MAX);
            }
            world.see_changes(usize::MAX);
            world.see_reports(usize::MAX);
            for name in PROFILES {
                world.write(name, seed);
            }
        }
        let rests = (world.changes.len(), world.reports.len());
        assert_eq!(world.seen, rests, "seed {seed}: it does not come to rest");
        ready += world
            .profiles
            .values()
            .filter(|stored| is_ready(&stored.status))
            .count();
    }
    assert_eq!(ready, PROFILES.len() * usize::try_from(SEEDS).unwrap());
}
