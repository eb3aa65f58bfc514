//! The real server, over TLS on the loopback interface, and clients of every kind.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use prometheus_client::registry::Registry;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::server::{Admission, router};
use super::*;
use crate::pki::{Lives, Material};
use seccomp_policy::view::View;

const NAME: &str = "webhook.test.svc";
/// So long something that should happen soon may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Limits at which nothing happens in a test unless it shortens them.
fn patient() -> Limits {
    Limits {
        head: Duration::from_mins(10),
        first_request: Duration::from_mins(10),
        idle: Duration::from_mins(10),
        ..Limits::default()
    }
}

struct Server {
    address: SocketAddr,
    bundle: String,
    serving: Arc<Serving>,
    drain: Arc<Drain>,
    registry: Registry,
    ended: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let now = OffsetDateTime::now_utc();
        let material = Material::generate(now, Lives::default()).unwrap();
        let serving = Arc::new(Serving::default());
        let names = [NAME.to_owned()];
        serving
            .ensure(&material, &names, now, Lives::default())
            .unwrap();
        let mut view = View::new("profiles", []);
        view.namespace("default", BTreeMap::new());
        let default = json!({"profile": {"type": "RuntimeDefault"}});
        view.policy("default", serde_json::from_value(default).unwrap());
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let admission = Arc::new(Admission::new(view, metrics.clone()));
        let drain = Arc::new(Drain::default());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            bundle: material.bundle(),
            serving: serving.clone(),
            ended: tokio::spawn(serve(
                listener,
                serving,
                router(admission),
                limits,
                metrics,
                drain.clone(),
            )),
            drain,
            registry,
        }
    }

    async fn connect(&self) -> io::Result<Client> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(self.bundle.as_bytes()) {
            roots.add(authority.unwrap()).unwrap();
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Client(connector.connect(name, stream).await?))
    }

    /// One review of its own connection.
    async fn is_well(&self) {
        let mut client = self.connect().await.unwrap();
        assert_eq!(client.review("well").await.unwrap().uid(), "well");
    }

    /// The value of a series.
    fn metric(&self, series: &str) -> u64 {
        let text = crate::metrics::encode(&self.registry).unwrap();
        let prefix = format!("seccomp_operator_webhook_{series} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
            .parse()
            .unwrap()
    }

    async fn until(&self, series: &str, value: u64) {
        let reached = async {
            while self.metric(series) != value {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = timeout(SOON, reached).await.is_ok();
        assert!(in_time, "{series} is {}, not {value}", self.metric(series));
    }
}

struct Client(TlsStream<TcpStream>);

struct Reply {
    status: u16,
    head: String,
    body: Value,
}

impl Reply {
    fn uid(&self) -> &str {
        self.body["response"]["uid"].as_str().unwrap_or_default()
    }

    fn gives_the_connection_up(&self) -> bool {
        self.head.to_lowercase().contains("connection: close")
    }
}

fn pod_review(uid: &str, namespace: &str) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid, "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
            "namespace": namespace, "object": {"metadata": {}, "spec": {"containers": [{"name": "c"}]}},
        },
    })
    .to_string()
}

fn profile_review(uid: &str) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": uid, "kind": {"group": "seccomp-operator.io", "version": "v1alpha1", "kind": "SeccompProfile"},
            "operation": "CREATE", "name": "x", "object": {"metadata": {"name": "x"}, "spec": {"profile": {}}},
        },
    })
    .to_string()
}

fn request(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    async fn receive(&mut self) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let lower = head.to_lowercase();
                let length = lower
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .map_or(0, |length| length.parse().unwrap());
                if body.len() >= length {
                    return Ok(Reply {
                        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
                        head: head.to_owned(),
                        body: serde_json::from_str(body).unwrap_or_default(),
                    });
                }
            }
            let mut part = [0; 4096];
            let read = self.0.read(&mut part).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.extend_from_slice(&part[..read]);
        }
    }

    async fn ask(&mut self, bytes: &[u8]) -> io::Result<Reply> {
        self.send(bytes).await?;
        timeout(SOON, self.receive()).await.unwrap()
    }

    async fn review(&mut self, uid: &str) -> io::Result<Reply> {
        self.ask(&request("/mutate", &pod_review(uid, "default")))
            .await
    }

    /// Whether the server has closed the connection, or does so soon.
    async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        // With a word of farewell or without.
        timeout(SOON, self.0.read_to_end(&mut rest)).await.is_ok()
    }
}

