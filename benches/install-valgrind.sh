#!/bin/sh
# Makes sure that valgrind is here, which counts instructions. Needs root or sudo only when there is something to install.
set -eu

if command -v valgrind >/dev/null 2>&1; then exit 0; fi
if [ "$(id -u)" -eq 0 ]; then sudo=; else sudo=sudo; fi
{
    $sudo apt-get update -qq &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind
} >&2 || {
    echo "valgrind could not be installed: run 'apt-get install valgrind' as root" >&2
    exit 3
}
