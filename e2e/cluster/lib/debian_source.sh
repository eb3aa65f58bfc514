# shellcheck shell=bash disable=SC2034 # its names are for those who source it
#
# Kubernetes 1.20.2, the oldest version that the product supports, built from
# Debian's source package (the whole upstream tree with its vendor folder) by
# Debian's Go compiler. No container images and no downloads besides apt's.

readonly DEBIAN_KUBERNETES_VERSION=1.20.2
readonly DEBIAN_KUBERNETES_SUITE=bookworm
readonly DEBIAN_KUBERNETES_COMMANDS=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy)
# Debian's own compiler, whatever 'go' is on the PATH.
readonly DEBIAN_GO=/usr/lib/go-1.19
# How it is built; another way is another build in the cache.
readonly DEBIAN_KUBERNETES_BUILD=2
DEBIAN_KUBERNETES_NAME=kubernetes-$DEBIAN_KUBERNETES_VERSION-$DEBIAN_KUBERNETES_BUILD-$(uname -m)
readonly DEBIAN_KUBERNETES_NAME
readonly REFLECT2=github.com/modern-go/reflect2

debian_kubernetes_bin() { printf '%s\n' "$CACHE_DIR/$DEBIAN_KUBERNETES_NAME"; }

install_debian_kubernetes() {
	[[ -d $(debian_kubernetes_bin) ]] && return
	install_missing "${DEBIAN_BUILD_PACKAGES[@]}"
	say "Kubernetes $DEBIAN_KUBERNETES_VERSION is built once (some minutes) and kept in $(debian_kubernetes_bin)"
	in_cache "$DEBIAN_KUBERNETES_NAME" build_debian_kubernetes
}

build_debian_kubernetes() {
	local out=$1 log command
	log="$CACHE_DIR/$DEBIAN_KUBERNETES_NAME.log"
	logged "getting its source from Debian" "$log" fetch_kubernetes_source "$out"
	mend_kubernetes_source "$out/source" || return
	logged "compiling ${DEBIAN_KUBERNETES_COMMANDS[*]}" "$log" compile_debian_kubernetes "$out"
	# Only the commands stay: the source and Go's caches are some gigabytes.
	for command in "${DEBIAN_KUBERNETES_COMMANDS[@]}"; do
		mv "$out/source/_output/local/go/bin/$command" "$out"
	done
	rm -rf "$out/source" "$out/apt" "$out/tmp"
	"$out/kubelet" --version | grep -qx "Kubernetes v$DEBIAN_KUBERNETES_VERSION"
}

# Debian machines seldom list source packages.
fetch_kubernetes_source() {
	local apt=$1/apt get
	debian_archive "$apt" deb-src "$DEBIAN_KUBERNETES_SUITE" || return
	mapfile -t get < <(apt_of "$apt")
	"${get[@]}" update || return
	(cd "$apt/download" && "${get[@]}" --download-only source kubernetes) || return
	# Debian's revision may grow with security fixes; the upstream version may not.
	compgen -G "$apt/download/kubernetes_*really$DEBIAN_KUBERNETES_VERSION-*.dsc" || {
		echo "Debian $DEBIAN_KUBERNETES_SUITE no longer has Kubernetes $DEBIAN_KUBERNETES_VERSION: $(ls "$apt/download")"
		return 1
	}
	# apt has checked the .dsc against the signed index; its uploader's own
	# signature would need the Debian developers' keyring.
	dpkg-source --no-check --extract "$apt"/download/*.dsc "$1/source"
}

# The library that Kubernetes 1.20 walks maps with (modern-go/reflect2 1.0.1) reaches into
# Go's runtime in a way that Go 1.18 changed: built with a newer Go, the API server
# now and then loses what a map held, or dies, on custom resources and their
# definitions. Debian packages the release that knows both.
mend_kubernetes_source() {
	local vendored=$1/vendor/$REFLECT2
	[[ -d $vendored ]] || return
	rm -r "$vendored"
	cp -rL "/usr/share/gocode/src/$REFLECT2" "$vendored"
	rm -f "$vendored"/*_test.go
}

compile_debian_kubernetes() {
	local source=$1/source
	(
		# Go leaves its temporary folder behind when it is interrupted.
		export TMPDIR=$1/tmp
		mkdir -p "$TMPDIR"
		cd "$source" || exit
		# The tree predates Go modules: it wants to be found under a GOPATH.
		mkdir -p .go/src/k8s.io
		ln -sfn "$PWD" .go/src/k8s.io/kubernetes
		cd .go/src/k8s.io/kubernetes || exit
		export GOPATH="$source/.go" GO111MODULE=off GOFLAGS='' CGO_ENABLED=0
		export KUBE_GIT_VERSION=v$DEBIAN_KUBERNETES_VERSION KUBE_GIT_TREE_STATE=clean
		export KUBE_GIT_COMMIT=faecb196815e248d3ecfb03c680a4507229c2a56
		export KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20
		# A newer Go, which may well be the machine's own, does not compile this tree.
		unset GOROOT
		PATH="$DEBIAN_GO/bin:$PATH" make WHAT="${DEBIAN_KUBERNETES_COMMANDS[*]/#/cmd/}"
	)
}
