// The chat page. Without this script the same forms work as plain posts.
import { Answer } from "app/answer.js";
import { get, post } from "app/http.js";
import { frameCode, say, serve } from "app/messages.js";
import { explain, warn } from "app/notice.js";
import { flush, hold, isBehind, show as showHeld } from "app/outbox.js";
import { offerDuring, seen } from "app/push.js";
import { Scroller } from "app/scroll.js";
import "app/shortcuts.js";
import { follow } from "app/stream.js";
import { awaitTitle, isProvisional } from "app/titles.js";
import { elementsFrom } from "app/trusted.js";

const byId = (id) => document.getElementById(id);
const transcript = byId("transcript");
const questions = transcript.getElementsByClassName("question");
const composer = byId("composer");
const message = composer.elements.text;
const actions = byId("answer-actions");
const scroller = new Scroller(byId("main"), byId("jump"));
const DRAFT = `draft:${composer.dataset.user}:`;
const QUEUED = "queued";
const CONTINUE = "Continue";
const ENDINGS = {
  done: "Answer complete.",
  stopped: "Answer stopped.",
  error: "The answer failed.",
  interrupted: "The answer was interrupted.",
  waiting: "The assistant waits for your approval.",
};
const STATES = {
  reconnecting: "Connection lost; reconnecting …",
  gone: "This conversation has been deleted.",
};

