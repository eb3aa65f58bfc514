//! `explain --compare`: in one line what a profile stops that another does not, and the other way round.

use serde::Serialize;

use crate::text::plural;
use crate::view::{CallEffect, View};
use seccomp_profile::{Action, Arch};

/// What each of two profiles stops that the other does not, on the native architecture.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    architecture: String,
    /// The name of the other profile.
    with: String,
    stops_more: Vec<Stopped>,
    stops_less: Vec<Stopped>,
}

/// A call that one stops and the other does not.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stopped {
    name: &'static str,
    /// Whether that is so for some arguments only.
    for_some_arguments: bool,
}

impl Comparison {
    pub fn between(mine: &View, other: &View, arch: Arch, with: &str) -> Self {
        let (mut stops_more, mut stops_less) = (Vec::new(), Vec::new());
        let others = other.rows(arch);
        for ((call, mine), (_, other)) in mine.rows(arch).iter().zip(&others) {
            let only = |one: &CallEffect<'_>, other: &CallEffect<'_>| {
                let stops = |one: Action, other: Action| one.refuses() && !other.refuses();
                one.any(other, stops).then(|| Stopped {
                    name: call.name(),
                    for_some_arguments: one.any(other, |one, other| !stops(one, other)),
                })
            };
            stops_more.extend(only(mine, other));
            stops_less.extend(only(other, mine));
        }
        stops_more.sort_by_key(|stopped| stopped.name);
        stops_less.sort_by_key(|stopped| stopped.name);
        Self {
            architecture: arch.to_string(),
            with: with.to_owned(),
            stops_more,
            stops_less,
        }
    }

    /// One line.
    pub fn words(&self) -> String {
        let with = &self.with;
        let list = |stopped: &[Stopped]| {
            let names = stopped.iter().map(|one| {
                if one.for_some_arguments {
                    format!("{} (some arguments)", one.name)
                } else {
                    one.name.to_owned()
                }
            });
            let names: Vec<_> = names.collect();
            format!("{}: {}", plural(stopped.len(), "call"), names.join(" "))
        };
        match (self.stops_more.as_slice(), self.stops_less.as_slice()) {
            ([], []) => format!("stops the same calls as {with}\n"),
            (more, []) => format!("stops all that {with} does, and {}\n", list(more)),
            ([], less) => format!(
                "stops nothing that {with} does not, which stops {}\n",
                list(less)
            ),
            (more, less) => format!(
                "stops what {with} does not, {}; {with} stops what this does not, {}\n",
                list(more),
                list(less)
            ),
        }
    }
}
