// The chat page. Without this script the same forms work as plain posts.
import { Answer } from "app/answer.js";
import { get, post } from "app/http.js";
import { Scroller } from "app/scroll.js";
import { follow } from "app/stream.js";
import { elementsFrom } from "app/trusted.js";

const byId = (id) => document.getElementById(id);
const transcript = byId("transcript");
const composer = byId("composer");
const message = composer.elements.text;
const actions = byId("answer-actions");
const notice = byId("notice");
const scroller = new Scroller(byId("main"));
const DRAFT = "draft";
const QUEUED = "queued";
const ENDINGS = {
  done: "Answer complete.",
  stopped: "Answer stopped.",
  error: "The answer failed.",
  interrupted: "The answer was interrupted.",
  waiting: "The assistant waits for your approval.",
};
const STATES = {
  reconnecting: "Connection lost; reconnecting …",
  "signed-out": "You are signed out. Sign in again to go on; nothing is lost.",
  gone: "This conversation has been deleted.",
};

let answering = false;
let queued = false; // the message in the field is to be sent after this answer

function say(text) {
  byId("status").textContent = text;
}

function warn(text = "") {
  notice.textContent = text;
  notice.hidden = !text;
}

// The one button below the transcript: Stop while an answer is written, Regenerate afterwards.
function offer(action, label, url) {
  actions.replaceChildren();
  if (!action) return;
  const form = document.createElement("form");
  form.method = "post";
  form.action = url;
  form.dataset.action = action;
  const button = document.createElement("button");
  button.className = "button quiet";
  button.textContent = label;
  form.append(button);
  actions.append(form);
}

function watch(article) {
  const { events, status, stop, after, regenerate } = article.dataset;
  const answer = new Answer(article);
  answering = true;
  article.setAttribute("aria-busy", "true");
  article.classList.add("thinking");
  offer("stop", "Stop", stop);
  say("The assistant is answering.");
  const changed = () => {
    article.classList.toggle("thinking", answer.items.length === 0 && !answer.tail);
    scroller.follow();
  };
  changed();
  follow({
    events,
    status,
    after: Number(after),
    onText: (data) => (answer.apply(data), changed()),
    onWhole: (data) => (answer.replace(data), changed()),
    onState: (state) => warn(STATES[state]),
    onEnd(kind, { footer }) {
      answering = false;
      answer.finish(footer);
      changed();
      article.classList.remove("thinking");
      article.removeAttribute("aria-busy");
      offer("regenerate", "Regenerate", regenerate);
      warn();
      say(ENDINGS[kind]);
      if (queued) composer.requestSubmit();
    },
  });
}

function show(markup) {
  byId("empty").hidden = true;
  transcript.append(elementsFrom(markup));
  scroller.toEnd();
  const article = transcript.querySelector(".answer[data-events]");
  if (article) watch(article);
}

async function send(event) {
  event.preventDefault();
  const form = new FormData(composer);
  queued = answering && form.get("text").trim() !== "";
  if (queued) warn("Your message will be sent after this answer.");
  if (answering || !form.get("text").trim()) return;
  const button = composer.querySelector("button");
  button.disabled = true;
  warn();
  try {
    const { url, conversation, messages } = await post(composer.action, form);
    forgetDraft();
    if (new URL(url, location).pathname !== location.pathname) {
      location.assign(url);
      return;
    }
    placeInList(conversation);
    show(messages);
  } catch (error) {
    if (error.kind === "conversation-busy") {
      sessionStorage.setItem(QUEUED, location.pathname); // another tab has asked: show that answer, then send
      location.reload();
    }
    warn(error.kind ? error.message : "The message could not be sent. It is kept here.");
  } finally {
    button.disabled = false;
    message.focus();
  }
}

function placeInList(markup) {
  const list = byId("conversations");
  list.querySelector('[aria-current="page"]')?.closest("li").remove();
  list.prepend(elementsFrom(markup));
}

async function act(event) {
  event.preventDefault();
  const form = event.target;
  form.querySelector("button").disabled = true;
  try {
    const result = await post(form.action, new FormData(form));
    if (form.dataset.action === "regenerate") {
      const articles = transcript.querySelectorAll(".message.answer");
      articles[articles.length - 1].remove();
      const fresh = elementsFrom(result.messages);
      fresh.querySelector(".question").remove();
      transcript.append(fresh);
      scroller.toEnd();
      watch(transcript.querySelector(".answer[data-events]"));
    }
  } catch (error) {
    warn(error.message);
    form.querySelector("button").disabled = false;
  }
}

function keepDraft() {
  sessionStorage.setItem(DRAFT + location.pathname, message.value);
  message.rows = Math.min(8, message.value.split("\n").length);
}

function forgetDraft() {
  composer.elements.client_key.value = crypto.randomUUID();
  message.value = "";
  keepDraft();
}

async function showEarlier(event) {
  event.preventDefault();
  const link = event.target;
  const pieces = elementsFrom(await get(link.href, "text/html"));
  const first = transcript.firstElementChild;
  const height = byId("main").scrollHeight;
  const oldest = pieces.querySelector(".message");
  transcript.prepend(pieces);
  byId("main").scrollTop += byId("main").scrollHeight - height;
  if (oldest && oldest !== first) link.href = link.href.replace(/[^/]+$/, oldest.id.slice(1));
  if (transcript.querySelectorAll(".message").length % 50) link.parentElement.remove();
}

composer.addEventListener("submit", send);
actions.addEventListener("submit", act);
message.addEventListener("input", keepDraft);
message.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});
byId("earlier")?.addEventListener("click", showEarlier);
message.value ||= sessionStorage.getItem(DRAFT + location.pathname) ?? "";
keepDraft();
scroller.toEnd();
document.querySelector('form[action="/logout"]').addEventListener("submit", () => sessionStorage.clear());
const unfinished = transcript.querySelector(".answer[data-events]");
if (unfinished) watch(unfinished);
if (sessionStorage.getItem(QUEUED) === location.pathname) {
  sessionStorage.removeItem(QUEUED);
  composer.requestSubmit();
}
