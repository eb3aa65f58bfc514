//! What the chart promises, asked of the real helm: no cluster is needed, and none is touched.
//!
//! `HELM` names the helm to run (default: the one on `PATH`). Without one every test here fails: a chart that nobody rendered
//! is not a chart that was tested.

#[path = "chart/engines.rs"]
mod engines;
#[path = "chart/injection.rs"]
mod injection;
#[path = "chart/monitoring.rs"]
mod monitoring;
#[path = "chart/own_node.rs"]
mod own_node;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/seccomp-operator");
/// The oldest version that the product supports.
const OLDEST: &str = "1.20.2";
const CURRENT: &str = "1.36.2";
const RELEASE: &str = "rel";
const NAMESPACE: &str = "security";

// ---- running helm -------------------------------------------------------------------------------------------------

/// Runs helm with `values` on its standard input, away from the user's cluster and settings.
fn helm(args: &[&str], values: &Value) -> Result<Output> {
    let program = std::env::var("HELM").unwrap_or_else(|_| "helm".to_owned());
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm");
    let mut child = Command::new(&program)
        .args(args)
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_DATA_HOME", home.join("data"))
        .env("KUBECONFIG", home.join("no-cluster"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!("could not run {program:?}; set HELM to a helm of version 3.8 or newer")
        })?;
    let written = child
        .stdin
        .take()
        .context("helm has no standard input")?
        .write_all(values.to_string().as_bytes());
    let output = child.wait_with_output()?;
    // A helm that refuses its arguments does not read the values; what it printed says more than the broken pipe.
    if output.status.success() {
        written.context("could not write the values")?;
    }
    Ok(output)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeed(args: &[&str], values: &Value) -> Result<String> {
    let output = helm(args, values)?;
    ensure!(
        output.status.success(),
        "helm {args:?} with {values}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

fn render_as(
    release: &str,
    namespace: &str,
    kubernetes: &str,
    values: &Value,
) -> Result<Vec<Value>> {
    let args = [
        "template",
        release,
        CHART,
        "--namespace",
        namespace,
        "--kube-version",
        kubernetes,
        "--values",
        "-",
    ];
    documents(&succeed(&args, values)?)
}

fn render(kubernetes: &str, values: &Value) -> Result<Vec<Value>> {
    render_as(RELEASE, NAMESPACE, kubernetes, values)
}

/// What helm says when it refuses the values.
fn refusal(values: &Value) -> Result<String> {
    let output = helm(&["template", RELEASE, CHART, "--values", "-"], values)?;
    ensure!(!output.status.success(), "{values} was accepted");
    Ok(text(&output.stderr))
}

/// The notes that helm prints after an install.
fn notes(namespace: &str, values: &Value) -> Result<String> {
    let args = [
        "install",
        RELEASE,
        CHART,
        "--namespace",
        namespace,
        "--dry-run=client",
        "--values",
        "-",
    ];
    let printed = succeed(&args, values)?;
    let (_, notes) = printed
        .split_once("\nNOTES:\n")
        .context("helm printed no notes")?;
    Ok(notes.to_owned())
}

// ---- reading what it rendered -------------------------------------------------------------------------------------

fn documents(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

fn file(path: &str) -> Result<String> {
    let path = Path::new(CHART).join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn yaml_file(path: &str) -> Result<Value> {
    documents(&file(path)?)?
        .into_iter()
        .next()
        .with_context(|| format!("{path} is empty"))
}

fn string<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .with_context(|| format!("no string at {pointer} in {value}"))
}

fn list<'a>(value: &'a Value, pointer: &str) -> Result<&'a Vec<Value>> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .with_context(|| format!("no list at {pointer} in {value}"))
}

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

fn all<'a>(objects: &'a [Value], wanted: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| kind(object) == wanted)
}

/// The one object of this kind.
fn only<'a>(objects: &'a [Value], wanted: &'a str) -> Result<&'a Value> {
    let found: Vec<_> = all(objects, wanted).collect();
    match found[..] {
        [object] => Ok(object),
        _ => bail!("{} objects of kind {wanted}, not one", found.len()),
    }
}

fn container(workload: &Value) -> Result<&Value> {
    match &list(workload, "/spec/template/spec/containers")?[..] {
        [container] => Ok(container),
        more => bail!("{} containers, not one", more.len()),
    }
}

fn args(workload: &Value) -> Result<Vec<&str>> {
    Ok(list(container(workload)?, "/args")?
        .iter()
        .filter_map(Value::as_str)
        .collect())
}

/// The value of `--name=value` among a workload's arguments.
fn arg<'a>(workload: &'a Value, name: &str) -> Result<&'a str> {
    let prefix = format!("--{name}=");
    args(workload)?
        .into_iter()
        .find_map(|arg| arg.strip_prefix(&prefix))
        .with_context(|| format!("no argument {prefix}"))
}

fn workloads(objects: &[Value]) -> Result<[(&str, &Value); 2]> {
    Ok([
        ("controller", only(objects, "Deployment")?),
        ("agent", only(objects, "DaemonSet")?),
    ])
}

/// `Kind namespace/name`, by which the API server tells objects apart.
fn identity(object: &Value) -> Result<String> {
    let namespace = object
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Ok(format!(
        "{} {namespace}/{}",
        kind(object),
        string(object, "/metadata/name")?
    ))
}

/// A role's rules, one line for each resource.
fn rules(role: &Value) -> Result<BTreeSet<String>> {
    let mut lines = BTreeSet::new();
    for rule in list(role, "/rules")? {
        let joined = |field: &str| -> String {
            rule[field]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let names = joined("resourceNames");
        let names = if names.is_empty() {
            names
        } else {
            format!(" [{names}]")
        };
        for resource in list(rule, "/resources")? {
            let group = joined("apiGroups");
            let resource = resource.as_str().context("a resource is no string")?;
            lines.insert(format!("{group}/{resource}{names}: {}", joined("verbs")));
        }
        ensure!(rule.get("nonResourceURLs").is_none(), "{rule}");
    }
    Ok(lines)
}

fn lines(expected: &[&str]) -> BTreeSet<String> {
    expected.iter().map(|&line| line.to_owned()).collect()
}

// ---- the chart as a whole -----------------------------------------------------------------------------------------

#[test]
fn the_chart_passes_the_strict_lint() -> Result<()> {
    for version in [OLDEST, CURRENT] {
        let printed = succeed(
            &["lint", "--strict", CHART, "--kube-version", version],
            &json!({}),
        )?;
        assert!(!printed.contains("[INFO]"), "{printed}");
    }
    Ok(())
}

#[test]
fn the_defaults_render_the_same_kinds_of_objects_wherever_there_are_such_kinds() -> Result<()> {
    for version in [OLDEST, CURRENT] {
        let objects = render(version, &json!({}))?;
        let mut counts = BTreeMap::new();
        for object in &objects {
            *counts.entry(kind(object)).or_insert(0) += 1;
        }
        let mut expected = BTreeMap::from([
            ("ClusterRole", 2),
            ("ClusterRoleBinding", 2),
            ("CustomResourceDefinition", 3),
            ("DaemonSet", 1),
            ("Deployment", 1),
            ("Job", 1),
            ("MutatingWebhookConfiguration", 1),
            ("PodDisruptionBudget", 1),
            ("Role", 2),
            ("RoleBinding", 2),
            ("Service", 1),
            ("ServiceAccount", 2),
            ("ValidatingWebhookConfiguration", 1),
        ]);
        if version == CURRENT {
            expected.insert("ValidatingAdmissionPolicy", 1);
            expected.insert("ValidatingAdmissionPolicyBinding", 1);
        }
        assert_eq!(counts, expected, "for Kubernetes {version}");
    }
    Ok(())
}

#[test]
fn an_older_kubernetes_than_the_oldest_supported_is_refused() -> Result<()> {
    let output = helm(
        &["template", RELEASE, CHART, "--kube-version", "1.19.16"],
        &json!({}),
    )?;
    assert!(!output.status.success());
    assert!(
        text(&output.stderr).contains("kubeVersion"),
        "{}",
        text(&output.stderr)
    );
    Ok(())
}

#[test]
fn the_versions_of_chart_image_and_workspace_agree() -> Result<()> {
    let chart = yaml_file("Chart.yaml")?;
    assert_eq!(string(&chart, "/appVersion")?, env!("CARGO_PKG_VERSION"));
    let dockerfile = file("../../Dockerfile")?;
    assert!(
        dockerfile.contains(concat!("ARG VERSION=", env!("CARGO_PKG_VERSION"), "\n")),
        "the Dockerfile's VERSION differs"
    );
    Ok(())
}

#[test]
fn every_object_has_the_recommended_labels() -> Result<()> {
    let values =
        json!({"commonLabels": {"team": "security", "app.kubernetes.io/name": "not-ours"}});
    for object in render(CURRENT, &values)? {
        let id = identity(&object)?;
        let labels = &object["metadata"]["labels"];
        for (label, expected) in [
            ("app.kubernetes.io/name", "seccomp-operator"),
            ("app.kubernetes.io/instance", RELEASE),
            ("app.kubernetes.io/part-of", "seccomp-operator"),
            ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION")),
            ("app.kubernetes.io/managed-by", "Helm"),
            ("team", "security"),
        ] {
            assert_eq!(labels[label], expected, "{label} of {id}");
        }
        assert!(labels["app.kubernetes.io/component"].is_string(), "{id}");
        assert!(labels["helm.sh/chart"].is_string(), "{id}");
    }
    Ok(())
}

#[test]
fn every_value_is_in_the_readme_with_its_default() -> Result<()> {
    fn leaves(path: &str, value: &Value, found: &mut Vec<String>) {
        match value.as_object() {
            Some(map) if !map.is_empty() => {
                for (key, value) in map {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    leaves(&path, value, found);
                }
            }
            _ => found.push(path.to_owned()),
        }
    }
    let values = yaml_file("values.yaml")?;
    let readme = file("README.md")?;
    let (_, table) = readme
        .split_once("## Values")
        .context("the README has no section Values")?;
    let mut rows = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        let (key, default) = (cells[1], cells[2]);
        let value = values
            .pointer(&format!("/{}", key.replace('.', "/")))
            .with_context(|| format!("values.yaml has no {key}"))?;
        let stated: Value = serde_json::from_str(default)
            .with_context(|| format!("the default of {key} is no JSON"))?;
        assert_eq!(&stated, value, "the README's default of {key}");
        assert!(rows.insert(key.to_owned()), "{key} is there twice");
    }
    let mut keys = Vec::new();
    leaves("", &values, &mut keys);
    let covered = |key: &String| {
        rows.iter()
            .any(|row| key == row || key.starts_with(&format!("{row}.")))
    };
    let missing: Vec<_> = keys.into_iter().filter(|key| !covered(key)).collect();
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "values that the README does not have"
    );
    Ok(())
}

