//! `kubectl seccomp completion`: completion in shells, and through kubectl's own.

mod names;

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::{Arg, Args, Command, ValueEnum};
use clap_complete::Shell;

use super::{Failure, Findings, output};
use names::{Names, Where};

/// Arguments of `completion`.
#[derive(Args, Debug)]
pub struct CompletionArgs {
    /// The shell, or kubectl.
    #[arg(value_enum)]
    shell: For,
}

/// Who completes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum For {
    /// bash, for the command `kubectl-seccomp`.
    Bash,
    /// zsh, for the command `kubectl-seccomp`.
    Zsh,
    /// fish, for the command `kubectl-seccomp`.
    Fish,
    /// kubectl itself, for `kubectl seccomp` in any shell that completes kubectl.
    Kubectl,
}

/// Shown below the options.
pub const EXAMPLES: &str = "\
Examples:
  # `kubectl seccomp <TAB>`, where kubectl itself is completed: a file of this very name in the PATH
  kubectl seccomp completion kubectl >~/bin/kubectl_complete-seccomp && chmod +x ~/bin/kubectl_complete-seccomp

  # `kubectl-seccomp <TAB>` in bash, zsh and fish
  source <(kubectl-seccomp completion bash)
  kubectl-seccomp completion zsh >\"${fpath[1]}/_kubectl-seccomp\"
  kubectl-seccomp completion fish >~/.config/fish/completions/kubectl-seccomp.fish";

/// The program's name, by which kubectl finds it.
pub const BINARY: &str = "kubectl-seccomp";

/// kubectl runs a program of the plugin's name, and expects what programs made with cobra answer to `__complete`.
const FOR_KUBECTL: &str = "#!/bin/sh\nexec kubectl-seccomp __complete \"$@\"\n";

/// Prints the script.
pub fn script(args: &CompletionArgs, command: Command) -> Result<Findings, Failure> {
    let shell = match args.shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
        For::Kubectl => return print(FOR_KUBECTL.as_bytes()),
    };
    let mut script = vec![];
    clap_complete::generate(shell, &mut command.bin_name(BINARY), BINARY, &mut script);
    print(&script)
}

fn print(bytes: &[u8]) -> Result<Findings, Failure> {
    output::print(bytes)?;
    Ok(Findings::None)
}

/// The words of the command line so far, if that is what kubectl asks about. No command of its own: shells would offer
/// it.
pub fn asked(args: impl IntoIterator<Item = OsString>) -> Option<Vec<String>> {
    let mut args = args.into_iter().skip(1);
    let is_asked = args.next()? == "__complete";
    is_asked.then(|| args.map(|a| a.to_string_lossy().into_owned()).collect())
}

/// Prints what the last word may become.
pub fn complete(words: &[String], command: &mut Command) -> Result<Findings, Failure> {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    command.build();
    print(answer(&words, command, names::ask).as_bytes())
}

