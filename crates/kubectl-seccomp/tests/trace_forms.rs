//! Every form of docs/traces.md that is read, in small; and what tracers and logs of several versions really wrote, where
//! `../shared/data/traces` (or below what `SECCOMP_SHARED_DATA` says) has it.
#![allow(clippy::unwrap_used)]

mod tool;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tool::{printed, run, stderr, stdout};

/// Architecture, name and count of all calls: `amd64 getpid 1, x86 socket 2`.
fn calls(command: &str, args: &[&str], input: impl AsRef<[u8]>) -> String {
    let amd64: &[&str] = match command {
        "from-strace" => &["--arch=amd64"],
        _ => &[],
    };
    let output = run(&[&[command, "-o", "json"], amd64, args].concat(), input);
    let Ok(data) = serde_json::from_str::<Value>(&printed(&output)) else {
        return stderr(&output);
    };
    let mut said = Vec::new();
    for arch in data["architectures"].as_array().unwrap() {
        let name = arch["architecture"].as_str().unwrap();
        let name = name.strip_prefix("SCMP_ARCH_").unwrap().to_lowercase();
        for call in arch["syscalls"].as_array().unwrap() {
            said.push(format!(
                "{name} {} {}",
                call["name"].as_str().unwrap(),
                call["calls"]
            ));
        }
        for call in arch["unknown"].as_array().into_iter().flatten() {
            said.push(format!("{name} {} {}", call["number"], call["calls"]));
        }
    }
    said.join(", ")
}

