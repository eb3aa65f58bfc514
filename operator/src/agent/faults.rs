//! What can go wrong with a disk, with the process and with those who share the folder, made to happen to the real store.
//!
//! Afterwards every published file is whole (the old one or the new one), nobody else's file was touched, the report says what
//! happened, and once the fault is gone everything is as it should be. To be able to fail, or to end, at every single step, the
//! store runs on a thread whose system calls this file answers: a seccomp filter hands them over one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use libseccomp::{
    ScmpAction, ScmpFilterContext, ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags, ScmpSyscall,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{IFlags, RenameFlags, ioctl_setflags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, fsconfig_create, fsconfig_reconfigure,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick,
};
use rustix::process::{Signal, getpid, kill_process};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use super::content::Content;
use super::ledger::Ledger;
use super::state::{Seen, State};
use super::store::{Done, Edit, Store, StoreError};
use seccomp_operator_api::{NodeFailure, ProfileName};

const PROFILES: &str = "profiles";
const LEDGER: &str = ".seccomp-operator.ledger.json";

/// A folder in memory: what a killed process wrote is the kernel's already, so that no disk is needed.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn named(name: &str) -> ProfileName {
    ProfileName::parse(name).unwrap()
}

/// What a profile's file holds in a generation: long, and all of it says which it is.
fn text(name: &str, generation: u32) -> String {
    format!("{name} {generation}\n").repeat(2000)
}

fn put(name: &str, generation: u32) -> Edit {
    Edit::Write {
        name: named(name),
        content: Content::new(text(name, generation).as_bytes()),
        adopt: false,
    }
}

fn remove(name: &str) -> Edit {
    Edit::Remove(named(name))
}

/// A seccomp folder.
#[derive(Clone)]
struct Folder(PathBuf);

impl Folder {
    fn store(&self) -> Store {
        Store::new(&self.0, Path::new(PROFILES))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(PROFILES).join(file)
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(&format!("{name}.json"))).ok()
    }

    /// The generation that a profile's file holds, whole; none if there is no file.
    fn generation(&self, name: &str) -> Option<u32> {
        let held = self.read(name)?;
        let generation = held.split_whitespace().nth(1).and_then(|n| n.parse().ok());
        let whole = generation.is_some_and(|generation| held == text(name, generation));
        assert!(whole, "{name} is half-written: {} bytes", held.len());
        generation
    }

    /// Every name in the profiles folder.
    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// What the ledger says is ours.
    fn ledger(&self) -> BTreeSet<String> {
        let Ok(bytes) = fs::read(self.path(LEDGER)) else {
            return BTreeSet::new();
        };
        let whole = serde_json::from_slice::<serde_json::Value>(&bytes);
        assert!(whole.is_ok(), "the ledger is half-written");
        let ledger = Ledger::parse(&bytes);
        ledger.names().map(|name| name.as_str().into()).collect()
    }
}

/// The system calls that the store makes of the file system.
const CALLS: &[&str] = &[
    "openat",
    "mkdirat",
    "newfstatat",
    "fstat",
    "statx",
    "fchmod",
    "write",
    "fsync",
    "lseek",
    "read",
    "renameat2",
    "linkat",
    "unlinkat",
    "getdents64",
];

/// What befalls one call.
#[derive(Clone, Copy)]
enum Fault {
    Fails(Errno),
    Ends,
}

#[derive(Default)]
struct Plan {
    /// The calls since the plan was made.
    seen: Vec<String>,
    /// Which of them, counted from zero, is befallen by what.
    fault: Option<(usize, Fault)>,
}

/// The calls of a supervised thread.
#[derive(Default)]
struct Calls(Mutex<Plan>);

impl Calls {
    /// From now on, the call of this number is befallen by this.
    fn arm(&self, nth: usize, fault: Fault) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Plan {
            seen: vec![],
            fault: Some((nth, fault)),
        };
    }

    /// Nothing befalls any call from now on; the calls since the plan was made.
    fn disarm(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).seen
    }

    fn next(&self, call: String) -> Option<Fault> {
        let mut plan = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let nth = plan.seen.len();
        plan.seen.push(call);
        plan.fault
            .and_then(|(at, fault)| (at == nth).then_some(fault))
    }
}

