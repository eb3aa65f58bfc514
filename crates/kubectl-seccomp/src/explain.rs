//! `kubectl seccomp explain`: what a profile does with each syscall.

mod compare;
mod cves;
mod html;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::call;
use super::target::TargetArgs;
use super::text::{Style, wrap};
use super::view::{self, ActionData, CallEffect, Doubt, View};
use super::{Failure, Findings, output};
use compare::Comparison;
use seccomp_profile::{
    Action, Arch, Arguments, Code, Delivery, Finding, Loader, Loaders, Profile, Spec, Syscall,
    Target, lint_document_under,
};

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The profile: a file, the name of a built-in, or `-` for standard input, which is also read if there is none.
    file: Option<PathBuf>,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = ExplainFormat::Text)]
    output: ExplainFormat,
    /// Only show the action for this call on each architecture of the profile: a syscall and up to six arguments
    /// (`socket(AF_ALG)` or `socket:38,5`); an argument that is not given is 0.
    #[arg(long = "call", value_name = "CALL", value_parser = asked, conflicts_with = "output")]
    calls: Vec<Asked>,
    /// Only say, in one line, what the profile stops that this one does not, and the other way round, on the node's own architecture.
    #[arg(long, value_name = "PROFILE", conflicts_with = "calls")]
    compare: Option<PathBuf>,
    /// Only show which published holes of the kernel the profile stops, by the calls that attacks on them cannot do without.
    #[arg(long, conflicts_with_all = ["calls", "compare"])]
    cves: bool,
    /// The container runtime that loads the filter: runc, crun or youki, and its version if that matters (`runc=1.1.5`).
    #[arg(long, value_name = "RUNTIME[=VERSION]", default_value = "runc")]
    runtime: Loader,
    #[command(flatten)]
    target: TargetArgs,
}

/// A call that is asked about.
#[derive(Clone, Debug)]
struct AskedCall {
    text: String,
    syscall: Syscall,
    args: Arguments,
}

/// The calls of one option: one, or those of a group.
#[derive(Clone, Debug)]
struct Asked(Vec<AskedCall>);

