//! `kubectl-seccomp push`, `pull` and `verify` with a real registry, Debian's docker-registry, and with oras as another client of it.
//!
//! What is missing is said, and nothing tested. The signatures in the data of `seccomp-artifact` are by cosign, of the artifact that
//! `nginx.json` makes: it has the same digest wherever it is made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod registry_server;
mod tool;

use registry_server::{Registry, ask};
use serde_json::{Value, json};
use tool::{printed, stderr, stdout};

const DATA: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../seccomp-artifact/tests/data"
);
const NGINX: &str = "sha256:ebc2892c98ed6a972ec88954f78996826a7c9bf60bbaefcd765db5367afef322";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const IDENTITY: &str = "--certificate-identity=https://github.com/acme/profiles/.github/workflows/push.yaml@refs/tags/*";
const ISSUER: &str = "--certificate-oidc-issuer=https://token.actions.githubusercontent.com";

fn data(name: &str) -> String {
    format!("{DATA}/{name}")
}

/// Pushes the profile that the signatures are for, and gives its name.
fn push(registry: &Registry) -> String {
    let name = format!("{}/acme/nginx", registry.host);
    let pushed = stdout(&ask(
        &["push", &format!("{name}:v1"), &data("nginx.json")],
        &[],
    ));
    assert_eq!(pushed, format!("{name}@{NGINX}\n"));
    name
}

/// Puts a file beside the artifact, as cosign does.
fn attach(registry: &Registry, name: &str, file: &str) {
    registry.write(file, &std::fs::read_to_string(data(file)).unwrap());
    registry.oras(&[
        "attach",
        "--artifact-type",
        BUNDLE,
        &format!("{name}:v1"),
        &format!("{file}:{BUNDLE}"),
    ]);
}

#[test]
fn what_is_pushed_is_pulled_again() {
    let Some(registry) = Registry::open() else {
        return;
    };
    let name = push(&registry);
    // Once more, from standard input's form, under the digest: nothing changes.
    let pinned = format!("{name}@{NGINX}");
    let again = ask(&["push", &pinned, &data("nginx.json")], &[]);
    assert_eq!(stdout(&again), format!("{pinned}\n"));

    let pulled = ask(&["pull", &format!("{name}:v1")], &[]);
    assert_eq!(stderr(&pulled), format!("note: pulled {pinned}\n"));
    let profile: Value = serde_json::from_str(&stdout(&pulled)).unwrap();
    assert_eq!(
        profile["syscalls"],
        json!([{"names": ["exit_group", "read", "write"], "action": "SCMP_ACT_ALLOW"}])
    );
    assert_eq!(stdout(&ask(&["pull", &pinned], &[])), stdout(&pulled));

    let manifest = stdout(&ask(&["pull", "-o", "manifest", &pinned], &[]));
    assert!(manifest.starts_with(
        "apiVersion: seccomp-operator.io/v1alpha1\nkind: SeccompProfile\nmetadata:\n  name: nginx\n"
    ));
    let checked = tool::run(&["lint", "--arch=amd64", "-"], manifest);
    assert!(!stderr(&checked).contains("error:"), "{checked:?}");

    let missing = ask(&["pull", &format!("{name}:v2")], &[]);
    assert_eq!(missing.status.code(), Some(2));
    let said = format!(
        "error: the registry {} has no acme/nginx:v2\n",
        registry.host
    );
    assert_eq!(stderr(&missing), said);
}

#[test]
fn oras_sees_what_runtimes_ask_for() {
    let Some(registry) = Registry::open() else {
        return;
    };
    let name = push(&registry);
    let manifest = registry.oras(&["manifest", "fetch", &format!("{name}:v1")]);
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let kind = "application/vnd.cncf.seccomp-profile.config.v1+json";
    assert_eq!(manifest["artifactType"], kind);
    assert_eq!(manifest["config"]["mediaType"], kind);
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/json");
    registry.oras(&["pull", &format!("{name}:v1")]);
    let by_oras = std::fs::read_to_string(registry.file("profile.json")).unwrap();
    let by_us = stdout(&ask(&["pull", &format!("{name}:v1")], &[]));
    assert_eq!(by_oras, by_us);
}

