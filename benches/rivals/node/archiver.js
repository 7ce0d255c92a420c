// The worker's core in Node, as an expert would tune it: two connections, pipelined confirms, acknowledgements in bulk,
// batches by lane. What makes a service of it is left out in its favour: rate limits, retries, attribution of refusals,
// strict validation, reconnecting. It publishes through the default exchange and with the fewest properties, which costs
// the broker least. Any answer but a success ends it.
import amqp from "amqplib";
import { Pool } from "undici";

const MOST_FROM = 100;
const MOST_PAIRS = 1000;
const LINGER_MS = 50;
const IN_FLIGHT = 16;
const PREFETCH = 5000;
const ACK_EVERY = 256;

const { AMQP_URI, JOBS_QUEUE, RESULTS_QUEUE, HUBSPOT_BASE_URL, HUBSPOT_ACCESS_TOKEN } = process.env;

const pool = new Pool(HUBSPOT_BASE_URL, { connections: IN_FLIGHT, pipelining: 1 });
const requestHeaders = { authorization: `Bearer ${HUBSPOT_ACCESS_TOKEN}`, "content-type": "application/json" };

const consuming = await amqp.connect(AMQP_URI);
const publishing = await amqp.connect(AMQP_URI);
const intake = await consuming.createChannel();
const outlet = await publishing.createConfirmChannel();
await intake.prefetch(PREFETCH);

// Acknowledgements: everything up to the lowest open tag in one frame.
const settled = new Set();
let lowWater = 0;
let acknowledged = 0;
let flushScheduled = false;

function settle(tag) {
  settled.add(tag);
  while (settled.delete(lowWater + 1)) lowWater += 1;
  if (lowWater - acknowledged >= ACK_EVERY) acknowledge();
  else if (!flushScheduled) {
    flushScheduled = true;
    setTimeout(() => { flushScheduled = false; acknowledge(); }, 20);
  }
}

function acknowledge() {
  if (lowWater === acknowledged) return;
  acknowledged = lowWater;
  intake.ack({ fields: { deliveryTag: lowWater } }, true);
}

class Batch {
  constructor(lane) {
    this.lane = lane;
    this.inputs = new Map();
    this.pairs = 0;
    this.jobs = [];
    this.timer = setTimeout(() => this.leave(), LINGER_MS);
  }

  add(job) {
    for (const { from, to } of job.body.inputs) {
      let targets = this.inputs.get(from.id);
      if (targets === undefined) this.inputs.set(from.id, (targets = new Set()));
      const before = targets.size;
      for (const { id } of to) targets.add(id);
      this.pairs += targets.size - before;
    }
    this.jobs.push(job);
  }

  fits(job) {
    let records = this.inputs.size;
    let pairs = this.pairs;
    for (const { from, to } of job.body.inputs) {
      if (!this.inputs.has(from.id)) records += 1;
      pairs += to.length;
    }
    return records <= MOST_FROM && pairs <= MOST_PAIRS;
  }

  leave() {
    clearTimeout(this.timer);
    if (lanes.get(this.lane.key) === this) lanes.delete(this.lane.key);
    ready.push(this);
    send();
  }

  body() {
    const inputs = [];
    for (const [id, targets] of this.inputs) inputs.push({ from: { id }, to: Array.from(targets, (id) => ({ id })) });
    return JSON.stringify({ inputs });
  }
}

const lanes = new Map();
const ready = [];
let inFlight = 0;

function send() {
  while (inFlight < IN_FLIGHT && ready.length > 0) {
    inFlight += 1;
    archive(ready.shift()).then(() => { inFlight -= 1; send(); }, fail);
  }
}

async function archive(batch) {
  const started = new Date().toISOString();
  const { statusCode, body } = await pool.request({ method: "POST", path: batch.lane.path, headers: requestHeaders, body: batch.body() });
  await body.dump();
  if (statusCode !== 204) throw new Error(`status ${statusCode}`);
  const completed = new Date().toISOString();
  for (const job of batch.jobs) answer(job, started, completed);
}

function answer({ tag, received, body, properties }, startedAt, completedAt) {
  const pairs = body.inputs.reduce((sum, { to }) => sum + to.length, 0);
  const outcome = {
    jobId: body.jobId, portalId: body.portalId, fromObjectType: body.fromObjectType, toObjectType: body.toObjectType,
    status: "ARCHIVED", numPairs: pairs, numArchived: pairs, numErrors: 0, errors: [], attempts: 1,
    receivedAt: received, startedAt, completedAt,
  };
  const options = {
    contentType: "application/json", persistent: true, mandatory: true,
    messageId: body.jobId, correlationId: properties.messageId ?? body.jobId,
  };
  outlet.publish("", RESULTS_QUEUE, Buffer.from(JSON.stringify(outcome)), options, (error) => (error ? fail(error) : settle(tag)));
}

function take(message) {
  if (message === null) fail(new Error("the broker cancelled the consumer"));
  const body = JSON.parse(message.content);
  const job = { tag: message.fields.deliveryTag, received: new Date().toISOString(), body, properties: message.properties };
  const key = `${body.fromObjectType}/${body.toObjectType}`;
  let batch = lanes.get(key);
  if (batch !== undefined && !batch.fits(job)) {
    batch.leave();
    batch = undefined;
  }
  if (batch === undefined) lanes.set(key, (batch = new Batch({ key, path: `/crm/v4/associations/${key}/batch/archive` })));
  batch.add(job);
}

function fail(error) {
  console.error(error);
  process.exit(1);
}

const { consumerTag } = await intake.consume(JOBS_QUEUE, take);

process.on("SIGTERM", async () => {
  await intake.cancel(consumerTag);
  acknowledge();
  // An answered request behind the last acknowledgements, so that closing cannot overtake them.
  await intake.checkQueue(JOBS_QUEUE);
  setTimeout(async () => {
    await publishing.close();
    await consuming.close();
    process.exit(0);
  }, 250);
});
