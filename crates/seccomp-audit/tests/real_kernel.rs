//! What real processes under real filters call is heard, placed and counted, by the kernel that this runs on.
//!
//! Needs root, the machine's own network namespace and cgroups. What is missing is said, loudly, and nothing tested.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]
#![allow(unsafe_code)] // filters, and processes that die in the moment that they are made

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use seccomp_audit::{Control, Deaf, Outcome, Reader, Snapshot};

const ROLE: &str = "AUDIT_TEST_ROLE";
const PLACE: &str = "AUDIT_TEST_CGROUP";
const UID: &str = "1f0c7f3e-5a5a-4a59-8d0e-0c1f0b8f2a11";
const ID: &str = "3c9dcb8b3d1b2bd7b3e7a4b0b5b3c9dcb8b3d1b2bd7b3e7a4b0b5b3c9dcb8b3d";
const PATIENCE: Duration = Duration::from_mins(1);
const LOG: u32 = 0x7ffc_0000;
const KILL: u32 = 0x8000_0000;
/// On a machine that has nothing else to do, all of it takes ten seconds.
const FLOOD: u64 = 800_000;
const DYING: u64 = 200;

fn main() {
    match std::env::var(ROLE).ok().as_deref() {
        None => run(),
        Some("deaf") => deaf(),
        Some("with AUDIT_READ alone") => alone(1 << 5),
        Some("without any capability") => alone(0),
        Some(role) => play(role),
    }
}

/// A cgroup as kubelet and a runtime make it for a container; it goes when it is dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    /// In the hierarchy of version 2, or in one of version 1.
    fn make(hierarchy: &Path) -> std::io::Result<Self> {
        let folder = hierarchy.join(format!("kubepods/pod{UID}/{ID}"));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn hierarchies() -> Vec<PathBuf> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let fields = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let cgroups = |fields: &Vec<&str>| {
            fields[2] == "cgroup2" || fields[2] == "cgroup" && fields[1].ends_with("/pids")
        };
        let found = fields.filter(cgroups);
        found.map(|fields| PathBuf::from(fields[1])).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in self.0.ancestors().take(3) {
            let began = Instant::now();
            // The kernel may still be busy with those who died in it.
            while std::fs::remove_dir(folder).is_err() && began.elapsed() < Duration::from_secs(2) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Starts this program again, in a cgroup.
fn start(role: &str, cgroup: &Cgroup) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env(ROLE, role)
        .env(PLACE, cgroup.0.join("cgroup.procs"));
    command.status().unwrap()
}

fn play(role: &str) {
    std::fs::write(std::env::var(PLACE).unwrap(), "0").unwrap();
    let words: Vec<_> = role.split(' ').collect();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    match words[0] {
        "log" => {
            call(LOG, number(1));
            std::thread::sleep(Duration::from_millis(200));
        }
        "live" => {
            std::thread::sleep(Duration::from_secs(number(1)));
            call(KILL, 1);
        }
        // As a shell does: it starts programs, each of which is killed, and waits for it.
        "exec" => {
            for _ in 0..number(1) {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.env(ROLE, "live 0").stderr(Stdio::null());
                assert_eq!(command.status().unwrap().signal(), Some(libc::SIGSYS));
            }
        }
        // Nothing can live shorter.
        "fork" => {
            for _ in 0..number(1) {
                // SAFETY: there is no second thread, and the child makes nothing but calls.
                unsafe {
                    let child = libc::fork();
                    if child == 0 {
                        call(KILL, 1);
                        libc::_exit(0);
                    }
                    let mut status = 0;
                    libc::waitpid(child, &raw mut status, 0);
                    assert_eq!(libc::WTERMSIG(status), libc::SIGSYS);
                }
            }
        }
        _ => panic!("no role {role}"),
    }
}

/// Makes a call under a filter that decides so of it.
fn call(action: u32, times: u64) {
    let step = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
    let number = u32::try_from(libc::SYS_getppid).unwrap();
    let mut steps = [
        step(0x20, 0, 0),
        step(0x15, number, 1),
        step(0x06, action, 0),
        step(0x06, 0x7fff_0000, 0),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: a program that the kernel copies, and a call without arguments.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program), 0);
        for _ in 0..times {
            libc::syscall(libc::SYS_getppid);
        }
    }
}

