# shellcheck shell=bash
#
# The one link between this machine and a cluster: a veth pair with four
# addresses of its own, so that kubectl and the tests reach the API server.
# Nothing is forwarded: the cluster reaches this machine and no further.

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
			! ip -4 route show table all root "$subnet.0/30" | grep -q . || continue
			echo "$subnet" >"$STATE/subnet"
			exec {lock}>&-
			return
		done
	done
	exec {lock}>&-
	die "no free subnet for the cluster: this machine has routes for all of 10.200/18, 172.30/18 and 198.18/18"
}

connect_network() {
	ip link add "$DEVICE" type veth peer name eth0 netns "$1"
	ip link set "$DEVICE" addrgenmode none
	ip address add "$(host_ip)/30" dev "$DEVICE"
	ip link set "$DEVICE" up
}

# Its other end goes with it, if the cluster's namespace has not gone already.
disconnect_network() {
	! ip link show "$DEVICE" >/dev/null 2>&1 || ip link delete "$DEVICE" 2>/dev/null || true
}
