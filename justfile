# What can be done here. `just` alone lists it.

set shell := ["bash", "-euo", "pipefail", "-c"]

# This list
[private]
default:
    @just --list --unsorted

# Show it: a real Asterisk, call centres and a carrier; about 20 calls, their records, and who exceeded what
demo: (_set-up "demo")
    @echo "demo: building (quick when it is built already)"
    @cargo build --quiet --bin capconduit --example demo
    @target/debug/examples/demo

# The same, but stays up for your own softphone; Ctrl-C ends it
up: (_set-up "demo")
    @echo "up: building (quick when it is built already)"
    @cargo build --quiet --bin capconduit --example demo
    @target/debug/examples/demo --stay

# All tests, the live ones on a real Asterisk included; with a filter, those whose names contain it
test *filter: (_set-up "tests")
    @echo "test: building and running all tests"
    @cargo nextest run --workspace {{ filter }}

# So many calls of each flow with real phones at both ends: who hears nothing, and how often a phone saw its audio's source change
phones calls="20": (_set-up "tests")
    @echo "phones: building and calling"
    @printf 'phones | flow | phone | calls | deaf callers | deaf call centres | SSRC changes |\n'
    @CAPCONDUIT_PHONE_CALLS={{ calls }} cargo nextest run --profile phones --test live -E 'test(/^phones::/)' 2>&1 \
      | { grep -a --line-buffered -oE 'phones \|.*|^ *(PASS|FAIL|TIMEOUT|Summary).*|^error.*' || true; }

# Real calls while everything around them is killed, stopped, slowed and cut, drawn from a seed; then the accounts (10 minutes of calls)
chaos *arguments: (_set-up "tests")
    @echo "chaos: building (quick when it is built already)"
    @cargo build --quiet --bin capconduit --example chaos
    @target/debug/examples/chaos {{ arguments }}

# Half heads, slow bodies and readers, floods, all at once on the API, beside 20 real calls a second: none may fail, log-in within 1 s
attack seconds="300": (_set-up "tests")
    @echo "attack: building (quick when it is built already)"
    @cargo build --quiet --release --bin capconduit --example attack
    @target/release/examples/attack {{ seconds }}

# How quickly 300 calls are adopted after kill -9 of the controller, and whether any is dropped
chaos-adoption: (_set-up "tests")
    @cargo build --quiet --release --bin capconduit --example chaos
    @target/release/examples/chaos adoption 300

# How quickly 300 calls that ring are decided anew after kill -9 of the controller, and whether any is lost or passes the cap
chaos-ringing: (_set-up "tests")
    @cargo build --quiet --release --bin capconduit --example chaos
    @target/release/examples/chaos ringing 300

# Backups beside 10 calls a second and 200,000 records: calls are answered at most 5 ms later in the middle, none is lost
chaos-backup seconds="120": (_set-up "tests")
    @cargo build --quiet --release --bin capconduit --example chaos
    @target/release/examples/chaos backup {{ seconds }}

# Each alert that can be caused fires in a real Prometheus while there is reason for it, and ends: an hour and a quarter; `just chaos-alerts quick` in 3 minutes
chaos-alerts *pace: (_set-up "tests")
    @cargo build --quiet --bin capconduit --example chaos
    @target/debug/examples/chaos alerts {{ pace }}

# PostgreSQL away for 5 minutes at 10 calls a second, stopped and silent (how quickly a backlog of records is written: `just bench records`)
chaos-database: (_set-up "tests")
    @cargo build --quiet --release --bin capconduit --example chaos
    @target/release/examples/chaos database 300

# How fast it is beside the dialplan's own Dial(), on a real Asterisk: writes bench/REPORT.md. `just bench quick` in 3 minutes, or rows by name
bench *arguments: (_set-up "tests")
    @echo "bench: building as it is run in earnest (minutes, the first time)"
    @cargo build --quiet --release --bin capconduit --example bench
    @target/release/examples/bench {{ arguments }}

