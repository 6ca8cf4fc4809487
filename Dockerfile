# syntax=docker/dockerfile:1
# One image for every part: `serve`, `migrate`, `work`, `produce` and the rest are its commands.

ARG RUST_VERSION=1.95
ARG DEBIAN=bookworm
# The brokers that it can use besides the database; less is smaller, and sooner compiled.
ARG FEATURES=rabbitmq,redis,sqs

FROM rust:${RUST_VERSION}-slim-${DEBIAN} AS build
ARG FEATURES
WORKDIR /build
COPY . .
# Downloads and compiled dependencies stay in caches of the builder: a change of the sources compiles
# the sources alone. Those are always compiled: Cargo goes by their times, and the times of a fresh
# clone may be older than what another clone's build left in the cache. Caches are no part of the
# layer, so the binary is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    find src domain workbook entity migration store -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin rowmill --features "${FEATURES}" \
    && install -D -m 0755 target/release/rowmill /out/rowmill

FROM debian:${DEBIAN}-slim
# The certificates are for handlers that call https addresses, and for brokers that are reached by TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 rowmill \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data \
        --shell /usr/sbin/nologin rowmill \
    && install -d -o 10001 -g 10001 /data /data/rowmill-spool
COPY --from=build /out/rowmill /usr/local/bin/rowmill
COPY resources /resources
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
# What it writes, it writes here: the SQLite file, unless there is a PostgreSQL, and the spool.
WORKDIR /data
# In a container the loopback address is nobody's. `serve` does not start there without an API key
# (`rowmill key add`), or ROWMILL_OPEN_TO_ANYONE=true, which is for where nobody else can reach it.
ENV ROWMILL_LISTEN=0.0.0.0:8000
EXPOSE 8000
# As process 1 it acts on SIGTERM and waits for the reader processes that it starts. A handler's
# command may leave processes behind: run `work --exec` with an init (`docker run --init`).
ENTRYPOINT ["rowmill"]
CMD ["serve"]
