"""The worker's core in Python, as an expert would tune it: uvloop, two connections, confirms awaited in bulk,
acknowledgements in bulk, batches by lane. What makes a service of it is left out in its favour: rate limits, retries,
attribution of refusals, strict validation, reconnecting. Any answer but a success ends it."""

import asyncio
import json
import os
import signal
from datetime import datetime, timezone

import aio_pika
import aiohttp
import aiormq
import uvloop
from aiormq.abc import DeliveredMessage

MOST_FROM = 100
MOST_PAIRS = 1000
LINGER_SECONDS = 0.05
IN_FLIGHT = 16
PREFETCH = 5000
PUBLISHES_OPEN = 1000

JOBS_QUEUE = os.environ["JOBS_QUEUE"]
RESULTS_QUEUE = os.environ["RESULTS_QUEUE"]
BASE_URL = os.environ["HUBSPOT_BASE_URL"]
HEADERS = {
    "authorization": f"Bearer {os.environ['HUBSPOT_ACCESS_TOKEN']}",
    "content-type": "application/json",
}


class Batch:
    __slots__ = ("path", "inputs", "pairs", "jobs", "timer")

    def __init__(self, path, timer):
        self.path = path
        self.inputs = {}
        self.pairs = 0
        self.jobs = []
        self.timer = timer

    def fits(self, job):
        records = len(self.inputs)
        pairs = self.pairs
        for one in job["inputs"]:
            if one["from"]["id"] not in self.inputs:
                records += 1
            pairs += len(one["to"])
        return records <= MOST_FROM and pairs <= MOST_PAIRS

    def add(self, tag, job, message_id, received):
        for one in job["inputs"]:
            targets = self.inputs.setdefault(one["from"]["id"], {})
            before = len(targets)
            for target in one["to"]:
                targets[target["id"]] = None
            self.pairs += len(targets) - before
        self.jobs.append((tag, job, message_id, received))

    def body(self):
        inputs = [
            {"from": {"id": record}, "to": [{"id": target} for target in targets]}
            for record, targets in self.inputs.items()
        ]
        return json.dumps({"inputs": inputs}, separators=(",", ":")).encode()


class Archiver:
    def __init__(self, http, intake, outlet):
        self.http = http
        self.intake = intake
        self.outlet = outlet
        self.loop = asyncio.get_running_loop()
        self.slots = asyncio.Semaphore(IN_FLIGHT)
        self.lanes = {}
        self.settled = set()
        self.low_water = 0
        self.acknowledging = asyncio.Lock()
        self.failed = self.loop.create_future()
        self.tasks = set()

    async def take(self, message: DeliveredMessage):
        job = json.loads(message.body)
        received = now()
        path = f"/crm/v4/associations/{job['fromObjectType']}/{job['toObjectType']}/batch/archive"
        batch = self.lanes.get(path)
        if batch is not None and not batch.fits(job):
            self.leave(batch)
            batch = None
        if batch is None:
            batch = Batch(path, None)
            batch.timer = self.loop.call_later(LINGER_SECONDS, self.leave, batch)
            self.lanes[path] = batch
        batch.add(message.delivery.delivery_tag, job, message.header.properties.message_id, received)

    def leave(self, batch):
        batch.timer.cancel()
        if self.lanes.get(batch.path) is batch:
            del self.lanes[batch.path]
        task = self.loop.create_task(self.archive(batch))
        self.tasks.add(task)
        task.add_done_callback(self.done)

    def done(self, task):
        self.tasks.discard(task)
        if task.exception() is not None and not self.failed.done():
            self.failed.set_exception(task.exception())

    async def archive(self, batch):
        async with self.slots:
            started = now()
            async with self.http.post(batch.path, data=batch.body()) as response:
                await response.read()
                if response.status != 204:
                    raise RuntimeError(f"status {response.status}")
        completed = now()
        for first in range(0, len(batch.jobs), PUBLISHES_OPEN):
            jobs = batch.jobs[first : first + PUBLISHES_OPEN]
            await asyncio.gather(*[self.answer(job, started, completed) for job in jobs])
            await self.settle([job[0] for job in jobs])

    def answer(self, job, started, completed):
        _, body, message_id, received = job
        pairs = sum(len(one["to"]) for one in body["inputs"])
        outcome = {
            "jobId": body["jobId"],
            "portalId": body["portalId"],
            "fromObjectType": body["fromObjectType"],
            "toObjectType": body["toObjectType"],
            "action": "archive",
            "dryRun": False,
            "group": None,
            "status": "ARCHIVED",
            "numPairs": pairs,
            "numArchived": pairs,
            "numRestored": 0,
            "numErrors": 0,
            "verified": False,
            "journaled": False,
            "plan": None,
            "errors": [],
            "attempts": 1,
            "receivedAt": received,
            "startedAt": started,
            "completedAt": completed,
        }
        properties = aiormq.spec.Basic.Properties(
            content_type="application/json",
            delivery_mode=2,
            message_id=body["jobId"],
            correlation_id=message_id or body["jobId"],
        )
        return self.outlet.basic_publish(
            json.dumps(outcome, separators=(",", ":")).encode(),
            exchange="",
            routing_key=RESULTS_QUEUE,
            properties=properties,
            mandatory=True,
        )

    async def settle(self, tags):
        self.settled.update(tags)
        # One at a time: an acknowledgement that overtakes a higher one closes the channel.
        async with self.acknowledging:
            before = self.low_water
            while self.low_water + 1 in self.settled:
                self.low_water += 1
                self.settled.discard(self.low_water)
            if self.low_water > before:
                await self.intake.basic_ack(self.low_water, multiple=True, wait=False)


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def main():
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    consuming = await aio_pika.connect(os.environ["AMQP_URI"])
    publishing = await aio_pika.connect(os.environ["AMQP_URI"])
    # The layer beneath aio-pika's own objects, which cost as much again for each message.
    intake = await consuming.transport.connection.channel(publisher_confirms=False)
    outlet = await publishing.transport.connection.channel(publisher_confirms=True)
    await intake.basic_qos(prefetch_count=PREFETCH)
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(BASE_URL, headers=HEADERS, connector=connector) as http:
        archiver = Archiver(http, intake, outlet)
        consumer = await intake.basic_consume(JOBS_QUEUE, archiver.take)
        stop = asyncio.create_task(stopped.wait())
        await asyncio.wait([stop, archiver.failed], return_when=asyncio.FIRST_COMPLETED)
        if archiver.failed.done():
            archiver.failed.result()
        # The answer to the cancellation comes behind the last acknowledgements.
        await intake.basic_cancel(consumer.consumer_tag)
        await asyncio.sleep(0.25)
    await publishing.close()
    await consuming.close()


uvloop.run(main())
