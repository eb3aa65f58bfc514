#!/usr/bin/env bash
#
# A bind mount stays with the folder that it was made of, and /proc/self/mountinfo names that folder as it is called now:
# the fourth field (the root) is worked out from where the folder lies at present. So a process in a container sees from
# inside that somebody on the node has renamed the folder of a hostPath, or one above it, or removed it ("//deleted").
# poll(2) on the file tells nothing of it: it has to be read again.
#
# Seen with Linux 6.18 (x86_64), ext4.
#
# Needs util-linux and root, or user namespaces (it makes a mount namespace of its own). Ends with 1 if this has changed.
set -euo pipefail

if [[ ${1:-} != inside ]]; then
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	unshare --user --map-root-user --mount "$0" inside "$work"
	exit
fi

work=$2
mkdir -p "$work/kubelet/seccomp" "$work/container"
mount --bind "$work/kubelet/seccomp" "$work/container"

root_is() {
	local root
	root=$(awk -v at="$work/container" '$5 == at { print $4 }' /proc/self/mountinfo)
	echo "$1: $root"
	[[ $root == *"$2" ]]
}

root_is 'at first' /kubelet/seccomp
mv "$work/kubelet/seccomp" "$work/kubelet/seccomp.old"
mkdir "$work/kubelet/seccomp"
root_is 'the folder was renamed' /kubelet/seccomp.old
mv "$work/kubelet" "$work/kubelet.old"
root_is 'and one above it' /kubelet.old/seccomp.old
rmdir "$work/kubelet.old/seccomp.old"
root_is 'and it was removed' /kubelet.old/seccomp.old//deleted
