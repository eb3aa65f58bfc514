//! Traces as strace prints them, and the calls that they hold.

use super::processes::{MAX_PROCESSES, MAX_SPAWNING};
use super::*;

/// The calls of a trace, and how many of its lines were not understood.
fn trace(native: Arch, files: &[(&str, &str)]) -> (Vec<String>, usize) {
    let mut reader = Reader::new(native);
    let (mut calls, mut unreadable) = (vec![], 0);
    for (name, text) in files {
        reader.begin(name);
        for line in text.lines() {
            let seen = reader.read(line, &mut |call| {
                let times = if call.times == 1 {
                    String::new()
                } else {
                    format!(" x{}", call.times)
                };
                calls.push(format!("{call}{times}"));
            });
            unreadable += usize::from(seen == Seen::Unreadable);
        }
    }
    (calls, unreadable)
}

fn amd64(text: &str) -> Vec<String> {
    let (calls, unreadable) = trace(Arch::X86_64, &[("trace", text)]);
    assert_eq!(unreadable, 0, "{text}");
    calls
}

#[test]
fn a_call_is_found_behind_whatever_strace_puts_before_it() {
    for (line, want) in [
        (
            "openat(AT_FDCWD, \"/etc/passwd\", O_RDONLY|O_CLOEXEC) = 3",
            "amd64 openat - - -",
        ),
        (
            "getpid()                                = 12",
            "amd64 getpid - - -",
        ),
        ("12 getpid() = 12", "amd64 getpid 12 - -"),
        ("12    getpid() = 12", "amd64 getpid 12 - -"),
        ("[pid    12] getpid() = 12", "amd64 getpid 12 - -"),
        ("[pid    12<sh>] getpid() = 12<sh>", "amd64 getpid 12 sh -"),
        ("12<my [app> getpid() = 12", "amd64 getpid 12 my [app -"),
        ("12 06:51:10 getpid() = 12", "amd64 getpid 12 - -"),
        ("12 06:51:10.123456 getpid() = 12", "amd64 getpid 12 - -"),
        ("12 1795474870.398123 getpid() = 12", "amd64 getpid 12 - -"),
        ("12 1795474870 getpid() = 12", "amd64 getpid 12 - -"),
        ("1795474870.398123 getpid() = 12", "amd64 getpid - - -"),
        (
            "12      0.000012 getpid() = 12 <0.000004>",
            "amd64 getpid 12 - -",
        ),
        (
            "12 06:51:10 (+     0.000012) getpid() = 12",
            "amd64 getpid 12 - -",
        ),
        ("[00007f0f3ed9ac44] getpid() = 12", "amd64 getpid - - -"),
        ("[pid 12] [  39] getpid() = 12", "amd64 getpid 12 - -"),
        ("12 [docker-default] getpid() = 12", "amd64 getpid 12 - -"),
        (
            "12 syscall_0x1ce(0, 0, 0) = -1 ENOSYS (Function not implemented)",
            "amd64 mseal 12 - -",
        ),
        (
            "12 syscall_0x3e7(0, 0, 0) = -1 ENOSYS (Function not implemented)",
            "amd64 999 12 - -",
        ),
        ("12 exit_group(0) = ?", "amd64 exit_group 12 - -"),
        (
            "12 futex(0x7f, FUTEX_WAIT, 1, NULL <unfinished ...>",
            "amd64 futex 12 - -",
        ),
        (
            "12 restart_syscall(<... resuming interrupted read ...>) = 0",
            "amd64 restart_syscall 12 - -",
        ),
        (
            "12 write(1, \"a) = 5\\n <unfinished ...>\", 24) = 24",
            "amd64 write 12 - -",
        ),
        (
            "12 pause() = ? ERESTARTNOHAND (To be restarted if no handler)",
            "amd64 pause 12 - -",
        ),
    ] {
        assert_eq!(amd64(line), [want], "{line}");
    }
}

#[test]
fn what_strace_says_besides_calls_is_silent() {
    for line in [
        "",
        "12 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=13} ---",
        "12 --- stopped by SIGSTOP ---",
        "12 +++ exited with 0 +++",
        "[pid 12] +++ killed by SIGSYS (core dumped) +++",
        "strace: Process 13 attached",
        "Process 13 attached (waiting for parent)",
        "strace: Process 13 detached",
        " <detached ...>",
        " > /usr/lib/x86_64-linux-gnu/libc.so.6(__read+0x12) [0x10e1f2]",
        "????( <unfinished ...>",
        ", child_tidptr=0x7f5) = 13",
    ] {
        assert_eq!(amd64(line), [""; 0], "{line}");
    }
}

