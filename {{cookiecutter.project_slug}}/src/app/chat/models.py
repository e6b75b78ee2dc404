"""Conversations, their messages, and the runs that answer them.

Messages form a tree: an answer's parent is its question, a question's parent the answer
before it. Editing or regenerating adds a sibling. ``Conversation.head_id`` is the last
message of the path that is shown.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Numeric,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.accounts.models import Owned
from app.database import Created, Identified, Model, database_clock, now
from app.text import LONGEST_IDENTIFIER


class RunStatus(StrEnum):
    """The states of a run.

    RUNNING and WAITING (for an approval) are active. The others are final and also name
    the event that ends every stream.
    """

    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    STOPPED = "stopped"
    ERROR = "error"
    INTERRUPTED = "interrupted"


class StepStatus(StrEnum):
    """The states of a tool step."""

    RUNNING = "running"
    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"
    DONE = "done"
    FAILED = "failed"
    UNFINISHED = "unfinished"  # its run ended first


class Failure(StrEnum):
    """What is wrong with an answer; ``rendering.FAILURE_NOTES`` says it to people."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    UNCONFIGURED = "unconfigured"
    REFUSED = "refused"
    LIMIT = "limit"
    TOKENS = "tokens"
    LENGTH = "length"
    CUT_OFF = "cut_off"
    INCOMPLETE = "incomplete"
    CONTEXT = "context"
    BUDGET = "budget"
    EMPTY = "empty"
    TOOL = "tool"
    APPROVAL = "approval"
    MODEL = "model"
    SAVE = "save"


ACTIVE = (RunStatus.RUNNING, RunStatus.WAITING)
# These answers can be continued.
CUT_SHORT = (Failure.LENGTH, Failure.CUT_OFF)
_KEPT_SQL = text("deleted_at IS NULL")
_ACTIVE_SQL = text("status IN ('running', 'waiting')")
_KEPT_BY_USER = Index(
    None,
    "user_id",
    "updated_at",
    "id",
    sqlite_where=_KEPT_SQL,
    postgresql_where=_KEPT_SQL,
)
# One active run per conversation, whatever the processes do.
_ONE_ACTIVE_RUN = Index(
    "uq_runs_active",
    "conversation_id",
    unique=True,
    sqlite_where=_ACTIVE_SQL,
    postgresql_where=_ACTIVE_SQL,
)
_HEARTBEATS = Index(
    "ix_runs_heartbeat",
    "heartbeat_at",
    sqlite_where=_ACTIVE_SQL,
    postgresql_where=_ACTIVE_SQL,
)

# Foreign keys of rows that are deleted together with the row they refer to.
ConversationId = Annotated[
    UUID, mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
]
MessageId = Annotated[
    UUID, mapped_column(ForeignKey("messages.id", ondelete="CASCADE"))
]


class Conversation(Identified, Created, Owned, Model):
    __tablename__ = "conversations"
    __table_args__ = (
        _KEPT_BY_USER,
        Index(None, "updated_at"),
        Index(None, "deleted_at"),
    )

    title: Mapped[str] = mapped_column(String(200))
    head_id: Mapped[UUID | None]
    updated_at: Mapped[datetime] = mapped_column(default=now)
    deleted_at: Mapped[datetime | None]


class Message(Identified, Created, Owned, Model):
    """A question or an answer.

    ``text`` and ``event_number`` are saved together: the text covers the run's events
    up to that number. ``reasoning`` is what the model thought before it answered.
    ``model_messages`` is what Pydantic AI exchanged for an answer, in the schema
    ``model.history.SCHEMA``.
    """

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("user_id", "client_key"),
        Index(None, "conversation_id", "id"),
    )

    conversation_id: Mapped[ConversationId]
    parent_id: Mapped[MessageId | None] = mapped_column(index=True)
    role: Mapped[str] = mapped_column(String(10))
    text: Mapped[str] = mapped_column(Text, default="")
    client_key: Mapped[str | None] = mapped_column(String(64))
    event_number: Mapped[int] = mapped_column(default=0)
    reasoning: Mapped[str | None] = mapped_column(Text, deferred=True)
    model_messages: Mapped[str | None] = mapped_column(Text, deferred=True)
    model_schema: Mapped[int | None]

    run: Mapped[Run | None] = relationship(
        back_populates="answer", foreign_keys="Run.answer_id", viewonly=True
    )
    tool_calls: Mapped[list[ToolCall]] = relationship(
        order_by="ToolCall.id", viewonly=True
    )
    feedback: Mapped[Feedback | None] = relationship(viewonly=True)


