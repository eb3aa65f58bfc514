//! The profiles in `examples/`: they are what users copy, so they must mean what their comments say, on every architecture.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use seccomp_operator_api::{ProfileName, SeccompProfile};
use seccomp_profile::{
    Action, Arch, Arguments, CapabilitySet, Errno, KernelVersion, Library, Model, Severity,
    Syscall, Target,
};
use serde_json::Value;

const EPERM: Action = Action::Errno(Errno::EPERM);
const ENOSYS: Action = Action::Errno(Errno::ENOSYS);

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(folder);
    let files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(!files.is_empty());
    files
}

fn objects(folder: &str) -> Vec<Value> {
    files(folder)
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            serde_saphyr::from_multiple::<Value>(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        })
        .collect()
}

/// All examples, each with what it says.
fn library() -> (Library, Vec<String>) {
    let mut library = Library::default();
    let mut names = Vec::new();
    for object in objects("profiles") {
        let profile: SeccompProfile = serde_json::from_value(object).unwrap();
        let name = profile.metadata.name.unwrap();
        ProfileName::parse(&name).unwrap();
        let definition = profile
            .spec
            .define()
            .unwrap_or_else(|problems| panic!("{name}: {problems}"));
        library.define(&name, Ok(definition.into()));
        names.push(name);
    }
    (library, names)
}

fn target(arch: Arch) -> Target {
    Target {
        arch,
        kernel: KernelVersion {
            major: 6,
            minor: 12,
        },
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    }
}

fn model(name: &str, arch: Arch) -> Model {
    let (library, _) = library();
    library
        .compose(name, &target(arch), "spec")
        .unwrap()
        .model()
        .unwrap()
}

/// What a call gets on a native architecture, as far as it is there.
fn decide(model: &Model, arch: Arch, call: &str, first: u64) -> Option<Action> {
    let number = Syscall::named(call).unwrap().number(arch)?;
    Some(model.decide(arch, number, &[first, 0, 0, 0, 0, 0].into()))
}

#[test]
fn every_example_can_be_rendered_for_every_architecture_of_kubernetes() {
    let (library, names) = library();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        library
            .check(&name, "spec")
            .unwrap_or_else(|sentence| panic!("{name}: {sentence}"));
        assert_eq!(library.missing_base(&name), None);
        for finding in library.lint(&name, "spec") {
            println!("{name}: {} {finding}", finding.severity.name());
            assert!(finding.severity < Severity::Error, "{name}: {finding}");
        }
    }
}

#[test]
fn pods_use_examples_that_there_are() {
    let (library, _) = library();
    let mut used = BTreeSet::new();
    for pod in objects("pods") {
        let path = &pod["spec"]["securityContext"]["seccompProfile"]["localhostProfile"];
        let Some(path) = path.as_str() else { continue };
        let name = path
            .strip_prefix("profiles/")
            .and_then(|file| file.strip_suffix(".json"))
            .unwrap();
        assert!(library.get(name).is_some(), "{path}");
        used.insert(name.to_owned());
    }
    assert!(used.contains("no-chmod") && used.contains("audit"));
}

#[test]
fn no_chmod_denies_all_that_change_a_mode_and_is_dockers_default_for_the_rest() {
    let mut docker = Library::default();
    let spec: seccomp_operator_api::SeccompProfileSpec =
        serde_json::from_value(serde_json::json!({"base": "docker-default"})).unwrap();
    docker.define("docker", Ok(spec.define().unwrap().into()));
    for arch in [Arch::X86_64, Arch::Aarch64, Arch::S390X] {
        let docker = docker
            .compose("docker", &target(arch), "spec")
            .unwrap()
            .model()
            .unwrap();
        let ours = model("no-chmod", arch);
        let mut denied = Vec::new();
        for (arch, number, decision) in docker.calls() {
            let name = Syscall::numbered(arch, number).unwrap().name();
            for args in decision.boundaries() {
                let (theirs, ours) = (
                    docker.decide(arch, number, &args),
                    ours.decide(arch, number, &args),
                );
                if name.contains("chmod") {
                    assert_eq!(ours, EPERM, "{arch} {name}");
                    denied.push(name);
                } else {
                    assert_eq!(ours, theirs, "{arch} {name} {args:?}");
                }
            }
        }
        denied.sort_unstable();
        denied.dedup();
        assert_eq!(
            denied,
            ["chmod", "fchmod", "fchmodat", "fchmodat2"],
            "{arch}"
        );
    }
}

