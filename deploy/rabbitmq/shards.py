"""Prints what `amqp.shards` needs beside definitions.json, for `rabbitmqctl import_definitions`.

  python3 shards.py per-account 4711 815     a jobs queue for each of these portals
  python3 shards.py 12 4711 815              twelve numbered jobs queues, shared by these portals

Wanted only where the worker may declare nothing (`amqp.declare_topology = false`). Run it again for a new portal: what
is there already stays as it is.
"""

import json
import sys
from pathlib import Path

NAME = "association-archiver"
JOBS = f"{NAME}.jobs"


def main() -> None:
    try:
        layout, portals = sys.argv[1], [str(int(portal)) for portal in sys.argv[2:]]
        numbered = [] if layout == "per-account" else [str(shard) for shard in range(int(layout))]
    except (IndexError, ValueError):
        sys.exit(__doc__)
    given = json.loads((Path(__file__).parent / "definitions.json").read_text())
    arguments = {queue["name"]: queue["arguments"] for queue in given["queues"]}
    # Who is subscribed here is counted as a worker; nothing is ever published to it.
    queues = [queue(f"{JOBS}.workers", {"x-queue-type": "quorum"})]
    bindings = []
    for shard in numbered or portals:
        for suffix in ("", ".lease"):
            name = f"{JOBS}.{shard}{suffix}"
            queues.append(queue(name, arguments[JOBS + suffix]))
            bindings.append(binding(name, name))
    # A key that led to a numbered queue would still lead there when the number of shards has changed.
    bindings += [binding(JOBS if numbered else f"{JOBS}.{portal}", f"jobs.{portal}") for portal in portals]
    json.dump({"queues": queues, "bindings": bindings}, sys.stdout, indent=2)


def queue(name: str, arguments: dict) -> dict:
    return {"name": name, "vhost": NAME, "durable": True, "auto_delete": False, "arguments": arguments}


def binding(queue: str, key: str) -> dict:
    return {"source": NAME, "vhost": NAME, "destination": queue, "destination_type": "queue", "routing_key": key, "arguments": {}}


if __name__ == "__main__":
    main()
