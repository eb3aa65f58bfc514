//! The profile engine on real nodes: what profiles that it has read, changed and written do to real processes.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use e2e::cluster::{Cluster, profile};
use e2e::command::{kubectl, until};
use e2e::node::Viewer;
use e2e::pods::Pod;
use seccomp_operator_api::SeccompProfileStatus;
use seccomp_profile::{Action, Arguments, Errno, Syscall, builtin};
use serde_json::{Value, json};

use super::{Tested, semantics, this_node};

/// The manifest of a SeccompProfile with this spec.
fn manifest(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompProfile", "metadata": {"name": name}, "spec": spec,
    })
    .to_string()
}

fn example(file: &str) -> anyhow::Result<String> {
    let path = format!("{}/../examples/profiles/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).context(path)
}

#[tokio::test]
async fn dockers_default_profile_stops_what_runtime_default_stops() -> Tested {
    let data = std::env::var("SECCOMP_SHARED_DATA").unwrap_or_else(|_| "../../shared/data".into());
    let Ok(docker) = std::fs::read(std::path::Path::new(&data).join("moby-default.json")) else {
        println!(
            "skipped: Docker's default profile is not in {data}; SECCOMP_SHARED_DATA says where it is"
        );
        return Ok(());
    };
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-docker", &[]).await?;
    cluster
        .apply_profile("e2e-docker", &String::from_utf8(docker)?)
        .await?;
    cluster.wait_ready("e2e-docker").await?;
    let status = cluster.status("e2e-docker").await?;
    assert_eq!(
        status.default_action.as_deref(),
        Some("SCMP_ACT_ERRNO(EPERM)")
    );

    let script = "unshare -r true 2>&1; echo unshare $?; mount -t tmpfs none /mnt 2>&1; echo mount $?; ls / > /tmp/x && echo works";
    let pod = |name| Pod::script(&cluster, &namespace, name, script);
    let docker = pod("docker")
        .localhost("profiles/e2e-docker.json")
        .run(&cluster)
        .await?;
    let default = pod("default")
        .profile("RuntimeDefault")
        .run(&cluster)
        .await?;
    let unconfined = pod("unconfined")
        .profile("Unconfined")
        .run(&cluster)
        .await?;
    assert!(
        unconfined.contains("unshare 0"),
        "nothing would be shown: {unconfined}"
    );
    assert!(
        docker.contains("unshare 1") && !docker.contains("mount 0") && docker.contains("works"),
        "{docker}"
    );
    assert_eq!(docker, default);
    cluster.delete("seccompprofile", "e2e-docker").await
}

#[tokio::test]
async fn one_line_on_top_of_runtime_default_closes_a_hole_and_nothing_else() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-hole", &[]).await?;
    let deny =
        json!([{"name": "socket", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 38}]}]);
    // The line 2.1 of containerd lets AF_ALG through, so that the change is what closes it.
    let open = "runtime-default/containerd-2.1";
    for (name, spec) in [
        ("e2e-hole-open", json!({"base": open})),
        ("e2e-hole-closed", json!({"base": open, "deny": deny})),
        (
            "e2e-hole-newest",
            json!({"base": "runtime-default", "deny": deny}),
        ),
    ] {
        cluster.apply(&manifest(name, &spec)).await?;
    }
    let mut said = Vec::new();
    for name in ["open", "closed", "newest"] {
        let name = format!("e2e-hole-{name}");
        cluster.wait_ready(&name).await?;
        let pod = Pod::script(&cluster, &namespace, &name, "sockets")
            .localhost(&format!("profiles/{name}.json"));
        said.push(pod.run(&cluster).await?);
    }
    let [open, closed, newest] = said.as_slice() else {
        bail!("{said:?}")
    };
    println!("{open}");
    // The families that a kernel without AF_ALG or IPv6 does not know are refused with another error than a filter's.
    let number = |line: &str| line.rsplit(' ').next().map(str::to_owned);
    for (open, closed) in open.lines().zip(closed.lines()) {
        let seen = open.starts_with("native alg ") || open.starts_with("i386-socket alg ");
        if seen {
            assert_ne!(
                number(open).as_deref(),
                Some("1"),
                "nothing would be shown: {open}"
            );
            assert_eq!(number(closed).as_deref(), Some("1"), "{closed}");
        } else {
            // Among them socketcall, which no filter can look into.
            assert_eq!(open, closed);
        }
    }
    for family in ["native unix 0", "native inet 0"] {
        assert!(closed.contains(family), "{closed}");
    }
    if cfg!(target_arch = "x86_64") {
        for line in [
            "i386-socket unix 0",
            "i386-socket inet 0",
            "i386-socketcall inet 0",
            "i386-socket alg 1",
        ] {
            assert!(
                closed.lines().any(|said| said == line),
                "{line:?} is not in {closed}"
            );
        }
    }
    assert_eq!(open.lines().count(), closed.lines().count());
    assert_eq!(newest, closed);
    for name in ["open", "closed", "newest"] {
        cluster
            .delete("seccompprofile", &format!("e2e-hole-{name}"))
            .await?;
    }
    Ok(())
}

