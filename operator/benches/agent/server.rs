//! As much of an API server as one agent asks for: lists and watches of profiles, pods and its SeccompNode, and its writes. What it sends is
//! what a real one sends, managed fields and all.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::{StreamExt as _, stream};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub const NODE: &str = "node-1";
const GROUP: &str = "seccomp-operator.io/v1alpha1";
/// A report is there long before.
const PATIENCE: Duration = Duration::from_mins(1);

/// The server, which ends with the process.
pub struct Server {
    pub port: u16,
    /// Whom to trust, in PEM.
    pub authority: String,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<Store>,
    profiles: broadcast::Sender<Value>,
    nodes: broadcast::Sender<Value>,
    /// The latest version that the node has applied.
    applied: watch::Sender<u64>,
}

struct Store {
    version: u64,
    profiles: Vec<Value>,
    node: Option<Value>,
    writes: usize,
    changes: u64,
}

impl Store {
    fn next(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Store> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections over TLS.
struct Tls(TcpListener, TlsAcceptor);

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((connection, from)) = self.0.accept().await else {
                continue;
            };
            let _ = connection.set_nodelay(true);
            if let Ok(connection) = self.1.accept(connection).await {
                return (connection, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Server {
    pub async fn start(profiles: usize) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(anyhow::Error::msg)?;
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let mut store = Store {
            version: 1000,
            profiles: Vec::new(),
            node: None,
            writes: 0,
            changes: 0,
        };
        for number in 0..profiles {
            let profile = profile(&mut store, number, true, 1);
            store.profiles.push(profile);
        }
        let shared = Arc::new(Shared {
            state: Mutex::new(store),
            profiles: broadcast::Sender::new(64),
            nodes: broadcast::Sender::new(64),
            applied: watch::Sender::new(0),
        });
        let routes = Router::new().fallback(answer).with_state(shared.clone());
        let tls = Tls(listener, TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move { axum::serve(tls, routes).await });
        Ok(Self {
            port,
            authority: made.cert.pem(),
            shared,
        })
    }

    /// Waits for the node's report of all there is.
    pub async fn reported(&self) -> anyhow::Result<()> {
        let newest = self.shared.state().version;
        self.applied(newest).await
    }

    async fn applied(&self, version: u64) -> anyhow::Result<()> {
        let mut applied = self.shared.applied.subscribe();
        let reached = applied.wait_for(|applied| *applied >= version);
        tokio::time::timeout(PATIENCE, reached)
            .await
            .context("the node did not report")??;
        Ok(())
    }

    /// Changes a profile, and writes of it what a controller does: once the node has reported, and that of a change as such in between.
    pub async fn change(&self, number: usize, derived: bool) -> anyhow::Result<()> {
        let version = {
            let mut state = self.shared.state();
            let generation = state.profiles[number]["metadata"]["generation"].as_i64();
            let profile = profile(
                &mut state,
                number,
                derived,
                generation.unwrap_or_default() + 1,
            );
            self.put(&mut state, number, &profile);
            state.version
        };
        self.applied(version).await?;
        let mut state = self.shared.state();
        let mut profile = state.profiles[number].clone();
        profile["metadata"]["resourceVersion"] = json!(state.next());
        profile["status"] = status(
            profile["metadata"]["name"].as_str().unwrap_or_default(),
            &profile["metadata"]["generation"],
            version,
        );
        self.put(&mut state, number, &profile);
        Ok(())
    }

    fn put(&self, state: &mut Store, number: usize, profile: &Value) {
        state.profiles[number] = profile.clone();
        let event = json!({"type": "MODIFIED", "object": profile});
        let _ = self.shared.profiles.send(event);
    }

    /// How often the node's report was written.
    pub fn writes(&self) -> usize {
        self.shared.state().writes
    }
}

/// No two are the same.
fn profile(store: &mut Store, number: usize, derived: bool, generation: i64) -> Value {
    store.changes += 1;
    let name = format!("profile-{number:04}");
    let ioctl = json!({"name": "ioctl", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": store.changes}]});
    let spec = if derived {
        json!({"base": "runtime-default", "deny": ["keyctl", ioctl]})
    } else {
        json!({"profile": document(store.changes)})
    };
    let version = store.next();
    let keys = |of: &Value| -> Value {
        let fields = of.as_object().into_iter().flatten();
        fields
            .map(|(key, _)| (format!("f:{key}"), json!({})))
            .collect()
    };
    let status = status(&name, &json!(generation - 1), store.version - 1);
    let managed = json!([
        {"manager": "kubectl-client-side-apply", "operation": "Apply", "apiVersion": GROUP, "time": "2026-01-01T00:00:00Z",
         "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": keys(&spec)}},
        {"manager": "seccomp-operator", "operation": "Apply", "apiVersion": GROUP, "time": "2026-01-01T00:00:01Z", "subresource": "status",
         "fieldsType": "FieldsV1", "fieldsV1": {"f:status": keys(&status)}},
    ]);
    json!({
        "apiVersion": GROUP, "kind": "SeccompProfile",
        "metadata": {
            "name": name, "uid": format!("705ab4f5-6393-11e8-b7cc-{number:012}"), "generation": generation,
            "resourceVersion": version, "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": managed,
        },
        "spec": spec, "status": status,
    })
}

fn status(name: &str, generation: &Value, revision: u64) -> Value {
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": "True", "reason": reason, "message": message, "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    json!({
        "observedGeneration": generation, "revision": revision.to_string(), "localhostProfile": format!("profiles/{name}.json"),
        "defaultAction": "SCMP_ACT_ERRNO", "nodes": {"desired": 1000, "ready": 1000, "failed": 0, "summary": "1000/1000"}, "usedBy": 0,
        "conditions": [
            condition("Accepted", "Valid", "the profile is valid"),
            condition("Ready", "OnAllNodes", "generation 2 is on all 1000 nodes"),
            condition("InUse", "Unused", "no pod uses the profile"),
        ],
    })
}

/// Docker's default profile with one rule more, as authors have it.
fn document(change: u64) -> Value {
    let target = crate::engine::NODE;
    let docker = seccomp_profile::builtin(seccomp_profile::DOCKER_DEFAULT)
        .map(|built_in| built_in.resolve(&target));
    let written = docker.and_then(|docker| Some(docker.canonical("").ok()?.to_canonical_json()));
    let mut document: Value =
        serde_json::from_slice(&written.unwrap_or_default()).unwrap_or_default();
    if let Some(rules) = document["syscalls"].as_array_mut() {
        rules.push(json!({"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": change}]}));
    }
    document
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let watches = query.contains("watch=true");
    let kind = path
        .split('/')
        .find(|part| matches!(*part, "seccompprofiles" | "seccompnodes" | "pods"));
    match (&method, kind, watches) {
        (&Method::GET, Some("seccompprofiles"), true) => stream_of(shared.profiles.subscribe()),
        (&Method::GET, Some("seccompnodes"), true) => stream_of(shared.nodes.subscribe()),
        (&Method::GET, Some(_), true) => stream_of(broadcast::Sender::new(1).subscribe()),
        (&Method::GET, Some("seccompprofiles"), false) => {
            let state = shared.state();
            list("SeccompProfileList", GROUP, &state.profiles, state.version)
        }
        (&Method::GET, Some("seccompnodes"), false) => {
            let state = shared.state();
            list(
                "SeccompNodeList",
                GROUP,
                state.node.as_slice(),
                state.version,
            )
        }
        (&Method::GET, Some("pods"), false) => list("PodList", "v1", &[], shared.state().version),
        (&Method::PATCH, Some("seccompnodes"), _) => {
            let sent = to_bytes(request.into_body(), 1 << 20)
                .await
                .unwrap_or_default();
            let mut node: Value = serde_json::from_slice(&sent).unwrap_or_default();
            let mut state = shared.state();
            state.writes += 1;
            let managed = json!([{"manager": "seccomp-operator-agent", "operation": "Apply", "apiVersion": GROUP,
                "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:appliedResourceVersion": {}, "f:failed": {}, "f:failures": {}, "f:inUse": {}, "f:node": {}}}]);
            node["metadata"]["resourceVersion"] = json!(state.next());
            node["metadata"]["uid"] = json!("705ab4f5-6393-11e8-b7cc-42010a800002");
            node["metadata"]["managedFields"] = managed;
            state.node = Some(node.clone());
            let _ = shared
                .nodes
                .send(json!({"type": "MODIFIED", "object": node}));
            let applied = node["appliedResourceVersion"].as_str();
            shared.applied.send_replace(
                applied
                    .and_then(|applied| applied.parse().ok())
                    .unwrap_or_default(),
            );
            json_of(&node)
        }
        _ => {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": "no"});
            (StatusCode::NOT_FOUND, json_of(&status)).into_response()
        }
    }
}

fn list(kind: &str, version: &str, items: &[Value], at: u64) -> Response {
    let metadata = json!({"resourceVersion": at.to_string()});
    json_of(&json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": items}))
}

fn json_of(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

fn stream_of(events: broadcast::Receiver<Value>) -> Response {
    let lines = stream::unfold(events, |mut events| async move {
        let event = events.recv().await.ok()?;
        Some((Ok::<_, Infallible>(format!("{event}\n")), events))
    });
    // One without a sender would end, and the watch begin anew.
    let body = Body::from_stream(lines.chain(stream::pending()));
    ([("content-type", "application/json")], body).into_response()
}
