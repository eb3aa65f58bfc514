//! The cluster that a command asks: where it is, who asks, and what to say when it does not answer.
//!
//! Only what lists is here: these commands change nothing.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::SignedDuration;
use kube::api::{ListParams, PartialObjectMeta};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;

use super::Failure;
use super::progress::Progress;
use kube_support::error::chain;

/// How many objects to ask for at once, as kubectl does.
const PAGE: u32 = 500;
/// How often a list begins anew whose pages the API server no longer has.
const ATTEMPTS: usize = 3;

/// Which cluster, and as whom; in kubectl's words.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// The kubeconfig file [default: those of $KUBECONFIG, or ~/.kube/config, or the pod that this runs in].
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Ask as this user.
    #[arg(long = "as", value_name = "USER")]
    as_user: Option<String>,
    /// Ask as a member of this group; may be given several times.
    #[arg(long = "as-group", value_name = "GROUP", requires = "as_user")]
    as_groups: Vec<String>,
    /// How long to wait for one answer, such as 5s or 2m; 0 waits for as long as it takes.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = patience)]
    request_timeout: Patience,
}

/// How long to wait; for ever if there is nothing in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(Option<Duration>);

impl Patience {
    /// How long that is.
    pub fn duration(self) -> Option<Duration> {
        self.0
    }
}

/// A duration as kubectl takes it: seconds, or numbers with `h`, `m`, `s` or `ms`.
pub fn patience(text: &str) -> Result<Patience, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    // jiff reads more than kubectl does: signs, fractions, spaces, and more years than Go's nanoseconds hold.
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric());
    let units = || {
        let duration = text.parse::<SignedDuration>().ok().filter(|_| plain)?;
        i64::try_from(duration.as_nanos()).ok()?;
        Duration::try_from(duration).ok()
    };
    let duration = seconds.or_else(units);
    let duration = duration.ok_or("write a duration such as 30s, 2m or 1m30s")?;
    Ok(Patience((!duration.is_zero()).then_some(duration)))
}

/// A cluster to ask.
pub struct Cluster {
    /// For the types of lists.
    pub client: Client,
    /// The namespace of the kubeconfig's context.
    pub namespace: String,
    server: String,
    patience: Patience,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The user may not.
    #[error("{0}")]
    Forbidden(String),
    /// The API server does not know the kind.
    #[error("{0}")]
    Unknown(String),
    /// Anything else; none of the other lists would come either.
    #[error("{0}")]
    Other(String),
}

/// Runs what asks a cluster. Commands that ask none start no runtime.
pub fn block_on<T>(asking: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(asking)
}

impl ClusterArgs {
    /// What these two options would say.
    pub fn at(kubeconfig: Option<&str>, context: Option<&str>, patience: Duration) -> Self {
        Self {
            kubeconfig: kubeconfig.map(PathBuf::from),
            context: context.map(str::to_owned),
            as_user: None,
            as_groups: Vec::new(),
            request_timeout: Patience(Some(patience)),
        }
    }

    /// The contexts of the kubeconfig, if it can be read.
    pub fn contexts(&self) -> Vec<String> {
        let read = match &self.kubeconfig {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        let contexts = read.map(|read| read.contexts).unwrap_or_default();
        contexts.into_iter().map(|context| context.name).collect()
    }

    /// Reads the kubeconfig; nothing is sent yet.
    pub async fn connect(&self) -> Result<Cluster, Failure> {
        // One TLS provider for the whole process; a second call loses the race and is harmless.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut config = self.config().await.map_err(Failure::Usage)?;
        if let Some(user) = &self.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(self.as_groups.clone());
        }
        // Whoever waits at a terminal would rather know at once.
        config.default_retry = false;
        config.connect_timeout = self.request_timeout.0.or(config.connect_timeout);
        let namespace = config.default_namespace.clone();
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| {
            Failure::Usage(format!("cannot use the kubeconfig: {}", chain(&error)))
        })?;
        Ok(Cluster {
            client,
            namespace,
            server: server.trim_end_matches('/').to_owned(),
            patience: self.request_timeout,
        })
    }

    async fn config(&self) -> Result<Config, String> {
        const REMEDY: &str = "name a kubeconfig with --kubeconfig, or in $KUBECONFIG";
        let read = match &self.kubeconfig {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        let read = match read {
            Err(KubeconfigError::ReadConfig(error, _))
                if self.kubeconfig.is_none() && error.kind() == std::io::ErrorKind::NotFound =>
            {
                return Config::incluster()
                    .map_err(|_| format!("there is no kubeconfig; {REMEDY}"));
            }
            Err(error @ KubeconfigError::ReadConfig(..)) => {
                return Err(format!("{}; {REMEDY}", chain(&error)));
            }
            read => read.map_err(|error| wrong(&error))?,
        };
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let contexts: Vec<_> = read.contexts.iter().map(|c| c.name.clone()).collect();
        Config::from_custom_kubeconfig(read, &options)
            .await
            .map_err(|error| match (error, &self.context) {
                (KubeconfigError::LoadContext(_), Some(name)) => format!(
                    "the kubeconfig has no context {name:?}; it has {}",
                    contexts.join(", ")
                ),
                (KubeconfigError::CurrentContextNotSet | KubeconfigError::LoadContext(_), None) => {
                    format!(
                        "the kubeconfig has no current context; choose one with --context: {}",
                        contexts.join(", ")
                    )
                }
                (error, _) => wrong(&error),
            })
    }
}