fn condition<'a>(status: &'a SeccompProfileStatus, type_: &str) -> (&'a str, &'a str) {
    let found = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_);
    found.map_or(("", ""), |found| {
        (found.status.as_str(), found.message.as_str())
    })
}

/// Waits until a profile's status is as `accept` wants it.
async fn await_status(
    cluster: &Cluster,
    profile: &str,
    what: &str,
    accept: impl Fn(&SeccompProfileStatus) -> bool,
) -> anyhow::Result<SeccompProfileStatus> {
    until(what, Duration::from_secs(30), || async {
        let status = cluster.status(profile).await?;
        ensure!(accept(&status), "{status:?}");
        Ok(status)
    })
    .await
}

/// What is at the bottom cannot be put on top.
async fn a_circle_is_refused(cluster: &Cluster) -> Tested {
    let circle = cluster
        .try_apply(&manifest(
            "e2e-base",
            &json!({"profile": null, "base": "e2e-upper"}),
        ))
        .await?;
    assert!(
        !circle.success && circle.stderr.contains("leads in a circle"),
        "{}{}",
        circle.stdout,
        circle.stderr
    );
    Ok(())
}

#[tokio::test]
async fn a_change_of_the_base_reaches_what_stands_on_it_and_a_base_that_goes_leaves_its_file()
-> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-base", &[]).await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    for name in ["e2e-upper", "e2e-middle", "e2e-base"] {
        cluster.delete("seccompprofile", name).await?;
    }
    // In the wrong order: what derives from something that is not there yet is taken, and waits for it.
    let said = cluster
        .apply(&manifest(
            "e2e-upper",
            &json!({"base": "e2e-middle", "deny": ["@chmod"]}),
        ))
        .await?;
    assert!(
        said.contains("Warning: ")
            && said.contains("\"e2e-middle\" is neither a built-in nor a known profile"),
        "{said}"
    );
    cluster
        .apply(&manifest(
            "e2e-middle",
            &json!({"base": "e2e-base", "deny": ["@chown"]}),
        ))
        .await?;
    // First it waits for e2e-middle, and once that is known for e2e-base.
    await_status(
        &cluster,
        "e2e-upper",
        "the base's missing base in the status",
        |status| {
            let (accepted, message) = condition(status, "Accepted");
            let failure = status.failures.first();
            accepted == "False"
                && message.contains("\"e2e-base\", the base of \"e2e-middle\"")
                && status.nodes.as_ref().is_some_and(|nodes| nodes.failed > 0)
                && failure.is_some_and(|failure| failure.message.contains("\"e2e-base\""))
        },
    )
    .await?;

    cluster
        .apply_profile("e2e-base", r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#)
        .await?;
    cluster.wait_ready("e2e-upper").await?;
    let path = "profiles/e2e-upper.json";
    let file = viewer.read(path).await?;
    assert!(
        file.contains("fchmodat2") && file.contains("lchown") && !file.contains("mkdir"),
        "{file}"
    );

    let base = r#"{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}"#;
    cluster.apply_profile("e2e-base", base).await?;
    await_status(
        &cluster,
        "e2e-upper",
        "the status to follow the base",
        |status| status.default_action.as_deref() == Some("SCMP_ACT_LOG") && status.is_ready(),
    )
    .await?;
    // Ready means that it is there: no waiting.
    let followed = viewer.read(path).await?;
    assert!(
        followed.contains("mkdir")
            && followed.contains("fchmodat2")
            && followed.contains("SCMP_ACT_LOG"),
        "{followed}"
    );

    cluster.delete("seccompprofile", "e2e-base").await?;
    await_status(
        &cluster,
        "e2e-upper",
        "the missing base in the status",
        |status| {
            (
                condition(status, "Accepted").0,
                condition(status, "Ready").0,
            ) == ("False", "False")
        },
    )
    .await?;
    viewer.await_absence("profiles/e2e-base.json").await?;
    assert_eq!(viewer.read(path).await?, followed);
    cluster.apply_profile("e2e-base", base).await?;
    cluster.wait_ready("e2e-upper").await?;
    assert_eq!(viewer.read(path).await?, followed);

    a_circle_is_refused(&cluster).await?;
    for name in ["e2e-upper", "e2e-middle", "e2e-base"] {
        cluster.delete("seccompprofile", name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn numbers_of_64_bits_come_through_kubectl_and_the_api_server_whole_or_not_at_all() -> Tested
{
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-wide", &[]).await?;
    let viewer = Viewer::start(&cluster, &namespace).await?;
    let argument = |index: u8, value: &str| {
        format!(r#"{{"index": {index}, "op": "SCMP_CMP_EQ", "value": {value}}}"#)
    };
    let document = |arguments: &[String]| {
        format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "args": [{}]}}]}}"#,
            arguments.join(", ")
        )
    };
    // 2^53 + 1 is the first number that a double cannot hold, 2^63 the first that the API server's integers cannot.
    let whole = document(&[
        argument(0, "9007199254740993"),
        argument(1, r#""18446744073709551615""#),
        argument(2, r#""0x8000000000000000""#),
    ]);
    cluster.apply_profile("e2e-wide", &whole).await?;
    cluster.wait_ready("e2e-wide").await?;
    let file = viewer.read("profiles/e2e-wide.json").await?;
    for number in [
        "9007199254740993",
        "18446744073709551615",
        "9223372036854775808",
    ] {
        assert!(
            file.contains(&format!("\"value\": {number}")),
            "{number} is not in {file}"
        );
    }
    assert_eq!(semantics(&file)?, semantics(&whole)?.canonical("")?);

    // The second is rounded to a whole number of 64 bits, which looks as good as any, the first to one that no argument can be.
    for number in [
        "18446744073709551615",
        "18446744069414584320",
        "9223372036854775808",
    ] {
        let rounded = document(&[argument(0, number)]);
        let refused = cluster.try_apply(&profile("e2e-wide", &rounded)).await?;
        assert!(!refused.success, "{number}: {}", refused.stdout);
        for part in ["spec.profile.syscalls[0].args[0].value", "string"] {
            assert!(
                refused.stderr.contains(part),
                "{number}: {}",
                refused.stderr
            );
        }
    }
    // The same in the three lists.
    let change = r#"{"base": "audit", "deny": [{"name": "lseek", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": 18446744073709551615}]}]}"#;
    let refused = cluster
        .try_apply(&manifest("e2e-wide", &serde_json::from_str(change)?))
        .await?;
    assert!(
        refused.stderr.contains("spec.deny[0].args[0].value"),
        "{}",
        refused.stderr
    );
    cluster.delete("seccompprofile", "e2e-wide").await
}

/// That a no-chmod file is Docker's default but for the four calls that change a mode.
fn differs_from_dockers_default_by_chmod(file: &str) -> Tested {
    let (file, docker) = (
        semantics(file)?,
        builtin("docker-default").context("no built-in")?,
    );
    let difference = file
        .model()?
        .difference(&docker.resolve(&this_node()).model()?);
    let (arch, number, _) = difference.context("no-chmod is docker-default")?;
    let first = Syscall::numbered(arch, number).context("an unknown call")?;
    assert!(first.name().contains("chmod"), "{first} differs");
    for call in ["fchmod", "fchmodat", "fchmodat2"] {
        let number = Syscall::named(call).and_then(|call| call.number(this_node().arch));
        let number = number.context(call)?;
        let action = file
            .model()?
            .decide(this_node().arch, number, &Arguments::ZEROS);
        assert_eq!(action, Action::Errno(Errno::EPERM), "{call}");
    }
    Ok(())
}

/// The spec of a pod in which nginx serves under its own profile, and a client asks it, directly and through a proxy.
fn nginx(cluster: &Cluster) -> Value {
    let configuration = "user nobody nogroup; worker_processes 2; pid /run/nginx.pid; error_log stderr;
        events {} http { access_log off; sendfile on; gzip on; aio threads;
        client_body_temp_path /run/b; proxy_temp_path /run/p; fastcgi_temp_path /run/f; uwsgi_temp_path /run/u; scgi_temp_path /run/s;
        server { listen 8080; root /run/www; } server { listen 8081; location / { proxy_pass http://127.0.0.1:8080; } } }";
    let prepare = format!(
        "mkdir /run/www && echo served > /run/www/index.html && echo '{configuration}' > /run/nginx.conf"
    );
    let client = "for port in 8080 8081; do until busybox wget -q -O - http://127.0.0.1:$port/ 2>/dev/null; do sleep 0.3; done; done; echo end; sleep infinity";
    let run = json!([{"name": "run", "mountPath": "/run"}]);
    let container = |name: &str, more: Value| {
        let mut container = json!({"name": name, "image": cluster.tools_image, "imagePullPolicy": "IfNotPresent", "volumeMounts": run});
        if let (Some(container), Value::Object(more)) = (container.as_object_mut(), more) {
            container.extend(more);
        }
        container
    };
    json!({
        "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "run", "emptyDir": {}}],
        "initContainers": [container("prepare", json!({"command": ["bash", "-c", prepare]}))],
        "containers": [
            container("client", json!({"command": ["bash", "-c", client]})),
            container("nginx", json!({
                "command": ["nginx", "-e", "stderr", "-c", "/run/nginx.conf", "-g", "daemon off;"],
                "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/nginx.json"}},
            })),
        ],
    })
}

#[tokio::test]
async fn the_examples_are_taken_and_nginx_serves_under_its_own() -> Tested {
    let cluster = Cluster::with_operator().await?;
    let namespace = cluster.namespace("e2e-examples", &[]).await?;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/profiles");
    let applied = kubectl(&["apply", "-f", folder, "--output", "name"], "").await?;
    // What a filter cannot see is said where it matters: at apply, and in the status.
    assert!(
        applied
            .stderr
            .contains("Warning: spec.deny[0]: denies sockets of AF_ALG"),
        "{}",
        applied.stderr
    );
    let names = applied.ok()?;
    for name in names.lines().filter_map(|line| line.rsplit('/').next()) {
        cluster.wait_ready(name).await?;
    }
    let warnings = cluster.status("no-af-alg").await?.warnings;
    assert!(
        warnings[0].contains("socketcall") && warnings[0].ends_with("[multiplexer-open]"),
        "{warnings:?}"
    );
    assert_eq!(
        cluster.status("no-chmod").await?.warnings,
        Vec::<String>::new()
    );
    let viewer = Viewer::start(&cluster, &namespace).await?;
    let file = viewer.read("profiles/no-chmod.json").await?;
    assert!(example("no-chmod.yaml")?.contains("base: docker-default"));
    differs_from_dockers_default_by_chmod(&file)?;

    let log = Pod::script(&cluster, &namespace, "nginx", "")
        .with("/spec", nginx(&cluster))
        .log_with(&cluster, "end")
        .await?;
    assert_eq!(log, "served\nserved\nend\n");
    // Its filter is in force, and what it was not traced to call is refused.
    let inside = |script: &'static str| {
        let namespace = namespace.clone();
        async move {
            kubectl(
                &[
                    "exec",
                    "--namespace",
                    &namespace,
                    "nginx",
                    "--container",
                    "nginx",
                    "--",
                    "busybox",
                    "sh",
                    "-c",
                    script,
                ],
                "",
            )
            .await
        }
    };
    let mode = inside("grep Seccomp: /proc/1/status").await?.ok()?;
    assert!(mode.contains('2'), "{mode}");
    let chmod = inside("echo > /run/x; chmod 700 /run/x").await?;
    assert!(
        !chmod.success && chmod.stderr.contains("Operation not permitted"),
        "{chmod:?}"
    );
    // Its profile would wait for it.
    cluster.delete("namespace", &namespace).await?;
    for name in names.lines().filter_map(|line| line.rsplit('/').next()) {
        // Other tests have a profile of that name too, and their pods would hold it.
        if name != "no-chmod" {
            cluster.delete("seccompprofile", name).await?;
        }
    }
    Ok(())
}