let answering = transcript.querySelector(".approval") !== null;
let queued = false; // the message in the field is to be sent after this answer

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
  if (questions.length === 1) awaitTitle();
  say("The assistant is answering.");
  const withdraw = offerDuring(byId("push-offer"));
  const changed = () => {
    article.classList.toggle("thinking", answer.thinking);
    scroller.follow();
  };
  changed();
  follow({
    events,
    status,
    after: Number(after),
    onText: (data) => (answer.apply(data), changed()),
    onWhole: (data) => (answer.replace(data), changed()),
    onState: (state) => (state === "signed-out" ? explain({ status: 401 }) : warn(STATES[state])),
    onEnd(kind, { footer }) {
      answering = kind === "waiting";
      withdraw();
      seen(article.dataset.seen);
      answer.finish(footer);
      changed();
      article.classList.remove("thinking");
      article.removeAttribute("aria-busy");
      if (!answering) offer("regenerate", "Regenerate", regenerate);
      warn();
      say(ENDINGS[kind]);
      if (queued && !answering) composer.requestSubmit();
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

async function send(form) {
  queued = answering && form.get("text").trim() !== "";
  const deciding = transcript.querySelector(".approval");
  if (queued) warn(deciding ? "Approve or deny first; your message is kept." : "Your message will be sent after this answer.");
  if (answering || !form.get("text").trim()) return;
  const button = composer.querySelector("button");
  button.disabled = true;
  warn();
  try {
    if (await isBehind(pathOf(composer.action)).catch(() => false)) return await holdBack(form);
    const { url, conversation, messages } = await post(composer.action, form);
    forgetDraft(form);
    if (new URL(url, location).pathname !== location.pathname) {
      location.assign(url);
      return;
    }
    placeInList(conversation);
    show(messages);
  } catch (error) {
    if (error.kind === "conversation-busy") {
      // Another tab has asked: show that answer, then send what is still in the field.
      if (message.value === form.get("text")) sessionStorage.setItem(QUEUED, location.pathname);
      location.reload();
    }
    if (error.status) explain(error);
    else await holdBack(form).catch(() => warn("The message could not be sent. It is kept here."));
  } finally {
    button.disabled = false;
    message.focus();
  }
}

// Asks for the rest of an answer that was cut off; a draft in the field stays there.
async function sendContinue(button) {
  if (transcript.querySelector(".approval")) return warn("Approve or deny first.");
  if (answering) return warn("An answer is still being written.");
  const form = new FormData(composer);
  form.set("text", CONTINUE);
  form.set("client_key", crypto.randomUUID());
  button.disabled = true;
  await send(form);
  button.disabled = false;
}

const pathOf = (url) => new URL(url, location).pathname;

// No network, or earlier messages that still wait for it.
async function holdBack(form) {
  await hold(pathOf(composer.action), form.get("text").trim(), form.get("client_key"));
  forgetDraft(form);
  warn();
  say("Kept; it will be sent when you are online.");
  sendHeld();
}

function sendHeld() {
  flush((item, { url, conversation, messages }) => {
    if (pathOf(url) === location.pathname) {
      placeInList(conversation);
      show(messages);
    } else if (item.url === location.pathname && !message.value) {
      location.assign(url); // this page's new conversation has its address now
    }
  });
}

function placeInList(markup) {
  const list = byId("conversations");
  list.querySelector('[aria-current="page"]')?.closest("li").remove();
  list.prepend(elementsFrom(markup));
}

async function act(event) {
  const form = event.target;
  if (!form.dataset.action) return;
  event.preventDefault();
  const buttons = form.querySelectorAll("button");
  const values = new FormData(form, event.submitter);
  for (const button of buttons) button.disabled = true;
  try {
    const { messages } = await post(form.action, values);
    if (messages) replaceEnd(elementsFrom(messages));
  } catch (error) {
    if (error.kind === "already-decided") location.reload();
    explain(error, "That did not reach the server.");
    for (const button of buttons) button.disabled = false;
  }
}

// What the server says the end of the conversation is now: an answer once more, or another one in its place.
function replaceEnd(fresh) {
  fresh.querySelector(".question")?.remove();
  const answers = transcript.querySelectorAll(".message.answer");
  answers[answers.length - 1].remove();
  transcript.append(fresh);
  scroller.toEnd();
  const article = transcript.lastElementChild;
  answering = transcript.querySelector(".approval") !== null;
  if (article.dataset.events) watch(article);
  else if (!answering) offer("regenerate", "Regenerate", article.dataset.regenerate);
}

// Kept beyond the tab, since a crash or a sign-in in between must not lose it; signing out forgets it.
function keepDraft() {
  if (message.value) localStorage.setItem(DRAFT + location.pathname, message.value);
  else localStorage.removeItem(DRAFT + location.pathname);
  message.rows = Math.min(8, message.value.split("\n").length);
}

// What was written while the message was on its way is the next draft.
function forgetDraft(sent) {
  composer.elements.client_key.value = crypto.randomUUID();
  if (message.value === sent.get("text")) message.value = "";
  keepDraft();
}

async function showEarlier() {
  const link = transcript.querySelector(".earlier a");
  const place = link.parentElement;
  place.setAttribute("aria-busy", "true");
  try {
    const pieces = elementsFrom(await get(link.href, "text/html"));
    const height = byId("main").scrollHeight;
    place.replaceWith(pieces);
    frameCode(transcript);
    byId("main").scrollTop += byId("main").scrollHeight - height;
  } finally {
    place.removeAttribute("aria-busy");
  }
}

// A found message may be far back.
async function showLinked() {
  const find = () => (location.hash ? transcript.querySelector(`[id="${CSS.escape(location.hash.slice(1))}"]`) : null);
  while (location.hash && !find() && transcript.querySelector(".earlier a")) await showEarlier();
  if (!find()) return scroller.toEnd();
  scroller.pinned = false;
  find().scrollIntoView();
  find().classList.add("found");
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  send(new FormData(composer));
});
actions.addEventListener("submit", act);
transcript.addEventListener("submit", act);
message.addEventListener("input", keepDraft);
message.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});
transcript.addEventListener("click", (event) => {
  if (event.target.matches("[data-continue]")) sendContinue(event.target);
  if (!event.target.closest(".earlier a")) return;
  event.preventDefault();
  showEarlier().catch((error) => explain(error, "The earlier messages could not be loaded."));
});
byId("empty").addEventListener("click", (event) => {
  if (!event.target.matches(".suggestion")) return;
  message.value = event.target.textContent;
  composer.requestSubmit();
});
message.value ||= localStorage.getItem(DRAFT + location.pathname) ?? "";
keepDraft();
serve(transcript);
showLinked();
const unfinished = transcript.querySelector(".answer[data-events]");
if (unfinished) watch(unfinished);
else if (questions.length === 1 && isProvisional(questions[0].querySelector(".question-text").textContent)) awaitTitle();
if (sessionStorage.getItem(QUEUED) === location.pathname) {
  sessionStorage.removeItem(QUEUED);
  composer.requestSubmit(); // waits for the answer that is being written, or for a decision
}
showHeld().then(sendHeld, () => {}); // a browser that keeps nothing holds nothing back
addEventListener("online", sendHeld);
