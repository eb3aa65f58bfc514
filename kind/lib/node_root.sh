# shellcheck shell=bash
#
# The file system of a node: Debian, with what kind's own image has, and the programs of the cluster.

readonly BASE_SUITE=bookworm
# As in kind's own image, but for what serves storage and file systems that no test has.
readonly BASE_PACKAGES=(
	systemd systemd-sysv conntrack iptables nftables iproute2 ethtool util-linux mount kmod libseccomp2
	bash ca-certificates jq procps containernetworking-plugins
)
readonly BASE_NAME=kind-base-$BASE_SUITE

install_base() {
	[[ ! -d $CACHE_DIR/$BASE_NAME ]] || return 0
	install_missing debootstrap:debootstrap
	in_cache "$BASE_NAME" build_base
}

build_base() {
	logged "making a Debian of its own for kind's nodes" "$CACHE_DIR/$BASE_NAME.log" fetch_base "$1"
}

fetch_base() {
	local mirror packages
	mirror=$(debian_mirror)
	[[ -n $mirror ]] || { apt-get update && mirror=$(debian_mirror); }
	[[ -n $mirror ]] || {
		echo "none of this machine's apt sources is a mirror of Debian's archive"
		return 1
	}
	packages=$(printf ',%s' "${BASE_PACKAGES[@]}")
	debootstrap --variant=minbase --include="${packages#,}" "$BASE_SUITE" "$1" "$mirror" || return
	rm -rf "$1"/usr/share/{doc,man,info,locale} "$1"/var/{cache/apt,lib/apt/lists,log}/* "$1"/var/cache/debconf/*
}

# furnish_root ROOT
furnish_root() {
	local root=$1 kubernetes containerd
	kubernetes=$(module_bin kubernetes) containerd=$(module_bin containerd)
	cp --archive "$CACHE_DIR/$BASE_NAME/." "$root" || return
	cp --recursive --no-preserve=ownership "$(module_bin kind)/node/." "$root" || return
	chmod 755 "$root"/kind{,/bin,/bin/*} "$root"/usr/local/bin/* || return
	install -t "$root/usr/bin" "$kubernetes/kubelet" "$(module_bin kubeadm)/kubeadm" "$(tools_bin)/kubectl" || return
	install -t "$root/usr/local/bin" "$containerd"/{containerd,ctr,containerd-shim-runc-v2} "$(module_bin crictl)/crictl" || return
	install -t "$root/usr/local/sbin" "$(module_bin runc)/runc" || return
	mkdir -p "$root/opt/cni" "$root/etc/kubernetes/manifests" "$root/kind/manifests" || return
	ln -sfn /usr/lib/cni "$root/opt/cni/bin" || return
	printf 'v%s' "$(module_version kubernetes)" >"$root/kind/version"
	install -m 644 -t "$root/kind/manifests" "$HERE"/node/*.yaml || return
	configure_systemd "$root" && configure_containerd "$root"
}

# As kind's own image does it: of systemd's units those that a container has no use for are away.
configure_systemd() {
	local root=$1 units=$1/usr/lib/systemd/system
	rm -f "$units"/{multi-user,local-fs,basic}.target.wants/* "$root"/etc/systemd/system/*.wants/* \
		"$units"/sysinit.target.wants/systemd-tmpfiles-setup.service "$units"/sockets.target.wants/*{udev,initctl}*
	echo ReadKMsg=no >>"$root/etc/systemd/journald.conf"
	systemctl --root "$root" enable kubelet.service containerd.service undo-mount-hacks.service &&
		systemctl --root "$root" mask systemd-binfmt.service
}

configure_containerd() {
	local root=$1
	# The sandbox's image is ours, and without CAP_SYS_RESOURCE no process may lower its score.
	sed -i -E "s|^( *sandbox_image = ).*|\\1\"$PAUSE_IMAGE\"|; s|^( *restrict_oom_score_adj = ).*|\\1true|" "$root/etc/containerd/config.toml"
	grep -q "sandbox_image = \"$PAUSE_IMAGE\"" "$root/etc/containerd/config.toml" || return
	"$(module_bin containerd)/ctr" oci spec |
		jq '.hooks.createContainer[.hooks.createContainer | length] |= . + {"path": "/kind/bin/mount-product-files.sh"} | del(.process.rlimits)' \
			>"$root/etc/containerd/cri-base.json"
}
