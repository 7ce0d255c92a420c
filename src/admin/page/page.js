"use strict";
const EVERY = 2000, PATIENCE = 5000, LONGEST_TOUCH = 30000, FIRST_ROWS = 10, MOST_CARDS = 100;
const byId = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const known = (value) => value !== null && value !== undefined;
const count = (value) => (known(value) ? number.format(value) : "–");
const rate = (value) => count(value < 10 ? value : Math.round(value)) + "/s";
const bytes = (value) => number.format(value / 1048576) + " MiB";
const between = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000;
/* What is told may end in a full stop or not. */
const sentence = (text) => (/[.!?…]$/.test(text) ? text : text + ".");
/* 1 job, 2,455 jobs */
const of = (value, one) => count(value) + " " + one + (value === 1 ? "" : "s");
const sum = (values) => values.reduce((all, value) => all + value, 0);

function span(seconds) {
  if (!known(seconds)) return "–";
  if (seconds < 10) return number.format(Math.max(0, seconds)) + " s";
  const s = Math.round(seconds);
  const two = (large, unit, small, smallUnit) => Math.floor(large) + unit + (small >= 1 ? " " + Math.floor(small) + smallUnit : "");
  if (s < 60) return s + " s";
  if (s < 3600) return two(s / 60, " min", s % 60, " s");
  if (s < 86400) return two(s / 3600, " h", (s % 3600) / 60, " min");
  return two(s / 86400, " d", (s % 86400) / 3600, " h");
}

