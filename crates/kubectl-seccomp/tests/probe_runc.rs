//! `kubectl-seccomp probe` in containers that runc starts, under the profile that containerd hands to runc for
//! `RuntimeDefault`.
//!
//! Needs root, runc and the real profiles in `../shared/data` (or where `SECCOMP_SHARED_DATA` says). What is missing is
//! said, and nothing tested.
#![cfg(target_arch = "x86_64")] // as the profile is
#![allow(clippy::unwrap_used, clippy::panic)]

mod tool;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use seccomp_profile::{Arch, Syscall};
use serde_json::{Value, json};
use tool::{run, stdout};

/// The newest syscall that every libseccomp in use knows (2.5.4, Linux 5.17).
const SET_MEMPOLICY_HOME_NODE: u32 = 450;
/// uretprobe and uprobe, which no filter is asked about.
const UNFILTERED: [u32; 2] = [335, 336];

fn shared(name: &str) -> PathBuf {
    let data = std::env::var_os("SECCOMP_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    data.join(name)
}

fn runtime_default() -> Option<Value> {
    let path = shared("runtime-default/default.json");
    let text = std::fs::read_to_string(&path)
        .inspect_err(|error| eprintln!("skipped: {}: {error}", path.display()))
        .ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

/// A container of the host's own libraries, read-only, and the tool.
struct Bundle {
    directory: tempfile::TempDir,
}

impl Bundle {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("rootfs");
        for name in ["proc", "lib", "lib64", "usr", "tool"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        Self { directory }
    }

    fn run(&self, process: &Value, seccomp: Option<&Value>) -> Output {
        let tool = Path::new(env!("CARGO_BIN_EXE_kubectl-seccomp"));
        let bind = |source: &Path, destination: &str| json!({"source": source, "destination": destination, "type": "bind", "options": ["rbind", "ro"]});
        let mut mounts = vec![json!({"source": "proc", "destination": "/proc", "type": "proc"})];
        mounts.push(bind(tool.parent().unwrap(), "/tool"));
        mounts.extend(
            ["/lib", "/lib64", "/usr"]
                .into_iter()
                .filter(|d| Path::new(d).exists())
                .map(|d| bind(Path::new(d), d)),
        );
        let namespaces =
            ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({"type": kind}));
        let config = json!({
            "ociVersion": "1.0.2",
            "process": process,
            "root": {"path": "rootfs", "readonly": true},
            "mounts": mounts,
            "linux": {
                "namespaces": namespaces,
                "seccomp": seccomp,
            },
        });
        std::fs::write(
            self.directory.path().join("config.json"),
            config.to_string(),
        )
        .unwrap();
        let name = self.directory.path().file_name().unwrap().to_string_lossy();
        let name = name.trim_matches('.');
        Command::new("runc")
            .arg("--root")
            .arg(self.directory.path().join("state"))
            .args(["run", "--bundle"])
            .arg(self.directory.path())
            .arg(format!("probe-{}-{name}", std::process::id()))
            .output()
            .unwrap()
    }
}

fn process(uid: u32, no_new_privileges: bool, capabilities: &Value) -> Value {
    json!({
        "user": {"uid": uid, "gid": uid},
        "args": ["/tool/kubectl-seccomp", "probe", "-o", "json"],
        "env": ["PATH=/usr/bin"],
        "cwd": "/",
        "noNewPrivileges": no_new_privileges,
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
    })
}

fn words(value: &Value) -> BTreeSet<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().or_else(|| v["name"].as_str()).unwrap())
        .collect()
}

/// Names that a rule without conditions allows, and names with any other rule.
fn allowed_and_special(profile: &Value) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let (mut allowed, mut special) = (BTreeSet::new(), BTreeSet::new());
    for rule in profile["syscalls"].as_array().unwrap() {
        let plain =
            rule["action"] == "SCMP_ACT_ALLOW" && rule["args"].as_array().is_none_or(Vec::is_empty);
        if plain { &mut allowed } else { &mut special }.extend(words(&rule["names"]));
    }
    (allowed, special)
}

/// Whether runc can start containers here, as it seems.
fn runc_works(bundle: &Bundle, capabilities: &Value) -> bool {
    // Only root may read this.
    if std::fs::read_dir("/proc/1/fd").is_err() {
        eprintln!("skipped: not root");
        return false;
    }
    if Command::new("runc").arg("--version").output().is_err() {
        eprintln!("skipped: no runc");
        return false;
    }
    let output = bundle.run(&process(0, false, capabilities), None);
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        eprintln!("skipped: runc starts no container here: {message}");
        return false;
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["native"]["stopped"], json!([]));
    true
}

/// Compares every syscall that the profile treats alike for all arguments. Says how many.
fn compare_unconditional(native: &Value, profile: &Value) -> usize {
    let (allowed, special) = allowed_and_special(profile);
    let permitted = words(&native["permitted"]);
    let mut compared = 0;
    for nr in (0..=SET_MEMPOLICY_HOME_NODE).filter(|nr| !UNFILTERED.contains(nr)) {
        let Some(name) = Syscall::numbered(Arch::X86_64, nr).map(Syscall::name) else {
            continue;
        };
        if special.contains(name) {
            continue;
        }
        assert_eq!(permitted.contains(name), allowed.contains(name), "{name}");
        if !permitted.contains(name) {
            assert_eq!(
                find(&native["stopped"], "name", name)["errnoName"],
                "EPERM",
                "{name}"
            );
        }
        compared += 1;
    }
    compared
}

fn find<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    let found = list
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry[key] == value);
    found.unwrap_or_else(|| panic!("{value} is not there"))
}

/// What `kubectl-seccomp` prints for these arguments.
fn said(args: &[&str], stdin: &str) -> Value {
    serde_json::from_str(&stdout(&run(args, stdin))).unwrap()
}