#[tokio::test]
async fn a_connection_is_kept_between_requests_for_longer_than_a_head_may_take() {
    let server = Server::start(Limits {
        head: Duration::from_millis(100),
        ..patient()
    })
    .await;
    let mut client = server.connect().await.unwrap();
    client.review("first").await.unwrap();
    // Rounds are made every quarter of the time for a head: there were some by then.
    sleep(Duration::from_millis(400)).await;
    assert_eq!(client.review("second").await.unwrap().uid(), "second");
    // Silence right after the handshake is no half-said head either.
    let mut silent = server.connect().await.unwrap();
    sleep(Duration::from_millis(400)).await;
    assert_eq!(silent.review("third").await.unwrap().uid(), "third");
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    for (limits, used) in [
        (
            Limits {
                idle: Duration::from_millis(100),
                ..patient()
            },
            true,
        ),
        (
            Limits {
                first_request: Duration::from_millis(100),
                ..patient()
            },
            false,
        ),
    ] {
        let limits = Limits {
            head: Duration::from_millis(200),
            ..limits
        };
        let server = Server::start(limits).await;
        let mut client = server.connect().await.unwrap();
        if used {
            client.review("only").await.unwrap();
        }
        assert!(client.is_closed().await);
        server
            .until(r#"ended_connections_total{reason="timed_out"}"#, 1)
            .await;
    }
}

#[tokio::test]
async fn a_client_that_is_slow_over_the_handshake_or_a_head_is_let_go_of() {
    let server = Server::start(Limits {
        head: Duration::from_millis(200),
        ..patient()
    })
    .await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    let mut slow = server.connect().await.unwrap();
    let dribbling = async {
        for byte in b"POST /mutate HTTP/1.1\r\n".iter().cycle() {
            if slow.send(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, dribbling).await.unwrap();
    server
        .until(r#"ended_connections_total{reason="timed_out"}"#, 1)
        .await;
    server
        .until(r#"ended_connections_total{reason="handshake_failed"}"#, 1)
        .await;
    server.until("connections", 0).await;
    drop(silent);
}

#[tokio::test]
async fn whoever_comes_in_numbers_keeps_nobody_out() {
    let server = Server::start(Limits {
        connections: 8,
        ..patient()
    })
    .await;
    let mut kept = server.connect().await.unwrap();
    kept.review("before").await.unwrap();
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(TcpStream::connect(server.address).await.unwrap());
        crowd.push(TcpStream::connect(server.address).await.unwrap());
        let handshake_only = server.connect().await.unwrap();
        drop(handshake_only);
    }
    assert_eq!(
        kept.review("after").await.unwrap().uid(),
        "after",
        "who has asked before keeps the place against those who say nothing"
    );
    server.is_well().await;
    server.until("connections", 8).await;
    assert!(server.metric(r#"ended_connections_total{reason="crowded_out"}"#) > 40);
}

#[tokio::test]
async fn reviews_that_take_long_give_way_when_all_places_are_taken_by_them() {
    let server = Server::start(Limits {
        connections: 4,
        ..patient()
    })
    .await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut client = server.connect().await.unwrap();
        let head = "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{";
        client.send(head.as_bytes()).await.unwrap();
        slow.push(client);
    }
    server.is_well().await;
}

#[tokio::test]
async fn ten_thousand_connections_leave_room_for_one_more() {
    // Each needs a descriptor here, and those that are served one more.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = 12_000;
    assert!(
        limit.maximum.is_none_or(|maximum| maximum >= wanted),
        "this test needs {wanted} file descriptors (ulimit -Hn)"
    );
    if limit.current.is_some_and(|current| current < wanted) {
        let more = rustix::process::Rlimit {
            current: Some(wanted),
            ..limit
        };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, more).unwrap();
    }
    let server = Server::start(Limits {
        connections: 128,
        ..patient()
    })
    .await;
    let mut kept = server.connect().await.unwrap();
    kept.review("before").await.unwrap();
    let mut crowd = Vec::new();
    for n in 0..10_000 {
        crowd.push(TcpStream::connect(server.address).await.unwrap());
        if n % 1000 == 0 {
            server.is_well().await;
        }
    }
    assert_eq!(kept.review("after").await.unwrap().uid(), "after");
    server.is_well().await;
    server.until("connections", 128).await;
    drop(crowd);
}

#[tokio::test]
async fn every_uid_is_answered_with_the_same_uid() {
    let server = Arc::new(Server::start(patient()).await);
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let server = server.clone();
        tasks.spawn(async move {
            let mut client = server.connect().await.unwrap();
            for m in 0..25 {
                let uid = format!("{n}-{m}");
                let reply = match m % 2 {
                    0 => client.review(&uid).await.unwrap(),
                    _ => client
                        .ask(&request("/validate", &profile_review(&uid)))
                        .await
                        .unwrap(),
                };
                assert_eq!((reply.status, reply.uid()), (200, uid.as_str()));
                assert_eq!(reply.body["response"]["allowed"], m % 2 == 0);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(
        server.metric(r#"reviews_total{webhook="mutate",outcome="patched",reason="injected"}"#),
        8 * 13
    );
    assert_eq!(
        server.metric(r#"reviews_total{webhook="validate",outcome="denied",reason="invalid"}"#),
        8 * 12
    );
}

#[tokio::test]
async fn what_is_no_review_is_refused_with_a_status_and_the_server_goes_on() {
    let server = Server::start(patient()).await;
    let json = |path: &str, body: &str| request(path, body);
    let v1beta1 =
        r#"{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":[]}"#;
    let not_utf8 = [request("/mutate", "{}  ").as_slice(), b""].concat();
    let not_utf8 = [&not_utf8[..not_utf8.len() - 4], b"\xff\xfe{}"].concat();
    let deep = "[".repeat(200_000);
    let mut cases: Vec<(Vec<u8>, u16, &str)> = vec![
        (json("/mutate", ""), 400, "not an AdmissionReview"),
        (json("/mutate", "{}"), 400, "only \"AdmissionReview\""),
        (json("/validate", "[1, 2"), 400, "not an AdmissionReview"),
        (json("/mutate", v1beta1), 400, "admission.k8s.io/v1beta1"),
        (json("/validate", v1beta1), 400, "admission.k8s.io/v1beta1"),
        (not_utf8, 400, "not an AdmissionReview"),
        (json("/mutate", &deep), 400, "not an AdmissionReview"),
        (json("/elsewhere", "{}"), 404, "/mutate and /validate"),
        (
            b"GET /mutate HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            405,
            "by POST",
        ),
        (
            b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
            415,
            "application/json",
        ),
        (
            b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n".to_vec(),
            413,
            "more than 4194304 bytes",
        ),
    ];
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20)).repeat(5);
    cases.push((
        format!("POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}").into_bytes(),
        413,
        "more than 4194304 bytes",
    ));
    for (bytes, status, part) in cases {
        let mut client = server.connect().await.unwrap();
        let case = String::from_utf8_lossy(&bytes[..bytes.len().min(90)]).into_owned();
        // The server may answer, and close, before it has read all.
        drop(client.send(&bytes).await);
        let reply = timeout(SOON, client.receive()).await.unwrap().unwrap();
        assert_eq!(reply.status, status, "{case}");
        assert_eq!(reply.body["kind"], "Status", "{case}");
        let message = reply.body["message"].as_str().unwrap();
        assert!(
            message.starts_with("seccomp-operator: ") && message.contains(part),
            "{case}: {message}"
        );
        assert!(message.len() < 400, "{case}: {message}");
    }
    // No TLS, no HTTP, an HTTP/2 preface, a head without end.
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    for bytes in [
        &b"\0\0\0\0\0\0\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &vec![b'x'; 40 << 10],
    ] {
        let mut client = server.connect().await.unwrap();
        drop(client.send(bytes).await);
        assert!(client.is_closed().await);
    }
    server.is_well().await;
    drop(plain);
    server.until("connections", 0).await;
}

#[tokio::test]
async fn a_review_of_another_kind_is_let_through() {
    let server = Server::start(patient()).await;
    let mut client = server.connect().await.unwrap();
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "other", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "operation": "CREATE",
            "object": {"metadata": {"labels": 7}, "spec": "no pod at all"},
        },
    });
    for path in ["/mutate", "/validate"] {
        let reply = client
            .ask(&request(path, &review.to_string()))
            .await
            .unwrap();
        assert_eq!(reply.uid(), "other", "{path} {:?}", reply.body);
        assert_eq!(reply.body["response"]["allowed"], true, "{path}");
        assert!(reply.body["response"].get("patch").is_none(), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_leaves_nothing_behind() {
    let server = Server::start(patient()).await;
    let whole = request("/mutate", &pod_review("u", "default"));
    for part in [10, whole.len() - 5, whole.len()] {
        let mut client = server.connect().await.unwrap();
        client.send(&whole[..part]).await.unwrap();
        drop(client);
        // And one that says it has no more to say, but stays.
        let mut half = server.connect().await.unwrap();
        half.send(&whole[..part]).await.unwrap();
        half.0.shutdown().await.unwrap();
        assert!(half.is_closed().await);
    }
    server.until("connections", 0).await;
}

#[tokio::test]
async fn a_server_that_drains_gives_connections_up_with_an_answer_and_ends_without_losing_one() {
    let server = Server::start(patient()).await;
    let mut used = server.connect().await.unwrap();
    let mut idle = server.connect().await.unwrap();
    let mut under_way = server.connect().await.unwrap();
    let before = used.review("before").await.unwrap();
    assert!(!before.gives_the_connection_up());
    idle.review("before").await.unwrap();
    server.drain.begin();
    let last = used.review("last").await.unwrap();
    assert_eq!(last.uid(), "last");
    assert!(last.gives_the_connection_up());
    assert!(used.is_closed().await);
    // New connections are still taken, for one answer.
    let mut late = server.connect().await.unwrap();
    assert!(late.review("late").await.unwrap().gives_the_connection_up());
    // The idle one was not closed under a review that may be on its way.
    let kept = idle.review("kept").await.unwrap();
    assert_eq!(kept.uid(), "kept");
    assert!(kept.gives_the_connection_up());
    // A review that takes its time: the server waits for its namespace.
    under_way
        .send(&request("/mutate", &pod_review("slow", "new")))
        .await
        .unwrap();
    let mut silent = server.connect().await.unwrap();
    server.until("connections", 2).await;
    // Bytes that were sent are not requests that have begun yet.
    sleep(Duration::from_millis(50)).await;
    server.drain.close();
    assert_eq!(under_way.receive().await.unwrap().uid(), "slow");
    assert!(silent.is_closed().await);
    timeout(SOON, server.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_takes_none_away() {
    let mut server = Server::start(patient()).await;
    let mut before = server.connect().await.unwrap();
    before.review("before").await.unwrap();
    let now = OffsetDateTime::now_utc();
    let other = Material::generate(now, Lives::default()).unwrap();
    let names = [NAME.to_owned()];
    server
        .serving
        .ensure(&other, &names, now, Lives::default())
        .unwrap();
    assert_eq!(before.review("after").await.unwrap().uid(), "after");
    assert!(
        server.connect().await.is_err(),
        "not trusted by who only knows the old authority"
    );
    server.bundle.push_str(&other.bundle());
    server.is_well().await;
}
