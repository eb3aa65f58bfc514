//! A difference as a page: both profiles before and after, by groups of calls, and each difference.

use super::{Difference, Direction, HEADS, groups};
use crate::html::{Block, Cell, Page, Table, Tone};
use crate::openness::{self, Openness};
use crate::view::View;
use seccomp_profile::Arch;

/// Each profile has its name and what it does.
pub fn page(old: (&str, &View), new: (&str, &View), differences: &[Difference]) -> String {
    let mut page = Page::new(format!("{} and {}", old.0, new.0));
    if differences.is_empty() {
        page = page.about("The two do the same with every syscall, for all arguments.");
    } else {
        page = page
            .about(format!("What {} does otherwise than {}, by what the kernel does, not by how it is written.", new.0, old.0))
            .section("In short", vec![figures(differences)]);
    }
    page = page.section("Before and after", before_and_after(old, new));
    for (change, head) in HEADS {
        page = page.section(head, changed(differences, change));
    }
    page.html()
}

fn tone(change: Direction) -> Tone {
    match change {
        Direction::Opened => Tone::Bad,
        Direction::Closed => Tone::Good,
        Direction::Mixed => Tone::Warn,
        Direction::Other => Tone::Note,
    }
}

/// Differences by their direction; a call that differs on two architectures counts twice.
fn figures(differences: &[Difference]) -> Block {
    let one = |(change, head): (Direction, &str)| {
        let number = differences.iter().filter(|d| d.change == change).count();
        (number, head.to_owned(), tone(change))
    };
    Block::Figures(HEADS.into_iter().map(one).collect())
}

fn before_and_after(old: (&str, &View), new: (&str, &View)) -> Vec<Block> {
    let mut arches: Vec<Arch> = old.1.arches().collect();
    arches.extend(new.1.arches().filter(|a| !old.1.arches().any(|b| b == *a)));
    let mut table = Table::new(&["Calls", "On", "Before", "After"]);
    for arch in &arches {
        table.row(vec![
            Cell::Text("all".to_owned()),
            Cell::Text(arch.native_name().to_owned()),
            Cell::Bar(Openness::of(old.1, *arch).shares()),
            Cell::Bar(Openness::of(new.1, *arch).shares()),
        ]);
    }
    if let Some(arch) = arches.first() {
        let before = openness::by_group(old.1, *arch);
        let after = openness::by_group(new.1, *arch);
        for (before, after) in before.iter().zip(&after).filter(|(a, b)| a != b) {
            table.row(vec![
                Cell::Code(before.name.to_owned()),
                Cell::Text(arch.native_name().to_owned()),
                Cell::Bar(before.openness.shares()),
                Cell::Bar(after.openness.shares()),
            ]);
        }
    }
    std::iter::once(openness::legend())
        .chain(table.block())
        .collect()
}

fn changed(differences: &[Difference], change: Direction) -> Vec<Block> {
    let mut table = Table::new(&["Calls", "Before", "After", "On"]);
    for ((old, new, names), arches) in groups(differences.iter().filter(|d| d.change == change)) {
        table.row(vec![
            Cell::Codes(names.into_iter().map(str::to_owned).collect()),
            Cell::Text(old.to_owned()),
            Cell::Text(new.to_owned()),
            Cell::Text(arches.join(", ")),
        ]);
    }
    table.block().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::compare;
    use super::*;
    use crate::html::well_formed;
    use crate::openness::tests::resolved;
    use seccomp_profile::{Loader, Runtime};

    #[test]
    fn both_profiles_are_shown_and_each_difference() {
        let (old, new) = (resolved("runtime-default"), resolved("audit"));
        let view = |profile| {
            View::from_profile(profile, Arch::X86_64, Loader::any(Runtime::Runc)).unwrap()
        };
        let (old_view, new_view) = (view(&old), view(&new));
        let differences = compare((&old, &old_view), (&new, &new_view));
        let html = page(("<b>old</b>", &old_view), ("new", &new_view), &differences);
        let seen = well_formed::check(&html).unwrap();
        assert!(!seen.tags.contains_key("b") && seen.tags["table"] >= 2);
        assert!(html.contains(">Opened</h2>"), "{html}");
        assert!(html.contains("<code>@reboot</code>"), "{html}");
        let same = page(("a", &old_view), ("b", &old_view), &[]);
        well_formed::check(&same).unwrap();
        assert!(same.contains("do the same") && !same.contains(">Opened</h2>"));
    }
}
