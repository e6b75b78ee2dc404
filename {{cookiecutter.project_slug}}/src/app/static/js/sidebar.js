// The list of conversations: search as one types, the newest otherwise.
import { get } from "app/http.js";
import { setMarkup } from "app/trusted.js";

const PAUSE = 200; // milliseconds after the last key
const SKELETON = 3;
const list = document.getElementById("conversations");
const form = document.getElementById("search");
export const field = form.elements.q;
let timer = 0;
let asked = 0;

async function load() {
  const number = (asked += 1);
  const late = setTimeout(showSkeleton, PAUSE);
  try {
    const found = await get(`${form.action}?q=${encodeURIComponent(field.value.trim())}`);
    if (number !== asked) return; // an answer to what is no longer in the field
    setMarkup(list, found.list);
    list.querySelector(`a[href="${location.pathname}"]`)?.setAttribute("aria-current", "page");
  } finally {
    clearTimeout(late);
    list.removeAttribute("aria-busy");
  }
}

function showSkeleton() {
  list.setAttribute("aria-busy", "true");
  list.replaceChildren(
    ...Array.from({ length: SKELETON }, () => {
      const line = document.createElement("li");
      line.className = "skeleton";
      return line;
    }),
  );
}

// Without the server the list stays as it is, and what is searched for in vain says so.
export function refresh() {
  return load().catch(() => field.value.trim() && list.replaceChildren("Search is not possible right now."));
}

field.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(refresh, PAUSE);
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  refresh();
});
