# shellcheck shell=bash disable=SC2034 # its names are for those who source it
#
# A cluster's cgroup, with one for the switch and one for each node in it: a node's
# processes and its containers live there, in every cgroup hierarchy of the
# machine. What is in it belongs to the cluster, and nothing else does: that is
# how `down` knows what to stop.

cgroup_mounts() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts; }

# create_cgroup PATH: makes it in the hierarchies, with those above it.
create_cgroup() {
	local mount part path file
	for mount in $(cgroup_mounts); do
		path=$mount
		for part in ${1//\// }; do
			pass_controllers "$path"
			mkdir -p "$path/$part"
			# A new cpuset (version 1) is empty, and takes no process until it is filled.
			for file in cpuset.cpus cpuset.mems; do
				[[ -e $path/$part/$file && ! -e $mount/cgroup.controllers ]] || continue
				cat "$path/$file" >"$path/$part/$file"
			done
			path=$path/$part
		done
	done
}

# Version 2: children have the controllers that their parent passes on, which has no process of its own then.
pass_controllers() {
	local controller
	[[ -e $1/cgroup.controllers ]] || return 0
	for controller in $(<"$1/cgroup.controllers"); do
		echo "+$controller" >"$1/cgroup.subtree_control" 2>/dev/null || true
	done
}

# join_cgroup PATH PID
join_cgroup() {
	local mount
	for mount in $(cgroup_mounts); do
		echo "$2" >"$mount/$1/cgroup.procs"
	done
}

# detached PATH LOG COMMAND...: starts a command in that cgroup, as $DETACHED. It
# outlives this script: it keeps nothing of it open, neither the terminal nor the
# lock nor a pipe that someone reads this script's output from.
detached() {
	local cgroup=$1 log=$2
	shift 2
	(
		join_cgroup "$cgroup" "$BASHPID"
		for fd in /proc/"$BASHPID"/fd/*; do
			fd=${fd##*/}
			((fd <= 2)) || exec {fd}>&-
		done
		cd /
		exec setsid "$@" </dev/null >"$log" 2>&1
	) &
	DETACHED=$!
	disown # bash is not to report its end, which may be our doing
}

cgroup_pids() {
	local mount
	for mount in $(cgroup_mounts); do
		[[ -d $mount/$1 ]] || continue
		find "$mount/$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true
	done | sort -un | grep -vx 0 || true
}

# kill_cgroup PATH: stops every process there. They get no say.
kill_cgroup() {
	local tries pids
	for ((tries = 0; tries < 300; tries++)); do
		mapfile -t pids < <(cgroup_pids "$1")
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
			[[ -d $mount/$1 ]] || break
			find "$mount/$1" -depth -type d -exec rmdir {} + 2>/dev/null && break
			# The kernel lets go of one a moment after its last process; or a
			# process that was just being started came to it.
			sleep 0.1
			kill_cgroup "$1"
		done
		[[ ! -d $mount/$1 ]] || say "cannot remove the cgroup $mount/$1"
	done
}
