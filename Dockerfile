# The image of the operator: three static binaries, one of them under two names, and nothing else. Needs BuildKit.
#
#   docker build --tag seccomp-operator/seccomp-operator:0.1.0 .
#
# Each platform is built on itself (buildx emulates the ones that the machine is not), so that no cross toolchain is needed.

FROM rust:1.95-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
# A target by name keeps RUSTFLAGS away from build scripts and procedural macros, which cannot be static.
RUN --mount=type=cache,id=cargo-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=target-${TARGETARCH},target=/src/target,sharing=locked \
    case "${TARGETARCH}" in \
        amd64) target=x86_64-unknown-linux-gnu ;; \
        arm64) target=aarch64-unknown-linux-gnu ;; \
        *) echo "no build for the architecture '${TARGETARCH}'" >&2; exit 1 ;; \
    esac \
    && RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --release --locked --bin seccomp-operator --bin seccomp-operator-agent --target "${target}" \
    && mkdir /out \
    && cp "target/${target}/release/seccomp-operator" "target/${target}/release/seccomp-operator-agent" /out/ \
    && ci/links /out

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="seccomp-operator" \
      org.opencontainers.image.description="Seccomp profiles on Kubernetes: distributed, injected, checked and explained" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/ /
# The DaemonSets of agent and recorder ask for root; nothing else needs it.
USER 65532:65532
ENTRYPOINT ["/seccomp-operator"]
