//! What a pull failed for, in sentences for a cluster: the crate's have the remedies of a command line.

use seccomp_artifact::registry::{Error, PullError, Verdict};
use seccomp_artifact::select::Unfit;
use seccomp_artifact::{Digest, Reference};

use super::status::Failure;
use kube_support::error::chain;
use seccomp_operator_api::SeccompSourceSpec;
use seccomp_operator_api::source_condition::{NOT_SIGNED, PULL_FAILED, UNFIT};

/// Of so many signatures that do not count is told.
const MAX_REFUSED: usize = 3;

/// Why an artifact was not pulled.
pub fn pull(error: &PullError, spec: &SeccompSourceSpec) -> Failure {
    match error {
        PullError::Registry(error) => registry(error, spec),
        PullError::Unfit(_, unfit @ Unfit::NoPlatform(..)) => Failure::new(
            UNFIT,
            format!(
                "{} {unfit}; say which in spec.architecture, such as amd64",
                spec.reference
            ),
        ),
        error => Failure::new(
            UNFIT,
            format!(
                "{}; push one by `kubectl seccomp push`, or name another in spec.reference",
                chain(error)
            ),
        ),
    }
}

/// Why a registry did not do what it was asked for.
pub fn registry(error: &Error, spec: &SeccompSourceSpec) -> Failure {
    let message = match error {
        Error::Untrusted(name, cause) if spec.ca_bundle.is_some() => format!(
            "the registry {name} has a certificate by none of the authorities in spec.caBundle ({}); add its own",
            chain(cause.as_ref())
        ),
        Error::Untrusted(name, cause) => format!(
            "the registry {name} has a certificate by no public authority ({}); give its own in spec.caBundle",
            chain(cause.as_ref())
        ),
        Error::NoTls(name, _) => format!(
            "the registry {name} does not speak TLS; give it a certificate, or set spec.plainHTTP and say in spec.verification whose \
             signature counts"
        ),
        Error::Anonymous(name, repository) => format!(
            "the registry {name} lets nobody unknown read {repository}; name a Secret with an account in spec.pullSecret"
        ),
        Error::Denied(name, repository) => format!(
            "the registry {name} refuses the account of spec.pullSecret to read {repository}; correct the Secret, or ask who runs the \
             registry for the right"
        ),
        Error::Busy(name) => format!(
            "the registry {name} answers no more for now (429); make spec.interval longer, or name an account in spec.pullSecret"
        ),
        Error::Missing(name, what) => {
            format!("the registry {name} has no {what}; push it, or correct spec.reference")
        }
        // Behind the question mark such places have signatures that let whoever has them in.
        Error::Downgrade(name, place) => format!(
            "the registry {name} sends to {}, which is not protected by TLS; ask who runs it to change that",
            place.split('?').next().unwrap_or_default()
        ),
        Error::Slow(..) | Error::Unreachable(..) => {
            format!("{}; it is tried again by and by", chain(error))
        }
        error => chain(error),
    };
    Failure::new(PULL_FAILED, message)
}

/// Why no signature counts.
pub fn unsigned(reference: &Reference, digest: Digest, verdict: &Verdict) -> Failure {
    let name = reference.pinned(digest);
    if verdict.refused.is_empty() {
        return Failure::new(
            NOT_SIGNED,
            format!(
                "{name} has no signature; sign it, such as by `cosign sign --key cosign.key {name}`"
            ),
        );
    }
    let told = verdict.refused.iter().take(MAX_REFUSED);
    let told: Vec<_> = told
        .map(|(at, why)| format!("{at} {}", chain(why)))
        .collect();
    let more = match verdict.refused.len().saturating_sub(MAX_REFUSED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Failure::new(
        NOT_SIGNED,
        format!(
            "{name} has no signature that counts by spec.verification: {}{more}; sign it as somebody whom spec.verification names",
            told.join(", ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn source() -> SeccompSourceSpec {
        SeccompSourceSpec {
            reference: "r.example.com/x:v1".into(),
            ..SeccompSourceSpec::default()
        }
    }

    #[test]
    fn remedies_are_fields_of_the_source_and_no_options_of_a_command() {
        let cause = || std::io::Error::other("unknown issuer").into();
        let name = || "r.example.com".to_owned();
        for (error, remedy) in [
            (
                Error::Untrusted(name(), cause()),
                "give its own in spec.caBundle",
            ),
            (
                Error::NoTls(name(), cause()),
                "set spec.plainHTTP and say in spec.verification",
            ),
            (
                Error::Anonymous(name(), "x".into()),
                "name a Secret with an account in spec.pullSecret",
            ),
            (Error::Denied(name(), "x".into()), "correct the Secret"),
            (Error::Busy(name()), "make spec.interval longer"),
            (
                Error::Missing(name(), "x:v1".into()),
                "correct spec.reference",
            ),
            (Error::Unreachable(name(), cause()), "it is tried again"),
            (
                Error::Slow(name(), Duration::from_secs(30)),
                "it is tried again",
            ),
        ] {
            let said = registry(&error, &source());
            assert!(said.message.contains(remedy), "{said:?}");
            assert!(!said.message.contains("--"), "{said:?}");
            assert_eq!(said.reason, PULL_FAILED);
        }
        let bundled = SeccompSourceSpec {
            ca_bundle: Some("...".into()),
            ..source()
        };
        let said = registry(&Error::Untrusted(name(), cause()), &bundled);
        assert!(
            said.message
                .contains("none of the authorities in spec.caBundle (unknown issuer)")
        );
    }

    #[test]
    fn where_a_registry_leads_is_told_without_what_would_let_others_in() {
        let place = "http://blobs.example.com/x?X-Amz-Signature=hunter2".to_owned();
        let said = registry(&Error::Downgrade("r.example.com".into(), place), &source());
        assert!(
            said.message.contains("http://blobs.example.com/x,"),
            "{said:?}"
        );
        assert!(!said.message.contains("hunter2"), "{said:?}");
    }

    #[test]
    fn a_profile_for_each_platform_needs_a_word_of_which() {
        let unfit = Unfit::NoPlatform("all platforms".into(), "linux/amd64".into());
        let said = pull(
            &PullError::Unfit("r.example.com/x:v1".into(), unfit),
            &source(),
        );
        assert_eq!(
            said.message,
            "r.example.com/x:v1 has no profile for all platforms; it has linux/amd64; say which in spec.architecture, such as amd64"
        );
        assert_eq!(said.reason, UNFIT);
    }
}
