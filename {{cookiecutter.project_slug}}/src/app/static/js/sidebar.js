// The list of conversations: the hits of a search while you type, otherwise the newest.
import { get } from "app/http.js";
import { elementsFrom } from "app/trusted.js";

const PAUSE = 200; // milliseconds after the last key
const SKELETON_LINES = 3;
const list = document.getElementById("conversations");
const form = document.getElementById("search");
export const field = form.elements.q;
let timer = 0;
let searches = 0;

async function search() {
  const number = (searches += 1);
  const words = field.value.trim();
  const late = words ? setTimeout(showSkeleton, PAUSE) : 0;
  try {
    const found = await get(`${form.action}?q=${encodeURIComponent(words)}`);
    if (number === searches) show(linesFrom(found.list)); // otherwise the field has changed since
  } catch {
    if (words) show([lineWith("fine", "Search is not possible right now.")]);
  } finally {
    clearTimeout(late);
    list.removeAttribute("aria-busy");
  }
}

// Loads the newest conversations; the hits of a search stay. Returns the title of the open conversation, if it is listed.
export async function refresh() {
  const newest = await get(form.action);
  const lines = linesFrom(newest.list);
  if (!field.value.trim()) show(lines);
  return lines.map((line) => line.querySelector("[aria-current]")?.textContent).find(Boolean);
}

function linesFrom(markup) {
  const fragment = elementsFrom(markup);
  fragment.querySelector(`a[href="${location.pathname}"]`)?.setAttribute("aria-current", "page");
  return [...fragment.children];
}

function show(lines) {
  const markupOf = (elements) => elements.map((element) => element.outerHTML).join("");
  if (markupOf(lines) === markupOf([...list.children])) return;
  const focused = list.contains(document.activeElement) && document.activeElement.getAttribute("href");
  list.replaceChildren(...lines);
  if (focused) list.querySelector(`a[href="${focused}"]`)?.focus({ preventScroll: true });
}

function lineWith(className, text) {
  const line = document.createElement("li");
  line.className = className;
  line.textContent = text;
  return line;
}

function showSkeleton() {
  list.setAttribute("aria-busy", "true");
  show(Array.from({ length: SKELETON_LINES }, () => lineWith("skeleton", "")));
}

field.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(search, PAUSE);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
