//! `kubectl seccomp lint`: rules that do less, or more, than they seem to.

mod ceiling;
mod html;
mod lines;
mod reports;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::coverage::policies;
use super::diff::KEPT_FILTER;
use super::document::{self, Faulty, Inputs, Named, Origin, Others};
use super::input::Input;
use super::target::{self, TargetArgs};
use super::text::{Style, visible, wrap};
use super::{Failure, Findings, output};
use seccomp_profile::{
    Code, Definition, Delivery, Finding, Library, Loader, Loaders, Problem, Profile, Runtime,
    Severity, Spec, Target, lint_document_under, lint_under,
};

/// Arguments of `lint`.
#[derive(Args, Debug)]
pub struct LintArgs {
    /// The profiles: files, names of built-ins, `-` for standard input, which is also read if there are none.
    files: Vec<PathBuf>,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = LintFormat::Text)]
    output: LintFormat,
    /// The severity from which on a finding makes this command exit with 1.
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = Level::Warning)]
    fail_on: Level,
    /// Leave findings of this code out, e.g. `multiplexer-open`.
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = code)]
    ignore: Vec<Code>,
    /// Only what is true of this container runtime: runc, crun or youki, and its version if that matters (`runc=1.1.5`) [default:
    /// all of them].
    #[arg(long, value_name = "RUNTIME[=VERSION]")]
    runtime: Option<Loader>,
    /// Files with SeccompCeilings that the profiles are held to, each for the architectures of --arch.
    #[arg(long, value_name = "FILE")]
    ceiling: Vec<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LintFormat {
    /// Text for people.
    Text,
    /// One JSON object.
    Json,
    /// The same in YAML.
    Yaml,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations of a GitHub workflow.
    Github,
    #[value(help = "JUnit's XML")]
    Junit,
    /// Markdown, for a comment on a change.
    Markdown,
    /// A page, to look at.
    Html,
}

/// The findings that make the command fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Everything.
    Note,
    /// What does less or more than it seems to.
    Warning,
    /// What does not work.
    Error,
}

impl Level {
    fn severity(self) -> Severity {
        match self {
            Self::Note => Severity::Note,
            Self::Warning => Severity::Warning,
            Self::Error => Severity::Error,
        }
    }
}

