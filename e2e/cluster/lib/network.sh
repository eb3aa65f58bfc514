# shellcheck shell=bash
#
# A cluster's network: a switch, which is a bridge in a network namespace of its own,
# and veth pairs between it and the nodes. One more pair leads to this machine,
# so that kubectl and the tests reach the API server. Nothing is forwarded: the
# cluster reaches this machine and no further.

# Set aside a subnet that neither another cluster nor the machine's routes use.
choose_subnet() {
	local pool third subnet lock
	exec {lock}>"$CACHE_DIR/locks/subnets"
	flock "$lock"
	for pool in 10.200 172.30 198.18; do
		for third in {0..63}; do
			subnet=$pool.$third
			grep -qsx "$subnet" "$STATE_ROOT"/*/subnet && continue
			# Routes that hold it, but for a default route, and routes in it.
			! ip -4 route show table all match "$subnet.2" | grep -qv '^default' || continue
			! ip -4 route show table all root "$subnet.0/24" | grep -q . || continue
			echo "$subnet" >"$STATE/subnet"
			exec {lock}>&-
			return
		done
	done
	exec {lock}>&-
	die "no free subnet for the cluster: this machine has routes for all of 10.200/18, 172.30/18 and 198.18/18"
}

# The switch is there as long as the process that holds its namespace.
start_switch() {
	local pid
	create_cgroup "$CGROUP/switch"
	detached "$CGROUP/switch" /dev/null unshare --net sleep infinity
	pid=$DETACHED
	echo "$pid" >"$STATE/switch"
	await "switch" in_other_network "$pid"
	in_switch ip link add switch type bridge
	in_switch ip link set switch addrgenmode none up
	in_switch ip link add machine master switch type veth peer name "$DEVICE" netns "$$"
	in_switch ip link set machine addrgenmode none up
	ip link set "$DEVICE" addrgenmode none
	ip address add "$(host_ip)/24" dev "$DEVICE"
	ip link set "$DEVICE" up
}

in_other_network() { [[ ! /proc/$1/ns/net -ef /proc/self/ns/net ]]; }
switch_pid() { live_pid "$STATE/switch" "$CGROUP/switch"; }
in_switch() { nsenter --target "$(switch_pid)" --net -- "$@"; }

# Its other ends go with it, if the switch has not gone already.
remove_machine_port() {
	! ip link show "$DEVICE" >/dev/null 2>&1 || ip link delete "$DEVICE" 2>/dev/null || true
}

node_port() { printf 'node-%d\n' "$(node_number)"; }

# The node's end goes with the node, and this end with it: a moment later.
plug_node() {
	in_switch ip link delete "$(node_port)" 2>/dev/null || true
	in_switch ip link add "$(node_port)" master switch type veth \
		peer name eth0 address "$(mac_of "$(node_number)")" netns "$(node_pid)"
	in_switch ip link set "$(node_port)" addrgenmode none up
}

cut_node() { in_switch ip link set "$(node_port)" down; }
join_node() { in_switch ip link set "$(node_port)" up; }
