# shellcheck shell=bash disable=SC2034 # its names are for those who source it
#
# A registry, and another client of it than ours: docker-registry out of Debian's package, which would start
# a server if it were installed, and oras, built from its Go module (e2e/registry).

registry_bins() { printf '%s\n' "$CACHE_DIR/docker-registry" "$(module_bin oras)"; }

install_registry() {
	[[ -d $CACHE_DIR/docker-registry ]] || in_cache docker-registry unpack_registry
	install_module oras
}

unpack_registry() {
	logged "fetching docker-registry" "$CACHE_DIR/docker-registry.log" fetch_registry "$1"
}

fetch_registry() {
	local out=$1
	# Where the lists of packages are old, the package they name may be gone.
	(cd "$out" && { apt-get download docker-registry || { apt-get update && apt-get download docker-registry; }; }) || return
	dpkg-deb --fsys-tarfile "$out"/docker-registry_*.deb | tar --extract --directory "$out" --strip-components 3 ./usr/bin/docker-registry || return
	rm -f "$out"/docker-registry_*.deb
	"$out/docker-registry" --version
}

build_oras() {
	CGO_ENABLED=0 compile "$1/oras" -ldflags "-s -w" || return
	"$1/oras" version
}
