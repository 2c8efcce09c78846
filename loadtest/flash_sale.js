// A flash sale as buyers make it: so many arrive each second, whatever the engine does (an open model). Each sends one
// order, retries on the same key, and follows it to its end. When the rush is over a late crowd comes to an empty shop.
// Run by `make loadtest`, which sets the environment and adds the verdict of the books.
import http from "k6/http";
import exec from "k6/execution";
import { check, sleep } from "k6";
import { Counter, Trend } from "k6/metrics";

const { BASE_URL, DROP_ID, RUN, RESULTS } = __ENV;
const RATE = Number(__ENV.RATE);
const SECONDS = Number(__ENV.SECONDS);
const LATE_SECONDS = Number(__ENV.LATE_SECONDS);
const TRIES_MAX = 8; // half a minute with the pauses below: longer than any part needs to come back
const POLLS_MAX = 6; // of 20 s each
const PAUSE_SECONDS_MAX = 8;
const DUPLICATES = 0.2; // share of buyers who press the button twice
const FINAL = ["confirmed", "declined", "expired", "cancelled", "refunded", "sold_out", "rejected"];

http.setResponseCallback(http.expectedStatuses(200, 202, 409, 410)); // sold out and over are right answers too

const accepted = new Counter("orders_accepted");
const confirmed = new Counter("orders_confirmed");
const refused = new Counter("orders_refused");
const decision = new Trend("decision_seconds");

const arrivals = { executor: "constant-arrival-rate", rate: RATE, timeUnit: "1s", preAllocatedVUs: RATE * 4, maxVUs: RATE * 20 };

export const options = {
  scenarios: {
    rush: { ...arrivals, exec: "buy", duration: `${SECONDS}s`, gracefulStop: "120s" },
    late: { ...arrivals, exec: "comeLate", startTime: `${SECONDS}s`, duration: `${LATE_SECONDS}s`, gracefulStop: "60s" },
  },
  thresholds: {
    http_req_failed: ["rate==0"],
    checks: ["rate==1"],
    dropped_iterations: ["count==0"],
    "http_req_duration{name:checkout}": ["p(99)<1000"],
  },
  summaryTrendStats: ["med", "p(95)", "p(99)", "max"],
};

export function setup() {
  const drop = http.get(`${BASE_URL}/v1/drops/${DROP_ID}`);
  if (drop.status !== 200) exec.test.abort(`there is no drop ${DROP_ID} at ${BASE_URL} (${drop.status})`);
  return { skus: drop.json("items").map((item) => item.sku) };
}

export function buy(data) {
  const order = write(data.skus);
  const started = Date.now();
  const answers = Math.random() < DUPLICATES ? twice(order) : [once(order)];
  const taken = answers.filter((answer) => answer.status === 202);
  check(answers, {
    "accepted or sold out": (all) => all.every(({ status }) => status === 202 || status === 409),
    "one key, one order": () => new Set(taken.map((answer) => answer.json("order_id"))).size <= 1,
  });
  if (taken.length === 0) return refused.add(1);
  accepted.add(1);
  const status = follow(taken[0].json("status_url"));
  check(status, { "an accepted order ends": (end) => FINAL.includes(end) });
  decision.add((Date.now() - started) / 1000);
  if (status === "confirmed") confirmed.add(1);
}

// Sold out by then: 409 at once. A few may still be taken, if the rush left units.
export function comeLate(data) {
  const answer = once(write(data.skus));
  check(answer, { "late: an answer": ({ status }) => [202, 409, 410].includes(status) });
  if (answer.status !== 202) return refused.add(1);
  accepted.add(1);
  check(follow(answer.json("status_url")), { "late: an accepted order ends": (end) => FINAL.includes(end) });
}

function write(skus) {
  const number = `${exec.scenario.name}-${exec.scenario.iterationInTest}`;
  const sku = skus[exec.scenario.iterationInTest % skus.length];
  const body = { drop_id: DROP_ID, customer: { id: `buyer-${number}` }, items: [{ sku, quantity: 1 }] };
  const headers = { "Content-Type": "application/json", "Idempotency-Key": `${RUN}-${number}` };
  return ["POST", `${BASE_URL}/v1/checkout`, JSON.stringify(body), { headers, tags: { name: "checkout" } }];
}

function once(order) {
  let answer = http.request(...order);
  for (let attempt = 1; attempt < TRIES_MAX && isPassing(answer); attempt += 1) {
    sleep(Math.min(PAUSE_SECONDS_MAX, Number(answer.headers["Retry-After"]) || 0.2 * 2 ** attempt));
    answer = http.request(...order);
  }
  return answer;
}

// Both at the same moment; one that meets trouble goes on alone.
function twice(order) {
  return http.batch([order, order]).map((answer) => (isPassing(answer) ? once(order) : answer));
}

function isPassing(answer) {
  return answer.status === 0 || answer.status >= 500;
}

function follow(path) {
  let status = "accepted";
  for (let poll = 0; poll < POLLS_MAX && !FINAL.includes(status); poll += 1) {
    const answer = http.get(`${BASE_URL}${path}?wait=20`, { tags: { name: "status" }, timeout: "30s" });
    if (answer.status === 200) status = answer.json("status");
    else sleep(1);
  }
  return status;
}

export function handleSummary(data) {
  return { [RESULTS]: JSON.stringify(data, null, 2) };
}
