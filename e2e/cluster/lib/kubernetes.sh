# shellcheck shell=bash disable=SC2034 # its names are for those who source it
#
# Which Kubernetes a cluster runs, and with it which container runtime and etcd: a current minor,
# whose parts are all built from Go modules (lib/go_modules.sh), or 1.20, the oldest that the
# product supports, out of Debian (lib/debian_source.sh).

readonly DEFAULT_KUBERNETES=1.37
readonly KUBERNETES=${KUBERNETES:-$DEFAULT_KUBERNETES}
# What starts the containers below containerd (lib/oci_runtimes.sh), or crio: CRI-O and the default below it (lib/crio.sh).
readonly DEFAULT_RUNTIME=runc
readonly RUNTIME=${RUNTIME:-$DEFAULT_RUNTIME}
# What kubelet speaks to.
CONTAINER_RUNTIME=containerd
[[ $RUNTIME != crio ]] || CONTAINER_RUNTIME=crio
readonly CONTAINER_RUNTIME

# Ends with a sentence where a cluster cannot be what is asked for.
check_choice() {
	[[ " $(kubernetes_minors) " == *" $KUBERNETES "* ]] ||
		die "KUBERNETES is '$KUBERNETES', but must be one of: $(kubernetes_minors)"
	[[ " $DEFAULT_RUNTIME ${OTHER_RUNTIMES[*]} " == *" $RUNTIME "* ]] ||
		die "RUNTIME is '$RUNTIME', but must be one of: $DEFAULT_RUNTIME ${OTHER_RUNTIMES[*]}"
	[[ $RUNTIME == "$DEFAULT_RUNTIME" || $KUBERNETES == "$DEFAULT_KUBERNETES" ]] ||
		die "RUNTIME is '$RUNTIME', which goes with Kubernetes $DEFAULT_KUBERNETES only: leave KUBERNETES out"
}

# On one line, the oldest first.
kubernetes_minors() { printf '%s\n' 1.20 "$(module_minors)" | sort -V | xargs; }

from_debian() { [[ $KUBERNETES == 1.20 ]]; }

# The default's clusters have plain names; another Kubernetes or runtime gets its own: test, test-1-20, test-crun.
cluster_name() {
	local name=$1
	[[ $KUBERNETES == "$DEFAULT_KUBERNETES" ]] || name+=-${KUBERNETES//./-}
	[[ $RUNTIME == "$DEFAULT_RUNTIME" ]] || name+=-${RUNTIME//[.-]/}
	echo "$name"
}

# What one may not be in place of the other.
cluster_version() {
	local version
	version=$(kubernetes_version)
	[[ $RUNTIME == "$DEFAULT_RUNTIME" ]] || version+=" with $RUNTIME"
	echo "$version"
}

# Everything that a node runs on.
install_node() {
	check_choice
	install_missing "${NODE_PACKAGES[@]}"
	if from_debian; then
		install_missing "${DEBIAN_NODE_PACKAGES[@]}"
		install_debian_kubernetes
	else
		install_modules
	fi
	install_oci_runtime
}

# The folders with the commands of a node; what is in none of them is Debian's.
node_folders() {
	if from_debian; then debian_kubernetes_bin; else module_folders; fi
	oci_runtime_folder
}

# The version of Kubernetes, whole.
kubernetes_version() {
	if from_debian; then echo "$DEBIAN_KUBERNETES_VERSION"; else module_version kubernetes; fi
}
