# syntax=docker/dockerfile:1

# All of Doppio's programs in one small image; which one runs is the container's command. They are one file under several names.
#
#   docker build .                                            the image
#   docker build --target symbols --output symbols .          the line tables, for reading a crash (README.md says how)

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
# The caches make a second build fast and stay out of the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --package doppio \
    && mkdir -p /out/bin /out/data /out/symbols \
    && objcopy --only-keep-debug --compress-debug-sections target/dist/doppio /out/symbols/doppio.debug \
    && objcopy --strip-debug --add-gnu-debuglink=/out/symbols/doppio.debug target/dist/doppio /out/bin/doppio
# What the program is called decides which service it is.
RUN for name in member ordering status-projector query-api; do ln -s doppio "/out/bin/$name"; done

# Four fifths of the program are line tables, which only a crash needs: they are kept beside the image, not in it.
FROM scratch AS symbols
COPY --from=build /out/symbols/ /

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
