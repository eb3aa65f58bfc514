//! The agent under measurement: the product's own, in a process of its own on one thread, as on a node.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config};
use prometheus_client::registry::Registry;
use rustix::time::{ClockId, clock_gettime};
use seccomp_operator::agent;

use crate::server::{NODE, Server};

/// The first word of a process that is to be the agent.
pub const ROLE: &str = "--agent";

/// The process, which ends with this.
pub struct Agent {
    process: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Agent {
    pub fn start(server: &Server) -> anyhow::Result<Self> {
        // A real file system: what syncing costs counts.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let authority = folder.path().join("ca.pem");
        std::fs::write(&authority, &server.authority)?;
        let root = folder.path().join("seccomp");
        std::fs::create_dir(&root)?;
        let mut process = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .arg(server.port.to_string())
            .args([&authority, &root])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self {
            asks: process.stdin.take().context("no input")?,
            answers: BufReader::new(process.stdout.take().context("no output")?),
            process,
            _folder: folder,
        })
    }

    /// The CPU time that it has taken.
    pub fn cpu(&mut self) -> anyhow::Result<Duration> {
        self.asks.write_all(b"\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(Duration::from_nanos(
            line.trim().parse().context("the agent ended")?,
        ))
    }
}

/// Is the agent until something ends that must not. `words`: the API server's port, its authority and the seccomp folder.
pub fn be(words: &[String]) -> anyhow::Result<()> {
    let [port, authority, root] = words else {
        anyhow::bail!("no port, authority and folder")
    };
    std::thread::spawn(|| {
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            let taken = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime));
            println!("{}", taken.unwrap_or_default().as_nanos());
        }
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let pem = std::fs::read(Path::new(authority))?;
    runtime.block_on(async {
        let mut config = Config::new(format!("https://localhost:{port}").parse()?);
        config.root_cert = Some(rustls_pem(&pem)?);
        let agent = agent::Agent {
            client: Client::try_from(config)?,
            node: NODE.into(),
            seccomp_root: root.into(),
            profiles_dir: "profiles".into(),
            recorder_socket: None,
            audit: false,
        };
        let (runs, _) = agent.start(&mut Registry::default())?;
        Box::pin(runs).await
    })
}

fn rustls_pem(pem: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let all = CertificateDer::pem_slice_iter(pem).map(|one| Ok(one?.to_vec()));
    all.collect()
}
