//! How fast traces are read: `from-strace` and `from-audit` beside `grep -c`, which only looks for a word, on the same file and in turns.
//!
//!     cargo bench -p kubectl-seccomp --bench traces

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const LINES: usize = 2_000_000;
const TURNS: usize = 5;

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let tool = env!("CARGO_BIN_EXE_kubectl-seccomp");
    println!(
        "{:<12}{:>9}{:>14}{:>14}{:>9}{:>12}{:>10}{:>9}",
        "", "MB", "grep -c/s", "read/s", "times", "on one core", "times", "MiB"
    );
    for (command, word, line) in [
        (
            "from-strace",
            "openat",
            strace_line as fn(usize, &mut String),
        ),
        ("from-audit", "syscall=257", audit_line),
    ] {
        let file = folder.path().join(command);
        let size = write(&file, line)?;
        let grep_it = || time(Command::new("grep").args(["-c", word]).arg(&file));
        let reader = || {
            let mut reader = Command::new(tool);
            reader.args([command, "-o", "names"]).arg(&file);
            reader
        };
        let memory = memory(&mut reader())?;
        let (mut grep, mut read) = (vec![], vec![]);
        let (mut grep_alone, mut read_alone) = (vec![], vec![]);
        for _ in 0..TURNS {
            grep.push(grep_it()?);
            read.push(time(&mut reader())?);
            let all = sched_getaffinity(None)?;
            sched_setaffinity(None, &first_of(&all))?;
            grep_alone.push(grep_it()?);
            read_alone.push(time(&mut reader())?);
            sched_setaffinity(None, &all)?;
        }
        let (grep, read) = (least(&grep), least(&read));
        let (grep_alone, read_alone) = (least(&grep_alone), least(&read_alone));
        let (times, times_alone) = (read / grep, read_alone / grep_alone);
        println!(
            "{command:<12}{:>9}{:>14}{:>14}{times:>9.2}{:>12}{times_alone:>10.2}{:>9}",
            size / 1_000_000,
            format!("{grep:.3} s"),
            format!("{read:.3} s"),
            format!("{read_alone:.3} s"),
            memory / 1024,
        );
        let met = times <= 1.2 && times_alone <= 2.0 && memory <= 16 << 10;
        println!(
            "{:<12}budget: 1.2 times, 2.0 times on one core, 16 MiB{:>20}",
            "",
            if met { "met" } else { "NOT MET" }
        );
    }
    Ok(())
}

/// Seconds; whatever else runs on the machine only ever makes one worse.
fn least(times: &[Duration]) -> f64 {
    times.iter().min().map_or(0.0, Duration::as_secs_f64)
}

fn first_of(all: &CpuSet) -> CpuSet {
    let mut one = CpuSet::new();
    if let Some(core) = (0..CpuSet::MAX_CPU).find(|core| all.is_set(*core)) {
        one.set(core);
    }
    one
}

/// How long it takes.
fn time(command: &mut Command) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let ended = spawn(command)?.wait()?;
    ensure!(ended.success(), "{command:?}: {ended}");
    Ok(started.elapsed())
}

