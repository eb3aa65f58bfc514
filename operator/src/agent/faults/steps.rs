//! A disk that fails, and a process that ends, at every step of a batch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

use rustix::io::Errno;

use super::calls::{Fault, supervised};
use super::{Folder, LEDGER, put, remove, scratch};
use crate::agent::store::Edit;

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
            .args(["--ignored", "--exact", "agent::faults::steps::victim"])
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
