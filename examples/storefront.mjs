// How a shop's server calls Merch Drop: one random key for each order, retries on that key, then polling.
// Needs Node 18 or newer, and nothing else.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const FINAL = new Set(["confirmed", "declined", "expired", "cancelled", "refunded", "sold_out", "rejected"]);
const ATTEMPTS_MAX = 10; // of each call
const PAUSE_SECONDS_MAX = 10;
const REQUEST_SECONDS = 40; // above the 20 that a poll may wait
const POLL_SECONDS_MAX = 900; // in all; an order may be held for payment for minutes

class Refused extends Error {}

// A refusal in words: the problem's title, detail and wrong fields.
function explain(status, text) {
  try {
    const { title, detail, errors } = JSON.parse(text);
    if (title) {
      const fields = (errors ?? []).map(({ field, message }) => `${field}: ${message}`);
      return [`${title}: ${detail}`, ...fields].join("\n");
    }
  } catch {
    // not the engine's answer, but that of a proxy
  }
  return `status ${status}`;
}

// Send it until there is an answer; what is worth trying again is tried again, the rest is thrown as Refused.
async function call(url, options = {}) {
  let why = "";
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    let pause = 0.25 * 2 ** attempt;
    try {
      const response = await fetch(url, { ...options, signal: AbortSignal.timeout(REQUEST_SECONDS * 1000) });
      const text = await response.text();
      if (response.ok) return JSON.parse(text);
      why = explain(response.status, text);
      if (response.status < 500) break;
      const retryAfter = response.headers.get("Retry-After");
      if (/^\d+$/.test(retryAfter ?? "")) pause = Number(retryAfter);
    } catch (error) {
      why = `no usable answer from ${url}: ${error.cause?.message || error.message}`;
    }
    if (attempt < ATTEMPTS_MAX - 1) {
      const spread = 1 + Math.random() / 5; // so that a crowd doesn't come as one
      await sleep(Math.min(pause, PAUSE_SECONDS_MAX) * spread * 1000);
    }
  }
  throw new Refused(why);
}

async function buy(baseUrl, dropId, sku, quantity, customerId = `guest-${randomUUID()}`) {
  const base = baseUrl.replace(/\/+$/, "");
  const order = { drop_id: dropId, customer: { id: customerId }, items: [{ sku, quantity: Number(quantity) }] };
  const headers = { "Content-Type": "application/json", "Idempotency-Key": randomUUID() }; // a real shop stores the key
  let shown = await call(`${base}/v1/checkout`, { method: "POST", headers, body: JSON.stringify(order) });
  const statusUrl = base + shown.status_url;
  const giveUpAt = Date.now() + POLL_SECONDS_MAX * 1000;
  while (!FINAL.has((shown = await call(`${statusUrl}?wait=20`)).status) && Date.now() < giveUpAt) await sleep(1000);
  return shown.status;
}

const given = process.argv.slice(2);
try {
  if (given.length < 4 || given.length > 5 || !/^\d+$/.test(given[3])) {
    throw new Refused("usage: node storefront.mjs BASE_URL DROP_ID SKU QUANTITY [CUSTOMER_ID]");
  }
  const status = await buy(...given);
  console.log(status);
  process.exitCode = status === "confirmed" ? 0 : 1;
} catch (error) {
  console.error(error instanceof Refused ? error.message : error);
  process.exitCode = 1;
}
