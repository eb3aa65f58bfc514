//! What the chart makes for Prometheus and Grafana, and the policies around it: rendered by the real helm, and the alerts run by
//! the real promtool (`PROMTOOL`, default: the one on `PATH`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::helm::{CURRENT, NAMESPACE, OLDEST, refusal, render, text};
use crate::objects::{
    all, arg, container, file, identity, kind, list, only, string, workloads, yaml_file,
};

const ALL: &[&str] = &[
    "podMonitor",
    "serviceMonitor",
    "prometheusRule",
    "dashboard",
];

/// Values that turn all of it on, with labels of the user's.
fn everything() -> Value {
    let mut monitoring = json!({});
    for part in ALL {
        monitoring[part] =
            json!({"enabled": true, "labels": {"release": "mine"}, "annotations": {"note": "x"}});
    }
    json!({"monitoring": monitoring, "networkPolicy": {"enabled": true}, "log": {"reloadable": true}})
}

/// The objects that are there only on request.
fn extras(objects: &[Value]) -> Vec<&Value> {
    let kinds = [
        "PodMonitor",
        "ServiceMonitor",
        "PrometheusRule",
        "ConfigMap",
    ];
    let found = objects
        .iter()
        .filter(|object| kinds.contains(&kind(object)));
    found.collect()
}

fn metadata<'a>(object: &'a Value, field: &str, key: &str) -> &'a Value {
    &object["metadata"][field][key]
}

/// The names of this project's metrics in an expression.
fn metrics(expression: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    expression
        .split(|c| !word(c))
        .filter(|name| name.starts_with("seccomp_operator_") || name.starts_with("process_"))
        .map(|name| {
            let parts = ["_bucket", "_count", "_sum"];
            let base = parts.iter().find_map(|part| name.strip_suffix(part));
            base.unwrap_or(name).to_owned()
        })
        .collect()
}

/// The metrics that there are: a test of the operator holds the page to what its processes tell.
fn documented() -> Result<BTreeSet<String>> {
    let page = file("../../docs/metrics.md")?;
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names: BTreeSet<_> = rows
        .filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .filter(|name| !name.starts_with('/'))
        .collect();
    ensure!(names.len() > 10, "docs/metrics.md has only {names:?}");
    Ok(names)
}

fn alerting_rules() -> Result<Vec<Value>> {
    let rules = yaml_file("files/monitoring/alerts.yaml")?;
    let groups = list(&rules, "/groups")?.iter();
    Ok(groups
        .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
        .collect())
}

fn dashboard() -> Result<Value> {
    Ok(serde_json::from_str(&file(
        "files/monitoring/dashboard.json",
    )?)?)
}

/// The expressions of all panels.
fn expressions(dashboard: &Value) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for panel in list(dashboard, "/panels")?
        .iter()
        .filter(|panel| panel["type"] != "row")
    {
        for target in list(panel, "/targets")? {
            found.push(string(target, "/expr")?.to_owned());
        }
    }
    Ok(found)
}

/// Runs promtool on files in a folder of their own.
fn promtool(args: &[&str], files: &[(&str, String)]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content)?;
    }
    let program = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let output = Command::new(&program)
        .args(args)
        .current_dir(folder.path())
        .output()
        .with_context(|| format!("could not run {program:?}; set PROMTOOL to Prometheus' promtool, or see e2e/cluster/install"))?;
    let printed = text(&output.stdout) + &text(&output.stderr);
    ensure!(output.status.success(), "promtool {args:?}: {printed}");
    Ok(printed)
}

#[test]
fn nothing_of_it_is_there_unless_it_is_asked_for() -> Result<()> {
    let objects = render(CURRENT, &json!({}))?;
    assert_eq!(extras(&objects), Vec::<&Value>::new());
    assert_eq!(all(&objects, "NetworkPolicy").count(), 0);
    Ok(())
}

