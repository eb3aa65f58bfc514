#!/usr/bin/env bash
#
# Two managers that apply the very same manifest server-side conflict with each other where the API server fills a default into a struct
# that is atomic: what the second sends is compared with what is stored, where the default stands beside it. `fieldRef` without
# `apiVersion` is such a struct, of every workload that tells a container its own name. The advice of the error, to match the existing
# value, is met by writing the default out. Helm 4, which applies server-side, meets this at its first upgrade after another tool's sync.
#
# Seen with Kubernetes 1.37.2 and kubectl 1.36.3.
#
# Needs kubectl and a cluster where Deployments may be made in the namespace `default`; theirs have no replicas. Ends with 1 if this has
# changed.
set -euo pipefail

name=two-managers-$$

# The manifest; the words are what fieldRef has besides its path.
manifest() {
	cat <<-YAML
		apiVersion: apps/v1
		kind: Deployment
		metadata: {name: $name, namespace: default}
		spec:
		  replicas: 0
		  selector: {matchLabels: {app: $name}}
		  template:
		    metadata: {labels: {app: $name}}
		    spec:
		      containers:
		      - name: c
		        image: none
		        env: [{name: NODE, valueFrom: {fieldRef: {${1}fieldPath: spec.nodeName}}}]
	YAML
}

# Applies it by two managers, and says whether the second is let.
twice() {
	manifest "$1" | kubectl apply --server-side --field-manager=first -f - >/dev/null
	if manifest "$1" | kubectl apply --server-side --field-manager=second -f - >/dev/null 2>error; then
		echo "with '$1': both apply" | tee --append seen
	else
		head -n 1 error
		grep --quiet 'conflict with "first": .*fieldRef' error
		echo "with '$1': a conflict" | tee --append seen
	fi
	kubectl delete deployment "$name" >/dev/null
}

work=$(mktemp -d)
trap 'kubectl delete deployment "$name" --ignore-not-found >/dev/null; rm -rf "$work"' EXIT
cd "$work"
kubectl version | tail -n 1
twice ''
twice 'apiVersion: v1, '
diff - seen <<'SEEN'
with '': a conflict
with 'apiVersion: v1, ': both apply
SEEN
