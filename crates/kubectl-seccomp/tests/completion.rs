//! `kubectl-seccomp completion`: what shells and kubectl make of it.
#![allow(clippy::unwrap_used)]

mod tool;

use std::process::Command;

use tool::{run, stdout};

fn say(args: &[&str]) -> String {
    stdout(&run(args, ""))
}

/// The candidates for the last of these words, and the word for what else may be there.
fn complete(words: &[&str]) -> (Vec<String>, String) {
    let text = say(&[&["__complete"], words].concat());
    let mut lines: Vec<_> = text
        .lines()
        .map(|l| l.split('\t').next().unwrap().to_owned())
        .collect();
    let last = lines.pop().unwrap();
    (lines, last)
}

#[test]
fn kubectl_learns_what_a_word_may_become() {
    let only = |words: &[&str]| {
        let (found, rest) = complete(words);
        assert_eq!(rest, ":4", "{words:?}");
        found
    };
    let files = (Vec::<String>::new(), ":0".to_owned());
    assert_eq!(only(&["from-"]), ["from-strace", "from-audit"]);
    assert!(only(&[""]).contains(&"probe".to_owned()) && only(&["__"]).is_empty());
    assert_eq!(only(&["from-strace", "--ru"]), ["--runtime"]);
    assert_eq!(
        only(&["from-strace", "--runtime", ""]),
        ["runc", "crun", "none"]
    );
    assert_eq!(only(&["from-audit", "x", "-o", "p"]), ["profile"]);
    assert_eq!(only(&["from-audit", "--output=n"]), ["--output=names"]);
    assert_eq!(only(&["completion", "k"]), ["kubectl"]);
    assert_eq!(complete(&["from-audit", "/var/lo"]), files);
    assert_eq!(complete(&["from-audit", "--exe", "/bi"]), files);
}

#[test]
fn kubectl_runs_the_script_as_it_is() {
    assert!(
        say(&["completion", "kubectl"]).starts_with("#!/bin/sh\nexec kubectl-seccomp __complete ")
    );
}

/// Whether a shell reads the script without complaint and then says yes to a question.
fn shell_accepts(shell: &str, question: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("script");
    std::fs::write(&path, say(&["completion", shell])).unwrap();
    let command = question.replace("SCRIPT", path.to_str().unwrap());
    let output = match Command::new(shell).args(["-c", &command]).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("skipped: {shell}: {error}"),
    };
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn shells_take_their_scripts() {
    shell_accepts(
        "bash",
        "source SCRIPT && COMP_WORDS=(kubectl-seccomp from-s) COMP_CWORD=1 && \
         _kubectl__seccomp kubectl-seccomp from-s kubectl-seccomp && [ \"$COMPREPLY\" = from-strace ]",
    );
    shell_accepts("zsh", "zsh -n SCRIPT");
    shell_accepts(
        "fish",
        "source SCRIPT; complete -C 'kubectl-seccomp from-s' | string match -q 'from-strace*'",
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            !say(&["completion", shell]).contains("__complete"),
            "{shell}"
        );
    }
}
