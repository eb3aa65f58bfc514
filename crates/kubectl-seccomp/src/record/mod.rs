//! `kubectl seccomp record`: records what a workload calls, and prints a profile of it.
//!
//! The one command that changes a cluster: it makes a SeccompRecording, restarts the workload, and takes both back. `plan` decides.

mod plan;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use clap::{ArgGroup, Args};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};

use super::ask::{confirmed, show};
use super::cluster::{Cluster, ClusterArgs, block_on};
use super::restart::{Target as Restarted, restart};
use super::{Failure, Findings as Outcome, output, stored};
use plan::{Kind, State, Workload};
use seccomp_operator_api::{
    CallArgument, ProfileName, RecordingReport, SeccompProfile, SeccompRecording,
    SeccompRecordingReport, SeccompRecordingSpec,
};
use seccomp_profile::{CapabilitySet, KernelVersion, Library, Target, builtin};
use seccomp_recording::profile::{Made, Options, make};
use seccomp_recording::{Findings, groups, provenance, result_name};

/// How often to ask how the recording comes on.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the nodes may take to get ready.
const PATIENCE: Duration = Duration::from_mins(2);
/// The recorders report every few seconds; the last calls have arrived by then.
const LAST_REPORTS: Duration = Duration::from_secs(6);

/// Arguments of `record`.
#[allow(clippy::struct_excessive_bools)] // each is a flag of its own
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["workload", "from"]))]
pub struct RecordArgs {
    /// What to record: deployment/NAME, statefulset/NAME or daemonset/NAME.
    #[arg(value_parser = plan::workload)]
    workload: Option<Workload>,
    /// Instead: print the profile of this SeccompRecording, and change nothing.
    #[arg(long, value_name = "RECORDING")]
    from: Option<String>,
    /// The namespace [default: that of the kubeconfig's context].
    #[arg(short, long)]
    namespace: Option<String>,
    /// How long to record, such as 10m or 1h30m.
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = seccomp_recording::parse_length)]
    length: Duration,
    /// End once no call was new for so long.
    #[arg(long, value_name = "DURATION", value_parser = seccomp_recording::parse_length)]
    quiet_for: Option<Duration>,
    /// The file to write [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The profile's name [default: the namespace and the workload].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Restart the workload without asking.
    #[arg(long)]
    yes: bool,
    /// Make the SeccompProfile in the cluster too. No pod uses it before you say so.
    #[arg(long)]
    apply: bool,
    /// Leave out what only `kubectl exec` and exec probes called.
    #[arg(long)]
    without_exec: bool,
    /// Record pods that state a profile of their own, too.
    #[arg(long)]
    overrides: bool,
    /// Allow a call with the values that this argument had, from 0: setsockopt:2. May be given several times.
    #[arg(long = "argument", value_name = "CALL:INDEX", value_parser = plan::argument)]
    arguments: Vec<CallArgument>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Makes a SeccompRecording, restarts the workload (after asking), shows what comes in, and at the end, also after Ctrl-C, prints
the profile, removes the recording and restarts the workload once more. What the base refuses stays refused meanwhile.

Examples:
  # Ten minutes of a web server under its usual load
  kubectl seccomp record deployment/web -n shop --for 10m -o profile.yaml

  # Until nothing is new for five minutes, an hour at most, in a script
  kubectl seccomp record deployment/web -n shop --for 1h --quiet-for 5m --yes -o profile.yaml

  # The profile of a recording that goes on, or has ended
  kubectl seccomp record --from nightly -n shop > profile.yaml

  # Would the profile have stopped what was recorded by another one?
  kubectl seccomp diff old.yaml profile.yaml

Exit status: 0 there is a profile; 1 nothing was recorded; 2 wrong use, or the cluster cannot be asked.";

/// Records and prints.
pub fn run(args: &RecordArgs) -> Result<Outcome, Failure> {
    if let Some(name) = &args.name
        && let Err(error) = ProfileName::parse(name)
    {
        return Err(Failure::Usage(format!("--name: {error}")));
    }
    block_on(async {
        let cluster = args.cluster.connect().await?;
        let namespace = args
            .namespace
            .clone()
            .unwrap_or_else(|| cluster.namespace.clone());
        let session = Session {
            cluster,
            namespace,
            args,
        };
        match (&args.workload, &args.from) {
            (Some(workload), _) => session.record(workload).await,
            (None, Some(recording)) => session.print(recording).await,
            (None, None) => Err(Failure::Usage(
                "name a workload, or a recording with --from".into(),
            )),
        }
    })
}

/// One run of the command.
struct Session<'a> {
    cluster: Cluster,
    namespace: String,
    args: &'a RecordArgs,
}