#[test]
fn what_a_traced_program_prints_between_is_not_taken_for_calls() {
    for line in [
        "hello, world",
        "f(x) = 3",
        "total 12",
        "12",
        "drwxr-xr-x 2 root root 40 Nov 24 tmp",
        "printf(\"x\")",
    ] {
        assert_eq!(trace(Arch::X86_64, &[("t", line)]), (vec![], 1), "{line}");
    }
}

#[test]
fn an_interrupted_line_is_one_call() {
    let calls = amd64(
        "\
12 read(0,  <unfinished ...>
13 wait4(-1,  <unfinished ...>
12 <... read resumed>\"a\", 1) = 1
13 <... wait4 resumed>NULL, 0, NULL) = 12
14 <... nanosleep resumed>NULL) = 0
",
    );
    assert_eq!(
        calls,
        [
            "amd64 read 12 - -",
            "amd64 wait4 13 - -",
            "amd64 nanosleep 14 - -"
        ]
    );
}

#[test]
fn programs_are_followed_through_forks_and_executions() {
    let calls = amd64("\
100 execve(\"/bin/sh\", [\"sh\", \"-c\", \"ls; true\"], 0x7ffe /* 9 vars */) = 0
100 brk(NULL) = 0x55
100 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID <unfinished ...>
101 getpid( <unfinished ...>
100 <... clone resumed>, child_tidptr=0x7f) = 101
101 <... getpid resumed>) = 101
101 execve(\"/usr/bin/nosuch\", [\"ls\"], 0x55 /* 9 vars */) = -1 ENOENT (No such file or directory)
101 execve(\"/usr/bin/a-name-longer-than-the-kernel-keeps\", [\"ls\"], 0x55 /* 9 vars */ <unfinished ...>
100 wait4(-1,  <unfinished ...>
101 <... execve resumed>) = 0
101 exit_group(0) = ?
101 +++ exited with 0 +++
100 <... wait4 resumed>[{WIFEXITED(s)}], 0, NULL) = 101
");
    let long = "a-name-longer-t /usr/bin/a-name-longer-than-the-kernel-keeps";
    assert_eq!(
        calls,
        [
            "amd64 execve 100 - -",
            "amd64 brk 100 sh /bin/sh",
            "amd64 clone 100 sh /bin/sh",
            "amd64 getpid 101 sh /bin/sh",
            "amd64 execve 101 sh /bin/sh",
            "amd64 execve 101 sh /bin/sh",
            "amd64 wait4 100 sh /bin/sh",
            &format!("amd64 exit_group 101 {long}"),
        ]
    );
}

#[test]
fn the_first_process_gets_its_number_when_it_is_no_longer_alone() {
    let calls = amd64(
        "\
execve(\"/bin/sh\", [\"sh\"], 0x7ffe /* 9 vars */) = 0
vfork(strace: Process 101 attached
 <unfinished ...>
[pid   101] getpid() = 101
[pid   100] <... vfork resumed>) = 101
[pid   100] getppid() = 1
",
    );
    assert_eq!(
        calls,
        [
            "amd64 execve - - -",
            "amd64 vfork - sh /bin/sh",
            "amd64 getpid 101 sh /bin/sh",
            "amd64 getppid 100 sh /bin/sh",
        ]
    );
}

#[test]
fn a_thread_that_executes_becomes_its_process() {
    let calls = amd64(
        "\
100 execve(\"/bin/a\", [\"a\"], 0x7ffe /* 9 vars */) = 0
100 futex(0x1, FUTEX_WAIT <unfinished ...>
101 execve(\"/bin/b\", [\"b\"], 0x7ffe /* 9 vars */ <unfinished ...>
100 <... futex resumed>) = ?
100 +++ superseded by execve in pid 101 +++
100 <... execve resumed>) = 0
100 getpid() = 100
",
    );
    assert_eq!(calls.last().unwrap(), "amd64 getpid 100 b /bin/b");
    assert_eq!(calls.len(), 4, "{calls:?}");
    // With -ff its execve is in another file.
    let file = "\
execve(\"/bin/a\", [\"a\"], 0x7ffe /* 9 vars */) = 0
clone3({flags=CLONE_THREAD}, 88) = 101
+++ superseded by execve in pid 101 +++
<... execve resumed>) = 0
getpid() = 100
";
    let (calls, _) = trace(Arch::X86_64, &[("out.100", file)]);
    assert_eq!(calls.last().unwrap(), "amd64 getpid 100 - -");
}