/// libseccomp keeps one descriptor for all such filters of a process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs `work` on a thread of its own, whose file system calls are answered here.
fn supervised<T: Send>(work: impl FnOnce(&Calls) -> T + Send) -> T {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    libseccomp::reset_global_state().unwrap();
    let calls = Calls::default();
    let (loaded, listener) = mpsc::channel();
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let mut filter = ScmpFilterContext::new(ScmpAction::Allow).unwrap();
            for call in CALLS {
                // Not every architecture has every one.
                if let Ok(call) = ScmpSyscall::from_name(call) {
                    drop(filter.add_rule(ScmpAction::Notify, call));
                }
            }
            filter.load().unwrap();
            loaded.send(filter.get_notify_fd().unwrap()).unwrap();
            work(&calls)
        });
        let listener = listener.recv().unwrap();
        while !worker.is_finished() {
            answer(listener, &calls);
        }
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Answers a call, if there is one soon.
fn answer(listener: i32, calls: &Calls) {
    // SAFETY is libseccomp's: the descriptor stays open until the state is reset.
    #[allow(unsafe_code)]
    let fd = unsafe { BorrowedFd::borrow_raw(listener) };
    let soon = Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    if poll(&mut fds, Some(&soon)) != Ok(1) || !fds[0].revents().contains(PollFlags::IN) {
        return;
    }
    let Ok(request) = ScmpNotifReq::receive(listener) else {
        return;
    };
    let name = request.data.syscall.get_name().unwrap();
    let none = ScmpNotifRespFlags::empty();
    let response = match calls.next(name) {
        None => ScmpNotifResp::new_continue(request.id, none),
        Some(Fault::Fails(errno)) => {
            ScmpNotifResp::new_error(request.id, -errno.raw_os_error(), none)
        }
        Some(Fault::Ends) => {
            kill_process(getpid(), Signal::KILL).unwrap();
            return;
        }
    };
    response.respond(listener).unwrap();
}

/// A folder as it is before the batch below: three files of the first generation that are ours, and one that is not.
fn prepare(folder: &Folder) {
    let before = ["kept", "updated", "removed"].map(|name| put(name, 1));
    let outcomes = folder.store().apply(&before);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    fs::write(folder.path("theirs.json"), "theirs").unwrap();
}

fn batch(generation: u32) -> [Edit; 4] {
    [
        put("updated", generation),
        put("added", generation),
        remove("removed"),
        put("kept", 1),
    ]
}

/// Whatever happened in the batch from one generation to the next: every file is the old or the new one, whole, and everything
/// of ours is known to be ours.
fn assert_nothing_is_lost_or_half_written(folder: &Folder, old: u32, new: u32) {
    let generation = |name: &str| folder.generation(name);
    assert_eq!(generation("kept"), Some(1));
    assert!([old, new].map(Some).contains(&generation("updated")));
    let added = [Some(new), Some(old), None];
    assert!(added.contains(&generation("added")), "added");
    assert!([Some(1), None].contains(&generation("removed")), "removed");
    assert_eq!(folder.read("theirs").as_deref(), Some("theirs"));
    let ledger = folder.ledger();
    assert!(!ledger.contains("theirs"));
    for name in ["kept", "updated", "added", "removed"] {
        assert!(
            folder.read(name).is_none() || ledger.contains(name),
            "{name} is there, and the ledger does not know that it is ours"
        );
    }
}

fn assert_all_is_well(folder: &Folder, generation: u32) {
    assert_eq!(folder.generation("updated"), Some(generation));
    assert_eq!(folder.generation("added"), Some(generation));
    assert_eq!(folder.read("removed"), None);
    let ours = ["added", "kept", "updated"].map(String::from);
    assert_eq!(folder.ledger(), BTreeSet::from(ours.clone()));
    let files = ours.iter().map(|name| format!("{name}.json"));
    let all = files.chain(["theirs.json".into(), LEDGER.into()]);
    assert_eq!(folder.names(), all.collect());
}

