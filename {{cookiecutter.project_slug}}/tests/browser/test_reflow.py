"""The page at 400 % zoom, with wider text, in forced colours, with a chosen scheme, and with a picture."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from browsing import finished, sign_up
from live import ROOT, LiveServer
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

NewContext = Callable[..., BrowserContext]
SHOTS = ROOT / "test-results"
WIDER = """() => { for (const element of document.querySelectorAll("body *")) {
  element.style.letterSpacing = "0.12em"; element.style.wordSpacing = "0.16em"; element.style.lineHeight = "1.5";
} }"""
# What answers to scrolling, as the button to the newest message does, gets the time of two frames.
HIDDEN = """async () => {
  const hidden = [];
  for (const element of document.querySelectorAll("main a, main button, main textarea, main .item")) {
    if (!element.checkVisibility() || element.closest("[popover], .visually-hidden, .skip-link")) continue;
    element.scrollIntoView({ block: "center" });
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const box = element.getBoundingClientRect();
    const middle = Math.min(innerHeight - 1, box.top + box.height / 2);
    const there = document.elementFromPoint(box.left + box.width / 2, middle);
    const free = element.contains(there) || there?.contains(element);
    if (box.right > innerWidth + 1 || !free) hidden.push(element.outerHTML);
  }
  return hidden;
}"""


def answered(context: BrowserContext, server: LiveServer) -> Page:
    page = sign_up(context, server.url)
    page.get_by_label("Message").fill("What can you do?")
    page.keyboard.press("Enter")
    page.wait_for_url("**/chat/*")
    finished(page)
    return page


def test_at_400_percent_everything_can_be_reached(new_context: NewContext, server: LiveServer) -> None:
    page = answered(new_context(viewport={"width": 320, "height": 256}, reduced_motion="reduce"), server)
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / "zoom-400.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.evaluate(HIDDEN) == []
    page.goto(f"{server.url}/account/settings")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.evaluate(HIDDEN) == []


@pytest.mark.parametrize("width", [320, 1280])
def test_wider_text_loses_nothing(new_context: NewContext, server: LiveServer, width: int) -> None:
    page = answered(new_context(viewport={"width": width, "height": 700}), server)
    for url in (page.url, f"{server.url}/account/settings", f"{server.url}/login"):
        page.goto(url)
        page.evaluate(WIDER)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(HIDDEN) == []


def test_forced_colours_leave_every_control_visible(new_context: NewContext, server: LiveServer) -> None:
    page = answered(new_context(forced_colors="active", color_scheme="dark"), server)
    page.screenshot(path=SHOTS / "forced-colours.png")
    border = "element => getComputedStyle(element).borderTopWidth"
    for name in ("Send", "Regenerate", "New conversation"):
        assert page.get_by_role("button", name=name).evaluate(border) == "1px"


def test_a_chosen_scheme_wins_over_the_device_at_the_first_paint(new_context: NewContext, server: LiveServer) -> None:
    page = sign_up(new_context(color_scheme="light"), server.url)
    ground = "() => getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(ground) == "rgb(251, 251, 249)"
    page.goto(f"{server.url}/account/settings")
    page.get_by_label("Dark").check()
    page.get_by_role("button", name="Save appearance").click()
    assert page.evaluate(ground) == "rgb(20, 23, 26)"
    page.goto(f"{server.url}/")
    assert page.evaluate(ground) == "rgb(20, 23, 26)"
    page.goto(f"{server.url}/account/settings")
    page.get_by_label("As the device says").check()
    page.get_by_role("button", name="Save appearance").click()
    assert page.evaluate(ground) == "rgb(251, 251, 249)"


def test_a_picture_is_shown_beside_the_name(context: BrowserContext, server: LiveServer) -> None:
    page = sign_up(context, server.url)
    page.goto(f"{server.url}/account/settings")
    data = io.BytesIO()
    Image.new("RGB", (900, 600), (200, 30, 30)).save(data, "JPEG")
    page.get_by_label("A JPEG, PNG").set_input_files(
        {"name": "me.jpg", "mimeType": "image/jpeg", "buffer": data.getvalue()}
    )
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("Your picture is changed.")).to_be_visible()
    page.goto(f"{server.url}/chat")
    picture = page.locator("img.avatar")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 256
