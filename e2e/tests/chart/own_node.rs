//! The policy that lets an agent write the SeccompNode of its own node only, evaluated on requests as an API server of Kubernetes
//! 1.30 or later describes them.

use anyhow::{Context as _, Result};
use e2e::cel::evaluate;
use serde_json::{Map, Value, json};

use crate::helm::{CURRENT, OLDEST, render};
use crate::objects::{all, kind, list, only, string};

const AGENT: &str = "system:serviceaccount:security:rel-seccomp-operator-agent";
const CLAIM: &str = "authentication.kubernetes.io/node-name";

/// A request to write a SeccompNode.
fn request(operation: &str, user: &str, extra: &Value, node: &str) -> Value {
    let object = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompNode",
        "metadata": {"name": node}, "appliedResourceVersion": "7",
    });
    let mut request = json!({
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "seccomp-operator.io", "version": "v1alpha1", "kind": "SeccompNode"},
        "resource": {"group": "seccomp-operator.io", "version": "v1alpha1", "resource": "seccompnodes"},
        "subResource": "",
        "name": node,
        "operation": operation,
        "userInfo": {
            "username": user,
            "uid": "2a1fb34a-0d0f-4f7c-9d60-d1f1b7cb7a1b",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:security", "system:authenticated"],
        },
        "object": if operation == "DELETE" { Value::Null } else { object.clone() },
        "oldObject": if operation == "CREATE" { Value::Null } else { object },
        "dryRun": false,
    });
    if !extra.is_null() {
        request["userInfo"]["extra"] = extra.clone();
    }
    request
}

/// What a token says that was made for a pod on this node.
fn bound_to(node: &str) -> Value {
    json!({
        "authentication.kubernetes.io/credential-id": ["JTI=7ee52be0-9045-4653-aa5e-0da57b8dccdc"],
        CLAIM: [node],
        "authentication.kubernetes.io/node-uid": ["8e6b6a6e-0a6c-4a6e-9d3f-3a8a3f1a2b3c"],
        "authentication.kubernetes.io/pod-name": ["rel-seccomp-operator-agent-x7k2p"],
        "authentication.kubernetes.io/pod-uid": ["1f0c7f3e-5a5a-4a59-8d0e-0c1f0b8f2a11"],
    })
}

/// Why the policy denies a request, if it does.
fn denial(policy: &Value, request: &Value) -> Result<Option<String>> {
    let spec = &policy["spec"];
    let rule = &list(policy, "/spec/matchConstraints/resourceRules")?[0];
    let has = |field: &str, value: &str| {
        let values = rule[field].as_array().into_iter().flatten();
        values
            .filter_map(Value::as_str)
            .any(|known| known == "*" || known == value)
    };
    let subresource = string(request, "/subResource")?;
    let resource = string(request, "/resource/resource")?;
    let resource = match subresource {
        "" => resource.to_owned(),
        _ => format!("{resource}/*"),
    };
    let concerned = has("apiGroups", string(request, "/resource/group")?)
        && has("apiVersions", string(request, "/resource/version")?)
        && has("operations", string(request, "/operation")?)
        && has("resources", &resource);
    if !concerned {
        return Ok(None);
    }
    let (object, old) = (&request["object"], &request["oldObject"]);
    let given = [("request", request), ("object", object), ("oldObject", old)];
    for condition in list(policy, "/spec/matchConditions")? {
        if evaluate(string(condition, "/expression")?, &given)? == json!(false) {
            return Ok(None);
        }
    }
    let mut variables = Value::Object(Map::new());
    for variable in list(policy, "/spec/variables")? {
        let known = [&given[..], &[("variables", &variables)]].concat();
        let value = evaluate(string(variable, "/expression")?, &known)?;
        variables[string(variable, "/name")?] = value;
    }
    let known = [&given[..], &[("variables", &variables)]].concat();
    for validation in list(policy, "/spec/validations")? {
        if evaluate(string(validation, "/expression")?, &known)? != json!(true) {
            let message = evaluate(string(validation, "/messageExpression")?, &known)?;
            return Ok(Some(message.as_str().context("no message")?.to_owned()));
        }
    }
    assert_eq!(spec["failurePolicy"], "Fail");
    Ok(None)
}