#[test]
fn an_error_of_the_disk_at_any_step_loses_nothing_is_told_and_heals_when_it_is_gone() {
    let root = scratch();
    let steps = supervised(|calls| {
        let mut steps = 0;
        for errno in [Errno::IO, Errno::NOSPC] {
            let text = std::io::Error::from(errno).to_string();
            for nth in 0.. {
                let folder = Folder(root.path().join(format!("{}-{nth}", errno.raw_os_error())));
                fs::create_dir(&folder.0).unwrap();
                prepare(&folder);
                let mut store = folder.store();
                calls.arm(nth, Fault::Fails(errno));
                let outcomes = store.apply(&batch(2));
                let seen = calls.disarm();
                if seen.len() <= nth {
                    break;
                }
                steps += 1;
                let step = format!("{text} at call {nth}, {}: {outcomes:?}", seen[nth]);
                assert_nothing_is_lost_or_half_written(&folder, 1, 2);
                for (edit, outcome) in batch(2).iter().zip(&outcomes) {
                    let held = folder.generation(edit.name().as_str());
                    match (edit, outcome) {
                        (_, Err(error)) => assert!(error.to_string().contains(&text), "{step}"),
                        (Edit::Remove(_), Ok(_)) => assert_eq!(held, None, "{step}"),
                        (Edit::Write { name, .. }, Ok(_)) => {
                            let wanted = if name.as_str() == "kept" { 1 } else { 2 };
                            assert_eq!(held, Some(wanted), "{step}");
                        }
                    }
                }
                let again = store.apply(&batch(2));
                assert!(again.iter().all(Result::is_ok), "{step}, then {again:?}");
                folder.store().open().unwrap();
                assert_all_is_well(&folder, 2);
            }
        }
        steps
    });
    println!("{steps} calls failed, one at a time");
    assert!(steps > 100, "only {steps} calls were seen");
}

#[test]
fn a_file_has_its_bytes_on_the_disk_before_it_has_its_name_and_the_folder_is_synced_after() {
    let root = scratch();
    let folder = Folder(root.path().to_owned());
    prepare(&folder);
    let mut store = folder.store();
    store.open().unwrap();
    let order = |edits: &[Edit]| {
        supervised(|calls| {
            calls.disarm();
            let outcomes = store.apply(edits);
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            let matter = ["write", "fsync", "renameat2", "unlinkat"];
            let seen = calls.disarm();
            let seen = seen.iter().filter(|call| matter.contains(&call.as_str()));
            seen.cloned().collect::<Vec<_>>().join(" ")
        })
    };
    let mut order = order;
    let replace = "write fsync renameat2";
    // First the ledger says that the file will be ours, for good.
    let new = format!("{replace} fsync {replace} fsync");
    assert_eq!(order(&[put("added", 1)]), new);
    // Then what it holds, and since when.
    assert_eq!(order(&[put("added", 2)]), new);
    let removed = format!("unlinkat fsync {replace} fsync");
    assert_eq!(order(&[remove("removed")]), removed);
    assert_eq!(order(&[put("added", 2), put("kept", 1)]), "");
}

/// Tells the process that is to be killed what to do: the folder, the generation to bring it to, and the call to end at.
const VICTIM: &str = "SECCOMP_OPERATOR_TEST_VICTIM";

#[test]
#[ignore = "it is the process that the next test kills"]
fn victim() {
    let orders = std::env::var(VICTIM).unwrap();
    let [folder, generation, nth] = orders.split('|').collect::<Vec<_>>()[..] else {
        panic!("{orders}")
    };
    let folder = Folder(folder.into());
    let (generation, nth) = (generation.parse().unwrap(), nth.parse().unwrap());
    supervised(|calls| {
        calls.arm(nth, Fault::Ends);
        folder.store().apply(&batch(generation));
    });
}

#[test]
fn two_hundred_processes_killed_at_every_step_leave_whole_files_and_nothing_that_is_not_cleared_away()
 {
    const KILLS: usize = 200;
    let root = scratch();
    let folder = Folder(root.path().to_owned());
    prepare(&folder);
    let (mut old, mut kills, mut nth) = (1, 0, 0);
    let mut half_done = BTreeMap::new();
    while kills < KILLS {
        let new = old + 1;
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "agent::faults::victim"])
            .env(VICTIM, format!("{}|{new}|{nth}", folder.0.display()))
            .output()
            .unwrap();
        assert_nothing_is_lost_or_half_written(&folder, old, new);
        if ended.status.signal() == Some(9) {
            kills += 1;
            nth += 1;
            let left = folder.names().iter().any(|name| name.contains(".tmp."));
            *half_done.entry(left).or_insert(0) += 1;
        } else {
            assert!(ended.status.success(), "{ended:?}");
            nth = 0;
        }
        // The next start.
        let mut store = folder.store();
        store.open().unwrap();
        let temporary = folder
            .names()
            .into_iter()
            .find(|name| name.contains(".tmp."));
        assert_eq!(temporary, None);
        let outcomes = store.apply(&batch(new));
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_all_is_well(&folder, new);
        // There is something to remove each time.
        let outcomes = store.apply(&[put("removed", 1), remove("added")]);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        old = new;
    }
    println!("killed {kills} times; whether a temporary file was left: {half_done:?}");
    assert!(half_done.get(&true) > Some(&10));
}

