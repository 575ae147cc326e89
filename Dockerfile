# syntax=docker/dockerfile:1
# The image is one static binary in an empty file system: no shell, no package manager, no C library, no root.
#
#   docker build --tag pondage .
#   docker run --rm --volume pondage:/data pondage up --data /data
#
# Checked without a container engine by `cargo xtask test --only static-binary`: the binary, linked with the same
# flags, names no loader and no library, and starts as user 65532 in a root folder that holds nothing else. This
# file's own shape is checked by xtask/tests/image.rs.

FROM docker.io/library/rust:1.95.0-bookworm AS build
WORKDIR /build
COPY . .
# The commit, which `pondage --version` and the image's label repeat.
ARG REVISION=
# The target is named so that the flags reach only the binary, not build scripts and macros, which must stay
# loadable by the compiler.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    host="$(rustc -vV | sed -n 's/^host: //p')" \
    && PONDAGE_COMMIT="$REVISION" RUSTFLAGS='-C target-feature=+crt-static' \
       cargo build --release --locked --package pondage-cli --target "$host" \
    && mkdir -p /image/data \
    && install -m 0555 "target/$host/release/pondage" /image/pondage

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="Pondage" \
      org.opencontainers.image.description="A Kubernetes-native queue platform: broker, operator, local mode and command line in one binary" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The binary and an empty /data that its user may write to, so that a fresh volume mounted there is writable too.
COPY --from=build --chown=65532:65532 /image/ /
USER 65532:65532
ENTRYPOINT ["/pondage"]