/* Text goes in as text only: nothing from outside is ever taken for HTML. */
function make(tag, kind, ...children) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  node.append(...children.filter(known).map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

/* What stands between backticks is to be typed as it is. */
function told(kind, text) {
  return make("p", kind, ...text.split("`").map((part, i) => (i % 2 ? make("code", null, part) : part)));
}

function draw(tag, attributes, text) {
  const node = document.createElementNS(byId("canvas").namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (known(text)) node.textContent = text;
  return node;
}

function link(words, address) {
  const node = make("a", "small", words);
  node.href = address;
  node.rel = "noreferrer";
  node.target = "_blank";
  return node;
}

/* An id may be longer than any line: it is cut on the screen and whole when pointed at. */
function id(text) {
  const node = make("span", "id", text);
  node.title = text;
  return node;
}

const accountName = (portalId, index) => (known(portalId) ? "portal " + portalId : "account " + index);
const accountPath = (portalId, index) => "accounts/" + (known(portalId) ? portalId : index);
const KINDS = { operator: "by hand", day_spent: "the day's requests are spent", outage: "requests to HubSpot fail", guard: "by its guard", journal: "the journal cannot be written" };
const kindWords = (kind) => KINDS[kind] ?? kind.replaceAll("_", " ");

/* Lists that were opened with "all" stay open. */
const opened = new Set();
function shortened(name, rows, most) {
  const all = opened.has(name), shown = rows.slice(0, all ? most : FIRST_ROWS);
  if (rows.length <= FIRST_ROWS) return [shown, null];
  const button = make("button", "more", all ? "only the first " + FIRST_ROWS : "all " + count(rows.length));
  button.addEventListener("click", () => {
    if (all) opened.delete(name); else opened.add(name);
    if (latest) show(latest);
  });
  return [shown, button];
}

/* columns: [heading, cell of a row, kind]; a cell is text, an element, or null where there is nothing to say. */
function table(name, columns, rows, none, leftOut) {
  const place = byId(name).querySelector(":scope > div:last-child");
  if (rows.length === 0) return place.replaceChildren(make("p", "soft", none));
  const [shown, more] = shortened(name, rows, rows.length);
  const head = make("tr"), body = make("tbody");
  for (const [heading, , kind] of columns) head.append(make("th", kind, heading));
  for (const row of shown) {
    const line = make("tr");
    for (const [heading, read, kind] of columns) {
      const value = read(row), cell = make("td", [kind, known(value) ? "" : "empty"].join(" ").trim());
      cell.append(value instanceof Element ? value : make("span", "text", value));
      cell.dataset.label = heading;
      line.append(cell);
    }
    body.append(line);
  }
  const whole = make("div", "table", make("table", null, make("thead", null, head), body));
  place.replaceChildren(whole);
  if (more) place.append(more);
  if (leftOut > 0) place.append(make("p", "soft small", "and " + count(leftOut) + " more"));
}

/* Trouble first. */

function until(pause, now) {
  if (pause.resumeAt) return "goes on in " + span(Math.max(0, between(now, pause.resumeAt)));
  if (pause.probeAt) return "next try in " + span(Math.max(0, between(now, pause.probeAt)));
  return pause.kind === "guard" ? "until it is approved or rejected" : "until an operator resumes it";
}

/* What to do is told once where it is the same but for the account. `above`: those that are told before it. */
const inCommands = (pause) => (known(pause.portalId) ? pause.portalId : pause.account);
const commonMend = (pause) => pause.kind + pause.mend.replaceAll(" " + inCommands(pause) + "`", " …`");
function mend(pause, above) {
  const other = above.find((before) => commonMend(before) === commonMend(pause));
  const node = told("text", !other ? pause.mend : "as for " + accountName(other.portalId, other.account) + " above"
    + (other.account === pause.account ? "." : ", with " + inCommands(pause) + " in place of " + inCommands(other) + "."));
  node.prepend(make("strong", null, "What to do: "));
  return node;
}

/* Whoever is to approve or reject must know what. */
function behind(b) {
  if (b.jobs === 0) return "Behind the guard: this worker has seen no job yet. Parked jobs come back within ten minutes.";
  const groups = b.groups.map((g) => count(g.jobs) + (g.group === null ? " without a group" : " of group " + g.group) + " (such as " + g.jobIds.join(", ") + ")");
  if (b.groupsLeftOut > 0) groups.push("and " + count(b.groupsLeftOut) + " more groups");
  return "Behind the guard" + (b.atLeast ? " at least " : " ") + of(b.jobs, "job") + ": " + groups.join("; ");
}

function pauseCard(pause, now, above) {
  const name = accountName(pause.portalId, pause.account), [from, to] = (pause.lane ?? "").split("/");
  const subject = pause.lane ? name + ", " + from + " → " + to : name;
  const path = accountPath(pause.portalId, pause.account) + (pause.lane ? "/lanes/" + from + "/" + to : "");
  const buttons = pause.kind === "guard" ? [orderButton(path, subject, "approve"), orderButton(path, subject, "reject")]
    : [orderButton(path, subject, "resume", pause.kind === "operator" ? "Resume" : "Try now")];
  return make("article", "card" + (pause.lane ? "" : " bad"),
    make("div", "bar", make("h3", null, make("strong", null, subject), " stands still: ", make("span", "warn", kindWords(pause.kind))),
      make("span", "soft small", "for " + span(between(pause.since, now)) + ", " + until(pause, now))),
    pause.detail ? make("p", "text", pause.detail) : null,
    pause.behind ? make("p", "text", behind(pause.behind)) : null,
    mend(pause, above),
    make("div", "foot", ...buttons, link("Runbook", pause.runbook)));
}

const SECTIONS = [
  /* Whatever does not work then, this is why. */
  [/resource alarm/, "outcomes-cannot-be-published"],
  [/the broker refuses messages/, "the-broker-refuses-messages"], [/no queue is bound/, "a-message-has-nowhere-to-go"],
  [/^draining/, "a-stop-takes-long"],
  [/^the worker hangs/, "the-worker-is-down"], [/^no jobs come in|^the jobs of a queue/, "no-jobs-are-taken"],
  [/^a queue is not worked on/, "no-worker-holds-the-lease"], [/^no outcomes can go out/, "outcomes-cannot-be-published"], [/^messages wait/, "the-broker-refuses-messages"],
  [/with 429/, "too-many-429s"],
  [/^every removal/, "the-guard-has-stopped-an-account"], [/occupy too much memory/, "no-jobs-are-taken"],
  [/from which nobody takes/, "jobs-wait-in-a-queue-that-nobody-takes-from"],
  [/while others go on/, "one-pair-fails-by-itself"], [/was gone at/, "a-queue-was-deleted"],
];

const spoken = (words) => sentence(words.charAt(0).toUpperCase() + words.slice(1));

/* Why all accounts stand still is a matter of each pause: the first has the section. */
function sentenceCard(words, kind, s) {
  const found = SECTIONS.find(([pattern]) => pattern.test(words));
  const address = found ? s.runbook + "#" + found[1] : /^every account is paused/.test(words) && s.paused.length > 0 ? s.paused[0].runbook : null;
  return make("article", "card " + kind, told("text", spoken(words)), address ? make("div", "foot", link("Runbook", address)) : null);
}

function trouble(s) {
  const cards = s.standby ? [make("article", "card note", told("text", spoken(s.standby)),
    make("p", "text soft", "Here only the queues are counted; orders given here are handed on to the worker that holds the lease."))] : [];
  cards.push(...s.reasons.map((reason) => sentenceCard(reason, "bad", s)));
  const [shown, more] = shortened("trouble", s.paused, s.paused.length);
  cards.push(...shown.map((pause, i) => pauseCard(pause, s.at, shown.slice(0, i))));
  if (more) cards.push(make("div", null, more));
  if (s.pausedLeftOut > 0) cards.push(make("p", "soft small", "and " + count(s.pausedLeftOut) + " more that stand still"));
  /* What only wants to be known comes after what stands still. */
  /* Pairs that fail by themselves have cards of their own. */
  const warnings = s.warnings.filter((warning) => s.failingAlone.length === 0 || !/while others go on/.test(warning));
  cards.push(...warnings.map((warning) => sentenceCard(warning, "warning", s)));
  for (const f of s.failingAlone.slice(0, 5)) {
    const [from, to] = f.lane.split("/"), said = (f.httpStatus ? "HubSpot says " + f.httpStatus : "no answer") + (f.message ? ": " + f.message : "");
    cards.push(make("article", "card note", make("p", "text", "One pair fails by itself while others go on: " + accountName(f.portalId, 0) + ", " + from + " ", id(f.from), " → " + to + " ", id(f.to),
      ", tried alone " + count(f.tries) + " times, last " + span(between(f.lastAt, s.at)) + " ago" + nextTry(f, s.at) + "; " + sentence(said) + " Job ", id(f.jobId), "."),
    make("div", "foot", link("Runbook", s.runbook + "#one-pair-fails-by-itself"))));
  }
  if (s.failingAlone.length > 5) cards.push(make("p", "soft small", "and " + count(s.failingAlone.length - 5) + " more pairs, in /status"));
  cards.push(...unreadResults(s, true));
  byId("trouble").hidden = cards.length === 0;
  byId("trouble").replaceChildren(...cards);
}

function nextTry(f, now) {
  if (!known(f.nextTryAt)) return "";
  const ahead = between(now, f.nextTryAt);
  return ahead > 0 ? ", next in " + span(ahead) : ", next due now";
}

/* Outcomes that nobody fetches are trouble once that has lasted for as long as the alert waits; a queue that was deleted
   is a warning for as long. */
const LASTS = 3600;

function unreadResults(s, asTrouble) {
  const b = s.broker, seconds = known(b.resultsUnreadSince) ? between(b.resultsUnreadSince, s.at) : 0;
  if (b.resultsConsumers !== 0 || !(b.resultsReady > 0) || asTrouble !== (seconds >= LASTS)) return [];
  const words = "Nobody has been subscribed to the results queue for " + span(seconds) + "; " + of(b.resultsReady, "outcome") + (b.resultsReady === 1 ? " waits" : " wait") + " there.";
  return [make("article", "card " + (asTrouble ? "warning" : "note"), make("p", "text", words), make("div", "foot", link("Runbook", s.runbook + "#nobody-reads-the-results")))];
}

/* What is no trouble, or no longer. */
function hints(s) {
  const lost = s.broker.lostQueues.filter((q) => between(q.lastAt, s.at) >= LASTS).map((q) => make("article", "card note",
    make("p", "text", "Queue ", id(q.queue), " was gone " + span(between(q.lastAt, s.at)) + " ago and is declared again" + (q.times > 1 ? ", " + count(q.times) + " times by now" : "") + "; " + q.loss + "."),
    make("div", "foot", link("Runbook", s.runbook + "#a-queue-was-deleted"))));
  const cards = [...lost, ...unreadResults(s, false)];
  byId("hints").hidden = cards.length === 0;
  byId("hints").querySelector("div").replaceChildren(...cards);
}

/* Where all jobs are: what is done on the left, what is to come on the right. */

function places(s) {
  const o = s.jobs.outcomes, b = s.backlog;
  const tiers = Object.entries(s.broker.parked).filter(([, jobs]) => jobs > 0).map(([tier, jobs]) => tier + "\u00a0" + count(jobs)
    + ", back within " + span(Math.max(0, between(s.at, s.broker.backBy[tier]))) + " at the latest");
  const others = [[o.RESTORED, " restored"], [o.PLANNED, " only looked at"]].filter(([jobs]) => jobs > 0).map(([jobs, words]) => count(jobs) + words);
  const ofBackground = (jobs) => (jobs > 0 ? "; " + of(jobs, "background job") + " among them" : "");
  /* Thousands may come back and be parked again between two looks: whoever sees the number fall must not miss them. */
  const goingRound = b.jobsParked > 0 && s.paused.length > 0 ? "; they come back and are parked again until the pause is over" : "";
  return [
    ["archived", o.ARCHIVED, "archived", others.length ? "and " + others.join(", ") : "since the start"],
    ["failed", o.PARTIAL + o.FAILED, "failed", count(o.PARTIAL) + " of them in part"],
    ["ended", o.EXPIRED + o.REJECTED, "not tried", count(o.EXPIRED) + " expired, " + count(o.REJECTED) + " rejected"],
    ["unpublished", b.jobsUnpublished, "unpublished", "on their way out"],
    ["held", b.jobsHeld, "in hand", count(b.pairsHeld) + " pairs, " + bytes(b.bytesHeld) + ofBackground(b.backgroundHeld)],
    ["ready", b.jobsReady, "waiting", "in the jobs queue" + (known(s.broker.countedAt) ? ", " + span(Math.round(between(s.broker.countedAt, s.at))) + " ago" : "")],
    ...(s.background ? [["background", s.background.ready, "background", "in a queue of its own"]] : []),
    ["parked", b.jobsParked, "parked", (tiers.length ? tiers.join(" · ") : "in delay queues") + ofBackground(s.background?.parked) + goingRound],
  ];
}

/* The background takes what the live jobs leave: only what it did lately says how long the rest takes. */
function background(g) {
  const done = count(g.answered) + " answered since the start";
  if (g.drainSeconds === 0) return ["0 s", "the background is done; " + done];
  const until = known(g.drainSeconds) ? ", at the " + rate(g.jobsPerSecond) + " of the last minutes" : ": unknown, since " + g.drainUnknown;
  return [known(g.drainSeconds) ? "about " + span(g.drainSeconds) : "–", "until the background is done" + until + "; " + done];
}

/* Several workers may share the jobs queues, and one without a lease knows of no other. */
function whoseWork(s) {
  const held = s.leases.filter((l) => l.standing === "held").length;
  if (s.leases.length === 0) return "until all jobs are answered, if no other worker helps";
  return held < s.leases.length && s.leases.length > 1
    ? "until the jobs in this worker's queues (" + count(held) + " of " + count(s.leases.length) + ") are answered" : "until all jobs are answered";
}

/* What the work takes, and up to how long with the wait of parked jobs. The background is not in it. */
function estimate(s) {
  const b = s.backlog, g = s.background, words = [whoseWork(s)];
  if (b.drainUnknown) return ["–", words + ": unknown, since " + b.drainUnknown];
  const waits = Object.entries(s.broker.parked).filter(([, jobs]) => jobs > 0).map(([tier]) => between(s.at, s.broker.backBy[tier]));
  let value = (b.drainSeconds > 0 ? "about " : "") + span(b.drainSeconds);
  if (b.jobsParked > 0) {
    const wait = Math.max(0, ...waits);
    /* Ends that are next to each other are one figure. */
    value = "about " + (wait < .05 * b.drainSeconds ? "" : span(b.drainSeconds) + " to ") + span(b.drainSeconds + wait);
    words.push(of(b.jobsParked, "parked job") + (b.jobsParked === 1 ? " comes" : " come") + " back within " + span(wait) + " at the latest");
  }
  const background = g ? sum([g.ready, g.held, g.parked].filter(known)) : 0;
  if (background > 0) words.push("not counted: " + of(background, "background job"));
  return [value, words.join("; ")];
}

function jobs(s) {
  const all = places(s);
  byId("flow").replaceChildren(...all.filter(([, value]) => value > 0).map(([name, value]) => {
    const part = make("i", "f-" + name);
    part.style.flexGrow = String(value);
    return part;
  }));
  byId("flow").setAttribute("aria-label", all.map(([, value, words]) => words + " " + count(value)).join(", "));
  byId("places").replaceChildren(...all.map(([name, value, words, more]) => {
    return make("div", "tile", make("b", null, count(value)), make("span", "name f-" + name, words), make("span", null, more));
  }));
  const figures = [
    estimate(s),
    ...(s.background ? [background(s.background)] : []),
    [count(s.totals.pairsArchived), "pairs archived"],
    [count(s.totals.requests), "requests, " + count(s.totals.throttled) + " throttled (429)"],
    [count(s.requests.inFlight) + " / " + count(s.requests.maxInFlight), "requests in flight"],
  ];
  byId("figures").replaceChildren(...figures.map(([value, words]) => make("div", "tile", make("b", null, value), make("span", null, words))));
}

/* Charts. */

const RANGES = [["10 min", "throughput"], ["6 h", "history"]];
const LEFT = 46, RIGHT = 6, TOP = 8, BOTTOM = 20, HEIGHT = 150;

function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value)), step = [1, 2, 5, 10].find((factor) => factor * power >= value);
  return step * power;
}