#[test]
fn every_form_of_tracers_is_read() {
    let utf16 = |text: &str| -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(units).collect()
    };
    let json = |key: &str| json!({key: "getpid() = 12\n", "stream": "stderr"}).to_string();
    let one = "x86_64 getpid 1";
    let rule = "------ ----------- ----------- --------- --------- ----------------";
    let forms: &[(&str, Vec<u8>, &str)] = &[
        ("plain", b"getpid()                                = 12\n".into(), one),
        ("-f -o", b"12    getpid() = 12\n".into(), one),
        ("-f", b"[pid    12] getpid() = 12\n".into(), one),
        ("--always-show-pid", b"12 getpid() = 12\n".into(), one),
        ("-t", b"12 10:20:30 getpid() = 12\n".into(), one),
        ("-ttt -T", b"12 1795906432.527123 getpid() = 12 <0.000004>\n".into(), one),
        ("-r -t", b"12 10:20:30 (+     0.000016) getpid() = 12\n".into(), one),
        ("-i", b"12 [00007f0f3ed9ac44] getpid() = 12\n12 [????????????????] +++ exited with 0 +++\n".into(), one),
        ("-n", b"[pid 12] [  39] getpid() = 12\n[pid 12] [ 231] +++ exited with 3 +++\n".into(), one),
        ("-Y", b"12<my thr\\76 (x> getpid() = 12<my thr\\76 (x>\n".into(), one),
        ("-N", b"close(fd=3) = 0\n".into(), "x86_64 close 1"),
        ("-y", b"close(3</tmp/a (b) = 3>) = 0\n".into(), "x86_64 close 1"),
        ("-k", b"getpid() = 12\n > /usr/lib/libc.so.6(getpid+0x7) [0xf7f37]\n\n".into(), one),
        ("colours", b"\x1b[0m[\x1b[35mpid 12\x1b[0m]\x1b[35m \x1b[33mgetpid\x1b[0m(\x1b[35m\x1b[0m)\x1b[0m  \x1b[0m=\x1b[0m\x1b[0m \x1b[32m12\x1b[0m\x1b[0m\n".into(), one),
        ("UTF-16", utf16("getpid() = 12\r\n"), one),
        ("a byte order mark", b"\xef\xbb\xbfgetpid() = 12\n".into(), one),
        ("-e inject", b"getpid() = 0 (INJECTED)\n".into(), one),
        ("no name", b"syscall_0x3e7(0x1, 0x2, 0x3, 0, 0, 0) = -1 ENOSYS (Function not implemented)\n".into(), "x86_64 999 1"),
        ("cut by the program", b"write(2, \"a\\n\", 2a\n)                  = 2\n".into(), "x86_64 write 1"),
        ("-e status", b")      = -1 EINTR (Interrupted system call)\ngetpid() = 12\n".into(), one),
        ("-c", format!("% time     seconds  usecs/call     calls    errors syscall\n{rule}\n 60.00    0.000300           3       100        42 openat\n{rule}\n100.00    0.000500           3       100        42 total\n").into(), "x86_64 openat 100"),
        ("-c of a 32-bit program", format!("System call usage summary for 32 bit mode:\n% time     seconds  usecs/call     calls    errors syscall\n{rule}\n  0.00    0.000000           0         2           mmap2\n").into(), "x86 mmap2 2"),
        ("-C", format!("getpid() = 12\n+++ exited with 0 +++\n% time     seconds  usecs/call     calls    errors syscall\n{rule}\n  0.00    0.000000           0         1           getpid\n").into(), one),
        ("-c with wall time", format!("% time     seconds  wall-total     calls    errors syscall\n{rule}\n  0.00    0.000000    0.000008         3           read\n").into(), "x86_64 read 3"),
        ("-U name", b"syscall\n----------------\nread\n----------------\ntotal\n".into(), "x86_64 read 1"),
        ("-S name -U name,calls", b"syscall              calls\n---------------- ---------\nread                     3\n---------------- ---------\ntotal                    3\n".into(), "x86_64 read 3"),
        ("32 bits by a message", b"[ Process PID=12 runs in 32 bit mode. ]\n12 getpid() = 12\n".into(), "x86 getpid 1"),
        ("32 bits by a number", b"12 [  20] getpid() = 12\n".into(), "x86 getpid 1"),
        ("ltrace -S", b"SYS_brk(0) = 0x55\nfork() = 12\n".into(), "x86_64 brk 1"),
        ("ltrace -S 0.7.91", b"brk@SYS(nil) = 0x55\nmkdir(\"a\") = 0\n".into(), "x86_64 brk 1"),
        ("qemu -strace", b"5246 getppid() = 5245\n".into(), "x86_64 getppid 1"),
        ("perf trace", b"     5.806 (         ): a/12 futex(uaddr: 0x7f) ...\n     5.806 ( 0.080 ms): a/12  ... [continued]: futex()) = 0\n".into(), "x86_64 futex 1"),
        ("perf trace -s", b"\n Summary of events:\n\n a (12), 115 events, 49.1%\n\n   syscall            calls  errors  total       min       avg       max       stddev\n                                     (msec)    (msec)    (msec)    (msec)        (%)\n   --------------- --------  ------ -------- --------- --------- ---------     ------\n   mmap                  8      0     0.049     0.004     0.006     0.009      8.30%\n\n\n".into(), "x86_64 mmap 8"),
        ("perf script", b"  a  12 [001]  12.345678: raw_syscalls:sys_enter: NR 39 (7ffe, 0, 0, 0, 0, 0)\n  a  12 [001]  12.345679: syscalls:sys_enter_close: fd: 0x3\n".into(), "x86_64 close 1, x86_64 getpid 1"),
        ("bpftrace", b"Attaching 1 probe...\n\n\n@[a, 39]: 3\n@[tracepoint:syscalls:sys_enter_close]: 2\n".into(), "x86_64 getpid 3, x86_64 close 2"),
        ("kubectl logs --timestamps", b"2026-11-28T22:58:11.123456789Z getpid() = 12\n".into(), one),
        ("kubectl logs --prefix", b"[pod/web-0/app] getpid() = 12\n".into(), one),
        ("stern", b"web-0 app 12 getpid() = 12\n".into(), one),
        ("stern -A", b"shop web-0 app getpid() = 12\n".into(), one),
        ("stern -o json", json!({"message": "getpid() = 12", "podName": "web-0"}).to_string().into(), one),
        ("CRI", b"2026-11-28T22:58:11.1+00:00 stderr F getpid() = 12\n".into(), one),
        ("compose", b"web-1  | getpid() = 12\n".into(), one),
        ("syslog", b"Nov 28 22:58:11 node1 strace[123]: getpid() = 12\n".into(), one),
        ("Docker's JSON", json("log").into(), one),
        ("rsyslog's JSON", json("message").into(), one),
        ("Fluent Bit's JSON", json("msg").into(), one),
        ("Cloud Logging's JSON", json!({"jsonPayload": {"message": "getpid() = 12"}}).to_string().into(), one),
        ("the journal's JSON", json("MESSAGE").into(), one),
    ];
    for (form, input, want) in forms {
        assert_eq!(calls("from-strace", &[], input), *want, "{form}");
    }
}

