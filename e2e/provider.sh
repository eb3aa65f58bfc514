# shellcheck shell=bash source-path=SCRIPTDIR disable=SC2034 # its names are for those who source it
#
# A cluster with the images on it, from either provider, for those who source
# this: e2e/demo and e2e/test.

source "$HERE/cluster/lib/kubernetes.sh"
source "$HERE/cluster/lib/go_modules.sh"
source "$HERE/cluster/lib/oci_runtimes.sh"

readonly TOOLS_IMAGE=seccomp-operator.local/tools:e2e

# use_provider NAME: the cluster of that name of $PROVIDER, not yet started. $CLUSTER, if set, is another name.
use_provider() {
	local name=$1
	case ${PROVIDER:-local} in
	local)
		check_choice
		PROVIDER_CLUSTER=$HERE/cluster/cluster
		# For the tests that stop machines and cut them off.
		export E2E_CLUSTER=$PROVIDER_CLUSTER
		name=$(cluster_name "$1")
		;;
	kind)
		[[ $KUBERNETES == "$DEFAULT_KUBERNETES" ]] ||
			die "KUBERNETES=$KUBERNETES is for PROVIDER=local: kind runs the Kubernetes of the image that kind/cluster.yaml names"
		[[ $RUNTIME == "$DEFAULT_RUNTIME" ]] ||
			die "RUNTIME=$RUNTIME is for PROVIDER=local: kind runs what is in the image that kind/cluster.yaml names"
		PROVIDER_CLUSTER=$HERE/../kind/cluster
		unset E2E_CLUSTER
		;;
	*) die "PROVIDER is '$PROVIDER', but must be local or kind" ;;
	esac
	export CLUSTER=${CLUSTER:-$name}
	export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE_DIR/target}
	"$HERE/prerequisites"
	TOOLS=$("$HERE/cluster/install" path tools)
	export KUBECTL=$TOOLS/kubectl HELM=$TOOLS/helm
	# The tests that push and pull find a registry there.
	PATH=$("$HERE/cluster/install" path registry):$PATH
	export PATH
}

# Starts the cluster, makes the images and puts them there. Sets KUBECONFIG and OPERATOR_IMAGE.
bring_up() {
	local images=$CACHE_DIR/images
	mkdir -p "$images"
	"$PROVIDER_CLUSTER" up
	KUBECONFIG=$("$PROVIDER_CLUSTER" kubeconfig)
	export KUBECONFIG
	OPERATOR_IMAGE=$("$HERE/images/operator" "$images/operator-$CLUSTER.tar")
	"$HERE/images/build" "$images" tools
	"$PROVIDER_CLUSTER" load "$images/operator-$CLUSTER.tar" "$images/tools.tar"
}