fn asked(text: &str) -> Result<Asked, String> {
    let calls = call::parse(text)?.into_iter();
    let zero = |arg: Option<u64>| arg.unwrap_or(0);
    let one = |call: call::Call| AskedCall {
        text: call.text,
        syscall: call.syscall,
        args: Arguments::from(call.args.map(zero)),
    };
    Ok(Asked(calls.map(one).collect()))
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExplainFormat {
    /// Text for people.
    Text,
    /// One JSON object, every architecture in full.
    Json,
    /// The stopped syscalls of the native architecture in capitals, as amicontained prints them.
    Flat,
    /// A page with how much of the kernel is left open, by groups of calls.
    Html,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Shows what the kernel does with each syscall once the runtime's libseccomp has made a filter of the profile. The rules
alone do not tell: one of two rules for a syscall may be void, calls through architectures that the profile does not name
are killed, and runc answers ENOSYS to calls newer than the newest that the profile names. A libseccomp that is too old to know
a name leaves its rule out; what a node really does `kubectl seccomp probe` tells.

Examples:
  # A profile as it is for this machine
  kubectl seccomp explain profile.json

  # Docker's default for an arm64 node and a container with CAP_SYS_ADMIN
  kubectl seccomp explain --arch arm64 --kernel 6.6 --cap default,SYS_ADMIN default.json

  # Does it close AF_ALG and AF_VSOCK sockets, and leave AF_INET open?
  kubectl seccomp explain --call socket:38 --call socket:40 --call socket:2 profile.json

  # All calls of a group
  kubectl seccomp explain --call @chmod profile.json

  # What a SeccompProfile comes to, its base in a file of its own
  kubectl seccomp explain --with base.yaml nginx.yaml

  # The same of one in the cluster, whatever it stands on
  kubectl get seccompprofiles -o yaml >all.yaml
  kubectl get seccompprofile nginx -o yaml | kubectl seccomp explain --with all.yaml -

  # In one line: what does it stop that containerd's default does not, and the other way round?
  kubectl seccomp explain --compare runtime-default nginx.yaml

  # Which published holes of the kernel does it stop, in a container with CAP_SYS_ADMIN?
  kubectl seccomp explain --cves --cap default,SYS_ADMIN profile.json

  # The stopped syscalls as amicontained lists them
  kubectl seccomp explain -o flat runtime-default

  # A page with how much of the kernel is left open, by groups of calls, and each call
  kubectl seccomp explain -o html nginx.yaml >nginx.html

  # The names of the stopped syscalls, for a script
  kubectl seccomp explain -o json profile.json | jq -r '.architectures[0].stopped[].name'

  # The same as the filter in force in a container shows it
  kubectl seccomp probe mypod

Exit status: 0 done; 1 the document is wrong, with the reason on standard error; 2 wrong use, or the file cannot be read.";

/// Explains and prints.
pub fn run(args: &ExplainArgs) -> Result<Findings, Failure> {
    if args.output == ExplainFormat::Html && (args.cves || args.compare.is_some()) {
        let sentence = "-o html shows a profile as a whole: leave out --compare and --cves, or -o";
        return Err(Failure::Usage(sentence.to_owned()));
    }
    let (named, profile, target) = match args.target.read_one(args.file.as_ref())? {
        Ok(one) => one,
        Err(faulty) => return Ok(faulty.into()),
    };
    let view = match View::from_profile(&profile, target.arch, args.runtime) {
        Ok(view) => view,
        Err(error) => return Ok(Findings::Some(format!("{}: {error}\n", named.name))),
    };
    if let Some(other) = &args.compare {
        return compare(args, &view, &target, other);
    }
    if args.cves {
        let holes = cves::holes().map_err(Failure::Usage)?;
        let judged = cves::judge(holes, &view, &target);
        output::print(match args.output {
            ExplainFormat::Json => output::json(&serde_json::json!({"holes": judged}))?,
            _ => cves::text(&judged, Style::for_stdout()),
        })?;
        return Ok(Findings::None);
    }
    let arches: Vec<_> = view
        .arches()
        .map(|arch| Table::from_view(&view, arch))
        .collect();
    let refusals = match (named.definition.spec.as_ref(), named.origin.as_is()) {
        (Spec::Document(document), Some(at)) => {
            let loaders = Loaders::only(args.runtime);
            refusals(&lint_document_under(
                loaders,
                document,
                Delivery::AsIs,
                &target,
                at,
            ))
        }
        _ => Vec::new(),
    };
    let text = match args.output {
        _ if !args.calls.is_empty() => {
            let asked = args.calls.iter().flat_map(|asked| &asked.0);
            decisions(&view, asked)
        }
        ExplainFormat::Text => to_text(
            &profile,
            &arches,
            &refusals,
            &view.doubts(),
            Style::for_stdout(),
        ),
        ExplainFormat::Json => {
            let data = Data {
                default: profile.default_action().into(),
                refusals,
                doubts: view.doubts(),
                architectures: arches.iter().map(|t| t.data(&profile)).collect(),
            };
            output::json(&data)?
        }
        ExplainFormat::Flat => flat(&arches),
        ExplainFormat::Html => html::page(&html::Shown {
            name: &named.name,
            runtime: args.runtime,
            target: &target,
            profile: &profile,
            view: &view,
            tables: &arches,
            refusals: &refusals,
            doubts: &view.doubts(),
        }),
    };
    output::print(text)?;
    Ok(Findings::None)
}

fn compare(
    args: &ExplainArgs,
    view: &View,
    target: &Target,
    other: &PathBuf,
) -> Result<Findings, Failure> {
    let (named, profile, _) = match args.target.read_one(Some(other))? {
        Ok(one) => one,
        Err(faulty) => return Ok(faulty.into()),
    };
    let other = match View::from_profile(&profile, target.arch, args.runtime) {
        Ok(other) => other,
        Err(error) => return Ok(Findings::Some(format!("{}: {error}\n", named.name))),
    };
    let comparison = Comparison::between(view, &other, target.arch, &named.name);
    output::print(match args.output {
        ExplainFormat::Json => output::json(&comparison)?,
        _ => comparison.words(),
    })?;
    Ok(Findings::None)
}

/// The syscalls of one architecture by what happens to them, in the order of their numbers.
struct Table<'v> {
    arch: Arch,
    permitted: Vec<Syscall>,
    logged: Vec<Syscall>,
    stopped: Vec<(Syscall, Action)>,
    conditional: Vec<(Syscall, CallEffect<'v>)>,
    beyond: CallEffect<'v>,
}

impl<'v> Table<'v> {
    fn from_view(view: &'v View, arch: Arch) -> Self {
        let mut table = Self {
            arch,
            permitted: vec![],
            logged: vec![],
            stopped: vec![],
            conditional: vec![],
            beyond: view.beyond(arch),
        };
        for (call, what) in view.rows(arch) {
            match what {
                CallEffect::Always(Action::Allow) => table.permitted.push(call),
                CallEffect::Always(Action::Log) => table.logged.push(call),
                CallEffect::Always(action) => table.stopped.push((call, action)),
                what @ CallEffect::ByArguments(_) => table.conditional.push((call, what)),
            }
        }
        table
    }

    fn all(&self) -> usize {
        self.permitted.len() + self.logged.len() + self.stopped.len() + self.conditional.len()
    }

    fn data(&self, profile: &Profile) -> TableData {
        let names = |calls: &[Syscall]| calls.iter().map(|c| c.name()).collect();
        let conditional = |(call, what): &(Syscall, CallEffect<'_>)| {
            let CallEffect::ByArguments(decision) = what else {
                return None;
            };
            let (otherwise, cases) = view::cases(decision, self.arch, profile.default_action());
            let cases = cases.into_iter().map(|(action, conditions)| CaseData {
                action: action.into(),
                any_of: conditions,
            });
            Some(ConditionalData {
                name: call.name(),
                cases: cases.collect(),
                otherwise: otherwise.into(),
            })
        };
        TableData {
            architecture: self.arch.to_string(),
            permitted: names(&self.permitted),
            logged: names(&self.logged),
            stopped: self
                .stopped
                .iter()
                .map(|(call, action)| StoppedData {
                    name: call.name(),
                    action: (*action).into(),
                })
                .collect(),
            conditional: self.conditional.iter().filter_map(conditional).collect(),
            unknown_numbers: self.beyond.actions().into_iter().map(Into::into).collect(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    default: ActionData,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refusals: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    doubts: Vec<Doubt>,
    architectures: Vec<TableData>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TableData {
    architecture: String,
    permitted: Vec<&'static str>,
    logged: Vec<&'static str>,
    stopped: Vec<StoppedData>,
    conditional: Vec<ConditionalData>,
    unknown_numbers: Vec<ActionData>,
}

#[derive(Serialize)]
struct StoppedData {
    name: &'static str,
    #[serde(flatten)]
    action: ActionData,
}

#[derive(Serialize)]
struct ConditionalData {
    name: &'static str,
    cases: Vec<CaseData>,
    otherwise: ActionData,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CaseData {
    #[serde(flatten)]
    action: ActionData,
    any_of: Vec<String>,
}

/// Names by action, the strictest first.
fn groups(stopped: &[(Syscall, Action)]) -> BTreeMap<Action, Vec<&'static str>> {
    let mut groups: BTreeMap<Action, Vec<_>> = BTreeMap::new();
    for (call, action) in stopped {
        groups.entry(*action).or_default().push(call.name());
    }
    for names in groups.values_mut() {
        names.sort_unstable();
    }
    groups
}

/// Why the runtime starts no container under the profile.
fn refusals(findings: &[Finding]) -> Vec<String> {
    let is_refusal = |finding: &&Finding| {
        let codes = [
            Code::NoContainerStarts,
            Code::NeedsNewRuntime,
            Code::TooManyInstructions,
        ];
        codes.contains(&finding.code)
    };
    let refusals = findings.iter().filter(is_refusal);
    refusals
        .map(|finding| format!("{}: {}", finding.path, finding.reason))
        .collect()
}

fn to_text(
    profile: &Profile,
    tables: &[Table<'_>],
    refusals: &[String],
    doubts: &[Doubt],
    style: Style,
) -> String {
    let default = profile.default_action();
    let mut out = String::new();
    let names: Vec<_> = tables.iter().map(|t| t.arch.native_name()).collect();
    out += &wrap(
        "Architectures: ",
        &format!("{}; calls of any other kill the thread", names.join(", ")),
    );
    let _ = writeln!(out, "Default: {}", view::words(default));
    if !refusals.is_empty() {
        out += &style.bold("\nNo container starts\n");
    }
    for refusal in refusals {
        out += &wrap("  ", refusal);
    }
    if !doubts.is_empty() {
        out += &style.bold("\nNot as the rules say\n");
    }
    for doubt in doubts {
        out += &wrap("  ", &doubt.to_string());
    }
    let Some((native, others)) = tables.split_first() else {
        return out;
    };
    let head =
        |what: &str, number: usize| format!("\n{what} syscalls: {number} of {}\n", native.all());
    out += &style.bold(&head("Stopped", native.stopped.len()));
    for (action, names) in groups(&native.stopped) {
        out += &wrap(&format!("  {}: ", view::words(action)), &names.join(" "));
    }
    if !native.conditional.is_empty() {
        out += &style.bold(&head("Conditional", native.conditional.len()));
        for (call, what) in &native.conditional {
            out += &wrap(&format!("  {call}: "), &what.words(native.arch, default));
        }
    }
    if !native.logged.is_empty() {
        out += &style.bold(&head("Logged", native.logged.len()));
        out += &wrap("  ", &sorted(&native.logged));
    }
    out += &style.bold(&head("Allowed", native.permitted.len()));
    out += &wrap("  ", &sorted(&native.permitted));
    let _ = writeln!(
        out,
        "\nNumbers that no syscall has yet: {}",
        native.beyond.words(native.arch, default)
    );
    if !others.is_empty() {
        out += &style.bold("\nOther ways into the kernel\n");
    }
    for other in others {
        let open = open_elsewhere(other, native);
        let head = format!(
            "  {}: {} of {} stopped",
            other.arch.native_name(),
            other.stopped.len(),
            other.all()
        );
        if open.is_empty() {
            let _ = writeln!(out, "{head}");
        } else {
            out += &wrap(
                &format!("{head}; open though stopped above: "),
                &open.join(" "),
            );
        }
    }
    out
}

/// What can be called another way though it is stopped on the native one.
fn open_elsewhere(other: &Table<'_>, native: &Table<'_>) -> Vec<&'static str> {
    let stopped_natively = |name: &str| native.stopped.iter().any(|(c, _)| c.name() == name);
    let permitted = other.permitted.iter().chain(&other.logged);
    permitted
        .map(|call| call.name())
        .filter(|name| stopped_natively(name) || is_multiplexer(name, native))
        .collect()
}

/// Whether a call does what another with conditions does, and a filter cannot see its arguments.
fn is_multiplexer(name: &str, native: &Table<'_>) -> bool {
    name == "socketcall" && native.conditional.iter().any(|(c, _)| c.name() == "socket")
}

fn sorted(calls: &[Syscall]) -> String {
    let mut names: Vec<_> = calls.iter().map(|c| c.name()).collect();
    names.sort_unstable();
    names.join(" ")
}

fn decisions<'a>(view: &View, calls: impl Iterator<Item = &'a AskedCall>) -> String {
    let mut out = String::new();
    for call in calls {
        for arch in view.arches() {
            if let Some(number) = call.syscall.number(arch) {
                let action = view.decide(arch, number, &call.args);
                let _ = writeln!(
                    out,
                    "{} {}: {}",
                    arch.native_name(),
                    call.text,
                    view::words(action)
                );
            }
        }
    }
    out
}

fn flat(tables: &[Table<'_>]) -> String {
    let Some(native) = tables.first() else {
        return String::new();
    };
    let names: Vec<_> = native
        .stopped
        .iter()
        .map(|(c, _)| c.name().to_uppercase())
        .collect();
    format!(
        "Blocked Syscalls ({}):\n\t{}\n",
        names.len(),
        names.join(" ")
    )
}