#[test]
fn what_oras_pushes_is_pulled_as_it_is() {
    let Some(registry) = Registry::open() else {
        return;
    };
    let kind = "application/vnd.cncf.seccomp-profile.config.v1+json";
    let name = format!("{}/acme/by-oras:v1", registry.host);
    // With spaces of its own, and the media type that oras gives files.
    let text = "{ \"defaultAction\": \"SCMP_ACT_LOG\" }\n";
    registry.write("log.json", text);
    registry.oras(&["push", "--artifact-type", kind, &name, "log.json"]);
    assert_eq!(stdout(&ask(&["pull", &name], &[])), text);

    let notify = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/x.sock","syscalls":[{"names":["mount"],"action":"SCMP_ACT_NOTIFY"}]}"#;
    for (text, said) in [
        (
            notify,
            "listenerPath: is of one node, and runtimes take no profile with a listener",
        ),
        ("{\"defaultAction\": \"SCMP_ACT_LOGS\"}", "defaultAction: "),
        (
            "{\"defaultAction\": \"SCMP_ACT_LOG\", \"archMap\": [{\"architecture\": \"SCMP_ARCH_X86_64\", \"subArchitectures\": []}]}",
            "archMap: is of Docker's format, which runtimes do not read from a registry",
        ),
        (
            "no JSON",
            "write one JSON object that holds a seccomp profile",
        ),
    ] {
        registry.write("wrong.json", text);
        registry.oras(&["push", "--artifact-type", kind, &name, "wrong.json"]);
        let output = ask(&["pull", &name], &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            output.stdout.is_empty() && stderr(&output).contains(said),
            "{output:?}"
        );
    }
}

#[test]
fn what_runtimes_refuse_is_not_pushed() {
    let Some(registry) = Registry::open() else {
        return;
    };
    let name = format!("{}/acme/notify:v1", registry.host);
    let notify = registry.write(
        "notify.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/x.sock","syscalls":[{"names":["mount"],"action":"SCMP_ACT_NOTIFY"}]}"#,
    );
    let output = ask(&["push", &name, &notify], &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        stderr(&output).contains("syscalls[0].action: is SCMP_ACT_NOTIFY"),
        "{output:?}"
    );
    assert_eq!(ask(&["pull", &name], &[]).status.code(), Some(2));

    // One entry for each of 200 values is more than runtimes take; the engine cannot say it in fewer.
    let entries: Vec<_> = (0..200)
        .map(|i| json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": i * 7 + 1, "op": "SCMP_CMP_EQ"}]}))
        .collect();
    let long = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": entries});
    let long = registry.write("long.json", &long.to_string());
    let output = ask(&["push", &name, &long], &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        stderr(&output).contains("for ioctl, and runtimes take at most 128"),
        "{output:?}"
    );

    // Twice 100 entries that say the same are rewritten, and go.
    let same: Vec<_> = (0..200)
        .map(|_| json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"}))
        .collect();
    let same = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": same});
    let same = registry.write("same.json", &same.to_string());
    stdout(&ask(&["push", &name, &same], &[]));
}

#[test]
fn the_security_profiles_operators_artifacts_are_read() {
    let Some(registry) = Registry::open() else {
        return;
    };
    let object = |call: &str| {
        format!(
            "apiVersion: security-profiles-operator.x-k8s.io/v1beta1\nkind: SeccompProfile\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  \
             defaultAction: SCMP_ACT_ERRNO\n  syscalls:\n  - action: SCMP_ACT_ALLOW\n    names: [read, {call}]\n"
        )
    };
    registry.write("profile-linux-amd64.yaml", &object("open"));
    registry.write("profile-linux-arm64.yaml", &object("openat"));
    let name = format!("{}/acme/spo:v1", registry.host);
    registry.oras(&[
        "push",
        "--artifact-type",
        "application/vnd.unknown.config.v1+json",
        &name,
        "profile-linux-amd64.yaml",
        "profile-linux-arm64.yaml",
    ]);
    for (arch, call) in [("amd64", "open"), ("arm64", "openat")] {
        let arch = format!("--arch={arch}");
        let json = stdout(&ask(&["pull", &arch, "--kernel=6.12", &name], &[]));
        let profile: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(profile["syscalls"][0]["names"], json!([call, "read"]));
        let output = ask(&["pull", "--to=manifest", &arch, &name], &[]);
        let manifest = stdout(&output);
        assert!(
            manifest.contains("kind: SeccompProfile\nmetadata:\n  name: web\n"),
            "{manifest}"
        );
        assert!(manifest.contains(&format!("- {call}\n")), "{manifest}");
        assert!(stderr(&output).contains("shop is left out"), "{output:?}");
    }
    let output = ask(&["pull", "--arch=s390x", "--kernel=6.12", &name], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output)
            .contains("has no profile for linux/s390x; it has profile-linux-amd64.yaml, "),
        "{output:?}"
    );
}

