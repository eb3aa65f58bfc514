//! Which calls of a recording a profile would stop, and which it allows that were never seen. What is said is decided in one pure function.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;
use serde_json::Value;

use super::{CheckArgs, CheckFormat};
use crate::cluster::{Cluster, block_on};
use crate::input::Input;
use crate::text::{Style, plural, wrap};
use crate::view::{ActionData, CallEffect, View, words};
use crate::{Failure, Findings as Outcome, output, stored};
use seccomp_operator_api::{
    RecordedCall, RecordedContainer, RecordingReport, SeccompRecording, SeccompRecordingReport,
};
use seccomp_profile::{Arch, Profile, Runtime, Syscall, every_program_needs};
use seccomp_recording::{Call, Findings};

/// The most that is read of a file.
const MAX_BYTES: u64 = 64 << 20;

/// A call that was seen and that the profile does not simply permit.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    architecture: String,
    name: &'static str,
    calls: i64,
    /// What may happen, the strictest first.
    actions: Vec<ActionData>,
    /// The values of an argument that are stopped, or may be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    arguments: Vec<Argument>,
    /// What of the profile says so.
    rule: String,
    #[serde(skip)]
    arch: Arch,
    #[serde(skip)]
    words: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Argument {
    index: u8,
    values: Vec<String>,
}

/// What a profile has to do with a recording.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    /// How many calls were seen that the recording's base let happen.
    seen: usize,
    /// How many it only refused: no profile has to allow them.
    only_refused: usize,
    stopped: Vec<Finding>,
    conditional: Vec<Finding>,
    /// Calls that nobody records, and that the profile stops.
    assumed_stopped: Vec<&'static str>,
    /// Calls that the profile allows, for some arguments or for all, and that were not seen and are not assumed.
    allowed_unseen: Vec<&'static str>,
    /// The architectures that the profile speaks of and through which no call was seen.
    unseen_architectures: Vec<&'static str>,
}

/// Compares and prints.
pub fn run(args: &CheckArgs) -> Result<Outcome, Failure> {
    let (name, profile, native, reports) = match read(args)? {
        Ok(read) => read,
        Err(outcome) => return Ok(outcome),
    };
    let view = match View::from_profile(&profile, native, args.runtime) {
        Ok(view) => view,
        Err(error) => return Ok(Outcome::Some(format!("{name}: {error}\n"))),
    };
    let findings = Findings::new(&reports);
    let assumed: Vec<_> = seccomp_recorder::assumed().collect();
    let data = held(&findings, &profile, &view, native, &assumed);
    if data.seen == 0 {
        return Ok(Outcome::Some("the recording has no calls yet\n".into()));
    }
    for gap in &findings.gaps {
        eprintln!("warning: calls may be missing: {gap}");
    }
    let text = match args.output {
        CheckFormat::Text => to_text(&data, &name, Style::for_stdout()),
        CheckFormat::Json => output::json(&data)?,
    };
    output::print(text)?;
    let fine = data.stopped.is_empty() && (!args.strict || data.conditional.is_empty());
    Ok(if fine {
        Outcome::None
    } else {
        Outcome::Some(String::new())
    })
}

type Read = (String, Profile, Arch, Vec<RecordingReport>);

/// The profile and the recording. A cluster is asked only for what is there.
fn read(args: &CheckArgs) -> Result<Result<Read, Outcome>, Failure> {
    let is_here = args.profile.exists()
        || args.profile == Path::new("-")
        || args
            .profile
            .to_str()
            .is_some_and(|name| seccomp_profile::BUILTINS.contains(&name));
    let local = if is_here || args.recording_file.is_some() {
        match args.target.read_one(Some(&args.profile))? {
            Ok((named, profile, target)) => Some((named.name, profile, target.arch)),
            Err(faulty) => return Ok(Err(faulty.into())),
        }
    } else {
        None
    };
    if let (Some(file), Some((name, profile, arch))) = (&args.recording_file, &local) {
        let reports = of_file(file, args.recording.as_deref(), *arch)?;
        return Ok(Ok((name.clone(), profile.clone(), *arch, reports)));
    }
    block_on(async {
        let cluster = args.cluster.connect().await?;
        let (name, profile, arch) = match local {
            Some(local) => local,
            None => of_cluster(args, &cluster).await?,
        };
        let reports = reports(args, &cluster).await?;
        Ok(Ok((name, profile, arch, reports)))
    })
}

