#!/bin/sh
# Makes sure that Debian's packages named on the command line are here, without any service being started or enabled.
#
#   deploy/install.sh rabbitmq-server
#
# Exit codes: 0 the packages are here; 2 wrong usage; 3 they cannot be had (the last line on stderr says why and what
# to do). Needs root or sudo only when there is something to install.
set -eu

# Where invoke-rc.d and deb-systemd-invoke ask whether a package may start its service.
POLICY=/usr/sbin/policy-rc.d

main() {
    if [ $# -eq 0 ]; then
        echo "usage: deploy/install.sh PACKAGE..." >&2
        exit 2
    fi
    # No package's name has a space.
    missing=$(missing_of "$@")
    if [ -z "$missing" ]; then return 0; fi
    if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
        give_up "this is no Debian-like system (no apt-get): install what Debian calls $missing by hand"
    fi
    choose_sudo
    say "installing $missing with apt-get; no service is started or enabled"

    work=$(mktemp -d) || give_up "no temporary directory could be made: check TMPDIR and the free disk space"
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    forbid_services
    # Stale lists are good enough when the mirror of one of several sources is away; the install then decides.
    as_root apt-get update -qq >"$work/apt.log" 2>&1 || say "apt-get update failed, trying with the lists that are here"
    # shellcheck disable=SC2086 # one word for each package is meant
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing </dev/null >>"$work/apt.log" 2>&1 ||
        give_up "apt-get could not install $missing: $(apt_reason)"
    # shellcheck disable=SC2086 # likewise
    left=$(missing_of $missing)
    [ -z "$left" ] || give_up "apt-get ended well but $left is not installed: run 'apt-get install $left' and read its output"
    for package in $missing; do
        switch_off_services "$package"
    done
    say "$missing: installed"
}

missing_of() {
    lacking=
    for package in "$@"; do
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            lacking="$lacking${lacking:+ }$package"
        fi
    done
    printf '%s' "$lacking"
}

choose_sudo() {
    SUDO=
    if [ "$(id -u)" -eq 0 ]; then return 0; fi
    command -v sudo >/dev/null 2>&1 ||
        give_up "installing $missing needs root and there is no sudo: run 'apt-get install $missing' as root"
    # Asking for a password makes sense only where somebody can type it.
    if [ -t 0 ]; then
        sudo -v || give_up "sudo refused: run 'apt-get install $missing' as root"
    else
        sudo -n true 2>/dev/null || give_up "sudo wants a password and there is no terminal: run 'apt-get install $missing' as root"
    fi
    SUDO=sudo
}

as_root() {
    if [ -n "$SUDO" ]; then sudo "$@"; else "$@"; fi
}

# 101 is policy-rc.d's word for "action forbidden".
forbid_services() {
    if [ -e "$POLICY" ] || [ -L "$POLICY" ]; then
        as_root cp -pP "$POLICY" "$work/policy-rc.d" || give_up "$POLICY could not be saved: check the rights on it"
    fi
    printf '#!/bin/sh\nexit 101\n' >"$work/forbid"
    policy_replaced=yes
    # By way of a second file, so that the name always holds either the old rule or the new one.
    if ! as_root install -m 755 "$work/forbid" "$POLICY.new" || ! as_root mv -f "$POLICY.new" "$POLICY"; then
        give_up "$POLICY could not be written: check the rights on its directory"
    fi
}

clean_up() {
    status=$?
    trap - EXIT
    # A second interrupt must not leave the machine with services forbidden.
    trap '' HUP INT TERM
    if [ "${policy_replaced:-no}" = yes ]; then
        as_root rm -f "$POLICY.new"
        if [ -e "$work/policy-rc.d" ] || [ -L "$work/policy-rc.d" ]; then
            as_root mv -f "$work/policy-rc.d" "$POLICY"
        else
            as_root rm -f "$POLICY"
        fi
    fi
    as_root rm -rf "$work"
    exit "$status"
}

# A package's own script enables its units even where policy-rc.d forbids their start.
switch_off_services() {
    dpkg-query -L "$1" | sed -n 's|^\(/usr\)\{0,1\}/lib/systemd/system/\([^@/]*\.\(service\|socket\|timer\)\)$|\2|p' |
        while read -r unit; do
            if command -v deb-systemd-helper >/dev/null 2>&1; then
                as_root deb-systemd-helper disable "$unit" >/dev/null 2>&1 </dev/null || true
            fi
            if [ -d /run/systemd/system ]; then
                as_root systemctl disable --now "$unit" >/dev/null 2>&1 </dev/null ||
                    say "$unit could not be switched off: run 'systemctl disable --now $unit'"
            elif command -v update-rc.d >/dev/null 2>&1; then
                as_root update-rc.d "${unit%.*}" disable >/dev/null 2>&1 </dev/null || true
            fi
        done
}

apt_reason() {
    reason=$(grep -E '^(E|Err):' "$work/apt.log" | tail -n 1 | cut -c 1-300)
    printf '%s' "${reason:-see 'apt-get install $missing'}"
}

say() {
    printf 'install: %s\n' "$1" >&2
}

give_up() {
    printf 'install: %s\n' "$1" >&2
    exit 3
}

main "$@"
