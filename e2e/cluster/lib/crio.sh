# shellcheck shell=bash
#
# CRI-O in containerd's place: how it is configured, and its images. lib/go_modules.sh builds it.

readonly CRIO_SOCKET=/run/crio/crio.sock
# Its store, in its own words and in those of `copyimg`, which it is filled with. What is mounted there is seen on the node alone anyway.
readonly CRIO_ROOT=/var/lib/containers/storage CRIO_RUN_ROOT=/run/containers/storage
readonly CRIO_DRIVER=overlay CRIO_DRIVER_OPTION=overlay.skip_mount_home=true

crio_config() {
	cat <<-TOML
		[crio]
		  root = "$CRIO_ROOT"
		  runroot = "$CRIO_RUN_ROOT"
		  storage_driver = "$CRIO_DRIVER"
		  storage_option = ["$CRIO_DRIVER_OPTION"]
		  version_file = "/run/crio/version"
		  # Images come from 'cluster load' only: those that are wiped would not come back.
		  internal_wipe = false

		[crio.api]
		  listen = "$CRIO_SOCKET"

		[crio.runtime]
		  default_runtime = "runc"
		  cgroup_manager = "cgroupfs"
		  selinux = false
		  apparmor_profile = "unconfined"
		  enable_criu_support = false
		  hooks_dir = []
		  cdi_spec_dirs = ["/var/lib/kubernetes/cdi"]
		  pinns_path = "/run/kubernetes/bin/pinns"
		  namespaces_dir = "/run/crio/ns"
		  container_exits_dir = "/run/crio/exits"
		  container_attach_socket_dir = "/run/crio"

		  [crio.runtime.runtimes.runc]
		    runtime_path = "/var/lib/kubernetes/crio/runc"
		    runtime_root = "/run/runc"
		    monitor_path = "/usr/bin/conmon"
		    monitor_cgroup = "pod"

		[crio.image]
		  pause_image = "$PAUSE_IMAGE"
		  signature_policy = "/var/lib/kubernetes/crio/policy.json"
		  signature_policy_dir = "/var/lib/kubernetes/crio/policies"

		[crio.network]
		  network_dir = "/var/lib/kubernetes/cni"
		  plugin_dirs = ["$(cni_bin)"]
	TOML
}

# Without CAP_SYS_RESOURCE no process may lower its score. CRI-O has no setting for that, as containerd has.
restricted_runc() {
	cat <<-'SH'
		#!/bin/sh
		for word; do
		  [ "$last" != --bundle ] || sed -i 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj": 0/' "$word/config.json"
		  last=$word
		done
		exec /run/kubernetes/bin/runc "$@"
	SH
}

write_crio_configuration() {
	mkdir -p "$1/crio"
	crio_config >"$1/crio/crio.conf"
	restricted_runc >"$1/crio/runc"
	chmod +x "$1/crio/runc"
	echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$1/crio/policy.json"
	printf '%s-endpoint: %s\n' runtime "$RUNTIME_ENDPOINT" image "$RUNTIME_ENDPOINT" >"$1/crio/crictl.yaml"
}

crio_cli() { on_node crictl --config /var/lib/kubernetes/crio/crictl.yaml "$@"; }

crio_answers() { crio_cli version; }

# crio_copy IMAGE OPTION...: into its store or out of it.
crio_copy() {
	on_node copyimg --root "$CRIO_ROOT" --runroot "$CRIO_RUN_ROOT" --storage-driver "$CRIO_DRIVER" --storage-opt "$CRIO_DRIVER_OPTION" \
		--signature-policy /var/lib/kubernetes/crio/policy.json --image-name "$@"
}

crio_import() {
	local image
	archive_images "$1" | while read -r image; do
		crio_copy "$image" --import-from "docker-archive:/dev/stdin:$image" <"$1" || return
	done
}

crio_fetch() {
	local image
	for image in "$@"; do
		on_control_plane crio_copy "$image" --export-to "docker-archive:/dev/stdout:$image" |
			crio_copy "$image" --import-from "docker-archive:/dev/stdin:$image"
	done
}

crio_image_names() {
	crio_cli images --output json | python3 -c 'import json, sys; [print(n) for i in json.load(sys.stdin)["images"] for n in i["repoTags"]]'
}

crio_knows_image() { crio_image_names 2>/dev/null | grep -qxF -- "$1"; }
