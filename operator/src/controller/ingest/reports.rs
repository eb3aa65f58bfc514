//! What nodes' recorders and audit readers report, into the index. True: a full list has ended.

use kube_support::{WatchEvent, Watched};
use seccomp_operator_api::{AuditReport, DenialReport, SeccompAuditReport, SeccompDenialReport};
use tracing::warn;

use super::name_of;
use crate::controller::index::{self, Index};

/// A report of a recorder.
pub fn take_denials(change: &WatchEvent<SeccompDenialReport>, index: &mut Index) -> bool {
    let said =
        |index: &mut Index, name: &str, report: &DenialReport| index.denials(name, Some(report));
    take(
        change,
        index,
        index::Kind::DenialReport,
        |object| &object.spec,
        said,
    )
}

/// A report of an audit reader.
pub fn take_audit(change: &WatchEvent<SeccompAuditReport>, index: &mut Index) -> bool {
    let said =
        |index: &mut Index, name: &str, report: &AuditReport| index.audited(name, Some(report));
    take(
        change,
        index,
        index::Kind::AuditReport,
        |object| &object.spec,
        said,
    )
}

fn take<K: kube::Resource<DynamicType = ()>, R>(
    change: &WatchEvent<K>,
    index: &mut Index,
    kind: index::Kind,
    report: impl Fn(&K) -> &R,
    said: impl Fn(&mut Index, &str, &R),
) -> bool {
    match change {
        WatchEvent::ListBegins => index.list_begins(kind),
        WatchEvent::ListEnds => {
            index.list_ends(kind);
            return true;
        }
        WatchEvent::Exists(object) => exists(object, index, kind, |index, name, object| {
            said(index, name, report(object));
        }),
        WatchEvent::Deleted(object) => index.gone(kind, &name_of(object)),
    }
    false
}

fn exists<K: kube::Resource<DynamicType = ()>>(
    object: &Watched<K>,
    index: &mut Index,
    kind: index::Kind,
    said: impl Fn(&mut Index, &str, &K),
) {
    let name = name_of(object);
    match object {
        Ok(object) => said(index, &name, object),
        Err(unreadable) => {
            let error = &unreadable.error;
            warn!(node = name, error, "a {} cannot be read", K::kind(&()));
            index.gone(kind, &name);
        }
    }
}
