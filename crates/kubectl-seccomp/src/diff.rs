//! `kubectl seccomp diff`: two profiles compared by what they do, not by how they are written.

mod html;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::document::Named;
use super::target::TargetArgs;
use super::text::{Style, wrap};
use super::view::{CallEffect, View};
use super::{Failure, Findings, markdown, output};
use seccomp_profile::{Arch, Loader, Profile, Runtime, TooComplex};

/// Which profiles, and how to tell their difference.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The one profile: a file, the name of a built-in, or `-` for standard input.
    old: PathBuf,
    /// The other.
    new: PathBuf,
    /// How to write the difference.
    #[arg(short, long, value_enum, default_value_t = DiffFormat::Text)]
    output: DiffFormat,
    /// The differences that make this command exit with 1.
    #[arg(long, value_enum, value_name = "DIFFERENCE", default_value_t = FailOn::Any)]
    fail_on: FailOn,
    /// The container runtime that loads the filter: runc, crun or youki, and its version if that matters (`runc=1.1.5`).
    #[arg(long, value_name = "RUNTIME[=VERSION]", default_value = "runc")]
    runtime: Loader,
    #[command(flatten)]
    target: TargetArgs,
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DiffFormat {
    /// Text for people.
    Text,
    /// One JSON object.
    Json,
    /// Markdown, for a comment on a change.
    Markdown,
    /// A page with both, before and after.
    Html,
}

/// The differences that make the command fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Every one.
    Any,
    /// A call that the new profile allows, or leaves to a listener or tracer, for arguments for which the old one does not.
    Opened,
}

impl FailOn {
    fn counts(self, difference: &Difference) -> bool {
        match self {
            Self::Any => true,
            Self::Opened => matches!(difference.change, Direction::Opened | Direction::Mixed),
        }
    }
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Compares what the kernel does with each syscall under the two profiles, for all arguments. Profiles that are written
differently and do the same are equal. In JSON each difference has a `change`: `opened` (allowed, or left to a listener or
tracer, for more arguments than before), `closed` (for fewer), `mixed` (for some that it was not, and no longer for others)
or `other` (for the same, with another error or record).

Examples:
  # What does the new version allow that the old one did not?
  kubectl seccomp diff old.json new.json

  # What does a SeccompProfile change of what containerd applies?
  kubectl seccomp diff runtime-default nginx.yaml

  # In CI: fail if a profile allows more than containerd's default, not if it allows less
  kubectl seccomp diff --fail-on opened runtime-default nginx.yaml

  # The same as a comment on a change
  kubectl seccomp diff -o markdown --fail-on opened main/nginx.yaml nginx.yaml

  # The same as a page, to look at
  kubectl seccomp diff -o html main/nginx.yaml nginx.yaml >diff.html

  # What does CI's copy of Docker's default profile lack?
  curl -s https://raw.githubusercontent.com/moby/profiles/main/seccomp/default.json | kubectl seccomp diff ours.json -

Exit status: 0 they do the same, or differ in what --fail-on leaves out; 1 they do not, or a document is wrong; 2 wrong use, or a file cannot be read.";

/// Of two profiles that differ in the errors of their rules only.
pub const KEPT_FILTER: &str = "crun from 1.7 on takes the two for one profile, since it keeps filters and does not look at errnoRet: the first that \
     it loaded stays in force for new containers until /run/crun/.cache/seccomp is removed, or something else in the profile changes";

/// Where the two differ.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    architecture: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'static str>,
    change: Direction,
    old: String,
    new: String,
}

/// In which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
enum Direction {
    /// Permitted for more arguments.
    Opened,
    /// Permitted for fewer.
    Closed,
    /// Permitted for some for which it was not, and no longer for others.
    Mixed,
    /// Permitted for the same; refused or recorded otherwise.
    Other,
}

/// Compares and prints.
pub fn run(args: &DiffArgs) -> Result<Findings, Failure> {
    let mut views = vec![];
    for (file, other) in [(&args.old, &args.new), (&args.new, &args.old)] {
        let (named, profile, target) = match args.target.read_beside(file, other)? {
            Ok(one) => one,
            Err(faulty) => return Ok(faulty.into()),
        };
        match View::from_profile(&profile, target.arch, args.runtime) {
            Ok(view) => views.push((named, profile, view)),
            Err(error) => return Ok(Findings::Some(format!("{}: {error}\n", named.name))),
        }
    }
    let [old, new] = &views[..] else {
        return Ok(Findings::None);
    };
    if old.1.shares_kept_filter_with(&new.1) {
        eprintln!("note: {KEPT_FILTER}");
    }
    let differences = compare((&old.1, &old.2), (&new.1, &new.2));
    let text = match args.output {
        DiffFormat::Text => to_text(&old.0.name, &new.0.name, &differences, Style::for_stdout()),
        DiffFormat::Json => {
            let data =
                serde_json::json!({"equal": differences.is_empty(), "differences": differences});
            output::json(&data)?
        }
        DiffFormat::Markdown => to_markdown(&old.0, &new.0, &differences),
        DiffFormat::Html => html::page((&old.0.name, &old.2), (&new.0.name, &new.2), &differences),
    };
    output::print(text)?;
    Ok(if differences.iter().any(|one| args.fail_on.counts(one)) {
        Findings::Some(String::new())
    } else {
        Findings::None
    })
}

