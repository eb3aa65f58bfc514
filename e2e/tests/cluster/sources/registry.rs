//! A real registry with TLS and an account on a node, and somebody who signs what is in it.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::command::{Finished, plugin_as, required};
use e2e::machines::Machines;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rcgen::{KeyPair, SigningKey as _};
use serde_json::{Value, json};

/// The control plane.
const NODE: &str = "node-1";
/// One that no Service of the tests has.
const PORT: u16 = 5443;

pub const USER: &str = "tester";
pub const PASSWORD: &str = "e2e-hunter2";
/// The password, as htpasswd keeps it.
const PASSWORDS: &str = "tester:$2b$05$AlJa7i52i.a2qDqiiQ/1HO8Yq4sHkSRHDZq86kMstGBh4fOXiZ.EW\n";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const STATEMENT: &str = "application/vnd.in-toto+json";

/// Debian's docker-registry, on the node that the API server is on: pods and this machine reach it there.
pub struct Registry {
    machines: Machines,
    child: Option<Child>,
    folder: tempfile::TempDir,
    /// Where that folder is on the node.
    inside: String,
    /// Its name, for pods and for this machine.
    pub host: String,
    /// Its own certificate, in PEM.
    pub authority: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.die();
    }
}

impl Registry {
    /// Starts one; none where nobody can run anything on a node.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let Some(machines) = Machines::of_cluster() else {
            println!("skipped: nobody can start a registry on a node of this cluster");
            return Ok(None);
        };
        let address = address().await?;
        let folder = tempfile::tempdir_in(machines.folder(NODE, "/tmp").await?)?;
        let inside = folder.path().file_name().context("no name")?;
        let inside = format!("/tmp/{}", inside.display());
        let made = rcgen::generate_simple_self_signed([address.clone()])?;
        let mut registry = Self {
            machines,
            child: None,
            folder,
            inside: inside.clone(),
            host: format!("{address}:{PORT}"),
            authority: made.cert.pem(),
        };
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: FOLDER/data}}}}\nhttp:\n  \
             addr: {}\n  tls: {{certificate: FOLDER/tls.pem, key: FOLDER/tls.key}}\nauth:\n  htpasswd: {{realm: tests, path: FOLDER/htpasswd}}\n",
            registry.host
        );
        let login = registry.login(PASSWORD);
        for (name, text) in [
            ("tls.pem", registry.authority.as_str()),
            ("tls.key", &made.signing_key.serialize_pem()),
            ("htpasswd", PASSWORDS),
            ("login.json", &login),
            ("config.yml", &config.replace("FOLDER", &inside)),
        ] {
            registry.write(name, text)?;
        }
        registry.live().await?;
        Ok(Some(registry))
    }

    /// Starts it again, with all that it had.
    pub async fn live(&mut self) -> anyhow::Result<()> {
        let log = self.folder.path().join("log");
        let script = format!(
            "echo $$ >{0}/pid; exec docker-registry serve {0}/config.yml",
            self.inside
        );
        let child = self
            .machines
            .script(NODE, &script)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()?;
        let end = Instant::now() + Duration::from_secs(30);
        let child = self.child.insert(child);
        while TcpStream::connect(&self.host).is_err() {
            let over = child.try_wait()?.is_some() || Instant::now() > end;
            ensure!(
                !over,
                "docker-registry does not start: {}",
                std::fs::read_to_string(&log)?
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Kills it.
    pub fn die(&mut self) {
        if let Some(mut child) = self.child.take() {
            let script = format!("kill -KILL $(<{}/pid)", self.inside);
            drop(self.machines.script(NODE, &script).status());
            drop(child.wait());
        }
    }

    /// What `docker login` would write with that password.
    pub fn login(&self, password: &str) -> String {
        json!({"auths": {&self.host: {"username": USER, "password": password}}}).to_string()
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<String> {
        std::fs::write(self.folder.path().join(name), text)?;
        Ok(self.file(name))
    }

    /// `kubectl seccomp`, as somebody who has logged in.
    pub async fn plugin(&self, args: &[&str]) -> anyhow::Result<Finished> {
        let ca = format!("--ca-file={}", self.file("tls.pem"));
        let login = self.file("login.json");
        plugin_as(&[("REGISTRY_AUTH_FILE", &login)], &[args, &[&ca]].concat()).await
    }

    /// Pushes a profile, and gives the digest of its artifact.
    pub async fn push(&self, name: &str, document: &str) -> anyhow::Result<String> {
        let file = self.write("profile.json", document)?;
        let pushed = self.plugin(&["push", name, &file]).await?.ok()?;
        let (_, digest) = pushed.trim().rsplit_once('@').context("no digest")?;
        Ok(digest.to_owned())
    }

    /// Runs oras in the registry's folder.
    pub fn oras(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = Command::new("oras")
            .args(args)
            .args(["--ca-file", "tls.pem", "--registry-config", "login.json"])
            .current_dir(self.folder.path())
            .output()
            .context("oras")?;
        if !output.status.success() {
            bail!("oras {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Signs an artifact as `cosign sign --key` does since its version 3: with a bundle that refers to it.
    pub fn sign(&self, key: &KeyPair, repository: &str, digest: &str) -> anyhow::Result<()> {
        let hex = digest.strip_prefix("sha256:").context("another digest")?;
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": hex}}],
            "predicateType": "https://sigstore.dev/cosign/sign/v1", "predicate": {},
        })
        .to_string();
        // What DSSE signs.
        let signed = format!(
            "DSSEv1 {} {STATEMENT} {} {statement}",
            STATEMENT.len(),
            statement.len()
        );
        let bundle = json!({
            "mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": "e2e"}},
            "dsseEnvelope": {
                "payload": STANDARD.encode(&statement), "payloadType": STATEMENT,
                "signatures": [{"sig": STANDARD.encode(key.sign(signed.as_bytes())?)}],
            },
        });
        self.write("bundle.json", &bundle.to_string())?;
        let subject = format!("{repository}@{digest}");
        let file = format!("bundle.json:{BUNDLE}");
        self.oras(&["attach", "--artifact-type", BUNDLE, &subject, &file])?;
        Ok(())
    }

    /// A Secret with an account, in the operator's namespace.
    pub fn secret(&self, name: &str, namespace: &str, password: &str) -> String {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
            "metadata": {"name": name, "namespace": namespace}, "stringData": {".dockerconfigjson": self.login(password)},
        });
        object.to_string()
    }

    /// What a source says of the registry itself.
    pub fn source(&self, name: &str, spec: &Value) -> String {
        let mut spec = spec.clone();
        spec["caBundle"] = json!(self.authority);
        let object = json!({
            "apiVersion": "seccomp-operator.io/v1alpha1", "kind": "SeccompSource", "metadata": {"name": name}, "spec": spec,
        });
        object.to_string()
    }
}

/// The address of the node that the API server is on.
async fn address() -> anyhow::Result<String> {
    let path: PathBuf = required("E2E_KUBECONFIG")?.into();
    let kubeconfig = Kubeconfig::read_from(path)?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    let server = config.cluster_url;
    Ok(server.host().context("no API server")?.to_owned())
}