#[test]
fn no_af_alg_closes_that_family_also_for_32_bit_programs_that_call_socket() {
    let model = model("no-af-alg", Arch::X86_64);
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for (family, action) in [
            (1, Action::Allow),
            (2, Action::Allow),
            (10, Action::Allow),
            (16, Action::Allow),
            (38, EPERM),
        ] {
            assert_eq!(
                decide(&model, arch, "socket", family),
                Some(action),
                "{arch} {family}"
            );
        }
    }
    // What its comment says of it.
    assert_eq!(
        decide(&model, Arch::X86, "socketcall", 1),
        Some(Action::Allow)
    );
}

#[test]
fn audit_records_everything_and_ends_nothing() {
    let model = model("audit", Arch::X86_64);
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for call in ["read", "mount", "reboot"] {
            assert_eq!(
                decide(&model, arch, call, 0),
                Some(Action::Log),
                "{arch} {call}"
            );
        }
    }
}

#[test]
fn the_deny_list_stops_what_it_names_and_nothing_that_a_shell_or_a_runtime_needs() {
    for arch in [Arch::X86_64, Arch::Aarch64, Arch::S390X] {
        let model = model("deny-list", arch);
        for call in [
            "bpf",
            "mount",
            "setns",
            "unshare",
            "init_module",
            "kexec_load",
            "ptrace",
            "io_uring_setup",
            "keyctl",
        ] {
            assert_eq!(decide(&model, arch, call, 0), Some(EPERM), "{arch} {call}");
        }
        for call in [
            "execve",
            "openat",
            "read",
            "write",
            "setuid",
            "capset",
            "prctl",
            "socket",
            "fchmodat",
            "mlock",
            "getdents64",
        ] {
            assert_eq!(
                decide(&model, arch, call, 0),
                Some(Action::Allow),
                "{arch} {call}"
            );
        }
        assert_eq!(decide(&model, arch, "clone3", 0), Some(ENOSYS));
        assert_eq!(clone(&model, arch, 0x1000_0011), EPERM, "{arch}");
        assert_eq!(clone(&model, arch, 0x0100_0011), Action::Allow, "{arch}");
    }
}

/// What `clone` with these flags gets. On s390 the stack comes before them.
fn clone(model: &Model, arch: Arch, flags: u64) -> Action {
    let number = Syscall::named("clone").unwrap().number(arch).unwrap();
    let mut args = [flags, 0x3ff_7e02_0000, 0, 0, 0, 0];
    if arch == Arch::S390X {
        args.swap(0, 1);
    }
    model.decide(arch, number, &args.into())
}

#[test]
fn nginx_has_what_it_was_traced_to_call_and_little_else() {
    for arch in [Arch::X86_64, Arch::Aarch64, Arch::S390X] {
        let model = model("nginx", arch);
        for call in [
            "accept4",
            "epoll_ctl",
            "sendfile",
            "openat",
            "setuid",
            "capset",
            "execve",
            "clone",
        ] {
            assert_eq!(
                decide(&model, arch, call, 0),
                Some(Action::Allow),
                "{arch} {call}"
            );
        }
        for (family, action) in [
            (1, Action::Allow),
            (2, Action::Allow),
            (10, Action::Allow),
            (16, EPERM),
            (38, EPERM),
        ] {
            assert_eq!(
                decide(&model, arch, "socket", family),
                Some(action),
                "{arch} {family}"
            );
        }
        assert_eq!(decide(&model, arch, "clone3", 0), Some(ENOSYS));
        assert_eq!(clone(&model, arch, 0x1000_0011), EPERM, "{arch}");
        let denied = Syscall::all()
            .filter_map(|call| call.number(arch))
            .filter(|number| model.decide(arch, *number, &Arguments::ZEROS) == EPERM);
        assert!(denied.count() > 200, "{arch}");
    }
}
