//! What commands that read profiles make of what they are given: manifests of all kinds, bases that are elsewhere, names of objects and
//! of groups.
#![allow(clippy::unwrap_used)]

mod tool;

use tool::{NO_CHMOD, NODE, STANDING, lint, printed, run, stderr};

#[test]
fn manifests_of_all_kinds_are_linted_together() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let policy = |profile: &str| {
        format!(
            "apiVersion: seccomp-operator.io/v1alpha1\nkind: SeccompPolicy\nmetadata: {{name: shop}}\nspec:\n  profile: {profile}\n"
        )
    };
    let profile = file("profile.yaml", STANDING);
    let deployment = file(
        "deployment.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n",
    );
    let good = file("good.yaml", &policy("{type: Localhost, name: web}"));
    let nameless = file("nameless.yaml", &policy("{type: Localhost}"));
    let typo = file("typo.yaml", &policy("{typ: RuntimeDefault}"));

    let fine = lint(&["--fail-on", "error", &profile, &deployment, &good], "");
    assert_eq!(fine.status.code(), Some(0), "{}", printed(&fine));
    assert!(
        printed(&fine)
            .contains("note     holds no profile, only Deployment of apps/v1 [no-profile]"),
        "{}",
        printed(&fine)
    );
    assert!(printed(&fine).contains("good.yaml (SeccompPolicy shop): nothing found"));

    for (wrong, said) in [
        (
            &nameless,
            "spec.profile.name: must be set when type is Localhost [invalid]",
        ),
        (&typo, "spec.profile.typ: there is no such field [invalid]"),
    ] {
        let output = lint(&["--fail-on", "error", &profile, wrong], "");
        assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
        assert!(printed(&output).contains(said), "{}", printed(&output));
    }
    let nothing = lint(&[&deployment], "");
    assert_eq!(nothing.status.code(), Some(2));
    assert!(
        stderr(&nothing)
            .starts_with("error: there is no profile, no SeccompPolicy and no SeccompCeiling in "),
        "{}",
        stderr(&nothing)
    );
}

#[test]
fn a_group_is_asked_about_call_by_call() {
    let output = run(
        &[&["explain", "--call", "@chmod"], &NODE[..]].concat(),
        NO_CHMOD,
    );
    let said = printed(&output);
    for call in ["chmod", "fchmod", "fchmodat", "fchmodat2"] {
        let line = said.lines().find(|line| {
            line.split_whitespace()
                .any(|word| word.trim_end_matches(':') == call)
        });
        let line = line.unwrap();
        assert_eq!(line.contains("EPERM"), call == "chmod", "{line}");
    }
    let wrong = run(
        &[&["explain", "--call", "@chmode"], &NODE[..]].concat(),
        NO_CHMOD,
    );
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_base_that_is_in_the_cluster_only_is_asked_for() {
    let standing = "apiVersion: seccomp-operator.io/v1alpha1\nkind: SeccompProfile\nmetadata: {name: web}\nspec: {base: company}\n";
    for command in ["explain", "lint", "convert"] {
        let output = run(&[&[command], &NODE[..]].concat(), standing);
        let said = (printed(&output) + &stderr(&output))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in [
            "\"company\" is neither a built-in nor in the files that were given",
            "kubectl get seccompprofiles -o yaml >all.yaml, and --with all.yaml",
        ] {
            assert!(said.contains(part), "{command}: {said}");
        }
    }
    let misspelt = run(
        &[&["explain"], &NODE[..]].concat(),
        standing.replace("company", "runtime-defualt"),
    );
    assert!(
        stderr(&misspelt).contains("write \"runtime-default\""),
        "{}",
        stderr(&misspelt)
    );
    let name = run(&[&["explain"], &NODE[..], &["no-chmod"]].concat(), "");
    assert_eq!(name.status.code(), Some(2));
    assert!(
        stderr(&name)
            .contains("kubectl get seccompprofile no-chmod -o yaml | kubectl seccomp ... -"),
        "{}",
        stderr(&name)
    );
}
