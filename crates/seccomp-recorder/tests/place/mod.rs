//! Holder, recorder, and containers that runc starts under profiles of theirs, in a folder of their own. For tests and benches, whose program
//! is started again in each of these roles.
//!
//! Needs root and runc. What is missing is said, loudly.
#![allow(dead_code, unreachable_pub)] // a test needs other parts of it than a bench

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use seccomp_profile::{
    Arch, ArgIndex, CapabilitySet, KernelVersion, Profile, RUNTIME_DEFAULT, Syscall, Target,
    builtin,
};
use seccomp_recorder::{
    Control, Folder, Holder, Recorder, Snapshot, observed_profile, recording_profile,
};
use serde_json::{Value, json};

/// What this program is when it is started by its own tests: its role, and the folder.
pub const ROLE: &str = "RECORDER_TEST_ROLE";
const PLACE: &str = "RECORDER_TEST_PLACE";
/// The recorder of this name forgets whoever has ended.
pub const FORGETFUL: &str = "forgetful";
/// On a machine that has nothing else to do, all of it takes half a minute.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Plays a role that every such program has, if it is started in one; otherwise gives the words of the role that is its own, if there are any.
pub fn role() -> Option<String> {
    let role = std::env::var(ROLE).ok()?;
    let folder = || Folder::new(std::env::var(PLACE).unwrap());
    match role.split_once(' ').unwrap_or((&role, "")) {
        ("hold", _) => Holder::open(folder(), |said| eprintln!("holder: {said}"))
            .unwrap()
            .run()
            .unwrap(),
        ("record", name) => record(folder(), name),
        _ => return Some(role),
    }
    std::process::exit(0)
}

/// Makes a call of which only the number matters.
#[allow(unsafe_code)] // calls without a wrapper are what is to be refused
pub fn raw(number: u32) -> Result<(), rustix::io::Errno> {
    let zero = 0_usize;
    // SAFETY: with null pointers and no flags, no call that the tests name changes anything of this process.
    let got = unsafe { libc::syscall(number.into(), zero, zero, zero, zero, zero, zero) };
    if got == -1 {
        let error = std::io::Error::last_os_error();
        return Err(rustix::io::Errno::from_io_error(&error).unwrap());
    }
    Ok(())
}

fn record(folder: Folder, name: &str) {
    let place = PathBuf::from(std::env::var(PLACE).unwrap());
    let recorder = Recorder::new(folder).unwrap();
    let control = recorder.control();
    let runs = std::thread::spawn(move || recorder.run());
    let (file, new) = (place.join(name), place.join(format!("{name}.new")));
    while !runs.is_finished() {
        let before = if name == FORGETFUL {
            control.snapshot()
        } else {
            Snapshot::default()
        };
        std::fs::write(&new, said(&control).to_string()).unwrap();
        std::fs::rename(&new, &file).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        // The file has their last counts.
        let ended = before.recorded.iter().filter(|of| of.ended.is_some());
        ended.for_each(|of| control.forget(of));
    }
    runs.join().unwrap().unwrap();
    std::fs::write(&file, json!({"stopped": true}).to_string()).unwrap();
    std::thread::sleep(PATIENCE); // until it is killed
}

fn said(control: &Control) -> Value {
    let snapshot = control.snapshot();
    let recorded = snapshot.recorded.iter().map(|recorded| {
        let counted = |refused| {
            let calls = recorded.counts.calls.iter().filter(move |count| count.refused == refused);
            calls.map(|count| (count.call.name(), count.start_up + count.steady)).collect::<BTreeMap<_, _>>()
        };
        let values = |name: &str| {
            let found = recorded.counts.calls.iter().find(|count| count.call.name() == name && !count.refused);
            found.map(|call| call.arguments.iter().map(|argument| argument.values.clone()).collect::<Vec<_>>())
        };
        json!({
            "subject": recorded.subject, "ended": recorded.ended, "calls": counted(false), "refused": counted(true), "unnamed": recorded.counts.unnamed,
            "socket": values("socket"), "mkdirat": values("mkdirat"),
        })
    });
    json!({"connected": snapshot.is_connected, "recorded": recorded.collect::<Vec<_>>()})
}

/// A process of the recorder, or of a container, which ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder with sockets and containers.
pub struct Place {
    directory: tempfile::TempDir,
    containers: std::cell::RefCell<Vec<String>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in self.containers.borrow().iter() {
            let _ = self.runc().args(["delete", "--force", name]).output();
        }
    }
}

fn runc_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .collect();
    let cache =
        PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/seccomp-operator");
    folders.extend(
        std::fs::read_dir(cache)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path())),
    );
    folders
        .into_iter()
        .map(|folder| folder.join("runc"))
        .find(|path| path.is_file())
}

pub fn host() -> Arch {
    match std::env::consts::ARCH {
        "x86_64" => Arch::X86_64,
        "aarch64" => Arch::Aarch64,
        other => panic!("no profile for {other}"),
    }
}

pub fn target() -> Target {
    Target {
        arch: host(),
        kernel: KernelVersion::CURRENT,
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    }
}

pub fn base() -> Profile {
    builtin(RUNTIME_DEFAULT).unwrap().resolve(&target())
}

