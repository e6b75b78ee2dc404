// On every page: the service worker and its updates, and what this browser keeps about whom.
import { ask, forgetAll } from "app/store.js";
import { WORKER } from "app/trusted.js";

const LOOK_FOR_UPDATES = 3600_000; // milliseconds
const UNSUBSCRIBE_PATIENCE = 2000;
const worker = navigator.serviceWorker;
const account = document.querySelector('meta[name="account"]')?.content; // empty: nobody; undefined: not known here

async function register() {
  const registration = await worker.register(WORKER);
  const offer = () => registration.waiting && worker.controller && offerUpdate(registration.waiting);
  registration.addEventListener("updatefound", () => registration.installing.addEventListener("statechange", offer));
  offer();
  setInterval(() => registration.update().catch(() => {}), LOOK_FOR_UPDATES); // offline: the next time
}

// A new version waits until the reader agrees: nothing changes under their hands.
function offerUpdate(waiting) {
  if (document.getElementById("update")) return;
  const box = document.getElementById("update-offer").content.firstElementChild.cloneNode(true);
  const [reload, later] = box.querySelectorAll("button");
  box.id = "update";
  reload.addEventListener("click", () => {
    worker.addEventListener("controllerchange", () => location.reload(), { once: true });
    waiting.postMessage("take over");
  });
  later.addEventListener("click", () => box.remove());
  document.body.append(box);
}

// Nobody's page forgets the titles; another account's forgets everything; unsent messages wait for their author.
async function keepFor() {
  const before = await ask("kept", "get", "account");
  if (account === "") await ask("kept", "delete", "titles");
  if (!account) return;
  if (before && before !== account) {
    localStorage.clear(); // drafts
    await forgetAll();
  }
  await ask("kept", "put", account, "account");
  const links = [...document.querySelectorAll("#conversations a")];
  const titles = links.map((link) => [link.pathname, link.textContent.trim()]);
  if (document.getElementById("conversations")) await ask("kept", "put", titles, "titles");
}

async function signOut(event) {
  event.preventDefault();
  const form = event.target;
  const unsent = await ask("outbox", "getAll").catch(() => []);
  const question = `Not yet sent: ${unsent.length}. Signing out deletes what you have written. Sign out?`;
  if (unsent.length && !confirm(question)) return;
  sessionStorage.clear();
  localStorage.clear();
  await forgetAll().catch(() => {});
  await Promise.race([unsubscribe().catch(() => {}), new Promise((go) => setTimeout(go, UNSUBSCRIBE_PATIENCE))]);
  form.submit();
}

async function unsubscribe() {
  const registration = await worker?.getRegistration();
  await (await registration?.pushManager?.getSubscription())?.unsubscribe();
}

for (const form of document.querySelectorAll('form[action="/logout"]')) form.addEventListener("submit", signOut);
keepFor().catch(() => {}); // a browser that keeps nothing for us works online only
if (worker) register().catch((error) => console.info("No service worker:", error.message));
