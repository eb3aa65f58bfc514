#!/usr/bin/env bash
#
# A profile may list the architectures of other machines beside the node's own: runc makes filters for them that nothing ever
# runs, and the container starts. But if they are of the other byte order (x86_64 and s390x in one profile, as one that is
# meant for all machines of a mixed cluster would have), no container starts on either: libseccomp refuses the second, and runc
# says "error adding architecture to seccomp filter: numerical argument out of domain", which names neither.
#
# Seen with runc 1.1.5 and libseccomp 2.5.4 of Debian 12 on x86_64.
#
# Needs apt, gcc, Python, x86_64 and root (it runs containers). Ends with 1 if this has changed.
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
echo 'int main(void) { return 0; }' | gcc -static -x c -o bundle/rootfs/nothing -
runc spec --bundle bundle
cp bundle/config.json plain.json

# Whether a container starts under a profile with these architectures besides the machine's own.
starts_with() {
	python3 - "$@" <<'PY'
import json, sys

config = json.load(open("plain.json"))
config["process"].update(terminal=False, args=["/nothing"])
config["linux"]["seccomp"] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64"] + ["SCMP_ARCH_" + name for name in sys.argv[1:]],
    "syscalls": [{"names": ["chmod"], "action": "SCMP_ACT_ERRNO"}],
}
json.dump(config, open("bundle/config.json", "w"))
PY
	runc run --bundle bundle "architectures-$$" 2>said
}

starts_with AARCH64 ARM PPC64LE
echo "with AARCH64, ARM and PPC64LE: starts"
if starts_with S390X; then
	echo "with S390X: starts"
	exit 1
fi
echo "with S390X: $(cat said)"
grep --quiet 'numerical argument out of domain' said
