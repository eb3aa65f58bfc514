//! The Deployment and the DaemonSet: arguments, security contexts, probes, images and what values change of them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::helm::{CURRENT, OLDEST, refusal, render};
use crate::objects::{all, arg, args, container, list, only, rules, string, workloads};

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
            "--recorder-selector=app.kubernetes.io/name=seccomp-operator,app.kubernetes.io/instance=rel,app.kubernetes.io/component=recorder",
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
        "overrides": ["Unconfined"],
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
fn replicas_are_kept_apart_by_a_label_that_every_node_has_and_by_zone_besides() -> Result<()> {
    for (version, keys) in [
        (OLDEST, Value::Null),
        (CURRENT, json!(["pod-template-hash"])),
    ] {
        let objects = render(version, &json!({}))?;
        let [(_, controller), _] = workloads(&objects)?;
        let pod = &controller["spec"]["template"]["spec"];
        // The scheduler looks at no constraint on nodes that lack the label of one: nothing would keep the replicas apart where
        // there are no zones.
        let constraints = list(pod, "/topologySpreadConstraints")?;
        assert_eq!(constraints.len(), 1, "{constraints:?}");
        assert_eq!(constraints[0]["topologyKey"], "kubernetes.io/hostname");
        assert_eq!(constraints[0]["matchLabelKeys"], keys, "{version}");
        let zone = &pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
            [0];
        assert_eq!(
            zone["podAffinityTerm"]["topologyKey"],
            "topology.kubernetes.io/zone"
        );
    }
    let own = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}});
    let objects = render(CURRENT, &json!({"controller": {"affinity": own}}))?;
    let [(_, controller), _] = workloads(&objects)?;
    assert_eq!(controller["spec"]["template"]["spec"]["affinity"], own);
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
                pod["affinity"]["nodeAffinity"] == given["affinity"]["nodeAffinity"],
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

/// Everything that the chart starts by a path of its own is in the image, under a name of a binary or of a link to one.
#[test]
fn every_command_is_in_the_image() -> Result<()> {
    let image = tempfile::tempdir()?;
    for binary in ["seccomp-operator", "seccomp-operator-agent"] {
        std::fs::write(image.path().join(binary), "")?;
    }
    let links = concat!(env!("CARGO_MANIFEST_DIR"), "/../ci/links");
    let made = std::process::Command::new(links)
        .arg(image.path())
        .status()?;
    assert!(made.success());
    let all = json!({"recorder": {"enabled": true}, "audit": {"enabled": true}});
    let mut commands = 0;
    for object in render(CURRENT, &all)? {
        let pod = match string(&object, "/kind")? {
            "Pod" => object.pointer("/spec"),
            "Deployment" | "DaemonSet" | "Job" => object.pointer("/spec/template/spec"),
            _ => continue,
        };
        let pod = pod.context("no pod")?;
        for containers in ["initContainers", "containers"] {
            for container in pod[containers].as_array().into_iter().flatten() {
                let Some(command) = container["command"][0].as_str() else {
                    continue;
                };
                let name = command.strip_prefix('/').context(command.to_owned())?;
                assert!(image.path().join(name).exists(), "{command}");
                commands += 1;
            }
        }
    }
    assert!(commands > 3, "{commands}");
    Ok(())
}
