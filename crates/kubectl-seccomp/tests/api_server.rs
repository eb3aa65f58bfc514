//! `kubectl-seccomp status` and `coverage` against API servers that answer oddly, or not at all. What they say of a real cluster
//! is tested on one.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Answers every request by a function of its path; remembers the paths and the users that are asked for.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

fn serve(answer: impl Fn(&str) -> (u16, Value) + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let path = lines
                .next()
                .unwrap()
                .unwrap()
                .split(' ')
                .nth(1)
                .unwrap()
                .to_owned();
            let user = lines
                .map_while(|line| line.ok().filter(|line| !line.is_empty()))
                .find_map(|line| Some(line.strip_prefix("impersonate-user: ")?.to_owned()));
            log.lock().unwrap().push(format!(
                "{path}{}",
                user.map(|u| format!(" as {u}")).unwrap_or_default()
            ));
            let (code, body) = answer(&path);
            let body = body.to_string();
            write!(
                stream,
                "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
        }
    });
    Server { port, asked }
}

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(kubeconfig: Option<&str>, args: &[&str]) -> Ran {
    let dir = TempDir::new().unwrap();
    let file: PathBuf = dir.path().join("config");
    if let Some(text) = kubeconfig {
        std::fs::write(&file, text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-seccomp"));
    command.args(args).env_clear().env("HOME", dir.path());
    if kubeconfig.is_some() {
        command.env("KUBECONFIG", &file);
    }
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn kubeconfig(port: u16) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
    })
    .to_string()
}

fn list(kind: &str, items: &[Value]) -> Value {
    json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items})
}

fn status(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code});
    (code, status)
}

fn pod(name: &str, container: Value) -> Value {
    let mut container = container;
    container["name"] = "main".into();
    json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"containers": [container]}, "status": {"phase": "Running"}})
}

fn confined() -> Value {
    json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}})
}

#[test]
fn without_a_cluster_one_sentence_says_what_is_missing() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = kubeconfig(gone);
    for (config, args, parts) in [
        (
            None,
            &["status"][..],
            &["there is no kubeconfig", "--kubeconfig"][..],
        ),
        (
            None,
            &["status", "--kubeconfig", "/nowhere"],
            &["/nowhere", "No such file", "--kubeconfig"],
        ),
        (Some("{"), &["status"], &["the kubeconfig is wrong"]),
        (
            Some(config.as_str()),
            &["status", "--context", "there"],
            &["no context \"there\"", "here"],
        ),
        (
            Some(config.as_str()),
            &["status"],
            &[
                "cannot reach the API server at http://127.0.0.1:",
                "refused",
            ],
        ),
        (
            Some(config.as_str()),
            &["coverage"],
            &["cannot reach the API server"],
        ),
    ] {
        let ran = run(config, args);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (2, ""),
            "{args:?}: {}",
            ran.stderr
        );
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        for part in parts {
            assert!(
                ran.stderr.contains(part),
                "{args:?}: no {part:?} in {}",
                ran.stderr
            );
        }
    }
    // What needs no cluster does not look for one.
    let lint = run(
        Some("{"),
        &["lint", "runtime-default", "--fail-on", "error"],
    );
    assert_eq!(lint.code, 0, "{}", lint.stderr);
}

#[test]
fn an_api_server_that_refuses_is_quoted_in_a_sentence() {
    for (code, reason, parts) in [
        (
            401,
            "Unauthorized",
            &["does not know these credentials"][..],
        ),
        (
            403,
            "Forbidden",
            &[
                "you may not list seccompprofiles.seccomp-operator.io",
                "the verb list",
            ],
        ),
        (
            404,
            "NotFound",
            &["does not know seccompprofiles", "not installed"],
        ),
        (
            500,
            "InternalError",
            &["refuses to list seccompprofiles", "no (500)"],
        ),
    ] {
        let server = serve(move |_| status(code, reason));
        let ran = run(Some(&kubeconfig(server.port)), &["status"]);
        assert_eq!(ran.code, 2);
        for part in parts {
            assert!(
                ran.stderr.contains(part),
                "{code}: no {part:?} in {}",
                ran.stderr
            );
        }
    }
}

