# shellcheck shell=bash
#
# The files that the node's programs are configured by. Paths in them are the
# node's; see node/init for how they come to be there.

RUNTIME_SOCKET=/run/containerd/containerd.sock
[[ $CONTAINER_RUNTIME == containerd ]] || RUNTIME_SOCKET=$CRIO_SOCKET
readonly RUNTIME_SOCKET RUNTIME_ENDPOINT=unix://$RUNTIME_SOCKET

# kubeconfig FOLDER IDENTITY: whole in one file, with the certificate of that name in the folder.
kubeconfig() {
	cat <<-YAML
		apiVersion: v1
		kind: Config
		current-context: $CLUSTER_NAME
		clusters:
		- name: $CLUSTER_NAME
		  cluster:
		    server: https://$(server_ip):$API_PORT
		    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
		contexts:
		- name: $CLUSTER_NAME
		  context: {cluster: $CLUSTER_NAME, user: $2}
		users:
		- name: $2
		  user:
		    client-certificate-data: $(base64 -w0 "$1/$2.crt")
		    client-key-data: $(base64 -w0 "$1/$2.key")
	YAML
}

write_admin_kubeconfig() { (umask 077 && kubeconfig "$PKI" admin >"$KUBECONFIG_FILE"); }

# write_node_configuration [TAINT]
write_node_configuration() {
	local dir=$NODE_FS/var/lib/kubernetes identity
	mkdir -p "$dir"/{kubeconfig,cni,manifests} "$NODE_FS"/var/{lib/{kubelet,cni,containerd},log} "$LOGS" "$NODE_FS/tmp"
	chmod 1777 "$NODE_FS/tmp"
	(
		umask 077
		kubeconfig "$NODE_PKI" kubelet >"$dir/kubeconfig/kubelet"
		kubeconfig "$PKI" kube-proxy >"$dir/kubeconfig/kube-proxy"
	)
	node_settings "$@" >"$dir/node.env"
	"write_${CONTAINER_RUNTIME}_configuration" "$dir"
	cni_config >"$dir/cni/10-bridge.conflist"
	kubelet_config >"$dir/kubelet.yaml"
	kube_proxy_config >"$dir/kube-proxy.yaml"
	! is_control_plane || write_control_plane_configuration "$dir"
}

write_control_plane_configuration() {
	local dir=$1 identity
	mkdir -m 700 "$NODE_FS/var/lib/etcd"
	(
		umask 077
		for identity in controller-manager scheduler; do
			kubeconfig "$PKI" "$identity" >"$dir/kubeconfig/$identity"
		done
	)
	audit_policy >"$dir/audit.yaml"
}

# For node/init: addresses, what runs there, and the flags that only one version of Kubernetes knows.
node_settings() {
	local settings=("NODE=$NODE" "NODE_IP=$(node_ip)" "SERVER_IP=$(server_ip)" "SERVICE_CIDR=$SERVICE_CIDR" "API_PORT=$API_PORT")
	local routes components kubelet_flags=() api_server_flags=()
	mapfile -t routes < <(routes_to_other_pods)
	mapfile -t components < <(node_components)
	if from_debian; then
		kubelet_flags=(--container-runtime=remote "--container-runtime-endpoint=$RUNTIME_ENDPOINT")
		api_server_flags=(--insecure-port=0)
	fi
	[[ -z ${1:-} ]] || kubelet_flags+=("--register-with-taints=$1")
	printf '%s\n' "${settings[@]}" "RUNTIME_SOCKET=$RUNTIME_SOCKET"
	printf 'ROUTES=(%s)\n' "${routes[*]@Q}"
	printf 'COMPONENTS=(%s)\n' "${components[*]@Q}"
	printf 'KUBELET_FLAGS=(%s)\n' "${kubelet_flags[*]@Q}"
	printf 'API_SERVER_FLAGS=(%s)\n' "${api_server_flags[*]@Q}"
	[[ $RUNTIME != crun ]] || echo NO_HYBRID_CGROUPS=yes
	[[ $RUNTIME != crio ]] || echo ONLY_MOUNTED_CGROUPS=yes
}

# What the operator asks of the API server, and what came of it: for the test that compares it with the chart's roles.
audit_policy() {
	cat <<-YAML
		apiVersion: audit.k8s.io/v1
		kind: Policy
		omitStages: [RequestReceived]
		rules:
		- level: Metadata
		  userGroups: ["system:serviceaccounts:seccomp-operator"]
		- level: None
	YAML
}

write_containerd_configuration() {
	if from_debian; then containerd_1_config; else containerd_2_config; fi >"$1/containerd.toml"
}

