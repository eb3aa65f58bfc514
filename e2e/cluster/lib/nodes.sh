# shellcheck shell=bash
#
# What becomes of a node, from its files to its end; always of the one that was
# last said to use_node.

# In the order of their starts.
readonly COMPONENTS=(etcd "$CONTAINER_RUNTIME" kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy)
readonly WORKER_COMPONENTS=("$CONTAINER_RUNTIME" kubelet kube-proxy)

node_components() {
	if is_control_plane; then printf '%s\n' "${COMPONENTS[@]}"; else printf '%s\n' "${WORKER_COMPONENTS[@]}"; fi
}

# create_node [TAINT]: the node's files, and with them its number.
create_node() {
	local number
	mkdir -p "$NODE_STATE"
	for ((number = 1; number <= MAX_NODES; number++)); do
		! grep -qsx "$number" "$STATE"/nodes/*/number || continue
		echo "$number" >"$NODE_STATE/number"
		make_node_certificates
		write_node_configuration "$@"
		return
	done
	rmdir "$NODE_STATE"
	die "cluster '$CLUSTER_NAME' has $MAX_NODES nodes, and no address for another"
}

# Boots it; `await_node` waits until pods can run there.
start_node() {
	local folders
	mapfile -t folders < <(node_folders)
	rm -f "$NODE_STATE/pid"
	# The machine's would tell kubelet that a node which was started anew had never been away.
	cat /proc/sys/kernel/random/uuid >"$NODE_STATE/boot_id"
	create_cgroup "$NODE_CGROUP"
	detached "$NODE_CGROUP" "$LOGS/node.log" unshare --cgroup "$HERE/node/start" "$CLUSTER_NAME" "$NODE" "${folders[@]}"
	await "first process of $NODE" node_pid
	plug_node
}

await_node() {
	await "container runtime of $NODE" runtime_answers
	fetch_images
	await "API server" api_ready
	await "node $NODE" node_ready
}

node_ready() {
	local now
	now=$(kube get node "$NODE" -o 'jsonpath={.status.nodeInfo.bootID} {.status.conditions[?(@.type=="Ready")].status}')
	[[ $now == "$(<"$NODE_STATE/boot_id") True" ]]
}

# All its processes, pods too; its network goes with them. Its files stay.
stop_node() {
	kill_cgroup "$NODE_CGROUP"
	remove_cgroup "$NODE_CGROUP"
}

remove_node() {
	stop_node
	# The node's mounts went with its namespace; should something else still be
	# mounted below, it is not for us to delete.
	rm -rf --one-file-system "$NODE_STATE"
}
