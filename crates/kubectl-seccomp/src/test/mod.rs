//! `kubectl seccomp test`: files that say what a profile must do with calls.
//!
//! `file` is what such a file holds, `call` and `expect` its words, `check` asks the engine, `live` the filter in force, `report` tells.

mod call;
mod check;
mod expect;
mod file;
mod live;
mod report;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::document::{self, Named};
use super::input::Input;
use super::text::Style;
use super::{Failure, Findings, output, probe};
use check::{Failed, Outcome, Subject};
use file::Suite;
use report::Report;
use seccomp_profile::{BUILTINS, Library};

/// The most that is read of a test file.
const MAX_BYTES: u64 = 16 << 20;

/// Arguments of `test`.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// The test files; `-` for standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = TestFormat::Text)]
    output: TestFormat,
    /// Ask the filter that is in force for this process, in the place of the file's profile: in a container that runs under it. No call is
    /// executed. Cases about other architectures are left out.
    #[arg(long)]
    live: bool,
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TestFormat {
    /// Text for people.
    Text,
    /// One JSON object.
    Json,
    #[value(help = "JUnit's XML")]
    Junit,
    /// The Test Anything Protocol.
    Tap,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
A test file names a profile and says what must happen to calls: `allow`, `log`, `errno(EPERM)`, `errno`, `trap`, `kill`,
`kill-thread`, `kill-process`, `notify`, `trace`, `permitted` (allow or log), `stopped` (errno, trap or kill). A call may have arguments,
as numbers or by name; what is expected must then be so for all others that it has not. What a profile does is what the runtime's
libseccomp makes of its rules. Without `target`, the node is amd64 with Linux 6.12 under runc, so that a test says the same everywhere.

Examples:
  # no-chmod.test.yaml, beside no-chmod.yaml:
  #   profile: no-chmod.yaml
  #   target: {arch: [amd64, arm64]}
  #   cases:
  #     - {call: '@chmod', expect: errno(EPERM)}
  #     - {call: [openat, 'clone(SIGCHLD)'], expect: allow}
  #     - {call: 'socket(AF_ALG)', expect: stopped, target: {arch: amd64, abi: all}}
  kubectl seccomp test no-chmod.test.yaml

  # In a container that runs under the profile: does the node's runtime make of it what the engine says?
  kubectl-seccomp test --live no-chmod.test.yaml

  # In CI: what is shown there as test results
  kubectl seccomp test -o junit profiles/*.test.yaml >results.xml

Exit status: 0 all cases pass; 1 some do not, or a profile is wrong; 2 wrong use, or a file cannot be read.";

/// The JSON Schema of a test file.
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Suite).to_value();
    schema["title"] = "Tests of a seccomp profile".into();
    schema
}

/// Tests and prints.
pub fn run(args: &TestArgs) -> Result<Findings, Failure> {
    let (mut reports, mut unread) = (Vec::new(), Vec::new());
    for file in &args.files {
        match test(file, args.live) {
            Ok(report) => reports.push(report),
            Err(failure) => unread.push(failure),
        }
    }
    let text = match args.output {
        TestFormat::Text => report::text(&reports, Style::for_stdout()),
        TestFormat::Json => output::json(&report::data(&reports))?,
        TestFormat::Junit => report::junit(&reports),
        TestFormat::Tap => report::tap(&reports),
    };
    if !reports.is_empty() {
        output::print(text)?;
    }
    if let Some(failure) = Failure::all(unread) {
        return Err(failure);
    }
    let mut outcomes = reports.iter().flat_map(|report| &report.outcomes);
    Ok(if outcomes.any(Outcome::is_failed) {
        Findings::Some(String::new())
    } else {
        Findings::None
    })
}

fn test(file: &Path, live: bool) -> Result<Report, Failure> {
    let input = Input::from_argument(file);
    let mut text = String::new();
    input
        .open()?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| input.unreadable(error))?;
    if text.len() as u64 > MAX_BYTES {
        let message = format!("{} has more than {} MiB", input.name(), MAX_BYTES >> 20);
        return Err(Failure::Usage(message));
    }
    let suites = file::parse(&text);
    let suites = suites.map_err(|error| Failure::Usage(format!("{}: {error}", input.name())))?;
    let folder = match &input {
        Input::File(path) => path.parent().map(Path::to_owned),
        Input::Stdin => None,
    };
    let folder = folder.unwrap_or_default();
    let mut outcomes = Vec::new();
    for suite in &suites {
        if live {
            outcomes.extend(test_live(suite)?);
            continue;
        }
        match subject(suite, &folder)? {
            Ok((named, library)) => outcomes.extend(Subject::new(&named, &library).test(suite)),
            Err(reason) => outcomes.push(Outcome {
                name: suite.profile.clone(),
                calls: 0,
                failures: vec![Failed {
                    what: String::new(),
                    reason,
                }],
                skipped: None,
            }),
        }
    }
    Ok(Report {
        file: input.name(),
        outcomes,
    })
}

/// The cases of a suite by the filter in force.
fn test_live(suite: &Suite) -> Result<Vec<Outcome>, Failure> {
    let plans = suite.cases.iter().map(|case| live::plan(case, suite));
    let plans: Vec<_> = plans.collect();
    let asked: Vec<_> = plans.iter().flatten().flatten().collect();
    let asked: Vec<_> = asked.iter().map(|one| (one.call, one.args)).collect();
    let mut decisions = probe::decide_all(&asked)?.into_iter();
    let outcomes = suite
        .cases
        .iter()
        .zip(plans)
        .map(|(case, plan)| match plan {
            Ok(asked) => {
                let decisions: Vec<_> = decisions.by_ref().take(asked.len()).collect();
                live::judge(case, &asked, &decisions)
            }
            Err(reason) => Outcome {
                name: check::name(case),
                calls: 0,
                failures: Vec::new(),
                skipped: Some(reason),
            },
        });
    Ok(outcomes.collect())
}

/// The profile of a suite, with those that may be its base, or what is wrong with it.
fn subject(suite: &Suite, folder: &Path) -> Result<Result<(Named, Library), String>, Failure> {
    let beside: Vec<_> = suite.with.iter().map(|file| folder.join(file)).collect();
    let mut with = Vec::new();
    if !beside.is_empty() {
        for found in document::read_all(&beside)? {
            match found {
                Ok(named) => with.push(named),
                Err(faulty) => return Ok(Err(faulty.to_string().trim_end().to_owned())),
            }
        }
    }
    let beside = folder.join(&suite.profile);
    let is_built_in = BUILTINS.contains(&suite.profile.as_str()) && !beside.exists();
    let path = if is_built_in {
        PathBuf::from(&suite.profile)
    } else {
        beside
    };
    let mut found = document::read_joined(Some(&path), &with)?;
    let library = document::library(&found, with.iter());
    if let Some(name) = &suite.name {
        let is_it = |named: &Named| named.base_name() == Some(name);
        // What cannot be read has no name, and is said.
        found.retain(|found| found.as_ref().map_or(true, is_it));
        if found.is_empty() {
            let reason = format!("{} holds no SeccompProfile {name}", path.display());
            return Ok(Err(reason));
        }
    }
    let (named, _) = document::one_of(found, Some(&path))?;
    Ok(match named {
        Ok(named) => Ok((named, library)),
        Err(faulty) => Err(faulty.to_string().trim_end().to_owned()),
    })
}