// ---- names --------------------------------------------------------------------------------------------------------

#[test]
fn releases_in_one_cluster_share_no_object() -> Result<()> {
    let long = "a-release-whose-name-is-as-long-as-helm-allows-it-to-";
    assert_eq!(long.len(), 53);
    let twin = format!("{}x", &long[..52]);
    let long = format!("{}y", &long[..52]);
    let mut owners: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for (release, namespace) in [
        ("one", "first"),
        ("two", "first"),
        ("one", "second"),
        ("seccomp-operator", "first"),
        ("seccomp-operator", "seccomp-operator"),
        (&long, "first"),
        (&twin, "first"),
    ] {
        // The definitions are there once in a cluster, whoever brings them.
        let objects = render_as(
            release,
            namespace,
            CURRENT,
            &json!({"crds": {"enabled": false}}),
        )?;
        let controller = only(&objects, "Deployment")?;
        let mut names = objects.iter().map(identity).collect::<Result<Vec<_>>>()?;
        // Not in the release, but made by its controller.
        names.push(format!(
            "Secret {namespace}/{}",
            arg(controller, "webhook-secret")?
        ));
        names.push(format!(
            "Lease {namespace}/{}",
            arg(controller, "lease-name")?
        ));
        for name in names {
            let other = owners.insert(name.clone(), (release, namespace));
            assert_eq!(other, None, "{release} in {namespace} has the same {name}");
        }
    }
    Ok(())
}

