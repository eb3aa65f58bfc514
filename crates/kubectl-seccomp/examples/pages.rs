//! Writes what a package of the plugin has beside the binary: a man page for each command, and completions for shells.
//!
//!     cargo run -p kubectl-seccomp --example pages -- DIRECTORY
#![allow(missing_docs)]

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap_complete::Shell;

fn main() -> anyhow::Result<()> {
    let directory: PathBuf = std::env::args_os()
        .nth(1)
        .context("say where to write to")?
        .into();
    let (pages, completions) = (directory.join("man/man1"), directory.join("completions"));
    for folder in [&pages, &completions] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    // `help` has no page of its own.
    let command = kubectl_seccomp::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command.clone(), &pages).context("cannot write man pages")?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut command = command.clone();
        clap_complete::generate_to(shell, &mut command, kubectl_seccomp::BINARY, &completions)
            .with_context(|| format!("cannot write completions for {shell}"))?;
    }
    Ok(())
}