#[test]
fn what_other_operators_look_for_has_the_labels_that_they_look_for() -> Result<()> {
    let objects = render(OLDEST, &everything())?;
    let kinds: BTreeSet<_> = extras(&objects).iter().map(|object| kind(object)).collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    for object in extras(&objects) {
        if string(object, "/metadata/name")?.ends_with("-log") {
            continue;
        }
        let id = identity(object)?;
        assert_eq!(metadata(object, "labels", "release"), "mine", "{id}");
        assert_eq!(
            metadata(object, "labels", "app.kubernetes.io/name"),
            "seccomp-operator",
            "{id}"
        );
        assert_eq!(metadata(object, "annotations", "note"), "x", "{id}");
        assert_eq!(object["metadata"]["namespace"], NAMESPACE, "{id}");
    }
    let dashboard =
        all(&objects, "ConfigMap").find(|map| !map["data"]["seccomp-operator.json"].is_null());
    let found = dashboard.context("no dashboard")?;
    assert_eq!(metadata(found, "labels", "grafana_dashboard"), "1");
    let data: Value = serde_json::from_str(string(found, "/data/seccomp-operator.json")?)?;
    assert_eq!(data, self::dashboard()?);
    Ok(())
}

#[test]
fn each_component_is_scraped_where_it_serves_and_only_once() -> Result<()> {
    let mut values = everything();
    values["monitoring"]["podMonitor"]["interval"] = "15s".into();
    values["monitoring"]["serviceMonitor"]["scrapeTimeout"] = "5s".into();
    let objects = render(CURRENT, &values)?;
    let [(_, controller), (_, agent)] = workloads(&objects)?;
    let holds = |selector: &Value, labels: &Value| {
        let selector = selector["matchLabels"].as_object();
        selector.is_some_and(|all| all.iter().all(|(key, value)| labels[key] == *value))
    };
    let labels = |workload: &Value| workload["spec"]["template"]["metadata"]["labels"].clone();
    let monitor = only(&objects, "PodMonitor")?;
    assert!(holds(&monitor["spec"]["selector"], &labels(agent)));
    assert!(!holds(&monitor["spec"]["selector"], &labels(controller)));
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!(
        *endpoint,
        json!({"port": "health", "path": "/metrics", "interval": "15s"})
    );
    assert!(
        list(container(agent)?, "/ports")?
            .iter()
            .any(|port| port["name"] == "health")
    );

    let monitor = only(&objects, "ServiceMonitor")?;
    let services: Vec<_> = all(&objects, "Service")
        .filter(|service| holds(&monitor["spec"]["selector"], &service["metadata"]["labels"]))
        .collect();
    let [service] = services[..] else {
        anyhow::bail!("{} Services are selected, not one", services.len());
    };
    assert_eq!(service["spec"]["clusterIP"], "None");
    let selector = json!({"matchLabels": service["spec"]["selector"]});
    assert!(holds(&selector, &labels(controller)) && !holds(&selector, &labels(agent)));
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(
        *endpoint,
        json!({"port": "health", "path": "/metrics", "scrapeTimeout": "5s"})
    );
    assert_eq!(service["spec"]["ports"][0]["name"], "health");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "health");
    Ok(())
}

#[test]
fn alerts_and_dashboard_speak_of_metrics_that_there_are() -> Result<()> {
    let known = documented()?;
    let mut expressions = expressions(&dashboard()?)?;
    for rule in alerting_rules()? {
        expressions.push(string(&rule, "/expr")?.to_owned());
    }
    for expression in expressions {
        let named = metrics(&expression);
        assert!(!named.is_empty(), "{expression}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?} in {expression}");
    }
    Ok(())
}

#[test]
fn alerts_fire_when_they_should_and_only_then() -> Result<()> {
    let rules = file("files/monitoring/alerts.yaml")?;
    let tests = file("../../e2e/tests/data/alerts.yaml")?;
    promtool(
        &["check", "rules", "alerts.rules.yaml"],
        &[("alerts.rules.yaml", rules.clone())],
    )?;
    promtool(
        &["test", "rules", "alerts.yaml"],
        &[("alerts.rules.yaml", rules), ("alerts.yaml", tests.clone())],
    )?;
    for rule in self::alerting_rules()? {
        let name = string(&rule, "/alert")?;
        assert!(tests.contains(name), "no test makes {name} fire");
    }
    Ok(())
}

