//! A disk that does not answer.

use std::convert::Infallible;
use std::future::pending;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use kube::Client;
use kube::client::Body;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::calls::{Calls, supervised};
use super::{PROFILES, scratch};
use crate::agent::disk::Disk;
use crate::agent::metrics::Metrics;
use crate::agent::reconcile::Reconciler;
use crate::agent::render::Renderer;
use crate::agent::{node, publish};
use crate::health;
use kube_support::events::events;

/// Longer than the answer takes on any machine.
const PATIENCE: Duration = Duration::from_secs(3);

/// What kubelet gets for this path, with its patience.
fn get(server: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&server, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

/// An agent, without an API server that answers, and its health checks, on one thread as in its process.
async fn agent(root: &Path, listener: TcpListener) {
    let silent = tower::service_fn(|_: axum::http::Request<Body>| {
        pending::<Result<axum::http::Response<Body>, Infallible>>()
    });
    let client = Client::new(silent, "default");
    let mut registry = crate::metrics::registry();
    let metrics = Metrics::new(&mut registry);
    let (events, _written) = events(client.clone(), publish::MANAGER, "node".into());
    let reconciler = Reconciler::new(
        client,
        "node".into(),
        Renderer {
            target: node::target().unwrap(),
            recorder_socket: None,
        },
        Disk::new(root, PROFILES.as_ref()),
        PROFILES,
        events,
        metrics,
    );
    let router = health::router(reconciler.readiness(), Arc::new(registry));
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::select! {
        ended = reconciler.run() => ended.unwrap(),
        ended = axum::serve(listener, router) => ended.unwrap(),
    }
}

/// What the health check says while this call of the agent's hangs.
fn health_while_hanging(calls: &Calls, call: &'static str) -> std::io::Result<String> {
    let root = scratch();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = listener.local_addr().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    calls.hang(call);
    scope(|scope| {
        let (over, end) = oneshot::channel();
        let kubelet = scope.spawn(move || {
            let begun = Instant::now();
            while !calls.is_hanging() && begun.elapsed() < PATIENCE {
                sleep(Duration::from_millis(5));
            }
            let hung = calls.is_hanging();
            let answer = get(server, "/livez");
            calls.release();
            let _ = over.send(());
            assert!(hung, "{call} was not called");
            answer
        });
        runtime.block_on(async {
            tokio::select! {
                () = agent(root.path(), listener) => {}
                _ = end => {}
            }
        });
        drop(runtime);
        kubelet.join().unwrap()
    })
}

#[test]
fn a_folder_that_hangs_as_it_is_opened_does_not_hang_the_health_checks() {
    for call in ["mkdirat", "fsync", "inotify_add_watch"] {
        let answer = supervised(|calls| health_while_hanging(calls, call));
        let answer = answer.unwrap_or_else(|error| panic!("{call}: {error}"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{call}: {answer}");
    }
}