#[test]
fn the_markers_of_32_bit_mode_are_heeded() {
    let calls = amd64(
        "\
12 execve(\"./hello32\", [\"hello32\"], 0x7ffe /* 9 vars */) = 0
strace: [ Process PID=12 runs in 32 bit mode. ]
12 brk(NULL) = 0x55
12 socket(AF_UNIX, SOCK_STREAM, 0) = 3
12 [ 359] socket(AF_UNIX, SOCK_STREAM, 0) = 3
12 [ 102] socket(AF_UNIX, SOCK_STREAM, 0) = 3
12 execve(\"/bin/b\", [\"b\"], 0x7ffe /* 9 vars */) = 0
[ Process PID=12 runs in 64 bit mode. ]
12 socket(AF_UNIX, SOCK_STREAM, 0) = 3
[ Process PID=12 runs in x32 mode. ]
12 getpid() = 12
",
    );
    let all: Vec<_> = calls
        .iter()
        .map(|c| c.split(" 12").next().unwrap())
        .collect();
    assert_eq!(
        all,
        [
            "amd64 execve",
            "x86 brk",
            "x86 socket",
            "x86 socketcall",
            "x86 socket",
            "x86 socketcall",
            "x86 execve",
            "amd64 socket",
            "x32 getpid",
        ]
    );
    let alone = amd64(
        "\
execve(\"./hello32\", [\"hello32\"], 0x7ffe /* 9 vars */) = 0
strace: [ Process PID=12 runs in 32 bit mode. ]
getpid() = 12
",
    );
    assert_eq!(alone[1], "x86 getpid - hello32 ./hello32");
}

#[test]
fn without_markers_a_name_that_only_one_architecture_has_tells_it() {
    let calls = amd64(
        "\
12 execve(\"./hello32\", [\"hello32\"], 0x7ffe /* 9 vars */) = 0
12 mmap2(NULL, 4096, PROT_READ, MAP_PRIVATE, 3, 0) = 0xf7
12 close(3) = 0
12 execve(\"/bin/b\", [\"b\"], 0x7ffe /* 9 vars */) = 0
12 close(3) = 0
",
    );
    let all: Vec<_> = calls
        .iter()
        .map(|c| c.split(" 12").next().unwrap())
        .collect();
    assert_eq!(
        all,
        [
            "amd64 execve",
            "x86 mmap2",
            "x86 close",
            "x86 execve",
            "amd64 close"
        ]
    );
}

#[test]
fn numbers_tell_the_architecture_too() {
    let calls = amd64(
        "\
12 [  59] execve(\"./hello32\", [\"hello32\"], 0x7ffe /* 9 vars */) = 0
12 [  20] getpid() = 12
12 [ 102] socket(AF_UNIX, SOCK_STREAM, 0) = 3
12 [ 359] socket(AF_UNIX, SOCK_STREAM, 0) = 3
12 [  11] execve(\"/bin/b\", [\"b\"], 0x7ffe /* 9 vars */) = 0
12 [  39] getpid() = 12
12 [9999] getuid() = 0
",
    );
    let all: Vec<_> = calls
        .iter()
        .map(|c| c.split(" 12").next().unwrap())
        .collect();
    assert_eq!(
        all,
        [
            "amd64 execve",
            "x86 getpid",
            "x86 socketcall",
            "x86 socket",
            "x86 execve",
            "amd64 getpid",
            "amd64 getuid",
        ]
    );
}

#[test]
fn modes_are_those_of_the_machine() {
    let mark = "[ Process PID=12 runs in 32 bit mode. ]\n12 getpid() = 12";
    assert_eq!(
        trace(Arch::Aarch64, &[("t", mark)]).0,
        ["arm getpid 12 - -"]
    );
    assert_eq!(
        trace(Arch::Riscv64, &[("t", mark)]),
        (vec!["riscv64 getpid 12 - -".into()], 1)
    );
    let mark = "[ Process PID=12 runs in 31 bit mode. ]\n12 getpid() = 12";
    assert_eq!(trace(Arch::S390X, &[("t", mark)]).0, ["s390 getpid 12 - -"]);
    assert_eq!(
        trace(Arch::Aarch64, &[("t", "openat(1) = 3\nopen(1) = 3")]).0,
        ["arm64 openat - - -", "arm open - - -"]
    );
    assert_eq!(trace(Arch::Riscv64, &[("t", "open(1) = 3")]), (vec![], 1));
}

#[test]
fn each_file_of_ff_is_a_process() {
    let (calls, unreadable) = trace(
        Arch::X86_64,
        &[
            (
                "out.100",
                "execve(\"/bin/sh\", [\"sh\"], 0x7 /* 9 vars */) = 0\nvfork() = 101\n+++ exited with 0 +++",
            ),
            ("out.101", "getpid() = 101"),
        ],
    );
    assert_eq!(unreadable, 0);
    assert_eq!(
        calls,
        [
            "amd64 execve 100 - -",
            "amd64 vfork 100 sh /bin/sh",
            "amd64 getpid 101 sh /bin/sh"
        ]
    );
}

#[test]
fn tables_are_read_by_their_columns() {
    let calls = amd64(
        "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000300           3       100        42 openat
 40.00    0.000200           2        50           read
  0.00    0.000000           0         1           syscall_0x3e7
------ ----------- ----------- --------- --------- ----------------
100.00    0.000500           3       151        42 total
System call usage summary for 32 bit mode:
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
  0.00    0.000000           0         2           mmap2
  0.00    0.000000           0         3         1 connect
------ ----------- ----------- --------- --------- ----------------
100.00    0.000000           0         5         1 total
",
    );
    assert_eq!(
        calls,
        [
            "amd64 openat - - - x100",
            "amd64 read - - - x50",
            "amd64 999 - - -",
            "x86 mmap2 - - - x2",
            "x86 connect - - - x3",
            "x86 socketcall - - - x3",
        ]
    );
    // strace -c -U name,calls,errors,max-time
    let calls = amd64(
        "\
syscall              calls    errors    longest
---------------- --------- --------- ----------
read                    50               0.0001
openat                 100        42     0.0001
---------------- --------- --------- ----------
total                  150        42     0.0001
",
    );
    assert_eq!(calls, ["amd64 read - - - x50", "amd64 openat - - - x100"]);
}

#[test]
fn a_trace_and_its_table_may_be_in_one_output() {
    let calls = amd64(
        "\
getpid()                                = 12
+++ exited with 0 +++
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
  0.00    0.000000           0         1           getpid
------ ----------- ----------- --------- --------- ----------------
100.00    0.000000           0         1           total
getuid() = 0
",
    );
    assert_eq!(calls, ["amd64 getpid - - -", "amd64 getuid - - -"]);
}

#[test]
fn an_endless_number_of_processes_does_not_fill_the_memory() {
    let mut reader = Reader::new(Arch::X86_64);
    for pid in 1..20_000 {
        reader.read(&format!("{pid} vfork( <unfinished ...>"), &mut |_| {});
        let (processes, spawning) = reader.processes.remembered();
        assert!(processes <= MAX_PROCESSES && spawning <= MAX_SPAWNING);
    }
}

proptest::proptest! {
    /// Whatever follows what, every line is read, and a call that is made once counts once.
    #[test]
    fn no_line_is_too_strange(
        lines in proptest::collection::vec(
            "([0-9<>\\[\\] :.]|pid|read\\(|clone\\(|execve\\(\"|\\) = [0-9]|<unfinished ...>|<... read resumed>|\\+\\+\\+ |superseded by execve in pid [0-9]|% time calls syscall|\\PC){0,12}",
            0..20,
        )
    ) {
        let mut reader = Reader::new(Arch::X86_64);
        reader.begin("x.5");
        for line in &lines {
            let mut calls = 0;
            let seen = reader.read(line, &mut |_| calls += 1);
            proptest::prop_assert_eq!(seen == Seen::Used, calls > 0, "{}", line);
            proptest::prop_assert!(calls <= 2, "{}", line);
        }
    }
}

#[test]
fn the_table_behind_the_lines_counts_no_call_again() {
    let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
  0.00    0.000000           0         2           getpid
  0.00    0.000000           0         1           read
------ ----------- ----------- --------- --------- ----------------
100.00    0.000000           0         3           total
";
    let lines = "getpid() = 12\ngetpid() = 12\n+++ exited with 0 +++\n";
    let getpid = "amd64 getpid - - -";
    // What the table alone has is of another trace.
    let want = [getpid, getpid, "amd64 read - - -"];
    assert_eq!(amd64(&[lines, table].concat()), want);
    assert_eq!(amd64(table), ["amd64 getpid - - - x2", "amd64 read - - -"]);
    let twice = [lines, table, table].concat();
    assert_eq!(amd64(&twice).len(), 5);
}

#[test]
fn tables_may_have_walls_or_nothing_but_names() {
    let wall = "\
% time     seconds  wall-total     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
  0.00    0.000000    0.000008         3           read
";
    assert_eq!(amd64(wall), ["amd64 read - - - x3"]);
    let names = "syscall\n----------------\nread\nwrite\n----------------\ntotal\n";
    assert_eq!(amd64(names), ["amd64 read - - -", "amd64 write - - -"]);
    // A program may print the word.
    let (calls, unreadable) = trace(Arch::X86_64, &[("trace", "syscall\nread\n")]);
    assert_eq!((calls.len(), unreadable), (0, 1));
}

#[test]
fn names_are_what_they_were_before_strace_escaped_them() {
    let execve = r#"execve("\x2f\x62\x69\x6e\x2f\x6c\x73", ["\x6c\x73"], 0x7ffe /* 9 vars */) = 0"#;
    let calls = amd64(&format!("{execve}\nbrk(NULL) = 0x55\n"));
    assert_eq!(calls[1], "amd64 brk - ls /bin/ls");
    let thread = r"15274<my thr\76 (x> getppid() = 15270<strace>";
    assert_eq!(amd64(thread), ["amd64 getppid 15274 my thr> (x -"]);
    for (escaped, plain) in [
        (r#"a\"\\"#, r#"a"\"#),
        (r"\303\251\n", "\u{e9}\n"),
        (r"\x4\9\", "\u{4}9"),
    ] {
        assert_eq!(line::unescaped(escaped), plain, "{escaped}");
    }
}

#[test]
fn functions_of_libraries_are_no_system_calls() {
    for (text, want) in [
        (
            "SYS_brk(0) = 0x55\nfork() = 12\nSYS_435(0x7ff, 88) = 12\nexit(0 <unfinished ...>\n",
            ["amd64 brk - - -", "amd64 clone3 - - -"],
        ),
        (
            "brk@SYS(nil) = 0x55\nmkdir(\"a\") = 0\nSYS_999@SYS(1) = -38\n",
            ["amd64 brk - - -", "amd64 999 - - -"],
        ),
    ] {
        assert_eq!(amd64(text), want, "{text}");
    }
    let (calls, _) = trace(
        Arch::X86_64,
        &[("t", "__libc_start_main(0x401136, 1) = 0\nfork() = 12\n")],
    );
    assert_eq!(calls, [""; 0]);
}

#[test]
fn older_names_are_of_the_same_calls() {
    for (line, want) in [
        ("pread(3, \"\", 1, 0) = 0", "amd64 pread64 - - -"),
        ("umount(\"/mnt\") = 0", "amd64 umount2 - - -"),
        ("syscall_435(0x1) = -1", "amd64 clone3 - - -"),
    ] {
        assert_eq!(amd64(line), [want], "{line}");
    }
}

#[test]
fn what_a_program_writes_into_a_line_cuts_it() {
    let text = "write(2, \"hello\\n\", 6hello\n)                  = 6\n)      = -1 EINTR (Interrupted system call)\n";
    assert_eq!(amd64(text), ["amd64 write - - -"]);
}

#[test]
fn a_thread_that_executes_makes_one_call() {
    let main = "getpid() = 100\n+++ superseded by execve in pid 101 +++\n<... execve resumed>) = 0\nbrk(NULL) = 0x55\n";
    let thread = "execve(\"/bin/ls\", [\"ls\"], 0x7ffe /* 9 vars */ <pid changed to 100 ...>\n";
    let (calls, unreadable) = trace(Arch::X86_64, &[("t.100", main), ("t.101", thread)]);
    assert_eq!(unreadable, 0);
    assert_eq!(
        calls.iter().filter(|call| call.contains("execve")).count(),
        1,
        "{calls:?}"
    );
}
