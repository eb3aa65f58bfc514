//! `kubectl-seccomp pull` and `push` with registries that are dead, slow, or lie: each ends in a sentence, in time, and prints no profile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod registry_server;
mod tool;

use std::io::Write as _;
use std::time::{Duration, Instant};

use registry_server::{False, answer, ask, free_port};
use seccomp_artifact::Digest;
use serde_json::json;
use tool::stderr;

const KIND: &str = "application/vnd.cncf.seccomp-profile.config.v1+json";
const KEY: &str = concat!(
    "--key=",
    env!("CARGO_MANIFEST_DIR"),
    "/../seccomp-artifact/tests/data/cosign.pub"
);
const PROFILE: &[u8] = b"{\"defaultAction\":\"SCMP_ACT_LOG\"}";

/// The manifest of an artifact with that layer, of which it says that length.
fn manifest(layer: &[u8], size: usize) -> Vec<u8> {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": KIND,
        "config": {"mediaType": KIND, "digest": Digest::of(b"{}").to_string(), "size": 2},
        "layers": [{"mediaType": "application/json", "digest": Digest::of(layer).to_string(), "size": size}],
    })
    .to_string()
    .into_bytes()
}

/// What `pull` says of a registry, which prints nothing and takes little time.
fn refused(registry: &str, more: &[&str]) -> String {
    let begin = Instant::now();
    let name = format!("{registry}/acme/nginx:v1");
    let output = ask(&[&["pull", &name], more].concat(), &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(begin.elapsed() < Duration::from_secs(20));
    stderr(&output)
}

#[test]
fn an_honest_answer_is_taken() {
    let registry = False::start(|(first, _), stream| {
        let body = if first.contains("/manifests/") {
            manifest(PROFILE, PROFILE.len())
        } else {
            PROFILE.to_vec()
        };
        answer(stream, "200 OK", "", &body);
    });
    let output = ask(&["pull", &format!("{}/acme/nginx:v1", registry.host)], &[]);
    assert_eq!(tool::stdout(&output).as_bytes(), PROFILE);
}

#[test]
fn a_dead_registry_is_told() {
    let said = refused(&format!("127.0.0.1:{}", free_port()), &[]);
    assert!(said.contains("cannot be reached: "), "{said}");
    let said = refused("registry.invalid", &[]);
    assert!(
        said.contains("the registry registry.invalid cannot be reached: "),
        "{said}"
    );
}

#[test]
fn a_slow_registry_is_given_up() {
    let silent = False::start(|_, _| std::thread::sleep(Duration::from_mins(1)));
    let said = refused(&silent.host, &["--request-timeout=1s"]);
    assert!(said.contains("did not answer within 1 s"), "{said}");
    // One that always says something never times out by itself.
    let dripping = False::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let said = refused(&dripping.host, &["--request-timeout=1s"]);
    assert!(said.contains("did not answer within 1 s"), "{said}");
}

#[test]
fn an_endless_answer_is_given_up() {
    let registry = False::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while stream.write_all(&[b' '; 1 << 12]).is_ok() {}
    });
    let said = refused(&registry.host, &[]);
    assert!(
        said.contains("sent more than 4194304 bytes for manifests/v1"),
        "{said}"
    );
}

