#!/usr/bin/env bash
#
# `ausearch -i` puts a name to the call of a record whose architecture it does not know: the name that the number has on the
# machine where ausearch runs. A record of riscv64 (arch=c00000f3), where 83 is fdatasync, is shown on x86_64 as
# "arch=unknown-elf-type(c00000f3) syscall=mkdir"; with --raw the number stays. So a name beside such an architecture says
# nothing, and an allow-list made of it allows a call that nobody made.
#
# Seen with auditd 3.0.9 of Debian 12 on x86_64, whose tables have no riscv64.
#
# Needs apt, as root or not, and x86_64. Ends with 1 if this has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download --quiet --quiet auditd=1:3.0.9-1 libauparse0=1:3.0.9-1 libaudit1=1:3.0.9-1 2>/dev/null
for package in ./*.deb; do
	dpkg --extract "$package" .
done
export LD_LIBRARY_PATH=$work/lib/x86_64-linux-gnu:$work/usr/lib/x86_64-linux-gnu

record() {
	echo "type=SECCOMP msg=audit(1700000000.123:$1): auid=0 uid=0 gid=0 ses=1 pid=12 comm=\"a\" exe=\"/bin/a\" sig=31 arch=$2 syscall=83 compat=0 ip=0x1000 code=0x80000000"
}
{
	record 1 c000003e
	record 2 c00000b7
	record 3 c00000f3
} >log

sbin/ausearch --version
sbin/ausearch --interpret --input log | grep --only-matching 'arch=.* compat' | tee shown
diff - shown <<'SHOWN'
arch=x86_64 syscall=mkdir compat
arch=aarch64 syscall=fdatasync compat
arch=unknown-elf-type(c00000f3) syscall=mkdir compat
SHOWN
