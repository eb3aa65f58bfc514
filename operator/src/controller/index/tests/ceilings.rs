//! What statuses say of ceilings.

use std::sync::Arc;

use seccomp_policy::ceiling::{Ceiling, Ceilings};

use super::*;

fn held(name: &str) -> Arc<Ceilings> {
    let spec = json!({"base": "runtime-default", "action": "Deny"});
    let mut ceilings = Ceilings::default();
    ceilings.exists(name, Ceiling::new(&serde_json::from_value(spec).unwrap()));
    Arc::new(ceilings)
}

fn tells(index: &Index) -> bool {
    let warnings = status(index).warnings;
    let mut told = warnings.iter();
    told.any(|warning| warning.starts_with("allows more than SeccompCeiling \"top\": "))
}

#[test]
fn a_status_tells_of_a_ceiling_as_soon_as_there_is_one_and_no_longer() {
    let mut index = cluster();
    assert!(!tells(&index));
    index.take_dirty(usize::MAX);
    index.hold_to(held("top"));
    assert_eq!(
        index.take_dirty(usize::MAX),
        BTreeSet::from(["a".to_owned()])
    );
    assert!(tells(&index));
    let closed = json!({"profile": {"defaultAction": "SCMP_ACT_ERRNO"}});
    index.profile("a", seen(2, 20), || defined(&closed));
    assert!(!tells(&index));
    index.profile("a", seen(3, 30), valid);
    assert!(tells(&index));
    index.hold_to(Arc::default());
    assert!(!tells(&index));
}

#[test]
fn the_architectures_of_the_nodes_are_known_from_their_labels() {
    use seccomp_profile::Arch;
    let mut index = empty();
    assert_eq!(index.architectures(), []);
    let node = |arch: &str| {
        let labels = BTreeMap::from([("kubernetes.io/arch".to_owned(), arch.to_owned())]);
        linux("u", labels)
    };
    index.node("n1", node("arm64"));
    index.node("n2", node("amd64"));
    index.node("n3", node("amd64"));
    assert_eq!(index.architectures(), [Arch::X86_64, Arch::Aarch64]);
    index.gone(Kind::Node, "n1");
    assert_eq!(index.architectures(), [Arch::X86_64]);
}
