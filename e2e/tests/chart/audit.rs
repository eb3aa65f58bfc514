//! The audit reader's DaemonSet, which is not there unless it is asked for.

use anyhow::{Context as _, Result};
use e2e::cel::evaluate;
use serde_json::{Value, json};

use crate::helm::{CURRENT, OLDEST, render};
use crate::objects::{all, args, container, identity, list, rules, string};

const NAME: &str = "rel-seccomp-operator-audit";

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
    let mut values = json!({"audit": {"enabled": true}});
    for (key, value) in more.as_object().into_iter().flatten() {
        values["audit"][key] = value.clone();
    }
    render(version, &values)
}

#[test]
fn nothing_of_it_is_there_by_default_and_nobody_looks_for_it() -> Result<()> {
    for object in render(CURRENT, &json!({}))? {
        assert!(!identity(&object)?.contains(NAME), "{object}");
        if ["Deployment", "DaemonSet"].contains(&string(&object, "/kind")?) {
            assert!(!args(&object)?.contains(&"--audit"), "{object}");
        }
    }
    Ok(())
}

#[test]
fn its_pods_have_one_capability_and_no_file_of_the_host() -> Result<()> {
    for version in [OLDEST, CURRENT] {
        let objects = asked_for(version, &json!({}))?;
        let daemon_set = find(&objects, &format!("DaemonSet security/{NAME}"))?;
        let pod = &daemon_set["spec"]["template"]["spec"];
        assert!(pod.get("volumes").is_none(), "{pod}");
        assert_eq!(
            (&pod["hostNetwork"], &pod["hostPID"]),
            (&json!(true), &json!(true))
        );
        assert!(pod.get("hostIPC").is_none());
        assert_eq!(
            pod["securityContext"]["seccompProfile"],
            json!({"type": "RuntimeDefault"})
        );
        let container = container(&daemon_set)?;
        assert_eq!(container["command"], json!(["/seccomp-operator-audit"]));
        let expected = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["AUDIT_READ"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(container["securityContext"], expected);
        // Two of them would want the same port of the node.
        let update = &daemon_set["spec"]["updateStrategy"]["rollingUpdate"];
        assert_eq!(*update, json!({"maxUnavailable": "10%"}));
        for (kind, name) in [
            ("DaemonSet", "rel-seccomp-operator-agent"),
            ("Deployment", "rel-seccomp-operator-controller"),
        ] {
            let workload = find(&objects, &format!("{kind} security/{name}"))?;
            assert!(args(&workload)?.contains(&"--audit"), "{name}");
        }
    }
    let reloadable = render(
        CURRENT,
        &json!({"audit": {"enabled": true}, "log": {"reloadable": true}}),
    )?;
    let daemon_set = find(&reloadable, &format!("DaemonSet security/{NAME}"))?;
    let volumes = list(&daemon_set, "/spec/template/spec/volumes")?;
    assert_eq!(volumes.len(), 1);
    assert!(volumes[0].get("configMap").is_some());
    Ok(())
}

#[test]
fn it_may_look_at_pods_and_profiles_and_write_its_report() -> Result<()> {
    let objects = asked_for(CURRENT, &json!({}))?;
    let role = find(&objects, &format!("ClusterRole /{NAME}.security"))?;
    let only = [
        "/pods: list watch",
        "seccomp-operator.io/seccompauditreports: get create patch",
        "seccomp-operator.io/seccompprofiles: list watch",
    ];
    assert_eq!(rules(&role)?.into_iter().collect::<Vec<_>>(), only);
    let bound = |binding: &&Value| binding["subjects"][0]["name"] == NAME;
    let bindings: Vec<_> = all(&objects, "ClusterRoleBinding")
        .chain(all(&objects, "RoleBinding"))
        .filter(bound)
        .collect();
    assert_eq!(bindings.len(), 1);
    assert_eq!(bindings[0]["roleRef"]["name"], format!("{NAME}.security"));
    // The agent tells the pods.
    let agent = find(&objects, "ClusterRole /rel-seccomp-operator-agent.security")?;
    assert!(rules(&agent)?.contains("seccomp-operator.io/seccompauditreports: list watch"));
    Ok(())
}

#[test]
fn it_may_write_the_report_of_its_own_node_only() -> Result<()> {
    let objects = asked_for(CURRENT, &json!({}))?;
    let policy = find(
        &objects,
        &format!("ValidatingAdmissionPolicy /{NAME}.security"),
    )?;
    let user = format!("system:serviceaccount:security:{NAME}");
    let is_concerned = string(&policy, "/spec/matchConditions/0/expression")?;
    let node_of = string(&policy, "/spec/variables/0/expression")?;
    let allowed = string(&policy, "/spec/validations/0/expression")?;
    let report = |(name, node): (&str, &str)| json!({"metadata": {"name": name}, "node": node});
    for (claim, new, old, expected) in [
        (json!(["n1"]), ("n1", "n1"), None, true),
        (json!(["n1"]), ("n1", "n1"), Some(("n1", "n1")), true),
        (json!(["n1"]), ("n2", "n2"), None, false),
        (json!(["n1"]), ("n2", "n1"), None, false),
        (json!(["n1"]), ("n1.audit", "n1"), None, false),
        (json!(["n1"]), ("n1", "n1"), Some(("n1", "n2")), false),
        (Value::Null, ("", ""), None, false),
    ] {
        let operation = if old.is_some() { "UPDATE" } else { "CREATE" };
        let mut request = json!({"operation": operation, "userInfo": {"username": user}});
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
        let variables = json!({"node": evaluate(node_of, &given)?});
        let given = [given[0], given[1], given[2], ("variables", &variables)];
        assert_eq!(
            evaluate(allowed, &given)?,
            json!(expected),
            "{claim} {new:?} {old:?}"
        );
    }
    let resources = &policy["spec"]["matchConstraints"]["resourceRules"][0]["resources"];
    assert_eq!(*resources, json!(["seccompauditreports"]));
    let off = asked_for(CURRENT, &json!({"ownNodeOnly": false}))?;
    assert!(find(&off, &format!("ValidatingAdmissionPolicy /{NAME}.security")).is_err());
    Ok(())
}

#[test]
fn it_is_scraped_beside_the_agents() -> Result<()> {
    let values =
        json!({"audit": {"enabled": true}, "monitoring": {"podMonitor": {"enabled": true}}});
    let objects = render(CURRENT, &values)?;
    let monitor = find(&objects, &format!("PodMonitor security/{NAME}"))?;
    let component = &monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"];
    assert_eq!(component, "audit");
    assert_eq!(all(&objects, "PodMonitor").count(), 2);
    Ok(())
}
