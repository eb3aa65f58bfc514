//! Containers that runc starts are recorded, with processes killed and replaced meanwhile.
//!
//! Needs root and runc. What is missing is said, loudly, and nothing tested.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

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
const ROLE: &str = "RECORDER_TEST_ROLE";
const PLACE: &str = "RECORDER_TEST_PLACE";
/// The recorder of this name forgets whoever has ended.
const FORGETFUL: &str = "forgetful";
/// On a machine that has nothing else to do, all of it takes half a minute.
const PATIENCE: Duration = Duration::from_mins(3);

const TESTS: &[(&str, fn())] = &[
    (
        "names",
        what_a_container_calls_is_recorded_and_what_is_executed_into_it_is_apart,
    ),
    (
        "observed",
        under_an_observed_profile_what_is_refused_is_counted_and_nothing_else,
    ),
    (
        "deserted",
        without_holder_and_recorder_an_observed_profile_refuses_and_lets_nothing_start,
    ),
    (
        "forgets",
        a_container_is_recorded_after_all_before_it_were_forgotten,
    ),
    ("million", a_million_calls_of_four_threads_are_counted),
    (
        "kills",
        a_recorder_that_is_killed_fifty_times_misses_nothing,
    ),
    (
        "holder",
        a_recorder_goes_on_without_its_holder_and_the_next_one_learns_all,
    ),
    (
        "replaced",
        holder_and_recorder_are_replaced_while_a_container_runs,
    ),
];

/// Runs the tests whose names contain the argument, all by default: one after the other, since they need all cores.
fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return play(&role);
    }
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(&wanted)) {
        eprintln!("test {name} ...");
        let began = Instant::now();
        test();
        eprintln!("test {name} ... ended after {:?}", began.elapsed());
    }
}