fn wait(control: &Control, what: &str, is: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let began = Instant::now();
    loop {
        let snapshot = control.snapshot();
        if is(&snapshot) {
            return snapshot;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: {snapshot:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How often the container made the call, with this outcome.
fn placed(snapshot: &Snapshot, outcome: Outcome) -> u64 {
    let calls = snapshot.calls.iter();
    let ours = calls.filter(|placed| {
        placed.container.pod_uid == UID
            && placed.container.id == ID
            && placed.call.number == u32::try_from(libc::SYS_getppid).unwrap()
            && placed.call.outcome == outcome
    });
    ours.map(|placed| placed.count.times).sum()
}

fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

fn run() {
    let reader = Reader::default();
    let control = reader.control();
    reader.start().unwrap();
    let heard = wait(&control, "hearing", |snapshot| {
        snapshot.totals.hearing.is_some()
    });
    if let Some(Err(why)) = heard.totals.hearing {
        eprintln!("NOTHING TESTED: {why}");
        return control.end();
    }
    eprintln!("test it is proved that anything is heard ... ok");
    for hierarchy in Cgroup::hierarchies() {
        let Ok(cgroup) = Cgroup::make(&hierarchy) else {
            eprintln!("NOT TESTED: {} cannot be written", hierarchy.display());
            continue;
        };
        eprintln!("in {}:", hierarchy.display());
        what_is_logged_is_counted_for_its_container(&control, &cgroup);
        who_is_killed_after_a_while_is_placed(&control, &cgroup);
        who_dies_at_once_is_placed_or_counted(&control, &cgroup);
        a_flood_is_counted_or_lost_in_bounded_memory(&control, &cgroup);
        control.forget(u64::MAX, |_| true);
    }
    control.end();
    one_capability_is_enough_and_without_it_that_is_said();
    outside_of_the_first_network_namespace_it_is_said_that_nothing_is_heard();
}

fn what_is_logged_is_counted_for_its_container(control: &Control, cgroup: &Cgroup) {
    assert!(start("log 5", cgroup).success());
    wait(control, "logged", |now| placed(now, Outcome::Logged) == 5);
    eprintln!("test what is logged is counted for its container ... ok");
}

fn who_is_killed_after_a_while_is_placed(control: &Control, cgroup: &Cgroup) {
    assert_eq!(start("live 5", cgroup).signal(), Some(libc::SIGSYS));
    wait(control, "killed", |now| placed(now, Outcome::Killed) == 1);
    eprintln!("test who is killed after a while is placed ... ok");
}

fn who_dies_at_once_is_placed_or_counted(control: &Control, cgroup: &Cgroup) {
    for how in ["exec", "fork"] {
        let before = control.snapshot();
        let began = Instant::now();
        assert!(start(&format!("{how} {DYING}"), cgroup).success());
        let (took, killed) = (began.elapsed(), Outcome::Killed);
        let new = |now: &Snapshot| placed(now, killed) - placed(&before, killed);
        let unplaced = |now: &Snapshot| now.totals.unplaced_times - before.totals.unplaced_times;
        let after = wait(control, "dying", |now| new(now) + unplaced(now) >= DYING);
        eprintln!(
            "test who dies at once is placed or counted ({how}) ... ok: {} of {DYING} placed, {:?} each",
            new(&after),
            took / u32::try_from(DYING).unwrap()
        );
    }
}

fn a_flood_is_counted_or_lost_in_bounded_memory(control: &Control, cgroup: &Cgroup) {
    let (before, memory_before) = (control.snapshot(), memory());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(start(&format!("log {}", FLOOD / 4), cgroup).success()));
        }
    });
    let took = began.elapsed();
    let new = |now: &Snapshot| placed(now, Outcome::Logged) - placed(&before, Outcome::Logged);
    let lost = |now: &Snapshot| now.totals.lost - before.totals.lost;
    let (mut all, mut after) = (FLOOD, control.snapshot());
    let began = Instant::now();
    while all == FLOOD
        || new(&after) + lost(&after) < all && began.elapsed() < Duration::from_secs(20)
    {
        // A little of what is lost shows only in the numbers of what comes later, and the last of that may be lost as well.
        assert!(start("log 200", cgroup).success());
        all += 200;
        std::thread::sleep(Duration::from_millis(200));
        after = control.snapshot();
    }
    let grown = memory().saturating_sub(memory_before);
    let (counted, lost) = (new(&after), lost(&after));
    eprintln!(
        "test a flood is counted or lost in bounded memory ... {all} calls in {took:?}: {counted} counted, {lost} lost and known, {} unknown, {grown} KiB more",
        all.saturating_sub(counted + lost)
    );
    // Whatever the machine does meanwhile, of each that is not counted it is known.
    assert_eq!(counted + lost, all);
    assert!(grown < 4096, "{grown} KiB");
}

/// Hears, or says why not, with these capabilities of the upper half alone and `no_new_privs`, as in a pod.
fn alone(upper: u32) {
    let header = [0x2008_0522_u32, 0]; // _LINUX_CAPABILITY_VERSION_3, this process
    let sets = [0, 0, 0, upper, upper, 0_u32]; // effective, permitted, inheritable of the lower half, then of the upper
    // SAFETY: the two structures of this call, in the layout that the kernel gives them.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let set = libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr());
        assert_eq!(set, 0);
    }
    say_hearing();
}

fn say_hearing() {
    let reader = Reader::default();
    let control = reader.control();
    reader.start().unwrap();
    let heard = wait(&control, "hearing", |snapshot| {
        snapshot.totals.hearing.is_some()
    });
    let hearing = heard.totals.hearing.unwrap();
    println!("{}", hearing.map_or_else(|why| why.word(), |()| "hears"));
}

fn one_capability_is_enough_and_without_it_that_is_said() {
    for (role, expected) in [
        ("with AUDIT_READ alone", "hears"),
        ("without any capability", Deaf::Forbidden.word()),
    ] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.env(ROLE, role).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.trim(), expected, "{role}");
    }
    eprintln!("test one capability is enough and without it that is said ... ok");
}

fn deaf() {
    // SAFETY: there is no second thread yet.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return println!("no namespace");
    }
    say_hearing();
}

fn outside_of_the_first_network_namespace_it_is_said_that_nothing_is_heard() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.env(ROLE, "deaf").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let said = said.trim();
    if said == "no namespace" {
        return eprintln!("NOT TESTED: no network namespace can be made");
    }
    assert!(
        [Deaf::Silent.word(), Deaf::Contained.word()].contains(&said),
        "{said}"
    );
    eprintln!(
        "test outside of the first network namespace it is said that nothing is heard ... ok: {said}"
    );
}
