#!/usr/bin/env bash
#
# runc puts before an allow-list whose default is an errno a piece of its own that answers ENOSYS to calls newer than all that
# the list names, so that C libraries fall back to older ones. runc 1.1 does so only if the profile has `architectures`, which
# the OCI runtime specification makes optional: without the field a new call gets the default's EPERM, and programs that
# try it first fail. Later minors (seen with 1.3.6) do it either way.
#
# Seen with runc 1.1.5 of Debian 12 (libseccomp 2.5.4) on x86_64: call number 999, which no kernel has, gets 38 (ENOSYS) with
# the field and 1 (EPERM) without.
#
# Needs apt, gcc, Python, x86_64 and root (it runs two containers). Ends with 1 if this has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download --quiet --quiet runc=1.1.5+ds1-1+deb12u1 libseccomp2=2.5.4-1+deb12u1 2>/dev/null
for package in ./*.deb; do
	dpkg --extract "$package" .
done
export LD_LIBRARY_PATH=$work/usr/lib/x86_64-linux-gnu
runc() {
	usr/sbin/runc --root "$work/state" "$@"
}
runc --version

mkdir --parents bundle/rootfs
gcc -static -x c -o bundle/rootfs/call - <<'C'
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
  syscall(999);
  return !printf("%d\n", errno);
}
C
runc spec --bundle bundle
cp bundle/config.json plain.json

# What the container is to do, and whether the profile has `architectures`.
configure() {
	python3 - "$1" <<'PY'
import json, sys

config = json.load(open("plain.json"))
config["process"].update(terminal=False, args=["/call"])
# What runc 1.1 and a static program need, with calls of Linux 5.8 among them.
names = """
    arch_prctl brk capget capset chdir clock_nanosleep close dup dup3 epoll_create1 epoll_ctl epoll_pwait execve exit exit_group faccessat2 fchdir
    fchown fcntl fstat fstatfs futex getcwd getdents64 getpid getppid getrandom gettid ioctl lseek mmap mprotect munmap nanosleep newfstatat openat
    openat2 prctl pread64 prlimit64 read readlink readlinkat rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_yield set_robust_list
    set_tid_address setgid setgroups setuid sigaltstack statfs statx tgkill uname write writev
""".split()
profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]}
if sys.argv[1] == "with":
    profile["architectures"] = ["SCMP_ARCH_X86_64"]
config["linux"]["seccomp"] = profile
json.dump(config, open("bundle/config.json", "w"))
PY
}

for field in with without; do
	configure "$field"
	errno=$(runc run --bundle bundle "stub-$field-$$")
	echo "$field architectures: errno $errno"
	echo "$field $errno" >>seen
done
diff - seen <<'SEEN'
with 38
without 1
SEEN
