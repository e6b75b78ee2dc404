// Titles that change while a page is open: the model names a conversation seconds after its first question.
import { refresh } from "app/sidebar.js";

const PAUSES = [2, 3, 4, 6, 10, 15, 25]; // seconds before each look for the new title
const FRESH = 10_000; // milliseconds for which a list counts as fresh
const title = document.getElementById("title");
const channel = new BroadcastChannel("titles"); // to the other tabs of this browser
let refreshedAt = Date.now();
let isWaiting = false;

const isInUse = () => document.visibilityState === "visible" && navigator.onLine;

// Whether the title is still the beginning of the question.
export function isProvisional(question) {
  const [line] = question.trim().split("\n");
  const shown = title.textContent;
  return shown.endsWith("…") ? line.startsWith(shown.slice(0, -1)) : line.trim() === shown;
}

// Looks for a new title of this conversation until there is one, or long enough.
export async function awaitTitle() {
  if (isWaiting) return;
  isWaiting = true;
  const before = title.textContent;
  for (const seconds of PAUSES) {
    await new Promise((resume) => setTimeout(resume, 1000 * seconds));
    await untilInUse();
    if (title.textContent === before) await update();
    if (title.textContent !== before) break;
  }
  isWaiting = false;
  if (title.textContent !== before) channel.postMessage("changed");
}

function untilInUse() {
  return new Promise((resume) => {
    const look = () => {
      if (!isInUse()) return;
      document.removeEventListener("visibilitychange", look);
      removeEventListener("online", look);
      resume();
    };
    document.addEventListener("visibilitychange", look);
    addEventListener("online", look);
    look();
  });
}

async function update() {
  refreshedAt = Date.now();
  const current = await refresh().catch(() => ""); // without the server everything stays as it is
  if (current && current !== title.textContent) showTitle(current);
}

function showTitle(text) {
  const field = document.getElementById("new-title");
  title.textContent = text;
  document.title = document.title.replace(/^.*(?= · )/, () => text);
  if (field !== document.activeElement) field.defaultValue = text; // what someone has typed stays
}

function updateIfOld() {
  if (isInUse() && Date.now() - refreshedAt > FRESH) update();
}

document.addEventListener("visibilitychange", updateIfOld);
addEventListener("online", updateIfOld);
channel.addEventListener("message", () => {
  refreshedAt = 0;
  updateIfOld();
});
