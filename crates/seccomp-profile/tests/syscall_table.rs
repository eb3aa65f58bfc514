//! Makes `src/syscall/table.rs` from the kernel's own headers, and says when it no longer matches them.
//!
//! `LINUX_UAPI_HEADERS` names unpacked kernel header packages, newest first, separated by `:`; Debian's
//! `linux-libc-dev` (architecture `all`, from 6.12 on) has the headers of every architecture in one package. More
//! than one, because newer kernels drop architectures (7.x has no 31-bit s390) that runtimes still know.
//! With `UPDATE_SYSCALL_TABLE=1` as well the table is written instead of compared:
//!
//! ```sh
//! apt-get download linux-libc-dev && dpkg-deb -x linux-libc-dev_*_all.deb /tmp/uapi
//! LINUX_UAPI_HEADERS=/tmp/uapi UPDATE_SYSCALL_TABLE=1 cargo test -p seccomp-profile --test syscall_table
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The columns, in the order of `Abi` in `syscall/mod.rs`: the header, the macro prefix, and the symbols that stand
/// for the number base of that ABI.
#[allow(clippy::type_complexity)] // one table, read once
const COLUMNS: &[(&str, &[(&str, &str)], &[(&str, u32)])] = &[
    ("x86", &[("x86/asm/unistd_32.h", "__NR_")], &[]),
    ("x86_64", &[("x86/asm/unistd_64.h", "__NR_")], &[]),
    (
        "x32",
        &[("x86/asm/unistd_x32.h", "__NR_")],
        &[("__X32_SYSCALL_BIT", 0x4000_0000)],
    ),
    (
        "arm",
        &[
            ("arm/asm/unistd-eabi.h", "__NR_"),
            ("arm/asm/unistd.h", "__ARM_NR_"),
        ],
        &[("__NR_SYSCALL_BASE", 0), ("__ARM_NR_BASE", 0x000f_0000)],
    ),
    ("aarch64", &[("arm64/asm/unistd_64.h", "__NR_")], &[]),
    (
        "loongarch64",
        &[("loongarch/asm/unistd_64.h", "__NR_")],
        &[],
    ),
    (
        "mips",
        &[("mips/asm/unistd_o32.h", "__NR_")],
        &[("__NR_Linux", 4000)],
    ),
    (
        "mips64",
        &[("mips/asm/unistd_n64.h", "__NR_")],
        &[("__NR_Linux", 5000)],
    ),
    (
        "mips64n32",
        &[("mips/asm/unistd_n32.h", "__NR_")],
        &[("__NR_Linux", 6000)],
    ),
    ("ppc", &[("powerpc/asm/unistd_32.h", "__NR_")], &[]),
    ("ppc64", &[("powerpc/asm/unistd_64.h", "__NR_")], &[]),
    ("riscv64", &[("riscv/asm/unistd_64.h", "__NR_")], &[]),
    ("s390", &[("s390/asm/unistd_32.h", "__NR_")], &[]),
    ("s390x", &[("s390/asm/unistd_64.h", "__NR_")], &[]),
];

/// Second names of a call: the kernel's header defines them as aliases, outside the files read above.
const ALIASES: &[(&str, &str, &str)] = &[("arm", "sync_file_range2", "arm_sync_file_range")];

/// Architectures that libseccomp knows and container runtimes do not: their calls are known names without a number.
const NAMES_ONLY: &[&str] = &[
    "m68k/asm/unistd_32.h",
    "parisc/asm/unistd_32.h",
    "parisc/asm/unistd_64.h",
    "sh/asm/unistd_32.h",
];

type Numbers = BTreeMap<String, Vec<Option<u32>>>;

fn read_number(text: &str, bases: &[(&str, u32)]) -> Option<u32> {
    let text = text
        .split("/*")
        .next()?
        .trim()
        .trim_start_matches('(')
        .trim_end_matches(')');
    let mut sum = 0;
    for term in text.split('+').map(str::trim) {
        sum += match bases.iter().find(|(symbol, _)| *symbol == term) {
            Some((_, base)) => *base,
            None => term.parse().ok()?,
        };
    }
    Some(sum)
}

/// Headers also hold limits (`__NR_Linux_syscalls`) and the numbers that old kernels left unused.
fn is_a_call(name: &str) -> bool {
    let numbered = |prefix| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
    };
    name != "syscalls"
        && !name.bytes().any(|b| b.is_ascii_uppercase())
        && !numbered("reserved")
        && !numbered("unused")
}

