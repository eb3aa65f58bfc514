# shellcheck shell=bash
#
# What becomes of a node, from its files to its end; always of the one that was
# last said to use_node.

# In the order of their starts.
readonly COMPONENTS=(etcd containerd kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy)
readonly WORKER_COMPONENTS=(containerd kubelet kube-proxy)

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
	await "container runtime of $NODE" containerd_cli version
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

containerd_cli() {
	nsenter --target "$(node_pid)" --mount -- env PATH="/run/kubernetes/bin:$PATH" ctr --namespace k8s.io "$@"
}

# Images that the control plane has and this node has not: no registry has them.
fetch_images() {
	local image missing
	image_known "$PAUSE_IMAGE" || import_image "$CACHE_DIR/images/pause.tar" >/dev/null
	! is_control_plane || return 0
	mapfile -t missing < <(comm -13 <(image_names) <(on_control_plane image_names))
	((${#missing[@]})) || return 0
	on_control_plane export_images "${missing[@]}" | containerd_cli images import - >/dev/null
	for image in "${missing[@]}"; do
		await "image $image" image_known "$image"
	done
}

# Writes an archive to standard output. Without --local the ctr of containerd 2 may end before it has written all, and says nothing of it
# (findings/ctr-export-ends-before-its-archive.sh); the ctr of 1.6 has no such option and always writes all.
export_images() {
	local options=()
	[[ $(containerd_cli images export --help) != *--local* ]] || options=(--local)
	containerd_cli images export "${options[@]}" - "$@"
}

on_control_plane() { (use_node "$(nodes | head -n 1)" && "$@"); }

# Beside its name an image goes by its hashes.
image_names() { containerd_cli images list --quiet 2>/dev/null | grep -v sha256: | sort; }

# Prints the names of the images in an archive. containerd knows an image at once,
# its Kubernetes side a moment later: only then can a pod have it.
import_image() {
	local image output
	output=$(containerd_cli images import - <"$1" 2>&1) || die "containerd does not take $1: $output"
	while read -r image; do
		await "image $image" image_known "$image"
		printf '%s\n' "$image"
	done < <(archive_images "$1")
}

# What ctr prints of them is another thing in each of its releases.
archive_images() {
	tar --extract --to-stdout --file "$1" manifest.json |
		python3 -c 'import json, sys; [print(name) for image in json.load(sys.stdin) for name in image["RepoTags"]]'
}

image_known() {
	containerd_cli images list "name==$1" 2>/dev/null | grep -q io.cri-containerd.image=managed
}
