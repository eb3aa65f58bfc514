#!/usr/bin/env bash
#
# strace marks where a process changes to 32-bit calls and back ("[ Process PID=12 runs in 32 bit mode. ]"), but with -o it does
# not: the marks are neither in the file nor on standard error, and a 32-bit call stands in the file like any other of that
# name. An allow-list made of it has the call for the wrong architecture. The numbers of -n tell them apart (20 is getpid on
# i386 and writev on x86_64).
#
# Seen with strace 6.1 of Debian 12 on x86_64.
#
# Needs apt, gcc, libunwind8, x86_64 and a kernel that runs 32-bit calls. Ends with 1 if this has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download --quiet --quiet strace=6.1-0.1 2>/dev/null
dpkg --extract ./strace_*.deb .
strace=usr/bin/strace
"$strace" --version | head --lines 1

gcc -static -x c -o getpid - <<'C'
/* getpid as i386 numbers it, by the gate of 32-bit programs. */
int main(void) {
  long pid;
  __asm__ volatile("int $0x80" : "=a"(pid) : "a"(20) : "memory");
  return pid <= 0;
}
C

"$strace" ./getpid 2>terminal
"$strace" --output=file ./getpid 2>beside
"$strace" -n --output=numbered ./getpid 2>>beside

marks() {
	grep --count 'runs in .. bit mode' "$1" || true
}
echo "on standard error: $(marks terminal) marks"
echo "in the file of -o: $(marks file) marks, and beside it $(wc --bytes <beside) bytes"
grep '^getpid' file
grep 'getpid' numbered
[[ $(marks terminal) == 2 && $(marks file) == 0 && ! -s beside ]]
grep --quiet '^\[ *20\] getpid' numbered