fn compare(old: (&Profile, &View), new: (&Profile, &View)) -> Vec<Difference> {
    let mut arches: Vec<Arch> = old.1.arches().collect();
    arches.extend(new.1.arches().filter(|a| !old.1.arches().any(|b| b == *a)));
    let mut differences = vec![];
    for arch in arches {
        let mut one = |name, before: &CallEffect<'_>, after: &CallEffect<'_>| {
            if !before.is_same(after) {
                differences.push(Difference {
                    architecture: arch.to_string(),
                    name,
                    change: Direction::between(before, after),
                    old: before.words(arch, old.0.default_action()),
                    new: after.words(arch, new.0.default_action()),
                });
            }
        };
        for ((call, before), (_, after)) in old.1.rows(arch).iter().zip(&new.1.rows(arch)) {
            one(Some(call.name()), before, after);
        }
        one(None, &old.1.beyond(arch), &new.1.beyond(arch));
    }
    differences
}

impl Direction {
    fn between(old: &CallEffect<'_>, new: &CallEffect<'_>) -> Self {
        let opens = new.any(old, |new, old| new.openness() > old.openness());
        let closes = new.any(old, |new, old| new.openness() < old.openness());
        match (opens, closes) {
            (true, false) => Self::Opened,
            (false, true) => Self::Closed,
            (true, true) => Self::Mixed,
            (false, false) => Self::Other,
        }
    }
}

/// What one does otherwise than the other under runc, for people. `native` is the machine's architecture.
pub fn between(
    old: (&str, &Profile),
    new: (&str, &Profile),
    native: Arch,
    style: Style,
) -> Result<String, TooComplex> {
    let differences = under_runc(native, old.1, new.1)?;
    Ok(to_text(old.0, new.0, &differences, style))
}

fn to_text(old: &str, new: &str, differences: &[Difference], style: Style) -> String {
    if differences.is_empty() {
        return format!("{old} and {new} do the same\n");
    }
    headed(differences, style)
}

/// What a profile of each of these architectures does otherwise than an older content of it, when runc loads it; nothing if it does the
/// same.
pub fn change(contents: &[(Arch, Profile, Profile)], style: Style) -> Result<String, TooComplex> {
    let mut differences = Vec::new();
    for (native, old, new) in contents {
        differences.extend(under_runc(*native, old, new)?);
    }
    Ok(headed(&differences, style))
}

fn under_runc(native: Arch, old: &Profile, new: &Profile) -> Result<Vec<Difference>, TooComplex> {
    let view = |profile| View::from_profile(profile, native, Loader::any(Runtime::Runc));
    Ok(compare((old, &view(old)?), (new, &view(new)?)))
}

fn headed(differences: &[Difference], style: Style) -> String {
    let mut out = String::new();
    for (change, head) in HEADS {
        let groups = groups(differences.iter().filter(|d| d.change == change));
        if groups.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out += &style.bold(&format!("{head}\n"));
        for ((old, new, names), arches) in groups {
            let _ = writeln!(out, "  {}: {old} -> {new}", arches.join(", "));
            out += &wrap("    ", &names.join(" "));
        }
    }
    out
}

const HEADS: [(Direction, &str); 4] = [
    (Direction::Opened, "Opened"),
    (Direction::Closed, "Closed"),
    (
        Direction::Mixed,
        "Opened for some arguments, closed for others",
    ),
    (Direction::Other, "Otherwise different"),
];

fn to_markdown(old: &Named, new: &Named, differences: &[Difference]) -> String {
    let (old, new) = (markdown::code(&old.name), markdown::code(&new.name));
    if differences.is_empty() {
        return format!("{old} and {new} do the same.\n");
    }
    let mut out = format!("What {new} does otherwise than {old}:\n");
    for (change, head) in HEADS {
        let groups = groups(differences.iter().filter(|d| d.change == change));
        if groups.is_empty() {
            continue;
        }
        let _ = writeln!(
            out,
            "\n**{head}**\n\n| Calls | Before | After | On |\n|---|---|---|---|"
        );
        for ((old, new, names), arches) in groups {
            let names: Vec<_> = names.into_iter().map(markdown::code).collect();
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} |",
                names.join(" "),
                markdown::text(old),
                markdown::text(new),
                arches.join(", ")
            );
        }
    }
    out
}

/// The words on both sides with the syscalls that have them, and the architectures for which that is so.
type Group<'d> = ((&'d str, &'d str, Vec<&'d str>), Vec<&'static str>);

fn groups<'d>(differences: impl Iterator<Item = &'d Difference>) -> Vec<Group<'d>> {
    let mut by_arch = Vec::<(&Difference, Vec<&str>)>::new();
    for difference in differences {
        let name = difference
            .name
            .unwrap_or("(numbers that no syscall has yet)");
        let same = |(first, _): &&mut (&Difference, Vec<&str>)| {
            (&first.architecture, &first.old, &first.new)
                == (&difference.architecture, &difference.old, &difference.new)
        };
        match by_arch.iter_mut().find(same) {
            Some((_, names)) => names.push(name),
            None => by_arch.push((difference, vec![name])),
        }
    }
    let mut groups = Vec::<Group<'_>>::new();
    for (first, mut names) in by_arch {
        names.sort_unstable();
        let arch = Arch::named(&first.architecture).map_or("", Arch::native_name);
        let key = (first.old.as_str(), first.new.as_str(), names);
        match groups.iter_mut().find(|(k, _)| *k == key) {
            Some((_, arches)) => arches.push(arch),
            None => groups.push((key, vec![arch])),
        }
    }
    groups
}
