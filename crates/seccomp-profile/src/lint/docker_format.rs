//! `docker-format`: a file has fields that container runtimes on Kubernetes drop.

use super::subject::Subject;
use super::{Code, Finding, Severity};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(document) = subject.read_as_is() else {
        return;
    };
    if let [first, others @ ..] = document.docker_only_fields() {
        findings.push(Finding {
            code: Code::DockerFormat,
            severity: Severity::Error,
            path: first.clone(),
            reason: format!(
                "belongs to Docker's format{}: containerd drops it without a word, and what is left allows far more",
                match others.len() {
                    0 => String::new(),
                    1 => ", and so does another field".into(),
                    more => format!(", and so do {more} other fields"),
                }
            ),
            remedy: "write the profile for one kind of node, in the format of the runtime-spec".into(),
        });
    }
}