/// What nodes get of a SeccompProfile.
async fn of_cluster(
    args: &CheckArgs,
    cluster: &Cluster,
) -> Result<(String, Profile, Arch), Failure> {
    let name = args.profile.display().to_string();
    let library = stored::listed(cluster).await?;
    let definition = library.get(&name).ok_or_else(|| {
        Failure::Usage(format!(
            "{name}: no such file, no built-in and no SeccompProfile of that name; see kubectl get seccompprofiles"
        ))
    })?;
    let target = args.target.target_for(definition, &library)?;
    let profile = library.compose(&name, &target, "spec")?;
    Ok((name, profile, target.arch))
}

/// What the nodes report of the recording.
async fn reports(args: &CheckArgs, cluster: &Cluster) -> Result<Vec<RecordingReport>, Failure> {
    let name = args.recording.as_deref().unwrap_or_default();
    let namespace = args.namespace.as_deref().unwrap_or(&cluster.namespace);
    let recordings: Api<SeccompRecording> = Api::namespaced(cluster.client.clone(), namespace);
    let recording = recordings
        .get(name)
        .await
        .with_context(|| format!("cannot read SeccompRecording {name:?} in namespace {namespace}"))
        .map_err(Failure::Other)?;
    let reports: Api<SeccompRecordingReport> = Api::namespaced(cluster.client.clone(), namespace);
    let kind = "seccomprecordingreports.seccomp-operator.io";
    let scope = format!("namespace {namespace}");
    let all = cluster
        .list(&reports, &ListParams::default(), kind, &scope)
        .await?;
    let own = all
        .into_iter()
        .map(|report| report.spec)
        .filter(|report| Some(&report.recording.uid) == recording.metadata.uid.as_ref());
    Ok(own.collect())
}

/// The reports in a file, or else what a recording's status says of them.
fn of_file(
    file: &Path,
    recording: Option<&str>,
    native: Arch,
) -> Result<Vec<RecordingReport>, Failure> {
    let input = Input::from_argument(file);
    let mut text = String::new();
    let read = input.open()?.take(MAX_BYTES).read_to_string(&mut text);
    read.map_err(|error| input.unreadable(error))?;
    let wrong = |reason: String| {
        Failure::Usage(format!(
            "{}: {reason}; give what `kubectl get seccomprecordings,seccomprecordingreports -o yaml` prints",
            file.display()
        ))
    };
    // JSON is YAML.
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
        .map_err(|error| wrong(format!("is no YAML: {error}")))?;
    let items = documents.into_iter().flat_map(|mut document| {
        match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => vec![document],
        }
    });
    let (mut reports, mut statuses) = (Vec::new(), Vec::new());
    for item in items {
        let unreadable = |error: serde_json::Error| wrong(format!("cannot be read: {error}"));
        match item["kind"].as_str() {
            Some("SeccompRecordingReport") => {
                let report: SeccompRecordingReport =
                    serde_json::from_value(item).map_err(unreadable)?;
                reports.push(report.spec);
            }
            Some("SeccompRecording") => {
                let object: SeccompRecording = serde_json::from_value(item).map_err(unreadable)?;
                statuses.push(of_status(&object, native));
            }
            _ => {}
        }
    }
    // A report has the calls of each container; a status those of all, and as many as fit.
    let mut found = if reports.is_empty() {
        statuses
    } else {
        reports
    };
    found.retain(|report| recording.is_none_or(|name| report.recording.name == name));
    let names: BTreeSet<_> = found.iter().map(|report| &report.recording.name).collect();
    match names.len() {
        0 => Err(wrong("holds no such recording".into())),
        1 => Ok(found),
        _ => Err(Failure::Usage(format!(
            "{} holds several recordings; name one with --recording",
            file.display()
        ))),
    }
}

