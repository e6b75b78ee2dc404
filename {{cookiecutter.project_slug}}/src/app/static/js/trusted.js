// The one Trusted Types policy: markup comes from our own server, which has sanitised it, and from nowhere else.
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("app", { createHTML: (markup) => markup })
  : { createHTML: (markup) => markup };

export function setMarkup(element, markup) {
  element.innerHTML = policy.createHTML(markup);
}

export function elementsFrom(markup) {
  const template = document.createElement("template");
  setMarkup(template, markup);
  return template.content;
}
