//! `kubectl seccomp denials`: what profiles have refused, killed and logged, from the reports of all nodes' recorders and audit readers.

mod hearing;
mod suggest;
mod suggested;
mod watch;

use std::fmt::Write as _;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use super::cluster::{Cluster, ClusterArgs, Refusal, block_on};
use super::status::profiles;
use super::stored::library;
use super::table::Table;
use super::text::Style;
use super::{Failure, Findings, output};
use hearing::Heard;
use seccomp_operator_api::{
    Denial, ObservedDenial, RecordedArgument, SeccompAuditReport, SeccompDenialReport,
    StoredProfile,
};
use seccomp_profile::Arch;
use suggested::Suggested;

/// Examples, for `--help`.
pub const EXAMPLES: &str = "Examples:
  kubectl seccomp denials -n shop
  kubectl seccomp denials -n shop web-7d4b9c6f5-x2x7k
  kubectl seccomp denials -A --profile no-chmod
  kubectl seccomp denials -A -o json | jq -r '.denials[].call' | sort -u

  # What is refused from now on
  kubectl seccomp denials -n shop --watch

  # The changes to the profiles that would allow it: to be read first, then applied
  kubectl seccomp denials -n shop --suggest
  kubectl seccomp denials -n shop --suggest -o yaml | kubectl apply -f -

Recorders hear what profiles with `spec.observe: true` refuse; audit readers (audit.enabled in the chart) hear what seccomp kills and logs, whoever's
profile it is. A node reports once a minute.

Exit codes: 0 nothing was refused or killed (what was only logged happened), 1 something was, 2 wrong use or no answer.";

/// Arguments of `denials`.
#[derive(Args, Debug)]
pub struct DenialsArgs {
    /// Only this pod.
    pod: Option<String>,
    /// The namespace [default: that of the kubeconfig's context].
    #[arg(short, long, value_name = "NAME", conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// All namespaces.
    #[arg(short = 'A', long, conflicts_with = "pod")]
    all_namespaces: bool,
    /// Only what this profile refused.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Go on: a line whenever a node reports that something was refused again.
    #[arg(short, long, conflicts_with = "suggest")]
    watch: bool,
    /// Instead: how the profiles would have to change to allow what they refused, and what else that opens. Nothing is written.
    #[arg(long)]
    suggest: bool,
    /// The output format.
    #[arg(short, long, value_enum, default_value_t = DenialsFormat::Text)]
    output: DenialsFormat,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DenialsFormat {
    /// For people.
    Text,
    /// For programs; with --watch an object a line.
    Json,
    /// With --suggest: the profiles, changed, for `kubectl apply`.
    Yaml,
}

/// Runs the subcommand.
pub fn run(args: &DenialsArgs) -> Result<Findings, Failure> {
    if args.output == DenialsFormat::Yaml && !args.suggest {
        return Err(Failure::Usage(
            "-o yaml is for --suggest; use -o json".into(),
        ));
    }
    block_on(ask(args))
}

async fn ask(args: &DenialsArgs) -> Result<Findings, Failure> {
    let cluster = args.cluster.connect().await?;
    let reports = Reports {
        recorders: Api::all(cluster.client.clone()),
        readers: Api::all(cluster.client.clone()),
    };
    let kind = "seccompdenialreports.seccomp-operator.io";
    let everything = ListParams::default();
    let listed = cluster.list(&reports.recorders, &everything, kind, "the cluster");
    let listed = listed.await;
    let mut listed = Listed {
        recorders: listed.map_err(|refusal| Failure::Other(anyhow!(refusal)))?,
        readers: Vec::new(),
    };
    let kind = "seccompauditreports.seccomp-operator.io";
    let heard = cluster.list(&reports.readers, &everything, kind, "the cluster");
    let has_readers = match heard.await {
        Ok(heard) => {
            listed.readers = heard;
            true
        }
        // An operator of before there were any.
        Err(Refusal::Unknown(_)) => false,
        Err(Refusal::Forbidden(why)) => {
            eprintln!("note: without what audit readers heard: {why}");
            false
        }
        Err(refusal @ Refusal::Other(_)) => return Err(Failure::Other(anyhow!(refusal))),
    };
    let own = args.namespace.as_ref().unwrap_or(&cluster.namespace);
    let wanted = Wanted {
        namespace: (!args.all_namespaces).then_some(own.as_str()),
        pod: args.pod.as_deref(),
        profile: args.profile.as_deref(),
    };
    let found = Found::among(&listed, &wanted);
    let findings = if found.denials.iter().any(|denial| !denial.happened()) {
        Findings::Some(String::new())
    } else {
        Findings::None
    };
    if args.suggest && !found.denials.is_empty() {
        output::print(suggest(&cluster, &found, args.output).await?)?;
        return Ok(findings);
    }
    output::print(match args.output {
        DenialsFormat::Text | DenialsFormat::Yaml => found.text(Style::for_stdout()),
        DenialsFormat::Json if args.watch => String::new(),
        DenialsFormat::Json => output::json(&found)?,
    })?;
    if args.watch {
        let readers = has_readers.then_some(reports.readers);
        watch::watch(reports.recorders, readers, &listed, &wanted, args.output).await?;
    }
    Ok(findings)
}

struct Reports {
    recorders: Api<SeccompDenialReport>,
    readers: Api<SeccompAuditReport>,
}

/// The reports that there are.
#[derive(Debug, Default)]
struct Listed {
    recorders: Vec<SeccompDenialReport>,
    readers: Vec<SeccompAuditReport>,
}

async fn suggest(
    cluster: &Cluster,
    found: &Found,
    format: DenialsFormat,
) -> Result<String, Failure> {
    let stored = profiles(cluster).await?.into_iter();
    let read: Vec<_> = stored.map(StoredProfile::read).collect();
    let library = library(&read);
    let readable: Vec<_> = read.into_iter().flatten().collect();
    let denials = found.denials.iter().filter_map(|on_node| {
        // What others' profiles do is not for the operator to change.
        Some((on_node.profile.as_deref()?, &on_node.denial))
    });
    let suggested = Suggested::new(denials, &readable, &library);
    match format {
        DenialsFormat::Text => suggested.text(Style::for_stdout()),
        DenialsFormat::Json => output::json(&suggested.data()?),
        DenialsFormat::Yaml => suggested.manifests(),
    }
}

/// Whose denials are asked for.
struct Wanted<'a> {
    /// None for all.
    namespace: Option<&'a str>,
    pod: Option<&'a str>,
    profile: Option<&'a str>,
}

