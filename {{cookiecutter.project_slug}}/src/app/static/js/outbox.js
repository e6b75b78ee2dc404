// Messages written without a network, sent once each and in order when it is back. The server knows a message by its
// client key, so sending one again, because its answer was lost, changes nothing.
import { post } from "app/http.js";
import { ask } from "app/store.js";

const REFUSED_FOR_GOOD = [400, 403, 404, 413, 422];
const SHORTEST_PAUSE = 1500;
const LONGEST_PAUSE = 15000; // milliseconds
const START = "/chat"; // where a new conversation is posted to
const place = document.getElementById("outbox");
const thread = crypto.randomUUID();

export const account = document.querySelector('meta[name="account"]')?.content;

export async function held(of = account) {
  return (await ask("outbox", "getAll")).filter((item) => item.account === of);
}

// What is written in one new conversation, before it has an address, shares the page's thread.
export async function hold(url, text, key, author = account) {
  await ask("outbox", "put", { account: author, url, thread: url === START ? thread : null, text, key });
  await show(author);
}

export async function isBehind(url) {
  return (await held()).some((item) => item.url === url && !item.refused);
}

async function discard(item) {
  await ask("outbox", "delete", item.order);
  await show(item.account);
}

// Sends what is held, one after the other, waiting for answers that are being written; one tab at a time.
export function flush(onSent) {
  return navigator.locks.request("outbox", { ifAvailable: true }, async (lock) => {
    let pause = SHORTEST_PAUSE;
    while (lock) {
      const item = (await held()).find((each) => !each.refused);
      if (!item) return;
      try {
        const sent = await post(item.url, { text: item.text, client_key: item.key });
        await moveThread(item, sent.url);
        await discard(item);
        onSent(item, sent);
        pause = SHORTEST_PAUSE;
      } catch (error) {
        const refused = REFUSED_FOR_GOOD.includes(error.status) && error.kind !== "csrf";
        if (refused) await refuse(item, error.message);
        else if (![409, 429, 503].includes(error.status)) return; // still offline, or signed out
        else await new Promise((resume) => setTimeout(resume, Math.max(pause, 1000 * error.retryAfter)));
        pause = Math.min(LONGEST_PAUSE, 1.5 * pause);
      }
    }
  });
}

async function moveThread(first, url) {
  for (const item of await held()) {
    if (first.thread && item.thread === first.thread && item !== first) {
      await ask("outbox", "put", { ...item, url: `${url}/messages`, thread: null });
    }
  }
}

async function refuse(item, reason) {
  await ask("outbox", "put", { ...item, refused: reason });
  await show(item.account);
}

export async function show(of = account) {
  const items = await held(of);
  place.hidden = items.length === 0;
  place.querySelector("ul").replaceChildren(...items.map(row));
}

function row(item) {
  const line = document.createElement("li");
  const text = document.createElement("p");
  const state = document.createElement("p");
  const remove = document.createElement("button");
  text.textContent = item.text;
  state.textContent = item.refused ? `Not sent: ${item.refused}` : "Waits to be sent";
  state.className = "fine";
  remove.textContent = "Remove";
  remove.className = "link-button";
  remove.type = "button";
  remove.addEventListener("click", () => discard(item));
  line.append(text, state, remove);
  return line;
}
