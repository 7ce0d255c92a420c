"""Tries, as each user of definitions.json, what that user must be able to do and what it must not.

Arguments: the AMQP port on 127.0.0.1 and the password of all four users. check.sh runs it.
"""

import json
import sys
import time
from pathlib import Path

import pika
from pika.exceptions import ChannelClosedByBroker, UnroutableError

VHOST = EXCHANGE = WORKER = "association-archiver"
JOBS, RESULTS, DEAD_LETTERS = (f"{EXCHANGE}.{name}" for name in ("jobs", "results", "dead-letters"))
BACKGROUND = f"{JOBS}.background"
DELAY = "delay.10s"
PRODUCER, CONSUMER, OPERATOR = (f"{WORKER}-{role}" for role in ("producer", "consumer", "operator"))
ACCESS_REFUSED = 403
DELIVERY_SECONDS = 30


def main() -> None:
    port, password = int(sys.argv[1]), sys.argv[2]
    definitions = json.loads((Path(__file__).parent / "definitions.json").read_text())

    def session(user: str) -> pika.BlockingConnection:
        login = pika.PlainCredentials(user, password)
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port, VHOST, login))

    with session(WORKER) as worker, session(PRODUCER) as producer, session(CONSUMER) as consumer:
        publish(producer, EXCHANGE, "jobs", b"first")
        publish(producer, EXCHANGE, JOBS, b"second")
        publish(producer, EXCHANGE, "jobs.background", b"no hurry")
        looks_at_all(worker, definitions)
        does_a_job(worker, consumer)
        waits_and_comes_back(worker)
        gives_up(worker)
        works_on_shards(worker, producer)
        refused(worker, "declare a queue", lambda channel: channel.queue_declare("mine", durable=True))
        refused(worker, "delete a queue", lambda channel: channel.queue_delete(RESULTS))
        refused(worker, "bind a queue", lambda channel: channel.queue_bind(JOBS, EXCHANGE, "more"))
        refused(worker, "read outcomes", lambda channel: channel.basic_get(RESULTS))
        refused(worker, "read dead letters", lambda channel: channel.basic_get(DEAD_LETTERS))
        refused(worker, "use the default exchange", lambda channel: publish_on(channel, "", RESULTS, b"x"))
        refused(worker, "use another exchange", lambda channel: publish_on(channel, "amq.direct", "x", b"x"))
        refused(producer, "read jobs of the background", lambda channel: channel.basic_get(BACKGROUND))
        refused(producer, "read jobs", lambda channel: channel.basic_get(JOBS))
        refused(producer, "read outcomes", lambda channel: channel.basic_get(RESULTS))
        refused(producer, "use the default exchange", lambda channel: publish_on(channel, "", JOBS, b"x"))
        refused(consumer, "read jobs", lambda channel: channel.basic_get(JOBS))
        refused(consumer, "publish", lambda channel: publish_on(channel, EXCHANGE, "jobs", b"x"))
    with session(OPERATOR) as operator:
        redrives(operator)
        declares_anew(operator, definitions)
    print("definitions: ok: each user can do its work and nothing else", file=sys.stderr)


def publish(connection, exchange: str, key: str, body: bytes) -> None:
    channel = connection.channel()
    publish_on(channel, exchange, key, body)
    channel.close()


def publish_on(channel, exchange: str, key: str, body: bytes) -> None:
    """As the worker does: persistent, mandatory, confirmed."""
    channel.confirm_delivery()
    channel.basic_publish(exchange, key, body, pika.BasicProperties(delivery_mode=2), mandatory=True)


def looks_at_all(worker, definitions: dict) -> None:
    channel = worker.channel()
    channel.exchange_declare(EXCHANGE, "direct", passive=True, durable=True)
    for queue in definitions["queues"]:
        channel.queue_declare(queue["name"], passive=True)
    channel.close()


def does_a_job(worker, consumer) -> None:
    channel = worker.channel()
    channel.basic_qos(prefetch_count=10)
    bodies = []
    for method, _properties, body in channel.consume(JOBS, inactivity_timeout=DELIVERY_SECONDS):
        expect(method is not None, "the worker receives no jobs")
        publish(worker, EXCHANGE, "results", b"outcome")
        channel.basic_ack(method.delivery_tag)
        bodies.append(body)
        if len(bodies) == 2:
            break
    channel.cancel()
    expect(sorted(bodies) == [b"first", b"second"], f"jobs came as {bodies}")
    expect(taken(consumer, RESULTS) == b"outcome", "no outcome reaches the consumer")


