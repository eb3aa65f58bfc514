#!/usr/bin/env bash
#
# crun loads the filter of a container with noNewPrivileges (allowPrivilegeEscalation: false in Kubernetes) as the last thing before it
# executes the program, and only then looks at the profile's flags. So a profile that crun does not take (here for a flag that nobody
# knows) fails neither `create` nor `start`: the container starts, ends with 1, and crun's own words are in the container's standard
# error, in the form that --log-format asks for. Under Kubernetes such a pod has no StartError; `kubectl logs` has a line of JSON that
# no program of the image has written. Without noNewPrivileges, and with runc either way, `create` fails.
#
# Seen with crun 1.8.1 of Debian 12, 1.21 of Debian 13 and 1.28 of Debian sid, on x86_64.
#
# Needs apt, gcc, Python, x86_64, Debian 12 and root (it creates three containers). Ends with 1 if this has changed.
set -euo pipefail

# crun starts nothing where the hierarchies of cgroups of both versions have controllers: the second is hidden from it, here alone.
if [[ -z ${HIDDEN:-} ]]; then
	HIDDEN=yes exec unshare --mount "$0"
fi
awk '$3 == "cgroup2" && $2 != "/sys/fs/cgroup" { print $2 }' /proc/mounts | xargs --no-run-if-empty umount

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download --quiet --quiet crun=1.8.1-1+deb12u1 libyajl2=2.1.0-3+deb12u2 runc=1.1.5+ds1-1+deb12u1 libseccomp2=2.5.4-1+deb12u1 2>/dev/null
for package in ./*.deb; do
	dpkg --extract "$package" .
done
export LD_LIBRARY_PATH=$work/usr/lib/x86_64-linux-gnu

mkdir --parents bundle/rootfs
gcc -static -x c -o bundle/rootfs/program - <<<'int main(void) { return 0; }'
usr/sbin/runc spec --bundle bundle
cp bundle/config.json plain.json

# try RUNTIME NO_NEW_PRIVILEGES
try() {
	local runtime=$1 id=late-$$ created=fails
	python3 - "$2" <<'PY'
import json, sys

config = json.load(open("plain.json"))
config["process"].update(terminal=False, args=["/program"], noNewPrivileges=sys.argv[1] == "yes")
config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_FANCY"]}
json.dump(config, open("bundle/config.json", "w"))
PY
	run() { "usr/$runtime" --root "$work/state" --log "$work/log" --log-format json "$@"; }
	: >output
	if run create --bundle bundle "$id" >output 2>&1 </dev/null; then
		created=works
		run start "$id"
		sleep 0.5
		cat output
		run delete --force "$id"
	fi
	echo "$runtime, noNewPrivileges $2: create $created" | tee --append seen
}

try bin/crun yes
grep --quiet --fixed-strings '"msg":"unknown seccomp option' output
try bin/crun no
try sbin/runc yes
diff - seen <<'SEEN'
bin/crun, noNewPrivileges yes: create works
bin/crun, noNewPrivileges no: create fails
sbin/runc, noNewPrivileges yes: create fails
SEEN
