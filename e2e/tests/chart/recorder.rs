//! The recorder's DaemonSet, which is not there unless it is asked for.

use anyhow::{Context as _, Result};
use e2e::cel::evaluate;
use serde_json::{Value, json};

use crate::helm::{CURRENT, OLDEST, render};
use crate::objects::{all, identity, list, rules, string};

const NAME: &str = "rel-seccomp-operator-recorder";

fn find(objects: &[Value], wanted: &str) -> Result<Value> {
    let mut found = objects
        .iter()
        .filter(|object| identity(object).is_ok_and(|identity| identity == wanted));
    found
        .next()
        .cloned()
        .with_context(|| format!("no {wanted}"))
}

fn asked_for(version: &str, more: &Value) -> Result<Vec<Value>> {
    let mut values = json!({"recorder": {"enabled": true}});
    for (key, value) in more.as_object().into_iter().flatten() {
        values["recorder"][key] = value.clone();
    }
    render(version, &values)
}

#[test]
fn nothing_of_it_is_there_by_default() -> Result<()> {
    for object in render(CURRENT, &json!({}))? {
        assert!(!identity(&object)?.contains(NAME), "{object}");
    }
    Ok(())
}

#[test]
fn its_pods_have_no_capability_and_one_folder_of_the_host() -> Result<()> {
    for version in [OLDEST, CURRENT] {
        let daemon_set = find(
            &asked_for(version, &json!({}))?,
            &format!("DaemonSet security/{NAME}"),
        )?;
        let pod = &daemon_set["spec"]["template"]["spec"];
        let folder =
            json!({"path": "/var/lib/kubelet/seccomp/recorder", "type": "DirectoryOrCreate"});
        assert_eq!(
            pod["volumes"],
            json!([{"name": "recorder", "hostPath": folder}])
        );
        for namespace in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
            assert!(pod.get(namespace).is_none(), "{namespace}");
        }
        assert_eq!(
            pod["securityContext"]["seccompProfile"],
            json!({"type": "RuntimeDefault"})
        );
        let containers = list(pod, "/containers")?;
        let commands: Vec<_> = containers
            .iter()
            .map(|container| container["command"].clone())
            .collect();
        let command = |which: &str| json!(["/seccomp-operator-recorder", which]);
        assert_eq!(commands, [command("hold"), command("record")]);
        for container in containers {
            let expected = json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            });
            assert_eq!(container["securityContext"], expected);
            assert_eq!(
                container["volumeMounts"],
                json!([{"name": "recorder", "mountPath": "/host/recorder"}])
            );
            assert!(list(container, "/args")?.contains(&json!("--recorder-dir=/host/recorder")));
        }
    }
    Ok(())
}

/// One pod takes over from the other, where Kubernetes lets two of them be on a node.
#[test]
fn an_update_brings_the_new_pod_before_the_old_one_goes() -> Result<()> {
    for (version, expected) in [
        (CURRENT, json!({"maxSurge": "10%", "maxUnavailable": 0})),
        (OLDEST, json!({"maxUnavailable": "10%"})),
    ] {
        let daemon_set = find(
            &asked_for(version, &json!({}))?,
            &format!("DaemonSet security/{NAME}"),
        )?;
        assert_eq!(
            daemon_set["spec"]["updateStrategy"]["rollingUpdate"],
            expected
        );
    }
    Ok(())
}

#[test]
fn it_may_write_reports_and_nothing_else() -> Result<()> {
    let objects = asked_for(CURRENT, &json!({}))?;
    let role = find(&objects, &format!("ClusterRole /{NAME}.security"))?;
    let only = [
        "seccomp-operator.io/seccompdenialreports: get create patch",
        "seccomp-operator.io/seccomprecordingreports: get create patch",
    ];
    assert_eq!(rules(&role)?.into_iter().collect::<Vec<_>>(), only);
    let bound = |binding: &&Value| binding["subjects"][0]["name"] == NAME;
    let bindings: Vec<_> = all(&objects, "ClusterRoleBinding")
        .chain(all(&objects, "RoleBinding"))
        .filter(bound)
        .collect();
    assert_eq!(bindings.len(), 1);
    assert_eq!(bindings[0]["roleRef"]["name"], format!("{NAME}.security"));
    Ok(())
}