/// A file system of its own, mounted nowhere. None without the right to: these tests are run as root.
fn tmpfs(options: &[(&str, &str)]) -> Option<(OwnedFd, Folder)> {
    let context = match fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::PERM) => {
            eprintln!("skipped: only root may have a file system of its own");
            return None;
        }
        context => context.unwrap(),
    };
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value).unwrap();
    }
    fsconfig_create(&context).unwrap();
    let none = MountAttrFlags::empty();
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, none).unwrap();
    let folder = Folder(format!("/proc/self/fd/{}", mount.as_raw_fd()).into());
    Some((mount, folder))
}

/// The store with the state that drives it: what a node reports.
struct Node {
    state: State,
    store: Store,
    owned: BTreeSet<ProfileName>,
    version: u64,
}

impl Node {
    fn new(folder: &Folder) -> Self {
        let mut node = Self {
            state: State::default(),
            store: folder.store(),
            owned: BTreeSet::new(),
            version: 1,
        };
        node.state.list_begins();
        node.state.list_ends();
        node.state.used(BTreeMap::new());
        node
    }

    /// The profile is wanted in this generation.
    fn want(&mut self, name: &str, generation: u32) {
        self.version += 1;
        let name = named(name);
        let seen = Seen {
            uid: "u".into(),
            generation: generation.into(),
            version: self.version,
            revision: 0,
            selector: BTreeMap::new(),
            adopt: false,
        };
        self.state.exists(&name, seen);
        while let Some(name) = self.state.next_stale() {
            let bytes = text(name.as_str(), generation).into_bytes();
            self.state.rendered(&name, Ok(bytes));
        }
    }

    /// Does what is due, what failed too, and says what the node reports.
    fn settle(&mut self) -> Vec<NodeFailure> {
        self.state.retry();
        let edits = self.state.edits(&self.owned);
        let outcomes = self.store.apply(&edits);
        self.state.record(&edits, &outcomes);
        self.owned = self.store.owned();
        self.state.report(&self.owned).unwrap().failures
    }
}

/// The only failure, of this profile, in a sentence that begins so.
fn assert_failure(failures: &[NodeFailure], profile: &str, reason: &str, begins: &str) {
    let [failure] = failures else {
        panic!("{failures:?}")
    };
    assert_eq!(
        (failure.profile.as_str(), failure.reason.as_str()),
        (profile, reason)
    );
    assert!(failure.message.starts_with(begins), "{}", failure.message);
}

#[test]
fn a_full_disk_keeps_the_old_file_and_is_reported_until_there_is_room() {
    let Some((_mount, folder)) = tmpfs(&[("size", "96k")]) else {
        return;
    };
    let mut node = Node::new(&folder);
    node.want("a", 1);
    assert_eq!(node.settle(), []);
    fs::write(folder.path("filler"), vec![0; 80 << 10]).unwrap();
    node.want("a", 2);
    let begins = "write the file: No space left on device (os error 28); make room";
    assert_failure(&node.settle(), "a", "WriteFailed", begins);
    assert_eq!(folder.generation("a"), Some(1));
    // Not even room for the ledger.
    let rest = fs::write(folder.path("filler2"), vec![0; 96 << 10]);
    assert!(rest.is_err());
    node.want("b", 1);
    let failures = node.settle();
    assert_failure(&failures[..1], "a", "WriteFailed", begins);
    let begins = "the list of the operator's own files: write the file: No space left on device";
    assert_failure(&failures[1..], "b", "WriteFailed", begins);
    assert_eq!(
        (folder.generation("a"), folder.generation("b")),
        (Some(1), None)
    );
    assert!(folder.names().iter().all(|name| !name.contains(".tmp.")));
    for filler in ["filler", "filler2"] {
        fs::remove_file(folder.path(filler)).unwrap();
    }
    assert_eq!(node.settle(), []);
    assert_eq!(
        (folder.generation("a"), folder.generation("b")),
        (Some(2), Some(1))
    );
}