/// A status as a report of everything.
fn of_status(recording: &SeccompRecording, native: Arch) -> RecordingReport {
    let arch = |name: Option<&str>| {
        let abis = Arch::KUBERNETES.iter().flat_map(|arch| arch.abis());
        let mut named = abis.filter(|abi| Some(abi.native_name()) == name);
        named.next().copied().unwrap_or(native)
    };
    let status = recording.status.clone().unwrap_or_default();
    let calls = status.calls.into_iter().map(|call| RecordedCall {
        architecture: arch(call.architecture.as_deref()).to_string(),
        name: call.name,
        steady: if call.exec_only { 0 } else { call.count },
        exec: if call.exec_only { call.count } else { 0 },
        refused: call.refused,
        arguments: call.arguments,
        ..RecordedCall::default()
    });
    let mut report = RecordingReport {
        containers: vec![RecordedContainer {
            calls: calls.collect(),
            ..RecordedContainer::default()
        }],
        ..RecordingReport::default()
    };
    report.recording.name = recording.metadata.name.clone().unwrap_or_default();
    report
}

/// Holds a profile to what was recorded.
fn held(
    findings: &Findings,
    profile: &Profile,
    view: &View,
    native: Arch,
    assumed: &[Syscall],
) -> Data {
    let (seen, refused): (Vec<_>, Vec<_>) = findings.calls().partition(Call::succeeded);
    let (mut stopped, mut conditional) = (Vec::new(), Vec::new());
    for call in &seen {
        let Some(number) = call.syscall.number(call.arch) else {
            continue;
        };
        let effect = view.effect(call.arch, number);
        let by_values = match &effect {
            CallEffect::Always(action) if action.is_permitted() => continue,
            CallEffect::Always(_) => None,
            CallEffect::ByArguments(decision) => {
                Some(by_values(call, |known| decision.actions_given(known)))
            }
        };
        let shown = |values: &[(u8, Vec<u64>)]| {
            let one = |(index, values): &(u8, Vec<u64>)| Argument {
                index: *index,
                values: values.iter().map(|value| format!("{value:#x}")).collect(),
            };
            values.iter().map(one).collect::<Vec<_>>()
        };
        let finding = |values: &[(u8, Vec<u64>)]| Finding {
            architecture: call.arch.to_string(),
            name: call.syscall.name(),
            calls: call.seen.count().saturating_sub(call.seen.refused),
            actions: effect.actions().into_iter().map(Into::into).collect(),
            arguments: shown(values),
            rule: rule(profile, call, &effect),
            arch: call.arch,
            words: match &effect {
                CallEffect::Always(action) => words(*action),
                CallEffect::ByArguments(_) => "stopped".to_owned(),
            },
        };
        match by_values {
            None => stopped.push(finding(&all_values(call))),
            Some(Values {
                stopped: none,
                open,
            }) if none.is_empty() => {
                if open {
                    conditional.push(finding(&all_values(call)));
                }
            }
            Some(values) => stopped.push(finding(&values.stopped)),
        }
    }
    let permits = |call: Syscall| {
        let number = call.number(native)?;
        let actions = view.effect(native, number).actions();
        Some(actions.iter().any(|action| action.is_permitted()))
    };
    let names = |calls: BTreeSet<Syscall>| {
        let mut names: Vec<_> = calls.into_iter().map(Syscall::name).collect();
        names.sort_unstable();
        names
    };
    let assumed_stopped = assumed
        .iter()
        .copied()
        .filter(|call| permits(*call) == Some(false));
    let runtimes = [Runtime::Runc, Runtime::Crun];
    let known: BTreeSet<_> = seen
        .iter()
        .map(|call| call.syscall)
        .chain(assumed.iter().copied())
        .chain(runtimes.iter().flat_map(|runtime| runtime.needs(native)))
        .chain(every_program_needs(&[native]))
        .collect();
    let unseen = view.rows(native).into_iter().map(|(call, _)| call);
    let unseen = unseen.filter(|call| !known.contains(call) && permits(*call) == Some(true));
    let ran: BTreeSet<_> = seen.iter().map(|call| call.arch).chain([native]).collect();
    let unseen_architectures = view.arches().filter(|arch| !ran.contains(arch));
    Data {
        seen: seen.len(),
        only_refused: refused.len(),
        stopped,
        conditional,
        assumed_stopped: names(assumed_stopped.collect()),
        allowed_unseen: names(unseen.collect()),
        unseen_architectures: unseen_architectures
            .map(seccomp_profile::Arch::native_name)
            .collect(),
    }
}

/// What is known of calls that a profile decides by their arguments.
struct Values {
    /// The values of arguments with which calls are stopped whatever the others are.
    stopped: Vec<(u8, Vec<u64>)>,
    /// Whether others may be stopped.
    open: bool,
}

