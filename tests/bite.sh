#!/usr/bin/env bash
# Does the suite bite? Seeds each bug of tests/bite/*.patch into a copy of what is committed, runs the tests that should
# notice, and prints who did. Without the bug the same tests must pass, else their failing would prove nothing.
#
#   tests/bite.sh [NAME...]     only these bugs, named as their files are
#
# A patch begins with two lines before its diff: `Bug:`, in words, and `Test:`, the arguments for `cargo test`.
set -euo pipefail
cd "$(git -C "$(dirname "$0")" rev-parse --show-toplevel)"

root=$PWD
tree=$root/target/bite/tree
logs=$root/target/bite/logs
# One place for all bugs, beside the ordinary builds: only what a patch touches is compiled again.
export CARGO_TARGET_DIR=$root/target
# A bug can make a test wait for ever.
readonly LIMIT_SECONDS=${LIMIT_SECONDS:-300}
# Some bugs are races, which a loaded machine may lose: a test that has passed is asked again.
readonly TRIES=3
# Histories of the simulation: enough for these bugs.
export SEEDS=${SEEDS:-100}

copy_the_tree() {
    mkdir -p "$logs"
    [ -e "$tree/.git" ] || git clone --quiet --shared --no-checkout "$root" "$tree"
    git -C "$tree" fetch --quiet "$root" HEAD
    git -C "$tree" checkout --quiet --force --detach FETCH_HEAD
    git -C "$tree" clean --quiet -fd
}

field() { # file name
    sed -n "s/^$2: //p" "$1" | head -n 1
}

# Status: 0 passed, 1 failed, 2 does not compile, 3 no such test, 4 did not end.
run_tests() { # log arguments...
    local log=$1
    shift
    (cd "$tree" && cargo test --workspace --locked --no-run "$@") >"$log" 2>&1 || return 2
    local status=0
    (cd "$tree" && timeout "$LIMIT_SECONDS" cargo test --workspace --locked "$@") >>"$log" 2>&1 || status=$?
    grep -qE '^running [1-9][0-9]* tests?$' "$log" || return 3
    case $status in
    0) return 0 ;;
    124) return 4 ;;
    *) return 1 ;;
    esac
}

split() { # Test: line -> the array `arguments`; what comes last, behind `--`, is the name of a test
    read -ra arguments <<<"$1"
}

patches=()
if [ $# -gt 0 ]; then
    for name in "$@"; do patches+=("tests/bite/$name.patch"); done
else
    patches=(tests/bite/*.patch)
fi

clean_up() {
    git -C "$tree" checkout --quiet --force -- .
    # Built with a bug; the next build puts the right one there.
    rm -f "$root/target/debug/association-archiver"
}

copy_the_tree
trap clean_up EXIT

# First all without a bug, so that each bug costs one build.
declare -A sound
for patch in "${patches[@]}"; do
    test=$(field "$patch" Test)
    [ -z "${sound[$test]-}" ] || continue
    split "$test"
    status=0
    run_tests "$logs/$(basename "$patch" .patch).sound" "${arguments[@]}" || status=$?
    sound[$test]=$status
done

missed=0
row='%-34s %-78s %s\n'
# shellcheck disable=SC2059
printf "$row" bug test caught
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    test=$(field "$patch" Test)
    split "$test"
    if [ "${sound[$test]}" != 0 ]; then
        verdict="? fails without the bug (target/bite/logs/*.sound)"
    elif ! git -C "$tree" apply "$root/$patch" 2>"$logs/$name"; then
        verdict="? does not apply (target/bite/logs/$name)"
    else
        for _ in $(seq "$TRIES"); do
            status=0
            run_tests "$logs/$name" "${arguments[@]}" || status=$?
            [ "$status" = 0 ] || break
        done
        case $status in
        0) verdict='NO' ;;
        1) verdict=yes ;;
        4) verdict='yes, it never ends' ;;
        *) verdict="? cannot run (target/bite/logs/$name)" ;;
        esac
    fi
    git -C "$tree" checkout --quiet --force -- .
    [[ $verdict == yes* ]] || missed=$((missed + 1))
    # shellcheck disable=SC2059
    printf "$row" "$name" "$test" "$verdict"
done
echo
echo "${#patches[@]} bugs seeded, $((${#patches[@]} - missed)) caught"
[ "$missed" = 0 ]