#[test]
fn a_disk_without_inodes_keeps_the_old_file_and_is_reported_until_there_are_some() {
    let Some((_mount, folder)) = tmpfs(&[("nr_inodes", "5")]) else {
        return;
    };
    let mut node = Node::new(&folder);
    node.want("a", 1);
    assert_eq!(node.settle(), []);
    // The root, the profiles folder, the ledger and one file are four.
    fs::write(folder.path("filler"), "").unwrap();
    node.want("a", 2);
    let begins = "make a temporary file: No space left on device (os error 28)";
    assert_failure(&node.settle(), "a", "WriteFailed", begins);
    assert_eq!(folder.generation("a"), Some(1));
    fs::remove_file(folder.path("filler")).unwrap();
    assert_eq!(node.settle(), []);
    assert_eq!(folder.generation("a"), Some(2));
}

#[test]
fn a_file_system_that_turns_read_only_keeps_the_old_files_and_is_reported_until_it_is_writable() {
    let Some((mount, folder)) = tmpfs(&[]) else {
        return;
    };
    let turn = |flag: &str| {
        let flags = FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_CLOEXEC;
        let context = fspick(&mount, "", flags).unwrap();
        fsconfig_set_flag(&context, flag).unwrap();
        fsconfig_reconfigure(&context).unwrap();
    };
    let mut node = Node::new(&folder);
    node.want("a", 1);
    node.want("same", 1);
    assert_eq!(node.settle(), []);
    turn("ro");
    node.want("a", 2);
    let begins = "make a temporary file: Read-only file system (os error 30); the file system is";
    assert_failure(&node.settle(), "a", "WriteFailed", begins);
    assert_eq!(folder.generation("a"), Some(1));
    // An agent that starts now knows what is ours, and that what is right is right.
    let mut restarted = Node::new(&folder);
    restarted.want("a", 2);
    restarted.want("same", 1);
    assert_failure(&restarted.settle(), "a", "WriteFailed", begins);
    assert_eq!(restarted.owned.len(), 2);
    turn("rw");
    assert_eq!(node.settle(), []);
    assert_eq!(folder.generation("a"), Some(2));
}

#[test]
fn a_file_that_was_made_immutable_stays_and_is_reported_until_it_is_not() {
    let Some((_mount, folder)) = tmpfs(&[]) else {
        return;
    };
    let mut node = Node::new(&folder);
    node.want("a", 1);
    assert_eq!(node.settle(), []);
    let file = fs::File::open(folder.path("a.json")).unwrap();
    match ioctl_setflags(&file, IFlags::IMMUTABLE) {
        // Before Linux 6.0.
        Err(Errno::NOTTY) => return eprintln!("skipped: this tmpfs has no immutable files"),
        set => set.unwrap(),
    }
    node.want("a", 2);
    let begins = "put the file in place: Operation not permitted (os error 1); the file or its folder is immutable";
    assert_failure(&node.settle(), "a", "WriteFailed", begins);
    assert_eq!(folder.generation("a"), Some(1));
    node.state.deleted(&named("a"));
    let begins = "remove the file: Operation not permitted (os error 1); the file or its folder is immutable";
    assert_failure(&node.settle(), "a", "RemoveFailed", begins);
    assert_eq!(folder.generation("a"), Some(1));
    ioctl_setflags(&file, IFlags::empty()).unwrap();
    assert_eq!(node.settle(), []);
    assert_eq!(folder.read("a"), None);
    assert_eq!(folder.ledger(), BTreeSet::new());
}

/// Runs `work` as the agent runs: as root, and without any capability.
fn without_capabilities<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let none = CapabilitySet::empty();
            let sets = CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            };
            set_capabilities(None, sets).unwrap();
            work()
        });
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn our_file_that_somebody_made_unreadable_or_writable_for_all_is_put_right() {
    let root = scratch();
    let folder = Folder(root.path().to_owned());
    let mut store = folder.store();
    store.apply(&[put("a", 1)]).remove(0).unwrap();
    for mode in [0o000, 0o600, 0o666, 0o4755] {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.path("a.json"), permissions).unwrap();
        let done = without_capabilities(|| store.apply(&[put("a", 1)]).remove(0));
        assert_eq!(done.unwrap(), Done::Written, "{mode:o}");
        let now = fs::metadata(folder.path("a.json")).unwrap().mode();
        assert_eq!((now & 0o7777, folder.generation("a")), (0o644, Some(1)));
    }
}