const clocks = ["numeric", undefined].map((second) => new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second, hourCycle: "h23" }));
const STEPS = [15, 30, 60, 120, 300, 600, 1800, 3600], LEAST_SPAN = 120, LABEL = 64;

/* Where a moment lies on the x axis, and the moments that are worth a label. A young worker's axis begins with it. */
function axis(s, series, width) {
  const end = Date.parse(s.at), interval = series.intervalSeconds * 1000, count = series.jobs.length;
  const begin = Math.max(end - count * interval, Math.min(Date.parse(s.startedAt), end - LEAST_SPAN * 1000));
  const x = (time) => LEFT + ((width - LEFT - RIGHT) * (time - begin)) / (end - begin);
  const most = Math.min(5, Math.floor((width - LEFT - RIGHT) / LABEL));
  const step = 1000 * (STEPS.find((seconds) => (end - begin) / 1000 / seconds <= most) ?? 7200), ticks = [];
  for (let time = Math.ceil(begin / step) * step; time <= end; time += step) {
    if (x(time) > LEFT + 20 && x(time) < width - RIGHT - 20) ticks.push([time, clocks[step < 60000 ? 0 : 1].format(time)]);
  }
  /* The middle of an interval, and the first of them that is on the axis. */
  const at = (i) => end - (count - i - .5) * interval;
  return { begin, end, x, ticks, at, first: Math.max(0, Math.ceil(count - (end - begin) / interval - 1)) };
}