/// In cobra's words: a candidate a line, a tab, what it is; in the end what else may be there. `ask` gives names that the program itself
/// does not know.
fn answer(
    words: &[&str],
    command: &Command,
    ask: impl Fn(&Names, &Where) -> Vec<String>,
) -> String {
    const FILES_TOO: &str = ":0\n";
    const NOTHING_ELSE: &str = ":4\n";

    let (last, before) = words.split_last().unwrap_or((&"", &[]));
    let chosen = before
        .first()
        .and_then(|name| command.find_subcommand(name));
    let Some(chosen) = chosen else {
        let names = command
            .get_subcommands()
            .map(|c| (c.get_name().to_owned(), c.get_about()));
        return lines(names, last) + NOTHING_ELSE;
    };
    let takes_value = |arg: &&Arg| arg.get_action().takes_values();
    let named = |word: &str| {
        chosen.get_arguments().find(|arg| {
            let short = arg.get_short().map(|s| format!("-{s}"));
            let long = arg.get_long().map(|l| format!("--{l}"));
            [short, long].iter().flatten().any(|name| name == word)
        })
    };
    let at = Where {
        kubeconfig: stated(before, "--kubeconfig", None),
        context: stated(before, "--context", None),
        namespace: stated(before, "--namespace", Some("-n")),
    };
    // What is no option and no option's value.
    let mut plain = before.iter().enumerate().skip(1).filter(|(i, word)| {
        let is_value = named(before[i - 1]).is_some_and(|arg| takes_value(&arg));
        !word.starts_with('-') && !is_value
    });
    let first = plain.next().map(|(_, word)| *word);
    let values = |arg: &Arg| {
        let values: Vec<_> = arg.get_possible_values();
        let known = values
            .iter()
            .map(|v| (v.get_name().to_owned(), v.get_help().cloned()));
        let asked = Names::of(chosen.get_name(), arg.get_id().as_str(), first);
        let asked = asked.map(|names| ask(&names, &at)).unwrap_or_default();
        known
            .chain(asked.into_iter().map(|name| (name, None)))
            .collect::<Vec<_>>()
    };
    if let Some(option) = before.last().and_then(|w| named(w)).filter(takes_value) {
        let found = lines(values(option), last);
        return if found.is_empty() {
            FILES_TOO.into()
        } else {
            found + NOTHING_ELSE
        };
    }
    if let Some((option, value)) = last.split_once('=')
        && let Some(option) = named(option).filter(takes_value)
    {
        let found = values(option)
            .into_iter()
            .filter(|(name, _)| name.starts_with(value));
        let long = option.get_long().unwrap_or_default();
        let found = found.map(|(name, help)| (format!("--{long}={name}"), help));
        return lines(found, last) + NOTHING_ELSE;
    }
    if last.starts_with('-') {
        let options = chosen.get_arguments().filter(|a| !a.is_hide_set());
        let options = options.filter_map(|a| Some((format!("--{}", a.get_long()?), a.get_help())));
        return lines(options, last) + NOTHING_ELSE;
    }
    let positional = chosen.get_positionals().next();
    let takes_more = positional.is_some_and(|arg| {
        first.is_none()
            || arg
                .get_num_args()
                .is_some_and(|range| range.max_values() > 1)
    });
    let positional = positional.filter(|_| takes_more);
    let found = lines(positional.map(values).unwrap_or_default(), last);
    if found.is_empty() {
        FILES_TOO.into()
    } else {
        found + NOTHING_ELSE
    }
}

/// The value of an option, if it is there.
fn stated(words: &[&str], long: &str, short: Option<&str>) -> Option<String> {
    let after = |(i, word): (usize, &&str)| {
        if *word == long || Some(*word) == short {
            return words.get(i + 1).map(|value| (*value).to_owned());
        }
        let (name, value) = word.split_once('=')?;
        (name == long).then(|| value.to_owned())
    };
    words.iter().enumerate().find_map(after)
}

fn lines<H: ToString>(
    candidates: impl IntoIterator<Item = (String, Option<H>)>,
    start: &str,
) -> String {
    let mut out = String::new();
    for (name, help) in candidates.into_iter().filter(|(n, _)| n.starts_with(start)) {
        let help = help.map(|h| h.to_string()).unwrap_or_default();
        let first = help.lines().next().unwrap_or("");
        let _ = writeln!(out, "{name}\t{first}");
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// The candidates, where the cluster has what was asked for under the name that Rust gives it.
    fn candidates(words: &[&str]) -> String {
        let mut command = crate::Cli::command();
        command.build();
        answer(words, &command, |names, at| {
            let place = at.namespace.as_deref().or(at.context.as_deref());
            vec![format!("{names:?}@{}", place.unwrap_or("default"))]
        })
    }

    #[test]
    fn names_of_the_cluster_are_offered_where_they_are_meant() {
        for (words, expected) in [
            (&["status", ""][..], "Profiles@default"),
            (&["status", "--context", "c", ""], "Profiles@c"),
            (&["status", "--context", ""], "Contexts@default"),
            (&["coverage", "-n", ""], "Namespaces@default"),
            (
                &["coverage", "--namespace="],
                "--namespace=Namespaces@default",
            ),
            (
                &["coverage", "-A", "--exclude-namespace", ""],
                "Namespaces@default",
            ),
            (&["probe", "-n", "shop", ""], "Pods@shop"),
            (
                &["probe", "web", "-n", "shop", "-c", ""],
                "Containers(\"web\")@shop",
            ),
            (&["why", "-n", "shop", ""], "Pods@shop"),
            (&["denials", "-n", "shop", ""], "Pods@shop"),
            (&["denials", "-A", "--profile", ""], "Profiles@default"),
            (&["record", "--namespace=shop", ""], "Workloads@shop"),
            (&["record", "--from", ""], "Recordings@default"),
        ] {
            let found = candidates(words);
            assert_eq!(found, format!("{expected}\t\n:4\n"), "{words:?}");
        }
        // One name is enough, and files stay files.
        assert_eq!(candidates(&["status", "web", ""]), ":0\n");
        assert_eq!(candidates(&["lint", ""]), ":0\n");
    }
}
