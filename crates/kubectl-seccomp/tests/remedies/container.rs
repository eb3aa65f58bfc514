//! Containers of the host's own programs, started by every runc that is there: the one on the PATH, and the newer one that the
//! clusters of `e2e/cluster/install` run on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::{Value, json};

/// The runcs by version, if containers can be started here. What is missing is said.
pub fn runcs() -> &'static [(String, PathBuf)] {
    static FOUND: OnceLock<Vec<(String, PathBuf)>> = OnceLock::new();
    FOUND.get_or_init(find)
}

fn find() -> Vec<(String, PathBuf)> {
    // Only root may read this.
    if std::fs::read_dir("/proc/1/fd").is_err() {
        eprintln!("SKIPPED: not root, so that no container can be started");
        return Vec::new();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
    let builds = cache.map(|cache| std::fs::read_dir(cache.join("seccomp-operator")));
    let builds = builds.into_iter().flatten().flatten().flatten();
    let built = builds.map(|entry| entry.path().join("runc"));
    let all = built.filter(|path| path.is_file()).chain(["runc".into()]);
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for path in all {
        let Ok(output) = Command::new(&path).arg("--version").output() else {
            continue;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split_whitespace().nth(2).unwrap_or("?").to_owned();
        if !found.iter().any(|(known, _)| *known == version) {
            found.push((version, path));
        }
    }
    found.retain(|(version, runc)| {
        let output = start(runc, &json!({"defaultAction": "SCMP_ACT_ALLOW"}), true);
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("SKIPPED: runc {version} starts no container here: {message}");
        }
        output.status.success()
    });
    if found.is_empty() {
        eprintln!("SKIPPED: no runc that starts containers");
    }
    found
}

/// Whether a container starts under the profile, and its program can make a process if `forks`.
pub fn starts(runc: &Path, seccomp: &Value, forks: bool) -> Result<(), String> {
    let output = start(runc, seccomp, forks);
    if output.status.success() && output.stdout == b"started\n" {
        return Ok(());
    }
    Err(format!("{output:?}"))
}

fn start(runc: &Path, seccomp: &Value, forks: bool) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("rootfs");
    let folders = ["lib", "lib64", "usr", "bin"];
    let folders = folders
        .into_iter()
        .filter(|name| Path::new("/").join(name).exists());
    let mut mounts = vec![
        json!({"source": "proc", "destination": "/proc", "type": "proc"}),
        json!({"source": "tmpfs", "destination": "/dev", "type": "tmpfs", "options": ["mode=755"]}),
    ];
    for name in folders {
        let host = Path::new("/").join(name);
        mounts.push(json!({"source": host, "destination": host, "type": "bind", "options": ["rbind", "ro"]}));
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    for name in ["proc", "dev"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    // A shell forks for what stands in brackets.
    let args = if forks {
        json!(["/bin/sh", "-c", "(/bin/echo started); exit 0"])
    } else {
        json!(["/bin/echo", "started"])
    };
    let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({"type": kind}));
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            // Without it the runtime itself does most under the filter.
            "noNewPrivileges": false,
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        },
        "root": {"path": "rootfs", "readonly": true},
        "mounts": mounts,
        "linux": {"namespaces": namespaces, "seccomp": seccomp},
    });
    let config_json = directory.path().join("config.json");
    std::fs::write(config_json, config.to_string()).unwrap();
    let name = directory.path().file_name().unwrap().to_string_lossy();
    Command::new(runc)
        .arg("--root")
        .arg(directory.path().join("state"))
        .args(["run", "--bundle"])
        .arg(directory.path())
        .arg(format!(
            "remedy-{}-{}",
            std::process::id(),
            name.trim_matches('.')
        ))
        .output()
        .unwrap()
}