# First page of every filter of the calls list in a table of a million records on PostgreSQL: p99 at most 20 ms
bench-filters: (_set-up "tests")
    @echo "bench-filters: building as it is run in earnest (minutes, the first time)"
    @cargo build --quiet --release --example bench-filters
    @target/release/examples/bench-filters

# kill -9 under 5,000 ringing calls, against a fake Asterisk: all decided within 2 s of the lists, the calls' thread held for 20 ms at most
bench-recovery calls="5000":
    @echo "bench-recovery: building as it is run in earnest (minutes, the first time)"
    @cargo build --quiet --release --example bench-recovery
    @target/release/examples/bench-recovery {{ calls }}

# A million faulted calls through the real controller in virtual time, and known mistakes that it must find; with a seed, that one world step by step
simulate seed='':
    @echo "simulate: building as it is run in earnest (minutes, the first time)"
    @CAPCONDUIT_SIMULATE_SEED={{ seed }} CAPCONDUIT_SIMULATE_FAULTED=1000000 \
      cargo test --quiet --release -p capconduit --lib {{ if seed == "" { "simulation::" } else { "nothing_is_lost_and_no_cap_is_passed" } }} -- --nocapture

# 600 calls over three restarts of the controller, 5 a second, 3 talks up all the while: none refused, none dropped
upgrade calls="600": (_set-up "tests")
    @echo "upgrade: building and calling"
    @CAPCONDUIT_UPGRADE_CALLS={{ calls }} cargo nextest run --test live -E 'test(three_restarts)' --no-capture

# What must hold before a change is merged, besides the tests: format, lints, layers
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --quiet -- -D warnings
    scripts/check-layers

# .deb, -dbgsym.deb, .rpm, .tar.gz, OCI archive, SBOM and SHA256SUMS of this commit, in target/package/out (on Debian 12; half an hour, the first time)
package: (_set-up "package")
    @scripts/package

# The packages, made and tried for real: the same bytes twice, lintian, installation to purge in a Debian without systemd, the image (as root)
package-test: (_set-up "package-test")
    @packaging/try

# Calls through the .deb that is in target/package/out, beside an Asterisk in use: README's lines, upgrades, a hung process, removal (as root)
package-calls calls="600" suites="bookworm trixie": (_set-up "package-test")
    @for suite in {{ suites }}; do packaging/try-calls target/package/out/capconduit_*.deb "$suite" {{ calls }}; done

# Licences, sources, banned and vulnerable crates (the list of vulnerabilities is fetched), unused dependencies
deny:
    @command -v cargo-deny >/dev/null || cargo install --quiet --locked cargo-deny
    @command -v cargo-machete >/dev/null || cargo install --quiet --locked cargo-machete
    cargo deny check
    cargo machete

# Random input to all that reads what comes from outside, for about so many seconds; a failure is kept and tried first from then on
fuzz seconds="60":
    scripts/fuzz {{ seconds }}

# Write openapi/*.yaml from the code: the whole document, and one for each role
openapi:
    @cargo build --quiet --bin capconduit
    @for role in '' admin staff seller; do \
      name=${role:-capconduit}; \
      target/debug/capconduit openapi ${role:+--role "$role"} > "openapi/$name.yaml.new"; \
      mv "openapi/$name.yaml.new" "openapi/$name.yaml"; \
    done

# Run the controller with ./capconduit.toml: `just run serve`, `just run calls` …
run *args:
    @cargo run --quiet --bin capconduit -- {{ args }}

# Check a real set-up (./capconduit.toml) and say how to mend what is wrong
doctor:
    @cargo run --quiet --bin capconduit -- doctor

# Install what is missing on this machine for tests and demo (tests and demo do it themselves)
setup: (_set-up "tests")

[private]
_set-up what:
    @scripts/setup {{ what }}
