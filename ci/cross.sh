# shellcheck shell=bash disable=SC2034 # its names are for those who source it
#
# What it takes to build for one architecture of a release, whichever the machine has.

# target ARCHITECTURE: what Rust calls it.
target() {
	case $1 in
	amd64) echo x86_64-unknown-linux-gnu ;;
	arm64) echo aarch64-unknown-linux-gnu ;;
	*) die "there is no release for the architecture $1: amd64 or arm64" ;;
	esac
}

# use_target ARCHITECTURE: sets TARGET, installs what is missing, and says to cargo how to link.
use_target() {
	local cpu linker libc
	TARGET=$(target "$1")
	cpu=${TARGET%%-*} linker=${TARGET/-unknown/}-gcc
	if [[ $cpu == "$(uname -m)" ]]; then
		libc=/usr/lib/$cpu-linux-gnu/libc.a:libc6-dev
	else
		libc=/usr/$cpu-linux-gnu/lib/libc.a:libc6-dev-$1-cross
	fi
	install_missing "$linker:gcc-${cpu/_/-}-linux-gnu" "$libc"
	if [[ ! -d $(rustc --print sysroot)/lib/rustlib/$TARGET ]]; then
		rustup target add "$TARGET"
	fi
	export "CC_${TARGET//-/_}=$linker" "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$TARGET")_LINKER=$linker"
}