/// The most memory that it was seen to hold, in KiB. Looking takes time of what is looked at: no run is measured for both.
fn memory(command: &mut Command) -> anyhow::Result<u64> {
    let mut child = spawn(command)?;
    let status = format!("/proc/{}/status", child.id());
    let mut memory = 0;
    loop {
        if let Some(ended) = child.try_wait()? {
            ensure!(ended.success(), "{command:?}: {ended}");
            return Ok(memory);
        }
        let status = fs::read_to_string(&status).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok());
        memory = memory.max(peak.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Into a pipe, which holds all that they print: grep stops at the first match if nobody can see how many there are.
fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

fn write(path: &Path, line: fn(usize, &mut String)) -> anyhow::Result<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut text = String::new();
    for n in 0..LINES {
        text.clear();
        line(n, &mut text);
        writeln!(file, "{text}")?;
    }
    file.flush()?;
    Ok(fs::metadata(path).context("no file")?.len())
}

/// What `strace -f -o` writes of four processes: one line of eight tells of half a call.
fn strace_line(n: usize, line: &mut String) {
    let pid = 1200 + n % 4;
    let _ = match n / 4 % 16 {
        0 => write!(
            line,
            r#"{pid}  openat(AT_FDCWD, "/usr/lib/x86_64-linux-gnu/libc-{n}.so.6", O_RDONLY|O_CLOEXEC) = 3"#
        ),
        1 => write!(
            line,
            r#"{pid}  read(3, "\177ELF\2\1\1\3\0\0\0\0\0\0\0\0\3\0>\0\1\0\0\0P\237\2\0\0\0\0\0"..., 832) = 832"#
        ),
        2 => write!(
            line,
            r#"{pid}  newfstatat(3, "", {{st_mode=S_IFREG|0755, st_size={n}, ...}}, AT_EMPTY_PATH) = 0"#
        ),
        3 => write!(
            line,
            "{pid}  mmap(NULL, 2125824, PROT_READ, MAP_PRIVATE|MAP_DENYWRITE, 3, 0) = 0x7f2a{n:08x}"
        ),
        4 => write!(line, "{pid}  close(3)                          = 0"),
        5 => write!(
            line,
            "{pid}  futex(0x7f2a{n:08x}, FUTEX_WAIT_PRIVATE, 2, NULL <unfinished ...>"
        ),
        6 => write!(
            line,
            "{pid}  <... futex resumed>)              = -1 EAGAIN (Resource temporarily unavailable)"
        ),
        7 => write!(
            line,
            r#"{pid}  write(5, "GET /index.html?n={n} HTTP/1.1\r\nHost: shop.example.com\r\nUser-A"..., 214) = 214"#
        ),
        8 => write!(
            line,
            r#"{pid}  statx(AT_FDCWD, "/srv/www/{n}.html", AT_STATX_SYNC_AS_STAT, STATX_ALL, 0x7ffc{n:08x}) = -1 ENOENT (No such file or directory)"#
        ),
        9 => write!(
            line,
            "{pid}  epoll_wait(7, [{{events=EPOLLIN, data={{u32=12, u64=12}}}}], 512, -1) = 1"
        ),
        10 => write!(
            line,
            r#"{pid}  recvfrom(12, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"..., 4096, 0, NULL, NULL) = {n}"#
        ),
        11 => write!(line, "{pid}  mprotect(0x7f2a{n:08x}, 16384, PROT_READ) = 0"),
        12 => write!(
            line,
            "{pid}  rt_sigaction(SIGPIPE, {{sa_handler=SIG_IGN, sa_mask=[], sa_flags=SA_RESTORER, sa_restorer=0x7f2a{n:08x}}}, NULL, 8) = 0"
        ),
        13 => write!(
            line,
            r#"{pid}  sendto(12, "0123456789abcdef"..., 16, MSG_NOSIGNAL, NULL, 0) = 16"#
        ),
        14 => write!(line, "{pid}  lseek(3, {n}, SEEK_SET)              = {n}"),
        _ => write!(line, "{pid}  getpid()                          = {pid}"),
    };
}

/// What auditd keeps of a profile that logs.
fn audit_line(n: usize, line: &mut String) {
    let (pid, serial) = (1200 + n % 4, 1000 + n);
    let syscall = [257, 0, 262, 9, 3, 202, 1, 332][n / 4 % 8];
    let _ = write!(
        line,
        "type=SECCOMP msg=audit(1795863491.{:03}:{serial}): auid=4294967295 uid=101 gid=101 ses=4294967295 subj=unconfined pid={pid} comm=\"nginx\" \
         exe=\"/usr/sbin/nginx\" sig=0 arch=c000003e syscall={syscall} compat=0 ip=0x7f2a{n:08x} code=0x7ffc0000",
        n % 1000,
    );
}
