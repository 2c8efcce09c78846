// How a shop's server calls Merch Drop: one random key for each order, retries on that key, then polling, 3-D Secure.
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
    const fields = (errors ?? []).map(({ field, message }) => `${field}: ${message}`);
    if (title) return [`${title}: ${detail}`, ...fields].join("\n");
  } catch {} // not the engine's answer, but that of a proxy
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
      pause = Number(response.headers.get("Retry-After")) || pause;
    } catch (error) {
      why = `no usable answer from ${url}: ${error.cause?.message || error.message}`;
    }
    const spread = 1 + Math.random() / 5; // so that a crowd doesn't come as one
    if (attempt < ATTEMPTS_MAX - 1) await sleep(Math.min(pause, PAUSE_SECONDS_MAX) * spread * 1000);
  }
  throw new Refused(why);
}

// Stripe.js makes real payment methods, in the buyer's browser; a free order needs none.
async function buy(baseUrl, dropId, sku, quantity, customerId = `guest-${randomUUID()}`, card = "pm_card_visa") {
  const base = baseUrl.replace(/\/+$/, "");
  const items = [{ sku, quantity: Number(quantity) }];
  const order = { drop_id: dropId, customer: { id: customerId }, items, payment_method: card };
  const headers = { "Content-Type": "application/json", "Idempotency-Key": randomUUID() }; // a real shop stores the key
  let shown = await call(`${base}/v1/checkout`, { method: "POST", headers, body: JSON.stringify(order) });
  const statusUrl = base + shown.status_url;
  const giveUpAt = Date.now() + POLL_SECONDS_MAX * 1000;
  let asked = false;
  while (!FINAL.has((shown = await call(`${statusUrl}?wait=20`)).status) && Date.now() < giveUpAt) {
    // The bank asks the buyer (3-D Secure): hand shown.payment.client_secret to his browser and to nobody else, no log
    // either. There, Stripe.js does it: stripe.handleNextAction({ clientSecret }). Polling tells how it ends.
    if (shown.status === "action_required" && !asked) {
      asked = true;
      console.error("the buyer has to act");
    }
    await sleep(1000);
  }
  return shown.status;
}

const given = process.argv.slice(2);
try {
  if (given.length < 4 || given.length > 6 || !/^\d+$/.test(given[3])) {
    throw new Refused("usage: node storefront.mjs BASE_URL DROP_ID SKU QUANTITY [CUSTOMER_ID [PAYMENT_METHOD]]");
  }
  const status = await buy(...given);
  console.log(status);
  process.exitCode = status === "confirmed" ? 0 : 1;
} catch (error) {
  console.error(error instanceof Refused ? error.message : error);
  process.exitCode = 1;
}