fn by_values(
    call: &Call<'_>,
    actions: impl Fn(&[Option<u64>; 6]) -> Vec<seccomp_profile::Action>,
) -> Values {
    let mut stopped = Vec::new();
    let mut open = true;
    for (index, values) in all_values(call) {
        let given = |value: u64| {
            let mut known = [None; 6];
            if let Some(argument) = known.get_mut(usize::from(index)) {
                *argument = Some(value);
            }
            actions(&known)
        };
        let is = |value: &u64, permitted: bool| {
            given(*value)
                .iter()
                .all(|action| action.is_permitted() == permitted)
        };
        let (never, rest): (Vec<u64>, Vec<u64>) =
            values.into_iter().partition(|value| is(value, false));
        // Every call had one of the values.
        open &= !rest.iter().all(|value| is(value, true));
        if !never.is_empty() {
            stopped.push((index, never));
        }
    }
    Values { stopped, open }
}

/// The values that are known of each argument.
fn all_values(call: &Call<'_>) -> Vec<(u8, Vec<u64>)> {
    let known = call.seen.arguments.iter().filter(|argument| !argument.more);
    known
        .map(|argument| (argument.index, argument.numbers().collect()))
        .collect()
}

/// What of the profile decides about a call.
fn rule(profile: &Profile, call: &Call<'_>, effect: &CallEffect<'_>) -> String {
    let default = profile.default_action();
    if !profile.architectures().contains(call.arch) {
        return format!("architectures: {} is not among them", call.arch);
    }
    let names = |rule: &&seccomp_profile::Rule| rule.syscalls().contains(&call.syscall);
    if profile.rules().iter().find(names).is_none() {
        return match effect {
            CallEffect::Always(action) if *action != default => format!(
                "no rule names {}, and it is newer than all that rules name",
                call.syscall
            ),
            _ => format!("defaultAction: no rule names {}", call.syscall),
        };
    }
    format!("syscalls: {}", effect.words(call.arch, default))
}

fn to_text(data: &Data, profile: &str, style: Style) -> String {
    let mut out = String::new();
    let seen = plural(data.seen, "call");
    if data.stopped.is_empty() {
        let _ = writeln!(out, "{profile} would stop none of the {seen} seen");
    } else {
        let head = format!(
            "{profile} would stop {} of {seen} seen\n",
            data.stopped.len()
        );
        out += &style.bold(&head);
    }
    rows(&mut out, &data.stopped);
    if !data.conditional.is_empty() {
        out += &style.bold("\nStopped or not, by arguments of which the values are not known\n");
        rows(&mut out, &data.conditional);
    }
    for (head, names) in [
        (
            "Stopped, and never recorded but assumed",
            &data.assumed_stopped,
        ),
        ("Allowed, and never seen", &data.allowed_unseen),
        (
            "Programs that are let in, of which none was seen",
            &data.unseen_architectures,
        ),
    ] {
        if !names.is_empty() {
            out += &style.bold(&format!("\n{head}: {}\n", names.len()));
            out += &wrap("  ", &names.join(" "));
            if !out.ends_with('\n') {
                out.push('\n');
            }
        }
    }
    if data.only_refused > 0 {
        let refused = plural(data.only_refused, "call");
        let _ = writeln!(
            out,
            "\nLeft out: {refused} that the recording's base refused each time"
        );
    }
    out
}

