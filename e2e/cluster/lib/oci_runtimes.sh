# shellcheck shell=bash disable=SC2034 # its names are for those who source it
#
# Other OCI runtimes for containerd to start containers with than the runc that comes with the Kubernetes: the runc of
# Debian 12, two minors older, and crun out of Debian 13. And CRI-O in containerd's place, which starts them with that runc.

readonly OTHER_RUNTIMES=(crun runc-1.1 crio)
readonly CRUN_VERSION=1.21
readonly CRUN_SUITE=trixie
readonly CRUN_PACKAGE=crun=1.21-1
readonly CRUN_SHA256=f94f8d4acf08a304884666d67d9faa797ab8401b46c311827783a432cb15b652
# crun is linked to these, and they are newer there than the machine's may be.
readonly CRUN_LIBRARIES=(libc6 libcap2 libseccomp2 libsystemd0 libyajl2)
CRUN_NAME=crun-$CRUN_VERSION-1-$(uname -m)
readonly CRUN_NAME

# What containerd is to execute, where it is not the first runc on the node's PATH.
oci_runtime_command() {
	case $RUNTIME in
	crun) echo crun ;;
	# The node's own commands come before the machine's.
	runc-1.1) echo /usr/sbin/runc ;;
	esac
}

# The folder with its command, where it is not the machine's.
oci_runtime_folder() { [[ $RUNTIME != crun ]] || printf '%s\n' "$CACHE_DIR/$CRUN_NAME"; }

install_oci_runtime() {
	case $RUNTIME in
	crun) install_crun ;;
	# What holds each container of CRI-O's.
	crio) install_missing conmon:conmon ;;
	runc-1.1)
		install_missing /usr/sbin/runc:runc
		[[ $(/usr/sbin/runc --version) == "runc version 1.1."* ]] ||
			die "RUNTIME=runc-1.1 needs Debian 12's runc, but /usr/sbin/runc is $(/usr/sbin/runc --version | head -n 1)"
		;;
	esac
}

install_crun() {
	[[ -d $CACHE_DIR/$CRUN_NAME ]] && return
	[[ $(uname -m) == x86_64 ]] || die "the pinned crun is for x86_64: use another RUNTIME on $(uname -m)"
	install_missing dpkg-deb:dpkg /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
	in_cache "$CRUN_NAME" unpack_crun
}

unpack_crun() { logged "fetching crun $CRUN_VERSION" "$CACHE_DIR/$CRUN_NAME.log" fetch_crun "$1"; }

fetch_crun() {
	local out=$1 package get
	debian_archive "$out/apt" deb "$CRUN_SUITE" || return
	mapfile -t get < <(apt_of "$out/apt")
	"${get[@]}" update || return
	(cd "$out/apt/download" && "${get[@]}" download "$CRUN_PACKAGE" "${CRUN_LIBRARIES[@]/%//$CRUN_SUITE}") || return
	echo "$CRUN_SHA256  $(echo "$out"/apt/download/crun_*.deb)" | sha256sum --check || return
	mkdir "$out/lib"
	for package in "$out"/apt/download/*.deb; do
		dpkg-deb --extract "$package" "$out/apt/root" || return
	done
	cp --dereference "$out"/apt/root/usr/lib/"$(uname -m)"-linux-gnu/{ld-linux-*,lib{c,m,cap,seccomp,systemd,yajl}}.so.? "$out/lib" || return
	mv "$out/apt/root/usr/bin/crun" "$out/lib/crun"
	rm -rf "$out/apt"
	# With its own libraries, wherever the folder is mounted.
	cat >"$out/crun" <<-'SH'
		#!/bin/sh
		lib=$(dirname "$(readlink -f "$0")")/lib
		exec "$lib"/ld-linux-*.so.? --library-path "$lib" "$lib/crun" "$@"
	SH
	chmod +x "$out/crun"
	"$out/crun" --version | grep -x "crun version $CRUN_VERSION"
}
