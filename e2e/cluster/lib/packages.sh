# shellcheck shell=bash disable=SC2034 # its names are for those who source it
#
# The Debian packages that a cluster, and the build of its parts, run on.
# Installs what is missing and nothing else; a command that is there
# already, from wherever, is good enough.

# What a node runs on: a command or a file, and the package that brings it.
readonly NODE_PACKAGES=(
	/usr/lib/cni/bridge:containernetworking-plugins
	iptables:iptables
	conntrack:conntrack
	ip:iproute2
	nsenter:util-linux
	flock:util-linux
	mount:mount
	openssl:openssl
	python3:python3
	gcc:gcc
	/usr/lib/"$(uname -m)"-linux-gnu/libc.a:libc6-dev
)

# What a node has of Debian where its Kubernetes is Debian's.
readonly DEBIAN_NODE_PACKAGES=(
	etcd:etcd-server
	containerd:containerd
	ctr:containerd
	runc:runc
)

# What only the build of Debian's Kubernetes needs.
readonly DEBIAN_BUILD_PACKAGES=(
	/usr/lib/go-1.19/bin/go:golang-1.19-go
	make:make
	rsync:rsync
	jq:jq
	dpkg-source:dpkg-dev
	gcc:gcc
	xz:xz-utils
	/usr/share/gocode/src/github.com/modern-go/reflect2/unsafe_map.go:golang-github-modern-go-reflect2-dev
	/usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
)

# What only the build from Go modules needs: runc is linked to libseccomp.
readonly MODULE_BUILD_PACKAGES=(
	gcc:gcc
	/usr/include/stdio.h:libc6-dev
	/usr/include/seccomp.h:libseccomp-dev
	pkg-config:pkg-config
)

# install_missing THING:PACKAGE...
install_missing() {
	local pair thing missing=()
	for pair in "$@"; do
		thing=${pair%%:*}
		case $thing in
		/*) [[ -e $thing ]] && continue ;;
		*) command -v "$thing" >/dev/null && continue ;;
		esac
		missing+=("${pair#*:}")
	done
	((${#missing[@]})) || return 0
	mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

	command -v apt-get >/dev/null ||
		die "this needs the Debian packages ${missing[*]}, and there is no apt-get here"
	need_root "installing ${missing[*]}"
	mkdir -p "$CACHE_DIR"
	logged "installing Debian packages: ${missing[*]}" "$CACHE_DIR/packages.log" \
		apt_install "${missing[@]}"
}

apt_install() {
	# On a machine with systemd a fresh package would start its daemon (etcd,
	# containerd). This is Debian's own way to say no: 101 means 'not allowed'.
	if [[ ! -e /usr/sbin/policy-rc.d ]]; then
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
		chmod 755 /usr/sbin/policy-rc.d
		defer rm -f /usr/sbin/policy-rc.d
	fi
	# Another apt on this machine is waited for.
	local install=(apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends)
	export DEBIAN_FRONTEND=noninteractive
	# Lists that are missing or old show as a failed install: get them, once.
	"${install[@]}" "$@" || { apt-get update && "${install[@]}" "$@"; }
}
