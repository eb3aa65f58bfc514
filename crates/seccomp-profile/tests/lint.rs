//! `docs/lint.md` is true: it has all codes and no others, and each of its examples leads to the finding under whose code
//! it stands. And real profiles get few findings.
//!
//! Docker's, Podman's and containerd's own profiles are read from `../shared/data`; if they are not there, that is said.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use seccomp_profile::{
    Arch, CapabilitySet, Code, Delivery, Fields, Finding, KernelVersion, MAX_FINDINGS, Severity,
    Spec, Target, lint, lint_document, parse, parse_as_is, parse_slice,
};
use serde_json::{Value, json};

const AMD64: Target = Target {
    arch: Arch::X86_64,
    kernel: KernelVersion {
        major: 6,
        minor: 12,
    },
    capabilities: CapabilitySet::RUNTIME_DEFAULT,
};

fn nothing(_: &str) -> Option<Arc<Spec>> {
    None
}

/// The text under each heading of the third level.
fn sections() -> BTreeMap<String, String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lint.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let sections = docs.split("\n### ").skip(1).map(|section| {
        let (code, text) = section.split_once('\n').unwrap();
        let end = text.find("\n## ").unwrap_or(text.len());
        (code.to_owned(), text[..end].to_owned())
    });
    sections.collect()
}

/// What is found in an example: a document, or a spec with a base.
fn found(example: &Value, target: &Target) -> Vec<Finding> {
    if example.get("base").is_none() {
        let document = parse_as_is(example, "").unwrap();
        return lint_document(&document, Delivery::AsIs, target, "");
    }
    let list = |key| {
        let list = example.get(key).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let fields = Fields {
        profile: None,
        base: example["base"].as_str(),
        allow: &list("allow"),
        log: &list("log"),
        deny: &list("deny"),
    };
    lint(
        &Spec::parse(&fields, "spec").unwrap(),
        &nothing,
        target,
        "spec",
    )
}

#[test]
fn the_documentation_has_all_codes_and_no_others() {
    let mut codes: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
    codes.sort_unstable();
    assert_eq!(sections().keys().collect::<Vec<_>>(), codes);
    for code in Code::ALL {
        assert_eq!(Code::named(code.name()), Some(*code));
    }
}

#[test]
fn each_example_leads_to_the_finding_that_it_is_an_example_of() {
    for (code, text) in sections() {
        let example = text.split("```yaml\n").nth(1);
        let example = example.and_then(|example| example.split("```").next());
        let example = example.unwrap_or_else(|| panic!("{code} has no example"));
        // A comment says for which nodes, if for others.
        let arch = if example.contains("--arch arm64") {
            Arch::Aarch64
        } else {
            Arch::X86_64
        };
        let target = Target { arch, ..AMD64 };
        let example: Value = serde_saphyr::from_str(example).unwrap();
        let findings = found(&example, &target);
        let finding = findings.iter().find(|finding| finding.code.name() == code);
        let Some(finding) = finding else {
            panic!("{code}: {findings:#?}");
        };
        // "*Warning*, or an *error* where": the example shows one of the severities that the text names.
        let severities = [Severity::Note, Severity::Warning, Severity::Error];
        let named = severities.map(|severity| {
            let text = text.to_lowercase();
            let name = severity.name();
            text.contains(&format!("*{name}*")) || text.contains(&format!("*{name}.*"))
        });
        assert!(named[finding.severity as usize], "{code}: {finding:?}");
        for text in [&finding.path, &finding.reason, &finding.remedy] {
            assert!(!text.is_empty() && text.len() < 600, "{finding}");
        }
        println!("{:8}{finding}", finding.severity.name());
    }
}

fn shared(name: &str) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(name);
    let read = std::fs::read(&path);
    if read.is_err() {
        eprintln!("SKIPPED: {} is not there", path.display());
    }
    read.ok()
}

#[test]
fn real_profiles_do_not_drown_in_findings() {
    for (file, expected) in [
        (
            "moby-default.json",
            vec!["ignored-bits", "multiplexer-open"],
        ),
        (
            // It denies `setns` too late, and allows what the others do not.
            "containers-common-seccomp.json",
            vec![
                "lost-deny",
                "dangerous-allow",
                "dangerous-allow",
                "dangerous-allow",
                "dangerous-allow",
                "dangerous-allow",
                "new-namespaces",
                "dangerous-allow",
            ],
        ),
    ] {
        let Some(bytes) = shared(file) else { return };
        let document = parse_slice(&bytes, "").unwrap();
        let findings = lint_document(&document, Delivery::Rendered, &AMD64, "");
        let codes: Vec<_> = findings.iter().map(|finding| finding.code.name()).collect();
        assert_eq!(codes, expected, "{file}: {findings:#?}");
        let as_is = lint_document(&document, Delivery::AsIs, &AMD64, "");
        assert_eq!(as_is[0].code.name(), "docker-format");
    }
}

#[test]
fn what_containerd_gives_to_runc_has_few_findings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/runtime-default");
    let Ok(files) = std::fs::read_dir(&folder) else {
        eprintln!("SKIPPED: {} is not there", folder.display());
        return;
    };
    for file in files {
        let path = file.unwrap().path();
        let real: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let bounding = real["bounding"].as_array().unwrap();
        let names: Vec<_> = bounding
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        let target = Target {
            capabilities: CapabilitySet::parse(&names, "").unwrap(),
            ..AMD64
        };
        let document = parse(&real["seccomp"], "").unwrap();
        let findings = lint_document(&document, Delivery::AsIs, &target, "");
        println!("{}", path.display());
        for finding in &findings {
            println!("  {} {finding}", finding.severity.name());
        }
        assert!(findings.len() <= 3, "{findings:#?}");
    }
}

#[test]
fn findings_are_bounded() {
    const CALLS: [&str; 5] = ["read", "write", "open", "close", "fstat"];
    let rule = |i: usize| json!({"names": [CALLS[i % 5]], "action": "SCMP_ACT_ERRNO", "args": [{"index": i % 6, "op": "SCMP_CMP_GE", "value": 0}]});
    let rules: Vec<_> = (0..300).map(rule).collect();
    let document = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    let findings = lint_document(&parse(&document, "").unwrap(), Delivery::AsIs, &AMD64, "");
    assert_eq!(findings.len(), MAX_FINDINGS);
}