fn code(word: &str) -> Result<Code, String> {
    Code::named(word).ok_or_else(|| {
        let words: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        format!("the codes are {}", words.join(", "))
    })
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Finds profiles that stop less than they say, keep containers from starting, or have rules without effect. Each finding has
a reason and a remedy; docs/lint.md explains the codes. A file counts as what a container runtime reads as it is, a
SeccompProfile manifest as what the operator makes of it. Of a SeccompPolicy or SeccompCeiling it says what `kubectl apply` would refuse; a
file that holds only other kinds gets a note, and is an error only where no file holds anything to look at.

Examples:
  # A profile, before it goes onto nodes
  kubectl seccomp lint profile.json

  # All manifests of a folder; profiles find their bases in it
  kubectl seccomp lint manifests/*.yaml

  # In CI: fail on errors only, and accept that 32-bit programs get around conditions on sockets
  kubectl seccomp lint --fail-on error --ignore multiplexer-open -o json profiles/*.yaml

  # The same for code scanning, as annotations of a GitHub workflow, as test results, as a comment on a change, as a page
  kubectl seccomp lint -o sarif profiles/*.yaml >lint.sarif
  kubectl seccomp lint -o github profiles/*.yaml
  kubectl seccomp lint -o junit profiles/*.yaml >lint.xml
  kubectl seccomp lint -o markdown profiles/*.yaml >comment.md
  kubectl seccomp lint -o html profiles/*.yaml >lint.html

  # What would a ceiling refuse, or warn of, on nodes of two kinds?
  kubectl get seccompprofiles -o json | kubectl seccomp lint --ceiling ceiling.yaml --arch amd64,arm64

  # What is true of the nodes' runtime
  kubectl seccomp lint --runtime runc=1.1.5 profile.json

  # What is in the cluster
  kubectl get seccompprofiles -o json | kubectl seccomp lint

  # For nodes of two kinds, and containers with one more capability
  kubectl seccomp lint --arch amd64,arm64 --cap default,SYS_ADMIN profile.json

Exit status: 0 nothing found that counts; 1 something, or a profile is wrong; 2 wrong use, or a file cannot be read (the
others are looked at all the same).";

/// What is found in one profile.
#[derive(Serialize)]
struct LintedProfile {
    profile: String,
    findings: Vec<Row>,
}

/// A finding as data. What is wrong altogether has the code `invalid`.
#[derive(Serialize)]
struct Row {
    severity: &'static str,
    code: &'static str,
    path: String,
    reason: String,
    remedy: String,
    #[serde(skip)]
    rank: Severity,
    #[serde(skip)]
    counts: bool,
}

/// Finds and prints.
pub fn run(args: &LintArgs) -> Result<Findings, Failure> {
    let Inputs {
        found: mut inputs,
        others,
        unread,
    } = document::read_each(&args.files);
    let with = args.target.with()?;
    document::join(&mut inputs, &with);
    let library = document::library(&inputs, with.iter());
    let ceilings = ceiling::Ceilings::read(&args.ceiling)?;
    let mut kept = KeptFilters::default();
    let mut reports = Vec::new();
    for input in inputs {
        reports.push(match input {
            Ok(named) => {
                let mut rows: Vec<Row> = Vec::new();
                for asked in args.target.for_each_arch() {
                    let target = asked.target_for(&named.definition, &library)?;
                    let mut more = self::rows(&named, &library, &target, args);
                    more.extend(of_next(&named, &library, &more, args, &asked)?);
                    more.extend(ceilings.rows(&named, &library, &target, args.fail_on));
                    // What is so on several architectures is said once.
                    let is_said = |row: &Row| rows.iter().any(|said| said.is_same(row));
                    let new = more.into_iter().filter(|row| !is_said(row));
                    let mut new: Vec<_> = new.collect();
                    rows.append(&mut new);
                    rows.extend(kept.row(&named, &library, &target, args));
                }
                rows.sort_by_key(|row| std::cmp::Reverse(row.rank));
                LintedProfile {
                    profile: named.name,
                    findings: rows,
                }
            }
            Err(faulty) => LintedProfile {
                findings: faulty.problems.iter().map(Row::invalid).collect(),
                profile: faulty.name,
            },
        });
    }
    reports.extend(others.iter().flat_map(of_others));
    let is_looked_at = |report: &LintedProfile| {
        let mut rows = report.findings.iter();
        !rows.any(|row| row.code == NO_PROFILE)
    };
    if unread.is_empty() && !reports.iter().any(is_looked_at) {
        let names: Vec<_> = others.iter().map(|others| others.name.as_str()).collect();
        let sentence = format!(
            "there is no profile, no SeccompPolicy and no SeccompCeiling in {}",
            names.join(", ")
        );
        return Err(Failure::Usage(sentence));
    }
    let data = serde_json::json!({"profiles": reports});
    let text = match args.output {
        LintFormat::Text => to_text(&reports, Style::for_stdout()),
        LintFormat::Json => output::json(&data)?,
        LintFormat::Yaml => output::yaml(&data)?,
        LintFormat::Sarif => output::json(&reports::sarif(&reports, &names(args), read))?,
        LintFormat::Github => reports::github(&reports, &names(args), read),
        LintFormat::Junit => reports::junit(&reports),
        LintFormat::Markdown => reports::markdown(&reports),
        LintFormat::Html => html::page(&reports),
    };
    // What was found is shown, but the command has not done all its work.
    if !reports.is_empty() || unread.is_empty() {
        output::print(text)?;
    }
    if let Some(failure) = Failure::all(unread) {
        return Err(failure);
    }
    let counts = |report: &LintedProfile| report.findings.iter().any(|row| row.counts);
    Ok(if reports.iter().any(counts) {
        Findings::Some(String::new())
    } else {
        Findings::None
    })
}

/// The files, as reports name them.
fn names(args: &LintArgs) -> Vec<String> {
    let files = args.files.iter();
    files
        .map(|file| Input::from_argument(file).name())
        .collect()
}

/// A file once more, for its lines; none where there is none to be read twice.
fn read(file: &str) -> Option<String> {
    std::fs::read_to_string(file).ok()
}

/// The code of a file with nothing to look at.
const NO_PROFILE: &str = "no-profile";

/// What is wrong with the SeccompPolicies and SeccompCeilings beside profiles, and that other objects alone are none of this command's business.
fn of_others(others: &Others) -> Vec<LintedProfile> {
    let policies: Vec<_> = others
        .objects
        .iter()
        .filter(|one| policies::is_policy(one) || ceiling::is_ceiling(one))
        .collect();
    if policies.is_empty() && others.alone {
        let row = Row {
            severity: Severity::Note.name(),
            rank: Severity::Note,
            code: NO_PROFILE,
            path: String::new(),
            reason: others.sentence(),
            remedy: "leave it so, if no profile was meant to be there".into(),
            counts: false,
        };
        return vec![LintedProfile {
            profile: others.name.clone(),
            findings: vec![row],
        }];
    }
    let report = |object: &Value| {
        let (kind, faults) = if ceiling::is_ceiling(object) {
            ("SeccompCeiling", ceiling::faults(object))
        } else {
            ("SeccompPolicy", policies::faults(object))
        };
        LintedProfile {
            profile: match object["metadata"]["name"].as_str() {
                Some(name) => format!("{} ({kind} {name})", others.name),
                None => format!("{} ({kind})", others.name),
            },
            findings: faults.iter().map(Row::invalid).collect(),
        }
    };
    policies.into_iter().map(report).collect()
}

/// What is to be said of the next version that is on trial, and not of the one in force.
fn of_next(
    named: &Named,
    library: &Library,
    known: &[Row],
    args: &LintArgs,
    asked: &TargetArgs,
) -> Result<Vec<Row>, Failure> {
    let next = named.object().zip(named.definition.next.as_ref());
    let Some((name, spec)) = next else {
        return Ok(Vec::new());
    };
    let next = Named {
        name: named.name.clone(),
        definition: Definition {
            spec: spec.clone(),
            capabilities: named.definition.capabilities,
            next: None,
        },
        origin: Origin::Object(name.to_owned()),
    };
    // It may have a base of its own, with capabilities of its own.
    let target = asked.target_for(&next.definition, library)?;
    let found = rows(&next, library, &target, args).into_iter();
    let new = found.filter(|row| !known.iter().any(|known| known.is_same(row)));
    Ok(new.map(Row::once_promoted).collect())
}

fn rows(named: &Named, library: &Library, target: &Target, args: &LintArgs) -> Vec<Row> {
    let lookup = |name: &str| Some(library.get(name)?.spec.clone());
    let loaders = args.runtime.map_or(Loaders::ALL, Loaders::only);
    let spec = named.definition.spec.as_ref();
    let findings = match (spec, named.origin.as_is()) {
        (Spec::Document(document), Some(at)) => {
            lint_document_under(loaders, document, Delivery::AsIs, target, at)
        }
        (Spec::Document(document), None) if named.origin == Origin::BuiltIn => {
            lint_document_under(loaders, document, Delivery::Rendered, target, "")
        }
        (spec, _) => lint_under(loaders, spec, &lookup, target, "spec"),
    };
    let mut rows = Vec::new();
    let said = findings
        .iter()
        .any(|finding| finding.code == Code::UnreliableRules);
    if let Err(Faulty { problems, .. }) = target::rendered(named, library, target)
        && !said
    {
        rows.extend(problems.iter().map(Row::invalid));
    }
    let wanted = findings
        .iter()
        .filter(|finding| !args.ignore.contains(&finding.code));
    rows.extend(wanted.map(|finding| Row::from_finding(finding, args.fail_on)));
    rows
}

/// The profiles so far, for those that crun takes for one that it has.
#[derive(Default)]
struct KeptFilters(Vec<(String, Profile)>);

impl KeptFilters {
    /// Each is compared with those before it.
    const MAX: usize = 200;

    fn row(
        &mut self,
        named: &Named,
        library: &Library,
        target: &Target,
        args: &LintArgs,
    ) -> Option<Row> {
        let is_asked = args
            .runtime
            .is_none_or(|loader| loader.runtime == Runtime::Crun);
        if !is_asked || self.0.len() >= Self::MAX {
            return None;
        }
        let profile = target::resolve_quietly(named, library, target).ok()?;
        let mut before = self.0.iter();
        let other = before.find(|(_, other)| profile.shares_kept_filter_with(other));
        let row = other.map(|(name, _)| Row {
            severity: Severity::Note.name(),
            rank: Severity::Note,
            code: "kept-filter",
            path: "syscalls".into(),
            reason: format!("differs from {name} in errnoRet only: {KEPT_FILTER}"),
            remedy:
                "remove /run/crun/.cache/seccomp on the nodes, or change something else as well"
                    .into(),
            counts: args.fail_on == Level::Note,
        });
        self.0.push((named.name.clone(), profile));
        row
    }
}

/// What does as the remedy says.
fn command_for(code: Code) -> Option<&'static str> {
    match code {
        Code::NoContainerStarts | Code::RuntimeNeedsMore => {
            Some("`kubectl seccomp merge --runtime runc` adds it")
        }
        Code::DockerFormat => {
            Some("`kubectl seccomp convert` does, and so does the operator for a SeccompProfile")
        }
        Code::ManyRules | Code::UnreliableRules => Some("`kubectl seccomp convert` does"),
        _ => None,
    }
}

impl Row {
    fn from_finding(finding: &Finding, fail_on: Level) -> Self {
        Self {
            severity: finding.severity.name(),
            rank: finding.severity,
            code: finding.code.name(),
            path: finding.path.clone(),
            reason: finding.reason.clone(),
            remedy: match command_for(finding.code) {
                Some(command) => format!("{}: {command}", finding.remedy),
                None => finding.remedy.clone(),
            },
            counts: finding.severity >= fail_on.severity(),
        }
    }

    /// Of a next version: where it stands in the spec that there will be is no place of the one that there is.
    fn once_promoted(self) -> Self {
        let at = match self.path.as_str() {
            "" => String::new(),
            path => format!("{path}: "),
        };
        Self {
            reason: format!("once it is promoted: {at}{}", self.reason),
            path: "spec.trial".into(),
            ..self
        }
    }

    /// Whether it says the same; what to do may depend on the architecture.
    fn is_same(&self, other: &Self) -> bool {
        (self.code, &self.path, &self.reason) == (other.code, &other.path, &other.reason)
    }

    fn invalid(problem: &Problem) -> Self {
        Self {
            severity: Severity::Error.name(),
            rank: Severity::Error,
            code: "invalid",
            path: problem.path.clone(),
            reason: problem.reason.clone(),
            remedy: problem.remedy.clone(),
            counts: true,
        }
    }
}

fn to_text(reports: &[LintedProfile], style: Style) -> String {
    let mut out = String::new();
    for report in reports {
        if report.findings.is_empty() {
            let _ = writeln!(out, "{}: nothing found", visible(&report.profile));
            continue;
        }
        out += &style.bold(&format!("{}\n", visible(&report.profile)));
        for row in &report.findings {
            let at = if row.path.is_empty() {
                String::new()
            } else {
                format!("{}: ", row.path)
            };
            let sentence = format!("{at}{} [{}]", row.reason, row.code);
            out += &wrap(&format!("  {:8} ", row.severity), &visible(&sentence));
            out += &wrap("           -> ", &visible(&row.remedy));
        }
    }
    out
}