#[test]
fn other_artifacts_are_told_apart() {
    let Some(registry) = Registry::open() else {
        return;
    };
    registry.write("chart.tgz", "x");
    let name = format!("{}/acme/other:v1", registry.host);
    for (kind, said) in [
        (
            "application/vnd.cncf.helm.config.v1+json",
            "no seccomp profile",
        ),
        (
            "application/vnd.oci.image.config.v1+json",
            "is a container image, no seccomp profile",
        ),
    ] {
        registry.write("config.json", "{}");
        let config = format!("config.json:{kind}");
        registry.oras(&["push", "--config", &config, &name, "chart.tgz"]);
        let output = ask(&["pull", &name], &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains(said), "{output:?}");
    }
}

#[test]
fn signatures_count_for_the_key_that_made_them() {
    let Some(registry) = Registry::open() else {
        return;
    };
    let name = push(&registry);
    let tagged = format!("{name}:v1");
    let key = format!("--key={}", data("cosign.pub"));
    let unsigned = ask(&["verify", &key, &tagged], &[]);
    assert_eq!(unsigned.status.code(), Some(1));
    assert!(
        stderr(&unsigned).contains("has no signature that `cosign sign` makes"),
        "{unsigned:?}"
    );

    attach(&registry, &name, "cosign.bundle.json");
    let by = format!("{name}@{NGINX}: signed by key sha256:");
    let signed = stdout(&ask(&["verify", &key, &tagged], &[]));
    assert!(
        signed.starts_with(&by) && signed.lines().count() == 1,
        "{signed}"
    );
    stdout(&ask(&["pull", &key, &tagged], &[]));

    let other = registry.write(
        "other.pub",
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEkAExhsgWz0ttPU3E/mfMWkzBppTl\nVBQbK5nqCi1O6UF5bIvVb9FpW0ELuSCXvhr7XqJ2Pgj9Tx4hVDxNvkQJtQ==\n-----END PUBLIC KEY-----\n",
    );
    let other = format!("--key={other}");
    for command in ["verify", "pull"] {
        let output = ask(&[command, &other, &tagged], &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert!(
            stderr(&output).contains("has no signature that counts"),
            "{output:?}"
        );
    }

    // The older form beside it.
    registry.write(
        "cosign.payload.json",
        &std::fs::read_to_string(data("cosign.payload.json")).unwrap(),
    );
    let signature = "MEUCIF3HLGJ1MKEdg68PIUFrD+tz/EOjrrb/VdMvHRqhKKWmAiEA4Q7rG0YSg+L9KfFcfgFasbDUIUWST+l6cPcNn40RIOg=";
    let annotations =
        json!({"cosign.payload.json": {"dev.cosignproject.cosign/signature": signature}});
    registry.write("annotations.json", &annotations.to_string());
    let tag = format!("{name}:{}.sig", NGINX.replace(':', "-"));
    registry.oras(&[
        "push",
        "--annotation-file=annotations.json",
        &tag,
        "cosign.payload.json:application/vnd.dev.cosign.simplesigning.v1+json",
    ]);
    let signed = stdout(&ask(&["verify", &key, "-o", "json", &tagged], &[]));
    let signed: Value = serde_json::from_str(&signed).unwrap();
    assert_eq!(signed["artifact"], format!("{name}@{NGINX}"));
    assert_eq!(signed["signatures"].as_array().unwrap().len(), 2);

    // What the tag names next is not signed.
    stdout(&ask(
        &["push", "--arch=amd64", &tagged, "runtime-default"],
        &[],
    ));
    assert_eq!(ask(&["pull", &key, &tagged], &[]).status.code(), Some(1));
    stdout(&ask(&["pull", &key, &format!("{name}@{NGINX}")], &[]));
}

#[test]
fn signatures_count_for_whom_a_certificate_names() {
    let Some(registry) = Registry::open() else {
        return;
    };
    let root = format!("--trusted-root={}", data("trusted_root.json"));
    let name = push(&registry);
    let tagged = format!("{name}:v1");
    let verify = |more: &[&str]| ask(&[&["verify", &tagged], more].concat(), &[]);

    // About the artifact, by the right person, and no signature.
    attach(&registry, &name, "attestation.json");
    let output = verify(&[&root, IDENTITY, ISSUER]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        stderr(&output).contains("is an attestation of type \"https://slsa.dev/provenance/v1\""),
        "{output:?}"
    );

    attach(&registry, &name, "identity.rekor1.json");
    let signed = stdout(&verify(&[&root, IDENTITY, ISSUER]));
    let by = "signed by https://github.com/acme/profiles/.github/workflows/push.yaml@refs/tags/v1 (https://token.actions.githubusercontent.com) at 20";
    assert!(signed.contains(by), "{signed}");
    stdout(&ask(&["pull", &root, IDENTITY, ISSUER, &tagged], &[]));

    let mallory = "--certificate-identity=mallory@example.com";
    let other_issuer = "--certificate-oidc-issuer=https://accounts.example.com";
    for more in [[&root, mallory, ISSUER], [&root, IDENTITY, other_issuer]] {
        let output = verify(&more);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            stderr(&output).contains(" is by https://github.com/acme/profiles/"),
            "{output:?}"
        );
    }
    // Sigstore's public instance knows nothing of that certificate.
    let output = verify(&[IDENTITY, ISSUER]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains(" does not hold: "), "{output:?}");
    // The log's second generation, alone.
    let Some(registry) = Registry::open() else {
        return;
    };
    let name = push(&registry);
    attach(&registry, &name, "identity.rekor2.json");
    stdout(&ask(
        &["verify", &root, IDENTITY, ISSUER, &format!("{name}:v1")],
        &[],
    ));
}

