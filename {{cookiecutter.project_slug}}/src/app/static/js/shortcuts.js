// Keyboard shortcuts, as listed in chat/_shortcuts.html. None is a single letter: speech input and screen readers use those.
import { field } from "app/sidebar.js";

const sheet = document.getElementById("shortcuts");
const sidebar = document.getElementById("sidebar");

function search() {
  if (field.checkVisibility() === false) sidebar.showPopover();
  field.focus();
  field.select();
}

const WITH_CONTROL = {
  k: search,
  "/": () => sheet.togglePopover(),
  O: () => location.assign("/chat"),
  Y: () => [...document.querySelectorAll("[data-copy]")].at(-1)?.click(),
};

addEventListener("keydown", (event) => {
  if (event.isComposing || event.altKey) return;
  const command = event.ctrlKey || event.metaKey;
  const key = event.shiftKey && event.key.length === 1 ? event.key.toUpperCase() : event.key;
  const action = command && (WITH_CONTROL[key] ?? (event.code === "Slash" ? WITH_CONTROL["/"] : null));
  if (action) {
    event.preventDefault();
    action();
  } else if (event.key === "Escape" && !document.querySelector(":popover-open")) {
    document.querySelector('[data-action="stop"]')?.requestSubmit();
  }
});
