//! What checks look at, and the words that they share. Knows no code.

use std::fmt;

use super::{Delivery, Severity};
use crate::action::Action;
use crate::arch::Arch;
use crate::condition::Condition;
use crate::decision::Decision;
use crate::delta::{Delta, DeltaEntry};
use crate::document::{Architectures, Document, Entry, Oddity};
use crate::errno::{Errno, StatedErrno};
use crate::loader::{Generation, Loaders};
use crate::oci::{ArchSet, Profile};
use crate::runtime::Runtime;
use crate::semantics::Semantics;
use crate::syscall::{Syscall, named};
use crate::target::Target;

/// What runc can do without if the kernel says that it does not know it.
pub(super) const RUNC_FALLS_BACK: &str = "close_range faccessat2 openat2";

/// A profile on one kind of node.
pub(super) struct Subject<'a> {
    pub(super) target: &'a Target,
    /// Its rules are those of the document at the bottom.
    pub(super) profile: &'a Profile,
    /// What it all comes to.
    pub(super) semantics: &'a Semantics,
    pub(super) source: Source<'a>,
    /// Those that may load it.
    pub(super) loaders: Loaders,
    /// The path of what the author wrote.
    pub(super) at: &'a str,
}

/// What the author wrote.
pub(super) enum Source<'a> {
    Document {
        document: &'a Document,
        delivery: Delivery,
        /// The entries of `syscalls` that apply to the target, with their places.
        entries: Vec<(usize, &'a Entry)>,
    },
    /// Changes to a base.
    Delta {
        changes: &'a Delta,
        /// What they change.
        base: &'a Semantics,
        /// The field that says what that is.
        below: &'static str,
    },
}

impl<'a> Subject<'a> {
    /// What happens to a call, if that does not depend on its arguments.
    pub(super) fn always(&self, call: Syscall) -> Option<Action> {
        let decision = self.semantics.calls.get(&call);
        decision.map_or(Some(self.semantics.default), Decision::constant)
    }

    /// Whether a call is made, whatever its arguments.
    pub(super) fn is_open(&self, call: Syscall) -> bool {
        self.always(call).is_some_and(Action::is_permitted)
    }

    /// Whether a call is made for some arguments at least.
    pub(super) fn is_open_for_some(&self, call: Syscall) -> bool {
        let decision = self.semantics.decision_for(call);
        decision.actions().into_iter().any(Action::is_permitted)
    }

    /// Whether some architecture of the profile has the call.
    pub(super) fn is_reachable(&self, call: Syscall) -> bool {
        let mut arches = self.profile.architectures().iter();
        arches.any(|arch| call.number(arch).is_some())
    }

    /// What the author denies by name: the place, the calls, and whether for some arguments only. What an answer of
    /// `ENOSYS` says is "use an older call instead", which denies nothing.
    pub(super) fn denials(&self) -> Vec<(String, &[Syscall], bool)> {
        let denies = |action: Action| action.refuses() && action != enosys(self.target.arch);
        match &self.source {
            Source::Document { entries, .. } => entries
                .iter()
                .filter(|(_, entry)| denies(entry.verdict.on(self.target.arch)))
                .map(|(i, entry)| {
                    let path = self.path(&format!("syscalls[{i}]"));
                    (
                        path,
                        entry.syscalls.as_slice(),
                        !entry.conditions.is_empty(),
                    )
                })
                .collect(),
            Source::Delta { changes, .. } => changes
                .deny
                .iter()
                .enumerate()
                .filter(|(_, change)| {
                    let errno = change.errno.map(|errno| errno.on(self.target.arch));
                    errno.is_none_or(|errno| denies(Action::Errno(errno)))
                })
                .map(|(i, change)| {
                    let path = self.path(&format!("deny[{i}]"));
                    (path, change.calls.as_slice(), !change.conditions.is_empty())
                })
                .collect(),
        }
    }

