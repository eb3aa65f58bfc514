#!/usr/bin/env bash
#
# CRI-O's profile for RuntimeDefault has two rules for some calls, of which only the first one counts once runc has made a filter of them:
#
# * setns is in the list of what everybody may call, and below that is refused with EPERM without CAP_SYS_ADMIN. It reaches the kernel.
# * perf_event_open is refused without CAP_SYS_ADMIN, and below that allowed with CAP_PERFMON. CAP_PERFMON gives a container nothing; and with
#   CAP_SYS_ADMIN alone no rule is left for it, and it gets ENOSYS.
#
# unshare is in no list at all without CAP_SYS_ADMIN, and gets ENOSYS, where one that tries it after clone has got EPERM. The profile is that of
# containers/common, so by its source Podman's has the first two as well; containerd's asks for a capability for either call, and gives it.
#
# Seen with CRI-O 1.34.0 (containers/common 0.63.0), conmon 2.1.6 and runc 1.5.3, on x86_64 and Linux 6.18.
#
# Needs what the clusters without Docker need (e2e/cluster/install; CRI-O is built the first time) and root. Starts a cluster and takes it down.
# Ends with 1 if this has changed.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
cluster=$here/../e2e/cluster/cluster
export RUNTIME=crio CLUSTER=two-rules NODES=1
trap '"$cluster" down; rm -rf "$work"' EXIT
work=$(mktemp -d)
"$cluster" up
kubectl() { "$("$here/../e2e/cluster/install" path tools)/kubectl" --kubeconfig "$("$cluster" kubeconfig)" "$@"; }

gcc -static -D_GNU_SOURCE -x c -o "$work/program" - <<'C'
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
	syscall(SYS_setns, -1, 0);
	printf("setns %s, ", strerrorname_np(errno));
	syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
	printf("perf_event_open %s, ", strerrorname_np(errno));
	errno = 0;
	syscall(SYS_unshare, CLONE_FS);
	printf("unshare %s\n", strerrorname_np(errno));
	return 0;
}
C
cp "$work/program" "$("$cluster" path /tmp)/program"

# try NAME CAPABILITIES: what the calls come to for a container that has these beside the usual ones.
try() {
	kubectl apply -f - >/dev/null <<-YAML
		apiVersion: v1
		kind: Pod
		metadata: {name: $1}
		spec:
		  restartPolicy: Never
		  containers:
		  - name: it
		    image: seccomp-operator.local/pause:e2e
		    command: [/node/program]
		    volumeMounts: [{name: node, mountPath: /node}]
		    securityContext: {seccompProfile: {type: RuntimeDefault}, capabilities: {add: [$2]}}
		  volumes: [{name: node, hostPath: {path: /tmp}}]
	YAML
	kubectl wait "pod/$1" --for=jsonpath='{.status.phase}'=Succeeded --timeout=60s >/dev/null
	echo "$1: $(kubectl logs "$1")" | tee --append "$work/seen"
}

try usual ''
try perfmon PERFMON
try admin SYS_ADMIN
# EBADF and EFAULT are the kernel's own: the call has reached it.
diff - "$work/seen" <<'SEEN'
usual: setns EBADF, perf_event_open EPERM, unshare ENOSYS
perfmon: setns EBADF, perf_event_open EPERM, unshare ENOSYS
admin: setns EBADF, perf_event_open ENOSYS, unshare 0
SEEN