function timeLabels(svg, { x, ticks }, height) {
  for (const [time, words] of ticks) svg.append(draw("text", { x: x(time), y: height - 4, "text-anchor": "middle" }, words));
}

/* layers: [class, values]; drawn one above the other as areas, or a single one as bars. */
function chart(name, s, title, now, layers, unit, bars) {
  const series = s[RANGES[range][1]], figure = byId(name), place = figure.querySelector("div");
  figure.querySelector("figcaption").replaceChildren(make("b", null, title), make("span", null, now));
  const width = Math.max(200, place.clientWidth), bottom = HEIGHT - BOTTOM, time = axis(s, series, width);
  const tops = layers[0][1].map((_, i) => sum(layers.map(([, values]) => values[i]))), least = unit ? 1 : 10;
  const peak = nice(Math.max(least, ...tops)), y = (value) => bottom - ((bottom - TOP) * value) / peak;
  const svg = draw("svg", { width, height: HEIGHT, role: "img", "aria-label": title + ": " + now });
  for (const value of [0, peak / 2, peak]) {
    svg.append(draw("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "grid" }));
    svg.append(draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, short.format(value) + (value > 0 ? unit : "")));
  }
  timeLabels(svg, time, HEIGHT);
  const x = (i) => Math.max(LEFT, time.x(time.at(i)));
  let below = tops.map(() => 0);
  for (const [kind, values] of layers) {
    const above = below.map((value, i) => value + values[i]);
    const line = (edge) => edge.map((value, i) => x(i).toFixed(1) + " " + y(value).toFixed(1)).slice(time.first);
    if (bars) {
      const wide = Math.max(1, (time.x(time.at(1)) - time.x(time.at(0))) * .8);
      values.forEach((value, i) => {
        if (value > 0 && i >= time.first) svg.append(draw("rect", { class: kind, x: x(i) - wide / 2, width: wide, y: y(value), height: bottom - y(value) }));
      });
    } else if (values.some((value) => value > 0)) {
      svg.append(draw("path", { class: kind, d: "M" + [...line(above), ...line(below).reverse()].join("L") + "Z" }));
    }
    below = above;
  }
  place.replaceChildren(svg);
}

function overTime(s) {
  const series = s[RANGES[range][1]], rates = (values) => values.map((value) => value / series.intervalSeconds);
  byId("ranges").replaceChildren(...RANGES.map(([words], i) => {
    const button = make("button", null, words);
    button.setAttribute("aria-pressed", String(i === range));
    button.addEventListener("click", () => { range = i; if (latest) show(latest); });
    return button;
  }));
  const b = s.backlog, parts = [b.jobsReady, b.jobsHeld, b.jobsParked, b.jobsUnpublished];
  /* Where the broker is away nobody can say how many there are. */
  const unanswered = parts.every(known) ? sum(parts) : null;
  chart("backlog", s, "Jobs without an outcome", count(unanswered) + " now" + (b.backgroundReady > 0 ? ", and " + count(b.backgroundReady) + " in the background queue" : ""), [
    ["f-held", series.jobsHeld], ["f-unpublished", series.jobsUnpublished], ["f-ready", series.jobsReady], ["f-parked", series.jobsParked],
  ], "", false);
  const lately = (values) => rates(values).slice(0, -1).at(-1) ?? 0;
  chart("archived", s, "Pairs archived a second", rate(lately(series.pairsArchived)) + " lately",
    [["f-archived", settled(rates(series.pairsArchived))]], "/s", false);
  chart("failed", s, "Pairs not archived", count(sum(series.pairsFailed)) + " in " + RANGES[range][0],
    [["f-failed", series.pairsFailed]], "", true);
  pauses(s, series);
}

/* The last interval is still open: until it ends it is taken to be like the one before. */
const settled = (values) => [...values.slice(0, -1), values.at(-2) ?? 0];

const PAUSE_KINDS = { operator: "f-ended", day_spent: "f-ready", throttled: "f-ready", portal_moving: "f-ready", outage: "f-unpublished" };

function pauses(s, series) {
  const [words] = RANGES[range], figure = byId("pauses"), place = figure.querySelector("div");
  const width = Math.max(200, place.clientWidth), time = axis(s, series, width);
  const spans = s.pauses.filter((pause) => !pause.ended || Date.parse(pause.ended) >= time.begin);
  const tracks = new Map();
  for (const pause of spans) {
    const name = accountName(pause.portalId, pause.account) + (pause.lane ? ", " + pause.lane.replace("/", " → ") : "");
    tracks.set(name, [...(tracks.get(name) ?? []), pause]);
  }
  const shown = [...tracks].slice(0, FIRST_ROWS), kinds = [...new Set(spans.map((pause) => kindWords(pause.kind)))];
  figure.querySelector("figcaption").replaceChildren(make("b", null, "Standstills"),
    make("span", null, spans.length ? kinds.join(", ") : "none in the last " + words));
  if (shown.length === 0) return place.replaceChildren();
  const row = 34, height = shown.length * row + BOTTOM, svg = draw("svg", { width, height, role: "img", "aria-label": "Standstills" });
  shown.forEach(([name, of], i) => {
    svg.append(draw("text", { x: LEFT, y: i * row + 14 }, name));
    svg.append(draw("line", { x1: LEFT, x2: width - RIGHT, y1: i * row + 24, y2: i * row + 24, class: "grid" }));
    for (const pause of of) {
      const from = Math.max(time.begin, Date.parse(pause.since)), to = pause.ended ? Date.parse(pause.ended) : time.end;
      const bar = draw("rect", { x: time.x(from), y: i * row + 19, height: 10, rx: 2, width: Math.max(2, time.x(to) - time.x(from)), class: PAUSE_KINDS[pause.kind] ?? "f-failed" });
      bar.append(draw("title", {}, kindWords(pause.kind) + ", " + span((to - Date.parse(pause.since)) / 1000)));
      svg.append(bar);
    }
  });
  timeLabels(svg, time, height);
  place.replaceChildren(svg);
  if (tracks.size > shown.length) place.append(make("p", "soft small", "and " + count(tracks.size - shown.length) + " more"));
}

/* Accounts. */

function measure(words, value, used, of, scarce) {
  const outer = make("div", "meter" + (scarce && used >= .9 * of ? " full" : "")), inner = make("i");
  inner.style.width = Math.min(100, of > 0 ? (100 * used) / of : 0) + "%";
  outer.setAttribute("role", "meter");
  outer.setAttribute("aria-label", words);
  outer.setAttribute("aria-valuemin", "0");
  outer.setAttribute("aria-valuemax", String(of));
  outer.setAttribute("aria-valuenow", String(used));
  outer.append(inner);
  return make("div", null, make("div", "measure", make("span", "soft", words), make("span", null, value)), outer);
}

const ownPause = (a) => (a.pause && a.pause.scope === "account" ? a.pause : null);

/* Who works on an account on which this worker does not. */
function workedOnBy(s) {
  const is = (standing) => s.leases.some((l) => l.standing === standing);
  if (s.draining) return "left to another worker: this one stops";
  if (is("notRenewed")) return "nobody works on it: the lease could not be renewed";
  return s.leases.length === 0 || is("standingBy") ? "another worker works on it" : is("waiting") ? "this worker is about to work on it" : "this worker cannot work on it now";
}

function accountState(a) {
  if (a.standsBy) return [workedOnBy(latest) + (a.inFlight > 0 ? ", " + of(a.inFlight, "request") + " in flight" : ""), a.inFlight > 0 ? "warn" : "soft"];
  if (ownPause(a)) return ["paused: " + kindWords(a.pause.kind), "warn"];
  if (a.guard && a.guard.state === "rejected") return ["rejected: its removals end with GUARD_REJECTED", "warn"];
  if (a.pausedLanes > 0) return [a.pausedLanes === 1 ? "1 lane paused" : count(a.pausedLanes) + " lanes paused", "warn"];
  return a.heldJobs > 0 ? ["working", "good"] : ["nothing in hand", "soft"];
}

const GUARD_STATES = { waiting: "waits for approve or reject", rejected: "rejected until it is approved" };
/* Once approved, the limit holds nothing up: a full bar would say that it stops soon. */
function guardMeasure(g) {
  const words = "Pairs sent in " + span(g.windowSeconds) + " (guard)";
  if (g.state === "approved") {
    const told = "approved: everything passes until " + clocks[1].format(Date.parse(g.approvedUntil)) + "; " + count(g.used) + " so far";
    return make("div", "measure", make("span", "soft", words), make("span", null, told));
  }
  return measure(words, count(g.used) + " of " + count(g.maxPairs) + (known(GUARD_STATES[g.state]) ? "; " + GUARD_STATES[g.state] : ""), g.used, g.maxPairs, true);
}

/* HubSpot may allow fewer than the settings do. */
function paceWords(r) {
  const isSet = r.requests === r.configuredRequests && r.intervalSeconds === r.configuredIntervalSeconds;
  const set = r.intervalSeconds === r.configuredIntervalSeconds ? "" : " in " + span(r.configuredIntervalSeconds);
  return count(r.used) + " sent; " + count(r.requests) + " allowed" + (isSet ? "" : " now, " + count(r.configuredRequests) + set + " set");
}

/* HubSpot's limit is that of all apps of the account together; the setting's budget is this service's own. */
const dayLimit = (d) => (known(d.usedByAll) ? d.limit : known(d.budget) ? d.budget : d.used + d.left);
const dayWords = (d) => count(d.used) + (known(d.budget) ? " of " + count(d.budget) : "") + " sent by this service"
  + (known(d.usedByAll) ? "; all apps together: " + count(d.usedByAll) + " of " + count(d.limit) : "") + "; " + count(d.left) + " left";

function accountCard(a) {
  const name = accountName(a.portalId, a.index), [words, kind] = accountState(a), pause = ownPause(a);
  const path = accountPath(a.portalId, a.index), guard = a.guard, stopped = guard && ["waiting", "rejected"].includes(guard.state);
  const actions = [...(stopped ? ["approve"] : []), ...(stopped && guard.state === "waiting" ? ["reject"] : []), pause && pause.kind === "operator" ? "resume" : "pause"];
  const facts = [
    ["jobs in hand", count(a.heldJobs)], ["pairs in hand", count(a.heldPairs)], ["in flight", count(a.inFlight) + " / " + count(a.maxInFlight)],
    ["archived", count(a.totals.pairsArchived)], ["429s", count(a.totals.throttled)], ["work in hand takes", a.heldJobs > 0 ? span(a.drainSeconds) : "–"],
  ];
  const safety = [a.safety.journal && "journal", a.safety.verify && "verify"].filter(Boolean);
  if (safety.length) facts.push(["safety", safety.join(", ")]);
  const head = make("div", "head", make("div", "name", make("h3", null, name), make("span", "chip " + kind, words)),
    make("div", "buttons", ...actions.map((action) => orderButton(path, name, action))));
  /* Neither its quota nor its guard is known here. */
  if (a.standsBy) return make("article", "account", head);
  return make("article", "account", head,
    measure("Requests in the last " + span(a.rate.intervalSeconds), paceWords(a.rate), a.rate.used, a.rate.requests, false),
    known(a.day.left)
      ? measure("Requests today", dayWords(a.day), known(a.day.usedByAll) ? a.day.usedByAll : a.day.used, dayLimit(a.day), true)
      : make("div", "measure", make("span", "soft", "Requests today"), make("span", null, count(a.day.used))),
    guard ? guardMeasure(guard) : null,
    make("dl", null, ...facts.map(([term, value]) => make("div", null, make("dt", null, term), make("dd", null, value)))));
}

function accounts(s) {
  const rows = [...s.accounts].sort((a, b) => a.standsBy - b.standsBy || !!b.pause - !!a.pause || b.heldJobs - a.heldJobs || a.index - b.index);
  const [shown, more] = shortened("accounts", rows, MOST_CARDS), place = byId("accounts").querySelector("div");
  if (rows.length === 0) return place.replaceChildren(make("p", "soft", "None yet."));
  place.replaceChildren(make("div", "cards", ...shown.map(accountCard)), ...(more ? [more] : []));
  if (opened.has("accounts") && rows.length > shown.length) place.append(make("p", "soft small", "and " + count(rows.length - shown.length) + " more"));
}

/* What went wrong, and what is under way. */

const listed = (ids) => (ids.length ? make("div", null, ...ids.map(id)) : null);

function failures(s) {
  table("failures", [
    ["Cause", (f) => make("div", "text", make("strong", null, f.category), " ", f.message), "lead"],
    ["Said by", (f) => (f.source === "HUBSPOT" ? "HubSpot" : "worker") + (f.httpStatus ? ", " + f.httpStatus : ""), "short"],
    ["15\u00a0min", (f) => count(f.pairs), "number"],
    ["In\u00a0all", (f) => count(f.pairsSinceStart), "number"],
    ["Latest", (f) => span(between(f.lastAt, s.at)) + " ago", "number"],
    ["Jobs", (f) => listed(f.jobIds)],
  ], s.failures, "None since this worker began.", 0);
  byId("failures").querySelector("a").hidden = s.failures.length === 0;
}

function letters(s) {
  const waiting = s.broker.deadLettersReady;
  byId("letters").querySelector("h2").textContent = "Dead letters since the start" + (waiting > 0 ? "; " + count(waiting) + " in the queue now" : "");
  table("letters", [
    ["Cause", (d) => make("div", "text", make("strong", null, d.category || "without a category"), " ", d.message), "lead"],
    ["Messages", (d) => count(d.messages), "number"],
    ["Latest", (d) => span(between(d.lastAt, s.at)) + " ago", "number"],
    ["Ids", (d) => listed(d.ids)],
  ], s.deadLetters, "None since this worker began." + (waiting > 0 ? " Those in the queue are listed by: association-archiver dead-letters list" : ""), 0);
}

function lanes(s) {
  const stands = new Set(s.accounts.filter(ownPause).map((a) => a.index));
  const state = (l) => (l.pause ? "paused" : stands.has(l.account) ? "account paused" : "open");
  const button = (l) => {
    const action = l.pause && l.pause.kind === "operator" ? "resume" : "pause";
    const subject = accountName(l.portalId, l.account) + ", " + l.fromObjectType + " → " + l.toObjectType;
    const path = accountPath(l.portalId, l.account) + "/lanes/" + l.fromObjectType + "/" + l.toObjectType;
    return orderButton(path, subject, action);
  };
  table("lanes", [
    ["Lane", (l) => make("div", null, make("strong", null, l.fromObjectType + " → " + l.toObjectType),
      l.background ? make("div", "soft small", "background") : null,
      l.kind === "labels" ? make("div", "soft small text", "labels " + l.labels.join(", ")) : null), "lead"],
    ["Account", (l) => accountName(l.portalId, l.account), "short"],
    ["State", (l) => make("span", state(l) === "open" ? "good" : "warn", state(l)), "short"],
    ["Pairs waiting", (l) => count(l.waitingPairs), "number"],
    ["Requests in flight", (l) => count(l.inFlight), "number"],
    ["Batches to go again", (l) => count(l.returnedBatches), "number"],
    ["Oldest", (l) => span(l.oldestSeconds), "number"],
    ["", button, "number"],
  ], s.lanes, "Nothing is under way.", s.lanesLeftOut);
}

/* Jobs queues: of each, one worker of several holds the lease and works. */

const STANDINGS = { notRenewed: "could not renew the lease", away: "cannot reach the lease", waiting: "about to hold the lease", held: "holds the lease", left: "leaves the lease to another worker", standingBy: "stands by: another worker holds the lease" };
const ORDER = Object.keys(STANDINGS);

function leaseSummary(leases) {
  if (leases.length === 0) return [];
  if (leases.length === 1) {
    const [l] = leases;
    return [STANDINGS[l.standing] + (l.standing === "held" && l.holder ? " as " + l.holder : l.holder ? " after " + l.holder : "")];
  }
  const of = (standing) => leases.filter((l) => l.standing === standing).length;
  const others = [[of("waiting"), "about to hold "], [of("notRenewed"), "could not renew "], [of("away"), "cannot reach "]].filter(([number]) => number > 0);
  return ["holds " + count(of("held")) + " of " + count(leases.length) + " jobs queues", ...others.map(([number, words]) => words + count(number))];
}

function queues(s) {
  byId("queues").hidden = s.leases.length < 2;
  const rows = [...s.leases].sort((a, b) => ORDER.indexOf(a.standing) - ORDER.indexOf(b.standing));
  table("queues", [
    ["Jobs queue", (l) => make("strong", "text", l.jobsQueue), "lead"],
    ["This worker", (l) => make("span", ["away", "notRenewed"].includes(l.standing) ? "warn" : l.standing === "held" ? "good" : "soft", STANDINGS[l.standing])],
    ["For", (l) => span(between(l.since, s.at)), "number"],
  ], rows, "None.", 0);
}

/* Orders. The token stays in this tab's memory only. */

let token = "", order = null;
const CONSEQUENCES = {
  pause: "Nothing is sent for it until it is resumed; its jobs wait in the broker. The pause outlives the worker's process.",
  pauseLane: "Nothing is sent for it until it is resumed; its jobs wait in the broker. The pause of a lane ends with the worker's process.",
  resume: "An operator's pause ends. What stands still for a reason of its own is tried at once; lanes that were paused by hand stay paused.",
  resumeLane: "An operator's pause of the lane ends. If it stands still for another reason, it is tried at once.",
  approve: "Everything passes its guard for one whole window from now on; then pairs are counted anew.",
  reject: "Until it is approved, every job of it that removes something ends with GUARD_REJECTED and a copy in the dead letters: those that wait now, and those that come.",
};
const ORDERS = { pause: "Pause", resume: "Resume", approve: "Approve", reject: "Reject" };

function orderButton(path, subject, action, words) {
  const button = make("button", null, words ?? ORDERS[action]);
  button.addEventListener("click", () => ask(path, subject, action));
  return button;
}

function ask(path, subject, action) {
  order = { path: path + "/" + action };
  byId("question").textContent = ORDERS[action] + " " + subject + "?";
  byId("consequence").textContent = path.includes("/lanes/") ? CONSEQUENCES[action + "Lane"] : CONSEQUENCES[action];
  byId("order").textContent = ORDERS[action];
  byId("answer").textContent = byId("done").textContent = "";
  byId("order").hidden = false;
  byId("token").value = token;
  byId("ask").showModal();
}

byId("cancel").addEventListener("click", () => byId("ask").close());
byId("ask").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const shown = byId("token").value;
  try {
    const answer = await fetch(order.path, { method: "POST", headers: { Authorization: "Bearer " + shown }, signal: AbortSignal.timeout(PATIENCE) });
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error);
    token = shown;
    /* A worker that stands by: what became of the order is seen on the page of the one that works. What follows from a
       resumption depends on why it stood. An order that may not outlive this worker must be given again. */
    if (body.handedOn || body.giveAgain || order.path.endsWith("/resume")) {
      byId("done").textContent = body.note;
      byId("order").hidden = true;
    } else {
      byId("ask").close();
    }
    refresh();
  } catch (fault) {
    byId("answer").textContent = fault.message;
  }
});