impl Wanted<'_> {
    fn is(&self, on_node: &OnNode) -> bool {
        let OnNode {
            profile, denial, ..
        } = on_node;
        let profile = profile.as_deref().unwrap_or_default();
        let holds = |wanted: Option<&str>, is: &str| wanted.is_none_or(|wanted| wanted == is);
        holds(self.namespace, &denial.namespace)
            && holds(self.pod, &denial.pod)
            && holds(self.profile, profile)
    }
}

/// What was found: what did not happen first, then the most frequent.
#[derive(Debug, Serialize)]
struct Found {
    denials: Vec<OnNode>,
    /// Denials of any pods that did not fit into the reports of their nodes.
    more: i64,
    /// How many nodes have a report.
    nodes: usize,
    /// What is known of audit readers, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<Heard>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct OnNode {
    node: String,
    /// The SeccompProfile; none where the container states something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    /// What it states.
    #[serde(skip_serializing_if = "Option::is_none")]
    stated: Option<String>,
    #[serde(flatten)]
    denial: Denial,
}

impl OnNode {
    fn of_recorder(report: &SeccompDenialReport) -> impl Iterator<Item = Self> {
        let denials = report.spec.denials.iter();
        denials.map(|ObservedDenial { profile, denial }| Self {
            node: report.spec.node.clone(),
            profile: Some(profile.clone()),
            stated: None,
            denial: denial.clone(),
        })
    }

    fn of_reader(report: &SeccompAuditReport) -> impl Iterator<Item = Self> {
        let calls = report.spec.calls.iter().cloned();
        calls.map(|call| Self {
            node: report.spec.node.clone(),
            profile: call.profile,
            stated: call.stated,
            denial: call.denial,
        })
    }

    /// Whether the call happened, and was only logged.
    fn happened(&self) -> bool {
        self.denial.outcome.happened()
    }

    /// Under what it was called, for people.
    fn under(&self) -> &str {
        let stated = self.profile.as_deref().or(self.stated.as_deref());
        stated.unwrap_or("(none stated)")
    }
}

