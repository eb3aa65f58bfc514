//! Registries for tests: a real one, and answers that no real one gives.
#![allow(dead_code)] // each test uses a part

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::tool::tool;

/// `secret`, as htpasswd keeps it.
pub const PASSWORDS: &str = "tester:$2a$05$ZYnE2mulh/TGLQQtCD3APegGMECnwECNhO1aQFBZJnPIkqq76L4mu\n";

/// The program of that name, if it is on the PATH.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = found.into_iter().find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: there is no {name} on the PATH");
    }
    found
}

/// Debian's docker-registry, on a port of this machine.
pub struct Registry {
    child: Child,
    folder: tempfile::TempDir,
    pub host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// One that lets everybody do everything, without TLS; none where there is none on this machine.
    pub fn open() -> Option<Self> {
        Self::start("", |_| {})
    }

    /// One with TLS and one account, `tester` with the password `secret`.
    pub fn closed() -> Option<Self> {
        let more = "  tls: {certificate: FOLDER/tls.pem, key: FOLDER/tls.key}\nauth:\n  htpasswd: {realm: tests, path: FOLDER/htpasswd}\n";
        Self::start(more, |folder| {
            let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
            let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
            write("tls.pem", &made.cert.pem());
            write("tls.key", &made.signing_key.serialize_pem());
            write("htpasswd", PASSWORDS);
        })
    }

    fn start(more: &str, prepare: impl Fn(&Path)) -> Option<Self> {
        let program = program("docker-registry")?;
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        // Another process may take the port in between: then with another.
        for _ in 0..5 {
            let port = free_port();
            let host = format!("127.0.0.1:{port}");
            let config = format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: FOLDER/data}}}}\nhttp:\n  \
                 addr: {host}\n{more}"
            );
            let config = config.replace("FOLDER", folder.path().to_str().unwrap());
            let file = folder.path().join("config.yml");
            std::fs::write(&file, config).unwrap();
            let mut child = Command::new(&program)
                .args(["serve", file.to_str().unwrap()])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let end = Instant::now() + Duration::from_secs(20);
            while child.try_wait().unwrap().is_none() && Instant::now() < end {
                if TcpStream::connect(&host).is_ok() {
                    return Some(Self {
                        child,
                        folder,
                        host,
                    });
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("docker-registry does not start");
    }

    /// A file in the registry's folder.
    pub fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A file with that text in the registry's folder.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self.file(name)
    }

    /// What oras does in that folder, which has to succeed.
    pub fn oras(&self, args: &[&str]) -> String {
        let program = program("oras").expect("oras beside docker-registry");
        let output = Command::new(program)
            .args(args)
            .arg("--plain-http")
            .current_dir(self.folder.path())
            .env("DOCKER_CONFIG", self.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "oras {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What the tool says, as somebody who has logged in nowhere, or as `variables` say.
pub fn ask(args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = tool(args);
    let names = [
        "DOCKER_CONFIG",
        "REGISTRY_AUTH_FILE",
        "SECCOMP_REGISTRY_USERNAME",
        "SECCOMP_REGISTRY_PASSWORD",
        "XDG_CONFIG_HOME",
        "XDG_RUNTIME_DIR",
    ];
    for name in names {
        command.env_remove(name);
    }
    command.env("HOME", "/nowhere").stdin(Stdio::null());
    command.envs(variables.iter().copied()).output().unwrap()
}

/// A request that a false registry got: its first line, and all that stands before its body.
pub type Request = (String, String);

/// A server that answers as it is told, byte by byte: what no real registry does.
pub struct False {
    pub host: String,
    pub asked: Arc<Mutex<Vec<Request>>>,
}

impl False {
    /// Answers each request with what `answer` writes for its first line.
    pub fn start(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, kept) = (Arc::new(answer), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let (answer, kept) = (answer.clone(), kept.clone());
                std::thread::spawn(move || {
                    if let Some(request) = read(&stream) {
                        kept.lock().unwrap().push(request.clone());
                        answer(&request, &mut stream);
                    } else {
                        // As servers answer what is no HTTP.
                        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                    }
                });
            }
        });
        Self { host, asked }
    }
}

/// One request, with its body read and thrown away.
fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut head) = (String::new(), String::new());
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        head += &line.to_lowercase();
    }
    let length = head.lines().find_map(|l| l.strip_prefix("content-length:"));
    let length: u64 = length.map_or(0, |length| length.trim().parse().unwrap());
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    Some((first.trim().to_owned(), head))
}

/// An answer with a body, after which the connection ends.
pub fn answer(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}
