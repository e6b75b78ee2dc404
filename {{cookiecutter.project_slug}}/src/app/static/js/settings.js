// The notifications section of the settings page.
import { disable, enable, possible } from "app/push.js";

const form = document.getElementById("subscribe");
const off = document.getElementById("unsubscribe");
const state = document.getElementById("subscribe-state");

form.hidden = !possible || Boolean(off);
if (!possible) state.textContent = "This browser offers no notifications; on an iPhone, install the app first.";

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await enable(form.elements.with_title.checked);
    location.reload();
  } catch (error) {
    state.textContent = error.message;
  }
});

off?.addEventListener("submit", async (event) => {
  event.preventDefault();
  await disable().catch(() => {}); // the server forgets this device in any case
  off.submit();
});
