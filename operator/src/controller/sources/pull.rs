//! Asks a registry, as whoever the source's Secret names.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use seccomp_artifact::Reference;
use seccomp_artifact::registry::{Credentials, Options, Registry};
use seccomp_artifact::signature::Signed;
use serde_json::Value;

use super::document::document;
use super::said;
use super::status::Failure;
use crate::sources::Plan;
use kube_support::bounded;
use kube_support::error::chain;
use seccomp_operator_api::SeccompSourceSpec;
use seccomp_operator_api::source_condition::{PULL_FAILED, PULL_SECRET_UNUSABLE, UNFIT};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long all of them may take: an artifact can have many signatures.
const ALL: Duration = Duration::from_mins(2);
/// What Kubernetes calls a Secret with accounts for registries, and its field.
const SECRET_TYPE: &str = "kubernetes.io/dockerconfigjson";
const SECRET_FIELD: &str = ".dockerconfigjson";

/// A profile that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    pub digest: String,
    pub signed_by: Option<String>,
    /// What it says.
    pub document: Value,
}

/// Pulls what a source asks for. Nothing is read of an artifact that is not signed as asked for.
pub async fn pull(
    client: &Client,
    namespace: &str,
    (spec, plan): (&SeccompSourceSpec, &Plan),
) -> Result<Artifact, Failure> {
    let credentials = match &spec.pull_secret {
        None => Credentials::Anonymous,
        Some(secret) => account(client, namespace, secret, &plan.reference).await?,
    };
    let options = Options {
        plain_http: spec.plain_http,
        trust: plan.trust.clone(),
        timeout: ANSWER,
        credentials,
    };
    let pulled = tokio::time::timeout(ALL, ask(&options, spec, plan)).await;
    pulled.unwrap_or_else(|_| {
        Err(Failure::new(
            PULL_FAILED,
            format!(
                "the registry {} took more than {} s for all of the artifact; it is tried again by and by",
                plan.reference.registry(),
                ALL.as_secs()
            ),
        ))
    })
}

async fn ask(
    options: &Options,
    spec: &SeccompSourceSpec,
    plan: &Plan,
) -> Result<Artifact, Failure> {
    let registry = Registry::new(&plan.reference, options);
    let registry = registry.map_err(|error| said::registry(&error, spec))?;
    let pulled = registry.pull(plan.arch).await;
    let pulled = pulled.map_err(|error| said::pull(&error, spec))?;
    let mut signed_by = None;
    if !plan.signers.is_empty() {
        let verdict = registry.verify(pulled.digest, &plan.signers).await;
        let verdict = verdict.map_err(|error| said::registry(&error, spec))?;
        let Some(signed) = verdict.signed.first() else {
            return Err(said::unsigned(&plan.reference, pulled.digest, &verdict));
        };
        signed_by = Some(signer(signed));
    }
    let document = document(&plan.reference, &pulled).map_err(|fault| {
        Failure::new(
            UNFIT,
            format!("{}: {fault}", plan.reference.pinned(pulled.digest)),
        )
    })?;
    Ok(Artifact {
        digest: pulled.digest.to_string(),
        signed_by,
        document,
    })
}

fn signer(signed: &Signed) -> String {
    match &signed.issuer {
        Some(issuer) => format!("{} ({issuer})", signed.by),
        None => signed.by.clone(),
    }
}

/// The account that a Secret of the operator's namespace has for the registry.
async fn account(
    client: &Client,
    namespace: &str,
    name: &str,
    reference: &Reference,
) -> Result<Credentials, Failure> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = bounded(api.get_opt(name)).await.map_err(|error| {
        let why = chain(&error);
        Failure::new(
            PULL_SECRET_UNUSABLE,
            format!("spec.pullSecret: Secret {name:?} cannot be read: {why}; see the operator's Role in namespace {namespace}"),
        )
    })?;
    account_of(secret.as_ref(), reference).map_err(|why| {
        Failure::new(
            PULL_SECRET_UNUSABLE,
            format!(
                "spec.pullSecret: Secret {name:?} of namespace {namespace} {why}; make it by `kubectl -n {namespace} create secret docker-registry \
                 {name} --docker-server={} --docker-username=... --docker-password=...`",
                reference.registry()
            ),
        )
    })
}

/// What a Secret has for a registry, or what is wrong with it: never what it says.
fn account_of(secret: Option<&Secret>, reference: &Reference) -> Result<Credentials, String> {
    let secret = secret.ok_or("is not there")?;
    let kind = secret.type_.as_deref().unwrap_or_default();
    let data = secret.data.as_ref().and_then(|data| data.get(SECRET_FIELD));
    let Some(config) = data.filter(|_| kind == SECRET_TYPE) else {
        return Err(format!("is not of type {SECRET_TYPE}"));
    };
    match Credentials::of_docker_config(&config.0, reference) {
        Ok(Some(credentials)) => Ok(credentials),
        Ok(None) => Err(format!("has no account for {}", reference.registry())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn secret(kind: &str, config: &Value) -> Secret {
        Secret {
            type_: Some(kind.into()),
            data: Some(
                [(
                    SECRET_FIELD.into(),
                    ByteString(config.to_string().into_bytes()),
                )]
                .into(),
            ),
            ..Secret::default()
        }
    }

    #[test]
    fn of_a_secret_only_the_account_for_the_registry_is_used() {
        let reference = "r.example.com/x:v1".parse().unwrap();
        let config = json!({"auths": {
            "r.example.com": {"username": "u", "password": "hunter2"},
            "other.example.com": {"username": "o", "password": "o"},
        }});
        let account = account_of(Some(&secret(SECRET_TYPE, &config)), &reference);
        assert_eq!(
            account,
            Ok(Credentials::Account {
                user: "u".into(),
                password: "hunter2".into()
            })
        );
        let other = "no.example.com/x:v1".parse().unwrap();
        let said = account_of(Some(&secret(SECRET_TYPE, &config)), &other);
        assert_eq!(said, Err("has no account for no.example.com".into()));
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_told_of_without_what_it_says() {
        let reference = "r.example.com/x:v1".parse().unwrap();
        let no_account = json!({"auths": {"r.example.com": "hunter2"}});
        for (found, start) in [
            (None, "is not there"),
            (
                Some(secret("Opaque", &no_account)),
                "is not of type kubernetes.io/dockerconfigjson",
            ),
            (
                Some(secret(SECRET_TYPE, &no_account)),
                "has an entry for the registry that is no account",
            ),
            (
                Some(secret(SECRET_TYPE, &json!("hunter2"))),
                "is no JSON with accounts",
            ),
            (
                Some(Secret {
                    type_: Some(SECRET_TYPE.into()),
                    ..Secret::default()
                }),
                "is not of type",
            ),
        ] {
            let said = account_of(found.as_ref(), &reference).unwrap_err();
            assert!(
                said.starts_with(start) && !said.contains("hunter2"),
                "{said}"
            );
        }
    }
}