#[test]
fn an_agent_may_write_the_report_of_its_own_node_and_no_other() -> Result<()> {
    let objects = render(CURRENT, &json!({}))?;
    let policy = only(&objects, "ValidatingAdmissionPolicy")?;
    let nobody =
        "the token of this agent does not say which node it is on; it may write no SeccompNode";
    let other = "the agent of node node1 may write the SeccompNode of that node only";
    for operation in ["CREATE", "UPDATE", "DELETE"] {
        for (extra, node, expected) in [
            (bound_to("node1"), "node1", None),
            (bound_to("node1"), "node2", Some(other)),
            (bound_to("node1"), "node1.example.com", Some(other)),
            (Value::Null, "node1", Some(nobody)),
            (json!({}), "node1", Some(nobody)),
            (
                json!({"authentication.kubernetes.io/credential-id": ["JTI=1"]}),
                "node1",
                Some(nobody),
            ),
        ] {
            let request = request(operation, AGENT, &extra, node);
            let denied = denial(policy, &request)?;
            assert_eq!(denied.as_deref(), expected, "{operation} {node} {extra}");
        }
    }
    let mut status = request("UPDATE", AGENT, &bound_to("node1"), "node2");
    status["subResource"] = "status".into();
    assert_eq!(denial(policy, &status)?.as_deref(), Some(other));
    Ok(())
}

#[test]
fn nobody_but_the_agents_of_this_release_is_held_to_a_node() -> Result<()> {
    let objects = render(CURRENT, &json!({}))?;
    let policy = only(&objects, "ValidatingAdmissionPolicy")?;
    for user in [
        "system:serviceaccount:security:rel-seccomp-operator-controller",
        "system:serviceaccount:kube-system:rel-seccomp-operator-agent",
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "admin",
    ] {
        for operation in ["CREATE", "UPDATE", "DELETE"] {
            let request = request(operation, user, &Value::Null, "node1");
            assert_eq!(denial(policy, &request)?, None, "{user}");
        }
    }
    let mut events = request("CREATE", AGENT, &bound_to("node1"), "an-event");
    events["resource"] = json!({"group": "", "version": "v1", "resource": "events"});
    assert_eq!(denial(policy, &events)?, None);
    Ok(())
}

#[test]
fn the_policy_names_the_account_that_the_agents_have() -> Result<()> {
    let values = json!({"agent": {"serviceAccount": {"create": false, "name": "theirs"}}});
    let objects = render(CURRENT, &values)?;
    let policy = only(&objects, "ValidatingAdmissionPolicy")?;
    let denied = |user: &str| {
        denial(
            policy,
            &request("UPDATE", user, &bound_to("node1"), "node2"),
        )
    };
    assert!(denied("system:serviceaccount:security:theirs")?.is_some());
    assert!(denied(AGENT)?.is_none());
    let binding = only(&objects, "ValidatingAdmissionPolicyBinding")?;
    assert_eq!(
        string(binding, "/spec/policyName")?,
        string(policy, "/metadata/name")?
    );
    assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
    Ok(())
}

#[test]
fn the_policy_is_there_where_tokens_name_their_node_and_can_be_turned_off() -> Result<()> {
    let off = json!({"agent": {"ownNodeOnly": false}});
    for (kubernetes, values, expected) in [
        (OLDEST, json!({}), 0),
        ("1.29.15", json!({}), 0),
        ("1.30.0", json!({}), 1),
        ("v1.30.4-gke.1348000", json!({}), 1),
        (CURRENT, json!({}), 1),
        (CURRENT, off, 0),
    ] {
        let objects = render(kubernetes, &values)?;
        for wanted in [
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ] {
            let count = all(&objects, wanted).count();
            assert_eq!(count, expected, "{wanted} for Kubernetes {kubernetes}");
        }
        assert!(objects.iter().any(|object| kind(object) == "DaemonSet"));
    }
    Ok(())
}
