//! From a trace to a SeccompProfile that is changed by hand: `from-strace -o manifest`, as the examples of its help do it.
#![allow(clippy::unwrap_used)]

mod tool;

use tool::{run, stdout};

const STRACE: &str = r#"100 execve("/bin/server", ["server"], 0x7ffc /* 20 vars */) = 0
100 openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3
100 read(3, "root"..., 4096) = 4
100 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 101
100 close(3) = 0
100 +++ exited with 0 +++
"#;

#[test]
fn a_manifest_lints_clean_and_takes_changes_beside_its_profile() {
    let manifest = stdout(&run(
        &["from-strace", "-o", "manifest", "--name", "server"],
        STRACE,
    ));
    assert!(
        manifest.contains("kind: SeccompProfile") && manifest.contains("name: server"),
        "{manifest}"
    );
    let lint = |text: &str| {
        let linted = run(&["lint", "-"], text);
        assert_eq!(linted.status.code(), Some(0), "{text}{linted:?}");
        let said = String::from_utf8(linted.stdout).unwrap();
        assert!(
            !said.contains("warning") && !said.contains("error"),
            "{said}"
        );
    };
    lint(&manifest);
    // As the examples of the help and of the README do it.
    let changed = manifest + "  allow: [getrandom]\n  deny: [ptrace]\n";
    lint(&changed);
    let explained = stdout(&run(&["explain", "--call", "getrandom", "-"], &changed));
    assert!(explained.contains("allow"), "{explained}");
    let explained = stdout(&run(&["explain", "--call", "ptrace", "-"], &changed));
    assert!(explained.contains("EPERM"), "{explained}");
    // New calls have to tell programs that there are older ones.
    let explained = stdout(&run(&["explain", "--call", "openat2", "-"], &changed));
    assert!(
        explained.contains("allow") || explained.contains("ENOSYS"),
        "{explained}"
    );
    let named = stdout(&run(&["from-strace", "-o", "manifest"], STRACE));
    assert!(named.contains("\n  name: "), "{named}");
    for args in [
        &["--name", "server"][..],
        &["-o", "manifest", "--name", "No_Name"],
    ] {
        let refused = run(&[&["from-strace"], args].concat(), STRACE);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
}
