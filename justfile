# Shortcuts; `just --list` shows them. None is needed: scripts/test runs without just.

# Show this list.
default:
    @just --list

# Build the release executable.
build:
    cargo build --release

# Serve on 127.0.0.1:3000, data in ./data.
run *arguments:
    cargo run --release -- {{arguments}}

# The cluster on this machine, with PostgreSQL and NATS: gateways on ports 3000 and 3001.
cluster: build
    scripts/cluster

# Faults under load in a cluster, and what became of every message: sixty, about twenty minutes.
faults faults='60' messages='50000': build
    eval "$(scripts/services start)" && DEPLOYMENT=cluster FAULTS={{faults}} MESSAGES={{messages}} node --test --test-reporter=spec tests/cluster/faults.test.mjs

# Measure beside a peer in Node and the machine's limits, and print tables; with --quick in two minutes.
bench *arguments:
    cargo build --release -p verbatim -p verbatim-bench
    npm --prefix tests ci --no-fund --no-audit && npm --prefix bench/peer ci --no-fund --no-audit
    node --test bench/*.test.mjs
    ulimit -n "$(ulimit -Hn)" && eval "$(scripts/services start)" && node bench/run.mjs {{arguments}}

# Print a token for a user of the server in ./data.
token user *arguments:
    @cargo run --quiet --release -- token --user {{user}} {{arguments}}

# Run all tests and checks, or single steps: `just test --only unit`.
test *arguments:
    scripts/test {{arguments}}

# Unit and conformance tests of some crates: `just unit -p verbatim-journal`.
unit *arguments:
    cargo nextest run {{arguments}}

# One end-to-end suite against what was built last: `just e2e sending`.
e2e suite='*':
    node --test --test-reporter=spec tests/{{suite}}.test.mjs

# The same against a cluster: `just e2e-cluster sending`.
e2e-cluster suite:
    eval "$(scripts/services start)" && DEPLOYMENT=cluster node --test --test-reporter=spec tests/{{suite}}.test.mjs

fmt:
    cargo fmt --all

lint:
    scripts/test --only fmt --only clippy --only doc --only typos --only shellcheck

# Write the OpenAPI, AsyncAPI and JSON Schema files anew from the types.
schemas:
    UPDATE_SCHEMAS=1 cargo test --workspace --test schemas