#[test]
fn a_registry_with_tls_and_accounts_is_asked_as_who_is_logged_in() {
    let Some(registry) = Registry::closed() else {
        return;
    };
    let name = format!("{}/acme/nginx:v1", registry.host);
    let file = data("nginx.json");
    let ca = format!("--ca-file={}", registry.file("tls.pem"));
    let push = |variables: &[(&str, &str)]| ask(&["push", &ca, &name, &file], variables);
    let config = |password: &str| {
        json!({"auths": {&registry.host: {"username": "tester", "password": password}}}).to_string()
    };
    let right = registry.write("right/config.json", &config("secret"));
    let wrong = registry.write("wrong/config.json", &config("guessed"));
    let folder = registry.file("right");

    for (variables, said) in [
        (
            vec![],
            "lets nobody unknown do that with acme/nginx; log in with `docker login",
        ),
        (
            vec![("REGISTRY_AUTH_FILE", wrong.as_str())],
            "refuses this account to do that with acme/nginx",
        ),
    ] {
        let output = push(&variables);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains(said), "{output:?}");
        assert!(!stderr(&output).contains("guessed"), "{output:?}");
    }
    for variables in [
        vec![("REGISTRY_AUTH_FILE", right.as_str())],
        vec![("DOCKER_CONFIG", folder.as_str())],
        vec![
            ("SECCOMP_REGISTRY_USERNAME", "tester"),
            ("SECCOMP_REGISTRY_PASSWORD", "secret"),
        ],
    ] {
        stdout(&push(&variables));
        assert!(printed(&ask(&["pull", &ca, &name], &variables)).contains("exit_group"));
    }

    // Nobody has said that this certificate is right.
    let none = registry.write("none.pem", "");
    let empty = ask(&["pull", &format!("--ca-file={none}"), &name], &[]);
    assert!(
        stderr(&empty).contains("has no certificate in PEM"),
        "{empty:?}"
    );
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = registry.write("other.pem", &other.cert.pem());
    let output = ask(&["pull", &format!("--ca-file={other}"), &name], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        stderr(&output).contains(
            "has a certificate that is not trusted here; give its authority's with --ca-file"
        ),
        "{output:?}"
    );
}

#[test]
fn the_page_shows_what_the_tool_says() {
    let Some(registry) = Registry::open() else {
        return;
    };
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/artifacts.md");
    let page = std::fs::read_to_string(page).unwrap();
    let shown = |text: &str| text.replace(&registry.host, "ghcr.io");
    let profile = std::fs::read_to_string(data("nginx.json")).unwrap();
    assert!(page.contains(&format!("```json\n{profile}```\n")));
    let name = push(&registry);
    assert!(page.contains(&format!("    {}\n", shown(&format!("{name}@{NGINX}")))));
    attach(&registry, &name, "cosign.bundle.json");
    let tagged = format!("{name}:v1");
    let pulled = ask(&["pull", "-o", "manifest", &tagged], &[]);
    assert!(page.contains(&format!("    {}", shown(&stderr(&pulled)))));
    let key = format!("--key={}", data("cosign.pub"));
    let signed = stdout(&ask(&["verify", &key, &tagged], &[]));
    assert!(
        page.contains(&format!("    {}", shown(&signed))),
        "{signed}"
    );
}
