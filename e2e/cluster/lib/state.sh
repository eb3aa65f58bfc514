# shellcheck shell=bash disable=SC2034 # its names are for those who source it
#
# What a cluster and its nodes are called, where their things are and which
# addresses they have. Only names and paths: nothing here starts, stops or asks
# anything.

readonly STATE_ROOT="${XDG_STATE_HOME:-${HOME:-/root}/.local/state}/seccomp-operator/clusters"

# Inside a cluster's own network namespaces, so every cluster has the same.
readonly SERVICE_CIDR=10.96.0.0/16
readonly POD_CIDR=10.244.0.0/16
readonly API_PORT=6443
# Every node has a route to every other that there may be: none is told when one comes or goes.
readonly MAX_NODES=9

# use_cluster NAME: sets the names below for this run.
use_cluster() {
	[[ $1 =~ ^[a-z]([a-z0-9-]{0,9}[a-z0-9])?$ ]] ||
		die "'$1' cannot name a cluster: up to 11 lower-case letters, digits and dashes, a letter first"
	CLUSTER_NAME=$1
	# A network device's name has 15 characters at most.
	DEVICE=sco-$CLUSTER_NAME
	CGROUP=sco-$CLUSTER_NAME
	STATE=$STATE_ROOT/$CLUSTER_NAME
	KUBECONFIG_FILE=$STATE/kubeconfig
	PKI=$STATE/pki
}

# use_node NAME: sets the names of one of the cluster's nodes, there or not.
use_node() {
	[[ $1 =~ ^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$ ]] ||
		die "'$1' cannot name a node: up to 63 lower-case letters, digits and dashes, a letter first"
	NODE=$1
	NODE_STATE=$STATE/nodes/$NODE
	NODE_CGROUP=$CGROUP/node-$NODE
	# The file system of the node; see node/init for what becomes of it.
	NODE_FS=$NODE_STATE/files
	NODE_PKI=$NODE_FS/var/lib/kubernetes/pki
	LOGS=$NODE_FS/var/log/kubernetes
}

# A node's number says which addresses it has; number 1 is the control plane.
node_number() { cat "$NODE_STATE/number"; }
is_control_plane() { (($(node_number) == 1)); }

# The names of all nodes, in the order of their numbers.
nodes() {
	local number
	for number in "$STATE"/nodes/*/number; do
		[[ ! -e $number ]] || printf '%s %s\n' "$(<"$number")" "$(basename "$(dirname "$number")")"
	done | sort -n | cut -d' ' -f2
}

# The process that is PID 1 on the node, by its number outside; fails if the
# node does not run. A number that the kernel gave to another process since
# is told by its cgroup.
node_pid() { live_pid "$NODE_STATE/pid" "$NODE_CGROUP"; }

# live_pid FILE CGROUP
live_pid() {
	local pid
	[[ -r $1 ]] || return
	pid=$(<"$1")
	# One that has ended and was not asked how has none.
	[[ -e /proc/$pid/exe ]] || return
	grep -qsE ":/$2(/|$)" "/proc/$pid/cgroup" || return
	printf '%s\n' "$pid"
}

# Where the file PATH of the node is on this machine.
node_path() {
	case $1 in
	/var/lib | /var/lib/* | /var/log | /var/log/* | /tmp | /tmp/*) printf '%s\n' "$NODE_FS$1" ;;
	*) die "of the node's files only those below /var/lib, /var/log and /tmp are its own" ;;
	esac
}

# This machine's address, as seen from the cluster.
host_ip() { printf '%s.1\n' "$(<"$STATE/subnet")"; }

# ip_of NUMBER, pods_of NUMBER, mac_of NUMBER: of the node with that number.
ip_of() { printf '%s.%d\n' "$(<"$STATE/subnet")" "$(($1 + 1))"; }
pods_of() { printf '10.244.%d.0/24\n' "$1"; }
# The same after a reboot: nobody has to forget another one.
mac_of() { printf '02:00:00:00:00:%02x\n' "$1"; }

node_ip() { ip_of "$(node_number)"; }
server_ip() { ip_of 1; }

# For `ip route add`, each with the device still to be named.
routes_to_other_pods() {
	local number
	for ((number = 1; number <= MAX_NODES; number++)); do
		((number == $(node_number))) || printf '%s via %s\n' "$(pods_of "$number")" "$(ip_of "$number")"
	done
}