    /// The same without those of a document that say what its default says: tools write such, and nobody means them.
    pub(super) fn meant_denials(&self) -> Vec<(String, &[Syscall], bool)> {
        let default = self.profile.default_action();
        let like_default = |path: &str| {
            let mut entries = self.entries().iter();
            entries.any(|(i, entry)| {
                entry.verdict.on(self.target.arch) == default
                    && self.path(&format!("syscalls[{i}]")) == path
            })
        };
        let mut denials = self.denials();
        denials.retain(|(path, ..)| !like_default(path));
        denials
    }

    /// The place that permits a call.
    pub(super) fn place_that_permits(&self, call: Syscall) -> String {
        match &self.source {
            Source::Document { entries, .. } => {
                let of_call = entries.iter().find(|(_, entry)| {
                    entry.syscalls.contains(&call) && entry.verdict.action.is_permitted()
                });
                match of_call {
                    Some((i, _)) => self.path(&format!("syscalls[{i}]")),
                    None => self.path("defaultAction"),
                }
            }
            Source::Delta { changes, below, .. } => {
                let of_call = |(_, change): &(usize, &DeltaEntry)| change.calls.contains(&call);
                let allowed = changes.allow.iter().enumerate().find(of_call);
                let logged = changes.log.iter().enumerate().find(of_call);
                match (logged, allowed) {
                    (Some((i, _)), _) => self.path(&format!("log[{i}]")),
                    (None, Some((i, _))) => self.path(&format!("allow[{i}]")),
                    (None, None) => self.path(below),
                }
            }
        }
    }

    /// The place that refuses a call: a rule, or else what says it of all calls.
    pub(super) fn place_that_refuses(&self, call: Syscall) -> String {
        let denials = self.denials();
        let of_call = denials.iter().find(|(_, calls, _)| calls.contains(&call));
        match (of_call, &self.source) {
            (Some((path, ..)), _) => path.clone(),
            (None, Source::Document { .. }) => self.path("defaultAction"),
            (None, Source::Delta { below, .. }) => self.path(below),
        }
    }

    /// Those of some calls that runtimes refuse in a way of which `is_wrong` is true, by the runtimes under which that is so.
    pub(super) fn refused_by_loaders(
        &self,
        arch: Arch,
        calls: impl Iterator<Item = Syscall>,
        is_wrong: impl Fn(Action) -> bool,
    ) -> Vec<(Loaders, Vec<Syscall>)> {
        let mut refused = Vec::<(Loaders, Vec<Syscall>)>::new();
        for call in calls {
            let loaders = self.loaders.for_which(|generation| {
                let refusal = self.refusal_under(generation, arch, call);
                refusal.is_some_and(&is_wrong)
            });
            match refused.iter_mut().find(|(known, _)| *known == loaders) {
                _ if loaders.is_empty() => {}
                Some((_, calls)) => calls.push(call),
                None => refused.push((loaders, vec![call])),
            }
        }
        refused
    }

    /// How severe it is what is so under these runtimes: who asks for a runtime has it, and runc is what most nodes have.
    pub(super) fn severity_under(&self, loaders: Loaders) -> Severity {
        if self.loaders.asked().is_some() || loaders.contains(Runtime::Runc) {
            Severity::Warning
        } else {
            Severity::Note
        }
    }

