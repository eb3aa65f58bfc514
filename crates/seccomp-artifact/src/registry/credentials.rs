//! Who asks: what `docker login`, `podman login` and credential helpers have kept.

use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use serde_json::{Map, Value, json};

use crate::reference::Reference;

/// The largest file of credentials that is read.
const MAX_FILE: u64 = 1 << 20;
/// The variables that name an account for whatever registry is asked.
const USERNAME: &str = "SECCOMP_REGISTRY_USERNAME";
const PASSWORD: &str = "SECCOMP_REGISTRY_PASSWORD";
/// The key of Docker's own hub.
const HUB: &str = "https://index.docker.io/v1/";

/// Who asks a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    Anonymous,
    /// An account.
    Account {
        /// Its name.
        user: String,
        /// Its password, or a token in its place.
        password: String,
    },
    /// What an identity provider gave, to be exchanged for tokens.
    IdentityToken(String),
}

/// Says who, and no secret.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("nobody"),
            Self::Account { user, .. } => write!(f, "account {user}"),
            Self::IdentityToken(_) => f.write_str("an identity token"),
        }
    }
}

/// Why credentials that are there cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadCredentials {
    /// The file cannot be read.
    #[error("the credentials in {path} cannot be read: {reason}", path = .0.display(), reason = .1)]
    Unreadable(PathBuf, String),
    /// An entry, or what a helper answered, makes no sense.
    #[error("the credentials for {registry} in {path} cannot be used: {reason}", path = .path.display())]
    Unusable {
        /// For whom.
        registry: String,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// An entry that is no account. What it says instead is not told: parts of it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableEntry {
    /// The text is no such configuration.
    #[error("is no JSON with accounts, such as `docker login` writes")]
    Malformed,
    /// It has an entry for the registry, and that is none.
    #[error("has an entry for the registry that is no account")]
    NoAccount,
}

impl Credentials {
    /// What a Docker configuration has for an artifact, such as a Secret's `.dockerconfigjson`: of its `auths` alone. Nothing is run, whatever
    /// it says of helpers.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn of_docker_config(
        config: &[u8],
        reference: &Reference,
    ) -> Result<Option<Self>, UnusableEntry> {
        let config: Value = serde_json::from_slice(config).map_err(|_| UnusableEntry::Malformed)?;
        let auths = config.get("auths").and_then(Value::as_object);
        let accounts = json!({"auths": auths.ok_or(UnusableEntry::Malformed)?});
        of_config(&accounts, reference, Path::new("")).map_err(|_| UnusableEntry::NoAccount)
    }

    /// What the usual places have for an artifact; `variable` reads the environment. The first place with an entry counts:
    /// `REGISTRY_AUTH_FILE`, `DOCKER_CONFIG`, `$XDG_RUNTIME_DIR/containers/auth.json`, `~/.config/containers/auth.json`,
    /// `~/.docker/config.json`. May run a credential helper.
    ///
    /// # Errors
    ///
    /// If a file is there and cannot be read, or a helper fails.
    pub fn find(
        reference: &Reference,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, BadCredentials> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let (Some(user), Some(password)) = (set(USERNAME), set(PASSWORD)) {
            return Ok(Self::Account { user, password });
        }
        for (path, must_be_there) in places(&set) {
            let text = match read(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_be_there => {
                    continue;
                }
                Err(error) => return Err(BadCredentials::Unreadable(path, error.to_string())),
            };
            let config: Value = serde_json::from_str(&text)
                .map_err(|error| BadCredentials::Unreadable(path.clone(), error.to_string()))?;
            if let Some(found) = of_config(&config, reference, &path)? {
                return Ok(found);
            }
        }
        Ok(Self::Anonymous)
    }
}

/// Where credentials are kept, and whether somebody said so.
fn places(set: &impl Fn(&str) -> Option<String>) -> Vec<(PathBuf, bool)> {
    let mut places = Vec::new();
    if let Some(file) = set("REGISTRY_AUTH_FILE") {
        places.push((file.into(), true));
    }
    if let Some(folder) = set("DOCKER_CONFIG") {
        places.push((Path::new(&folder).join("config.json"), false));
    }
    if let Some(folder) = set("XDG_RUNTIME_DIR") {
        places.push((Path::new(&folder).join("containers/auth.json"), false));
    }
    let home = set("HOME");
    let home = home.as_ref().map(Path::new);
    let config = set("XDG_CONFIG_HOME").map(PathBuf::from);
    if let Some(config) = config.or_else(|| Some(home?.join(".config"))) {
        places.push((config.join("containers/auth.json"), false));
    }
    if let Some(home) = home {
        places.push((home.join(".docker/config.json"), false));
    }
    places
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path)?;
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text)? as u64;
    if read > MAX_FILE {
        return Err(std::io::Error::other(format!(
            "it has more than {MAX_FILE} bytes"
        )));
    }
    Ok(text)
}

