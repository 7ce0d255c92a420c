#!/bin/sh
# 20,000 jobs through a throwaway RabbitMQ, the worker and a simulated HubSpot; nothing is left running.
#
# Needs cargo and a C compiler. Installs RabbitMQ when it is missing; where none can be had, the same jobs go through the
# worker's embedded queue. Exit 0 only if every job was answered rightly. KEEP=1: the worker goes on with some traffic
# until Enter, so that its page can be looked at.
set -eu
cd "$(dirname "$0")/.."

main() {
    command -v cargo >/dev/null 2>&1 || stop "cargo is not there: install Rust from https://rustup.rs and open a new shell"
    choose_way
    build
    # Cargo's own settings may have moved it.
    target=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    "$target/debug/demo" $way
    name_what_was_built
}

name_what_was_built() {
    cat <<EOT

The programs are built and can be used as they are; \`make install\` builds and installs faster ones.

  export PATH="$target/debug:\$PATH"
  hubspot-simulator --listen 127.0.0.1:8080                       # a HubSpot on your desk; leave it running
  export ARCHIVER__HUBSPOT__BASE_URL=http://127.0.0.1:8080 ARCHIVER__HUBSPOT__ACCESS_TOKEN=any
  association-archiver archive pairs.csv --failed failed.csv      # from_object_type,from_id,to_object_type,to_id
EOT
}

choose_way() {
    way=
    status=0
    deploy/install.sh rabbitmq-server || status=$?
    case $status in
        0)
            [ -z "${KEEP:-}" ] || way=keep
            ;;
        3)
            say "no broker can be had here: the demo runs on the embedded queue instead"
            [ -z "${KEEP:-}" ] || say "KEEP=1 is left out: without a broker there is no page"
            way=embedded
            ;;
        *) exit "$status" ;;
    esac
}

build() {
    say "building (the first time it takes some minutes, later a second)"
    # All of the workspace, as `make test` builds it: another selection would build the dependencies twice.
    cargo build --locked --bins --workspace ||
        stop "the build failed; its reason is above"
}

say() {
    printf 'demo: %s\n' "$1"
}

stop() {
    printf 'demo: %s\n' "$1" >&2
    exit 1
}

main "$@"
