// Notifications of this browser: asked for when they would help, and given up with one click.
import { post } from "app/http.js";

const OFFER_AFTER = 8000; // milliseconds that an answer takes
const ASKED = "notifications-offered";
const key = document.querySelector('meta[name="push-key"]')?.content;

export const possible = Boolean(key && navigator.serviceWorker && window.PushManager && window.Notification);

export async function enable(withTitle) {
  if ((await Notification.requestPermission()) !== "granted") {
    throw new Error("Your browser does not allow notifications of this site; its settings can.");
  }
  const registration = await navigator.serviceWorker.ready;
  const wanted = { userVisibleOnly: true, applicationServerKey: key };
  const subscription = await registration.pushManager.subscribe(wanted).catch(() => {
    throw new Error("Your browser's push service cannot be reached.");
  });
  const { endpoint, keys } = subscription.toJSON();
  await post("/push/subscription", { endpoint, ...keys, with_title: withTitle });
}

export async function disable() {
  const registration = await navigator.serviceWorker.ready;
  await (await registration.pushManager.getSubscription())?.unsubscribe();
}

// While an answer takes long, once: the moment at which people look elsewhere. Returns what withdraws the offer.
export function offerDuring(box) {
  if (!possible || Notification.permission !== "default" || localStorage.getItem(ASKED)) return () => {};
  const [yes, no] = box.querySelectorAll("button");
  const done = () => (box.hidden = true);
  const timer = setTimeout(() => (box.hidden = false), OFFER_AFTER);
  yes.onclick = () => enable(false).catch(() => {}).then(done); // the browser has said why
  no.onclick = () => (localStorage.setItem(ASKED, "1"), done());
  return () => (clearTimeout(timer), done());
}

// The answer was shown to someone who looked: no device needs to be told.
export function seen(url) {
  if (url && document.visibilityState === "visible") post(url, {}).catch(() => {}); // then it is told
}