/// Parsers show the place in lines of its own; the first says it too.
fn wrong(error: &KubeconfigError) -> String {
    let sentence = chain(error);
    let first = sentence.lines().next().unwrap_or_default();
    format!("the kubeconfig is wrong: {first}")
}

impl Cluster {
    /// All objects that an `Api` has, page by page. `kind` is what is listed in RBAC's words (`seccompprofiles.seccomp-operator.io`),
    /// and `scope` where (`the cluster`).
    pub async fn list<K>(
        &self,
        api: &Api<K>,
        params: &ListParams,
        kind: &str,
        scope: &str,
    ) -> Result<Vec<K>, Refusal>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        self.list_as(api, params, kind, scope, |object| object)
            .await
    }

    /// As [`list`](Self::list), of each object what `read` makes of it: of what is larger no more is in memory than a page.
    pub async fn list_as<K, T>(
        &self,
        api: &Api<K>,
        params: &ListParams,
        kind: &str,
        scope: &str,
        read: impl Fn(K) -> T,
    ) -> Result<Vec<T>, Refusal>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let mut attempt = 1;
        loop {
            let mut progress = Progress::of(kind);
            match self.pages(api, params, &read, &mut progress).await {
                // The pages are of one moment, which the API server forgets after some minutes.
                Err(Unanswered::Refused(error))
                    if attempt < ATTEMPTS && code(&error) == Some(410) =>
                {
                    attempt += 1;
                }
                done => return done.map_err(|error| self.refusal(error, kind, scope)),
            }
        }
    }

    async fn pages<K, T>(
        &self,
        api: &Api<K>,
        params: &ListParams,
        read: &impl Fn(K) -> T,
        progress: &mut Progress<'_>,
    ) -> Result<Vec<T>, Unanswered>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let mut params = params.clone().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = self.answer(api.list(&params)).await?;
            all.extend(page.items.into_iter().map(read));
            progress.reached(all.len(), page.metadata.remaining_item_count);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(all),
            }
        }
    }

    async fn answer<T>(
        &self,
        asked: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Unanswered> {
        match self.patience.0 {
            None => asked.await.map_err(Unanswered::Refused),
            Some(patience) => match tokio::time::timeout(patience, asked).await {
                Ok(answer) => answer.map_err(Unanswered::Refused),
                Err(_) => Err(Unanswered::Late(patience)),
            },
        }
    }

    /// Whether there is such a namespace; none if one may not know.
    pub async fn has_namespace(&self, name: &str) -> Option<bool> {
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let found = self.answer(namespaces.get_opt(name)).await;
        Some(found.ok()?.is_some())
    }

    /// The minor version of Kubernetes, where the API server says it.
    pub async fn minor_version(&self) -> Option<u32> {
        let version = self.answer(self.client.apiserver_version()).await.ok()?;
        let digits = version
            .minor
            .trim_end_matches(|c: char| !c.is_ascii_digit());
        digits.parse().ok()
    }

    fn refusal(&self, error: Unanswered, kind: &str, scope: &str) -> Refusal {
        let server = &self.server;
        let error = match error {
            Unanswered::Late(patience) => {
                return Refusal::Other(format!(
                    "the API server at {server} did not answer within {} s (--request-timeout)",
                    patience.as_secs_f32()
                ));
            }
            Unanswered::Refused(error) => error,
        };
        match (code(&error), error) {
            (Some(401), _) => Refusal::Other(format!(
                "the API server at {server} does not know these credentials; log in again, or choose another --context"
            )),
            (Some(403), _) => Refusal::Forbidden(format!(
                "you may not list {kind} in {scope}; a role with the verb list on {kind} is needed"
            )),
            (Some(404), _) => {
                Refusal::Unknown(format!("the API server at {server} does not know {kind}"))
            }
            (_, kube::Error::Api(status)) => Refusal::Other(format!(
                "the API server at {server} refuses to list {kind}: {} ({})",
                status.message, status.code
            )),
            (_, kube::Error::SerdeError(error)) => Refusal::Other(format!(
                "the API server at {server} answered with something else than {kind}: {error}"
            )),
            (_, error @ (kube::Error::Auth(_) | kube::Error::InferConfig(_))) => {
                Refusal::Other(format!("cannot log in at {server}: {}", chain(&error)))
            }
            (_, error) => Refusal::Other(format!(
                "cannot reach the API server at {server}: {}",
                cause(&error)
            )),
        }
    }
}

/// Why there is no answer.
enum Unanswered {
    Late(Duration),
    Refused(kube::Error),
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// What lies at the bottom of an error; all above it is of no use to the user.
fn cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubectl_reads_them() {
        let of = |text| patience(text).map(|patience| patience.0.map(|d| d.as_millis()));
        for (text, millis) in [
            ("30s", Some(30_000)),
            ("5", Some(5_000)),
            ("1m30s", Some(90_000)),
            ("250ms", Some(250)),
            ("2h", Some(7_200_000)),
            ("0", None),
            ("0s", None),
        ] {
            assert_eq!(of(text), Ok(millis), "{text}");
        }
        for text in ["", "s", "5x", "-1", "1.5s", "5 s", "99999999999h"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
