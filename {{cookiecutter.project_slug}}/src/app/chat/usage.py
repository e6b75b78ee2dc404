"""Tokens and cost of an answer, and what a user may spend in a day. What is not known is None, never zero.

A run reserves what it is about to use, slice by slice, in a statement that fails once the day's budget is spent. So any
number of runs at once overspend by a slice at most, and an answer is halted in the middle. What a run reserved and did
not use is given back when it is saved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from flask import Flask
from sqlalchemy import ColumnElement, false, or_, orm
from sqlalchemy.dialects.postgresql import insert  # SQLite understands the same statement

from app.chat.models import DailyUsage
from app.config import Settings
from app.database import now, transaction
from app.errors import Problem

if TYPE_CHECKING:
    import pydantic_ai as ai

SLICE = 1000  # tokens reserved ahead
OVERHEAD = 500  # tokens of instructions and tools, which come with every request
CHARS_PER_TOKEN = 4  # a rule of thumb for English text
Price = Callable[[int, int], Decimal | None]  # of input and output tokens, in US dollars


class BudgetSpentError(Exception):
    """The user's budget for today is spent."""


class AnswerTooLongError(Exception):
    """The model does not stop."""


def cost_of(messages: Sequence[ai.ModelMessage]) -> Decimal | None:
    """The price of all responses in US dollars, by genai-prices; None if any of them has no known price."""
    try:
        return sum((message.cost().total_price for message in messages if message.kind == "response"), Decimal(0))
    except (LookupError, ValueError):  # no such model; no usage reported
        return None


def estimated(question: str | None, earlier: list[ai.ModelMessage]) -> int:
    """Tokens of a first request."""
    from pydantic_ai.messages import ModelMessagesTypeAdapter

    return (len(question or "") + len(ModelMessagesTypeAdapter.dump_json(earlier))) // CHARS_PER_TOKEN + OVERHEAD


def admit(session: orm.Session, user_id: UUID, settings: Settings) -> None:
    """Raise a problem with status 429 if the user's budget for today is spent."""
    spent = session.get(DailyUsage, (user_id, now().date()))
    used = (spent.tokens, spent.micro_dollars) if spent else (0, 0)
    if any(most and amount >= most for amount, most in zip(used, _caps(settings), strict=True)):
        midnight = datetime.combine(now().date() + timedelta(days=1), time(), UTC)
        seconds = int((midnight - now()).total_seconds()) + 1
        raise Problem(429, "budget-spent", "Your budget for today is spent; it is renewed at midnight UTC.", seconds)


def _caps(settings: Settings) -> tuple[int, int]:
    return settings.user_tokens_per_day, int(settings.user_dollars_per_day * 1_000_000)


def _add(session: orm.Session, user_id: UUID, day: date, amounts: tuple[int, int], unless: ColumnElement[bool]) -> bool:
    """Add tokens and millionths of a dollar to a day *unless*; says whether."""
    columns = {"tokens": DailyUsage.tokens + amounts[0], "micro_dollars": DailyUsage.micro_dollars + amounts[1]}
    statement = insert(DailyUsage).values(user_id=user_id, day=day, tokens=amounts[0], micro_dollars=amounts[1])
    keys = [DailyUsage.user_id, DailyUsage.day]
    statement = statement.on_conflict_do_update(index_elements=keys, set_=columns, where=~unless)
    return session.execute(statement.returning(DailyUsage.day)).one_or_none() is not None


@dataclass
class Meter:
    """What one run has used and reserved. *expected*: the tokens of its first request, estimated."""

    app: Flask
    user_id: UUID
    price: Price
    expected: int
    day: date = date.min
    requests: int = 0
    characters: int = 0  # of the response that is arriving
    total: int = 0  # characters of all
    tokens: tuple[int, int] = (0, 0)  # of input and output, used
    reserved: tuple[int, int] = (0, 0)

    async def take(self, characters: int, usage: ai.RunUsage) -> None:
        """Count more characters of the answer.

        Raises:
            AnswerTooLongError, BudgetSpentError: when the answer has to end here.
        """
        if usage.requests != self.requests:
            self.requests, self.characters = usage.requests, 0
            self.expected = max(self.expected, usage.input_tokens // max(1, usage.requests))
        self.characters += characters
        self.total += characters
        if self.total > self.app.extensions["settings"].max_answer_chars:
            raise AnswerTooLongError
        self.tokens = usage.input_tokens + self.expected, usage.output_tokens + self.characters // CHARS_PER_TOKEN
        if sum(self.tokens) > self.reserved[0]:
            await asyncio.to_thread(self.reserve)

    @property
    def beyond(self) -> tuple[int, int]:
        """What was used and not reserved, less than nothing before: tokens, and millionths of a dollar."""
        dollars = int((self.price(*self.tokens) or 0) * 1_000_000)
        return sum(self.tokens) - self.reserved[0], dollars - self.reserved[1]

    def reserve(self) -> None:
        """Reserve what has been used, and a slice more."""
        self.day = self.day if self.reserved[0] else now().date()
        wanted = self.beyond[0] + SLICE, max(0, self.beyond[1] + int((self.price(0, SLICE) or 0) * 1_000_000))
        caps = zip((DailyUsage.tokens, DailyUsage.micro_dollars), _caps(self.app.extensions["settings"]), strict=True)
        spent = or_(false(), *(column >= most for column, most in caps if most))
        with self.app.app_context(), transaction() as session:
            if not _add(session, self.user_id, self.day, wanted, spent):
                raise BudgetSpentError
        self.reserved = self.reserved[0] + wanted[0], self.reserved[1] + wanted[1]

    def settle(self, session: orm.Session) -> None:
        """Give back what was reserved and not used."""
        if self.reserved[0]:
            _add(session, self.user_id, self.day, self.beyond, false())
