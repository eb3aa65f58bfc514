//! The webhook server's connections: TLS, HTTP, and what keeps one client from being in the way of another.
//!
//! Everything is bounded. There are only so many connections; when one more comes, the one that has been quiet for the longest
//! time makes room, first among those that have never asked anything, so that whoever opens thousands cannot keep an API server
//! out. A client that is slow over its handshake or over the head of a request is let go of; one that keeps a connection for
//! later may, for longer than API servers do.
//!
//! Only HTTP/1.1 is spoken: API servers ask their webhooks by nothing else, on purpose, so that their reviews spread over the
//! replicas, and a protocol that is not spoken needs no limits.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::metrics::{Ended, Metrics};
use crate::pki::Serving;
use kube_support::error::chain;

/// How much of everything there may be. The defaults are for production; tests have less patience.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. An API server keeps as many as it has reviews under way, and a few more.
    pub connections: usize,
    /// How long a client may take for the TLS handshake, and for the head of a request.
    pub head: Duration,
    /// How long a connection may be kept that has not asked anything. API servers open one for a review which then takes another
    /// that has become free.
    pub first_request: Duration,
    /// How long a connection may be kept between two requests. API servers give up theirs after 90 s; were this less, a review
    /// could be on its way to a connection that is being closed.
    pub idle: Duration,
    /// How long open requests may take after the server was closed.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head: Duration::from_secs(5),
            first_request: Duration::from_secs(30),
            idle: Duration::from_mins(2),
            grace: Duration::from_secs(10),
        }
    }
}

/// The largest head of a request; an API server's has some 300 bytes.
const MAX_HEAD: usize = 16 << 10;
/// How long a connection may take to close when nothing is under way on it.
const CLOSING: Duration = Duration::from_millis(200);

/// How a server is brought to its end.
#[derive(Debug, Default)]
pub struct Drain {
    begun: AtomicBool,
    closed: AtomicBool,
    told: Notify,
}

impl Drain {
    /// From now on each connection is given up with its next answer: clients go elsewhere, and no review is on its way to a
    /// connection that is being closed.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// No more connections are taken, and the server ends once open requests are answered.
    pub fn close(&self) {
        self.begin();
        self.closed.store(true, Ordering::Release);
        self.told.notify_one();
    }

    async fn is_closed(&self) {
        while !self.closed.load(Ordering::Acquire) {
            self.told.notified().await;
        }
    }
}

/// Serves the routes on `listener` until it is closed; then lets open requests finish.
pub async fn serve(
    listener: TcpListener,
    serving: Arc<Serving>,
    router: Router,
    limits: Limits,
    metrics: Metrics,
    drain: Arc<Drain>,
) {
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let connections = Arc::new(Connections::new(limits.clone(), metrics, drain.clone()));
    // Ends when the last of the tasks that hold a sender does.
    let (open, mut all_ended) = mpsc::channel::<()>(1);
    let looking_after = async {
        let mut rounds = interval(limits.head.div_f32(4.0));
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            connections.close_overdue();
        }
    };
    let accepting = async {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely; waiting is all that helps.
                    warn!(error = chain(&error), "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // Not waited for: whoever comes in numbers must not fill the queue of those that want to come in.
            connections.make_room();
            let mut entry = connections.enter();
            let (acceptor, router, open) = (acceptor.clone(), router.clone(), open.clone());
            tokio::spawn(async move {
                entry.ended = converse(stream, &acceptor, router, &entry.connection).await;
                drop((entry, open));
            });
        }
    };
    tokio::select! {
        () = drain.is_closed() => {}
        () = looking_after => {}
        () = accepting => {}
    }
    drop((listener, open));
    connections.close_all();
    if timeout(limits.grace + CLOSING, all_ended.recv())
        .await
        .is_err()
    {
        warn!("some connections were still open at the end");
    }
}

/// Speaks with one client until either side has had enough. How it ended.
async fn converse(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    router: Router,
    connection: &Arc<Connection>,
) -> Ended {
    // Answers are small and whole; waiting for more to send would only delay them.
    drop(stream.set_nodelay(true));
    let stream = Observed {
        stream,
        connection: connection.clone(),
    };
    let stream = tokio::select! {
        accepted = acceptor.accept(stream) => match accepted {
            Ok(stream) => stream,
            Err(error) => {
                // Port scanners, load balancers' probes, and clients that do not trust us yet.
                debug!(error = chain(&error), "a handshake failed");
                return Ended::Handshake;
            }
        },
        () = connection.told.notified() => return connection.reason().unwrap_or(Ended::Handshake),
    };
    connection.has_met();
    let service = Answering {
        router,
        connection: connection.clone(),
    };
    let mut builder = http1::Builder::new();
    // The head's time is looked after by `close_overdue`: hyper's own timer would also run between requests.
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD)
        .half_close(false);
    let mut speaking = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = speaking.as_mut() => Some(ended),
        () = connection.told.notified() => {
            if connection.reason() == Some(Ended::Crowded) {
                return Ended::Crowded; // somebody waits for the place
            }
            speaking.as_mut().graceful_shutdown();
            let patience = if connection.is_busy() { connection.all.limits.grace } else { CLOSING };
            timeout(patience, speaking).await.ok()
        }
    };
    match (connection.reason(), ended) {
        (Some(reason), _) => reason,
        (None, Some(Err(error))) => {
            debug!(error = chain(&error), "a connection ended early");
            Ended::Broken
        }
        (None, _) => Ended::Closed,
    }
}

