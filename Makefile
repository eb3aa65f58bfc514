# Two commands do everything on a Debian machine with Rust, as root:
#
#   make demo    a cluster, the operator on it, the examples, and what they say; `make demo-down` removes it
#   make test    format, lints, unit tests, chart tests, and the tests on a real cluster
#
# CLUSTER=NAME makes the demo another cluster beside the first; say it to `make demo-down` as well.
# PROVIDER chooses the cluster: `local` needs no Docker (the default), `kind` needs Docker and kind (kind/README.md).
# KUBERNETES chooses what `local` runs: a current minor, 1.37 (the default), or 1.20, the oldest that works.
# RUNTIME chooses what starts containers there: runc (the default), runc-1.1 or crun, or CRI-O: crio.

PROVIDER ?= local
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/seccomp-operator
# Builds outlive a checkout: a second clone is as quick as a second run.
export CARGO_TARGET_DIR ?= $(CACHE)/target
export PROVIDER

.PHONY: help demo demo-down test check unit chart e2e workloads bench bench-engine bench-webhook bench-traces bench-record bench-cluster scale soak fuzz generate deny

help:
	@sed -n '/^$$/q;s/^# \{0,1\}//p' Makefile

demo:
	e2e/demo up

demo-down:
	e2e/demo down

test: check unit chart e2e

# One selection of packages and features for all of them, so that nothing is built twice.
CARGO_SELECTION := --locked --workspace --features e2e/cluster

check:
	e2e/prerequisites check
	cargo fmt --all --check
	cargo clippy $(CARGO_SELECTION) --all-targets -- --deny warnings
	shellcheck --external-sources $$(git grep -lE '^(#!.*bash|# shellcheck shell=bash)')

# The tests beside the crates, and those of the house: its walls, and the links of its documents. The other tests of e2e/ have targets of
# their own.
CRATE_TESTS := $(sort $(basename $(notdir $(wildcard crates/*/tests/*.rs operator/tests/*.rs) $(patsubst %/main.rs,%,$(wildcard crates/*/tests/*/main.rs)))) walls links)

unit:
	e2e/prerequisites check registry
	PATH="$$(e2e/cluster/install path registry):$$PATH" cargo test $(CARGO_SELECTION) --lib --bins $(CRATE_TESTS:%=--test %)
	cargo test $(CARGO_SELECTION) --doc

chart:
	e2e/prerequisites tools promtool
	HELM=$$(e2e/cluster/install path tools)/helm PROMTOOL=$$(e2e/cluster/install path promtool)/promtool \
		cargo test $(CARGO_SELECTION) --test chart

# All on the default's Kubernetes; on the oldest what shows that it works there.
e2e:
	e2e/suites

# Real programs under load: recorded, compared with strace, and under what was made of it. Some ten minutes.
workloads:
	e2e/workloads

# How fast it is, beside the budgets; docs/performance.md has figures and says what they mean.
bench: bench-engine bench-webhook bench-traces bench-record bench-cluster

bench-engine:
	e2e/prerequisites check
	cargo bench $(CARGO_SELECTION) --bench engine

# How fast admission answers, beside a server that does not look at what it is sent.
bench-webhook:
	e2e/prerequisites check
	cargo bench $(CARGO_SELECTION) --bench webhook

# How fast traces are read, beside grep.
bench-traces:
	e2e/prerequisites check
	cargo bench $(CARGO_SELECTION) --bench traces

# What a recorded call and an observed refusal cost, beside a bare loop in C and the kernel alone.
bench-record:
	e2e/prerequisites check
	cargo bench $(CARGO_SELECTION) --bench record

# From apply to file, bursts, memory and requests to the API server, on a cluster of its own.
bench-cluster:
	e2e/bench

# How the costs grow with nodes and profiles: e2e/scale --help.
scale:
	e2e/scale

# Whether anything is left of what comes and goes, for so many MINUTES.
MINUTES ?= 60
soak:
	e2e/scale soak $(MINUTES)

# The custom resource definitions, from the types; in two places, since Helm reads no file outside a chart.
generate:
	cargo run --locked --quiet --package seccomp-operator --bin seccomp-operator -- crds --out crds
	cp crds/*.yaml charts/seccomp-operator/files/crds/

# Licences, sources and unwanted crates; needs cargo-deny 0.20 (cargo install cargo-deny).
deny:
	cargo deny --locked check bans licenses sources

# Hostile documents for the engine, reviews for admission, and messages for the recorder, TIME seconds for each target. A finding ends it, and stays in fuzz/artifacts.
TIME ?= 600
fuzz:
	e2e/prerequisites check fuzz
	fuzz/run parse $(TIME)
	fuzz/run pipeline $(TIME)
	fuzz/run review $(TIME)
	fuzz/run message $(TIME)
