#!/bin/sh
# Loads definitions.json into a throwaway RabbitMQ node and checks what came of it: queues, bindings, policies and what
# each user may do. Touches no other broker on the machine.
#
# Exit codes: 0 all is right; 1 something is wrong; 3 it could not be run (no RabbitMQ here).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
RABBITMQ=/usr/lib/rabbitmq/bin
START_SECONDS=90
STOP_SECONDS=30

main() {
    if [ ! -x "$RABBITMQ/rabbitmq-server" ] || ! command -v epmd >/dev/null 2>&1; then
        say "not run: there is no RabbitMQ in $RABBITMQ (deploy/install.sh rabbitmq-server installs Debian's)"
        exit 3
    fi
    node=$(mktemp -d)
    trap stop_node EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start_node

    # Both runs of sort must agree whatever the locale.
    export LC_ALL=C
    same "queues and their arguments" "$(wanted_queues)" "$(real_queues)"
    same "bindings" "$(wanted_bindings)" "$(real_bindings)"
    same "permissions" "$(wanted_permissions)" "$(real_permissions)"
    same "policy of each queue" "$(wanted_policies)" "$(real_policies)"
    check_locked
    check_reload
    add_shards
    check_rights
    check_demo
    say "all is right"
}

start_node() {
    # Ports that are free now; a name that no other node uses.
    # shellcheck disable=SC2046 # one word for each port is meant
    set -- $(python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*[s.getsockname()[1] for s in held])')
    amqp_port=$1 epmd_port=$3
    mkdir -p "$node/home" "$node/mnesia" "$node/log" "$node/generated" "$node/definitions.d"
    cp "$here/definitions.json" "$node/definitions.d/definitions.json"
    echo '[rabbitmq_management_agent].' >"$node/enabled_plugins"
    # The example as it is, but for the place of the definitions and what a small machine can hold.
    sed -e "s|/etc/rabbitmq/definitions.d/|$node/definitions.d/|" -e '/disk_free_limit/d' "$here/rabbitmq.conf" \
        >"$node/rabbitmq.conf"
    printf '%s\n' 'disk_free_limit.absolute = 50MB' 'vm_memory_high_watermark.absolute = 1GiB' \
        'raft.wal_max_size_bytes = 67108864' 'log.console = false' >>"$node/rabbitmq.conf"
    # Made beforehand, or node and rabbitmqctl would each make one in HOME.
    (umask 277 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$node/home/.erlang.cookie")
    export HOME="$node/home" LANG=C.UTF-8 ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1
    export RABBITMQ_NODENAME=definitions-check@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
    export RABBITMQ_NODE_PORT="$amqp_port" RABBITMQ_DIST_PORT="$2"
    export RABBITMQ_MNESIA_BASE="$node/mnesia" RABBITMQ_LOG_BASE="$node/log" RABBITMQ_PID_FILE="$node/vm.pid"
    export RABBITMQ_ENABLED_PLUGINS_FILE="$node/enabled_plugins" RABBITMQ_CONF_ENV_FILE="$node/none"
    export RABBITMQ_CONFIG_FILE="$node/rabbitmq.conf" RABBITMQ_ADVANCED_CONFIG_FILE="$node/none"
    export RABBITMQ_GENERATED_CONFIG_DIR="$node/generated"
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+sbwt none -kernel inet_dist_use_interface {127,0,0,1} -start_epmd false"
    epmd -port "$epmd_port" -address 127.0.0.1 >/dev/null 2>&1 &
    epmd_pid=$!
    launch
}

launch() {
    # Makes the script become the VM, so that the id is the VM's.
    detached=1 "$RABBITMQ/rabbitmq-server" </dev/null >"$node/log/stdout" 2>"$node/log/stderr" &
    vm_pid=$!
    # rabbitmqctl gives up at once while there is no VM to speak to.
    began=$(date +%s)
    until ctl await_startup --timeout "$START_SECONDS" >"$node/log/await" 2>&1; do
        if ! kill -0 "$vm_pid" 2>/dev/null || [ $(($(date +%s) - began)) -ge "$START_SECONDS" ]; then
            say "the node does not start:"
            tail -n 20 "$node/log/await" "$node/log/stdout" "$node/log/stderr" >&2
            exit 1
        fi
        sleep 0.2
    done
}

stop_vm() {
    kill -TERM "$vm_pid" 2>/dev/null || true
    waited=0
    while kill -0 "$vm_pid" 2>/dev/null && [ "$waited" -lt "$STOP_SECONDS" ]; do
        sleep 1
        waited=$((waited + 1))
    done
    kill -KILL "$vm_pid" 2>/dev/null || true
    wait "$vm_pid" 2>/dev/null || true
}

stop_node() {
    status=$?
    trap - EXIT INT TERM
    if [ -n "${vm_pid:-}" ]; then stop_vm; fi
    if [ -n "${epmd_pid:-}" ]; then kill "$epmd_pid" 2>/dev/null || true; fi
    rm -rf "$node"
    exit "$status"
}

ctl() {
    "$RABBITMQ/rabbitmqctl" -q -n "$RABBITMQ_NODENAME" "$@"
}

in_vhost() {
    ctl -p association-archiver --formatter json "$@"
}

wanted() {
    jq -cr "$1" "$here/definitions.json" | sort
}

wanted_queues() {
    wanted '.queues[] | [.name, .durable, .arguments] | walk(if type == "object" then to_entries | sort_by(.key) | from_entries else . end)'
}

real_queues() {
    in_vhost list_queues name durable arguments | jq -cr '.[] | [.name, .durable, (.arguments
        | if type == "array" then map({key: .[0], value: .[2]}) | from_entries else . end
        | to_entries | sort_by(.key) | from_entries)]' | sort
}

