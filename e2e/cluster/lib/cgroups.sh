# shellcheck shell=bash
#
# A cluster's cgroup: the node's processes and all containers live in it, in
# every cgroup hierarchy of the machine. What is in it belongs to the cluster,
# and nothing else does: that is how `down` knows what to stop.

cgroup_mounts() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts; }

# Make the cgroup, with one for the node's own processes beside the pods'.
create_cgroup() {
	local mount file
	for mount in $(cgroup_mounts); do
		mkdir -p "$mount/$CGROUP/node"
		# A new cpuset (version 1) is empty, and takes no process until it is filled.
		for file in cpuset.cpus cpuset.mems; do
			[[ -e $mount/$CGROUP/$file && ! -e $mount/cgroup.controllers ]] || continue
			cat "$mount/$file" >"$mount/$CGROUP/$file"
			cat "$mount/$file" >"$mount/$CGROUP/node/$file"
		done
		if [[ -e $mount/cgroup.controllers ]]; then
			enable_controllers "$mount"
			enable_controllers "$mount/$CGROUP"
		fi
	done
}

# Version 2: children have the controllers that their parent passes on.
enable_controllers() {
	local controller
	for controller in $(<"$1/cgroup.controllers"); do
		echo "+$controller" >"$1/cgroup.subtree_control" 2>/dev/null || true
	done
}

join_cgroup() {
	local mount
	for mount in $(cgroup_mounts); do
		echo "$1" >"$mount/$CGROUP/node/cgroup.procs"
	done
}

cgroup_pids() {
	local mount
	for mount in $(cgroup_mounts); do
		[[ -d $mount/$CGROUP ]] || continue
		find "$mount/$CGROUP" -name cgroup.procs -exec cat {} + 2>/dev/null || true
	done | sort -un | grep -vx 0 || true
}

# Stop every process of the cluster. They get no say: all they wrote goes too.
kill_cgroup() {
	local tries pids
	for ((tries = 0; tries < 300; tries++)); do
		mapfile -t pids < <(cgroup_pids)
		((${#pids[@]})) || return 0
		kill -KILL "${pids[@]}" 2>/dev/null || true
		sleep 0.1
	done
	say "these processes do not end: ${pids[*]}"
	return 1
}

remove_cgroup() {
	local mount tries
	for mount in $(cgroup_mounts); do
		for ((tries = 0; tries < 50; tries++)); do
			[[ -d $mount/$CGROUP ]] || break
			find "$mount/$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null && break
			# The kernel lets go of one a moment after its last process; or a
			# process that was just being started came to it.
			sleep 0.1
			kill_cgroup
		done
		[[ ! -d $mount/$CGROUP ]] || say "cannot remove the cgroup $mount/$CGROUP"
	done
}