class Run(Identified, Owned, Model):
    """One attempt to answer.

    ``heartbeat_at``, by the database's clock, shows that the process ``worker`` still
    works on it. A cost or token count that is not known is null, never zero.
    """

    __tablename__ = "runs"
    __table_args__ = (
        _ONE_ACTIVE_RUN,
        _HEARTBEATS,
        Index(None, "user_id", "started_at"),
        Index(None, "conversation_id"),
        Index(None, "finished_at"),
    )

    conversation_id: Mapped[ConversationId]
    answer_id: Mapped[MessageId] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(String(12), default=RunStatus.RUNNING)
    error: Mapped[str | None] = mapped_column(String(40))
    worker: Mapped[str] = mapped_column(String(120))
    stop_requested: Mapped[bool] = mapped_column(default=False, server_default=false())
    heartbeat_at: Mapped[datetime] = mapped_column(default=database_clock())
    started_at: Mapped[datetime] = mapped_column(default=now)
    first_token_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]  # when its end was shown to someone
    model: Mapped[str | None] = mapped_column(String(LONGEST_IDENTIFIER))
    input_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    cost: Mapped[Decimal | None] = mapped_column(Numeric(12, 6))
    trace_id: Mapped[str | None] = mapped_column(String(32))
    span_id: Mapped[str | None] = mapped_column(String(16))

    answer: Mapped[Message] = relationship(back_populates="run", foreign_keys=answer_id)

    @property
    def active(self) -> bool:
        return self.status in ACTIVE


class ToolCall(Identified, Model):
    """A tool step of an answer: one call of one model response.

    ``call_id`` is the provider's id of the call. Providers repeat such ids, so it
    counts only within ``response``, the number of the model response in the run.
    ``position`` is the length of the answer's text when the step began.
    """

    __tablename__ = "tool_calls"

    message_id: Mapped[MessageId] = mapped_column(index=True)
    call_id: Mapped[str] = mapped_column(Text)
    response: Mapped[int] = mapped_column(default=0, server_default="0")
    name: Mapped[str] = mapped_column(String(LONGEST_IDENTIFIER))
    arguments: Mapped[str] = mapped_column(Text, default="")
    result: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(12))
    position: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


class Approval(Identified, Model):
    """A person's decision on a tool call that needs one.

    The pending call itself never leaves the server.
    """

    __tablename__ = "approvals"

    tool_call_id: Mapped[UUID] = mapped_column(
        ForeignKey("tool_calls.id", ondelete="CASCADE"), unique=True
    )
    decided_by: Mapped[UUID | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL"), index=True
    )
    approved: Mapped[bool | None]
    reason: Mapped[str | None] = mapped_column(String(500))
    requested_at: Mapped[datetime] = mapped_column(default=now)
    decided_at: Mapped[datetime | None]


class DailyUsage(Model):
    """What a user has spent or reserved on one day (UTC)."""

    __tablename__ = "daily_usage"

    user_id: Mapped[UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    day: Mapped[date] = mapped_column(primary_key=True)
    tokens: Mapped[int]
    micro_dollars: Mapped[int] = mapped_column(BigInteger)


class Feedback(Created, Model):
    """A user's verdict on an answer: +1 or -1, with a reason."""

    __tablename__ = "feedback"

    message_id: Mapped[MessageId] = mapped_column(primary_key=True)
    rating: Mapped[int]
    reason: Mapped[str | None] = mapped_column(String(500))