#[test]
fn every_form_of_audit_is_read() {
    let fields = "auid=0 uid=0 gid=0 ses=1 pid=12 comm=\"a\" exe=\"/bin/a\" sig=0 arch=c000003e syscall=39 compat=0 ip=0x7f12 code=0x7ffc0000";
    let words = |code: &str, call: &str| {
        format!(
            "type=SECCOMP msg=audit(11/28/26 22:55:26.619:105) : auid=unset uid=root gid=root ses=unset pid=12 comm=a exe=/bin/a sig=SIG0 arch=x86_64 syscall={call} compat=0 ip=0x7f12 code={code} \n"
        )
    };
    let kernel = format!("audit: type=1326 audit(1795906198.927:23): {fields}");
    let journal = format!("SECCOMP {fields}");
    let quoted = kernel.replace('"', "\\\"");
    let one = "x86_64 getpid 1";
    let mut forms = vec![
        ("auditd", format!("type=SECCOMP msg=audit(1.2:3): {fields}\n"), one),
        ("node=", format!("node=a type=SECCOMP msg=audit(1.2:3): {fields}\n"), one),
        ("ENRICHED", format!("type=SECCOMP msg=audit(1.2:3): {fields}\x1dAUID=\"unset\" ARCH=x86_64 SYSCALL=unknown-syscall(-1)\n"), one),
        ("socketcall(socket)", words("log", "socketcall(socket)").replace("x86_64", "i386"), "x86 socketcall 1"),
        ("a number in words", words("log", "unknown-syscall(470)"), "x86_64 listns 1"),
        ("an architecture that ausearch does not know", words("log", "39").replace("x86_64", "unknown-elf-type(c0000102)"), "loongarch64 epoll_ctl_old 0"),
        ("a rule", "type=SYSCALL msg=audit(1.2:3): arch=c000003e syscall=39 success=yes exit=12 a0=0 a1=0 a2=0 a3=0 ppid=1 pid=12 comm=\"a\" exe=\"/bin/a\" key=\"seen\"\n".into(), one),
        ("a rule and seccomp", format!("type=SECCOMP msg=audit(1.2:3): {fields}\ntype=SYSCALL msg=audit(1.2:4): arch=c000003e syscall=39 success=yes exit=12 a0=0 pid=12 comm=\"a\" exe=\"/bin/a\"\n"), one),
        ("journalctl -k", format!("Nov 28 22:58:11 node1 kernel: {kernel}\n"), one),
        ("journalctl", format!("Nov 28 22:58:11 node1 audit[12]: {journal}\nNov 28 22:58:11 node1 kernel: {kernel}\n"), one),
        ("journalctl in colour", format!("Nov 28 22:58:11 node1 audit[12]: \x1b[0;34mSECCOMP\x1b[0;34m {fields}\x1b[0m\n"), one),
        ("-o verbose", format!("    _TRANSPORT=audit\n    MESSAGE={journal}\n"), one),
        ("-o json-pretty", format!("\t\"MESSAGE\" : \"{}\",\n", journal.replace('"', "\\\"")), one),
        ("-o json-seq", format!("\x1e{}\n", json!({"MESSAGE": journal})), one),
        ("-o json-sse", format!("data: {}\n\n", json!({"MESSAGE": journal})), one),
        ("-o json, as bytes", json!({"MESSAGE": journal.as_bytes()}).to_string(), one),
        ("dmesg --json", format!("         \"msg\": \"{quoted}\"\n"), one),
        ("Docker's JSON", json!({"log": kernel}).to_string(), one),
        ("RFC 5424", format!("<5>1 2026-11-28T22:58:39.750310+00:00 vm kernel - - -  {kernel}\n"), one),
    ];
    for before in [
        "[ 1179.062623] ",
        "kern  :notice: [ 1179.062623] ",
        "[Sat Nov 28 22:49:58 2026] ",
        "<5>[ 1179.062623] ",
        "[ 1179.062623 <    0.000005>] ",
        "[  +0.000005] ",
        "[<    0.000005>] ",
        "2026-11-28T22:49:58,062623+00:00 ",
        "\x1b[32m[ 1179.062623] \x1b[0m\x1b[33m",
    ] {
        forms.push(("dmesg", format!("{before}{kernel}\n"), one));
    }
    for code in [
        "kill",
        "kill-thread",
        "kill-process",
        "trap",
        "errno",
        "user-notify",
        "trace",
        "log",
        "allow",
    ] {
        forms.push(("ausearch -i", words(code, "getpid"), one));
    }
    for (form, input, want) in forms {
        let said = calls("from-audit", &[], &input);
        if want.ends_with(" 0") {
            // Number 39 is of another call there.
            let number = seccomp_profile::Syscall::numbered(seccomp_profile::Arch::Loongarch64, 39);
            assert_eq!(said, format!("loongarch64 {} 1", number.unwrap()), "{form}");
            continue;
        }
        assert_eq!(said, want, "{form}: {input}");
    }
    // Which call it was is not in it.
    let csv = ",SECCOMP,11/28/26,22:55:26,174,dac-decision,unset,system,root,privileged-acct,called-seccomp-controlled-syscall,failed,unknown-syscall(-1),,process,/bin/a\n";
    assert!(calls("from-audit", &[], csv).contains("no seccomp record"));
}

#[test]
fn real_outputs_hold_what_is_known_of_them() {
    let data = std::env::var_os("SECCOMP_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    for (name, command, want) in [
        ("journal-252-audit-export.txt", "from-audit", 23),
        ("journal-252-audit-json-pretty.txt", "from-audit", 23),
        ("journal-252-audit-json-seq.txt", "from-audit", 23),
        ("journal-252-audit-json-sse.txt", "from-audit", 23),
        ("journal-252-audit-verbose.txt", "from-audit", 23),
    ] {
        let path = data.join("traces").join(name);
        if !path.exists() {
            eprintln!("skipped: {} is not there", path.display());
            continue;
        }
        let output = run(&[command, "-o", "json", path.to_str().unwrap()], "");
        let data: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(data["calls"], want, "{name}");
        assert_eq!(data["lines"]["unreadable"], 0, "{name}");
    }
}