def waits_and_comes_back(worker) -> None:
    expect(taken(worker, BACKGROUND) == b"no hurry", "the worker receives no jobs of the background")
    began = time.monotonic()
    for queue in (JOBS, BACKGROUND):
        publish(worker, EXCHANGE, f"{queue}.{DELAY}", queue.encode())
    for queue in (JOBS, BACKGROUND):
        expect(taken(worker, queue) == queue.encode(), f"a parked job does not come back to {queue}")
        waited = time.monotonic() - began
        expect(waited > 9, f"a job parked for 10 s came back to {queue} after {waited:.1f} s")


def works_on_shards(worker, producer) -> None:
    """Those that shards.py makes, check.sh has loaded."""
    publish(producer, EXCHANGE, "jobs.4711", b"for a portal")
    # With numbered shards the key leads to the shared queue as well; a real broker has only one of both layouts.
    for queue in (f"{JOBS}.4711", JOBS):
        expect(taken(worker, queue) == b"for a portal", f"nothing reaches {queue}")
    for queue in (f"{JOBS}.0", f"{JOBS}.1", f"{JOBS}.4711.lease"):
        publish(worker, EXCHANGE, queue, b"moved")
        expect(taken(worker, queue) == b"moved", f"nothing reaches {queue}")
    channel = worker.channel()
    channel.basic_consume(f"{JOBS}.workers", lambda *_: None)
    channel.close()


def gives_up(worker) -> None:
    publish(worker, EXCHANGE, "dead-letters", b"no job")
    for queue, body in ((JOBS, b"refused"), (BACKGROUND, b"refused, no hurry")):
        publish(worker, EXCHANGE, queue, body)
        channel = worker.channel()
        for method, _properties, _body in channel.consume(queue, inactivity_timeout=DELIVERY_SECONDS):
            expect(method is not None, f"the worker receives nothing from {queue}")
            # What the broker's delivery limit comes to: the queue dead-letters the message by itself.
            channel.basic_reject(method.delivery_tag, requeue=False)
            break
        channel.cancel()


def redrives(operator) -> None:
    bodies = {taken(operator, DEAD_LETTERS) for _ in range(3)}
    expect(bodies == {b"no job", b"refused", b"refused, no hurry"}, f"dead letters are {bodies}")
    for key, queue in (("jobs", JOBS), ("jobs.background", BACKGROUND)):
        publish(operator, EXCHANGE, key, b"again")
        expect(taken(operator, queue) == b"again", f"a redriven job does not reach {queue}")


def declares_anew(operator, definitions: dict) -> None:
    """The operator's user can run what declares the topology, and agrees with what the broker was given."""
    channel = operator.channel()
    channel.exchange_declare(EXCHANGE, "direct", durable=True)
    for queue in definitions["queues"]:
        channel.queue_declare(queue["name"], durable=True, arguments=queue["arguments"])
    for binding in definitions["bindings"]:
        channel.queue_bind(binding["destination"], binding["source"], binding["routing_key"])
    channel.close()


def taken(connection, queue: str) -> bytes:
    channel = connection.channel()
    try:
        for method, _properties, body in channel.consume(queue, inactivity_timeout=DELIVERY_SECONDS):
            expect(method is not None, f"nothing arrives in {queue}")
            channel.basic_ack(method.delivery_tag)
            return body
    finally:
        channel.cancel()
        channel.close()


def refused(connection, what: str, attempt) -> None:
    try:
        attempt(connection.channel())
    except ChannelClosedByBroker as closed:
        expect(closed.reply_code == ACCESS_REFUSED, f"{what}: {closed}")
    except UnroutableError:
        expect(False, f"allowed: {what}")
    else:
        expect(False, f"allowed: {what}")


def expect(holds: bool, complaint: str) -> None:
    if not holds:
        sys.exit(f"definitions: WRONG: {complaint}")


if __name__ == "__main__":
    main()
