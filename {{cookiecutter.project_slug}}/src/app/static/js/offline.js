// The page without a network: write on, it is sent when the network is back.
import { hold, show } from "app/outbox.js";
import { ask } from "app/store.js";

const CONVERSATION = /^\/chat\/[0-9a-f-]{36}$/;
const PROBE_EVERY = 5000; // milliseconds
const composer = document.getElementById("composer");
const message = composer.elements.text;

async function begin() {
  const account = await ask("kept", "get", "account");
  if (!account) return;
  const draft = `draft:${account}:${location.pathname}`; // as in chat.js
  const titles = (await ask("kept", "get", "titles")) ?? [];
  const here = CONVERSATION.test(location.pathname);
  const title = titles.find(([path]) => path === location.pathname)?.[1];
  if (title) document.getElementById("title").textContent = title;
  document.getElementById("titles").replaceChildren(...titles.map(link));
  document.getElementById("known").hidden = false;
  message.value = localStorage.getItem(draft) ?? "";
  message.addEventListener("input", () => localStorage.setItem(draft, message.value));
  composer.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = message.value.trim();
    if (!text) return;
    message.value = "";
    localStorage.removeItem(draft);
    await hold(here ? `${location.pathname}/messages` : "/chat", text, crypto.randomUUID(), account);
    document.getElementById("status").textContent = "Kept; it will be sent when you are online.";
    message.focus();
  });
  await show(account);
}

function link([path, title]) {
  const line = document.createElement("li");
  const anchor = document.createElement("a");
  anchor.href = path;
  anchor.textContent = title;
  line.append(anchor);
  return line;
}

async function probe() {
  const answer = await fetch("/livez", { cache: "no-store" }).catch(() => null);
  if (answer?.ok) location.reload();
}

begin().catch(() => {}); // nothing is kept here: the page says that one is offline, and no more
addEventListener("online", probe);
setInterval(probe, PROBE_EVERY);
document.getElementById("retry").addEventListener("click", probe);