impl Found {
    fn among(reports: &Listed, wanted: &Wanted<'_>) -> Self {
        let recorded = reports.recorders.iter().flat_map(OnNode::of_recorder);
        let heard = reports.readers.iter().flat_map(OnNode::of_reader);
        let denials = recorded.chain(heard).filter(|on_node| wanted.is(on_node));
        let mut denials: Vec<_> = denials.collect();
        // Each report is in a fixed order already.
        denials.sort_by_key(|of| (of.happened(), std::cmp::Reverse(of.denial.count)));
        let more = reports.recorders.iter().map(|report| report.spec.more);
        let more = more.chain(reports.readers.iter().map(|report| report.spec.more));
        Self {
            denials,
            more: more.map(i64::from).sum(),
            nodes: reports.recorders.len(),
            audit: Heard::of(&reports.readers),
        }
    }

    fn text(&self, style: Style) -> String {
        let mut text = if self.denials.is_empty() {
            self.nothing().to_owned()
        } else {
            self.table(style)
        };
        if self.more > 0 {
            let _ = writeln!(
                text,
                "{} rarer calls of pods did not fit into the reports of their nodes",
                self.more
            ); // a string takes all
        }
        if let Some(audit) = &self.audit {
            text += &audit.text();
        }
        text
    }

    fn nothing(&self) -> &'static str {
        if self.nodes == 0 && self.audit.is_none() {
            "No node has reported a refused call: either no profile is observed (spec.observe), or none has refused any.\n"
        } else {
            "Of what you asked for nothing was refused.\n"
        }
    }

    fn table(&self, style: Style) -> String {
        let mut table = Table::new([
            "NAMESPACE",
            "POD",
            "CONTAINER",
            "CALL",
            "OUTCOME",
            "COUNT",
            "LAST",
            "ARGUMENTS",
            "PROFILE",
        ]);
        for on_node in &self.denials {
            let denial = &on_node.denial;
            let [namespace, pod, container, call, count, last, arguments] = cells(denial);
            // Recorders alone hear nothing but what is refused: a column that says nothing is left out.
            let outcome = self.audit.as_ref().map(|_| denial.outcome.word());
            let outcome = outcome.unwrap_or_default().to_owned();
            let profile = on_node.under().to_owned();
            table.row([
                namespace, pod, container, call, outcome, count, last, arguments, profile,
            ]);
        }
        table.lines(style)
    }
}

/// The columns of a table that are about the call: namespace, pod, container, call, count, last time, arguments.
pub fn cells(denial: &Denial) -> [String; 7] {
    let last = denial.last_seen.as_ref();
    [
        denial.namespace.clone(),
        denial.pod.clone(),
        denial.container.clone(),
        call(denial),
        denial.count.to_string(),
        last.map_or_else(String::new, |time| time.0.to_string()),
        arguments(&denial.arguments),
    ]
}

/// The call, and through which architecture where that is one of 32 bits.
fn call(denial: &Denial) -> String {
    match Arch::named(&denial.architecture) {
        Some(arch) if !arch.is_64_bit() => format!("{} ({arch})", denial.call),
        _ => denial.call.clone(),
    }
}