/// What one file has for an artifact.
fn of_config(
    config: &Value,
    reference: &Reference,
    path: &Path,
) -> Result<Option<Credentials>, BadCredentials> {
    let none = Map::new();
    let auths = config.get("auths").and_then(Value::as_object);
    let key = keys(reference)
        .into_iter()
        .find(|key| auths.unwrap_or(&none).contains_key(key));
    let server = server(reference);
    // The one entry that counts, under the one name: what it says, and which helper to ask, is for the library.
    let mut one = json!({});
    if let Some(entry) = key.and_then(|key| auths?.get(&key)) {
        one["auths"] = json!({&server: entry});
    }
    for field in ["credHelpers", "credsStore"] {
        if let Some(value) = config.get(field)
            && value.as_str() != Some("")
        {
            one[field] = value.clone();
        }
    }
    match get_credential_from_reader(one.to_string().as_bytes(), &server) {
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credentials::IdentityToken(token))),
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(Some(Credentials::Account { user, password }))
        }
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        // What helpers say of a registry that nobody logged in to.
        Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
            if format!("{stdout}{stderr}").contains("credentials not found") =>
        {
            Ok(None)
        }
        Err(error) => Err(BadCredentials::Unusable {
            registry: reference.registry().into(),
            path: path.into(),
            reason: error
                .to_string()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        }),
    }
}

/// The keys that an entry may have: podman's for a part of a registry first, the longest before the others.
fn keys(reference: &Reference) -> Vec<String> {
    let mut keys = Vec::new();
    let mut whole = format!("{}/{}", reference.registry(), reference.repository());
    while let Some(at) = whole.rfind('/') {
        keys.push(whole.clone());
        whole.truncate(at);
    }
    let server = server(reference);
    for prefix in ["", "https://", "http://"] {
        for suffix in ["", "/", "/v1/", "/v2/", "/v1", "/v2"] {
            keys.push(format!("{prefix}{}{suffix}", reference.registry()));
        }
    }
    keys.push(server);
    keys
}