/// One connection, as those see it who look after all of them. Times are milliseconds since the server began.
#[derive(Debug)]
struct Connection {
    all: Arc<Connections>,
    /// When it came, finished its handshake, began a request or was answered, whichever was last.
    since: AtomicU64,
    /// When the first byte came after that, or 0.
    heard: AtomicU64,
    /// Whether its handshake is done.
    met: AtomicBool,
    /// Whether a request was answered.
    served: AtomicBool,
    /// Whether a request is under way.
    busy: AtomicBool,
    /// Told to close.
    told: Notify,
    reason: Mutex<Option<Ended>>,
}

impl Connection {
    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Tells it to close.
    fn close(&self, reason: Option<Ended>) {
        let mut known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.or(reason);
        self.told.notify_one();
    }

    /// Why it was told to close, when that was for a reason of its own.
    fn reason(&self) -> Option<Ended> {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_met(&self) {
        self.met.store(true, Ordering::Relaxed);
        self.now();
    }

    fn begins(&self) {
        self.busy.store(true, Ordering::Relaxed);
        self.since.store(self.all.clock(), Ordering::Relaxed);
    }

    fn ends(&self) {
        self.busy.store(false, Ordering::Relaxed);
        self.served.store(true, Ordering::Relaxed);
        self.now();
    }

    /// From now on it is quiet.
    fn now(&self) {
        self.since.store(self.all.clock(), Ordering::Relaxed);
        self.heard.store(0, Ordering::Relaxed);
    }

    /// How it ends if it has kept us waiting for too long.
    fn overdue(&self, now: u64, limits: &Limits) -> Option<Ended> {
        let since = |then: &AtomicU64| {
            Duration::from_millis(now.saturating_sub(then.load(Ordering::Relaxed)))
        };
        if self.is_busy() {
            return None; // a request has a time limit of its own
        }
        if !self.met.load(Ordering::Relaxed) {
            return (since(&self.since) > limits.head).then_some(Ended::Handshake);
        }
        let half_said = self.heard.load(Ordering::Relaxed) != 0;
        let idle = if self.served.load(Ordering::Relaxed) {
            limits.idle
        } else {
            limits.first_request
        };
        ((half_said && since(&self.heard) > limits.head) || since(&self.since) > idle)
            .then_some(Ended::TimedOut)
    }

    /// Who makes room for others first: those that have never asked, then those that are idle, then those whose review takes
    /// longest.
    fn worth(&self) -> (bool, bool, u64) {
        (
            self.is_busy(),
            self.served.load(Ordering::Relaxed),
            self.since.load(Ordering::Relaxed),
        )
    }
}

/// All connections.
#[derive(Debug)]
struct Connections {
    limits: Limits,
    metrics: Metrics,
    drain: Arc<Drain>,
    began: Instant,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// How many there ever were.
    count: u64,
    by_number: BTreeMap<u64, Arc<Connection>>,
}

impl Connections {
    fn new(limits: Limits, metrics: Metrics, drain: Arc<Drain>) -> Self {
        Self {
            limits,
            metrics,
            drain,
            began: Instant::now(),
            open: Mutex::default(),
        }
    }

    /// Milliseconds since the server began, never 0.
    fn clock(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    fn with_open<T>(&self, f: impl FnOnce(&mut Open) -> T) -> T {
        f(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn enter(self: &Arc<Self>) -> Entry {
        self.metrics.connected();
        let connection = Arc::new(Connection {
            all: self.clone(),
            since: self.clock().into(),
            heard: 0.into(),
            met: false.into(),
            served: false.into(),
            busy: false.into(),
            told: Notify::new(),
            reason: Mutex::default(),
        });
        let number = self.with_open(|open| {
            open.count += 1;
            open.by_number.insert(open.count, connection.clone());
            open.count
        });
        Entry {
            connection,
            number,
            ended: Ended::Broken,
        }
    }

    /// Lets go of those that take too long.
    fn close_overdue(&self) {
        let now = self.clock();
        self.with_open(|open| {
            for connection in open.by_number.values() {
                if let Some(reason) = connection.overdue(now, &self.limits) {
                    connection.close(Some(reason));
                }
            }
        });
    }

    /// Lets go of the one that is worth least, if there are as many as there may be.
    fn make_room(&self) {
        self.with_open(|open| {
            if open.by_number.len() < self.limits.connections {
                return;
            }
            let least = open.by_number.iter().min_by_key(|(_, one)| one.worth());
            if let Some((&number, connection)) = least {
                connection.close(Some(Ended::Crowded));
                open.by_number.remove(&number); // it has been told; its place is free from now on
            }
        });
    }

    fn close_all(&self) {
        self.with_open(|open| {
            for connection in open.by_number.values() {
                connection.close(None);
            }
        });
    }
}

/// A connection's place among all; given back when it is dropped, whatever became of its task.
struct Entry {
    connection: Arc<Connection>,
    number: u64,
    ended: Ended,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let all = &self.connection.all;
        all.with_open(|open| open.by_number.remove(&self.number));
        all.metrics.ended(self.ended);
    }
}

/// The routes, for one connection.
struct Answering {
    router: Router,
    connection: Arc<Connection>,
}

impl Service<Request<Incoming>> for Answering {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = UnderWay::new(self.connection.clone());
        let answered = self.router.clone().oneshot(request.map(Body::new));
        Box::pin(async move {
            let mut response = answered.await?;
            if under_way.0.all.drain.begun.load(Ordering::Relaxed) {
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}

/// Ended by dropping, so that a request which is given up counts as ended too.
struct UnderWay(Arc<Connection>);

impl UnderWay {
    fn new(connection: Arc<Connection>) -> Self {
        connection.begins();
        Self(connection)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.ends();
    }
}

/// A stream that remembers when it first brought something since the last answer.
struct Observed {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let heard = &self.connection.heard;
        if buffer.filled().len() > before && heard.load(Ordering::Relaxed) == 0 {
            heard.store(self.connection.all.clock(), Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Observed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
