//! Reads a profile, by default Docker's own, resolves it for an amd64 node, asks what happens to three calls, and prints the
//! profile as the runtime should get it.
//!
//! ```console
//! $ cargo run --example decide                      # Docker's default profile
//! $ cargo run --example decide -- my-profile.json   # a file, in Docker's format or the runtime-spec's
//! ```

use std::error::Error;
use std::io::Write as _;

use seccomp_profile::{
    Arch, ArgIndex, Arguments, CapabilitySet, DOCKER_DEFAULT, KernelVersion, Syscall, Target,
    builtin, parse_slice,
};

/// `AF_ALG`, the kernel's crypto interface, from `linux/socket.h`.
const AF_ALG: u64 = 38;

fn main() -> Result<(), Box<dyn Error>> {
    // 1. Read. What is wrong with a document is said with its path in it and a remedy; all of it at once.
    let document = match std::env::args_os().nth(1) {
        Some(path) => parse_slice(&std::fs::read(path)?, "")?,
        None => builtin(DOCKER_DEFAULT).ok_or("no such built-in")?.clone(),
    };

    // 2. Resolve: `includes`, `excludes` and `archMap` are decided for one kind of node and container.
    let target = Target {
        arch: Arch::X86_64,
        kernel: KernelVersion::CURRENT,
        capabilities: CapabilitySet::RUNTIME_DEFAULT,
    };
    let profile = document.resolve(&target);

    // 3. Ask what the filter does that runc makes of it.
    let model = profile.model()?;
    let first = |value| Arguments::ZEROS.with(ArgIndex::FIRST, value);
    for (name, args) in [
        ("read", Arguments::ZEROS),
        ("mount", Arguments::ZEROS),
        ("socket", first(AF_ALG)),
    ] {
        let call = Syscall::named(name).ok_or("no such system call")?;
        let number = call.number(target.arch).ok_or("not on amd64")?;
        let action = model.decide_under_runc(target.arch, number, &args);
        eprintln!("{name}({:#x}, ...): {action}", args.get(ArgIndex::FIRST));
    }

    // 4. Write: rules that libseccomp combines as meant, always the same bytes for the same profile.
    let canonical = profile.canonical("")?;
    std::io::stdout().write_all(&canonical.to_canonical_json())?;
    Ok(())
}