#[test]
fn every_alert_says_what_it_means_and_has_its_remedy_in_the_manual() -> Result<()> {
    let manual = file("../../docs/operations.md")?;
    for rule in alerting_rules()? {
        let name = string(&rule, "/alert")?;
        assert!(
            ["info", "warning", "critical"].contains(&string(&rule, "/labels/severity")?),
            "{name}"
        );
        for field in ["summary", "description"] {
            assert!(
                string(&rule, &format!("/annotations/{field}"))?.len() > 20,
                "{name}: {field}"
            );
        }
        assert!(
            manual.contains(&format!("| `{name}` |")),
            "docs/operations.md has no {name}"
        );
    }
    Ok(())
}

#[test]
fn the_rules_are_handed_on_as_they_are_but_for_those_that_nobody_wants() -> Result<()> {
    let names = |values: &Value| -> Result<Vec<Value>> {
        let objects = render(CURRENT, values)?;
        let rule = only(&objects, "PrometheusRule")?;
        Ok(list(rule, "/spec/groups/0/rules")?.clone())
    };
    let mut values = json!({"monitoring": {"prometheusRule": {"enabled": true}}});
    assert_eq!(names(&values)?, alerting_rules()?);
    values["monitoring"]["prometheusRule"]["disabled"] = json!(["SeccompOperatorDriftRepairs"]);
    assert_eq!(names(&values)?.len(), alerting_rules()?.len() - 1);
    values["monitoring"]["prometheusRule"]["disabled"] = json!(["SeccompOperatorNothing"]);
    let message = refusal(&values)?;
    assert!(
        message.contains("there is no alert SeccompOperatorNothing"),
        "{message}"
    );
    Ok(())
}

#[test]
fn the_dashboard_is_one_that_grafana_and_prometheus_can_read() -> Result<()> {
    let dashboard = dashboard()?;
    let mut ids = BTreeSet::new();
    for panel in list(&dashboard, "/panels")? {
        assert!(
            ids.insert(panel["id"].as_u64()),
            "{} is there twice",
            panel["id"]
        );
        let place = &panel["gridPos"];
        let end = place["x"]
            .as_u64()
            .zip(place["w"].as_u64())
            .map(|(x, w)| x + w);
        assert!(end.is_some_and(|end| end <= 24), "{place}");
    }
    let variables: BTreeSet<_> = list(&dashboard, "/templating/list")?
        .iter()
        .filter_map(|variable| variable["name"].as_str())
        .collect();
    assert_eq!(variables, BTreeSet::from(["datasource", "namespace"]));
    // Prometheus reads them once Grafana has put in what its variables stand for.
    let rules: Vec<_> = expressions(&dashboard)?
        .iter()
        .enumerate()
        .map(|(index, expression)| {
            let plain = expression
                .replace("$namespace", ".*")
                .replace("$__rate_interval", "5m");
            assert!(!plain.contains('$'), "{plain}");
            json!({"record": format!("panel:{index}"), "expr": plain})
        })
        .collect();
    assert!(rules.len() > 15);
    let file = json!({"groups": [{"name": "panels", "rules": rules}]}).to_string();
    promtool(&["check", "rules", "panels.yaml"], &[("panels.yaml", file)]).map(drop)
}

