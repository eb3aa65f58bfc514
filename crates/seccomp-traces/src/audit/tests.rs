//! Records as kernels, journals and the audit tools write them, and the calls that they hold.

use proptest::strategy::Strategy;

use super::*;
use crate::call::{Called, Verdict};
use seccomp_profile::Arch;

fn read(reader: &mut Reader, line: &str, found: &mut dyn FnMut(&Call<'_>)) -> Seen {
    let glance = reader.glance()(line);
    reader.read(line, glance, found)
}

/// `arch name pid comm exe verdict`
fn say(line: &str) -> Result<String, Seen> {
    let mut said = String::new();
    let mut reader = Reader::default();
    match read(&mut reader, line, &mut |call| said = call.to_string()) {
        Seen::Used => Ok(said),
        other => Err(other),
    }
}

const KERNEL: &str = r#"audit: type=1326 audit(1795474870.398:22725): auid=4294967295 uid=0 gid=0 ses=4294967295 pid=13748 comm="busybox" exe="/bin/busybox" sig=0 arch=c000003e syscall=83 compat=0 ip=0x47b567 code=0x7ffc0000"#;

#[test]
fn the_record_is_found_wherever_it_is_kept() {
    let fields = KERNEL.split_once("): ").unwrap().1;
    for line in [
        KERNEL.to_owned(),
        format!("[  270.853767] {KERNEL}"),
        format!("<5>[  270.853767] {KERNEL}"),
        format!("Jul  8 10:31:23 node1 kernel: [  270.853767] {KERNEL}"),
        format!("Nov 24 06:51:10 node1 kernel: {KERNEL}"),
        format!("2026-11-24T06:51:10.123456+00:00 node1 kernel: {KERNEL}"),
        format!("Nov 24 06:51:10 node1 audit[13748]: SECCOMP {fields}"),
        format!("SECCOMP {fields}"),
        format!("type=SECCOMP msg=audit(1795474870.398:22725): {fields}"),
        format!("node=node1 type=SECCOMP msg=audit(1795474870.398:22725): {fields}"),
        format!(
            "type=SECCOMP msg=audit(1.2:3): {fields}\x1dAUID=\"unset\" UID=\"root\" ARCH=x86_64 SYSCALL=mkdir"
        ),
        // The separator is lost on the way through some tools.
        format!(
            "type=SECCOMP msg=audit(1.2:3): {fields}AUID=\"unset\" UID=\"root\" ARCH=x86_64 SYSCALL=mkdir"
        ),
        format!("type=SECCOMP msg=audit(1.2:3): {fields}#035AUID=\"unset\""),
        serde_json::json!({"_TRANSPORT": "kernel", "MESSAGE": KERNEL}).to_string(),
        serde_json::json!({"_TRANSPORT": "audit", "MESSAGE": format!("SECCOMP {fields}")})
            .to_string(),
        serde_json::json!({"MESSAGE": KERNEL.as_bytes()}).to_string(),
    ] {
        assert_eq!(
            say(&line).as_deref(),
            Ok("amd64 mkdir 13748 busybox /bin/busybox log"),
            "{line}"
        );
    }
}

#[test]
fn the_words_of_ausearch_are_read_too() {
    for (fields, want) in [
        (
            "arch=x86_64 syscall=mkdir compat=0 ip=0x7f code=log ",
            "amd64 mkdir 9 ls /usr/bin/ls log",
        ),
        (
            "arch=i386 syscall=socketcall compat=1 ip=0x7f code=kill",
            "x86 socketcall 9 ls /usr/bin/ls kill-thread",
        ),
        (
            "arch=aarch64 syscall=mkdirat compat=0 ip=0x7f code=errno",
            "arm64 mkdirat 9 ls /usr/bin/ls errno",
        ),
        (
            "arch=x86_64 syscall=unknown-syscall(1073742344) compat=0 ip=0x7f code=unknown-seccomp-code(0x7fc00000)",
            "x32 execve 9 ls /usr/bin/ls notify",
        ),
    ] {
        let line = format!(
            "type=SECCOMP msg=audit(24/11/26 06:51:10.123:456) : auid=unset uid=root gid=root ses=unset subj=docker-default (enforce) pid=9 comm=ls exe=/usr/bin/ls sig=SIG0 {fields}"
        );
        assert_eq!(say(&line).as_deref(), Ok(want), "{line}");
    }
}

#[test]
fn architectures_are_kept_apart() {
    for (arch, syscall, want) in [
        ("c000003e", "83", "amd64 mkdir"),
        ("40000003", "83", "x86 symlink"),
        ("40000003", "102", "x86 socketcall"),
        ("c000003e", "1073741907", "x32 mkdir"),
        ("c000003e", "1073742344", "x32 execve"),
        ("c00000b7", "34", "arm64 mkdirat"),
        ("40000028", "39", "arm mkdir"),
        ("40000028", "983045", "arm set_tls"),
        ("c00000f3", "34", "riscv64 mkdirat"),
        ("c0000015", "39", "ppc64le mkdir"),
        ("80000016", "39", "s390x mkdir"),
        ("c0000102", "34", "loongarch64 mkdirat"),
        ("40000008", "4039", "mipsel mkdir"),
        ("8", "4039", "mips mkdir"),
        ("e0000008", "6081", "mipsel64n32 mkdir"),
        ("c000003e", "999", "amd64 999"),
        ("c000003e", "-1", "amd64 4294967295"),
    ] {
        let line = format!(
            "audit: type=1326 audit(1.2:3): pid=1 comm=\"a\" exe=(null) sig=0 arch={arch} syscall={syscall} compat=0 ip=0x1 code=0x50000"
        );
        assert_eq!(say(&line), Ok(format!("{want} 1 a - errno")), "{line}");
    }
}

#[test]
fn every_action_has_its_code() {
    for (code, want) in [
        ("0x0", "kill-thread"),
        ("0x80000000", "kill-process"),
        ("0x30000", "trap"),
        ("0x50000", "errno"),
        ("0x50026", "errno"),
        ("0x7fc00000", "notify"),
        ("0x7ff00000", "trace"),
        ("0x7ff00001", "trace"),
        ("0x7ffc0000", "log"),
        ("0x7fff0000", "allow"),
        // As the kernel takes what it does not know.
        ("0x12340000", "kill-process"),
    ] {
        let line = KERNEL.replace("0x7ffc0000", code);
        let said = say(&line).unwrap();
        assert_eq!(said.rsplit_once(' ').unwrap().1, want, "{line}");
    }
}

#[test]
fn names_that_a_process_chose_are_read_as_the_kernel_writes_them() {
    for (comm, exe, want) in [
        (r#""my app""#, r#""/bin/a""#, "my app /bin/a"),
        (
            "6D7920617070",
            "2F62696E2F6D7920617070",
            "my app /bin/my app",
        ),
        ("2220737973", "(null)", "\" sys -"),
        (r#""ABCD""#, r#""(null)""#, "ABCD (null)"),
        ("C3A9", r#""/x""#, "\u{e9} /x"),
        // An odd number of digits is no hexadecimal.
        ("abc", "/bin/x", "abc /bin/x"),
    ] {
        let line = KERNEL
            .replace(r#""busybox""#, comm)
            .replace(r#""/bin/busybox""#, exe);
        assert_eq!(
            say(&line),
            Ok(format!("amd64 mkdir 13748 {want} log")),
            "{line}"
        );
    }
}

#[test]
fn a_process_cannot_write_a_field_into_its_name() {
    // What `x" sys` becomes.
    let line = KERNEL.replace(r#""busybox""#, "782220737973");
    assert_eq!(
        say(&line).as_deref(),
        Ok("amd64 mkdir 13748 x\" sys /bin/busybox log")
    );
    // `ausearch -i` writes it as it is.
    let line = "type=SECCOMP msg=audit(24/11/26 06:51:10.123:456) : pid=9 comm=a arch=i386 code=errno exe=/a syscall=read b sig=SIG0 arch=x86_64 syscall=mkdir compat=0 ip=0x7f code=log";
    assert_eq!(
        say(line).as_deref(),
        Ok("amd64 mkdir 9 a arch=i386 code=errno /a syscall=read b log")
    );
}

#[test]
fn other_lines_say_nothing() {
    for line in [
        "",
        "-- Boot 1234 --",
        "Nov 24 06:51:10 node1 sshd[1]: SECCOMP is a kernel feature",
        "audit: type=1016 audit(1.2:3): pid=1 comm=\"sh\" exe=\"/bin/sh\" sig=0 arch=c000003e syscall=1 code=0x7ffc0000",
        "audit: type=13260 audit(1.2:3): arch=c000003e syscall=1 code=0x7ffc0000",
        "----",
        "{}",
        r#"{"MESSAGE":null}"#,
        r#"{"MESSAGE":"audit: initializing"}"#,
        "{sa_handler=0x55}, NULL, 8) = 0",
    ] {
        assert_eq!(say(line), Err(Seen::Silent), "{line}");
    }
}

#[test]
fn a_record_without_its_fields_is_unreadable() {
    for line in [
        "type=1326 syscall=1",
        "audit: type=1326 audit(1.2:3): pid=1 arch=c000003e syscall=1 compat=0 ip=0x1",
        "audit: type=1326 audit(1.2:3): pid=1 arch=c000003e syscall=read code=",
        "audit: type=1326 audit(1.2:3): pid=1 arch=deadbeef syscall=1 code=0x0",
        "audit: type=1326 audit(1.2:3): pid=1 arch=c000003e syscall=99999999999999999999 code=0x0",
        "{\"MESSAGE\": \"audit: type=1326 cut off",
    ] {
        assert_eq!(say(line), Err(Seen::Unreadable), "{line}");
    }
}

#[test]
fn a_record_is_found_in_whatever_carries_it() {
    let escaped = KERNEL.replace('"', "\\\"");
    for line in [
        format!("{{\"log\":\"{escaped}\\n\",\"stream\":\"stdout\"}}"),
        format!("{{\"jsonPayload\":{{\"message\":\"{escaped}\"}}}}"),
        format!("         \"msg\": \"{escaped}\""),
        format!("\u{1e}{{\"MESSAGE\":\"{escaped}\"}}"),
        format!(
            "    MESSAGE={}",
            KERNEL.replace("audit: type=1326 audit(1795474870.398:22725):", "SECCOMP")
        ),
    ] {
        let want = "amd64 mkdir 13748 busybox /bin/busybox log";
        assert_eq!(say(&line).as_deref(), Ok(want), "{line}");
    }
}

#[test]
fn the_words_of_ausearch_are_those_of_its_own_tables() {
    for (fields, want) in [
        ("arch=x86_64 syscall=pread", "amd64 pread64"),
        ("arch=aarch64 syscall=newfstat", "arm64 fstat"),
        ("arch=aarch64 syscall=getdents", "arm64 getdents64"),
        ("arch=x86_64 syscall=getdents", "amd64 getdents"),
        ("arch=i386 syscall=sys_kexec_load", "x86 kexec_load"),
        ("arch=i386 syscall=timerfd", "x86 timerfd_create"),
        // What it asks for is of the record before.
        ("arch=i386 syscall=socketcall(socket)", "x86 socketcall"),
        (
            "arch=unknown-elf-type(8) syscall=unknown-syscall(4039)",
            "mips mkdir",
        ),
    ] {
        let line = format!(
            "type=SECCOMP msg=audit(28/11/26 06:51:10.123:1) : pid=9 comm=a exe=/a sig=SIG0 {fields} compat=0 ip=0x7f code=user-notify "
        );
        assert_eq!(say(&line), Ok(format!("{want} 9 a /a notify")), "{line}");
        // A name of its own machine's, whatever the number meant.
        let strange = "arch=unknown-elf-type(c0000102) syscall=pause";
        assert_eq!(say(&line.replace(fields, strange)), Err(Seen::Unreadable));
    }
}

fn calls(lines: &[String]) -> (usize, Option<u64>) {
    let (mut reader, mut calls) = (Reader::default(), 0);
    reader.begin();
    for line in lines {
        read(&mut reader, line, &mut |_| calls += 1);
    }
    (calls, reader.missing())
}

#[test]
fn a_call_counts_once_whichever_ways_its_record_came() {
    let (_, fields) = KERNEL.split_once("): ").unwrap();
    let journal = format!("Nov 28 22:49:58 vm audit[13748]: SECCOMP {fields}");
    let kernel = format!("Nov 28 22:49:58 vm kernel: {KERNEL}");
    let auditd = format!("type=SECCOMP msg=audit(1795474870.398:22725): {fields}\u{1d}ARCH=x86_64");
    assert_eq!(
        calls(&[
            kernel.clone(),
            journal.clone(),
            journal.clone(),
            kernel.clone()
        ]),
        (2, None)
    );
    assert_eq!(calls(&[kernel.clone(), auditd]), (1, Some(0)));
    assert_eq!(calls(&[kernel.clone(), kernel]), (2, Some(0)));
}

#[test]
fn records_of_audit_rules_are_calls_unless_seccomp_told_of_them() {
    let rule = "type=SYSCALL msg=audit(1.2:4): arch=c000003e syscall=83 success=no exit=-2 a0=55 items=2 ppid=1 pid=13748 comm=\"ls\" exe=\"/bin/ls\" subj=a key=\"seen\"";
    assert_eq!(say(rule).as_deref(), Ok("amd64 mkdir 13748 ls /bin/ls"));
    let keyed = rule.replace("subj=a ", "");
    assert_eq!(say(&keyed).as_deref(), Ok("amd64 mkdir 13748 ls /bin/ls"));
    let seccomp = KERNEL.replace("audit: type=1326", "type=SECCOMP");
    assert_eq!(calls(&[seccomp, rule.into()]).0, 1);
    assert_eq!(calls(&[rule.into(), rule.into()]).0, 2);
}

#[test]
fn gaps_in_the_serial_numbers_are_losses() {
    let serial = |n: u64| KERNEL.replace(":22725", &format!(":{n}"));
    let other = "audit: type=1400 audit(1795474870.398:12): apparmor=\"DENIED\"".to_owned();
    assert_eq!(
        calls(&[serial(10), serial(11), other, serial(13)]).1,
        Some(0)
    );
    assert_eq!(calls(&[serial(10), serial(29), serial(29)]).1, Some(18));
    // After a boot.
    assert_eq!(calls(&[serial(100), serial(1), serial(2)]).1, Some(0));
}

#[test]
fn losses_are_counted() {
    assert_eq!(
        say("[ 3683.829070] kauditd_printk_skb: 17 callbacks suppressed"),
        Err(Seen::Lost(17))
    );
    assert_eq!(
        say("kernel: kauditd_printk_skb: 18 callbacks suppressed in all"),
        Err(Seen::Lost(18))
    );
    assert_eq!(
        say("audit: audit_lost=7 audit_rate_limit=0 audit_backlog_limit=64"),
        Err(Seen::Lost(1))
    );
}

/// A name as the kernel writes it (`audit_log_untrustedstring`).
fn untrusted(name: &[u8]) -> String {
    if name.iter().any(|b| *b == b'"' || *b < 0x21 || *b > 0x7e) {
        return name
            .iter()
            .fold(String::new(), |hex, b| hex + &format!("{b:02X}"));
    }
    format!("\"{}\"", String::from_utf8_lossy(name))
}

proptest::proptest! {
    #[test]
    fn what_the_kernel_writes_is_read(
        number in proptest::sample::select(Arch::ALL.to_vec()).prop_flat_map(|arch| {
            let calls: Vec<_> = seccomp_profile::Syscall::all().filter_map(|c| c.number(arch)).collect();
            (proptest::strategy::Just(arch), proptest::sample::select(calls))
        }),
        comm in "[^\0]{1,15}",
        code in proptest::num::u32::ANY,
    ) {
        let (arch, number) = number;
        let line = format!(
            "audit: type=1326 audit(1.2:3): auid=0 uid=0 gid=0 ses=1 subj=a b=\"c pid=5 comm={} exe=\"/x\" sig=0 arch={:x} syscall={number} compat=0 ip=0x1 code=0x{code:x}",
            untrusted(comm.as_bytes()),
            arch.audit_arch(),
        );
        let mut found = vec![];
        let seen = read(&mut Reader::default(), &line, &mut |call| {
            found.push((call.arch, call.called, call.comm.to_owned(), call.verdict));
        });
        proptest::prop_assert_eq!(seen, Seen::Used);
        let want = (arch, Called::numbered(arch, number), comm, Some(Verdict::from_code(code)));
        proptest::prop_assert_eq!(found, vec![want]);
    }

    #[test]
    fn no_line_is_too_strange(
        line in "(type=1326 |type=SECCOMP |SECCOMP |arch=|syscall=|code=0x|comm=|\"|=|[0-9a-f]| |\\{|\\PC){0,30}"
    ) {
        let mut calls = 0;
        let seen = read(&mut Reader::default(), &line, &mut |_| calls += 1);
        proptest::prop_assert_eq!(seen == Seen::Used, calls == 1);
    }
}
