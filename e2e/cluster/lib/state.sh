# shellcheck shell=bash disable=SC2034 # its names are for those who source it
#
# What a cluster is called, where its things are and which addresses it has.
# Only names and paths: nothing here starts, stops or asks anything.

readonly STATE_ROOT="${XDG_STATE_HOME:-${HOME:-/root}/.local/state}/seccomp-operator/clusters"

# Inside a cluster's own network namespace, so every cluster has the same.
readonly SERVICE_CIDR=10.96.0.0/16
readonly POD_CIDR=10.244.0.0/24
readonly API_PORT=6443

# use_cluster NAME: sets the names below for this run.
use_cluster() {
	[[ $1 =~ ^[a-z]([a-z0-9-]{0,9}[a-z0-9])?$ ]] ||
		die "'$1' cannot name a cluster: up to 11 lower-case letters, digits and dashes, a letter first"
	CLUSTER_NAME=$1
	# A network device's name has 15 characters at most.
	DEVICE=sco-$CLUSTER_NAME
	CGROUP=sco-$CLUSTER_NAME
	NODE=$CLUSTER_NAME-node
	STATE=$STATE_ROOT/$CLUSTER_NAME
	KUBECONFIG_FILE=$STATE/kubeconfig
	# The file system of the node; see node/init for what becomes of it.
	NODE_FS=$STATE/node
	LOGS=$NODE_FS/var/log/kubernetes
}

# The process that is PID 1 on the node, by its number outside; fails if the
# cluster does not run. A number that the kernel gave to another process since
# is told by its cgroup.
node_pid() {
	local pid
	[[ -r $STATE/pid ]] || return
	pid=$(<"$STATE/pid")
	grep -qsE ":/$CGROUP(/|$)" "/proc/$pid/cgroup" || return
	printf '%s\n' "$pid"
}

# Where the file PATH of the node is on this machine.
node_path() {
	case $1 in
	/var/lib | /var/lib/* | /var/log | /var/log/* | /tmp | /tmp/*) printf '%s\n' "$NODE_FS$1" ;;
	*) die "of the node's files only those below /var/lib, /var/log and /tmp are its own" ;;
	esac
}

# One in the cluster of two addresses, one at this machine's end.
node_ip() { printf '%s.2\n' "$(<"$STATE/subnet")"; }
host_ip() { printf '%s.1\n' "$(<"$STATE/subnet")"; }