/// What helpers know the registry by.
fn server(reference: &Reference) -> String {
    match reference.registry() {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB.into(),
        registry => registry.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn account(user: &str, password: &str) -> Credentials {
        Credentials::Account {
            user: user.into(),
            password: password.into(),
        }
    }

    fn of(config: &Value, reference: &str) -> Option<Credentials> {
        let reference = reference.parse().unwrap();
        of_config(config, &reference, Path::new("config.json")).unwrap()
    }

    #[test]
    fn an_entry_is_found_by_any_of_its_keys_and_the_narrowest_counts() {
        // base64 of a:b, c:d and e:f
        let config = json!({"auths": {
            "ghcr.io": {"auth": "YTpi"},
            "ghcr.io/acme/nginx": {"auth": "Yzpk"},
            "https://quay.io/v2/": {"username": "u", "password": "p"},
            "https://index.docker.io/v1/": {"auth": "ZTpm"},
            "token.example.com": {"identitytoken": "t"},
        }});
        for (reference, expected) in [
            ("ghcr.io/acme/nginx:v1", Some(account("c", "d"))),
            ("ghcr.io/acme/nginx/deep:v1", Some(account("c", "d"))),
            ("ghcr.io/acme/other:v1", Some(account("a", "b"))),
            ("ghcr.io/acme/nginx2:v1", Some(account("a", "b"))),
            ("quay.io/x:v1", Some(account("u", "p"))),
            ("docker.io/library/x:v1", Some(account("e", "f"))),
            (
                "token.example.com/x:v1",
                Some(Credentials::IdentityToken("t".into())),
            ),
            ("other.example.com/x:v1", None),
        ] {
            assert_eq!(of(&config, reference), expected, "{reference}");
        }
    }

    #[test]
    fn of_a_secret_accounts_are_read_and_nothing_is_run_or_told() {
        // To ask a helper that is not there would be an error.
        let helper = "not-there";
        let of = |config: Value| {
            let reference = "ghcr.io/acme/nginx:v1".parse().unwrap();
            Credentials::of_docker_config(config.to_string().as_bytes(), &reference)
        };
        let entry = json!({"username": "u", "password": "p"});
        assert_eq!(
            of(json!({"auths": {"ghcr.io": entry}, "credsStore": helper})),
            Ok(Some(account("u", "p")))
        );
        assert_eq!(
            of(
                json!({"auths": {"quay.io": entry}, "credsStore": helper, "credHelpers": {"ghcr.io": helper}})
            ),
            Ok(None)
        );
        for secret in [
            json!("hunter2"),
            json!({"auth": "hunter2"}),
            json!({"auth": {"x": "hunter2"}}),
        ] {
            let error = of(json!({"auths": {"ghcr.io": secret}})).unwrap_err();
            assert_eq!(error, UnusableEntry::NoAccount, "{secret}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        for wrong in ["", "[]", "{}", "hunter2", r#"{"auths": "hunter2"}"#] {
            let reference = "ghcr.io/acme/nginx:v1".parse().unwrap();
            let read = Credentials::of_docker_config(wrong.as_bytes(), &reference);
            assert_eq!(read, Err(UnusableEntry::Malformed), "{wrong}");
        }
    }

    #[test]
    fn the_first_place_with_an_entry_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, registry: &str, user: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let config = json!({"auths": {registry: {"username": user, "password": "p"}}});
            std::fs::write(&path, config.to_string()).unwrap();
            path.display().to_string()
        };
        let auth_file = write("auth.json", "a.example.com", "by-file");
        write("docker/config.json", "b.example.com", "by-docker-config");
        write("home/.docker/config.json", "b.example.com", "by-home");
        write(
            "home/.config/containers/auth.json",
            "c.example.com",
            "by-podman",
        );
        let docker = folder.path().join("docker").display().to_string();
        let home = folder.path().join("home").display().to_string();
        let found = |registry: &str, set: &[(&str, &str)]| {
            let reference = format!("{registry}/x:v1").parse().unwrap();
            let variable = |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            Credentials::find(&reference, variable)
        };
        let all = [
            ("REGISTRY_AUTH_FILE", auth_file.as_str()),
            ("DOCKER_CONFIG", &docker),
            ("HOME", &home),
        ];
        for (registry, user) in [
            ("a.example.com", "by-file"),
            ("b.example.com", "by-docker-config"),
            ("c.example.com", "by-podman"),
        ] {
            assert_eq!(
                found(registry, &all).unwrap(),
                account(user, "p"),
                "{registry}"
            );
        }
        assert_eq!(
            found("b.example.com", &all[2..]).unwrap(),
            account("by-home", "p")
        );
        assert_eq!(
            found("d.example.com", &all).unwrap(),
            Credentials::Anonymous
        );
        assert_eq!(found("a.example.com", &[]).unwrap(), Credentials::Anonymous);
        let named = [(USERNAME, "by-name"), (PASSWORD, "p"), all[0]];
        assert_eq!(
            found("a.example.com", &named).unwrap(),
            account("by-name", "p")
        );
        let missing = found(
            "a.example.com",
            &[("REGISTRY_AUTH_FILE", "/nowhere/auth.json")],
        );
        let said = missing.unwrap_err().to_string();
        assert!(
            said.starts_with("the credentials in /nowhere/auth.json cannot be read"),
            "{said}"
        );
    }

    #[test]
    fn a_helper_is_asked_and_may_know_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let helper = |name: &str, script: &str| {
            // A path for a name: the helper's file need not be on the PATH.
            let path = folder.path().join(format!("docker-credential-{name}"));
            std::fs::write(&path, format!("#!/bin/sh\ncat >/dev/null\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        helper("known", r#"echo '{"Username":"helped","Secret":"s"}'"#);
        helper(
            "unknown",
            "echo 'credentials not found in native keychain'; exit 1",
        );
        helper("broken", "echo oops; exit 1");
        let path = std::env::var("PATH").unwrap_or_default();
        let ask = |store: &str| {
            let script = format!(
                "PATH={}:{path} exec \"$0\" --exact registry::credentials::tests::asks_the_helper_of_the_environment --nocapture",
                folder.path().display()
            );
            let output = std::process::Command::new("sh")
                .args(["-c", &script])
                .arg(std::env::current_exe().unwrap())
                .env("TEST_CREDS_STORE", store)
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(ask("known").contains("found: Ok(Some(account helped))"));
        assert!(ask("unknown").contains("found: Ok(None)"));
        assert!(ask("broken").contains("found: Err(Unusable"));
    }

    /// Runs as a process of its own in the test above: the environment is the process's.
    #[test]
    fn asks_the_helper_of_the_environment() {
        let Ok(store) = std::env::var("TEST_CREDS_STORE") else {
            return;
        };
        let config = json!({"auths": {"ghcr.io": {}}, "credsStore": store});
        let reference = "ghcr.io/x:v1".parse().unwrap();
        println!(
            "found: {:?}",
            of_config(&config, &reference, Path::new("c"))
        );
    }
}
