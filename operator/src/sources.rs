//! What a SeccompSource asks for, and what there is to say of that to its author.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use seccomp_artifact::Reference;
use seccomp_artifact::registry::Trust;
use seccomp_artifact::signature::{BadSigner, Identity, Key, Signer, public_root, trusted_root};
use seccomp_operator_api::{
    MAX_SIGNERS, ProfileName, SeccompSourceSpec, SourceIdentity, SourceVerification,
};
use seccomp_profile::Arch;
use seccomp_recording::{parse_length, show_length};

use crate::ceilings::Told;

/// The shortest pause between two pulls: registries count them.
const SHORTEST: Duration = Duration::from_mins(1);
/// The longest: what is asked for less often is not followed.
const LONGEST: Duration = Duration::from_hours(7 * 24);
/// The longest name of an object.
const MAX_NAME: usize = 253;

/// What a source asks for, read.
pub struct Plan {
    /// Which artifact.
    pub reference: Reference,
    /// How often.
    pub interval: Duration,
    /// For which platform, where there is one for each.
    pub arch: Option<Arch>,
    /// Whose certificates a registry may have.
    pub trust: Trust,
    /// Whose signatures count; nobody's word is asked for where there are none.
    pub signers: Vec<Signer>,
}

/// What the author of a source has to do with, beside the spec.
#[derive(Clone, Copy, Debug)]
pub struct Around {
    /// The installation pulls.
    pub pulls: bool,
    /// There is a SeccompProfile of the name before there is the source.
    pub is_taken: bool,
}

/// Reads a spec, or says all that is wrong with it: sentences with the field, the reason and the remedy.
pub fn read(name: &str, spec: &SeccompSourceSpec) -> Result<Plan, Vec<String>> {
    let mut faults = Vec::new();
    let mut noted = |field: &str, fault: String| faults.push(format!("{field}: {fault}"));
    if let Err(error) = ProfileName::parse(name) {
        noted(
            "metadata.name",
            format!("its SeccompProfile has it too: {error}"),
        );
    }
    let reference = reference(&spec.reference).map_err(|fault| noted("spec.reference", fault));
    let interval = interval(&spec.interval).map_err(|fault| noted("spec.interval", fault));
    let arch = spec.architecture.as_deref().map(architecture).transpose();
    let arch = arch.map_err(|fault| noted("spec.architecture", fault));
    if let Some(fault) = spec.pull_secret.as_deref().and_then(secret_fault) {
        noted("spec.pullSecret", fault);
    }
    let trust = trust(spec).map_err(|fault| noted("spec.caBundle", fault));
    let signers = match &spec.verification {
        None => Ok(Vec::new()),
        Some(verification) => signers(verification).map_err(|found| {
            for (field, fault) in found {
                noted(&format!("spec.verification{field}"), fault);
            }
        }),
    };
    match (reference, interval, arch, trust, signers) {
        (Ok(reference), Ok(interval), Ok(arch), Ok(trust), Ok(signers)) if faults.is_empty() => {
            Ok(Plan {
                reference,
                interval,
                arch,
                trust,
                signers,
            })
        }
        _ => Err(faults),
    }
}

/// What the author of a source is told.
pub fn assess(name: &str, spec: &SeccompSourceSpec, around: Around) -> Told {
    let plan = match read(name, spec) {
        Ok(plan) => plan,
        Err(problems) => {
            return Told {
                problems,
                warnings: Vec::new(),
            };
        }
    };
    let mut warnings = Vec::new();
    if !around.pulls {
        warnings.push(
            "nothing is pulled: this installation has no sources; set the chart's value sources.enabled".to_owned(),
        );
    }
    if around.is_taken {
        warnings.push(format!(
            "metadata.name: there is a SeccompProfile {name:?} that is not the source's, and it is left as it is; delete it, or give the \
             source another name"
        ));
    }
    if plan.signers.is_empty() && plan.reference.digest().is_none() {
        let who = if spec.plain_http {
            "whoever may push there, and anybody in between,"
        } else {
            "whoever may push there"
        };
        warnings.push(format!(
            "spec.verification: is not set: {who} decides what the profile allows; say whose signature counts, or name a digest in \
             spec.reference"
        ));
    }
    if spec.plain_http && spec.pull_secret.is_some() {
        warnings.push(
            "spec.plainHTTP: anybody in between can read the password of spec.pullSecret; give the registry TLS, and its authority in \
             spec.caBundle"
                .to_owned(),
        );
    }
    Told {
        problems: Vec::new(),
        warnings,
    }
}