impl Place {
    /// Nothing if it cannot be tested here.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || std::fs::read_dir("/proc/1/fd").is_err() {
            eprintln!("SKIPPED, NOTHING WAS TESTED: not root");
            return None;
        }
        if runc_path().is_none() {
            eprintln!(
                "SKIPPED, NOTHING WAS TESTED: no runc, in PATH or in ~/.cache/seccomp-operator"
            );
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        Some(Self {
            directory,
            containers: std::cell::RefCell::default(),
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn runc(&self) -> Command {
        let mut command = Command::new(runc_path().unwrap());
        command
            .arg("--root")
            .arg(self.path("state"))
            .stdin(Stdio::null());
        command
    }

    pub fn process(&self, role: &str) -> Running {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["role", "--exact", "--nocapture", "--test-threads=1"])
            .stdout(Stdio::null());
        Running(
            command
                .env(ROLE, role)
                .env(PLACE, self.directory.path())
                .spawn()
                .unwrap(),
        )
    }

    pub fn hold(&self) -> Running {
        self.process("hold")
    }

    /// A recorder that has all that the holder has.
    pub fn record(&self, name: &str) -> Running {
        let running = self.process(&format!("record {name}"));
        self.wait("a recorder that is connected", name, |said| {
            said["connected"] == true
        });
        running
    }

    /// What a recorder says, once `test` is true of it.
    pub fn wait(&self, what: &str, name: &str, test: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            let said: Value = serde_json::from_str(&text).unwrap_or_default();
            if test(&said) {
                return said;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn program(role: &str) -> Value {
        let program = std::env::current_exe().unwrap();
        let program = program.file_name().unwrap().to_str().unwrap();
        json!({
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "noNewPrivileges": true, "capabilities": {},
            "args": [format!("/tool/{program}")],
            "env": ["PATH=/usr/bin", format!("{ROLE}={role}")],
        })
    }

    /// Starts a container of the host's own libraries, read-only, under the recording profile.
    pub fn run(&self, name: &str, role: &str) -> Running {
        let mode = (
            Syscall::named("mkdirat").unwrap(),
            ArgIndex::new(2).unwrap(),
        );
        let socket = self.path("notify.sock");
        let socket = socket.to_str().unwrap();
        let profile = recording_profile(&base(), socket, "shop/web/1", &[mode], "").unwrap();
        self.run_under(&profile, name, role)
    }

    pub fn observed(&self) -> Profile {
        let socket = self.path("notify.sock");
        let observed = observed_profile(&base(), socket.to_str().unwrap(), "observe:a", "");
        observed.unwrap().unwrap()
    }

    pub fn run_under(&self, profile: &Profile, name: &str, role: &str) -> Running {
        let mut command = self.command_under(profile, name, role);
        Running(command.stdout(Stdio::null()).spawn().unwrap())
    }

    /// What a program writes that ends by itself.
    pub fn output_under(&self, profile: &Profile, name: &str, role: &str) -> String {
        let output = self.command_under(profile, name, role).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn command_under(&self, profile: &Profile, name: &str, role: &str) -> Command {
        let bundle = self.path(name);
        for folder in ["proc", "lib", "lib64", "usr", "tool", "tmp"] {
            std::fs::create_dir_all(bundle.join("rootfs").join(folder)).unwrap();
        }
        let profile: Value = serde_json::from_slice(&profile.to_canonical_json()).unwrap();
        let program = std::env::current_exe().unwrap();
        let bind = |source: &Path, destination: &str| json!({"source": source, "destination": destination, "type": "bind", "options": ["rbind", "ro"]});
        let mut mounts = vec![
            json!({"source": "proc", "destination": "/proc", "type": "proc"}),
            json!({"source": "tmpfs", "destination": "/tmp", "type": "tmpfs"}),
            bind(program.parent().unwrap(), "/tool"),
        ];
        let libraries = ["/lib", "/lib64", "/usr"]
            .into_iter()
            .filter(|folder| Path::new(folder).exists());
        mounts.extend(libraries.map(|folder| bind(Path::new(folder), folder)));
        let namespaces =
            ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({"type": kind}));
        let config = json!({
            "ociVersion": "1.0.2", "process": Self::program(role), "root": {"path": "rootfs", "readonly": true}, "mounts": mounts,
            "annotations": {
                "io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "web-0",
                "io.kubernetes.cri.container-name": "web",
            },
            "linux": {
                "namespaces": namespaces, "seccomp": profile,
            },
        });
        std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        self.containers.borrow_mut().push(self.id(name));
        let mut command = self.runc();
        command
            .args(["run", "--bundle"])
            .arg(&bundle)
            .arg(self.id(name));
        command
    }

    pub fn id(&self, name: &str) -> String {
        let place = self.directory.path().file_name().unwrap().to_str().unwrap();
        format!("recorder-{}-{name}", place.trim_matches('.'))
    }

    pub fn exec(&self, name: &str, role: &str) {
        let process = self.path("process.json");
        std::fs::write(&process, Self::program(role).to_string()).unwrap();
        let mut command = self.runc();
        let output = command
            .args(["exec", "--process"])
            .arg(&process)
            .arg(self.id(name))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Running {
    pub fn succeeds(mut self) {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(status) = self.0.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it has not ended after {PATIENCE:?}");
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
    }
}
