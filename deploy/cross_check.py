"""Whether what the files for deployment say of the rest of the project is so.

Names of metrics are looked for in the source, settings in config/default.toml, sections of the runbook in
docs/operating.md, names of queues in the defaults. Needs nothing but Python.

  --dashboard-as-rules   prints the dashboard's queries as recording rules, for promtool to read
  --chart                checks the manifests that helm renders from the chart's own values, on stdin
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
ALERTS = (DEPLOY / "prometheus/alerts.yml").read_text()
METRIC = re.compile(r"\b(association_archiver_[a-z0-9_]+|process_[a-z0-9_]+)")
# What Grafana fills in.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$job": "association-archiver"}
EXAMPLES = ["docker/default.toml", "compose/worker.toml", "systemd/config.toml"]


def main() -> None:
    if "--dashboard-as-rules" in sys.argv:
        print(dashboard_as_rules())
        return
    complaints = chart(sys.stdin.read()) if "--chart" in sys.argv else everything()
    for complaint in complaints:
        print(complaint)
    sys.exit(1 if complaints else 0)


def everything() -> list[str]:
    return [*alerts(), *metrics(), *dashboard(), *settings(), *definitions(), *scaled(), *links()]


def alerts() -> list[str]:
    """Each alert is tested and leads to a section of the runbook."""
    names = re.findall(r"- alert: (\w+)", ALERTS)
    tests = (DEPLOY / "prometheus/alerts_test.yml").read_text()
    urls = re.findall(r"runbook_url: \S+/docs/operating\.md#(\S+)", ALERTS)
    sections = anchors(ROOT / "docs/operating.md")
    return (
        [f"alert {name} has no test" for name in names if f'alertname="{name}"' not in tests]
        + [f"runbook section #{url} is missing" for url in urls if url not in sections]
        + ["an alert lacks its runbook_url"] * (len(names) - len(urls))
        + [f"alert {name} is not named in docs/operating.md" for name in names
           if name not in (ROOT / "docs/operating.md").read_text()]
    )


def metrics() -> list[str]:
    """Every metric named here is in the source."""
    telemetry = ROOT / "src/telemetry"
    if not telemetry.is_dir():
        print("metric names: not run, there is no src/telemetry here")
        return []
    known = set(METRIC.findall("\n".join(file.read_text() for file in telemetry.rglob("*.rs"))))
    told = {f"{name}{part}" for name in known for part in ("", "_bucket", "_sum", "_count")}
    named = {
        (file.relative_to(ROOT), name)
        for file in [*DEPLOY.rglob("*.yml"), *DEPLOY.rglob("*.json"), *(ROOT / "docs").glob("*.md")]
        for name in METRIC.findall(file.read_text())
    }
    return sorted(f"{file}: there is no metric {name}" for file, name in named if name not in told)


def dashboard() -> list[str]:
    """Every panel says what it shows, and no two share an id."""
    panels = json.loads((DEPLOY / "grafana/dashboard.json").read_text())["panels"]
    ids = [panel["id"] for panel in panels]
    shown = [panel for panel in panels if panel["type"] != "row"]
    return [f"panel {panel['title']} has no description" for panel in shown if not panel["description"]] + (
        ["two panels share an id"] if len(ids) != len(set(ids)) else []
    )


def dashboard_as_rules() -> str:
    panels = json.loads((DEPLOY / "grafana/dashboard.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    rules = []
    for number, query in enumerate(queries):
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        rules.append({"record": f"dashboard:query{number}", "expr": query})
    return json.dumps({"groups": [{"name": "dashboard", "rules": rules}]})


def settings() -> list[str]:
    """Every setting of the examples exists."""
    known = setting_keys((ROOT / "config/default.toml").read_text(), commented=True)
    values = (DEPLOY / "helm/association-archiver/values.yaml").read_text()
    chart_config = re.search(r"^config: \|\n((?:  .*\n|\n)+)", values, re.M).group(1)
    examples = {name: (DEPLOY / name).read_text() for name in EXAMPLES}
    examples["values.yaml"] = "\n".join(line[2:] for line in chart_config.splitlines())
    examples["values.yaml, commented"] = re.sub(r"^#(?=[a-z\[])", "", examples["values.yaml"], flags=re.M)
    return [
        f"{name}: there is no setting {key}"
        for name, text in examples.items()
        for key in sorted(setting_keys(text, commented=False) - known)
    ]


def setting_keys(toml: str, commented: bool) -> set[str]:
    section, keys = "", set()
    for line in toml.splitlines():
        line = line.strip()
        if commented:
            line = line.removeprefix("#")
        if header := re.fullmatch(r"\[{1,2}([a-z_.]+)\]{1,2}", line):
            section = header.group(1)
        elif key := re.match(r"([a-z_.]+) = ", line):
            keys.add(f"{section}.{key.group(1)}")
    return keys


def definitions() -> list[str]:
    """The broker is given what the settings' defaults name, and the demo's users are its users."""
    broker = json.loads((DEPLOY / "rabbitmq/definitions.json").read_text())
    demo = json.loads((DEPLOY / "compose/demo-users.json").read_text())
    names = {queue["name"] for queue in broker["queues"]} | {exchange["name"] for exchange in broker["exchanges"]}
    defaults = (ROOT / "config/default.toml").read_text()
    wanted = re.findall(r'^#(?:\w+_queue|exchange) = "([^"]+)"', defaults, re.M)
    users = [[user["name"] for user in file["users"]] for file in (broker, demo)]
    unlocked = [user["name"] for user in broker["users"] if user["password_hash"]]
    return (
        [f"definitions.json lacks {name}" for name in wanted if name not in names]
        + (["config/default.toml names another number of queues than exchange, jobs, background, results, dead letters"]
           if len(wanted) != 5 else [])
        + (["demo-users.json has other users than definitions.json"] if users[0] != users[1] else [])
        + [f"definitions.json has a password for {name}" for name in unlocked]
    )


def scaled() -> list[str]:
    """KEDA counts the queues in which jobs wait and no other: a lease queue is never empty."""
    values = (DEPLOY / "helm/association-archiver/values.yaml").read_text()
    pattern = re.search(r"^  queues: (\S+)$", values, re.M).group(1)
    broker = json.loads((DEPLOY / "rabbitmq/definitions.json").read_text())
    jobs = "association-archiver.jobs"
    wanted = {jobs, f"{jobs}.background", f"{jobs}.4711", f"{jobs}.0"}
    names = wanted | {f"{jobs}.4711.lease", f"{jobs}.workers"} | {queue["name"] for queue in broker["queues"]}
    caught = {name for name in names if re.search(pattern, name)}
    return [f"keda.queues is wrong about {name}" for name in sorted(caught ^ wanted)]


def links() -> list[str]:
    """Links between the documents and files lead somewhere."""
    complaints = []
    for page in [*(ROOT / "docs").glob("*.md"), *DEPLOY.rglob("*.md")]:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            file = (page.parent / path).resolve() if path else page
            if not file.exists():
                complaints.append(f"{page.relative_to(ROOT)}: {target} leads nowhere")
            elif anchor and anchor not in anchors(file):
                complaints.append(f"{page.relative_to(ROOT)}: {target} names no section")
    return complaints


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    if not page.exists():
        return set()
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def chart(manifests: str) -> list[str]:
    """What must be true of the chart as it comes."""
    wanted = {
        "a worker and one that stands by": r"^  replicas: 2$",
        "one ready before another goes": r"maxUnavailable: 0$",
        "not both on one node": r"podAntiAffinity:",
        "a stop that is long enough": r"^      terminationGracePeriodSeconds: 45$",
        "the grace given to the worker": r'ARCHIVER__SHUTDOWN__GRACE\n +value: "30s"',
        "liveness": r"livenessProbe:\n +httpGet: \{path: /livez,",
        "readiness": r"readinessProbe:\n +httpGet: \{path: /readyz,",
        "no root": r"runAsNonRoot: true",
        "a read-only root": r"readOnlyRootFilesystem: true",
        "no capabilities": r"drop:\n +- ALL$",
        "no escalation": r"allowPrivilegeEscalation: false",
        "seccomp": r"type: RuntimeDefault",
        "secrets as files": r"secretName: association-archiver$",
        "a disruption budget": r"kind: PodDisruptionBudget",
        "a network policy": r"kind: NetworkPolicy",
        "names on both ports": r"protocol: UDP, port: 53\}(.|\n)+protocol: UDP, port: 5353\}",
        "a place for temporary files": r"mountPath: /tmp$",
    }
    unwanted = {"KEDA": r"ScaledObject", "the operator's kinds": r"monitoring\.coreos\.com"}
    return [f"the chart lacks {what}" for what, pattern in wanted.items() if not re.search(pattern, manifests, re.M)] + [
        f"the chart brings {what} unasked" for what, pattern in unwanted.items() if re.search(pattern, manifests)
    ]


if __name__ == "__main__":
    main()