#[test]
fn network_policies_open_what_is_served_and_asked_for_and_nothing_else() -> Result<()> {
    let policies = |values: &Value| -> Result<BTreeMap<String, Value>> {
        let objects = render(CURRENT, values)?;
        let mut found = BTreeMap::new();
        for policy in all(&objects, "NetworkPolicy") {
            let selector = &policy["spec"]["podSelector"]["matchLabels"];
            let component = string(selector, "/app.kubernetes.io~1component")?;
            found.insert(component.to_owned(), policy["spec"].clone());
        }
        ensure!(found.len() == 2, "{found:?}");
        Ok(found)
    };
    let tcp = |ports: &[u16]| -> Value {
        ports
            .iter()
            .map(|port| json!({"protocol": "TCP", "port": port}))
            .collect()
    };
    let closed = policies(&json!({"networkPolicy": {"enabled": true}}))?;
    assert_eq!(closed["agent"]["ingress"], json!([]));
    assert_eq!(
        closed["controller"]["ingress"],
        json!([{"ports": tcp(&[9443])}])
    );
    for policy in closed.values() {
        assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["egress"], json!([{"ports": tcp(&[443, 6443])}]));
    }
    let prometheus = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}});
    let server = json!({"ipBlock": {"cidr": "10.0.0.1/32"}});
    let open = policies(&json!({
        "networkPolicy": {"enabled": true, "metricsFrom": [prometheus], "apiServer": {"to": [server], "ports": [6443]}},
        "agent": {"healthPort": 9000}, "webhook": {"containerPort": 10250},
    }))?;
    let metrics = |port| json!({"from": [prometheus], "ports": tcp(&[port])});
    assert_eq!(open["agent"]["ingress"], json!([metrics(9000)]));
    assert_eq!(
        open["controller"]["ingress"],
        json!([{"ports": tcp(&[10250])}, metrics(8081)])
    );
    for policy in open.values() {
        assert_eq!(
            policy["egress"],
            json!([{"to": [server], "ports": tcp(&[6443])}])
        );
    }
    Ok(())
}

#[test]
fn a_reloadable_log_filter_is_in_a_file_and_changing_it_changes_no_pod() -> Result<()> {
    let filtered = |filter: &str| {
        render(
            CURRENT,
            &json!({"log": {"reloadable": true, "filter": filter}}),
        )
    };
    let (info, debug) = (filtered("info")?, filtered("debug")?);
    assert_eq!(
        only(&debug, "ConfigMap")?["data"],
        json!({"filter": "debug"})
    );
    let [(_, controller), (_, agent)] = workloads(&info)?;
    assert_eq!(workloads(&info)?, workloads(&debug)?);
    for workload in [controller, agent] {
        let path = Path::new(arg(workload, "log-level-file")?);
        let pod = &workload["spec"]["template"]["spec"];
        let volume = list(pod, "/volumes")?
            .iter()
            .find(|volume| volume["name"] == "log");
        let map = &volume.context("no volume log")?["configMap"];
        assert_eq!(map["name"], only(&info, "ConfigMap")?["metadata"]["name"]);
        assert_eq!(map["optional"], true);
        let mounts = list(container(workload)?, "/volumeMounts")?;
        let mount = mounts
            .iter()
            .find(|mount| mount["name"] == "log")
            .context("no mount")?;
        assert_eq!(
            Path::new(string(mount, "/mountPath")?),
            path.parent().context("no folder")?
        );
        assert_eq!(
            path.file_name().and_then(|name| name.to_str()),
            Some("filter")
        );
        assert_eq!(mount["readOnly"], true);
        // The environment would win over the file's absence, and a change of it would restart the pods.
        assert!(
            !list(container(workload)?, "/env")?
                .iter()
                .any(|variable| variable["name"] == "RUST_LOG")
        );
    }
    Ok(())
}

#[test]
fn annotations_of_the_workloads_are_theirs_and_not_their_pods() -> Result<()> {
    let values =
        json!({"controller": {"annotations": {"a": "1"}}, "agent": {"annotations": {"b": "2"}}});
    let objects = render(CURRENT, &values)?;
    let [(_, controller), (_, agent)] = workloads(&objects)?;
    assert_eq!(controller["metadata"]["annotations"], json!({"a": "1"}));
    assert_eq!(agent["metadata"]["annotations"], json!({"b": "2"}));
    for workload in [controller, agent] {
        assert!(workload["spec"]["template"]["metadata"]["annotations"].is_null());
    }
    Ok(())
}