    /// The path of one of its fields.
    pub(super) fn path(&self, field: &str) -> String {
        if self.at.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.at)
        }
    }

    /// How the author names further calls to be denied: `add "x" and "y" to spec.deny`.
    pub(super) fn deny_too(&self, calls: &[Syscall], place: &str) -> String {
        match &self.source {
            Source::Document { .. } => format!("add {} to {place}.names", listed(calls)),
            Source::Delta { .. } => format!("add {} to {}", listed(calls), self.path("deny")),
        }
    }

    /// Whether the author wrote a document, and no changes to a base.
    pub(super) fn is_document(&self) -> bool {
        matches!(self.source, Source::Document { .. })
    }

    /// How the author has calls allowed: without the rules that refuse them, of which one would win.
    pub(super) fn allow_too(&self, calls: &[Syscall]) -> String {
        let (mut steps, freed) = self.no_longer_refuse(calls);
        let is_permitted = |call: &&Syscall| {
            let by_default = self.semantics.default.is_permitted();
            by_default || (!self.is_document() && freed.contains(*call))
        };
        let rest = calls.iter().filter(|call| !is_permitted(call));
        let rest: Vec<_> = rest.copied().collect();
        if !rest.is_empty() {
            steps.push(if self.is_document() {
                format!("allow {}", plainly(&rest))
            } else {
                format!("add {} to {}", plainly(&rest), self.path("allow"))
            });
        }
        steps.join(", and ")
    }

    /// How the author takes calls out of the rules that refuse them, and those that are in such.
    pub(super) fn no_longer_refuse(&self, calls: &[Syscall]) -> (Vec<String>, Vec<Syscall>) {
        let refuses = |action: Action| action.refuses() || matches!(action, Action::Trace(_));
        let (mut steps, mut freed) = (Vec::new(), Vec::new());
        let mut free = |known: &[Syscall], place: String| {
            let is_known = |call: &Syscall| known.contains(call);
            let mine: Vec<_> = calls.iter().copied().filter(is_known).collect();
            if !mine.is_empty() {
                steps.push(format!("remove {} from {place}", plainly(&mine)));
                freed.extend(mine);
            }
        };
        for (i, entry) in self.entries() {
            let action = entry.verdict.on(self.target.arch);
            if refuses(action) && action != self.profile.default_action() {
                free(&entry.syscalls, self.path(&format!("syscalls[{i}].names")));
            }
        }
        for (list, _, change) in self.changes() {
            if list == List::Deny {
                free(&change.calls, self.path("deny"));
            }
        }
        (steps, freed)
    }

    /// `under crun and youki, `, if that are not all that are asked about.
    pub(super) fn under(&self, loaders: Loaders) -> String {
        if loaders == self.loaders {
            String::new()
        } else {
            format!("under {loaders}, ")
        }
    }

    /// How the author takes calls out of the rules that allow them, of which the first would win over a denial.
    pub(super) fn no_longer_allow(&self, calls: &[Syscall]) -> Vec<String> {
        let default = self.profile.default_action();
        let allows = |entry: &Entry| {
            let action = entry.verdict.on(self.target.arch);
            action.is_permitted() && action != default
        };
        let entries = self.entries().iter().filter(|(_, entry)| allows(entry));
        entries
            .filter_map(|(i, entry)| {
                let is_there = |call: &&Syscall| entry.syscalls.contains(call);
                let named: Vec<_> = calls.iter().filter(is_there).collect();
                let place = self.path(&format!("syscalls[{i}].names"));
                (!named.is_empty()).then(|| format!("remove {} from {place}", listed(&named)))
            })
            .collect()
    }

    /// How the author has calls answered so that programs use older ones.
    pub(super) fn answer_enosys(&self, calls: &[Syscall]) -> String {
        match &self.source {
            Source::Document { .. } => format!(
                "answer {} with ENOSYS (SCMP_ACT_ERRNO with errnoRet 38)",
                listed(calls)
            ),
            Source::Delta { .. } => {
                let entries = calls.iter();
                let entries = entries.map(|call| format!("{{name: {call}, errno: ENOSYS}}"));
                let entries: Vec<_> = entries.collect();
                format!("add {} to {}", entries.join(", "), self.path("deny"))
            }
        }
    }

    /// How the author has new calls answered so that programs use older ones, or allowed where a runtime does not.
    pub(super) fn make_known_or_unknown(&self, calls: &[Syscall]) -> Vec<String> {
        let falls_back = |call: &Syscall| {
            let mut runtimes = Runtime::ALL.iter();
            !runtimes.any(|runtime| runtime.was_seen_to_need(*call))
                || named(RUNC_FALLS_BACK).any(|known| known == *call)
        };
        let (unknown, known): (Vec<_>, Vec<_>) = calls.iter().partition(|call| falls_back(call));
        let mut steps = Vec::new();
        if !known.is_empty() {
            steps.push(self.allow_too(&known));
        }
        if !unknown.is_empty() {
            steps.extend(self.no_longer_refuse(&unknown).0);
            steps.push(self.answer_enosys(&unknown));
        }
        steps
    }

    /// The place that has conditions on a call, or else denies it.
    pub(super) fn place_of_conditions(&self, call: Syscall) -> String {
        match &self.source {
            Source::Document { entries, .. } => {
                let of_call = entries.iter().find(|(_, entry)| {
                    entry.syscalls.contains(&call) && !entry.conditions.is_empty()
                });
                match of_call {
                    Some((i, _)) => self.path(&format!("syscalls[{i}]")),
                    None => self.place_that_refuses(call),
                }
            }
            Source::Delta { .. } => self.place_that_refuses(call),
        }
    }

    /// The first entry with a call.
    pub(super) fn entry_of(&self, call: Syscall) -> Option<String> {
        let Source::Document { entries, .. } = &self.source else {
            return None;
        };
        let of_call = entries
            .iter()
            .find(|(_, entry)| entry.syscalls.contains(&call));
        of_call.map(|(i, _)| self.path(&format!("syscalls[{i}]")))
    }

    /// The document, if the runtime reads it as its author wrote it.
    pub(super) fn read_as_is(&self) -> Option<&'a Document> {
        match self.source {
            Source::Document {
                document,
                delivery: Delivery::AsIs,
                ..
            } => Some(document),
            _ => None,
        }
    }

    /// The architectures that the author wrote for runtimes to read. Where the operator writes, a node gets its own only.
    pub(super) fn written_architectures(&self) -> ArchSet {
        match self.read_as_is().map(|document| &document.architectures) {
            Some(Architectures::Listed(arches)) => *arches,
            _ => ArchSet::EMPTY,
        }
    }

    /// What runtimes make of the document and its author does not mean, if they read it.
    pub(super) fn oddities(&self) -> &'a [Oddity] {
        self.read_as_is().map_or(&[], |document| &document.oddities)
    }

    /// Whether a rule asks the listener.
    pub(super) fn notifies(&self) -> bool {
        let mut rules = self.profile.rules().iter();
        rules.any(|rule| rule.action() == Action::Notify)
    }

    /// The first place of a document with an action for which `test` is true.
    pub(super) fn first_action(&self, test: impl Fn(Action) -> bool) -> Option<String> {
        if test(self.profile.default_action()) {
            return Some(self.path("defaultAction"));
        }
        let mut entries = self.entries().iter();
        let (i, _) = entries.find(|(_, entry)| test(entry.verdict.on(self.target.arch)))?;
        Some(self.path(&format!("syscalls[{i}].action")))
    }

    /// Whether a call is refused for some arguments at least.
    pub(super) fn is_refused(&self, call: Syscall) -> bool {
        let decision = self.semantics.calls.get(&call);
        decision.is_some_and(|decision| decision.actions().into_iter().any(Action::refuses))
    }

    /// How a call is refused, if it is for all arguments. A container has no tracer.
    pub(super) fn refusal(&self, call: Syscall) -> Option<Action> {
        match self.always(call)? {
            Action::Trace(_) => Some(enosys(self.target.arch)),
            action => action.refuses().then_some(action),
        }
    }

    /// The same where that runtime loads the filter.
    pub(super) fn refusal_under(
        &self,
        generation: Generation,
        arch: Arch,
        call: Syscall,
    ) -> Option<Action> {
        let default = self.semantics.default;
        let lenient = matches!(default, Action::Allow | Action::Log | Action::Trace(_));
        let states = match self.read_as_is() {
            Some(_) => self.profile.states_architectures(),
            None => true,
        };
        let named = self.semantics.calls.keys();
        let newest = named.filter_map(|call| call.number(arch)).max();
        let is_newer = call.number(arch) > newest;
        if is_newer && newest.is_some() && !lenient && generation.has_stub(states) {
            return Some(enosys(arch));
        }
        self.refusal(call)
    }

    /// Whether a call is stopped for some arguments at least.
    pub(super) fn stops_some(&self) -> bool {
        let stops = |action: Action| !action.is_permitted();
        let mut decisions = self.semantics.calls.values();
        decisions.any(|decision| decision.actions().into_iter().any(stops))
    }

    /// The place that says what happens to calls which nothing names.
    pub(super) fn default_place(&self) -> String {
        match self.source {
            Source::Document { .. } => self.path("defaultAction"),
            Source::Delta { below, .. } => self.path(below),
        }
    }

    /// The entries of a document that apply to the target, with their places; none of changes.
    pub(super) fn entries(&self) -> &[(usize, &'a Entry)] {
        match &self.source {
            Source::Document { entries, .. } => entries,
            Source::Delta { .. } => &[],
        }
    }

    /// The changes of each list, with their paths; none of a document.
    pub(super) fn changes(&self) -> Vec<(List, String, &'a DeltaEntry)> {
        let Source::Delta { changes, .. } = self.source else {
            return Vec::new();
        };
        let lists = [
            (List::Allow, "allow", &changes.allow),
            (List::Log, "log", &changes.log),
            (List::Deny, "deny", &changes.deny),
        ];
        let entries = lists.into_iter().flat_map(|(list, name, entries)| {
            let entries = entries.iter().enumerate();
            entries.map(move |(i, entry)| (list, format!("{name}[{i}]"), entry))
        });
        entries
            .map(|(list, field, entry)| (list, self.path(&field), entry))
            .collect()
    }

    /// All conditions that the author wrote, with their paths.
    pub(super) fn conditions(&self) -> Vec<(String, &'a Condition)> {
        let entries = self.entries().iter().map(|(i, entry)| {
            let path = self.path(&format!("syscalls[{i}]"));
            (path, &entry.conditions)
        });
        let changes = self.changes().into_iter();
        let changes = changes.map(|(_, path, change)| (path, &change.conditions));
        let all = entries.chain(changes);
        all.flat_map(|(path, conditions)| {
            let conditions = conditions.iter().enumerate();
            conditions.map(move |(i, condition)| (format!("{path}.args[{i}]"), condition))
        })
        .collect()
    }
}

/// The list that a change is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Allow,
    Log,
    Deny,
}

impl Entry {
    /// Whether it holds for all arguments: it has no condition, or only such as look at nothing.
    pub(super) fn is_unconditional(&self) -> bool {
        self.conditions.iter().all(Condition::looks_at_nothing)
    }
}

/// `a, b, c`, all of them.
fn plainly(calls: &[Syscall]) -> String {
    let names: Vec<_> = calls.iter().map(|call| call.name()).collect();
    names.join(", ")
}

/// `ENOSYS` as an action.
pub(super) fn enosys(arch: Arch) -> Action {
    let errno = StatedErrno::named("ENOSYS");
    Action::Errno(errno.map_or(Errno::ENOSYS, |errno| errno.on(arch)))
}

/// `a`, `a and b`, `a, b and c`, `a, b, c and 4 more`
pub(super) fn listed<T: fmt::Display>(words: &[T]) -> String {
    const MAX_SHOWN: usize = 8;
    let shown = &words[..words.len().min(MAX_SHOWN)];
    let mut shown: Vec<_> = shown.iter().map(ToString::to_string).collect();
    if words.len() > MAX_SHOWN {
        shown.push(format!("{} more", words.len() - MAX_SHOWN));
    }
    match shown.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}
