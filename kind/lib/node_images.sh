# shellcheck shell=bash disable=SC2034 # its names are for those who source it
#
# The images that a node is to have before it starts, since no registry gives them: the control plane's, by the names that
# kubeadm asks for, and the pods' network. They are packed from the same programs that clusters without Docker run.

readonly PAUSE_IMAGE=seccomp-operator.local/pause:e2e
readonly NETWORK_IMAGE=seccomp-operator.local/pod-network:e2e

# make_images ROOT: into ROOT.images.
make_images() {
	local root=$1 images=$1.images name image
	mkdir -p "$images" && defer rm -rf "$images"
	while read -r name; do
		image=${name##*/} image=${image%%:*}
		case $image in
		kube-proxy)
			iptables_tree "$root" "$images/tree-$image" || return
			pack "$name" --tree "$images/tree-$image" --file "$(module_bin kubernetes)/$image:/usr/local/bin/$image"
			;;
		kube-*) pack "$name" --file "$(module_bin kubernetes)/$image:/usr/local/bin/$image" ;;
		etcd) pack "$name" --file "$(module_bin etcd)/etcd:/usr/local/bin/etcd" ;;
		*) continue ;;
		esac || return
	done < <("$(module_bin kubeadm)/kubeadm" config images list --kubernetes-version "v$(module_version kubernetes)")
	program_tree "$root" "$images/tree-network" bash ip sleep mv cat || return
	image=pod-network
	pack "$NETWORK_IMAGE" --tree "$images/tree-network" --file "$(tools_bin)/kubectl:/usr/local/bin/kubectl" \
		--file "$HERE/node/pod-network:/usr/local/bin/pod-network" --entrypoint pod-network || return
	cp "$CACHE_DIR/images/pause.tar" "$images"
}

pack() { "$HERE/../e2e/images/pack" --name "$1" --out "$images/$image.tar" "${@:2}"; }

# program_tree ROOT OUT PROGRAM...: the programs of ROOT, or whole paths there, and the shared libraries that they are linked to.
program_tree() {
	local root=$1 out=$2 program path
	shift 2
	mkdir -p "$out"/usr/{bin,sbin,lib,lib64} "$out/tmp"
	for path in bin sbin lib lib64; do ln -s "usr/$path" "$out/$path"; done
	for program in "$@"; do
		# shellcheck disable=SC2016 # expanded in there
		program=$(PATH=/usr/sbin:/usr/bin chroot "$root" sh -c 'command -v "$1"' sh "$program") || return
		printf '%s\n' "$program"
		chroot "$root" ldd "$program" | grep -o '/[^ ]*'
	done | sort -u | while read -r path; do
		mkdir -p "$out$(dirname "$path")" && cp --dereference "$root$path" "$out$path" || return
	done
}

# The program that has all the names of iptables, and the extensions that rules are made of.
iptables_tree() {
	local root=$1 out=$2 name extensions
	extensions=$(cd "$root" && printf '/%s\n' usr/lib/*/xtables/*.so) || return
	# shellcheck disable=SC2086 # one word each
	program_tree "$root" "$out" xtables-nft-multi $extensions || return
	for name in {ip,ip6}tables{,-save,-restore}; do ln -s xtables-nft-multi "$out/usr/sbin/$name"; done
}

# import_images ROOT: into the node's own store. As in kind's own image they are not unpacked: a node unpacks what it runs.
import_images() {
	local root=$1 work=$1.containerd pid archive status=0
	local ctr=("$(module_bin containerd)/ctr" --address "$work/socket" --namespace k8s.io)
	mkdir -p "$work" && defer rm -rf "$work"
	printf '%s\n' 'version = 3' 'disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"]' \
		"root = \"$root/var/lib/containerd\"" "state = \"$work/state\"" '[grpc]' "address = \"$work/socket\"" \
		'[plugins."io.containerd.internal.v1.opt"]' "path = \"$work/opt\"" >"$work/config.toml"
	"$(module_bin containerd)/containerd" --config "$work/config.toml" &
	pid=$!
	defer stop_process "$pid"
	until [[ -S $work/socket ]] && "${ctr[@]}" version; do
		kill -0 "$pid" || return
		sleep 0.2
	done
	for archive in "$root.images"/*.tar; do
		"${ctr[@]}" images import --no-unpack "$archive" || status=$?
	done
	"${ctr[@]}" images list
	stop_process "$pid"
	rm -rf "$work" "$root.images"
	return "$status"
}

# stop_process PID: one that this shell has started, if it is still there.
stop_process() {
	kill "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}
