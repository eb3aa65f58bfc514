# shellcheck shell=bash disable=SC2034 # its names are for those who source it
#
# What every script here leans on: how to speak to the person, where things
# are kept, and how to clean up on every way out. Knows nothing of clusters.

readonly CACHE_DIR="${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/seccomp-operator"

# Everything for people goes to stderr; stdout is for answers (paths, tables). It is
# the stderr that the script began with: a trap may run while another is in force.
exec {PERSON}>&2
say() { printf '%s\n' "$*" >&"$PERSON"; }

die() {
	say "error: $*"
	exit 1
}

need_root() {
	[[ $EUID -eq 0 ]] || die "$1 needs root (namespaces, mounts, cgroups): run it with sudo"
}

# How long ago $1 (a value of EPOCHREALTIME) was: "7.3 s" or "3 min 52 s".
elapsed_since() {
	local now=${EPOCHREALTIME/[^0-9]/} then=${1/[^0-9]/}
	local tenths=$(((now - then) / 100000))
	if ((tenths < 600)); then
		printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
	else
		printf '%d min %d s' $((tenths / 600)) $((tenths % 600 / 10))
	fi
}

# defer COMMAND...: run COMMAND when this shell ends, last one first, however
# it ends: a normal exit, an error, Ctrl-C or SIGTERM.
DEFERRED=()
defer() {
	local command
	printf -v command '%q ' "$@"
	DEFERRED+=("$command")
	set_traps # anew: a subshell does not have its parent's
}

# With a trap, even one that has nothing to clean up, bash waits for the command that
# it runs before it ends, so that this one's clean-up is done by then as well.
set_traps() {
	trap run_deferred EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
}

run_deferred() {
	local status=$? i
	trap '' INT TERM HUP # a second Ctrl-C must not stop the clean-up half way
	set +e
	for ((i = ${#DEFERRED[@]} - 1; i >= 0; i--)); do
		eval "${DEFERRED[i]}"
	done
	exit "$status"
}

set_traps

# raise_inotify_instances COUNT: kubelets, runtimes and agents have some ten each on every node, and a machine has 128 if nobody asks
# for more. Until this shell ends.
raise_inotify_instances() {
	local setting=/proc/sys/fs/inotify/max_user_instances now
	now=$(<"$setting")
	((now < $1)) || return 0
	need_root "more inotify instances"
	defer write_setting "$now" "$setting"
	write_setting "$1" "$setting"
}

write_setting() { echo "$1" >"$2"; }

# logged TITLE LOG COMMAND...: a long step. Its output goes to LOG; the person
# sees that it started, that it goes on, how long it took and, if it failed,
# where the log is and how it ends.
logged() {
	local title=$1 log=$2 start=$EPOCHREALTIME ticker status=0
	shift 2
	say "$title ..."
	{ while sleep_quietly 20; do say "  still at it after $(elapsed_since "$start")"; done; } &
	ticker=$!
	# The command stays in the foreground, so that Ctrl-C reaches it.
	"$@" >"$log" 2>&1 </dev/null || status=$?
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	if ((status != 0)); then
		say "  failed after $(elapsed_since "$start"); the log is $log and ends with:"
		tail -n 20 "$log" | sed 's/^/  | /' >&2
		return "$status"
	fi
	say "  done in $(elapsed_since "$start")"
}

# A sleep without a process of its own, which could outlive its parent. Ends
# early, with failure, when the shell that started this one is gone.
sleep_quietly() {
	read -rt "$1" <> <(:) || true
	kill -0 "$$" 2>/dev/null
}

# in_cache NAME FUNCTION: make sure that $CACHE_DIR/NAME is whole; if it is not there,
# FUNCTION fills a new folder (its only argument) which then takes the
# name at once. So a build that was interrupted leaves nothing that a later run
# would trust, and of two runs at the same time the second waits for the first.
in_cache() {
	local name=$1 fill=$2
	[[ -d $CACHE_DIR/$name ]] && return
	mkdir -p "$CACHE_DIR"
	(
		exec {lock}>"$CACHE_DIR/.$name.lock"
		if ! flock -n "$lock"; then
			say "waiting for another run that makes $name ..."
			flock "$lock"
		fi
		[[ -d $CACHE_DIR/$name ]] && exit
		local work="$CACHE_DIR/.$name.partial"
		rm -rf "$work"
		mkdir "$work"
		DEFERRED=()
		defer rm -rf "$work"
		"$fill" "$work"
		mv -T "$work" "$CACHE_DIR/$name"
	)
}