/// What the tests start: holder, recorder, and the program in the container.
fn play(role: &str) {
    let folder = || Folder::new(std::env::var(PLACE).unwrap());
    let words: Vec<_> = role.split(' ').collect();
    match words[..] {
        ["hold"] => Holder::open(folder(), |said| eprintln!("holder: {said}"))
            .unwrap()
            .run()
            .unwrap(),
        ["record", name] => record(folder(), name),
        ["calls"] => calls(),
        ["exec"] => {
            rustix::fs::chmodat(
                rustix::fs::CWD,
                "/tmp",
                0o700.into(),
                rustix::fs::AtFlags::empty(),
            )
            .unwrap();
            std::fs::write("/tmp/end", "").unwrap();
        }
        ["deserted"] => deserted(),
        ["many", threads, times] => many(threads.parse().unwrap(), times.parse().unwrap()),
        _ => panic!("no role {role}"),
    }
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

/// A few calls that are trapped, among many that are assumed; then it waits for the end.
fn calls() {
    use rustix::fs::{AtFlags, CWD, mkdirat, symlinkat, unlinkat};
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType, socket};
    for _ in 0..3 {
        mkdirat(CWD, "/tmp/folder", 0o700.into()).unwrap();
        unlinkat(CWD, "/tmp/folder", AtFlags::REMOVEDIR).unwrap();
    }
    symlinkat("nowhere", CWD, "/tmp/link").unwrap();
    for family in [
        AddressFamily::INET,
        AddressFamily::UNIX,
        AddressFamily::INET,
    ] {
        socket(family, SocketType::STREAM, None).unwrap();
    }
    // What the base refuses stays refused, with its errors.
    for _ in 0..5 {
        let refused = socket(AddressFamily::VSOCK, SocketType::STREAM, None);
        assert_eq!(refused.unwrap_err(), Errno::PERM);
    }
    for (name, errno) in [
        ("mount", Errno::PERM),
        ("keyctl", Errno::PERM),
        ("userfaultfd", Errno::PERM),
        ("open_tree_attr", Errno::NOSYS),
    ] {
        let number = Syscall::named(name).unwrap().number(host()).unwrap();
        assert_eq!(raw(number), Err(errno), "{name}");
    }
    let deadline = Instant::now() + PATIENCE;
    while !Path::new("/tmp/end").exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Calls what is refused until nobody answers any more; all else goes on.
fn deserted() {
    use rustix::fs::{AtFlags, CWD, mkdirat, unlinkat};
    use rustix::io::Errno;
    let number = Syscall::named("keyctl").unwrap().number(host()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        mkdirat(CWD, "/tmp/folder", 0o700.into()).unwrap();
        unlinkat(CWD, "/tmp/folder", AtFlags::REMOVEDIR).unwrap();
        match raw(number) {
            Err(Errno::PERM | Errno::INTR) if Instant::now() < deadline => {}
            Err(Errno::NOSYS) => return,
            other => panic!("{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes a call of which only the number matters.
#[allow(unsafe_code)]
fn raw(number: u32) -> Result<(), rustix::io::Errno> {
    let zero = 0_usize;
    // SAFETY: with null pointers and no flags, no call that the tests name changes anything of this process.
    let got = unsafe { libc::syscall(number.into(), zero, zero, zero, zero, zero, zero) };
    if got == -1 {
        let error = std::io::Error::last_os_error();
        return Err(rustix::io::Errno::from_io_error(&error).unwrap());
    }
    Ok(())
}

fn many(threads: usize, times: usize) {
    let call = move || {
        for _ in 0..times {
            // Of what a killed recorder had read and not counted nobody knows whether it may happen: it is to be made again.
            let interrupted = Err(rustix::io::Errno::INTR);
            while rustix::process::getpriority_process(None) == interrupted {}
        }
    };
    let all: Vec<_> = (0..threads).map(|_| std::thread::spawn(call)).collect();
    for thread in all {
        thread.join().unwrap();
    }
}

/// A process of the recorder, or of a container, which ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder with sockets and containers.
struct Place {
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

fn host() -> Arch {
    match std::env::consts::ARCH {
        "x86_64" => Arch::X86_64,
        "aarch64" => Arch::Aarch64,
        other => panic!("no profile for {other}"),
    }
}

fn base() -> Profile {
    let target = Target {
        arch: host(),
        kernel: KernelVersion::CURRENT,
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };
    builtin(RUNTIME_DEFAULT).unwrap().resolve(&target)
}

impl Place {
    /// Nothing if it cannot be tested here.
    fn new() -> Option<Self> {
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

    fn path(&self, name: &str) -> PathBuf {
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

    fn process(&self, role: &str) -> Running {
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

    fn hold(&self) -> Running {
        self.process("hold")
    }

    /// A recorder that has all that the holder has.
    fn record(&self, name: &str) -> Running {
        let running = self.process(&format!("record {name}"));
        self.wait("a recorder that is connected", name, |said| {
            said["connected"] == true
        });
        running
    }

    /// What a recorder says, once `test` is true of it.
    fn wait(&self, what: &str, name: &str, test: impl Fn(&Value) -> bool) -> Value {
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
    fn run(&self, name: &str, role: &str) -> Running {
        let mode = (
            Syscall::named("mkdirat").unwrap(),
            ArgIndex::new(2).unwrap(),
        );
        let socket = self.path("notify.sock");
        let socket = socket.to_str().unwrap();
        let profile = recording_profile(&base(), socket, "shop/web/1", &[mode], "").unwrap();
        self.run_under(&profile, name, role)
    }

    fn observed(&self) -> Profile {
        let socket = self.path("notify.sock");
        let observed = observed_profile(&base(), socket.to_str().unwrap(), "observe:a", "");
        observed.unwrap().unwrap()
    }

    fn run_under(&self, profile: &Profile, name: &str, role: &str) -> Running {
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
            .arg(self.id(name))
            .stdout(Stdio::null());
        Running(command.spawn().unwrap())
    }

    fn id(&self, name: &str) -> String {
        let place = self.directory.path().file_name().unwrap().to_str().unwrap();
        format!("recorder-{}-{name}", place.trim_matches('.'))
    }

    fn exec(&self, name: &str, role: &str) {
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
    fn succeeds(mut self) {
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

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    fn terminate(&self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
    }
}

fn of(said: &Value, exec: bool) -> &Value {
    let mut recorded = said["recorded"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter();
    recorded
        .find(|recorded| recorded["subject"]["exec"] == exec)
        .unwrap_or(&Value::Null)
}

fn has_ended(said: &Value) -> bool {
    of(said, false)["ended"].is_number()
}

fn what_a_container_calls_is_recorded_and_what_is_executed_into_it_is_apart() {
    let Some(place) = Place::new() else { return };
    let _holder = place.hold();
    let _recorder = place.record("one");
    let container = place.run("a", "calls");
    place.wait("the last call", "one", |said| {
        of(said, false)["calls"]["socket"] == 3
    });
    place.exec("a", "exec");
    container.succeeds();
    let said = place.wait("the end", "one", |said| {
        has_ended(said) && of(said, true)["ended"].is_number()
    });
    let init = of(&said, false);
    assert_eq!(
        init["calls"],
        json!({"mkdirat": 3, "unlinkat": 3, "symlinkat": 1, "socket": 3})
    );
    assert_eq!(init["socket"], json!([[1, 2], [1]]));
    assert_eq!(init["mkdirat"], json!([[0o700]]));
    let mut refused = init["refused"].clone();
    // A libseccomp that does not know so new a call cannot ask about it; it is refused all the same.
    let newest = refused.as_object_mut().unwrap().remove("open_tree_attr");
    eprintln!("open_tree_attr was seen: {}", newest.is_some());
    assert_eq!(
        refused,
        json!({"socket": 5, "mount": 1, "keyctl": 1, "userfaultfd": 1})
    );
    assert_eq!(init["subject"]["containerId"], place.id("a"));
    assert_eq!(init["subject"]["namespace"], "shop");
    assert_eq!(init["subject"]["pod"], "web-0");
    assert_eq!(init["subject"]["container"], "web");
    assert_eq!(init["subject"]["metadata"], "shop/web/1");
    let exec = of(&said, true);
    let chmod = if exec["calls"]["fchmodat"] == 1 {
        "fchmodat"
    } else {
        "fchmodat2"
    };
    assert_eq!(exec["calls"], json!({chmod: 1}));
    assert_eq!(exec["subject"]["containerId"], place.id("a"));
}

fn under_an_observed_profile_what_is_refused_is_counted_and_nothing_else() {
    let Some(place) = Place::new() else { return };
    let _holder = place.hold();
    let _recorder = place.record("one");
    let profile = place.observed();
    let container = place.run_under(&profile, "a", "calls");
    place.wait("the last call", "one", |said| {
        of(said, false)["refused"]["userfaultfd"] == 1
    });
    place.exec("a", "exec");
    container.succeeds();
    let said = place.wait("the end", "one", |said| {
        has_ended(said) && of(said, true)["ended"].is_number()
    });
    let init = of(&said, false);
    // What the profile does not know, runc answers itself.
    assert_eq!(
        init["refused"],
        json!({"socket": 5, "mount": 1, "keyctl": 1, "userfaultfd": 1})
    );
    assert_eq!(init["subject"]["metadata"], "observe:a");
    for recorded in [init, of(&said, true)] {
        assert_eq!(recorded["calls"], json!({}));
        assert_eq!(recorded["unnamed"], 0);
    }
}

fn without_holder_and_recorder_an_observed_profile_refuses_and_lets_nothing_start() {
    let Some(place) = Place::new() else { return };
    let (holder, recorder) = (place.hold(), place.record("one"));
    let profile = place.observed();
    let container = place.run_under(&profile, "a", "deserted");
    place.wait("a refused call", "one", |said| {
        of(said, false)["refused"]["keyctl"].is_number()
    });
    drop((holder, recorder));
    container.succeeds();
    let mut other = place.run_under(&profile, "b", "deserted");
    let status = other.0.wait().unwrap();
    assert!(!status.success(), "{status}");
}

/// All that were counted, with a name and without.
fn total(said: &Value) -> u64 {
    let init = of(said, false);
    init["calls"]["getpriority"].as_u64().unwrap_or(0) + init["unnamed"].as_u64().unwrap_or(0)
}

fn a_million_calls_of_four_threads_are_counted() {
    let Some(place) = Place::new() else { return };
    let _holder = place.hold();
    let _recorder = place.record("one");
    place.run("a", "many 4 250000").succeeds();
    let said = place.wait("the end", "one", has_ended);
    assert_eq!(of(&said, false)["calls"], json!({"getpriority": 1_000_000}));
    assert_eq!(of(&said, false)["unnamed"], 0);
}

fn a_container_is_recorded_after_all_before_it_were_forgotten() {
    let Some(place) = Place::new() else { return };
    let _holder = place.hold();
    let mut recorder = place.record(FORGETFUL);
    for (container, times) in [("a", 1000), ("b", 2000), ("c", 3000)] {
        place.run(container, &format!("many 1 {times}")).succeeds();
        place.wait("the last call", FORGETFUL, |said| total(said) == times);
        place.wait("nobody", FORGETFUL, |said| {
            said["recorded"].as_array().is_some_and(Vec::is_empty)
        });
    }
    assert!(recorder.is_running());
}

fn a_recorder_that_is_killed_fifty_times_misses_nothing() {
    let Some(place) = Place::new() else { return };
    let _holder = place.hold();
    let mut recorder = place.record("one");
    let mut container = place.run("a", "many 4 100000");
    place.wait("the first calls", "one", |said| total(said) > 1000);
    let mut kills = 0;
    let mut random = 12345_u64;
    while kills < 50 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(Duration::from_micros(random >> 50));
        drop(recorder);
        recorder = place.process("record one");
        kills += 1;
        std::thread::sleep(Duration::from_millis(25));
    }
    assert!(container.is_running(), "all kills were in the middle");
    container.succeeds();
    let said = place.wait("the end", "one", has_ended);
    let unnamed = of(&said, false)["unnamed"].as_u64().unwrap();
    eprintln!(
        "{unnamed} calls besides 400000 have no name after {kills} kills, and were made again"
    );
    assert_eq!(total(&said) - unnamed, 400_000);
    assert!(unnamed <= kills);
}

fn a_recorder_goes_on_without_its_holder_and_the_next_one_learns_all() {
    let Some(place) = Place::new() else { return };
    let holder = place.hold();
    let recorder = place.record("one");
    let container = place.run("a", "many 2 100000");
    let before = place.wait("the first calls", "one", |said| total(said) > 1000);
    drop(holder);
    place.wait("calls without a holder", "one", |said| {
        total(said) > total(&before) + 1000 && said["connected"] == false
    });
    let _holder = place.hold();
    place.wait("the next holder", "one", |said| said["connected"] == true);
    // Now the recorder goes as well, and what it had is with the holder.
    drop(recorder);
    let _recorder = place.record("two");
    // What starts now is that holder's own.
    let other = place.run("b", "calls");
    place.wait("the other's last call", "two", |said| {
        let mut recorded = said["recorded"].as_array().unwrap().iter();
        recorded.any(|recorded| recorded["calls"]["socket"] == 3)
    });
    place.exec("b", "exec");
    other.succeeds();
    container.succeeds();
    let said = place.wait("the ends", "two", |said| {
        let recorded = said["recorded"].as_array().unwrap();
        recorded.len() == 3
            && recorded
                .iter()
                .all(|recorded| recorded["ended"].is_number())
    });
    let many = said["recorded"]
        .as_array()
        .unwrap()
        .iter()
        .find(|recorded| recorded["subject"]["containerId"] == place.id("a"));
    let many = many.unwrap();
    assert_eq!(many["calls"]["getpriority"], 200_000);
}

fn holder_and_recorder_are_replaced_while_a_container_runs() {
    let Some(place) = Place::new() else { return };
    let old = (place.hold(), place.record("old"));
    let container = place.run("a", "many 4 100000");
    place.wait("the first calls", "old", |said| total(said) > 1000);
    let new_holder = place.hold();
    let _new_recorder = place.record("new");
    place.wait("the old recorder's end", "old", |said| {
        said["stopped"] == true
    });
    // The old holder goes, since another one has all that it had.
    old.0.terminate();
    old.0.succeeds();
    drop(old.1);
    container.succeeds();
    let said = place.wait("the end", "new", has_ended);
    assert_eq!(
        (total(&said), of(&said, false)["unnamed"].as_u64()),
        (400_000, Some(0))
    );
    // With nothing left, a holder ends when it is told to.
    new_holder.terminate();
    new_holder.succeeds();
}
