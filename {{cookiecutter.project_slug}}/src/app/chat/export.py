"""A conversation as a file: the shown path as Markdown, or every version as JSON; both free of active content."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from app.chat import history
from app.chat.models import Conversation, Message, Run
from app.config import project
from app.database import now
from app.security.markdown import clean_text, inert_source

MIMETYPES = {"md": "text/markdown", "json": "application/json"}
MOST_MESSAGES = 100_000


def export(session: Session, conversation: Conversation, kind: str) -> str:
    """The conversation as *kind*, ``md`` or ``json``."""
    if kind == "json":
        return _as_json(session, conversation)
    shown = history.path(session, conversation.head_id, MOST_MESSAGES)
    names = {"user": "You", "assistant": "Assistant"}
    parts = [f"# {inert_source(conversation.title)}", f"Exported from {project()['name']}, {now():%Y-%m-%d %H:%M} UTC."]
    parts += [
        f"## {names[message.role]}, {message.created_at:%Y-%m-%d %H:%M}\n\n{inert_source(message.text)}"
        for message in shown
    ]
    return "\n\n".join(parts) + "\n"


def _as_json(session: Session, conversation: Conversation) -> str:
    query = select(Message).where(Message.conversation_id == conversation.id).order_by(Message.id)
    options = joinedload(Message.run), joinedload(Message.feedback), selectinload(Message.tool_calls)
    shown = {message.id for message in history.path(session, conversation.head_id, MOST_MESSAGES)}
    messages = [_message(row) | {"shown": row.id in shown} for row in session.scalars(query.options(*options))]
    whole = {"title": clean_text(conversation.title), "exported_at": now().isoformat(), "messages": messages}
    return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"


def _message(message: Message) -> dict[str, Any]:
    steps = [
        {"tool": call.name, "arguments": call.arguments, "result": call.result, "status": call.status}
        for call in message.tool_calls
    ]
    return {
        "id": str(message.id),
        "parent_id": str(message.parent_id) if message.parent_id else None,
        "role": message.role,
        "created_at": message.created_at.isoformat(),
        "text": inert_source(message.text),
        "tool_steps": steps,
        "run": _run(message.run) if message.run else None,
        "feedback": {"rating": message.feedback.rating, "reason": message.feedback.reason}
        if message.feedback
        else None,
    }


def _run(run: Run) -> dict[str, Any]:
    cost = None if run.cost is None else str(run.cost)
    tokens = {"input_tokens": run.input_tokens, "output_tokens": run.output_tokens}
    return {"status": run.status, "model": run.model, "cost": cost, "trace_id": run.trace_id} | tokens
