"""Approval forms, and the decisions of a person on them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from fake_provider import Step, call
from outside import MOST_SECONDS, QUESTION, Scene, last_answer, within
from shapes import Script
from sqlalchemy import select
from support import Asked, wait_until

from app.chat.models import Conversation, ToolCall

FINAL = {"done", "failed", "denied", "unfinished"}  # states of steps of an ended run


class Form(NamedTuple):
    """A question whether a tool may be used."""

    url: str
    tool: str
    arguments: dict[str, str]


def forms(markup: str) -> list[Form]:
    found = re.findall(r'<form class="approval".*?</form>', markup, re.DOTALL)
    return [_form(form) for form in found]


def _form(markup: str) -> Form:
    tool = re.search(r"<code>(.*?)</code>", markup, re.DOTALL)
    url = re.search(r'action="([^"]+)"', markup)
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", markup, re.DOTALL)
    arguments = {html.unescape(name): html.unescape(value) for name, value in pairs}
    assert tool
    assert url
    return Form(url[1], html.unescape(tool[1]), arguments)


def delete(title: str, call_id: str | None = "call_0", index: int = 0) -> Step:
    return call("delete_conversation", json.dumps({"title": title}), call_id, index)


def kept(scene: Scene) -> list[str]:
    """Titles of the conversations that could be deleted and are still there."""
    query = select(Conversation.title).where(
        Conversation.deleted_at.is_(None), Conversation.title.in_(("victim", "decoy"))
    )
    return sorted(scene.ada.rows(query))


def steps_of(scene: Scene, asked: Asked) -> list[ToolCall]:
    query = select(ToolCall).where(ToolCall.message_id == asked.answer_id)
    return scene.ada.rows(query.order_by(ToolCall.id))


def ask_for_approval(scene: Scene, rounds: Sequence[Script]) -> Asked:
    """A question whose answer waits for approvals."""
    scene.scripts.add(QUESTION, *rounds)
    asked = scene.ask()
    page = within(MOST_SECONDS, asked.page)
    assert page.ending.kind == "waiting"
    shown = forms(page.ending.data["footer"])
    assert shown == forms(last_answer(scene.ada, asked.conversation))
    return asked


def decide(scene: Scene, form: Form, decision: str) -> None:
    response = scene.ada.post(form.url, decision=decision)
    assert response.status_code == 200, response.text


def wait_for_end(scene: Scene, asked: Asked) -> None:
    wait_until(lambda: not scene.run_of(asked).active, MOST_SECONDS)
