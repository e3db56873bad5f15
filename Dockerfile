# syntax=docker/dockerfile:1

# All of Doppio's programs in one small image; which one runs is the container's command.

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
# The caches make a second build fast and stay out of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked \
        --package doppio --package member --package ordering --package status-projector --package query-api \
    && mkdir -p /out/bin /out/data \
    && cp target/release/doppio target/release/member target/release/ordering \
          target/release/status-projector target/release/query-api /out/bin/

FROM debian:trixie-slim
# Business days follow local time, so the time zones are needed; certificates are for TLS to databases and servers.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home --uid 10001 --user-group doppio
COPY --from=build /out/bin/ /usr/local/bin/
# A named volume that is mounted here takes over this owner.
COPY --from=build --chown=doppio:doppio /out/data /var/lib/doppio
WORKDIR /var/lib/doppio
USER doppio
# member, ordering, query-api, health of status-projector.
EXPOSE 7401 7402 7403 7404
STOPSIGNAL SIGTERM
CMD ["doppio", "--help"]
