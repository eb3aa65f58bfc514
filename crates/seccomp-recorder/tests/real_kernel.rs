//! Containers that runc starts are recorded, with processes killed and replaced meanwhile.
//!
//! Needs root and runc. What is missing is said, loudly, and nothing tested.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod place;

use std::path::Path;
use std::time::{Duration, Instant};

use place::{FORGETFUL, PATIENCE, Place, base, host, raw, target};
use seccomp_profile::{Reporting, Syscall};
use seccomp_recorder::Versions;
use serde_json::{Value, json};

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
        "tried",
        what_the_next_version_would_refuse_happens_and_is_counted_and_nothing_else,
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
    if let Some(role) = place::role() {
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

/// What the tests start beside holder and recorder: the programs in containers.
fn play(role: &str) {
    let words: Vec<_> = role.split(' ').collect();
    match words[..] {
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

fn what_the_next_version_would_refuse_happens_and_is_counted_and_nothing_else() {
    let Some(place) = Place::new() else { return };
    let _holder = place.hold();
    let _recorder = place.record("one");
    let now = base();
    // The same without these: `socket` for but one family.
    let mut document: Value = serde_json::from_slice(&now.to_canonical_json()).unwrap();
    let rules = document["syscalls"].as_array_mut().unwrap();
    for rule in rules.iter_mut() {
        let names = rule["names"].as_array_mut().unwrap();
        names.retain(|name| !["mkdirat", "socket"].contains(&name.as_str().unwrap()));
    }
    rules.retain(|rule| rule["names"] != json!([]));
    let family = json!({"index": 0, "op": "SCMP_CMP_EQ", "value": 1});
    rules.push(json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [family]}));
    let next = seccomp_profile::parse(&document, "").unwrap();
    let next = next.resolve(&target()).canonical("").unwrap();
    let versions = Versions {
        now: &now.canonical("").unwrap(),
        next: &next,
        reporting: Reporting::Notify,
        observed: false,
    };
    let socket = place.path("notify.sock");
    let trial = versions.trial().unwrap();
    let profile = versions.profile(&trial, socket.to_str().unwrap(), "trial:a");
    let container = place.run_under(&profile.unwrap().unwrap(), "a", "calls");
    place.wait("the last call", "one", |said| {
        of(said, false)["calls"]["socket"] == 2
    });
    place.exec("a", "exec");
    container.succeeds();
    let said = place.wait("the end", "one", has_ended);
    let init = of(&said, false);
    // The program has seen that what the version in force refuses was refused.
    assert_eq!(init["calls"], json!({"mkdirat": 3, "socket": 2}));
    assert_eq!(init["refused"], json!({}));
    assert_eq!(init["socket"], json!([[2], [1]]));
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