wanted_bindings() {
    wanted '.bindings[] | [.source, .routing_key, .destination]'
}

# Every queue is bound to the default exchange by the broker itself.
real_bindings() {
    in_vhost list_bindings source_name routing_key destination_name |
        jq -cr '.[] | select(.source_name != "") | [.source_name, .routing_key, .destination_name]' | sort
}

wanted_permissions() {
    wanted '.permissions[] | [.user, .configure, .write, .read]'
}

real_permissions() {
    in_vhost list_permissions | jq -cr '.[] | [.user, .configure, .write, .read]' | sort
}

# Each policy's pattern must catch the queues that it is for, and every queue needs one.
wanted_policies() {
    jq -cr '.policies as $policies | .queues[].name as $queue
        | [$queue, ([$policies[] | select(.pattern as $p | $queue | test($p)) | .name] | join(" and "))]' \
        "$here/definitions.json" | sort
}

real_policies() {
    in_vhost list_queues name policy | jq -cr '.[] | [.name, .policy]' | sort
}

same() {
    if [ "$2" = "$3" ] && [ -n "$2" ]; then
        say "ok: $1 ($(printf '%s\n' "$2" | wc -l | tr -d ' '))"
        return 0
    fi
    printf '%s\n' "$2" >"$node/wanted"
    printf '%s\n' "$3" >"$node/real"
    say "WRONG: $1 (- as in definitions.json, + as the broker has it)"
    diff -u "$node/wanted" "$node/real" | tail -n +3 >&2
    exit 1
}

# As where `amqp.shards` is set and the worker may declare nothing. The policies have to catch these queues as well.
add_shards() {
    for layout in "per-account 4711" "2 4711"; do
        # shellcheck disable=SC2086 # several words are meant
        python3 "$here/shards.py" $layout >"$node/shards.json"
        ctl import_definitions "$node/shards.json" >/dev/null
    done
    policies=$(in_vhost list_queues name policy | jq -r '[.[] | select(.name | test("jobs[.][0-9]+$")) | .policy] | unique | join(" ")')
    if [ "$policies" != association-archiver-jobs ]; then
        say "WRONG: policies of the shards: $policies"
        exit 1
    fi
    say "ok: shards"
}

# As shipped, nobody can log in: a password has to be chosen first.
check_locked() {
    for user in $(jq -r '.users[].name' "$here/definitions.json"); do
        for password in '' guest "$user"; do
            if ctl authenticate_user "$user" "$password" >/dev/null 2>&1; then
                say "WRONG: $user can log in with the password '$password'"
                exit 1
            fi
        done
    done
    say "ok: without a password chosen by you no user can log in"
}

check_rights() {
    # Debian's package is for Debian's Python, which need not be the first on the path.
    for python in python3 /usr/bin/python3 none; do
        if "$python" -c 'import pika' 2>/dev/null; then break; fi
    done
    if [ "$python" = none ]; then
        say "not run: what each user may do (needs Python's pika: apt-get install python3-pika)"
        return 0
    fi
    for user in $(jq -r '.users[].name' "$here/definitions.json"); do
        ctl change_password "$user" check >/dev/null
    done
    "$python" "$here/rights.py" "$amqp_port" check
}

# A password set by the operator must outlive a restart of the node.
check_reload() {
    ctl change_password association-archiver kept >/dev/null
    stop_vm
    launch
    if ! ctl authenticate_user association-archiver kept >/dev/null 2>&1; then
        say "WRONG: a restart brings back the passwords of the definitions"
        exit 1
    fi
    same "queues after a restart" "$(wanted_queues)" "$(real_queues)"
    say "ok: a password that was changed outlives a restart"
}

# The files of the compose demo, together in one directory and with a broker that has no data yet, as there. (RabbitMQ
# 4.0.5 does not read the second file if what the first one defines is there already.)
check_demo() {
    cp "$here/../compose/demo-users.json" "$node/definitions.d/demo-users.json"
    stop_vm
    rm -rf "$node/mnesia"
    mkdir "$node/mnesia"
    launch
    for role in worker producer consumer operator; do
        user=association-archiver
        if [ "$role" != worker ]; then user="$user-$role"; fi
        if ! ctl authenticate_user "$user" "$role-demo" >/dev/null 2>&1; then
            say "WRONG: the demo's $user cannot log in with $role-demo"
            exit 1
        fi
    done
    say "ok: the demo's users can log in"
}

say() {
    printf 'definitions: %s\n' "$1" >&2
}

main "$@"
