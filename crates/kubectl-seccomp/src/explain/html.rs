//! What a profile does, as a page: how much it leaves open by groups of calls, and each call.

use super::{Table as Calls, open_elsewhere};
use crate::html::{Block, Cell, Page, Table, Tone};
use crate::openness::{self, Openness};
use crate::view::{self, CallEffect, Doubt, View};
use seccomp_profile::{Action, Loader, Profile, Target, group, groups};

/// What there is to show.
pub struct Shown<'a> {
    pub name: &'a str,
    pub runtime: Loader,
    pub target: &'a Target,
    pub profile: &'a Profile,
    pub view: &'a View,
    pub tables: &'a [Calls<'a>],
    pub refusals: &'a [String],
    pub doubts: &'a [Doubt],
}

pub fn page(shown: &Shown<'_>) -> String {
    let Shown { name, tables, .. } = shown;
    let page = Page::new(format!("What {name} does")).about(format!(
        "What the kernel does with each syscall once {} has made a filter of the profile, on {} with Linux {}.",
        shown.runtime,
        shown.target.arch.native_name(),
        shown.target.kernel
    ));
    let Some((native, others)) = tables.split_first() else {
        return page.html();
    };
    let notes = |sentences: Vec<String>| sentences.into_iter().map(Block::Note).collect();
    let doubts = shown.doubts.iter().map(ToString::to_string);
    page.section("In short", short(shown, native))
        .section("No container starts", notes(shown.refusals.to_vec()))
        .section("Not as the rules say", notes(doubts.collect()))
        .section("Groups of calls", map(shown, native))
        .section(
            format!("Syscalls of {}", native.arch.native_name()),
            calls(shown, native),
        )
        .section("Other ways into the kernel", ways(shown, native, others))
        .html()
}

fn short(shown: &Shown<'_>, native: &Calls<'_>) -> Vec<Block> {
    let default = shown.profile.default_action();
    let arches: Vec<_> = shown.tables.iter().map(|t| t.arch.native_name()).collect();
    let all = Openness::of(shown.view, native.arch);
    vec![
        Block::Figures(vec![
            (all.stopped, "syscalls stopped".into(), Tone::Good),
            (
                all.conditional,
                "stopped for some arguments".into(),
                Tone::Warn,
            ),
            (all.logged, "allowed and logged".into(), Tone::Note),
            (all.open, "allowed".into(), Tone::Plain),
        ]),
        Block::Facts(vec![
            ("Profile", Cell::Code(shown.name.to_owned())),
            ("By default", Cell::Text(view::words(default))),
            (
                "Architectures",
                Cell::Text(format!(
                    "{}; calls of any other kill the thread",
                    arches.join(", ")
                )),
            ),
            (
                "Numbers that no syscall has yet",
                Cell::Text(native.beyond.words(native.arch, default)),
            ),
        ]),
    ]
}

fn map(shown: &Shown<'_>, native: &Calls<'_>) -> Vec<Block> {
    let mut table = Table::new(&[
        "Group",
        "Left open",
        "Stopped",
        "Stopped for some arguments",
    ]);
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    for group in openness::by_group(shown.view, native.arch) {
        let all = group.openness.open + group.openness.logged + group.openness.conditional == 0;
        table.row(vec![
            Cell::Code(group.name.to_owned()),
            Cell::Bar(group.openness.shares()),
            if all && group.stopped.len() > 8 {
                Cell::Text("all of them".into())
            } else {
                Cell::Codes(owned(&group.stopped))
            },
            Cell::Codes(owned(&group.conditional)),
        ]);
    }
    let intro = "Groups of calls are those that a SeccompProfile may name, such as `@mount`. A call may be in several.";
    let text = Block::Text(intro.to_owned());
    [text, openness::legend()]
        .into_iter()
        .chain(table.block())
        .collect()
}

fn calls(shown: &Shown<'_>, native: &Calls<'_>) -> Vec<Block> {
    let default = shown.profile.default_action();
    let groups: Vec<_> = groups()
        .filter_map(|name| Some((name, group(name)?)))
        .collect();
    let mut rows = shown.view.rows(native.arch);
    rows.sort_by_key(|(call, _)| call.name());
    let mut table = Table::new(&["Syscall", "State", "What happens", "Groups"]);
    for (call, effect) in &rows {
        let (tone, word) = match effect {
            CallEffect::Always(Action::Allow) => (Tone::Plain, "open"),
            CallEffect::Always(Action::Log) => (Tone::Note, "logged"),
            CallEffect::Always(_) => (Tone::Good, "stopped"),
            CallEffect::ByArguments(_) => (Tone::Warn, "by arguments"),
        };
        let of = groups.iter().filter(|(_, calls)| calls.contains(call));
        table.row(vec![
            Cell::Code(call.name().to_owned()),
            Cell::Badge(tone, word.to_owned()),
            Cell::Text(effect.words(native.arch, default)),
            Cell::Codes(of.map(|(name, _)| (*name).to_owned()).collect()),
        ]);
    }
    table.block().into_iter().collect()
}

fn ways(shown: &Shown<'_>, native: &Calls<'_>, others: &[Calls<'_>]) -> Vec<Block> {
    let mut table = Table::new(&[
        "Architecture",
        "Left open",
        "Open there, though stopped above",
    ]);
    for other in others {
        let open = open_elsewhere(other, native);
        table.row(vec![
            Cell::Text(other.arch.native_name().to_owned()),
            Cell::Bar(Openness::of(shown.view, other.arch).shares()),
            Cell::Codes(open.into_iter().map(str::to_owned).collect()),
        ]);
    }
    table.block().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::well_formed;
    use crate::openness::tests::resolved;
    use seccomp_profile::{Arch, CapabilitySet, KernelVersion, Runtime};

    #[test]
    fn each_group_and_each_call_has_a_row() {
        let profile = resolved("runtime-default");
        let runtime = Loader::any(Runtime::Runc);
        let view = View::from_profile(&profile, Arch::X86_64, runtime).unwrap();
        let tables: Vec<_> = view
            .arches()
            .map(|arch| Calls::from_view(&view, arch))
            .collect();
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::RUNTIME_DEFAULT,
        };
        let html = page(&Shown {
            name: "<b>x</b>",
            runtime,
            target: &target,
            profile: &profile,
            view: &view,
            tables: &tables,
            refusals: &["<b>why</b>".to_owned()],
            doubts: &[],
        });
        let seen = well_formed::check(&html).unwrap();
        assert!(!seen.tags.contains_key("b") && seen.tags["table"] == 3);
        assert!(seen.tags["tr"] > view.rows(Arch::X86_64).len());
        for part in [
            "<code>@reboot</code>",
            "No container starts",
            "<code>socketcall</code>",
        ] {
            assert!(html.contains(part), "{part}");
        }
    }
}
