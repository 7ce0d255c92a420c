#!/bin/sh
# Checks the files for deployment with whatever validators are here, and says plainly which were not.
#
#   deploy/check.sh             everything
#   deploy/check.sh --quick     without starting a broker
#   deploy/check.sh --strict    a check that could not be run counts as a failure
#
# Exit codes: 0 nothing is wrong; 1 something is.
set -u

here=$(cd "$(dirname "$0")" && pwd)
# The most that `systemd-analyze security` may say, in tenths.
EXPOSURE_TENTHS=12
# What the chart is rendered for: helm without a cluster does not know.
KUBERNETES=1.31.0

main() {
    quick=no strict=no
    for argument in "$@"; do
        case $argument in
        --quick) quick=yes ;;
        --strict) strict=yes ;;
        *)
            echo "usage: deploy/check.sh [--quick] [--strict]" >&2
            exit 2
            ;;
        esac
    done
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    wrong=0 left_out=0
    cd "$here/.." || exit 1
    # Where `make lint` and `make deb` put theirs.
    PATH="$PATH:$PWD/target/tools/bin"

    check python3 "names, settings, metrics, runbook" python3 deploy/cross_check.py
    check shellcheck "shell scripts" shellcheck --severity=warning deploy/check.sh deploy/*.sh deploy/*/*.sh deploy/debian/postinst deploy/debian/postrm tests/bite.sh
    check promtool "alert rules" promtool check rules deploy/prometheus/alerts.yml
    check promtool "alert tests" promtool test rules deploy/prometheus/alerts_test.yml
    check promtool "Prometheus settings" promtool check config deploy/prometheus/prometheus.yml
    check promtool "dashboard queries" dashboard_queries
    check helm "chart" chart
    check kubeconform "chart against the Kubernetes schemas" manifests
    check hadolint "Dockerfile" hadolint deploy/docker/Dockerfile
    if command -v docker >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
        check docker "compose file" docker compose --file deploy/compose/compose.yaml config --quiet
    else
        not_run "compose file" "docker compose is not here"
    fi
    check docker "image" image
    check systemd-analyze "units" unit
    check cargo-deny "dependencies: bans, licences, sources" cargo deny --offline check bans licenses sources
    if [ "$quick" = yes ]; then
        not_run "RabbitMQ definitions" "--quick"
    else
        check jq "RabbitMQ definitions" deploy/rabbitmq/check.sh
    fi

    echo "deploy: $wrong wrong, $left_out not run"
    if [ "$wrong" -gt 0 ]; then exit 1; fi
    if [ "$strict" = yes ] && [ "$left_out" -gt 0 ]; then exit 1; fi
}

# check TOOL WHAT COMMAND…: exit code 3 of the command means that it could not be run.
check() {
    tool=$1 what=$2
    shift 2
    if ! command -v "$tool" >/dev/null 2>&1; then
        not_run "$what" "$tool is not here"
        return
    fi
    "$@" >"$work/said" 2>&1
    case $? in
    0)
        echo "ok       $what"
        # A check may have left out a part of itself.
        if grep -q 'not run' "$work/said"; then
            not_run "part of it" "$(grep 'not run' "$work/said")"
        fi
        ;;
    3) not_run "$what" "$(tail -n 1 "$work/said")" ;;
    *)
        wrong=$((wrong + 1))
        echo "WRONG    $what"
        sed 's/^/         /' "$work/said"
        ;;
    esac
}

not_run() {
    left_out=$((left_out + 1))
    echo "NOT RUN  $1: $2"
}

dashboard_queries() {
    python3 deploy/cross_check.py --dashboard-as-rules >"$work/dashboard.yml" && promtool check rules "$work/dashboard.yml"
}

chart() {
    chart=deploy/helm/association-archiver
    helm lint --strict --quiet "$chart" &&
        helm lint --strict --quiet --values "$chart/ci/everything-values.yaml" "$chart" &&
        render && no_fixed_ids && python3 deploy/cross_check.py --chart <"$work/manifests.yaml" &&
        ! helm template refused "$chart" --kube-version "$KUBERNETES" --set replica=2 >/dev/null 2>&1
}

render() {
    chart=deploy/helm/association-archiver
    helm template release "$chart" --kube-version "$KUBERNETES" >"$work/manifests.yaml" &&
        helm template release "$chart" --kube-version "$KUBERNETES" \
            --values "$chart/ci/everything-values.yaml" >"$work/everything.yaml"
}

# OpenShift refuses a pod that asks for a user id of its own.
no_fixed_ids() {
    ! grep -En 'runAsUser|runAsGroup|fsGroup' "$work/everything.yaml"
}

manifests() {
    command -v helm >/dev/null 2>&1 || { echo "helm is not here" && return 3; }
    render || return 1
    # The operator's and KEDA's kinds have no schema there.
    kubeconform -strict -ignore-missing-schemas -kubernetes-version "$KUBERNETES" "$work/manifests.yaml" "$work/everything.yaml" \
        >"$work/conform" 2>&1 && return 0
    cat "$work/conform"
    if grep -q 'failed downloading schema' "$work/conform"; then
        echo "the schemas cannot be downloaded here"
        return 3
    fi
    return 1
}

image() {
    docker info >/dev/null 2>&1 || { echo "no container engine answers" && return 3; }
    docker build --file deploy/docker/Dockerfile --target worker .
}

unit() {
    for unit in association-archiver.service association-archiver@.service; do
        # The binary is not installed where this runs.
        sed 's|^ExecStart=/usr/bin/association-archiver|ExecStart=/bin/true|' "deploy/systemd/$unit" >"$work/$unit"
    done
    # An instance of the template differs from the plain unit in its names alone.
    sed -e '/^# association-archiver@crm/d' -e '/^# one on several/d' -e 's/ (%i)$//' -e 's|/%i.toml|/config.toml|' \
        -e 's|[-/]%i$||' "$work/association-archiver@.service" | diff "$work/association-archiver.service" - || return 1
    cp "$work/association-archiver@.service" "$work/association-archiver@crm.service"
    for unit in association-archiver.service association-archiver@crm.service; do
        systemd-analyze verify --man=no "$work/$unit" &&
            systemd-analyze security --offline=yes --no-pager --threshold="$EXPOSURE_TENTHS" "$work/$unit" || return 1
    done
    mkdir -p "$work/etc" &&
        systemd-sysusers --root="$work" "$here/systemd/association-archiver.sysusers" &&
        systemd-tmpfiles --root="$work" --create "$here/systemd/association-archiver.tmpfiles"
}

main "$@"
