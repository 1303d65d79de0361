# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
# Registry and target folder are kept between builds, so only what has changed is compiled again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --release -p verbatim && cp target/release/verbatim /verbatim

# glibc, libgcc and the system's certificate authorities; no shell, and a user that isn't root.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /verbatim /usr/local/bin/verbatim
ENV VERBATIM_LISTEN=0.0.0.0:3000 VERBATIM_DATA_DIR=/data
EXPOSE 3000
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s CMD ["verbatim", "health"]
ENTRYPOINT ["verbatim"]
CMD ["serve"]