/// Compares what was probed of an ABI with what was explained. Says for how many syscalls.
fn agree(probed: &Value, explained: &Value, arch: Arch) -> usize {
    let known = |name: &str| {
        Syscall::named(name)
            .and_then(|call| call.number(arch))
            // X32 has the bit 30, and numbers of its own from 512 on, all of them old.
            .is_some_and(|n| n & 0xffff <= SET_MEMPOLICY_HOME_NODE || n & 0xffff >= 512)
    };
    let mut compared = 0;
    for (name, action) in words(&explained["permitted"])
        .into_iter()
        .chain(words(&explained["logged"]))
        .map(|name| (name, &Value::Null))
        .chain(
            explained["stopped"]
                .as_array()
                .unwrap()
                .iter()
                .map(|s| (s["name"].as_str().unwrap(), s)),
        )
        .filter(|(name, _)| known(name))
    {
        if action.is_null() {
            assert!(
                words(&probed["permitted"]).contains(name),
                "{arch} {name} is not permitted"
            );
        } else {
            let stopped = find(&probed["stopped"], "name", name);
            assert_eq!(stopped["errno"], action["errno"], "{arch} {name}");
        }
        compared += 1;
    }
    for name in words(&explained["conditional"]) {
        // Of the other ABIs only one call was tried.
        let is_conditional =
            probed["conditional"].is_null() || words(&probed["conditional"]).contains(name);
        assert!(is_conditional, "{arch} {name} is not conditional");
    }
    compared
}

#[test]
fn what_is_probed_is_what_is_explained() {
    let Some(recorded) = runtime_default() else {
        return;
    };
    let bundle = Bundle::new();
    if !runc_works(&bundle, &recorded["bounding"]) {
        return;
    }
    let mut profiles = vec![recorded["seccomp"].clone()];
    for (name, caps) in [
        ("moby-default.json", "default"),
        ("moby-default.json", "all"),
        ("containers-common-seccomp.json", "default"),
    ] {
        let path = shared(name);
        let args = [
            "convert",
            "--arch=amd64",
            "--cap",
            caps,
            path.to_str().unwrap(),
        ];
        profiles.push(said(&args, ""));
    }
    // An open one with a few holes.
    profiles.push(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        "syscalls": [
            {"names": ["bpf", "keyctl", "mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77},
            {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]},
            {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 78, "args": [{"index": 1, "value": 1, "op": "SCMP_CMP_GE"}]},
            {"names": ["keyctl"], "action": "SCMP_ACT_LOG"},
        ],
    }));
    for profile in profiles {
        let explained = said(
            &["explain", "-o", "json", "--arch=amd64"],
            &profile.to_string(),
        );
        let output = bundle.run(&process(0, false, &recorded["bounding"]), Some(&profile));
        assert!(output.status.success(), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let of = |arch: Arch| {
            find(
                &explained["architectures"],
                "architecture",
                &arch.to_string(),
            )
            .clone()
        };
        let compared = agree(&report["native"], &of(Arch::X86_64), Arch::X86_64);
        assert!(compared > 340, "{compared}");
        let mut other = 0;
        for (abi, arch) in [("i386", Arch::X86), ("x32", Arch::X32)] {
            let probed = find(&report["otherAbis"], "abi", abi);
            if probed["state"] == "filtered" {
                other += agree(probed, &of(arch), arch);
            }
        }
        eprintln!("{compared} native syscalls and {other} others agree");
    }
}

#[test]
fn the_default_of_containerd_is_read_off_as_the_profile_says() {
    let Some(recorded) = runtime_default() else {
        return;
    };
    let (profile, capabilities) = (&recorded["seccomp"], &recorded["bounding"]);
    let bundle = Bundle::new();
    if !runc_works(&bundle, capabilities) {
        return;
    }
    for (uid, no_new_privileges) in [(0, false), (0, true), (65534, false), (65534, true)] {
        let output = bundle.run(
            &process(uid, no_new_privileges, capabilities),
            Some(profile),
        );
        assert!(output.status.success(), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["uid"], uid);
        assert_eq!(report["noNewPrivileges"], no_new_privileges);
        assert_eq!(report["method"], "listener");
        let native = &report["native"];
        let compared = compare_unconditional(native, profile);
        assert!(compared > 350, "{compared}");
        eprintln!("uid {uid}: {compared} syscalls compared");
        assert_eq!(
            find(&native["stopped"], "name", "clone3")["errnoName"],
            "ENOSYS"
        );
        assert_eq!(
            words(&native["conditional"]),
            BTreeSet::from(["clone", "personality", "socket"])
        );
        for (name, want) in [
            ("clone(thread)", "permitted"),
            ("clone(fork)", "permitted"),
            ("clone(CLONE_NEWUSER)", "errno"),
            ("unshare(CLONE_NEWUSER)", "errno"),
            ("socket(AF_ALG)", "permitted"), // closed by later versions of containerd
            ("socket(AF_VSOCK)", "errno"),
            ("personality(query)", "permitted"),
            ("personality(ADDR_NO_RANDOMIZE)", "errno"),
        ] {
            assert_eq!(
                find(&report["calls"], "call", name)["decision"],
                want,
                "{name}"
            );
        }
        for abi in report["otherAbis"].as_array().unwrap() {
            if abi["state"] == "filtered" {
                assert!(words(&abi["permitted"]).contains("mkdir"), "{}", abi["abi"]);
                assert!(words(&abi["stopped"]).contains("mount"), "{}", abi["abi"]);
            } else {
                assert_eq!(
                    (&abi["abi"], &abi["state"]),
                    (&json!("i386"), &json!("absent"))
                );
            }
        }
    }
}