fn collect(roots: &[PathBuf]) -> Numbers {
    let mut numbers = Numbers::new();
    for (column, (_, headers, bases)) in COLUMNS.iter().enumerate() {
        for (header, prefix) in *headers {
            // The newest kernel that has the header decides a number; older ones add the names that it dropped.
            for root in roots {
                let Ok(text) =
                    std::fs::read_to_string(root.join("usr/lib/linux/uapi").join(header))
                else {
                    continue;
                };
                for line in text.lines() {
                    let Some((name, value)) = line
                        .strip_prefix("#define ")
                        .and_then(|rest| rest.strip_prefix(prefix))
                        .and_then(|rest| rest.split_once([' ', '\t']))
                    else {
                        continue;
                    };
                    if !is_a_call(name) {
                        continue;
                    }
                    let Some(number) = read_number(value, bases) else {
                        continue;
                    };
                    numbers
                        .entry(name.to_owned())
                        .or_insert_with(|| vec![None; COLUMNS.len()])[column]
                        .get_or_insert(number);
                }
            }
        }
    }
    for (abi, alias, name) in ALIASES {
        let column = COLUMNS
            .iter()
            .position(|(known, _, _)| known == abi)
            .unwrap();
        let number = numbers[*name][column];
        numbers
            .entry((*alias).to_owned())
            .or_insert_with(|| vec![None; COLUMNS.len()])[column] = number;
    }
    for header in NAMES_ONLY {
        let Ok(text) = std::fs::read_to_string(roots[0].join("usr/lib/linux/uapi").join(header))
        else {
            continue;
        };
        for name in text.lines().filter_map(|line| {
            line.strip_prefix("#define __NR_")?
                .split([' ', '\t'])
                .next()
        }) {
            if is_a_call(name) {
                numbers
                    .entry(name.to_owned())
                    .or_insert_with(|| vec![None; COLUMNS.len()]);
            }
        }
    }
    numbers
}

fn version(root: &Path) -> String {
    let text = std::fs::read_to_string(root.join("usr/include/linux/version.h")).unwrap();
    let part = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.contains(&format!("LINUX_VERSION_{name} ")))
            .unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    format!("{}.{}", part("MAJOR"), part("PATCHLEVEL"))
}

fn render(roots: &[PathBuf]) -> String {
    let numbers = collect(roots);
    let versions: Vec<_> = roots.iter().map(|root| version(root)).collect();
    let mut out = String::new();
    writeln!(
        out,
        "//! Generated by `tests/syscall_table.rs` from the headers of Linux {}; do not edit.",
        versions.join(", ")
    )
    .unwrap();
    out.push_str("//!\n//! One line a name, sorted; one column an ABI; `N` where the ABI has no such call.\n\n");
    writeln!(out, "/// The newest kernel whose headers were read.").unwrap();
    writeln!(out, "pub const KERNEL: &str = \"{}\";", versions[0]).unwrap();
    writeln!(out, "/// Stands for \"this ABI has no such call\".").unwrap();
    writeln!(out, "pub(super) const N: u32 = u32::MAX;\n").unwrap();
    writeln!(out, "#[rustfmt::skip]").unwrap();
    writeln!(
        out,
        "pub(super) static TABLE: [(&str, [u32; {}]); {}] = [",
        COLUMNS.len(),
        numbers.len()
    )
    .unwrap();
    let names: Vec<_> = COLUMNS.iter().map(|(name, _, _)| *name).collect();
    writeln!(out, "    // {}", names.join(", ")).unwrap();
    for (name, row) in &numbers {
        let row: Vec<_> = row
            .iter()
            .map(|n| {
                n.map_or("N".to_owned(), |n| {
                    if n >= 0x10000 {
                        format!("0x{:04x}_{:04x}", n >> 16, n & 0xffff)
                    } else {
                        n.to_string()
                    }
                })
            })
            .collect();
        writeln!(out, "    (\"{name}\", [{}]),", row.join(", ")).unwrap();
    }
    out.push_str("];\n");
    out
}

#[test]
fn the_table_is_what_the_kernel_headers_say() {
    let Some(roots) = std::env::var_os("LINUX_UAPI_HEADERS") else {
        eprintln!("skipped: LINUX_UAPI_HEADERS does not name unpacked kernel headers");
        return;
    };
    let roots: Vec<_> = std::env::split_paths(&roots).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/syscall/table.rs");
    let made = render(&roots);
    if std::env::var_os("UPDATE_SYSCALL_TABLE").is_some() {
        std::fs::write(&path, made).unwrap();
    } else {
        assert!(
            std::fs::read_to_string(&path).unwrap() == made,
            "{} is not what the headers say",
            path.display()
        );
    }
}