fn rows(out: &mut String, findings: &[Finding]) {
    for finding in findings {
        let arch = finding.arch.native_name();
        let _ = write!(
            out,
            "{:>10}  {arch} {}: {}",
            finding.calls, finding.name, finding.words
        );
        for (position, argument) in finding.arguments.iter().enumerate() {
            let joint = if position == 0 { " for" } else { ";" };
            let _ = write!(
                out,
                "{joint} arg{} {}",
                argument.index,
                argument.values.join(", ")
            );
        }
        let _ = writeln!(out, " ({})", finding.rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seccomp_profile::{CapabilitySet, KernelVersion, Loader, Target, parse};
    use serde_json::json;

    fn call(arch: &str, name: &str, more: &Value) -> Value {
        let mut call = json!({"architecture": format!("SCMP_ARCH_{arch}"), "name": name, "firstSeen": null, "lastSeen": null});
        for (key, value) in more.as_object().unwrap() {
            call[key] = value.clone();
        }
        call
    }

    fn data(calls: &Value) -> Data {
        let only = |value: u64| json!([{"index": 0, "op": "SCMP_CMP_LT", "value": value}]);
        let document = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "syscalls": [
                {"names": ["read", "write", "bind", "listen", "getrandom"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": only(38)},
                {"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"},
            ],
        });
        let target = Target {
            arch: Arch::X86_64,
            kernel: KernelVersion::CURRENT,
            capabilities: CapabilitySet::EMPTY,
        };
        let profile = parse(&document, "").unwrap().resolve(&target);
        let loader: Loader = "runc".parse().unwrap();
        let view = View::from_profile(&profile, Arch::X86_64, loader).unwrap();
        let report: RecordingReport = serde_json::from_value(json!({
            "recording": {"name": "r", "uid": "u"}, "node": "n", "recorderVersion": "1",
            "containers": [{"pod": "p", "podUid": "", "container": "c", "containerId": "i", "started": null, "calls": calls}],
        }))
        .unwrap();
        let assumed = ["read", "openat", "getrandom"].map(|name| Syscall::named(name).unwrap());
        held(
            &Findings::new([&report]),
            &profile,
            &view,
            Arch::X86_64,
            &assumed,
        )
    }

    #[test]
    fn what_would_be_stopped_is_said_with_its_values_and_by_what() {
        let socket =
            |values: Value| json!({"steady": 5, "arguments": [{"index": 0, "values": values}]});
        let data = data(&json!([
            call("X86_64", "bind", &json!({"steady": 3})),
            call("X86_64", "chmod", &json!({"steady": 2, "exec": 1})),
            call("X86_64", "mkdir", &json!({"steady": 1})),
            call("X86_64", "mount", &json!({"steady": 4, "refused": 4})),
            call("X86_64", "socket", &socket(json!(["0x1", "0x26"]))),
            call("AARCH64", "bind", &json!({"steady": 1})),
        ]));
        assert_eq!((data.seen, data.only_refused), (5, 1));
        let said: Vec<_> = data
            .stopped
            .iter()
            .map(|of| (of.arch, of.name, of.calls, of.rule.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                (
                    Arch::Aarch64,
                    "bind",
                    1,
                    "architectures: SCMP_ARCH_AARCH64 is not among them"
                ),
                (
                    Arch::X86_64,
                    "chmod",
                    3,
                    "defaultAction: no rule names chmod"
                ),
                (Arch::X86_64, "mkdir", 1, "syscalls: kills the process"),
                (
                    Arch::X86_64,
                    "socket",
                    5,
                    "syscalls: allowed if arg0 < 38; otherwise EPERM"
                ),
            ]
        );
        assert_eq!(
            data.stopped[3].arguments,
            [Argument {
                index: 0,
                values: vec!["0x26".into()]
            }]
        );
        assert_eq!(data.conditional, []);
        assert_eq!(data.assumed_stopped, ["openat"]);
        assert_eq!(
            (data.allowed_unseen, data.unseen_architectures),
            (vec!["listen"], vec!["x86"])
        );
        let text = to_text(
            &super::tests::data(&json!([call("X86_64", "chmod", &json!({"steady": 2}))])),
            "p.json",
            Style::for_stdout(),
        );
        for part in [
            "p.json would stop 1 of 1 call seen",
            "         2  amd64 chmod: EPERM (defaultAction: ",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn known_values_that_are_all_allowed_settle_a_call_and_unknown_ones_leave_it_open() {
        let of = |argument: Value| {
            data(&json!([call(
                "X86_64",
                "socket",
                &json!({"steady": 5, "arguments": argument})
            )]))
        };
        let allowed =
            of(json!([{"index": 0, "values": ["0x1", "0x2"]}, {"index": 1, "values": ["0x1"]}]));
        assert_eq!((allowed.stopped.len(), allowed.conditional.len()), (0, 0));
        for unknown in [
            json!([]),
            json!([{"index": 0, "more": true}]),
            json!([{"index": 1, "values": ["0x1"]}]),
        ] {
            let data = of(unknown);
            assert_eq!((data.stopped.len(), data.conditional.len()), (0, 1));
        }
    }
}