#[test]
fn a_foreign_file_that_cannot_be_read_is_a_conflict() {
    let root = scratch();
    let folder = Folder(root.path().to_owned());
    let mut store = folder.store();
    store.open().unwrap();
    fs::write(folder.path("a.json"), "theirs").unwrap();
    fs::set_permissions(folder.path("a.json"), fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = without_capabilities(|| store.apply(&[put("a", 1)]).remove(0));
    assert!(matches!(outcome, Err(StoreError::Conflict)), "{outcome:?}");
    assert_eq!(folder.read("a").as_deref(), Some("theirs"));
    let take_over = Edit::Write {
        name: named("a"),
        content: Content::new(text("a", 1).as_bytes()),
        adopt: true,
    };
    let outcome = without_capabilities(|| store.apply(&[take_over]).remove(0));
    assert_eq!(outcome.unwrap(), Done::TakenOver);
}

#[test]
fn a_directory_where_our_file_was_is_theirs_and_said_to_be_in_the_way() {
    let root = scratch();
    let folder = Folder(root.path().to_owned());
    let mut node = Node::new(&folder);
    for name in ["a", "b"] {
        node.want(name, 1);
    }
    assert_eq!(node.settle(), []);
    for name in ["a.json", "b.json"] {
        fs::remove_file(folder.path(name)).unwrap();
        fs::create_dir(folder.path(name)).unwrap();
    }
    node.state.deleted(&named("b"));
    node.state.resync();
    assert_failure(
        &node.settle(),
        "a",
        "Conflict",
        "a directory that the operator did not put there",
    );
    assert!(folder.path("a.json").is_dir() && folder.path("b.json").is_dir());
    fs::remove_dir(folder.path("a.json")).unwrap();
    assert_eq!(node.settle(), []);
    assert_eq!(folder.generation("a"), Some(1));
}

#[test]
fn a_profiles_folder_that_becomes_a_link_is_not_followed_and_that_is_reported() {
    let root = scratch();
    let elsewhere = scratch();
    let folder = Folder(root.path().to_owned());
    let mut node = Node::new(&folder);
    node.want("a", 1);
    assert_eq!(node.settle(), []);
    fs::remove_dir_all(folder.path("")).unwrap();
    symlink(elsewhere.path(), root.path().join(PROFILES)).unwrap();
    node.state.resync();
    let begins = "a symbolic link is where the profiles folder should be, and is not followed";
    assert_failure(&node.settle(), "a", "WriteFailed", begins);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    fs::remove_file(root.path().join(PROFILES)).unwrap();
    assert_eq!(node.settle(), []);
    assert_eq!(folder.generation("a"), Some(1));
}

#[test]
fn links_on_the_way_to_a_nested_folder_are_not_followed_either() {
    let root = scratch();
    let elsewhere = scratch();
    fs::create_dir(elsewhere.path().join("deep")).unwrap();
    symlink(elsewhere.path(), root.path().join("way")).unwrap();
    let mut store = Store::new(root.path(), Path::new("way/deep"));
    let outcome = store.apply(&[put("a", 1)]).remove(0);
    assert!(
        matches!(outcome, Err(StoreError::NoFolder("symbolic link"))),
        "{outcome:?}"
    );
    assert_eq!(
        fs::read_dir(elsewhere.path().join("deep")).unwrap().count(),
        0
    );
}

#[test]
fn links_that_are_swapped_in_while_the_store_writes_lead_it_nowhere() {
    let root = scratch();
    let elsewhere = scratch();
    let trap = elsewhere.path().join("a.json");
    fs::write(&trap, "theirs").unwrap();
    let folder = Folder(root.path().to_owned());
    let mut store = folder.store();
    store.apply(&[put("a", 1)]).remove(0).unwrap();
    symlink(elsewhere.path(), root.path().join("folder-trap")).unwrap();
    symlink(&trap, root.path().join("file-trap")).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = |a: &Path, b: &Path| {
                let here = rustix::fs::CWD;
                let _ = rustix::fs::renameat_with(here, a, here, b, RenameFlags::EXCHANGE);
            };
            while !over.load(Ordering::Relaxed) {
                let (folder_trap, file_trap) = (
                    root.path().join("folder-trap"),
                    root.path().join("file-trap"),
                );
                exchange(&root.path().join(PROFILES), &folder_trap);
                exchange(&root.path().join(PROFILES), &folder_trap);
                exchange(&folder.path("a.json"), &file_trap);
            }
        });
        let mut outcomes = BTreeMap::new();
        for generation in 2..500 {
            let outcome = match store.apply(&[put("a", generation)]).remove(0) {
                Ok(done) => format!("{done:?}"),
                Err(error) => error.to_string(),
            };
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
        over.store(true, Ordering::Relaxed);
        println!("{outcomes:#?}");
    });
    assert_eq!(fs::read_to_string(&trap).unwrap(), "theirs");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}
