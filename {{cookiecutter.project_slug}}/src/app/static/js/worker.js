// The service worker. The server puts VERSION and SHELL before this: the offline page, then the public files of the page.
// Nothing else is ever kept: private pages, answers and streams go to the network and nowhere else.
/* global VERSION, SHELL */
const CACHE = `shell-${VERSION}`;
const OFFLINE = SHELL[0];
const KEPT = new Set(SHELL.slice(1).map((url) => new URL(url, location).href));

async function install() {
  const cache = await caches.open(CACHE);
  await cache.addAll(SHELL.map((url) => new Request(url, { credentials: "omit" })));
}

async function activate() {
  for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
  await registration.navigationPreload?.enable();
  await clients.claim();
}

async function page(event) {
  try {
    return (await event.preloadResponse) ?? (await fetch(event.request));
  } catch {
    return (await caches.match(OFFLINE)) ?? Response.error();
  }
}

async function file(request) {
  return (await caches.match(request.url)) ?? fetch(request);
}

async function notify({ title, body, url, tag }) {
  const pages = await clients.matchAll({ type: "window", includeUncontrolled: true });
  if (pages.some((page) => page.visibilityState === "visible" && new URL(page.url).pathname === url)) return;
  const icon = SHELL.find((name) => name.includes("icon-192"));
  await registration.showNotification(title, { body, tag, icon, data: url });
}

async function open(url) {
  const pages = await clients.matchAll({ type: "window", includeUncontrolled: true });
  const there = pages.find((page) => new URL(page.url).pathname === url);
  await (there ? there.focus() : clients.openWindow(url));
}

// The browser has changed its address at the push service.
async function renew({ oldSubscription, newSubscription }) {
  const fresh = newSubscription ?? (await registration.pushManager.subscribe(oldSubscription.options));
  const { token } = await (await fetch("/account/csrf", { headers: { Accept: "application/json" } })).json();
  const { endpoint, keys } = fresh.toJSON();
  const body = new URLSearchParams({ endpoint, ...keys });
  await fetch("/push/subscription", { method: "POST", body, headers: { "X-CSRFToken": token } });
}

addEventListener("install", (event) => event.waitUntil(install()));
addEventListener("activate", (event) => event.waitUntil(activate()));
addEventListener("message", (event) => event.data === "take over" && skipWaiting());
addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  if (request.mode === "navigate") event.respondWith(page(event));
  else if (KEPT.has(request.url)) event.respondWith(file(request));
});
addEventListener("push", (event) => event.waitUntil(notify(event.data.json())));
addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(open(event.notification.data));
});
addEventListener("pushsubscriptionchange", (event) => event.waitUntil(renew(event)));