#[test]
fn names_stay_within_their_limits_whatever_the_release_is_called() -> Result<()> {
    // The second makes names that are too long only with their suffixes.
    let (long, longish) = ("r".repeat(53), "r".repeat(42));
    for release in [
        long.as_str(),
        longish.as_str(),
        "1",
        "1password",
        "true",
        "a.b.c",
        "seccomp-operator",
    ] {
        for namespace in ["n".repeat(63).as_str(), "123", "null"] {
            let objects = render_as(release, namespace, CURRENT, &json!({}))?;
            for object in &objects {
                let name = string(object, "/metadata/name")?;
                // The right to write Events lies in `default`, under a name as objects without a namespace have it: several
                // releases can meet there. Role and RoleBinding take such names.
                let shared = object["metadata"]["namespace"] == "default"
                    && ["Role", "RoleBinding"].contains(&kind(object));
                let limit = if object["metadata"]["namespace"].is_null() || shared {
                    253
                } else {
                    63
                };
                assert!(name.len() <= limit, "{}", identity(object)?);
                if let Some(stated) = object["metadata"].get("namespace").filter(|_| !shared) {
                    assert_eq!(stated, namespace);
                    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                    assert!(name.chars().all(label), "{name} is no DNS label");
                    // A Service's name may not begin with a digit.
                    assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
                }
                for (label, value) in object["metadata"]["labels"]
                    .as_object()
                    .into_iter()
                    .flatten()
                {
                    let value = value
                        .as_str()
                        .with_context(|| format!("{label} of {name} is no string"))?;
                    assert!(value.len() <= 63, "{label} of {name}");
                }
            }
            let controller = only(&objects, "Deployment")?;
            for flag in ["webhook-secret", "lease-name"] {
                assert!(arg(controller, flag)?.len() <= 63, "{flag}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_points_at_an_object_points_at_one_of_the_release() -> Result<()> {
    let long = "r".repeat(53);
    for release in [RELEASE, &long] {
        let objects = render_as(release, NAMESPACE, CURRENT, &json!({}))?;
        let name = |kind: &'static str| string(only(&objects, kind)?, "/metadata/name");
        let controller = only(&objects, "Deployment")?;
        assert_eq!(
            arg(controller, "mutating-webhook-configuration")?,
            name("MutatingWebhookConfiguration")?
        );
        assert_eq!(
            arg(controller, "validating-webhook-configuration")?,
            name("ValidatingWebhookConfiguration")?
        );
        assert_eq!(arg(controller, "webhook-service")?, name("Service")?);
        for configuration in [
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
        ] {
            for webhook in list(only(&objects, configuration)?, "/webhooks")? {
                let service = &webhook["clientConfig"]["service"];
                assert_eq!(service["name"], name("Service")?);
                assert_eq!(service["namespace"], NAMESPACE);
                assert_eq!(
                    service["port"],
                    only(&objects, "Service")?["spec"]["ports"][0]["port"]
                );
            }
        }
        for (component, workload) in workloads(&objects)? {
            let account = string(workload, "/spec/template/spec/serviceAccountName")?;
            assert!(
                all(&objects, "ServiceAccount").any(|object| object["metadata"]["name"] == account),
                "{component}"
            );
        }
    }
    Ok(())
}

#[test]
fn selectors_select_the_pods_of_one_component_only() -> Result<()> {
    // The user's labels must not be able to change what is selected.
    let labels = json!({"app.kubernetes.io/component": "mine", "extra": "label"});
    let objects = render(
        CURRENT,
        &json!({"controller": {"podLabels": labels}, "agent": {"podLabels": labels}}),
    )?;
    let [(_, controller), (_, agent)] = workloads(&objects)?;
    let selects = |selector: &Value, workload: &Value| {
        let labels = &workload["spec"]["template"]["metadata"]["labels"];
        selector
            .as_object()
            .is_some_and(|selector| selector.iter().all(|(key, value)| labels[key] == *value))
    };
    for (selector, selected, other) in [
        (
            &controller["spec"]["selector"]["matchLabels"],
            controller,
            agent,
        ),
        (&agent["spec"]["selector"]["matchLabels"], agent, controller),
        (
            &only(&objects, "Service")?["spec"]["selector"],
            controller,
            agent,
        ),
        (
            &only(&objects, "PodDisruptionBudget")?["spec"]["selector"]["matchLabels"],
            controller,
            agent,
        ),
        (
            &controller["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]
                ["matchLabels"],
            controller,
            agent,
        ),
        (
            &controller["spec"]["template"]["spec"]["topologySpreadConstraints"][1]["labelSelector"]
                ["matchLabels"],
            controller,
            agent,
        ),
    ] {
        assert!(
            selects(selector, selected),
            "{selector} does not select its pods"
        );
        assert!(
            !selects(selector, other),
            "{selector} selects the other component's pods"
        );
        assert!(
            selector.get("app.kubernetes.io/version").is_none(),
            "{selector} would change with the version"
        );
    }
    assert_eq!(
        agent["spec"]["template"]["metadata"]["labels"]["extra"],
        "label"
    );
    let flag: serde_json::Map<_, _> = arg(controller, "agent-selector")?
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    assert_eq!(
        Value::Object(flag),
        agent["spec"]["selector"]["matchLabels"]
    );
    Ok(())
}

// ---- workloads ----------------------------------------------------------------------------------------------------

#[test]
fn every_workload_has_the_promised_security_context() -> Result<()> {
    for version in [OLDEST, CURRENT] {
        let objects = render(version, &json!({}))?;
        for (component, workload) in workloads(&objects)? {
            let pod = &workload["spec"]["template"]["spec"];
            let context = &container(workload)?["securityContext"];
            assert_eq!(
                pod["securityContext"]["seccompProfile"],
                json!({"type": "RuntimeDefault"}),
                "{component}"
            );
            assert_eq!(
                context["seccompProfile"],
                json!({"type": "RuntimeDefault"}),
                "{component}"
            );
            assert_eq!(context["allowPrivilegeEscalation"], false, "{component}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{component}");
            assert_eq!(
                context["capabilities"],
                json!({"drop": ["ALL"]}),
                "{component}"
            );
            assert!(context.get("privileged").is_none(), "{component}");
            for namespace in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
                assert!(pod.get(namespace).is_none(), "{component}: {namespace}");
            }
            for more in ["initContainers", "ephemeralContainers"] {
                assert!(pod.get(more).is_none(), "{component}: {more}");
            }
        }
        let [(_, controller), (_, agent)] = workloads(&objects)?;
        let user = &controller["spec"]["template"]["spec"]["securityContext"];
        assert_eq!(
            (&user["runAsNonRoot"], &user["runAsUser"]),
            (&json!(true), &json!(65532))
        );
        let user = &agent["spec"]["template"]["spec"]["securityContext"];
        assert_eq!(
            (&user["runAsUser"], &user["runAsGroup"]),
            (&json!(0), &json!(0))
        );
        assert!(user.get("seLinuxOptions").is_none());
    }
    Ok(())
}

#[test]
fn the_agent_sees_one_folder_of_the_host_and_the_controller_none() -> Result<()> {
    for (values, folder) in [
        (json!({}), "/var/lib/kubelet/seccomp"),
        (
            json!({"kubeletDir": "/var/snap/microk8s/common/var/lib/kubelet"}),
            "/var/snap/microk8s/common/var/lib/kubelet/seccomp",
        ),
    ] {
        let objects = render(CURRENT, &values)?;
        let [(_, controller), (_, agent)] = workloads(&objects)?;
        assert!(controller.pointer("/spec/template/spec/volumes").is_none());
        let volumes =
            json!([{"name": "seccomp", "hostPath": {"path": folder, "type": "DirectoryOrCreate"}}]);
        assert_eq!(agent["spec"]["template"]["spec"]["volumes"], volumes);
        assert_eq!(
            container(agent)?["volumeMounts"],
            json!([{"name": "seccomp", "mountPath": arg(agent, "seccomp-root")?}])
        );
    }
    Ok(())
}

#[test]
fn the_binaries_are_started_with_exactly_these_arguments() -> Result<()> {
    let values = json!({"excludedNamespaces": ["kube-flannel", "kube-system"], "agent": {"extraArgs": ["--more"]}});
    let objects = render(CURRENT, &values)?;
    let [(_, controller), (_, agent)] = workloads(&objects)?;
    assert_eq!(
        args(controller)?,
        [
            "controller",
            "--namespace=$(POD_NAMESPACE)",
            "--identity=$(POD_NAME)",
            "--lease-name=rel-seccomp-operator-controller",
            "--agent-selector=app.kubernetes.io/name=seccomp-operator,app.kubernetes.io/instance=rel,app.kubernetes.io/component=agent",
            "--agent-daemon-set=rel-seccomp-operator-agent",
            "--agent-patience=60",
            "--webhook-port=9443",
            "--webhook-service=rel-seccomp-operator-webhook",
            "--webhook-secret=rel-seccomp-operator-webhook-ca",
            "--mutating-webhook-configuration=rel-seccomp-operator.security",
            "--validating-webhook-configuration=rel-seccomp-operator.security",
            "--excluded-namespaces=kube-flannel,kube-system,security",
            "--injection-engine=webhook",
            r#"--default-policy={"mode":"Enforce","priority":-1000,"profile":{"type":"RuntimeDefault"}}"#,
            "--profiles-dir=profiles",
            "--health-port=8081",
            "--log-format=json",
        ]
    );
    assert_eq!(
        args(agent)?,
        [
            "--node-name=$(NODE_NAME)",
            "--seccomp-root=/host/seccomp",
            "--profiles-dir=profiles",
            "--health-port=8082",
            "--log-format=json",
            "--more",
        ]
    );
    let objects = render(CURRENT, &json!({"profilesDir": "team/profiles"}))?;
    for (component, workload) in workloads(&objects)? {
        assert_eq!(
            arg(workload, "profiles-dir")?,
            "team/profiles",
            "{component}"
        );
    }
    for (workload, variable, field) in [
        (controller, "POD_NAMESPACE", "metadata.namespace"),
        (controller, "POD_NAME", "metadata.name"),
        (agent, "NODE_NAME", "spec.nodeName"),
    ] {
        let variable = json!({"name": variable, "valueFrom": {"fieldRef": {"fieldPath": field}}});
        assert!(
            list(container(workload)?, "/env")?.contains(&variable),
            "{variable}"
        );
    }
    for workload in [controller, agent] {
        assert!(
            list(container(workload)?, "/env")?
                .contains(&json!({"name": "RUST_LOG", "value": "info"}))
        );
    }
    Ok(())
}

#[test]
fn the_default_policy_is_handed_over_whole_or_not_at_all() -> Result<()> {
    let spec = json!({
        "namespaceSelector": {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a<b", "1"]}]},
        "profile": {"type": "Localhost", "name": "no-chmod"},
        "overrideUnconfined": true,
    });
    let objects = render(CURRENT, &json!({"defaultPolicy": {"spec": spec}}))?;
    let handed: Value =
        serde_json::from_str(arg(only(&objects, "Deployment")?, "default-policy")?)?;
    let mut expected = spec;
    expected["priority"] = json!(-1000);
    expected["mode"] = json!("Enforce");
    assert_eq!(handed, expected);

    let objects = render(CURRENT, &json!({"defaultPolicy": {"enabled": false}}))?;
    assert!(arg(only(&objects, "Deployment")?, "default-policy").is_err());
    Ok(())
}

#[test]
fn probes_ask_the_ports_that_the_flags_open() -> Result<()> {
    let values = json!({"controller": {"healthPort": 18081}, "agent": {"healthPort": 18082}, "webhook": {"containerPort": 10250}});
    let objects = render(CURRENT, &values)?;
    for (component, workload) in workloads(&objects)? {
        let container = container(workload)?;
        let port = |name: &str| -> Option<String> {
            let ports = container["ports"].as_array()?;
            Some(ports.iter().find(|port| port["name"] == name)?["containerPort"].to_string())
        };
        for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/livez")] {
            assert_eq!(
                container[probe]["httpGet"],
                json!({"path": path, "port": "health"}),
                "{component}"
            );
        }
        assert_eq!(
            port("health").as_deref(),
            Some(arg(workload, "health-port")?),
            "{component}"
        );
        if component == "controller" {
            assert_eq!(
                port("webhook").as_deref(),
                Some(arg(workload, "webhook-port")?)
            );
            assert_eq!(
                only(&objects, "Service")?["spec"]["ports"][0]["targetPort"],
                "webhook"
            );
        }
    }
    let message = refusal(&json!({"webhook": {"containerPort": 8081}}))?;
    assert!(
        message.contains("webhook.containerPort and controller.healthPort must differ"),
        "{message}"
    );
    Ok(())
}

#[test]
fn agents_run_on_every_linux_node_and_the_controller_where_the_startup_taint_still_is() -> Result<()>
{
    let objects = render(CURRENT, &json!({}))?;
    let [(_, controller), (_, agent)] = workloads(&objects)?;
    for (component, workload) in workloads(&objects)? {
        assert_eq!(
            workload["spec"]["template"]["spec"]["nodeSelector"],
            json!({"kubernetes.io/os": "linux"}),
            "{component}"
        );
    }
    let taint = json!({"key": "seccomp-operator.io/agent-not-ready", "operator": "Exists"});
    assert_eq!(
        agent["spec"]["template"]["spec"]["tolerations"],
        json!([taint, {"operator": "Exists"}])
    );
    assert_eq!(
        agent["spec"]["template"]["spec"]["priorityClassName"],
        "system-node-critical"
    );
    assert_eq!(
        agent["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"],
        "10%"
    );
    assert_eq!(controller["spec"]["replicas"], 2);
    assert_eq!(
        controller["spec"]["template"]["spec"]["priorityClassName"],
        "system-cluster-critical"
    );
    assert_eq!(
        controller["spec"]["template"]["spec"]["tolerations"],
        json!([taint])
    );

    // Tolerations of one's own come on top.
    let own = json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"});
    let values = json!({"controller": {"tolerations": [own]}, "agent": {"tolerations": [own]}});
    let objects = render(CURRENT, &values)?;
    for (component, workload) in workloads(&objects)? {
        assert_eq!(
            workload["spec"]["template"]["spec"]["tolerations"],
            json!([taint, own]),
            "{component}"
        );
    }
    Ok(())
}

#[test]
fn every_container_states_its_requests_and_a_memory_limit() -> Result<()> {
    let objects = render(CURRENT, &json!({}))?;
    for (component, workload) in workloads(&objects)? {
        let resources = &container(workload)?["resources"];
        for pointer in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
            assert!(
                resources.pointer(pointer).is_some(),
                "{component}: {pointer}"
            );
        }
    }
    Ok(())
}

#[test]
fn an_image_is_put_together_from_its_parts() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let digest = format!("sha256:{}", "0".repeat(64));
    let other = format!("sha256:{}", "1".repeat(64));
    for (shared, own, controller) in [
        (
            json!({}),
            json!({}),
            format!("seccomp-operator/seccomp-operator:{version}"),
        ),
        (
            json!({"registry": "localhost:5000", "repository": "a/b", "tag": "x"}),
            json!({}),
            "localhost:5000/a/b:x".to_owned(),
        ),
        (
            json!({"digest": digest}),
            json!({}),
            format!("seccomp-operator/seccomp-operator@{digest}"),
        ),
        (
            json!({"tag": "x", "digest": digest}),
            json!({}),
            format!("seccomp-operator/seccomp-operator:x@{digest}"),
        ),
        (
            json!({"tag": "x", "digest": digest}),
            json!({"tag": "y"}),
            "seccomp-operator/seccomp-operator:y".to_owned(),
        ),
        (
            json!({"tag": "x"}),
            json!({"repository": "c", "digest": other}),
            format!("c@{other}"),
        ),
    ] {
        let objects = render(
            CURRENT,
            &json!({"image": shared, "controller": {"image": own}}),
        )?;
        assert_eq!(
            container(only(&objects, "Deployment")?)?["image"],
            controller,
            "{shared} and {own}"
        );
    }
    let values = json!({"image": {"pullPolicy": "Never"}, "agent": {"image": {"tag": "y", "pullPolicy": "Always"}}});
    let objects = render(CURRENT, &values)?;
    let [(_, controller), (_, agent)] = workloads(&objects)?;
    assert_eq!(container(controller)?["imagePullPolicy"], "Never");
    assert_eq!(container(agent)?["imagePullPolicy"], "Always");
    assert_eq!(
        container(agent)?["image"],
        "seccomp-operator/seccomp-operator:y"
    );
    Ok(())
}

#[test]
fn what_a_component_is_given_by_values_reaches_its_pods_and_not_the_other_s() -> Result<()> {
    let given = json!({
        "podAnnotations": {"note": "1"},
        "nodeSelector": {"disk": "ssd"},
        "affinity": {"nodeAffinity": {"x": "y"}},
        "priorityClassName": "mine",
        "terminationGracePeriodSeconds": 77,
        "resources": {"limits": {"cpu": 1}},
        "extraEnv": [{"name": "A", "value": "b"}],
        "serviceAccount": {"create": false, "name": "mine"},
    });
    for (component, other) in [("controller", "agent"), ("agent", "controller")] {
        let objects = render(
            CURRENT,
            &json!({component: given, "imagePullSecrets": [{"name": "pull"}]}),
        )?;
        let workloads = BTreeMap::from(workloads(&objects)?);
        let reached = |component: &str| -> Result<Vec<bool>> {
            let template = &workloads[component]["spec"]["template"];
            let pod = &template["spec"];
            let container = container(workloads[component])?;
            Ok(vec![
                template["metadata"]["annotations"]["note"] == "1",
                pod["nodeSelector"] == json!({"disk": "ssd", "kubernetes.io/os": "linux"}),
                pod["affinity"] == given["affinity"],
                pod["priorityClassName"] == "mine",
                pod["terminationGracePeriodSeconds"] == 77,
                container["resources"]["limits"]["cpu"] == 1,
                list(container, "/env")?.contains(&given["extraEnv"][0]),
                pod["serviceAccountName"] == "mine",
            ])
        };
        assert_eq!(reached(component)?, [true; 8], "{component}");
        assert_eq!(reached(other)?, [false; 8], "{other}");
        assert_eq!(all(&objects, "ServiceAccount").count(), 1);
        assert!(
            all(&objects, "ClusterRoleBinding")
                .any(|binding| binding["subjects"][0]["name"] == "mine")
        );
        for workload in workloads.values() {
            assert_eq!(
                workload["spec"]["template"]["spec"]["imagePullSecrets"],
                json!([{"name": "pull"}])
            );
        }
    }
    Ok(())
}

#[test]
fn an_update_strategy_without_a_rolling_update_states_none() -> Result<()> {
    let values = json!({"controller": {"updateStrategy": {"type": "Recreate"}}, "agent": {"updateStrategy": {"type": "OnDelete"}}});
    let objects = render(CURRENT, &values)?;
    let [(_, controller), (_, agent)] = workloads(&objects)?;
    assert_eq!(controller["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(agent["spec"]["updateStrategy"], json!({"type": "OnDelete"}));
    Ok(())
}

#[test]
fn the_host_network_and_selinux_options_are_there_only_on_request() -> Result<()> {
    let values = json!({"controller": {"hostNetwork": true}, "agent": {"seLinuxOptions": {"type": "spc_t"}}});
    let objects = render(CURRENT, &values)?;
    let [(_, controller), (_, agent)] = workloads(&objects)?;
    assert_eq!(controller["spec"]["template"]["spec"]["hostNetwork"], true);
    assert_eq!(
        controller["spec"]["template"]["spec"]["dnsPolicy"],
        "ClusterFirstWithHostNet"
    );
    assert!(
        agent["spec"]["template"]["spec"]
            .get("hostNetwork")
            .is_none()
    );
    assert_eq!(
        agent["spec"]["template"]["spec"]["securityContext"]["seLinuxOptions"],
        json!({"type": "spc_t"})
    );
    Ok(())
}

#[test]
fn the_disruption_budget_speaks_the_cluster_s_version_of_its_api() -> Result<()> {
    for (version, api, unhealthy) in [
        (OLDEST, "policy/v1beta1", Value::Null),
        ("1.21.0", "policy/v1", Value::Null),
        ("1.26.3-gke.100", "policy/v1", Value::Null),
        ("1.27.0", "policy/v1", json!("AlwaysAllow")),
        (CURRENT, "policy/v1", json!("AlwaysAllow")),
    ] {
        let objects = render(version, &json!({}))?;
        let budget = only(&objects, "PodDisruptionBudget")?;
        assert_eq!(budget["apiVersion"], api, "for Kubernetes {version}");
        assert_eq!(
            budget["spec"]["unhealthyPodEvictionPolicy"], unhealthy,
            "for Kubernetes {version}"
        );
        assert_eq!(budget["spec"]["maxUnavailable"], 1);
    }
    for values in [
        json!({"controller": {"replicas": 1}}),
        json!({"controller": {"podDisruptionBudget": {"enabled": false}}}),
    ] {
        assert!(
            only(&render(CURRENT, &values)?, "PodDisruptionBudget").is_err(),
            "{values}"
        );
    }
    Ok(())
}

#[test]
fn nodes_may_be_patched_only_where_the_start_up_taint_is_asked_for() -> Result<()> {
    for enabled in [false, true] {
        let objects = render(CURRENT, &json!({"startupTaint": {"enabled": enabled}}))?;
        let controller = all(&objects, "ClusterRole")
            .find(|role| role["metadata"]["name"] == "rel-seccomp-operator-controller.security")
            .context("the controller has no role")?;
        let verbs = if enabled {
            "get list watch patch"
        } else {
            "get list watch"
        };
        assert!(rules(controller)?.contains(&format!("/nodes: {verbs}")));
        let deployment = only(&objects, "Deployment")?;
        assert_eq!(args(deployment)?.contains(&"--startup-taint"), enabled);
    }
    Ok(())
}

// ---- uninstalling -------------------------------------------------------------------------------------------------

#[test]
fn before_the_release_goes_a_job_lets_go_of_the_profiles() -> Result<()> {
    let values = json!({"controller": {"tolerations": [{"key": "own"}]}, "agent": {"image": {"tag": "other"}}});
    let objects = render(CURRENT, &values)?;
    let (job, controller) = (only(&objects, "Job")?, only(&objects, "Deployment")?);
    assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], "pre-delete");
    assert_eq!(
        args(job)?,
        [
            "release",
            "--namespace=$(POD_NAMESPACE)",
            "--identity=$(POD_NAME)",
            "--lease-name=rel-seccomp-operator-controller",
            "--log-format=json",
        ]
    );
    // It is the controller in all but its task.
    assert_eq!(arg(job, "lease-name")?, arg(controller, "lease-name")?);
    for field in [
        "serviceAccountName",
        "securityContext",
        "tolerations",
        "nodeSelector",
    ] {
        let of = |workload: &Value| workload["spec"]["template"]["spec"][field].clone();
        assert_eq!(of(job), of(controller), "{field}");
        assert!(!of(job).is_null(), "{field}");
    }
    for field in ["image", "imagePullPolicy", "resources", "securityContext"] {
        assert_eq!(
            container(job)?[field],
            container(controller)?[field],
            "{field}"
        );
    }
    let values = json!({"uninstall": {"releaseProfiles": false}});
    assert!(only(&render(CURRENT, &values)?, "Job").is_err());
    Ok(())
}

// ---- rights -------------------------------------------------------------------------------------------------------

/// The controller's cluster-wide rights without the default policy's.
const CONTROLLER_EVERYWHERE: &[&str] = &[
    "seccomp-operator.io/seccompprofiles: get list watch patch",
    "seccomp-operator.io/seccompprofiles/status: patch",
    "seccomp-operator.io/seccomppolicies: get list watch",
    "seccomp-operator.io/seccomppolicies/status: patch",
    "seccomp-operator.io/seccompnodes: get list watch patch delete",
    "/nodes: get list watch",
    "/namespaces: list watch",
    "admissionregistration.k8s.io/mutatingwebhookconfigurations [rel-seccomp-operator.security]: get list watch patch",
    "admissionregistration.k8s.io/validatingwebhookconfigurations [rel-seccomp-operator.security]: get list watch patch",
];
const CONTROLLER_AT_HOME: &[&str] = &[
    "coordination.k8s.io/leases: create",
    "coordination.k8s.io/leases [rel-seccomp-operator-controller]: get update",
    "/secrets: create",
    "/secrets [rel-seccomp-operator-webhook-ca]: get list watch update",
    "/pods: list watch",
    "apps/daemonsets [rel-seccomp-operator-agent]: list watch",
];
const AGENT_EVERYWHERE: &[&str] = &[
    "seccomp-operator.io/seccompprofiles: list watch",
    "seccomp-operator.io/seccompnodes: list watch create patch",
    "/pods: list watch",
    "/nodes: list watch",
];
const AGENT_EVENTS: &[&str] = &["events.k8s.io/events: create"];

#[test]
fn the_roles_grant_exactly_what_is_needed() -> Result<()> {
    for default_policy in [true, false] {
        let objects = render(
            CURRENT,
            &json!({"defaultPolicy": {"enabled": default_policy}}),
        )?;
        let mut granted = BTreeMap::new();
        for object in &objects {
            if ["Role", "ClusterRole"].contains(&kind(object)) {
                assert!(object.get("aggregationRule").is_none());
                granted.insert(identity(object)?, rules(object)?);
            }
        }
        let mut everywhere = lines(CONTROLLER_EVERYWHERE);
        let verbs = if default_policy {
            "create patch"
        } else {
            "delete"
        };
        everywhere.insert(format!(
            "seccomp-operator.io/seccomppolicies [default]: {verbs}"
        ));
        let expected = BTreeMap::from([
            (
                "ClusterRole /rel-seccomp-operator-controller.security".to_owned(),
                everywhere,
            ),
            (
                "Role security/rel-seccomp-operator-controller".to_owned(),
                lines(CONTROLLER_AT_HOME),
            ),
            (
                "ClusterRole /rel-seccomp-operator-agent.security".to_owned(),
                lines(AGENT_EVERYWHERE),
            ),
            (
                "Role default/rel-seccomp-operator-agent.security".to_owned(),
                lines(AGENT_EVENTS),
            ),
        ]);
        assert_eq!(granted, expected);
    }
    Ok(())
}

#[test]
fn no_role_has_a_wildcard_or_may_write_what_users_own() -> Result<()> {
    for object in render(CURRENT, &json!({}))? {
        if !["Role", "ClusterRole"].contains(&kind(&object)) {
            continue;
        }
        // The finalizer that keeps a profile in use is on the profile itself, and RBAC knows no smaller right for it.
        let may_patch_profiles =
            identity(&object)? == "ClusterRole /rel-seccomp-operator-controller.security";
        for rule in list(&object, "/rules")? {
            assert!(!rule.to_string().contains('*'), "{rule}");
            let has = |field: &str, value: &str| {
                rule[field]
                    .as_array()
                    .is_some_and(|values| values.contains(&json!(value)))
            };
            for verb in [
                "create",
                "update",
                "patch",
                "delete",
                "deletecollection",
                "escalate",
                "bind",
                "impersonate",
            ] {
                let excused = may_patch_profiles && verb == "patch";
                assert!(
                    !(has("resources", "seccompprofiles") && has("verbs", verb)) || excused,
                    "{rule}"
                );
                let other_policies = has("resources", "seccomppolicies")
                    && rule["resourceNames"] != json!(["default"]);
                assert!(!(other_policies && has("verbs", verb)), "{rule}");
            }
        }
    }
    Ok(())
}

#[test]
fn each_account_gets_its_own_roles_and_only_pods_mount_its_token() -> Result<()> {
    let objects = render(CURRENT, &json!({}))?;
    let mut bound = BTreeSet::new();
    for binding in objects
        .iter()
        .filter(|object| ["RoleBinding", "ClusterRoleBinding"].contains(&kind(object)))
    {
        for subject in list(binding, "/subjects")? {
            assert_eq!(
                (&subject["kind"], &subject["namespace"]),
                (&json!("ServiceAccount"), &json!(NAMESPACE))
            );
            let account = string(subject, "/name")?;
            bound.insert(format!(
                "{account}: {} {}",
                string(binding, "/roleRef/kind")?,
                string(binding, "/roleRef/name")?
            ));
        }
    }
    let expected = lines(&[
        "rel-seccomp-operator-agent: ClusterRole rel-seccomp-operator-agent.security",
        "rel-seccomp-operator-agent: Role rel-seccomp-operator-agent.security",
        "rel-seccomp-operator-controller: ClusterRole rel-seccomp-operator-controller.security",
        "rel-seccomp-operator-controller: Role rel-seccomp-operator-controller",
    ]);
    assert_eq!(bound, expected);
    for account in all(&objects, "ServiceAccount") {
        assert_eq!(account["automountServiceAccountToken"], false);
    }
    for (component, workload) in workloads(&objects)? {
        let pod = &workload["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], true, "{component}");
        assert_eq!(
            pod["serviceAccountName"],
            format!("rel-seccomp-operator-{component}")
        );
    }
    Ok(())
}

// ---- webhooks -----------------------------------------------------------------------------------------------------

#[test]
fn with_cert_manager_the_operator_only_reads_what_cert_manager_makes() -> Result<()> {
    let own = json!({"name": "corp", "kind": "ClusterIssuer"});
    for (issuer, expected) in [
        (
            json!({}),
            json!({"name": "rel-seccomp-operator-webhook", "kind": "Issuer"}),
        ),
        (own.clone(), own),
    ] {
        let values = json!({"webhook": {"certManager": {"enabled": true, "issuerRef": issuer}}});
        let objects = render(CURRENT, &values)?;
        assert_eq!(
            all(&objects, "Issuer").count(),
            usize::from(expected["kind"] == "Issuer")
        );
        let certificate = only(&objects, "Certificate")?;
        assert_eq!(certificate["spec"]["issuerRef"], expected);
        let service = string(only(&objects, "Service")?, "/metadata/name")?;
        let name = format!("{service}.{NAMESPACE}.svc");
        assert_eq!(certificate["spec"]["dnsNames"][0], name.as_str());
        let injected = format!("{NAMESPACE}/{}", string(certificate, "/metadata/name")?);
        for kind in [
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
        ] {
            let annotations = &only(&objects, kind)?["metadata"]["annotations"];
            assert_eq!(
                annotations["cert-manager.io/inject-ca-from"],
                injected.as_str()
            );
        }
        let controller = only(&objects, "Deployment")?;
        assert!(args(controller)?.contains(&"--external-certificates"));
        let secret = arg(controller, "webhook-secret")?;
        assert_eq!(certificate["spec"]["secretName"], secret);
        let granted = objects
            .iter()
            .filter(|object| kind(object).ends_with("Role"))
            .map(rules)
            .collect::<Result<Vec<_>>>()?;
        let touching = |what: &str| {
            let lines = granted.iter().flatten().filter(|line| line.contains(what));
            lines.cloned().collect::<Vec<_>>()
        };
        for line in [touching("secrets"), touching("webhookconfigurations")].concat() {
            for verb in ["create", "update", "patch", "delete"] {
                assert!(!line.contains(verb), "{line}");
            }
        }
        assert!(!touching("secrets").is_empty() && !touching("webhookconfigurations").is_empty());
    }
    let plain = render(CURRENT, &json!({}))?;
    assert_eq!(
        all(&plain, "Certificate").count() + all(&plain, "Issuer").count(),
        0
    );
    for issuer in [json!({"kind": "Issuer"}), json!({"name": ""})] {
        refusal(&json!({"webhook": {"certManager": {"enabled": true, "issuerRef": issuer}}}))?;
    }
    Ok(())
}

#[test]
fn no_release_states_a_ca_bundle() -> Result<()> {
    for version in [OLDEST, CURRENT] {
        for object in render(version, &json!({}))? {
            assert!(
                !object.to_string().contains("caBundle"),
                "{}",
                identity(&object)?
            );
        }
    }
    Ok(())
}

#[test]
fn pods_are_changed_at_creation_only_and_start_without_the_operator() -> Result<()> {
    let objects = render(CURRENT, &json!({}))?;
    let webhooks = list(only(&objects, "MutatingWebhookConfiguration")?, "/webhooks")?;
    assert_eq!(webhooks.len(), 1);
    let webhook = &webhooks[0];
    for (field, expected) in [
        ("name", json!("pods.seccomp-operator.io")),
        ("admissionReviewVersions", json!(["v1"])),
        ("sideEffects", json!("None")),
        ("failurePolicy", json!("Ignore")),
        ("timeoutSeconds", json!(5)),
        ("matchPolicy", json!("Equivalent")),
        ("reinvocationPolicy", json!("IfNeeded")),
        (
            "rules",
            json!([{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced",
            }]),
        ),
    ] {
        assert_eq!(webhook[field], expected, "{field}");
    }
    assert_eq!(webhook["clientConfig"]["service"]["path"], "/mutate");

    let objects = render(
        CURRENT,
        &json!({"webhook": {"mutate": {"failurePolicy": "Fail", "timeoutSeconds": 9}}}),
    )?;
    let webhook = &only(&objects, "MutatingWebhookConfiguration")?["webhooks"][0];
    assert_eq!(
        (&webhook["failurePolicy"], &webhook["timeoutSeconds"]),
        (&json!("Fail"), &json!(9))
    );
    Ok(())
}

#[test]
fn profiles_and_policies_are_checked_at_creation_and_change_and_never_kept_from_going() -> Result<()>
{
    let objects = render(CURRENT, &json!({}))?;
    let mut seen = BTreeMap::new();
    for webhook in list(
        only(&objects, "ValidatingWebhookConfiguration")?,
        "/webhooks",
    )? {
        assert_eq!(webhook["failurePolicy"], "Fail");
        assert_eq!(webhook["timeoutSeconds"], 5);
        assert_eq!(webhook["sideEffects"], "None");
        assert_eq!(webhook["admissionReviewVersions"], json!(["v1"]));
        assert_eq!(webhook["clientConfig"]["service"]["path"], "/validate");
        seen.insert(string(webhook, "/name")?, webhook["rules"].clone());
    }
    let rule = |resource: &str| {
        json!([{
            "apiGroups": ["seccomp-operator.io"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"],
            "resources": [resource], "scope": "Cluster",
        }])
    };
    let expected = BTreeMap::from([
        ("policies.seccomp-operator.io", rule("seccomppolicies")),
        ("profiles.seccomp-operator.io", rule("seccompprofiles")),
    ]);
    assert_eq!(seen, expected);

    let objects = render(
        CURRENT,
        &json!({"webhook": {"validate": {"failurePolicy": "Ignore"}}}),
    )?;
    for webhook in list(
        only(&objects, "ValidatingWebhookConfiguration")?,
        "/webhooks",
    )? {
        assert_eq!(webhook["failurePolicy"], "Ignore");
    }
    Ok(())
}

/// A controller is not ready, and so not asked, before the default policy is in place: it must not have to check it itself.
#[test]
fn the_operator_s_own_policy_is_not_sent_to_the_operator_and_everything_else_is() -> Result<()> {
    let label = json!({
        "key": "app.kubernetes.io/managed-by", "operator": "NotIn", "values": ["seccomp-operator"],
    });
    for (version, account, selector, user) in [
        (OLDEST, "", json!({"matchExpressions": [label]}), None),
        ("1.29.9", "", json!({"matchExpressions": [label]}), None),
        (
            "1.30.0",
            "",
            json!({}),
            Some("rel-seccomp-operator-controller"),
        ),
        (CURRENT, "mine", json!({}), Some("mine")),
    ] {
        let values = json!({"controller": {"serviceAccount": {"name": account}}});
        let objects = render(version, &values)?;
        let configuration = only(&objects, "ValidatingWebhookConfiguration")?;
        for webhook in list(configuration, "/webhooks")? {
            let policies = webhook["name"] == "policies.seccomp-operator.io";
            let expected = if policies {
                selector.clone()
            } else {
                json!({})
            };
            assert_eq!(
                webhook["objectSelector"], expected,
                "for Kubernetes {version}"
            );
            let conditions = webhook["matchConditions"].as_array();
            let asked = |username: String, deleted: bool| -> Result<bool> {
                let mut object = json!({"metadata": {"name": "x"}});
                if deleted {
                    object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
                }
                let request = json!({"userInfo": {"username": username}});
                let variables = [("object", &object), ("request", &request)];
                for condition in conditions.into_iter().flatten() {
                    if !e2e::cel::holds(string(condition, "/expression")?, &variables)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            let own = |user: &str| format!("system:serviceaccount:{NAMESPACE}:{user}");
            // Before match conditions were there, everybody and everything is asked about.
            let user_or_none = user.unwrap_or("nobody");
            assert!(asked("alice".into(), false)?);
            assert_eq!(asked("alice".into(), true)?, user.is_none());
            let of_own = asked(own(user_or_none), false)?;
            assert_eq!(of_own, user.is_none() || !policies, "{version}");
        }
    }
    Ok(())
}

#[test]
fn the_own_namespace_and_kube_system_are_never_injected_into() -> Result<()> {
    for (excluded, expected) in [
        (json!([]), json!(["kube-system", NAMESPACE])),
        (
            json!(["kube-flannel", "kube-system"]),
            json!(["kube-flannel", "kube-system", NAMESPACE]),
        ),
    ] {
        let objects = render(CURRENT, &json!({"excludedNamespaces": excluded}))?;
        let selector =
            &only(&objects, "MutatingWebhookConfiguration")?["webhooks"][0]["namespaceSelector"];
        let by_name =
            json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": expected});
        let by_label = json!({"key": "seccomp-operator.io/inject", "operator": "NotIn", "values": ["disabled"]});
        assert_eq!(selector, &json!({"matchExpressions": [by_name, by_label]}));
        // The server is told the same: Kubernetes 1.20 has no label to select by.
        let told: Vec<_> = arg(only(&objects, "Deployment")?, "excluded-namespaces")?
            .split(',')
            .collect();
        assert_eq!(json!(told), expected);
    }
    Ok(())
}

#[test]
fn pods_are_told_apart_by_their_labels_only_where_namespaces_cannot_be() -> Result<()> {
    for (version, policy, by_label, conditions) in [
        (OLDEST, "Fail", true, false),
        (OLDEST, "Ignore", false, false),
        ("1.21.0", "Fail", false, false),
        ("1.29.9", "Ignore", false, false),
        ("1.30.0-eks-1", "Ignore", false, true),
        (CURRENT, "Fail", false, true),
    ] {
        let values = json!({"webhook": {"mutate": {"failurePolicy": policy}}});
        let objects = render(version, &values)?;
        let webhook = &only(&objects, "MutatingWebhookConfiguration")?["webhooks"][0];
        let selector = &webhook["objectSelector"];
        if by_label {
            let own = json!({"key": "app.kubernetes.io/name", "operator": "NotIn", "values": ["seccomp-operator"]});
            assert_eq!(
                selector,
                &json!({"matchExpressions": [own]}),
                "for Kubernetes {version}"
            );
        } else {
            assert_eq!(selector, &json!({}), "for Kubernetes {version}");
        }
        let names: Vec<_> = webhook["matchConditions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|condition| condition["name"].clone())
            .collect();
        let expected = if conditions {
            vec!["not-windows", "not-mirror-pod"]
        } else {
            vec![]
        };
        assert_eq!(names, expected, "for Kubernetes {version}");
    }
    Ok(())
}

// ---- custom resource definitions ----------------------------------------------------------------------------------

/// `0.0` written as `0`: to YAML and the API server they are one number.
fn plain_numbers(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(plain_numbers).collect(),
        Value::Object(map) => {
            let plain = |(key, value): (&String, &Value)| (key.clone(), plain_numbers(value));
            map.iter().map(plain).collect()
        }
        Value::Number(number) => match number.to_string().strip_suffix(".0").map(str::parse::<i64>)
        {
            Some(Ok(whole)) => json!(whole),
            _ => value.clone(),
        },
        _ => value.clone(),
    }
}

#[test]
fn the_definitions_are_rendered_as_they_are_in_the_files_and_kept_on_uninstall() -> Result<()> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(Path::new(CHART).join("files/crds"))? {
        for definition in documents(&std::fs::read_to_string(entry?.path())?)? {
            files.insert(
                string(&definition, "/metadata/name")?.to_owned(),
                plain_numbers(&definition["spec"]),
            );
        }
    }
    for (values, kept) in [(json!({}), true), (json!({"crds": {"keep": false}}), false)] {
        let objects = render(CURRENT, &values)?;
        let mut rendered = BTreeMap::new();
        for definition in all(&objects, "CustomResourceDefinition") {
            let policy = &definition["metadata"]["annotations"]["helm.sh/resource-policy"];
            assert_eq!(policy == "keep", kept, "{}", identity(definition)?);
            rendered.insert(
                string(definition, "/metadata/name")?.to_owned(),
                plain_numbers(&definition["spec"]),
            );
        }
        assert_eq!(rendered, files);
    }
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "seccompnodes.seccomp-operator.io",
            "seccomppolicies.seccomp-operator.io",
            "seccompprofiles.seccomp-operator.io"
        ]
    );

    let without = render(CURRENT, &json!({"crds": {"enabled": false}}))?;
    assert_eq!(all(&without, "CustomResourceDefinition").count(), 0);
    Ok(())
}

#[test]
fn the_catalogue_names_the_definitions_that_the_chart_has() -> Result<()> {
    let chart = yaml_file("Chart.yaml")?;
    let listed = documents(string(&chart, "/annotations/artifacthub.io~1crds")?)?;
    let listed: BTreeSet<_> = listed
        .iter()
        .flat_map(|list| list.as_array().into_iter().flatten())
        .map(|entry| {
            (
                entry["name"].to_string(),
                entry["kind"].to_string(),
                entry["version"].to_string(),
            )
        })
        .collect();
    let objects = render(CURRENT, &json!({}))?;
    let rendered: BTreeSet<_> = all(&objects, "CustomResourceDefinition")
        .map(|crd| {
            (
                &crd["metadata"]["name"],
                &crd["spec"]["names"]["kind"],
                &crd["spec"]["versions"][0]["name"],
            )
        })
        .map(|(name, kind, version)| (name.to_string(), kind.to_string(), version.to_string()))
        .collect();
    assert_eq!(listed, rendered);
    Ok(())
}

// ---- values -------------------------------------------------------------------------------------------------------

#[test]
fn the_schema_accepts_the_defaults_and_what_a_parent_chart_adds() -> Result<()> {
    let defaults = yaml_file("values.yaml")?;
    render(CURRENT, &defaults)?;
    render(
        CURRENT,
        &json!({"global": {"imageRegistry": "x"}, "enabled": true}),
    )?;
    render(
        CURRENT,
        &json!({"agent": {"resources": {"limits": {"cpu": 0.5, "memory": "1Gi"}, "requests": {"cpu": "100m"}}}}),
    )?;
    Ok(())
}

#[test]
fn the_schema_knows_every_key_of_every_object_it_describes() -> Result<()> {
    fn open(path: &str, schema: &Value, found: &mut Vec<String>) {
        if schema["type"] == "object"
            && schema["properties"].is_object()
            && schema["additionalProperties"] != false
        {
            found.push(path.to_owned());
        }
        let list = schema.as_array().into_iter().flatten().enumerate();
        let inner = list.map(|(index, schema)| (index.to_string(), schema));
        let map = schema.as_object().into_iter().flatten();
        for (key, schema) in inner.chain(map.map(|(key, schema)| (key.clone(), schema))) {
            open(&format!("{path}/{key}"), schema, found);
        }
    }
    let mut found = Vec::new();
    open(
        "",
        &serde_json::from_str(&file("values.schema.json")?)?,
        &mut found,
    );
    assert_eq!(
        found,
        Vec::<String>::new(),
        "objects that take unknown keys"
    );
    Ok(())
}

/// `{"a": {"b": value}}` for `a.b`.
fn at(path: &str, value: &Value) -> Value {
    path.rsplit('.')
        .fold(value.clone(), |value, key| json!({ key: value }))
}

#[test]
fn the_schema_refuses_wrong_values_and_names_the_field() -> Result<()> {
    let long = "n".repeat(53);
    for (path, value) in [
        ("replicas", json!(2)),
        ("nameOverride", json!("Upper")),
        ("fullnameOverride", json!(long)),
        ("fullnameOverride", json!("1st")),
        ("commonLabels.team", json!("not a label")),
        ("image", json!("x:y")),
        ("image.name", json!("x")),
        ("image.repository", json!("")),
        ("image.repository", json!("a/b:tag")),
        ("image.tag", json!(1.2)),
        ("image.digest", json!("sha256:12")),
        ("image.pullPolicy", json!("Sometimes")),
        ("imagePullSecrets", json!(["name"])),
        ("crds.keep", json!("yes")),
        ("crds.install", json!(true)),
        ("kubeletDir", json!("var/lib/kubelet")),
        ("kubeletDir", json!("/var/lib/kubelet/")),
        ("kubeletDir", json!("/var/lib/../../etc")),
        ("kubeletDir", json!("/")),
        ("profilesDir", json!("/profiles")),
        ("profilesDir", json!("a/../b")),
        ("excludedNamespaces", json!("kube-flannel")),
        ("excludedNamespaces", json!(["a,b"])),
        ("defaultPolicy.spec.profile.type", json!("Default")),
        ("defaultPolicy.spec.profile", json!({"type": "Localhost"})),
        ("defaultPolicy.spec.profile.name", json!("no-chmod")),
        ("defaultPolicy.spec.mode", json!("Warn")),
        ("defaultPolicy.spec.priority", json!(2_147_483_648_u64)),
        ("defaultPolicy.spec.selector", json!({})),
        ("log.format", json!("logfmt")),
        ("log.filter", json!("")),
        ("log.reloadable", json!("yes")),
        ("monitoring.enabled", json!(true)),
        ("monitoring.podMonitor.enabled", json!("yes")),
        ("monitoring.podMonitor.interval", json!("30")),
        ("monitoring.serviceMonitor.labels", json!(["release"])),
        ("monitoring.serviceMonitor.relabelings", json!({})),
        ("monitoring.prometheusRule.disabled", json!(["Other"])),
        ("monitoring.dashboard.namespace", json!("grafana")),
        ("networkPolicy.metricsFrom", json!(["monitoring"])),
        (
            "networkPolicy.apiServer.to",
            json!([{"cidr": "10.0.0.1/32"}]),
        ),
        ("networkPolicy.apiServer.ports", json!([])),
        ("agent.annotations.note", json!(1)),
        ("webhook.failurePolicy", json!("Ignore")),
        ("webhook.containerPort", json!(443)),
        ("webhook.mutate.failurePolicy", json!("fail")),
        ("webhook.mutate.timeoutSeconds", json!(31)),
        ("webhook.validate.timeoutSeconds", json!(0)),
        ("controller.replicas", json!(0)),
        ("controller.replicas", json!("2")),
        ("controller.image.tag", json!("a b")),
        ("controller.resources.memory", json!("64Mi")),
        ("controller.resources.limits.memory", json!("64 MB")),
        ("controller.serviceAccount", json!({"create": false})),
        ("controller.updateStrategy.type", json!("OnDelete")),
        (
            "controller.updateStrategy.rollingUpdate.maxSurge",
            json!("110%"),
        ),
        (
            "controller.topologySpreadConstraints",
            json!([{"topologyKey": "zone"}]),
        ),
        ("controller.podDisruptionBudget.minAvailable", json!(1)),
        ("controller.seLinuxOptions", json!({})),
        ("agent.hostNetwork", json!(true)),
        ("agent.replicas", json!(3)),
        ("agent.securityContext", json!({"privileged": true})),
        ("agent.tolerations", json!([{"operator": "Exist"}])),
        ("agent.nodeSelector.gpu", json!(true)),
        ("agent.affinity.podAffinities", json!({})),
        ("agent.extraArgs", json!("--more")),
        ("agent.extraEnv", json!([{"value": "x"}])),
        ("agent.healthPort", json!(70_000)),
    ] {
        let message = refusal(&at(path, &value))?;
        assert!(message.contains("schema"), "{path} {value}: {message}");
        // All keys of the path: helm says `at '/image/tag'`, and for an unknown key the object and the key.
        for key in path.split('.') {
            assert!(message.contains(key), "{path} {value}: {message}");
        }
    }
    Ok(())
}

// ---- notes --------------------------------------------------------------------------------------------------------

#[test]
fn the_notes_say_what_to_do_next_and_warn_of_nothing_by_default() -> Result<()> {
    let notes = notes(NAMESPACE, &json!({}))?;
    assert!(
        notes.contains(
            "kubectl --namespace security rollout status daemonset/rel-seccomp-operator-agent"
        ),
        "{notes}"
    );
    assert!(
        notes.contains("kubectl get seccompprofiles,seccomppolicies,seccompnodes"),
        "{notes}"
    );
    assert!(!notes.contains("WARNING"), "{notes}");
    // The example is meant to be pasted: a here-document ends at a line that is its word and nothing else.
    let (_, example) = notes
        .split_once("<<EOF\n")
        .context("the notes have no example")?;
    let (manifest, _) = example
        .split_once("\nEOF\n")
        .context("the example does not end")?;
    assert_eq!(documents(manifest)?[0]["kind"], "SeccompProfile");
    Ok(())
}

#[test]
fn the_notes_warn_of_every_risky_value() -> Result<()> {
    for (namespace, values, warning) in [
        (
            NAMESPACE,
            json!({"webhook": {"mutate": {"failurePolicy": "Fail"}}, "controller": {"replicas": 1}, "excludedNamespaces": ["cni"]}),
            "webhook.mutate.failurePolicy is Fail with one replica",
        ),
        (
            NAMESPACE,
            json!({"webhook": {"mutate": {"failurePolicy": "Fail"}}}),
            "Fail and excludedNamespaces is empty",
        ),
        (
            "default",
            json!({}),
            "the release is in the namespace default",
        ),
        (
            NAMESPACE,
            json!({"crds": {"keep": false}}),
            "crds.keep is false",
        ),
        (
            NAMESPACE,
            json!({"uninstall": {"releaseProfiles": false}}),
            "uninstall.releaseProfiles is false",
        ),
        (
            NAMESPACE,
            json!({"defaultPolicy": {"enabled": false}}),
            "defaultPolicy.enabled is false",
        ),
        (
            NAMESPACE,
            json!({"defaultPolicy": {"spec": {"profile": {"type": "Unconfined"}}}}),
            "type is Unconfined",
        ),
        (
            NAMESPACE,
            json!({"defaultPolicy": {"spec": {"mode": "Observe"}}}),
            "mode is Observe",
        ),
        (
            NAMESPACE,
            json!({"agent": {"tolerations": []}}),
            "agent.tolerations does not tolerate every taint",
        ),
        (
            NAMESPACE,
            json!({"agent": {"image": {"tag": "latest"}}}),
            "the agent's image tag is latest",
        ),
    ] {
        let notes = notes(namespace, &values)?;
        let warnings: Vec<_> = notes
            .lines()
            .filter(|line| line.starts_with("WARNING: "))
            .collect();
        assert_eq!(warnings.len(), 1, "{values}: {warnings:?}");
        assert!(warnings[0].contains(warning), "{values}: {warnings:?}");
    }
    // What is safe again must not go on warning.
    let safe = json!({"webhook": {"mutate": {"failurePolicy": "Fail"}}, "excludedNamespaces": ["calico-system"]});
    assert!(!notes(NAMESPACE, &safe)?.contains("WARNING"));
    Ok(())
}
