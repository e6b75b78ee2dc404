// The one Trusted Types policy: markup comes from our own server, which has sanitised it, and from nowhere else; the
// only script that may be started by its address is the service worker.
const rules = { createHTML: (markup) => markup, createScriptURL: () => "/service-worker.js" };
const policy = window.trustedTypes ? window.trustedTypes.createPolicy("app", rules) : rules;

export const WORKER = policy.createScriptURL("");

export function setMarkup(element, markup) {
  element.innerHTML = policy.createHTML(markup);
}

export function elementsFrom(markup) {
  const template = document.createElement("template");
  setMarkup(template, markup);
  return template.content;
}
