"""Rows that earlier versions have stored, kept as they were: their conversations open, and the model is told of them.

A file is one conversation, named after the schema it was written in (``history.SCHEMA``). When the schema changes, the
version before it leaves a file here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from pydantic_ai.messages import ModelMessage, ToolCallPart, ToolReturnPart
from support import ScriptedModel, Visitor

from app.chat.model import history
from app.chat.models import Conversation, Message, Run
from app.database import new_id, transaction

ROWS = Path(__file__).parent / "golden"


def store(app: Flask, visitor: Visitor, rows: list[dict[str, Any]]) -> str:
    """A conversation with these messages, one below the other; says where it is shown."""
    conversation = Conversation(id=new_id(), user_id=visitor.user_id, title="From before")
    owner: dict[str, UUID | None] = {"conversation_id": conversation.id, "user_id": visitor.user_id}
    with app.app_context(), transaction() as session:
        session.add(conversation)
        session.flush()
        for row in rows:
            message = Message(id=new_id(), parent_id=conversation.head_id, **owner, **row)
            session.add(message)
            session.flush()
            if row["role"] == "assistant":
                session.add(Run(**owner, answer_id=message.id, status="done", worker="gone/1/x"))
            conversation.head_id = message.id
    return f"/chat/{conversation.id}"


def texts(messages: list[ModelMessage]) -> str:
    return " ".join(str(getattr(part, "content", "")) for message in messages for part in message.parts)


@pytest.mark.parametrize("file", sorted(ROWS.glob("*.json")), ids=lambda file: file.stem)
def test_a_conversation_of_an_earlier_version_opens_and_goes_on(
    app: Flask, ada: Visitor, scripted: ScriptedModel, file: Path
) -> None:
    rows = json.loads(file.read_text("utf-8"))
    url = store(app, ada, rows)
    page = ada.get(url)
    assert page.status_code == 200
    assert "like the sea" in page.text
    scripted.answer("Still here.")
    assert ada.ask("And now?", url).page().words == ["Still", "here."]
    told = texts(scripted.asked[-1])
    for row in rows:
        assert row["text"].strip().rpartition("\n")[2] in told


def test_the_present_schema_keeps_tool_calls_with_their_results(
    app: Flask, ada: Visitor, scripted: ScriptedModel
) -> None:
    assert history.SCHEMA == 2, "leave a file of the schema before in tests/golden"
    url = store(app, ada, json.loads((ROWS / "schema_2.json").read_text("utf-8")))
    scripted.answer("Still here.")
    ada.ask("And now?", url).page()
    parts = [part for message in scripted.asked[-1] for part in message.parts]
    assert [type(part) for part in parts if isinstance(part, ToolCallPart | ToolReturnPart)] == [
        ToolCallPart,
        ToolReturnPart,
    ]
