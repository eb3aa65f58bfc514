//! The kubectl plugin `kubectl seccomp`, which is also an offline tool.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubectl_seccomp::main()
}