fn reference(text: &str) -> Result<Reference, String> {
    let reference: Reference = text
        .parse()
        .map_err(|error: seccomp_artifact::reference::BadReference| error.to_string())?;
    if reference.is_on_this_machine() {
        return Err(format!(
            "{} is the operator's own pod, where no registry is; name the registry as pods reach it",
            reference.registry()
        ));
    }
    Ok(reference)
}

fn interval(text: &str) -> Result<Duration, String> {
    let length = parse_length(text)?;
    if !(SHORTEST..=LONGEST).contains(&length) {
        return Err(format!(
            "{text:?} is not between {} and {}; say one that is, such as 10m",
            show_length(SHORTEST),
            show_length(LONGEST)
        ));
    }
    Ok(length)
}

fn architecture(text: &str) -> Result<Arch, String> {
    Arch::from_node(text).ok_or_else(|| {
        format!("{text:?} is no architecture of nodes; write it as their label kubernetes.io/arch has it, such as amd64 or arm64")
    })
}

fn secret_fault(name: &str) -> Option<String> {
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_name = name.len() <= MAX_NAME
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && end(name.chars().next())
        && end(name.chars().next_back());
    (!is_name).then(|| {
        format!("{name:?} is no name of a Secret; name one in the operator's namespace, such as my-registry")
    })
}

/// The authorities of the spec alone; without them the public ones, which are a part of the program: its image has no others.
fn trust(spec: &SeccompSourceSpec) -> Result<Trust, String> {
    let Some(bundle) = &spec.ca_bundle else {
        let public = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        return Ok(Trust::Only(Arc::new(public.collect())));
    };
    if spec.plain_http {
        return Err("is for TLS, and spec.plainHTTP goes without; leave one of them out".into());
    }
    let none = || {
        "has no certificates of authorities in PEM (`-----BEGIN CERTIFICATE-----`); paste the registry's authority".to_owned()
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        let added = certificate.map(|certificate| roots.add(certificate));
        added.map_err(|_| none())?.map_err(|_| none())?;
    }
    if roots.is_empty() {
        return Err(none());
    }
    Ok(Trust::Only(Arc::new(roots)))
}

/// Whose signatures count, or each field below `spec.verification` that is wrong, and why.
fn signers(verification: &SourceVerification) -> Result<Vec<Signer>, Vec<(String, String)>> {
    let (keys, identities) = (&verification.keys, &verification.identities);
    let whole = |fault: &str| Err(vec![(String::new(), fault.to_owned())]);
    if keys.is_empty() && identities.is_empty() {
        return whole(
            "names nobody whose signature would count; give keys or identities, or leave it out",
        );
    }
    if keys.len().max(identities.len()) > MAX_SIGNERS {
        return whole("has more than 8 keys or identities; leave some out");
    }
    let root = match verification.trusted_root.as_deref().map(trusted_root) {
        None => None,
        Some(Ok(root)) => Some(root),
        Some(Err(error)) => return Err(vec![(".trustedRoot".into(), error.to_string())]),
    };
    let (mut signers, mut faults) = (Vec::new(), Vec::new());
    for (i, pem) in keys.iter().enumerate() {
        if pem.matches("-----BEGIN ").count() > 1 {
            let fault = "has several blocks of PEM; give each key as an item of its own";
            faults.push((format!(".keys[{i}]"), fault.into()));
            continue;
        }
        match Key::from_pem(pem, root.clone()) {
            Ok(key) => signers.push(Signer::Key(key)),
            // What the text is instead is not told: it may be the private key.
            Err(error) => faults.push((format!(".keys[{i}]"), error.to_string())),
        }
    }
    for (i, SourceIdentity { identity, issuer }) in identities.iter().enumerate() {
        let root = root.clone().map_or_else(public_root, Ok);
        match root.and_then(|root| Identity::new(identity, issuer, root)) {
            Ok(identity) => signers.push(Signer::Identity(identity)),
            Err(error) => {
                let field = match &error {
                    BadSigner::Anybody(text) if text != identity => ".issuer",
                    BadSigner::Anybody(_) => ".identity",
                    _ => "",
                };
                faults.push((format!(".identities[{i}]{field}"), error.to_string()));
            }
        }
    }
    if faults.is_empty() {
        Ok(signers)
    } else {
        Err(faults)
    }
}

