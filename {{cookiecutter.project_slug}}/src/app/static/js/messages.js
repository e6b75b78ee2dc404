// What one can do with a message: copy it or its code, rate it, edit it, look at its other versions.
import { get, post } from "app/http.js";
import { explain, warn } from "app/notice.js";

const SHOWN_FOR = 1500; // milliseconds
const byId = (id) => document.getElementById(id);
const template = (id) => byId(id).content.firstElementChild.cloneNode(true);

export function say(text) {
  byId("status").textContent = text;
}

async function copy(button, text) {
  const label = button.textContent;
  await navigator.clipboard.writeText(await text);
  button.textContent = "Copied";
  say("Copied.");
  setTimeout(() => (button.textContent = label), SHOWN_FOR);
}

// Gives each code block a frame with its language and a button; nothing moves, since the frame has its place already.
export function frameCode(root) {
  for (const pre of root.querySelectorAll(".item pre:not(.step pre, .code pre)")) {
    const frame = document.createElement("div");
    const button = document.createElement("button");
    frame.className = "code";
    frame.dataset.language = pre.firstElementChild?.className.replace("language-", "") || "";
    button.className = "tool";
    button.type = "button";
    button.textContent = "Copy code";
    pre.tabIndex = 0; // a long line is scrolled to by keyboard
    pre.replaceWith(frame);
    frame.append(pre, button);
  }
  for (const table of root.querySelectorAll(".item table")) table.tabIndex = 0;
}

async function rate(button) {
  const tools = button.parentElement;
  const taken = button.getAttribute("aria-pressed") === "true";
  const rating = taken ? "0" : button.dataset.rate;
  await post(tools.dataset.feedback, { rating });
  for (const each of tools.querySelectorAll("[data-rate]")) {
    each.setAttribute("aria-pressed", String(!taken && each === button));
  }
  tools.parentElement.querySelector(".reason")?.remove();
  if (rating === "-1") askWhy(tools);
  say(taken ? "Rating taken back." : "Thank you.");
}

function askWhy(tools) {
  const form = template("reason-form");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await post(tools.dataset.feedback, { rating: "-1", reason: form.elements.reason.value });
      form.remove();
      say("Thank you.");
    } catch (error) {
      explain(error, "That could not be sent.");
    }
  });
  tools.after(form);
  form.elements.reason.focus();
}

function edit(button) {
  const article = button.closest(".question");
  const form = template("edit-form");
  const [text, bubble] = [form.elements.text, article.querySelector(".question-text")];
  const parts = [bubble, button.parentElement];
  const close = () => {
    form.remove();
    for (const part of parts) part.hidden = false;
    button.focus();
  };
  const key = crypto.randomUUID();
  text.value = bubble.textContent;
  text.rows = Math.min(8, text.value.split("\n").length + 1);
  form.querySelector("[type=button]").addEventListener("click", close);
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    event.stopPropagation();
    try {
      await post(button.dataset.edit, { text: text.value, client_key: key });
      location.reload();
    } catch (error) {
      explain(error, "The message could not be sent. It is kept here.");
    }
  });
  for (const part of parts) part.hidden = true;
  article.append(form);
  text.focus({ preventScroll: true });
  form.scrollIntoView({ block: "center" });
}

async function show(button) {
  const { url } = await post(button.dataset.show, {});
  history.replaceState(null, "", url);
  location.reload();
}

export function serve(transcript) {
  frameCode(transcript);
  transcript.addEventListener("click", async (event) => {
    const button = event.target.closest("button.tool");
    if (!button) return;
    try {
      if (button.closest(".code")) await copy(button, button.previousElementSibling.textContent);
      else if (button.dataset.copy) await copy(button, get(button.dataset.copy, "text/plain"));
      else if (button.dataset.rate) await rate(button);
      else if (button.dataset.edit) edit(button);
      else if (button.dataset.show) await show(button);
    } catch (error) {
      if (error.name === "NotAllowedError") warn("This browser does not let us use the clipboard.");
      else explain(error, "That did not reach the server.");
    }
  });
}
