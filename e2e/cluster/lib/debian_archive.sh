# shellcheck shell=bash
#
# Packages of a release of Debian that the machine need not have, as source or binary. apt is asked with a list and a state folder
# of its own, so that the machine's settings stay as they are; it checks the archive's signature and every hash as always.

# debian_archive FOLDER TYPE SUITE: makes the folder, for `apt_of`. TYPE is deb or deb-src.
debian_archive() {
	local apt=$1 mirror
	mirror=$(debian_mirror)
	# Without package lists apt does not know what its sources are.
	[[ -n $mirror ]] || { apt-get update && mirror=$(debian_mirror); }
	[[ -n $mirror ]] || {
		echo "none of this machine's apt sources is a mirror of Debian's archive"
		return 1
	}
	mkdir -p "$apt"/{lists/partial,cache,parts,download}
	echo "$2 [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $3 main" >"$apt/sources.list"
}

# apt_of FOLDER: the beginning of its apt-get commands, one word a line.
apt_of() {
	local apt=$1
	printf '%s\n' apt-get \
		-o "Dir::Etc::sourcelist=$apt/sources.list" \
		-o "Dir::Etc::sourceparts=$apt/parts" \
		-o "Dir::State::lists=$apt/lists" \
		-o "Dir::Cache=$apt/cache"
	# apt's unprivileged download user cannot reach a folder under /root.
	printf '%s\n' -o APT::Sandbox::User=root
}

# Where this machine gets Debian's main archive from, in apt's own reading of
# its settings, whichever of the two formats they are written in.
debian_mirror() {
	# shellcheck disable=SC2016 # the $(NAMES) are apt's
	apt-get indextargets --format '$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
		awk '$1 == "Debian" && $2 == "Debian" && $3 == "main" { print $4; exit }'
}
