//! Rules that libseccomp cannot have together.

use super::Reader;
use crate::condition::{Condition, MAX_CONDITIONAL};
use crate::document::{Entry, Filter, Verdict};
use crate::oci::ArchSet;
use crate::problem::Path;
use crate::syscall::Syscall;

/// The most rules with the same conditions on one call, for different architectures, kernels and capabilities. Each is
/// compared with those before it.
pub(super) const MAX_SAME: usize = 64;

/// Conditions in the order of their arguments: how libseccomp compares two rules.
pub(super) type Key = (Syscall, Vec<Condition>);

/// A rule as it was read: its place, what it says, and when it applies.
pub(super) type Seen = (usize, Verdict, Filter, Filter);

impl Reader {
    /// Two entries with the same conditions on a call and different actions: libseccomp refuses the second, and the
    /// container does not start. Only those that can apply to one node together.
    pub(super) fn conflicts(&mut self, entry: &Entry, index: usize, path: &Path<'_>) {
        if entry.conditions.is_empty() || self.conditional > MAX_CONDITIONAL {
            return;
        }
        let mut conditions = entry.conditions.clone();
        conditions.sort_unstable();
        conditions.dedup();
        let mut reported = false;
        for call in &entry.syscalls {
            let seen = self.seen.entry((*call, conditions.clone())).or_default();
            if seen.len() >= MAX_SAME {
                if !reported {
                    reported = true;
                    self.problems.add(path, || {
                        (
                            format!("is rule {} for {call} with the same conditions", MAX_SAME + 1),
                            "remove those that say the same, or let includes and excludes tell fewer cases apart".into(),
                        )
                    });
                }
                continue;
            }
            let other = seen.iter().find(|(_, verdict, includes, excludes)| {
                *verdict != entry.verdict
                    && can_meet((includes, excludes), (&entry.includes, &entry.excludes))
            });
            if let Some((other, ..)) = other
                && !reported
            {
                reported = true;
                let other = *other;
                self.problems.add(path, || {
                    (
                        format!("gives {call} another action than syscalls[{other}] under the same condition, and no container starts with both"),
                        "remove one of the two".into(),
                    )
                });
            }
            seen.push((index, entry.verdict, entry.includes, entry.excludes));
        }
    }
}

/// Whether there is an architecture, a kernel and a capability set for which both entries apply.
fn can_meet(a: (&Filter, &Filter), b: (&Filter, &Filter)) -> bool {
    let (includes, excludes) = ([a.0, b.0], [a.1, b.1]);
    let [needed, refused] = [includes, excludes].map(|[a, b]| a.capabilities.or(b.capabilities));
    let included = includes.map(|filter| match filter.arches {
        ArchSet::EMPTY => ArchSet::ALL,
        arches => arches,
    });
    let [a, b] = excludes.map(|filter| filter.arches);
    let arches = included[0].and(included[1]).without(a.or(b));
    let from = includes
        .map(|filter| filter.min_kernel)
        .into_iter()
        .max()
        .flatten();
    let before = excludes
        .into_iter()
        .filter_map(|filter| filter.min_kernel)
        .min();
    let kernel = before.is_none_or(|before| from.is_none_or(|from| from < before));
    !needed.contains_any(refused) && !arches.is_empty() && kernel
}
