#!/bin/sh
# Makes sure that Debian's rabbitmq-server package is here, without a broker being started or enabled as a service.
#
# Exit codes: 0 the package is here; 3 it cannot be had (the last line on stderr says why and what to do).
# Needs root or sudo only when there is something to install.
set -eu

PACKAGE=rabbitmq-server
# Where invoke-rc.d and deb-systemd-invoke ask whether a package may start its service.
POLICY=/usr/sbin/policy-rc.d

main() {
    if installed; then return 0; fi
    if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
        give_up "this is no Debian-like system (no apt-get): install RabbitMQ 3.10 or later by hand"
    fi
    choose_sudo
    say "installing $PACKAGE with apt-get; no service is started or enabled"

    work=$(mktemp -d) || give_up "no temporary directory could be made: check TMPDIR and the free disk space"
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    forbid_services
    # Stale lists are good enough when the mirror of one of several sources is away; the install then decides.
    as_root apt-get update -qq >"$work/apt.log" 2>&1 || say "apt-get update failed, trying with the lists that are here"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$PACKAGE" </dev/null >>"$work/apt.log" 2>&1 ||
        give_up "apt-get could not install $PACKAGE: $(apt_reason)"
    installed || give_up "apt-get ended well but $PACKAGE is not installed: run 'apt-get install $PACKAGE' and read its output"
    switch_off_service
    say "$PACKAGE is installed"
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$PACKAGE" 2>/dev/null)" = installed ]
}

choose_sudo() {
    SUDO=
    if [ "$(id -u)" -eq 0 ]; then return 0; fi
    command -v sudo >/dev/null 2>&1 ||
        give_up "installing $PACKAGE needs root and there is no sudo: run 'apt-get install $PACKAGE' as root"
    # Asking for a password makes sense only where somebody can type it.
    if [ -t 0 ]; then
        sudo -v || give_up "sudo refused: run 'apt-get install $PACKAGE' as root"
    else
        sudo -n true 2>/dev/null || give_up "sudo wants a password and there is no terminal: run 'apt-get install $PACKAGE' as root"
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

# The package's own script enables the unit even where policy-rc.d forbids its start.
switch_off_service() {
    if command -v deb-systemd-helper >/dev/null 2>&1; then
        as_root deb-systemd-helper disable "$PACKAGE.service" >/dev/null 2>&1 || true
    fi
    if [ -d /run/systemd/system ]; then
        as_root systemctl disable --now "$PACKAGE.service" >/dev/null 2>&1 ||
            say "$PACKAGE.service could not be switched off: run 'systemctl disable --now $PACKAGE'"
    elif command -v update-rc.d >/dev/null 2>&1; then
        as_root update-rc.d "$PACKAGE" disable >/dev/null 2>&1 || true
    fi
}

apt_reason() {
    reason=$(grep -E '^(E|Err):' "$work/apt.log" | tail -n 1 | cut -c 1-300)
    printf '%s' "${reason:-see 'apt-get install $PACKAGE'}"
}

say() {
    printf 'rabbitmq: %s\n' "$1" >&2
}

give_up() {
    printf 'rabbitmq: no broker can be had: %s\n' "$1" >&2
    exit 3
}

main "$@"
