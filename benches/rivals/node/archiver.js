// The worker's core in Node, as an expert would tune it: two connections, pipelined confirms, acknowledgements in bulk,
// batches by lane. What makes a service of it is left out in its favour: rate limits, retries, attribution of refusals,
// strict validation, reconnecting. It acknowledges a batch at a time. It publishes through the default exchange and with
// the fewest properties, which costs the broker least; with ALL_PROPERTIES set its messages have all that the contract
// asks of an outcome, as the worker's have. Any answer but a success ends it.
import { randomUUID } from "node:crypto";
import amqp from "amqplib";
import { Pool } from "undici";

const MOST_FROM = 100;
const MOST_PAIRS = 1000;
const LINGER_MS = 50;
const IN_FLIGHT = 16;
const PREFETCH = 5000;

const { AMQP_URI, JOBS_QUEUE, RESULTS_QUEUE, HUBSPOT_BASE_URL, HUBSPOT_ACCESS_TOKEN, ALL_PROPERTIES } = process.env;
const STATUS = { "x-job-status": "ARCHIVED" };

const pool = new Pool(HUBSPOT_BASE_URL, { connections: IN_FLIGHT, pipelining: 1 });
const requestHeaders = { authorization: `Bearer ${HUBSPOT_ACCESS_TOKEN}`, "content-type": "application/json" };

const consuming = await amqp.connect(AMQP_URI);
const publishing = await amqp.connect(AMQP_URI);
const intake = await consuming.createChannel();
const outlet = await publishing.createConfirmChannel();
await intake.prefetch(PREFETCH);

// Acknowledgements: when all of a batch are confirmed, everything up to the lowest open tag in one frame.
const settled = new Set();
let lowWater = 0;
let acknowledged = 0;

function settle(batch) {
  for (const { tag } of batch.jobs) settled.add(tag);
  while (settled.delete(lowWater + 1)) lowWater += 1;
  acknowledge();
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
      const targets = this.inputs.get(from.id);
      if (targets === undefined) this.inputs.set(from.id, to);
      else targets.push(...to);
      this.pairs += to.length;
    }
    this.jobs.push(job);
    // The bench's jobs are small: a full batch is never above HubSpot's caps by one of them.
    if (this.inputs.size >= MOST_FROM || this.pairs >= MOST_PAIRS) this.leave();
  }

  leave() {
    clearTimeout(this.timer);
    if (lanes.get(this.lane.key) === this) lanes.delete(this.lane.key);
    ready.push(this);
    send();
  }

  body() {
    const inputs = [];
    for (const [id, targets] of this.inputs) inputs.push({ from: { id }, to: targets });
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
  let open = batch.jobs.length;
  const confirmed = (error) => {
    if (error) fail(error);
    open -= 1;
    if (open === 0) settle(batch);
  };
  for (const job of batch.jobs) answer(job, started, completed, confirmed);
}

function answer({ pairs, received, body, properties }, startedAt, completedAt, confirmed) {
  const outcome = {
    jobId: body.jobId, portalId: body.portalId, fromObjectType: body.fromObjectType, toObjectType: body.toObjectType,
    action: "archive", dryRun: false, group: null, status: "ARCHIVED", numPairs: pairs, numArchived: pairs, numRestored: 0,
    numErrors: 0, verified: false, journaled: false, plan: null, errors: [], attempts: 1,
    receivedAt: received, startedAt, completedAt,
  };
  const options = {
    contentType: "application/json", persistent: true, mandatory: true,
    messageId: body.jobId, correlationId: properties.messageId ?? body.jobId,
  };
  if (ALL_PROPERTIES) {
    options.messageId = randomUUID();
    options.type = "association-archive.outcome.v1";
    options.appId = "association-archiver";
    options.timestamp = Math.floor(Date.now() / 1000);
    options.headers = STATUS;
  }
  outlet.publish("", RESULTS_QUEUE, Buffer.from(JSON.stringify(outcome)), options, confirmed);
}

function take(message) {
  if (message === null) fail(new Error("the broker cancelled the consumer"));
  const body = JSON.parse(message.content);
  // Counted before a batch puts the pairs of several jobs together.
  let pairs = 0;
  for (const { to } of body.inputs) pairs += to.length;
  const job = { tag: message.fields.deliveryTag, received: new Date().toISOString(), pairs, body, properties: message.properties };
  const key = `${body.fromObjectType}/${body.toObjectType}`;
  let batch = lanes.get(key);
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
