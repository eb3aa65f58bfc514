# shellcheck shell=bash
#
# The cluster's certificates: the layout of kubeadm, made by openssl. Keys are
# P-256, which takes no time; the service accounts' key is RSA, as everywhere.

# Those of the whole cluster, kept outside its nodes.
make_certificates() {
	mkdir -p "$PKI"
	with_openssl issue_for_cluster
}

issue_for_cluster() {
	authority ca "/CN=seccomp-operator $CLUSTER_NAME"
	authority front-proxy-ca /CN=front-proxy-ca
	issue ca apiserver /CN=kube-apiserver serverAuth "$(api_server_names)"
	issue ca apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
	issue ca controller-manager /CN=system:kube-controller-manager clientAuth
	issue ca scheduler /CN=system:kube-scheduler clientAuth
	issue ca kube-proxy /CN=system:kube-proxy clientAuth
	issue ca admin /O=system:masters/CN=kubernetes-admin clientAuth
	issue front-proxy-ca front-proxy-client /CN=front-proxy-client clientAuth
	openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out sa.key
	openssl pkey -in sa.key -pubout -out sa.pub
}

# The kubelet's own of a node, and what of the cluster's is for that node.
make_node_certificates() {
	mkdir -p "$NODE_PKI"
	if is_control_plane; then
		cp "$PKI"/{ca,front-proxy-ca,apiserver*,front-proxy-client,sa}.* "$NODE_PKI"
	else
		cp "$PKI/ca.crt" "$NODE_PKI"
	fi
	with_openssl issue_for_node
}

issue_for_node() {
	issue ca "$NODE_PKI/kubelet-server" "/O=system:nodes/CN=system:node:$NODE" serverAuth "DNS:$NODE,IP:$(node_ip)"
	issue ca "$NODE_PKI/kubelet" "/O=system:nodes/CN=system:node:$NODE" clientAuth
}

# with_openssl FUNCTION: in the folder with the authorities.
with_openssl() {
	(
		umask 077
		cd "$PKI" || exit
		"$1"
	) 2>"$PKI/openssl.log" || die "openssl failed: $(tail -n 3 "$PKI/openssl.log")"
}

# 10.96.0.1 is the first address of the service range: the Service 'kubernetes'.
api_server_names() {
	local names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
	printf '%s\n' "$names,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1,IP:$(server_ip)"
}

new_key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

authority() {
	new_key "$1.key"
	openssl req -x509 -new -key "$1.key" -subj "$2" -days 3650 -out "$1.crt" \
		-addext keyUsage=critical,digitalSignature,keyCertSign,cRLSign
}

# issue CA NAME SUBJECT USAGE [ALTERNATIVE NAMES]   (NAME: a path without its ending)
issue() {
	local ca=$1 name=$2 subject=$3 usage=$4 alternatives=${5:-}
	new_key "$name.key"
	openssl req -new -key "$name.key" -subj "$subject" |
		openssl x509 -req -CA "$ca.crt" -CAkey "$ca.key" -days 3650 -out "$name.crt" -extfile <(
			echo basicConstraints=critical,CA:FALSE
			echo keyUsage=critical,digitalSignature
			echo "extendedKeyUsage=$usage"
			[[ -z $alternatives ]] || echo "subjectAltName=$alternatives"
		)
}
