// Follows one run until its terminal event. Events are numbered, so each counts once, whatever the network does.
import { get } from "app/http.js";

const TERMINAL = ["done", "stopped", "error", "interrupted", "waiting"];
const LONGEST_PAUSE = 20; // seconds

export function follow({ events, status, after, onText, onWhole, onEnd, onState }) {
  let last = after;
  let source = null;
  let timer = 0;
  let failures = 0;
  let over = false;

  function open() {
    clearTimeout(timer);
    source?.close();
    if (over) return;
    const current = (source = new EventSource(`${events}?after=${last}`));
    current.onopen = () => {
      failures = 0;
      onState("open");
    };
    current.onerror = (event) => {
      if (event instanceof MessageEvent) return; // our own event of that name: the answer failed
      onState("reconnecting");
      // An HTTP error closes an EventSource for good and hides its status.
      if (current === source && current.readyState === EventSource.CLOSED) ask();
    };
    current.addEventListener("text", (event) => isNext(current, event) && onText(JSON.parse(event.data)));
    current.addEventListener("whole", (event) => {
      if (current !== source) return;
      last = Number(event.lastEventId);
      onWhole(JSON.parse(event.data));
    });
    current.addEventListener("reconnect", ({ data }) => current === source && later(JSON.parse(data).seconds || 0));
    for (const kind of TERMINAL) {
      current.addEventListener(kind, (event) => {
        if (!isNext(current, event)) return;
        stop();
        onEnd(kind, JSON.parse(event.data));
      });
    }
  }

  function isNext(from, event) {
    if (!(event instanceof MessageEvent)) return false; // the browser's own "error"
    const number = Number(event.lastEventId);
    if (from !== source || number <= last) return false; // a connection we have left, or a repetition
    if (number > last + 1) {
      open(); // something is missing: ask for it
      return false;
    }
    last = number;
    return true;
  }

  async function ask() {
    try {
      await get(status);
      later(0);
    } catch (error) {
      if (error.status === 401 || error.status === 404) {
        stop();
        onState(error.status === 401 ? "signed-out" : "gone");
      } else {
        later(error.retryAfter || 0);
      }
    }
  }

  function later(seconds) {
    source?.close();
    const pause = Math.max(seconds, Math.min(LONGEST_PAUSE, 0.5 * 2 ** failures));
    failures += 1;
    clearTimeout(timer);
    timer = setTimeout(open, 1000 * pause * (1 + 0.3 * Math.random()));
  }

  function stop() {
    over = true;
    clearTimeout(timer);
    source?.close();
    removeEventListener("online", open);
  }

  addEventListener("online", open);
  open();
  return stop;
}
