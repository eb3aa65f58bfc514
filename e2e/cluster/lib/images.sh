# shellcheck shell=bash
#
# The images on a node: always on the one that was last said to use_node. Those of CRI-O are in lib/crio.sh.

# Images that the control plane has and this node has not: no registry has them.
fetch_images() {
	local image missing
	image_known "$PAUSE_IMAGE" || import_image "$CACHE_DIR/images/pause.tar" >/dev/null
	! is_control_plane || return 0
	mapfile -t missing < <(comm -13 <(image_names) <(on_control_plane image_names))
	((${#missing[@]})) || return 0
	"${CONTAINER_RUNTIME}_fetch" "${missing[@]}"
	for image in "${missing[@]}"; do
		await "image $image" image_known "$image"
	done
}

# Prints the names of the images in an archive. containerd knows an image at once,
# its Kubernetes side a moment later: only then can a pod have it.
import_image() {
	local image output
	output=$("${CONTAINER_RUNTIME}_import" "$1" 2>&1) || die "$CONTAINER_RUNTIME does not take $1: $output"
	while read -r image; do
		await "image $image" image_known "$image"
		printf '%s\n' "$image"
	done < <(archive_images "$1")
}

# What is printed of them is another thing in each release of each runtime.
archive_images() {
	tar --extract --to-stdout --file "$1" manifest.json |
		python3 -c 'import json, sys; [print(name) for image in json.load(sys.stdin) for name in image["RepoTags"]]'
}

image_names() { "${CONTAINER_RUNTIME}_image_names" | sort; }

image_known() { "${CONTAINER_RUNTIME}_knows_image" "$1"; }

runtime_answers() { "${CONTAINER_RUNTIME}_answers"; }

on_control_plane() { (use_node "$(nodes | head -n 1)" && "$@"); }

# on_node COMMAND...: with the node's own commands, files and processes, which some commands look for themselves among.
on_node() { nsenter --target "$(node_pid)" --mount --pid -- env PATH="/run/kubernetes/bin:$PATH" "$@"; }

containerd_cli() { on_node ctr --namespace k8s.io "$@"; }

containerd_answers() { containerd_cli version; }

containerd_import() { containerd_cli images import - <"$1"; }

containerd_fetch() { on_control_plane containerd_export "$@" | containerd_cli images import - >/dev/null; }

# Writes an archive to standard output. Without --local the ctr of containerd 2 may end before it has written all, and says nothing of it
# (findings/ctr-export-ends-before-its-archive.sh); the ctr of 1.6 has no such option and always writes all.
containerd_export() {
	local options=()
	[[ $(containerd_cli images export --help) != *--local* ]] || options=(--local)
	containerd_cli images export "${options[@]}" - "$@"
}

# Beside its name an image goes by its hashes.
containerd_image_names() { containerd_cli images list --quiet 2>/dev/null | grep -v sha256:; }

containerd_knows_image() {
	containerd_cli images list "name==$1" 2>/dev/null | grep -q io.cri-containerd.image=managed
}