/// As `0: 0x26, 0x28; 1: any`.
fn arguments(arguments: &[RecordedArgument]) -> String {
    let argument = |argument: &RecordedArgument| {
        let mut values = argument.values.clone();
        if argument.more {
            values.push(if values.is_empty() { "any" } else { "..." }.to_owned());
        }
        format!("{}: {}", argument.index, values.join(", "))
    };
    let all: Vec<_> = arguments.iter().map(argument).collect();
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn denial(namespace: &str, pod: &str, call: &str, count: i64, more: &Value) -> Value {
        let mut denial = json!({
            "profile": "tight", "namespace": namespace, "pod": pod, "podUid": "u", "container": "web", "call": call,
            "architecture": "SCMP_ARCH_X86_64", "count": count, "firstSeen": "2026-01-01T00:00:00Z", "lastSeen": "2026-01-01T00:00:09Z",
        });
        let more = more.as_object().into_iter().flatten();
        for (name, value) in more {
            denial[name] = value.clone();
        }
        denial
    }

    fn reports() -> Listed {
        let report = |node: &str, denials: Vec<Value>, more: i32| -> SeccompDenialReport {
            let report = json!({
                "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompDenialReport", "metadata": {"name": node},
                "node": node, "recorderVersion": "1", "denials": denials, "more": more,
            });
            serde_json::from_value(report).unwrap()
        };
        let socket = json!({"arguments": [{"index": 0, "values": ["0x26", "0x28"]}, {"index": 1, "more": true}], "profile": "other"});
        let narrow = json!({"architecture": "SCMP_ARCH_X86"});
        let first = vec![
            denial("shop", "web-0", "mount", 3, &Value::Null),
            denial("bank", "api-0", "mount", 1, &Value::Null),
        ];
        let second = vec![
            denial("shop", "web-1", "socket", 70, &socket),
            denial("shop", "web-1", "chmod", 2, &narrow),
        ];
        Listed {
            recorders: vec![report("n1", first, 0), report("n2", second, 5)],
            readers: Vec::new(),
        }
    }

    fn found(namespace: Option<&str>, pod: Option<&str>, profile: Option<&str>) -> Found {
        let wanted = Wanted {
            namespace,
            pod,
            profile,
        };
        Found::among(&reports(), &wanted)
    }

    #[test]
    fn what_was_refused_on_all_nodes_is_a_table_with_the_most_frequent_first() {
        assert_eq!(
            found(Some("shop"), None, None).text(Style::plain()),
            "\
NAMESPACE   POD     CONTAINER   CALL                    COUNT   LAST                   ARGUMENTS               PROFILE
shop        web-1   web         socket                  70      2026-01-01T00:00:09Z   0: 0x26, 0x28; 1: any   other
shop        web-0   web         mount                   3       2026-01-01T00:00:09Z                           tight
shop        web-1   web         chmod (SCMP_ARCH_X86)   2       2026-01-01T00:00:09Z                           tight
5 rarer calls of pods did not fit into the reports of their nodes
"
        );
    }

    #[test]
    fn a_namespace_a_pod_or_a_profile_is_chosen() {
        let count = |found: &Found| found.denials.len();
        assert_eq!(count(&found(None, None, None)), 4);
        assert_eq!(count(&found(Some("shop"), Some("web-0"), None)), 1);
        assert_eq!(count(&found(None, None, Some("other"))), 1);
        let none = found(Some("elsewhere"), None, None).text(Style::plain());
        assert!(none.starts_with("Of what you asked for nothing"), "{none}");
        let wanted = Wanted {
            namespace: None,
            pod: None,
            profile: None,
        };
        let none = Found::among(&Listed::default(), &wanted).text(Style::plain());
        assert!(none.contains("no profile is observed"), "{none}");
    }

    #[test]
    fn programs_get_the_same_with_the_node() {
        let json = serde_json::to_value(found(Some("bank"), None, None)).unwrap();
        let denial = &json["denials"][0];
        assert_eq!(
            (&denial["node"], &denial["pod"], &denial["count"]),
            (&json!("n1"), &json!("api-0"), &json!(1))
        );
        assert_eq!(json["more"], 5);
    }

    #[test]
    fn what_audit_readers_hear_stands_beside_it_with_what_became_of_it() {
        let mut reports = reports();
        let killed = json!({"outcome": "Killed"});
        let logged = json!({"outcome": "Logged", "stated": "RuntimeDefault", "profile": null});
        let heard = json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompAuditReport", "metadata": {"name": "n1"},
            "node": "n1", "readerVersion": "1", "hearing": {"hears": true}, "lost": 7,
            "calls": [denial("shop", "web-0", "ptrace", 1, &killed), denial("shop", "web-0", "chmod", 900, &logged)],
        });
        reports.readers = vec![serde_json::from_value(heard).unwrap()];
        let mut wanted = Wanted {
            namespace: Some("shop"),
            pod: Some("web-0"),
            profile: None,
        };
        let found = Found::among(&reports, &wanted);
        assert_eq!(
            found.text(Style::plain()),
            "\
NAMESPACE   POD     CONTAINER   CALL     OUTCOME   COUNT   LAST                   PROFILE
shop        web-0   web         mount    refused   3       2026-01-01T00:00:09Z   tight
shop        web-0   web         ptrace   killed    1       2026-01-01T00:00:09Z   tight
shop        web-0   web         chmod    logged    900     2026-01-01T00:00:09Z   RuntimeDefault
5 rarer calls of pods did not fit into the reports of their nodes
7 audit records were lost on their nodes: what is counted may be less than what was called
"
        );
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(
            (&json["denials"][2]["stated"], &json["audit"]["lost"]),
            (&json!("RuntimeDefault"), &json!(7))
        );
        assert!(json["denials"][2].get("profile").is_none());
        wanted.profile = Some("tight");
        assert_eq!(Found::among(&reports, &wanted).denials.len(), 2);
    }
}