#[test]
fn an_api_server_that_does_not_answer_is_given_up() {
    // Whoever connects is never accepted.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let ran = run(
        Some(&kubeconfig(port)),
        &["status", "--request-timeout=200ms"],
    );
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .contains("did not answer within 0.2 s (--request-timeout)"),
        "{}",
        ran.stderr
    );
}

#[test]
fn coverage_needs_nothing_of_the_operator_and_lists_page_by_page() {
    let gone = Arc::new(Mutex::new(true));
    let server = serve(move |path| {
        if !path.contains("/pods") {
            return status(404, "NotFound");
        }
        assert!(
            path.contains("limit=500") && path.contains("status.phase%21%3DSucceeded"),
            "{path}"
        );
        // The second page is gone once, as after some minutes: the list has to begin anew.
        let first = !path.contains("continue=");
        if !first && std::mem::take(&mut *gone.lock().unwrap()) {
            return status(410, "Expired");
        }
        let pods = if first {
            pod("a", confined())
        } else {
            pod("b", json!({}))
        };
        let mut page = list("PodList", &[pods]);
        page["metadata"]["continue"] = if first { "next".into() } else { json!("") };
        (200, page)
    });
    let config = kubeconfig(server.port);
    let ran = run(
        Some(&config),
        &["coverage", "--as", "jane", "-l", "app=web"],
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for part in [
        "a     main        RuntimeDefault",
        "b     main        Unconfined or node default",
        "2 pods, 2 containers",
    ] {
        assert!(ran.stdout.contains(part), "no {part:?} in {}", ran.stdout);
    }
    let asked = server.asked.lock().unwrap().clone();
    let pods = asked
        .iter()
        .filter(|path| path.contains("/namespaces/shop/pods"));
    assert_eq!(pods.count(), 4, "{asked:?}");
    assert!(
        asked.iter().all(|path| path.ends_with(" as jane")),
        "{asked:?}"
    );
    assert!(
        asked
            .iter()
            .any(|path| path.contains("labelSelector=app%3Dweb")),
        "{asked:?}"
    );

    let failed = run(
        Some(&config),
        &["coverage", "--fail-on", "unconfined", "-o", "json"],
    );
    assert_eq!((failed.code, failed.stderr.as_str()), (1, ""));
    let data: Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!(data["summary"]["unset"], 1);
    assert_eq!(data["containers"][1]["state"], "unset");
}

#[test]
fn a_policy_in_a_file_is_asked_before_anybody_applies_it() {
    let server = serve(|path| {
        if path.contains("/pods") {
            (
                200,
                list("PodList", &[pod("a", json!({})), pod("own", confined())]),
            )
        } else {
            status(403, "Forbidden")
        }
    });
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("policy.yaml");
    let policy = "apiVersion: seccomp-operator.io/v1alpha1\nkind: SeccompPolicy\nmetadata: {name: new}\nspec: {profile: {type: RuntimeDefault}, mode: Observe}\n";
    std::fs::write(&file, policy).unwrap();
    let config = kubeconfig(server.port);
    let file = file.to_str().unwrap();
    let ran = run(Some(&config), &["coverage", "--what-if", "--policy", file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for part in [
        "a     RuntimeDefault   pod   new (observes)",
        "2 pods, 1 would change: 1 state what they want, 1 get a profile from policies",
        "you may not list namespaces",
    ] {
        assert!(ran.stdout.contains(part), "no {part:?} in {}", ran.stdout);
    }
    std::fs::write(file, policy.replace("mode:", "mod:")).unwrap();
    let ran = run(Some(&config), &["coverage", "--what-if", "--policy", file]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("new: spec.mod: there is no such field"),
        "{}",
        ran.stderr
    );
    let ran = run(Some(&config), &["coverage", "--policy", file]);
    assert!(
        ran.code == 2 && ran.stderr.contains("--what-if"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_gate_on_a_namespace_that_is_not_there_is_wrong_use_and_one_on_an_empty_one_passes() {
    let server = serve(|path| {
        if path.contains("/pods") {
            (200, list("PodList", &[]))
        } else if path.starts_with("/api/v1/namespaces/shop") {
            (
                200,
                json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}}),
            )
        } else if path.starts_with("/api/v1/namespaces/shpo") {
            status(404, "NotFound")
        } else {
            status(403, "Forbidden")
        }
    });
    let config = kubeconfig(server.port);
    let gate = |namespace| {
        let args = ["coverage", "-n", namespace, "--fail-on", "unconfined"];
        run(Some(&config), &args)
    };
    let ran = gate("shpo");
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(
        ran.stderr.contains("there is no namespace \"shpo\""),
        "{}",
        ran.stderr
    );
    assert_eq!(gate("shop").code, 0);
    // Nobody can say whether it is there.
    assert_eq!(gate("secret").code, 0);
    let ran = run(Some(&config), &["coverage", "-n", "shpo", "--what-if"]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
}

#[test]
fn status_shows_what_one_may_list_and_says_what_is_missing() {
    let profile = json!({
        "metadata": {"name": "web", "generation": 1}, "spec": {"base": "audit"},
        "status": {
            "observedGeneration": 1, "nodes": {"desired": 2, "ready": 1, "failed": 1, "summary": "1/2"},
            "failures": [{"node": "n1", "reason": "Conflict", "message": "the file is somebody else's"}],
            "conditions": [{"type": "Ready", "status": "False", "reason": "Failed", "message": "1 of 2 nodes failed", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        },
    });
    let node = json!({"metadata": {"name": "n1"},
        "appliedResourceVersion": "9", "failed": 0, "node": {"architecture": "amd64", "kernelVersion": "6.1", "agentVersion": "1"},
    });
    let may = move |kind: &'static str| {
        let (profile, node) = (profile.clone(), node.clone());
        let server = serve(move |path| {
            if !path.contains(kind) {
                status(403, "Forbidden")
            } else if kind == "seccompprofiles" {
                (
                    200,
                    list("SeccompProfileList", std::slice::from_ref(&profile)),
                )
            } else {
                (200, list("SeccompNodeList", std::slice::from_ref(&node)))
            }
        });
        run(Some(&kubeconfig(server.port)), &["status"])
    };
    let ran = may("seccompprofiles");
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    for part in [
        "1/2",
        "web on n1: Conflict",
        "note: you may not list seccompnodes",
    ] {
        assert!(ran.stdout.contains(part), "no {part:?} in {}", ran.stdout);
    }
    assert!(
        !ran.stdout.contains("No node has an agent"),
        "{}",
        ran.stdout
    );
    // Nodes alone are shown, and no gate takes them for all.
    let ran = may("seccompnodes");
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(ran.stdout.contains("1 in sync"), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("you may not list seccompprofiles"),
        "{}",
        ran.stderr
    );
    assert_eq!(may("neither").code, 2);
}

/// A cluster with the operator, a pod that states `RuntimeDefault`, and a node that names it as outdated.
fn operated(path: &str) -> (u16, Value) {
    let webhook = json!({"metadata": {"name": "x"}, "webhooks": [{
        "name": "pods.seccomp-operator.io", "admissionReviewVersions": ["v1"], "clientConfig": {}, "sideEffects": "None",
    }]});
    let node = json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompNode", "metadata": {"name": "n1"}, "appliedResourceVersion": "9",
        "failed": 0, "node": {"architecture": "amd64", "kernelVersion": "6.12", "agentVersion": "0"}, "inUse": [
            {"profile": "web", "pods": 1, "outdated": 1, "outdatedPods": [{"namespace": "shop", "name": "a"}]},
        ],
    });
    let found = [
        ("/pods", list("PodList", &[pod("a", confined())])),
        (
            "/namespaces",
            list("NamespaceList", &[json!({"metadata": {"name": "shop"}})]),
        ),
        ("/seccompnodes", list("SeccompNodeList", &[node])),
        (
            "/mutatingwebhookconfigurations",
            list("MutatingWebhookConfigurationList", &[webhook]),
        ),
        ("/seccompprofiles", list("SeccompProfileList", &[])),
        ("/seccomppolicies", list("SeccompPolicyList", &[])),
        ("/runtimeclasses", list("RuntimeClassList", &[])),
        ("/replicasets", list("ReplicaSetList", &[])),
        (
            "/version",
            json!({"major": "1", "minor": "37", "gitVersion": "v1.37.0", "gitCommit": "", "gitTreeState": "", "buildDate": "",
            "goVersion": "", "compiler": "", "platform": ""}),
        ),
    ];
    let path = path.split('?').next().unwrap_or(path);
    let mut found = found.into_iter();
    let answer = found.find(|(end, _)| path.ends_with(end));
    answer.map_or_else(|| status(404, "NotFound"), |(_, body)| (200, body))
}

#[test]
fn what_would_be_blocked_is_shown_and_nothing_is_done_unless_somebody_says_so() {
    let server = serve(operated);
    let config = kubeconfig(server.port);
    let block = ["block", "socket(AF_ALG)", "-A"];
    let planned = run(Some(&config), &[&block[..], &["--dry-run"]].concat());
    assert_eq!(planned.code, 0, "{}", planned.stderr);
    for part in [
        "To be refused: socket(AF_ALG)",
        "made on runtime-default: deny socket(0=38)",
        "1 container in 1 pod: 0 refuse it, 1 will after a restart of 1 pod",
        "socketcall",
    ] {
        assert!(
            planned.stdout.contains(part),
            "no {part:?} in {}",
            planned.stdout
        );
    }
    let yaml = run(
        Some(&config),
        &[&block[..], &["--dry-run", "-o", "yaml"]].concat(),
    );
    let kinds: Vec<_> = yaml
        .stdout
        .lines()
        .filter(|line| line.starts_with("kind: "))
        .collect();
    assert_eq!(
        kinds,
        ["kind: SeccompProfile", "kind: SeccompPolicy"],
        "{}",
        yaml.stdout
    );
    let unasked = run(Some(&config), &block);
    assert_eq!(unasked.code, 2, "{}", unasked.stdout);
    assert!(
        unasked
            .stderr
            .contains("nobody is there to ask; say --yes to apply the plan"),
        "{}",
        unasked.stderr
    );
    for (args, part) in [
        (&["block", "keyctl"][..], "--all-namespaces"),
        (
            &["block", "keyctl", "-n", "shop", "--except", "bank"],
            "--except",
        ),
        (&["block", "keyctl", "--undo"], "--undo"),
        (
            &["block", "keyctl", "-A", "--except", "bank"],
            "there is no namespace \"bank\"",
        ),
        (
            &["block", "socket(AF_NONE)", "-A"],
            "\"AF_NONE\" is neither a number",
        ),
    ] {
        let wrong = run(Some(&config), args);
        assert!(
            wrong.code == 2 && wrong.stderr.contains(part),
            "{args:?}: {}",
            wrong.stderr
        );
    }
}

#[test]
fn a_pod_that_nothing_makes_anew_is_named_and_left_alone() {
    let server = serve(operated);
    let ran = run(
        Some(&kubeconfig(server.port)),
        &["restart", "--outdated", "-n", "shop", "--yes"],
    );
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("nothing makes it anew"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr.contains("pod/a in namespace shop"),
        "{}",
        ran.stderr
    );
}