#[cfg(test)]
mod tests {
    use seccomp_operator_api::source_condition as reasons;
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = include_str!("../../crates/seccomp-artifact/tests/data/cosign.pub");
    const ROOT: &str = include_str!("../../crates/seccomp-artifact/tests/data/trusted_root.json");
    const AROUND: Around = Around {
        pulls: true,
        is_taken: false,
    };

    fn spec(more: &Value) -> SeccompSourceSpec {
        let mut spec = json!({"reference": "ghcr.io/acme/nginx:v1"});
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn faults(more: &Value) -> Vec<String> {
        read("nginx", &spec(more)).err().unwrap_or_default()
    }

    #[test]
    fn a_spec_that_says_little_is_read_with_the_public_authorities() {
        let plan = read("nginx", &spec(&json!({}))).ok().unwrap();
        assert_eq!(plan.interval, Duration::from_mins(10));
        assert_eq!(plan.arch, None);
        let Trust::Only(roots) = &plan.trust else {
            panic!("{:?}", plan.trust);
        };
        assert!(roots.len() > 50, "{}", roots.len());
        assert!(plan.signers.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_with_field_reason_and_remedy() {
        let both = format!("{KEY}{KEY}");
        for (more, start) in [
            (
                json!({"reference": "nginx"}),
                "spec.reference: \"nginx\" names no registry; write REGISTRY/REPOSITORY:TAG",
            ),
            (
                json!({"reference": "localhost:5000/x:v1"}),
                "spec.reference: localhost:5000 is the operator's own pod, where no registry is; name",
            ),
            (
                json!({"interval": "often"}),
                "spec.interval: \"often\" is no length of time; write it as 90s",
            ),
            (
                json!({"interval": "59s"}),
                "spec.interval: \"59s\" is not between 1m and 7d; say one that is",
            ),
            (
                json!({"interval": "8d"}),
                "spec.interval: \"8d\" is not between 1m and 7d; say one that is",
            ),
            (
                json!({"architecture": "i960"}),
                "spec.architecture: \"i960\" is no architecture of nodes; write it as",
            ),
            (
                json!({"pullSecret": "Mine"}),
                "spec.pullSecret: \"Mine\" is no name of a Secret; name one in the operator's namespace",
            ),
            (
                json!({"pullSecret": "other/mine"}),
                "spec.pullSecret: \"other/mine\" is no name of a Secret",
            ),
            (
                json!({"caBundle": "x"}),
                "spec.caBundle: has no certificates of authorities in PEM",
            ),
            (
                json!({"caBundle": KEY}),
                "spec.caBundle: has no certificates of authorities in PEM",
            ),
            (
                json!({"caBundle": "x", "plainHTTP": true}),
                "spec.caBundle: is for TLS, and spec.plainHTTP goes without; leave",
            ),
            (
                json!({"verification": {}}),
                "spec.verification: names nobody whose signature would count; give keys or identities",
            ),
            (
                json!({"verification": {"trustedRoot": ROOT}}),
                "spec.verification: names nobody",
            ),
            (
                json!({"verification": {"keys": [KEY, "x"]}}),
                "spec.verification.keys[1]: is no public key in PEM",
            ),
            (
                json!({"verification": {"keys": [both]}}),
                "spec.verification.keys[0]: has several blocks of PEM; give each key",
            ),
            (
                json!({"verification": {"keys": [KEY], "trustedRoot": "{}"}}),
                "spec.verification.trustedRoot: is no trusted root of Sigstore",
            ),
            (
                json!({"verification": {"identities": [{"identity": "*", "issuer": "https://x"}]}}),
                "spec.verification.identities[0].identity: \"*\" names nobody: give more of it than *",
            ),
            (
                json!({"verification": {"identities": [{"identity": "a@example.com", "issuer": "**"}]}}),
                "spec.verification.identities[0].issuer: \"**\" names nobody",
            ),
        ] {
            let faults = faults(&more);
            assert_eq!(faults.len(), 1, "{more}: {faults:?}");
            assert!(faults[0].starts_with(start), "{more}: {faults:?}");
        }
        let named = read("No.Name", &spec(&json!({"reference": "x"})))
            .err()
            .unwrap();
        assert_eq!(named.len(), 2, "{named:?}");
        assert!(
            named[0].starts_with("metadata.name: its SeccompProfile has it too: "),
            "{named:?}"
        );
    }

    #[test]
    fn the_examples_of_the_page_are_taken_and_it_has_every_reason() {
        let page = include_str!("../../docs/sources.md");
        let blocks = page.split("```yaml\n").skip(1);
        let examples: Vec<Value> = blocks
            .map(|block| serde_saphyr::from_str(block.split("```").next().unwrap()).unwrap())
            .collect();
        assert_eq!(examples.len(), 2);
        for mut example in examples {
            assert_eq!(example["kind"], "SeccompSource");
            let fields = example["spec"].as_object_mut().unwrap();
            // No certificate of anybody's stands on a page.
            fields.retain(|_, value| !value.to_string().contains("..."));
            let spec: SeccompSourceSpec = serde_json::from_value(example["spec"].clone()).unwrap();
            assert_eq!(
                serde_json::to_value(&spec)
                    .unwrap()
                    .as_object()
                    .unwrap()
                    .len(),
                fields_of(&example) + usize::from(example["spec"].get("interval").is_none())
            );
            let told = assess(example["metadata"]["name"].as_str().unwrap(), &spec, AROUND);
            assert_eq!(told, Told::default());
        }
        for reason in [
            reasons::PULLED,
            reasons::PULL_FAILED,
            reasons::PULL_SECRET_UNUSABLE,
            reasons::NOT_SIGNED,
            reasons::UNFIT,
            reasons::PROFILE_TAKEN,
            reasons::PROFILE_REFUSED,
            reasons::INVALID,
            reasons::SUSPENDED,
        ] {
            assert!(page.contains(&format!("\n| `{reason}` | ")), "{reason}");
        }
    }

    fn fields_of(example: &Value) -> usize {
        example["spec"].as_object().map_or(0, serde_json::Map::len)
    }

    #[test]
    fn a_private_key_in_the_place_of_the_public_one_is_not_repeated() {
        let private = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
        let faults = faults(&json!({"verification": {"keys": [private]}}));
        assert_eq!(faults.len(), 1);
        assert!(!faults[0].contains("c2VjcmV0"), "{faults:?}");
    }

    #[test]
    fn any_of_the_signers_may_have_signed() {
        let verification = json!({
            "keys": [KEY],
            "identities": [{"identity": "https://github.com/acme/*", "issuer": "https://token.actions.githubusercontent.com"}],
        });
        let plan = read("nginx", &spec(&json!({"verification": verification})))
            .ok()
            .unwrap();
        assert_eq!(plan.signers.len(), 2);
    }

    #[test]
    fn the_author_is_told_what_nobody_will_verify() {
        let warnings = |more: Value, around: Around| assess("nginx", &spec(&more), around).warnings;
        let unsigned = warnings(json!({}), AROUND);
        assert_eq!(unsigned.len(), 1, "{unsigned:?}");
        assert!(
            unsigned[0]
                .starts_with("spec.verification: is not set: whoever may push there decides")
        );
        let pinned = format!("ghcr.io/acme/nginx@sha256:{}", "0".repeat(64));
        assert_eq!(
            warnings(json!({"reference": pinned}), AROUND),
            Vec::<String>::new()
        );
        let signed = json!({"verification": {"keys": [KEY]}});
        assert_eq!(warnings(signed.clone(), AROUND), Vec::<String>::new());
        let clear = warnings(json!({"plainHTTP": true, "pullSecret": "mine"}), AROUND);
        assert_eq!(clear.len(), 2, "{clear:?}");
        assert!(
            clear[0].contains("anybody in between,") && clear[1].starts_with("spec.plainHTTP: ")
        );
        let around = Around {
            pulls: false,
            is_taken: true,
        };
        let told = warnings(signed, around);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].contains("sources.enabled") && told[1].contains("SeccompProfile \"nginx\"")
        );
    }
}
