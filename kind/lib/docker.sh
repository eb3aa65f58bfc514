# shellcheck shell=bash
#
# Docker's engine, out of Debian's packages, which would start it for the whole machine if they were installed.

readonly DOCKER_PACKAGES=(docker.io containerd runc)
readonly DOCKER_COMMANDS=(docker dockerd docker-proxy containerd containerd-shim-runc-v2 runc)
# What it runs on, of the machine: a command or a file, and the package that brings it.
readonly ENGINE_PACKAGES=(
	iptables:iptables
	ip:iproute2
	nsenter:util-linux
	flock:util-linux
	mount:mount
	python3:python3
	/lib/"$(uname -m)"-linux-gnu/libdevmapper.so.1.02.1:libdevmapper1.02.1
	/lib/"$(uname -m)"-linux-gnu/libseccomp.so.2:libseccomp2
	/lib/"$(uname -m)"-linux-gnu/libsystemd.so.0:libsystemd0
)

docker_bin() { printf '%s\n' "$CACHE_DIR/docker"; }

install_docker() {
	install_missing "${ENGINE_PACKAGES[@]}"
	[[ -d $(docker_bin) ]] || in_cache docker unpack_docker
}

unpack_docker() {
	logged "fetching Docker's engine" "$CACHE_DIR/docker.log" fetch_docker "$1"
}

fetch_docker() {
	local out=$1 deb command
	# Where the lists of packages are old, the packages they name may be gone.
	(cd "$out" && { download "${DOCKER_PACKAGES[@]}" || { apt-get update && download "${DOCKER_PACKAGES[@]}"; }; }) || return
	for deb in "$out"/*.deb; do
		dpkg-deb --extract "$deb" "$out/files" || return
	done
	for command in "${DOCKER_COMMANDS[@]}"; do
		find "$out/files/usr" -type f -name "$command" -path '*bin/*' -exec mv -t "$out" {} +
	done
	rm -rf "$out"/*.deb "$out/files"
	"$out/dockerd" --version && "$out/docker" --version && "$out/containerd" --version && "$out/runc" --version
}

download() { apt-get -o APT::Sandbox::User=root download "$@"; }