#[test]
fn another_profile_than_the_manifest_names_is_thrown_away() {
    type Lie = (Vec<u8>, Vec<u8>, &'static str);
    let other = b"{\"defaultAction\":\"SCMP_ACT_LOX\"}".to_vec();
    let lies: [Lie; 4] = [
        (
            manifest(PROFILE, PROFILE.len()),
            other,
            "which was thrown away",
        ),
        (
            manifest(PROFILE, PROFILE.len()),
            PROFILE[1..].to_vec(),
            "sent 31 bytes for sha256:",
        ),
        (
            manifest(PROFILE, PROFILE.len()),
            [PROFILE, b" "].concat(),
            "sent 33 bytes for sha256:",
        ),
        (
            manifest(PROFILE, 7),
            PROFILE.to_vec(),
            "sent 32 bytes for sha256:",
        ),
    ];
    for (manifest, layer, expected) in lies {
        let registry = False::start(move |(first, _), stream| {
            let is_manifest = first.contains("/manifests/");
            answer(
                stream,
                "200 OK",
                "",
                if is_manifest { &manifest } else { &layer },
            );
        });
        let said = refused(&registry.host, &[]);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn another_artifact_than_the_digest_names_is_thrown_away() {
    let registry =
        False::start(|_, stream| answer(stream, "200 OK", "", &manifest(PROFILE, PROFILE.len())));
    let name = format!("{}/acme/nginx@{}", registry.host, Digest::of(b"another"));
    for command in ["pull", "verify"] {
        let output = ask(&[command, KEY, &name], &[]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(
            stderr(&output).contains("which was thrown away"),
            "{output:?}"
        );
    }
    let contradicts = False::start(|_, stream| {
        let header = format!("Docker-Content-Digest: {}\r\n", Digest::of(b"another"));
        answer(stream, "200 OK", &header, &manifest(PROFILE, PROFILE.len()));
    });
    let said = refused(&contradicts.host, &[]);
    assert!(
        said.contains("says that the manifest of ") && said.contains(", and sent another"),
        "{said}"
    );
}

#[test]
fn a_token_is_asked_for_where_the_registry_says_and_goes_nowhere_else() {
    let elsewhere = False::start(|_, stream| answer(stream, "200 OK", "", PROFILE));
    let place = format!("http://{}/blob", elsewhere.host);
    let registry = False::start(move |(first, head), stream| {
        if first.starts_with("GET /token?service=tests&scope=repository%3Aacme%2Fnginx%3Apull ") {
            let is_known = head.contains("authorization: basic dgvzdgvyonnly3jlda==");
            assert!(is_known, "{head}");
            return answer(stream, "200 OK", "", b"{\"token\":\"given\"}");
        }
        if !head.contains("authorization: bearer given") {
            let host = head.lines().find_map(|l| l.strip_prefix("host: ")).unwrap();
            let asks = format!(
                "WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"tests\"\r\n",
                host.trim()
            );
            return answer(stream, "401 Unauthorized", &asks, b"");
        }
        if first.contains("/manifests/") {
            return answer(stream, "200 OK", "", &manifest(PROFILE, PROFILE.len()));
        }
        answer(
            stream,
            "307 Temporary Redirect",
            &format!("Location: {place}\r\n"),
            b"",
        );
    });
    let variables = [
        ("SECCOMP_REGISTRY_USERNAME", "tester"),
        ("SECCOMP_REGISTRY_PASSWORD", "secret"),
    ];
    let output = ask(
        &["pull", &format!("{}/acme/nginx:v1", registry.host)],
        &variables,
    );
    assert_eq!(tool::stdout(&output).as_bytes(), PROFILE);
    let asked = elsewhere.asked.lock().unwrap();
    assert_eq!(asked.len(), 1);
    assert!(!asked[0].1.contains("authorization"), "{asked:?}");
}

#[test]
fn a_circle_of_redirects_ends() {
    let registry = False::start(|(first, _), stream| {
        let path = first.split(' ').nth(1).unwrap();
        answer(stream, "302 Found", &format!("Location: {path}\r\n"), b"");
    });
    let said = refused(&registry.host, &[]);
    assert!(
        said.contains("it leads to other places more than 5 times"),
        "{said}"
    );
}

#[test]
fn a_registry_without_tls_is_told_from_one_with_it() {
    // No CA is asked for on this machine otherwise.
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let registry = False::start(|_, stream| answer(stream, "200 OK", "", b""));
    let said = refused(&registry.host, &[&format!("--ca-file={}", ca.display())]);
    assert!(
        said.contains("does not speak TLS; --plain-http asks it without"),
        "{said}"
    );
}

#[test]
fn words_of_a_registry_do_nothing_to_a_terminal() {
    let body = json!({"errors": [{"code": "UNKNOWN", "message": "\u{1b}[2Jgone\nerror: none"}]})
        .to_string();
    let registry =
        False::start(move |_, stream| answer(stream, "500 Internal", "", body.as_bytes()));
    let said = refused(&registry.host, &[]);
    assert!(
        said.contains("answered 500: [2Jgoneerror: none"),
        "{said:?}"
    );
    assert!(
        !said.contains('\u{1b}') && said.lines().count() == 1,
        "{said:?}"
    );
}

#[test]
fn a_registry_that_cannot_say_who_signed_is_not_one_where_nobody_did() {
    let registry = False::start(|(first, _), stream| {
        let status = if first.contains("/referrers/") {
            "503 Service Unavailable"
        } else {
            "200 OK"
        };
        answer(stream, status, "", &manifest(PROFILE, PROFILE.len()));
    });
    let name = format!("{}/acme/nginx:v1", registry.host);
    let output = ask(&["verify", KEY, &name], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("answered 503"), "{output:?}");
}
