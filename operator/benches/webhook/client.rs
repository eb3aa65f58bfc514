//! A client that does as little as it can: one request, written in advance, over and over on connections that stay.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet, yield_now};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// One request to one server.
pub struct Load {
    port: u16,
    tls: TlsConnector,
    request: Rc<[u8]>,
}

/// How long answers took, counted from when they were due.
pub struct Latency {
    pub p50: Duration,
    pub p99: Duration,
}

impl Load {
    pub fn new(port: u16, authority: &str, path: &str, body: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kube-apiserver-admission\r\nContent-Length: {}\r\n\
             Accept: application/json, */*\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n{body}",
            body.len()
        );
        Ok(Self {
            port,
            tls: TlsConnector::from(Arc::new(config)),
            request: request.into_bytes().into(),
        })
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection {
            stream: self
                .tls
                .connect(ServerName::try_from("localhost")?, stream)
                .await?,
            request: self.request.clone(),
            answer: vec![0; 64 << 10],
        };
        connection.exchange().await?;
        Ok(connection)
    }

    /// Answers per second when each connection asks again as soon as it was answered.
    pub async fn closed_loop(&self, connections: usize, time: Duration) -> anyhow::Result<f64> {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(self.connect().await?);
        }
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        let local = LocalSet::new();
        for mut connection in open {
            tasks.spawn_local_on(
                async move {
                    let mut answers = 0_u32;
                    while started.elapsed() < time {
                        connection.exchange().await?;
                        answers += 1;
                    }
                    anyhow::Ok(answers)
                },
                &local,
            );
        }
        let answers = local.run_until(tasks.join_all()).await;
        let elapsed = started.elapsed();
        let answers: u32 = answers.into_iter().sum::<anyhow::Result<u32>>()?;
        Ok(f64::from(answers) / elapsed.as_secs_f64())
    }

    /// How long answers take when reviews come at this rate, whatever became of those before.
    pub async fn open_loop(
        &self,
        connections: usize,
        rate: f64,
        time: Duration,
    ) -> anyhow::Result<Latency> {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(self.connect().await?);
        }
        let interval = Duration::from_secs_f64(1.0 / rate);
        let started = Instant::now();
        let (due, latencies) = (
            Rc::new(Cell::new(started)),
            Rc::new(RefCell::new(Vec::new())),
        );
        let mut tasks = JoinSet::new();
        let local = LocalSet::new();
        for mut connection in open {
            let (due, latencies) = (due.clone(), latencies.clone());
            tasks.spawn_local_on(
                async move {
                    loop {
                        let mine = due.get();
                        due.set(mine + interval);
                        if mine - started > time {
                            return anyhow::Ok(());
                        }
                        while Instant::now() < mine {
                            yield_now().await;
                        }
                        connection.exchange().await?;
                        latencies.borrow_mut().push(mine.elapsed());
                    }
                },
                &local,
            );
        }
        local
            .run_until(tasks.join_all())
            .await
            .into_iter()
            .collect::<anyhow::Result<()>>()?;
        let mut latencies = latencies.take();
        latencies.sort_unstable();
        let at = |percent: usize| {
            latencies
                .get(latencies.len() * percent / 100)
                .copied()
                .context("no answers")
        };
        Ok(Latency {
            p50: at(50)?,
            p99: at(99)?,
        })
    }
}

struct Connection {
    stream: TlsStream<TcpStream>,
    request: Rc<[u8]>,
    answer: Vec<u8>,
}

impl Connection {
    /// Sends the request and reads the whole answer, which has to be one that allows.
    async fn exchange(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.request).await?;
        self.stream.flush().await?;
        let mut filled = 0;
        loop {
            let read = self
                .stream
                .read(&mut self.answer[filled..])
                .await
                .context("the server hung up")?;
            if read == 0 {
                bail!("the server hung up");
            }
            filled += read;
            let answer = &self.answer[..filled];
            let Some(head) = find(answer, b"\r\n\r\n") else {
                continue;
            };
            let length = content_length(&answer[..head]).context("no Content-Length")?;
            if answer.len() < head + 4 + length {
                continue;
            }
            if !answer.starts_with(b"HTTP/1.1 200") || find(answer, b"\"allowed\":true").is_none() {
                bail!("the answer is {}", String::from_utf8_lossy(answer));
            }
            return Ok(());
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    })
}