/* The page as a whole. */

let latest = null, answered = Date.now(), drawn = 0, pressed = false, range = 0;
addEventListener("pointerdown", () => { pressed = true; });
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { pressed = false; });

/* Whoever presses a button or copies an id is not to have it drawn anew under the hand, but not for ever. */
const isTouched = () => (pressed || !getSelection().isCollapsed) && Date.now() - drawn < LONGEST_TOUCH;

function state(words, kind) {
  const badge = byId("state");
  badge.textContent = words;
  badge.className = "chip " + kind;
  document.title = (kind === "good" ? "" : "⚠ ") + "association-archiver";
}

function show(s) {
  latest = s;
  byId("page").classList.remove("stale");
  const well = s.warnings.length === 0 && s.paused.length === 0;
  const ready = s.standby ? "ready, stands by" : well ? "ready" : "ready, with trouble";
  state(s.draining ? "draining" : s.ready ? ready : "not ready", s.ready ? (well ? "good" : "warn") : "bad");
  byId("about").textContent = ["version " + s.version, "up " + span(between(s.startedAt, s.at)), ...leaseSummary(s.leases)].join(", ");
  const active = document.activeElement, section = active && active.closest("section");
  const buttons = () => (section ? [...section.querySelectorAll("button, a")] : []), place = buttons().indexOf(active);
  for (const part of [trouble, jobs, overTime, accounts, failures, letters, lanes, queues, hints]) part(s);
  if (place >= 0 && !active.isConnected && buttons()[place]) buttons()[place].focus({ preventScroll: true });
  drawn = Date.now();
}

async function refresh() {
  let body;
  try {
    const answer = await fetch("status", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error("status " + answer.status);
    body = await answer.json();
  } catch {
    byId("page").classList.add("stale");
    return state("no answer for " + span((Date.now() - answered) / 1000), "bad");
  }
  answered = Date.now();
  if (!isTouched()) show(body);
}

async function watch() {
  if (!document.hidden) await refresh();
  setTimeout(watch, EVERY);
}
watch();
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
let resized = 0;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => { if (latest) show(latest); }, 100); });