#[test]
fn it_may_write_reports_of_its_own_node_only() -> Result<()> {
    let objects = asked_for(CURRENT, &json!({}))?;
    let policy = find(
        &objects,
        &format!("ValidatingAdmissionPolicy /{NAME}.security"),
    )?;
    let user = format!("system:serviceaccount:security:{NAME}");
    let is_concerned = string(&policy, "/spec/matchConditions/0/expression")?;
    let node_of = string(&policy, "/spec/variables/0/expression")?;
    let allowed = string(&policy, "/spec/validations/0/expression")?;
    let report = |node: &str| json!({"metadata": {"name": "web.n1.0"}, "node": node});
    for (claim, new, old, expected) in [
        (json!(["n1"]), "n1", None, true),
        (json!(["n1"]), "n1", Some("n1"), true),
        (json!(["n1"]), "n2", None, false),
        (json!(["n1"]), "n1", Some("n2"), false),
        (json!(["n1"]), "n2", Some("n1"), false),
        (Value::Null, "", None, false),
    ] {
        let mut request = json!({"operation": if old.is_some() { "UPDATE" } else { "CREATE" }, "userInfo": {"username": user}});
        if !claim.is_null() {
            request["userInfo"]["extra"] = json!({"authentication.kubernetes.io/node-name": claim});
        }
        let (object, old_object) = (report(new), old.map_or(Value::Null, report));
        let given = [
            ("request", &request),
            ("object", &object),
            ("oldObject", &old_object),
        ];
        assert_eq!(evaluate(is_concerned, &given)?, json!(true));
        let node = evaluate(node_of, &given)?;
        let variables = json!({"node": node});
        let given = [given[0], given[1], given[2], ("variables", &variables)];
        assert_eq!(
            evaluate(allowed, &given)?,
            json!(expected),
            "{claim} {new} {old:?}"
        );
    }
    let named = string(&policy, "/spec/validations/1/expression")?;
    for (kind, name, expected) in [
        ("seccomprecordingreports", "web.n1.0", true),
        ("seccompdenialreports", "n1", true),
        ("seccompdenialreports", "n2", false),
    ] {
        let request = json!({"resource": {"resource": kind}});
        let object = json!({"metadata": {"name": name}, "node": "n1"});
        let given = [("request", &request), ("object", &object)];
        assert_eq!(evaluate(named, &given)?, json!(expected), "{kind} {name}");
    }
    let off = asked_for(CURRENT, &json!({"ownNodeOnly": false}))?;
    assert!(find(&off, &format!("ValidatingAdmissionPolicy /{NAME}.security")).is_err());
    Ok(())
}

/// To evict is a right on all pods: nobody has it who does not ask for it.
#[test]
fn the_controller_looks_at_lost_pods_and_evicts_them_only_if_it_may() -> Result<()> {
    const ADDED: [&str; 2] = ["/pods: get", "/events: create"];
    let role = |objects: &[Value]| {
        let name = "ClusterRole /rel-seccomp-operator-controller.security";
        rules(&find(objects, name)?)
    };
    let without = role(&render(CURRENT, &json!({}))?)?;
    let with = role(&asked_for(CURRENT, &json!({}))?)?;
    let evicts = role(&asked_for(CURRENT, &json!({"evict": true}))?)?;
    let more = |one: &std::collections::BTreeSet<String>, other| {
        let more = one.difference(other).cloned();
        more.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(more(&with, &without), ADDED.map(str::to_owned).into());
    assert_eq!(
        more(&evicts, &with),
        ["/pods/eviction: create".to_owned()].into()
    );
    let alone = role(&render(CURRENT, &json!({"recorder": {"evict": true}}))?)?;
    assert_eq!(alone, without);
    Ok(())
}
