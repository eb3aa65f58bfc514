//! Bytes to the reader of profile documents: it never panics, every refusal says where, why and what to do, and what it
//! reads is written so that the same is read again and does the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seccomp_profile::{
    Arch, CapabilitySet, Delivery, Document, KernelVersion, Profile, Target, lint_document,
    parse_slice,
};

fuzz_target!(|bytes: &[u8]| {
    match parse_slice(bytes, "spec.profile") {
        Ok(document) => written_is_read_again(&document),
        Err(problems) => {
            assert!(problems.len() > 0 && problems.len() >= problems.iter().len());
            for problem in &problems {
                assert!(problem.path.starts_with("spec.profile"), "{problem}");
                assert!(!problem.reason.is_empty() && !problem.remedy.is_empty());
                assert!(problem.to_string().len() < 10_000);
            }
        }
    }
});

fn written_is_read_again(document: &Document) {
    for (arch, bits) in [
        (Arch::X86_64, 0xa804_25fb),
        (Arch::Aarch64, u64::MAX),
        (Arch::S390X, 0),
    ] {
        let target = Target {
            arch,
            kernel: KernelVersion {
                major: 6,
                minor: 12,
            },
            capabilities: CapabilitySet::from_bits(bits),
        };
        for finding in lint_document(document, Delivery::Rendered, &target, "spec.profile") {
            assert!(!finding.reason.is_empty() && !finding.remedy.is_empty());
        }
        let profile = document.resolve(&target);
        assert_eq!(again(&profile, &target), profile);
        let Ok(canonical) = profile.canonical("spec") else {
            continue;
        };
        assert_eq!(again(&canonical, &target), canonical);
        assert_eq!(canonical.canonical("spec").as_ref(), Ok(&canonical));
        let (before, after) = (profile.model().unwrap(), canonical.model().unwrap());
        assert_eq!(after.flaws(), []);
        if before.flaws().is_empty() {
            assert_eq!(before.difference(&after), None);
        }
    }
}

fn again(profile: &Profile, target: &Target) -> Profile {
    let read = parse_slice(&profile.to_canonical_json(), "").unwrap();
    assert!(read.docker_only_fields().is_empty());
    read.resolve(target)
}
