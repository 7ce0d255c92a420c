#!/bin/sh
# Runs the worker for MINUTES (30) between a throwaway broker and the simulated HubSpot under random faults, samples
# memory, open files, threads and lag, and prints the slopes. Exit code 0: nothing lost, nothing grows.
# SEED repeats the faults of an earlier run. PROFILE (quick) is how the programs are built; dev builds are slower.
set -eu
cd "$(dirname "$0")/.."
deploy/install.sh rabbitmq-server

PROFILE=${PROFILE:-quick}
case $PROFILE in dev) built=target/debug ;; *) built=target/$PROFILE ;; esac
cargo build --profile "$PROFILE" --locked --bins --package association-archiver --package hubspot-simulator

export MINUTES="${MINUTES:-30}" SEED="${SEED:-}"
# As the image and the unit have it: without, glibc, which allocates on arm64, keeps the buffers of some lost connections,
# tens of megabytes.
export MALLOC_MMAP_THRESHOLD_=131072
export ARCHIVER_BIN="$PWD/$built/association-archiver" HUBSPOT_SIMULATOR_BIN="$PWD/$built/hubspot-simulator"
exec cargo test --workspace --locked --test chaos -- --ignored --exact --nocapture soak::nothing_grows_in_a_worker_that_runs_for_long
