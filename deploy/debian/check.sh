#!/bin/sh
# Installs a .deb into a root of its own, looks at what it brought, and purges it again.
#
#   deploy/debian/check.sh target/debian/association-archiver_*.deb
#
# Needs dpkg and systemd's tools, and fakeroot where it is not run as root; touches nothing outside its own directory.
# Exit codes: 0 all is as it should be; 1 something is not.
set -eu

main() {
    [ $# -eq 1 ] || stop "usage: deploy/debian/check.sh PACKAGE.deb"
    package=$(realpath "$1")
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/etc"
    : >"$root/var/lib/dpkg/status"
    : >"$root/etc/passwd"
    : >"$root/etc/group"

    dpkg_there --install "$package"
    files
    user
    program
    unit
    configuration_survives_removal
    echo "deb: $(basename "$package") installs, runs and goes as it should"
}

# What it depends on is not in that root; scripts run outside it and are told of it by DPKG_ROOT.
dpkg_there() {
    as_root=
    [ "$(id -u)" = 0 ] || as_root=fakeroot
    $as_root dpkg --root="$root" --force-script-chrootless --force-depends --force-not-root --log="$root/dpkg.log" \
        "$@" >"$root/said" 2>&1 || { cat "$root/said" >&2; stop "dpkg $* failed"; }
}

files() {
    while read -r mode path; do
        [ -e "$root$path" ] || stop "$path is missing"
        is=$(stat --format=%a "$root$path")
        [ "$is" = "$mode" ] || stop "$path has the mode $is, not $mode"
    done <<LIST
755 /usr/bin/association-archiver
644 /usr/lib/systemd/system/association-archiver.service
644 /usr/lib/sysusers.d/association-archiver.conf
644 /usr/lib/tmpfiles.d/association-archiver.conf
644 /etc/association-archiver/config.toml
644 /etc/default/association-archiver
2750 /etc/association-archiver/credentials
640 /etc/association-archiver/credentials/admin-token
644 /usr/share/doc/association-archiver/copyright
644 /usr/share/doc/association-archiver/README.md
644 /usr/share/doc/association-archiver/docs/operating.md
644 /usr/share/doc/association-archiver/docs/contract/job.schema.json
644 /usr/share/man/man1/association-archiver.1.gz
644 /usr/share/man/man1/association-archiver-run.1.gz
644 /usr/share/bash-completion/completions/association-archiver
644 /usr/share/zsh/vendor-completions/_association-archiver
644 /usr/share/fish/vendor_completions.d/association-archiver.fish
644 /usr/share/doc/association-archiver/examples/default.toml
644 /usr/share/doc/association-archiver/examples/rabbitmq/definitions.json
644 /usr/share/doc/association-archiver/examples/prometheus/alerts.yml
644 /usr/share/doc/association-archiver/examples/grafana/dashboard.json
LIST
    kept=$(dpkg-deb --info "$package" conffiles | sort | tr '\n' ' ')
    [ "$kept" = "/etc/association-archiver/config.toml /etc/default/association-archiver " ] ||
        stop "conffiles are: $kept"
}

user() {
    grep -q '^association-archiver:' "$root/etc/passwd" || stop "the user association-archiver was not made"
    group=$(sed -n 's/^association-archiver:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/group")
    for path in credentials credentials/admin-token; do
        [ "$(stat --format=%g "$root/etc/association-archiver/$path")" = "$group" ] ||
            stop "/etc/association-archiver/$path does not belong to the group of the service"
    done
}

program() {
    "$root/usr/bin/association-archiver" --version | grep -q '^association-archiver [0-9]' || stop "--version fails"
    depends=$(dpkg-deb --field "$package" Depends)
    case $depends in
    *libc6*) ;;
    *) stop "Depends lacks libc6: $depends" ;;
    esac
}

unit() {
    [ ! -e "$root/etc/systemd/system/multi-user.target.wants/association-archiver.service" ] ||
        stop "the service is enabled before anybody has given it a token"
    starts=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$root/usr/lib/systemd/system/association-archiver.service")
    [ -x "$root$starts" ] || stop "the unit starts $starts, which is not there"
}

configuration_survives_removal() {
    dpkg_there --remove association-archiver
    [ -e "$root/etc/association-archiver/config.toml" ] || stop "removal took the configuration"
    [ ! -e "$root/usr/bin/association-archiver" ] || stop "removal left the program"
    dpkg_there --purge association-archiver
    [ ! -e "$root/etc/association-archiver" ] || stop "purge left /etc/association-archiver"
}

stop() {
    printf 'deb: %s\n' "$1" >&2
    exit 1
}

main "$@"