containerd_1_config() {
	cat <<-TOML
		version = 2
		root = "/var/lib/containerd"
		state = "/run/containerd"
		disabled_plugins = [
		  "io.containerd.snapshotter.v1.aufs",
		  "io.containerd.snapshotter.v1.btrfs",
		  "io.containerd.snapshotter.v1.devmapper",
		  "io.containerd.snapshotter.v1.zfs",
		]

		[plugins."io.containerd.internal.v1.opt"]
		  path = "/var/lib/containerd/opt"

		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "$PAUSE_IMAGE"
		  # Without CAP_SYS_RESOURCE no process may lower its score.
		  restrict_oom_score_adj = true
		  disable_apparmor = true
		  tolerate_missing_hugetlb_controller = true

		  [plugins."io.containerd.grpc.v1.cri".cni]
		    bin_dir = "$(cni_bin)"
		    conf_dir = "/var/lib/kubernetes/cni"

		  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		    runtime_type = "io.containerd.runc.v2"
	TOML
}

containerd_2_config() {
	cat <<-TOML
		version = 3
		root = "/var/lib/containerd"
		state = "/run/containerd"
		disabled_plugins = [
		  "io.containerd.snapshotter.v1.blockfile",
		  "io.containerd.snapshotter.v1.btrfs",
		  "io.containerd.snapshotter.v1.devmapper",
		  "io.containerd.snapshotter.v1.erofs",
		  "io.containerd.snapshotter.v1.zfs",
		]

		[plugins."io.containerd.internal.v1.opt"]
		  path = "/var/lib/containerd/opt"

		[plugins."io.containerd.cri.v1.images".pinned_images]
		  sandbox = "$PAUSE_IMAGE"

		[plugins."io.containerd.cri.v1.runtime"]
		  # Without CAP_SYS_RESOURCE no process may lower its score.
		  restrict_oom_score_adj = true
		  disable_apparmor = true
		  tolerate_missing_hugetlb_controller = true

		  [plugins."io.containerd.cri.v1.runtime".cni]
		    bin_dirs = ["$(cni_bin)"]
		    conf_dir = "/var/lib/kubernetes/cni"

		  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
		    runtime_type = "io.containerd.runc.v2"
	TOML
	[[ $RUNTIME == "$DEFAULT_RUNTIME" ]] || cat <<-TOML
		    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
		      BinaryName = "$(oci_runtime_command)"
	TOML
}

# Debian's place and everyone else's.
cni_bin() {
	if [[ -e /usr/lib/cni/bridge ]]; then echo /usr/lib/cni; else echo /opt/cni/bin; fi
}

cni_config() {
	cat <<-JSON
		{
		  "cniVersion": "0.4.0",
		  "name": "pods",
		  "plugins": [
		    {
		      "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
		      "ipam": {
		        "type": "host-local", "dataDir": "/var/lib/cni/networks",
		        "ranges": [[{"subnet": "$(pods_of "$(node_number)")"}]], "routes": [{"dst": "0.0.0.0/0"}]
		      }
		    },
		    {"type": "portmap", "capabilities": {"portMappings": true}}
		  ]
		}
	JSON
}

kubelet_config() {
	cat <<-YAML
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		authentication:
		  anonymous: {enabled: false}
		  webhook: {enabled: true}
		  x509: {clientCAFile: /var/lib/kubernetes/pki/ca.crt}
		authorization: {mode: Webhook}
		tlsCertFile: /var/lib/kubernetes/pki/kubelet-server.crt
		tlsPrivateKeyFile: /var/lib/kubernetes/pki/kubelet-server.key
		cgroupDriver: cgroupfs
		cgroupRoot: /
		enforceNodeAllocatable: []
		failSwapOn: false
		oomScoreAdj: 0
		# There is no DNS server; without an address every pod would get a warning.
		clusterDNS: [10.96.0.10]
		clusterDomain: cluster.local
		resolvConf: ""
		# Look every second, so that the node is ready as soon as it can be, but report as seldom as usual.
		nodeStatusUpdateFrequency: 1s
		nodeStatusReportFrequency: 5m
		volumePluginDir: /var/lib/kubelet/volume-plugins
		staticPodPath: /var/lib/kubernetes/manifests
		serializeImagePulls: false
		# Images come from 'cluster load' only: a removed one would not come back.
		imageGCHighThresholdPercent: 100
		evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
	YAML
	from_debian || cat <<-YAML
		containerRuntimeEndpoint: $RUNTIME_ENDPOINT
		# The machine may still have version 1 of cgroups.
		failCgroupV1: false
	YAML
}

kube_proxy_config() {
	cat <<-YAML
		apiVersion: kubeproxy.config.k8s.io/v1alpha1
		kind: KubeProxyConfiguration
		clientConnection: {kubeconfig: /var/lib/kubernetes/kubeconfig/kube-proxy}
		mode: iptables
		clusterCIDR: $POD_CIDR
		hostnameOverride: $NODE
		oomScoreAdj: 0
		# These are the machine's, not the namespace's.
		conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
	YAML
}
