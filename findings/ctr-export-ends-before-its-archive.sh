#!/usr/bin/env bash
#
# `ctr images export - IMAGE` of containerd 2 ends with status 0 before it has written all of the archive where standard output is a
# pipe that is read slowly: the daemon says that the transfer is done as soon as the last bytes are under way, and the client ends
# without having passed them on. What reads the pipe gets an archive without its end, now and then, and the more often the slower
# it reads; a file gets all. With `--local` the client writes the archive itself, and all of it. The ctr of containerd 1.6 has no
# such option and exports in that way always.
#
# Seen with containerd 2.4.2 (x86_64): of archives of 1 MB that were read at 64 KiB a millisecond, four in ten lacked up to 100 kB on
# an idle machine, 3 of 40 on a busy one; with --local none did.
#
# Needs Go 1.26, Python and root. Ends with 1 if this has changed.
set -euo pipefail

readonly TIMES=40
work=$(mktemp -d)
daemon=
clean() {
	if [[ $daemon ]]; then
		kill "$daemon"
		wait "$daemon" || true
	fi
	chmod -R u+w "$work"
	rm -rf "$work"
}
trap clean EXIT
cd "$work"

GOBIN=$work/bin GOPATH=$work/go GOFLAGS=-modcacherw CGO_ENABLED=0 \
	go install github.com/containerd/containerd/v2/cmd/containerd@v2.4.2 github.com/containerd/containerd/v2/cmd/ctr@v2.4.2
ctr() { bin/ctr --address "$work/socket" "$@" 2>>ctr.log; }

cat >config.toml <<TOML
version = 3
root = "$work/root"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
  address = "$work/socket"
TOML
bin/containerd --config config.toml 2>containerd.log &
daemon=$!
for ((i = 0; i < 100; ++i)); do
	! ctr version >/dev/null || break
	sleep 0.1
done
ctr version

# An image of one layer of a megabyte, as `docker save` writes it.
python3 - <<'PY'
import hashlib, io, json, random, tarfile

def tar(name, files):
    with tarfile.open(name, "w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

tar("layer.tar", {"file": random.Random(1).randbytes(1_000_000)})
layer = open("layer.tar", "rb").read()
config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}
manifest = [{"Config": "config.json", "RepoTags": ["example.com/image:1"], "Layers": ["layer.tar"]}]
tar("image.tar", {"config.json": json.dumps(config).encode(), "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()})
PY
ctr images import --platform linux/amd64 image.tar

cat >slowly.py <<'PY'
import os, time

length = 0
while chunk := os.read(0, 65536):
    length += len(chunk)
    time.sleep(0.001)
print(length)
PY
# How many archives, of those exported with these options, lacked something.
short() {
	local whole=$1 short=0 length i
	shift
	for ((i = 0; i < TIMES; ++i)); do
		# With pipefail a failure of ctr would end this script: it ends with 0.
		length=$(ctr images export --platform linux/amd64 "$@" - example.com/image:1 | python3 slowly.py)
		((length == whole)) || ((++short))
	done
	echo "$short"
}

ctr images export --platform linux/amd64 --local archive.tar example.com/image:1
whole=$(stat --format=%s archive.tar)
transfer=$(short "$whole")
local=$(short "$whole" --local)
echo "of $TIMES archives of $whole bytes lacked their end: $transfer, with --local $local"
((transfer > 0 && local == 0))
