#!/usr/bin/env bash
#
# Kubernetes' own JSON reader turns an integer that int64 does not hold into a float64, without an error, and writes
# another number back: an unquoted 64-bit seccomp argument in a custom resource is another one before anybody can look
# at it, and one that was rounded to itself and one that was not look alike.
#
# Seen with k8s.io/apimachinery v0.36.2 and v0.34.1, Go 1.26:
#
#     9223372036854775807 -> int64 9223372036854775807
#     9223372036854775808 -> float64 9223372036854776000
#     9223372036854775809 -> float64 9223372036854776000
#     18446744069414584320 -> float64 18446744069414584000
#
# Needs Go 1.24 or later, and fetches modules. Ends with 1 if any of this has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
export GOMODCACHE=$work/modules GOCACHE=$work/cache GOFLAGS=-mod=mod

expected='9223372036854775807 -> int64 9223372036854775807
9223372036854775808 -> float64 9223372036854776000
9223372036854775809 -> float64 9223372036854776000
18446744069414584320 -> float64 18446744069414584000'

cat >"$work/main.go" <<'GO'
package main

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	for _, number := range []string{
		"9223372036854775807", "9223372036854775808", "9223372036854775809", "18446744069414584320",
	} {
		var object unstructured.Unstructured
		text := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","value":%s}`, number)
		if err := object.UnmarshalJSON([]byte(text)); err != nil {
			panic(err)
		}
		written, err := object.MarshalJSON()
		if err != nil {
			panic(err)
		}
		var back struct{ Value json }
		if err := unmarshal(written, &back); err != nil {
			panic(err)
		}
		fmt.Printf("%s -> %T %s\n", number, object.Object["value"], back.Value)
	}
}
GO
cat >"$work/json.go" <<'GO'
package main

import stdjson "encoding/json"

// The text of a value, as it is written.
type json = stdjson.RawMessage

var unmarshal = stdjson.Unmarshal
GO

for version in v0.36.2 v0.34.1; do
	printf 'module finding\n\ngo 1.24.0\n\nrequire k8s.io/apimachinery %s\n' "$version" >"$work/go.mod"
	rm -f "$work/go.sum"
	seen=$(cd "$work" && go run . 2>"$work/log") || { cat "$work/log" >&2; exit 2; }
	printf '== k8s.io/apimachinery %s\n%s\n' "$version" "$seen"
	[[ $seen == "$expected" ]] || { echo "this has changed" >&2; exit 1; }
done