impl Session<'_> {
    fn client(&self) -> Client {
        self.cluster.client.clone()
    }

    fn recordings(&self) -> Api<SeccompRecording> {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// The profile of a recording that is there.
    async fn print(&self, name: &str) -> Result<Outcome, Failure> {
        let asked = self.recordings().get(name).await;
        let recording = asked
            .with_context(|| format!("cannot read SeccompRecording {name:?}"))
            .map_err(Failure::Other)?;
        let reports = self.reports(&recording).await?;
        let named = result_name(&self.namespace, name, &recording.spec);
        self.finish(name, &recording, &reports, named).await
    }

    async fn record(&self, workload: &Workload) -> Result<Outcome, Failure> {
        let selector = self.selector(workload).await?;
        let selector = plan::selector(&selector).map_err(Failure::Usage)?;
        let shown = format!("{} in namespace {}", workload.name, self.namespace);
        if !self.args.yes
            && !confirmed(
                &format!("Restart {shown} to record it, and once more at the end?"),
                "to restart the workload",
            )?
        {
            return Err(Failure::Usage(format!(
                "{shown} was not restarted, and nothing recorded"
            )));
        }
        // Its name tells it from one that somebody else makes of the same workload.
        let suffix = Timestamp::now().as_second();
        let name = format!(
            "{}-{suffix:x}",
            workload.name.get(..80).unwrap_or(&workload.name)
        );
        let mut spec = plan::spec(selector, self.args.length, self.args.overrides);
        spec.arguments.clone_from(&self.args.arguments);
        let made = self
            .recordings()
            .create(&PostParams::default(), &SeccompRecording::new(&name, spec))
            .await;
        made.context("cannot make a SeccompRecording")
            .map_err(Failure::Other)?;
        let mut restarted = false;
        let outcome = tokio::select! {
            outcome = self.follow(workload, &name, &mut restarted) => outcome,
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                eprintln!("\nstopped; what was recorded so far makes the profile");
                Ok(())
            }
        };
        let result = match outcome {
            Ok(()) => self.result(workload, &name).await,
            Err(failure) => Err(failure),
        };
        self.take_back(workload, &name, restarted).await?;
        result
    }

    /// Until the recording is over.
    async fn follow(
        &self,
        workload: &Workload,
        name: &str,
        restarted: &mut bool,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            match plan::state(&self.get(name).await?) {
                State::Records => break,
                State::Failed(why) => return Err(Failure::Other(anyhow!("cannot record: {why}"))),
                State::Waits(why) if begun.elapsed() > PATIENCE => {
                    return Err(Failure::Other(anyhow!(
                        "the recording does not begin: {why}"
                    )));
                }
                State::Waits(_) => tokio::time::sleep(LOOK_EVERY / 4).await,
            }
        }
        // Set before: a restart that is asked for may have happened, whatever the answer.
        *restarted = true;
        self.restart(workload).await?;
        let begun = Instant::now();
        let mut findings = Findings::default();
        let mut shown = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // One answer that does not come must not cost what was recorded.
            if let Ok(recording) = self.get(name).await
                && let Ok(reports) = self.reports(&recording).await
            {
                findings = Findings::new(&reports);
            }
            let left = self.args.length.saturating_sub(begun.elapsed());
            show(&plan::line(&findings, left, Timestamp::now()), &mut shown);
            let quiet = self.args.quiet_for.is_some_and(|quiet| {
                let last = findings.firsts().last().copied().or(findings.started);
                let since = last.map(|last| Timestamp::now().duration_since(last));
                since
                    .and_then(|since| Duration::try_from(since).ok())
                    .is_some_and(|since| since >= quiet)
                    && findings.now > 0
            });
            if left.is_zero() || quiet {
                eprintln!();
                tokio::time::sleep(LAST_REPORTS).await;
                return Ok(());
            }
        }
    }

    async fn result(&self, workload: &Workload, name: &str) -> Result<Outcome, Failure> {
        let recording = self.get(name).await?;
        let reports = self.reports(&recording).await?;
        let named = format!("{}.{}", self.namespace, workload.name);
        self.finish(name, &recording, &reports, named).await
    }

    async fn get(&self, name: &str) -> Result<SeccompRecording, Failure> {
        let asked = self.recordings().get(name).await;
        asked
            .with_context(|| format!("cannot read SeccompRecording {name:?}"))
            .map_err(Failure::Other)
    }

    /// What the nodes have reported.
    async fn reports(&self, recording: &SeccompRecording) -> Result<Vec<RecordingReport>, Failure> {
        let reports: Api<SeccompRecordingReport> = Api::namespaced(self.client(), &self.namespace);
        let kind = "seccomprecordingreports.seccomp-operator.io";
        let scope = format!("namespace {}", self.namespace);
        let reports = self
            .cluster
            .list(&reports, &ListParams::default(), kind, &scope)
            .await?;
        let own = reports
            .into_iter()
            .map(|report| report.spec)
            .filter(|report| Some(&report.recording.uid) == recording.metadata.uid.as_ref());
        Ok(own.collect())
    }

    /// Writes the profiles: one, unless the recording says otherwise.
    async fn finish(
        &self,
        recording: &str,
        object: &SeccompRecording,
        reports: &[RecordingReport],
        named: String,
    ) -> Result<Outcome, Failure> {
        if Findings::new(reports).calls().next().is_none() {
            let sentence = "nothing was recorded: no pod that the recording selects has started, or none of its containers can be recorded\n";
            return Ok(Outcome::Some(sentence.into()));
        }
        let named = self.args.name.clone().unwrap_or(named);
        let reports: Vec<_> = reports.iter().collect();
        let end = object
            .status
            .as_ref()
            .and_then(|status| status.ended.as_ref())
            .map_or_else(Timestamp::now, |time| time.0);
        let status = object.status.as_ref();
        let images = status.map_or(&[][..], |status| &status.images);
        let mut profiles = Vec::new();
        let mut said = String::new();
        for (name, findings) in groups(object.spec.merge, &named, &reports) {
            let made = self.make(&object.spec, &findings).await?;
            let annotations = provenance::annotations(
                &format!("{}/{recording}", self.namespace),
                &findings,
                &made,
                (end, images),
            );
            said += &plan::summary(&findings, &made);
            profiles.push((plan::profile(&name, &annotations, &made), name));
        }
        let texts: Result<Vec<_>, _> = profiles
            .iter()
            .map(|(profile, _)| output::yaml(profile))
            .collect();
        let text = texts?.join("---\n");
        match &self.args.output {
            Some(file) => std::fs::write(file, &text)
                .with_context(|| format!("cannot write {}", file.display()))
                .map_err(Failure::Other)?,
            None => output::print(&text)?,
        }
        eprint!("{said}");
        if self.args.apply {
            let api: Api<SeccompProfile> = Api::all(self.client());
            for (profile, name) in profiles {
                let object: SeccompProfile = serde_json::from_value(profile)?;
                let created = api.create(&PostParams::default(), &object).await;
                created
                    .with_context(|| format!("cannot make the SeccompProfile {name:?}"))
                    .map_err(Failure::Other)?;
                eprintln!("SeccompProfile {name} was made; no pod uses it yet");
            }
        }
        Ok(Outcome::None)
    }

    async fn make(
        &self,
        spec: &SeccompRecordingSpec,
        findings: &Findings,
    ) -> Result<Made, Failure> {
        let base = spec.base.as_str();
        let assumed: Vec<_> = seccomp_recorder::assumed().collect();
        let arguments = spec.arguments.iter();
        let arguments: Vec<_> = arguments.filter_map(CallArgument::known).collect();
        let options = Options {
            assumed: &assumed,
            without_exec: self.args.without_exec,
            arguments: &arguments,
        };
        let mut library = Library::default();
        if builtin(base).is_none() {
            library = stored::listed(&self.cluster).await?;
        }
        let of = |arch| {
            let target = Target {
                arch,
                kernel: KernelVersion::CURRENT,
                capabilities: CapabilitySet::RUNTIME_DEFAULT,
            };
            match builtin(base) {
                Some(document) => document
                    .resolve(&target)
                    .canonical("base")
                    .map_err(|problems| problems.to_string()),
                None => library
                    .compose(base, &target, "base")
                    .map_err(|error| error.to_string()),
            }
        };
        Ok(make(findings, options, of)?)
    }

    async fn selector(&self, workload: &Workload) -> Result<LabelSelector, Failure> {
        let (name, namespace) = (&workload.name, &self.namespace);
        let asked = async {
            Ok::<_, kube::Error>(match workload.kind {
                Kind::Deployment => Api::<Deployment>::namespaced(self.client(), namespace)
                    .get(name)
                    .await?
                    .spec
                    .map(|spec| spec.selector),
                Kind::StatefulSet => Api::<StatefulSet>::namespaced(self.client(), namespace)
                    .get(name)
                    .await?
                    .spec
                    .map(|spec| spec.selector),
                Kind::DaemonSet => Api::<DaemonSet>::namespaced(self.client(), namespace)
                    .get(name)
                    .await?
                    .spec
                    .map(|spec| spec.selector),
            })
        };
        let found = asked
            .await
            .with_context(|| format!("cannot read {name} in namespace {namespace}"))
            .map_err(Failure::Other)?;
        Ok(found.unwrap_or_default())
    }

    async fn restart(&self, workload: &Workload) -> Result<(), Failure> {
        let target = Restarted {
            namespace: self.namespace.clone(),
            kind: workload.kind,
            name: workload.name.clone(),
        };
        restart(&self.client(), &target).await
    }

    /// Removes the recording first: pods that are made before would be recorded again.
    async fn take_back(
        &self,
        workload: &Workload,
        name: &str,
        restarted: bool,
    ) -> Result<(), Failure> {
        let removed = self
            .recordings()
            .delete(name, &DeleteParams::default())
            .await;
        let remedy = || {
            format!(
                "cannot remove the recording; run: kubectl delete seccomprecording {name} -n {}",
                self.namespace
            )
        };
        removed.with_context(remedy).map_err(Failure::Other)?;
        if restarted {
            // Admission hears of it by its watch.
            tokio::time::sleep(LOOK_EVERY).await;
            self.restart(workload).await?;
        }
        Ok(())
    }
}
