// What the page has to say above the composer: how the connection stands, or why something was refused.
const notice = document.getElementById("notice");
const SOON = 600; // seconds; a longer wait is told as a time of day
let timer = 0;

export function warn(text = "", link) {
  clearInterval(timer);
  notice.replaceChildren(text);
  if (link) {
    const anchor = document.createElement("a");
    anchor.textContent = link.label;
    anchor.href = link.url;
    notice.append(" ", anchor);
  }
  notice.hidden = !text;
}

// A refusal that time heals; the seconds are counted for the eye only, so that nobody hears each of them.
export function wait(text, seconds, onOver) {
  const over = Date.now() + 1000 * seconds;
  const left = () => Math.max(0, Math.ceil((over - Date.now()) / 1000));
  if (seconds > SOON) {
    const at = new Date(over).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    return warn(`${text} You can go on at ${at}.`);
  }
  warn(text);
  const clock = document.createElement("span");
  clock.className = "countdown";
  clock.setAttribute("role", "timer");
  clock.setAttribute("aria-live", "off");
  const show = () => (clock.textContent = `${Math.floor(left() / 60)}:${String(left() % 60).padStart(2, "0")}`);
  show();
  notice.append(clock);
  timer = setInterval(() => {
    show();
    if (left() === 0) {
      warn();
      onOver?.();
    }
  }, 250);
}

// Shows an error of http.js; one without a status never reached the server.
export function explain(error, fallback) {
  if (error.status === 401) {
    const next = encodeURIComponent(location.pathname);
    warn("You are signed out. What you have written is kept.", { label: "Sign in", url: `/login?next=${next}` });
  } else if (error.retryAfter) wait(error.message, error.retryAfter);
  else warn(error.status ? error.message : fallback);
}

const offline = document.getElementById("offline");
const look = () => (offline.hidden = navigator.onLine);
addEventListener("online", look);
addEventListener("offline", look);
look();
