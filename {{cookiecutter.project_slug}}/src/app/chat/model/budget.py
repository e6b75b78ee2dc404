"""Tokens and cost of model calls, and what a user may spend in a day.

What is not known is None, never zero. A call reserves what it is about to use, slice by
slice, in a statement that fails once the day's budget is spent. So any number of calls
at once overspend by one slice at most, and an answer is halted in the middle. What a
call reserved and did not use is given back when it is saved. A response whose provider
reports no usage is charged with our own estimate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from flask import Flask
from sqlalchemy import ColumnElement, false, or_, orm
from sqlalchemy.dialects.postgresql import insert  # SQLite knows the same statement

from app.chat.models import DailyUsage
from app.config import Settings
from app.database import now, transaction
from app.errors import Problem

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.usage import RequestUsage

SLICE = 1000  # tokens reserved ahead
MICRO = 1_000_000  # millionths of a dollar in a dollar
MOST_PLAUSIBLE_TOKENS = 20_000_000  # of one response
# Tokenizers need about a token for 4 ASCII characters, and for 2.7 bytes of anything
# else: a Chinese or Japanese character (3 bytes) costs about one, a Cyrillic letter (2)
# a bit less. Rather too many than too few.
ASCII_PER_TOKEN = 4
OTHER_BYTES_PER_TOKEN = 2.7


class BudgetSpentError(Exception):
    """The user's budget for today is spent."""


class AnswerTooLongError(Exception):
    """The answer has more characters than are allowed."""


class TokenLimitError(Exception):
    """The answer used more tokens than one answer may."""


class Amount(NamedTuple):
    """An amount of tokens and of millionths of a US dollar."""

    tokens: int
    micro_dollars: int


class TokenUsage(NamedTuple):
    """Tokens of a model call or of several."""

    input: float = 0
    output: float = 0

    def plus(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(self.input + other.input, self.output + other.output)

    @property
    def total(self) -> int:
        return int(self.input + self.output)


Price = Callable[[TokenUsage], Decimal | None]  # in US dollars


def beginning_of(text: str, tokens: float) -> str:
    """The beginning of a text that has about so many tokens."""
    estimated = estimate_tokens(text)
    if estimated <= tokens:
        return text
    characters = int(len(text) * tokens / estimated)
    return text[:characters]


def estimate_tokens(text: str) -> float:
    """About how many tokens a text has, in any script."""
    if text.isascii():
        return len(text) / ASCII_PER_TOKEN
    ascii_bytes = len(text.encode("ascii", "ignore"))
    all_bytes = len(text.encode("utf-8", "surrogatepass"))
    other_bytes = all_bytes - ascii_bytes
    return ascii_bytes / ASCII_PER_TOKEN + other_bytes / OTHER_BYTES_PER_TOKEN


def price_of(model: str, usage: TokenUsage) -> Decimal | None:
    """What tokens cost at *model*, in US dollars; None if that is not known."""
    from genai_prices import Usage, calc_price  # large, so not at the start

    provider, _, name = model.partition(":")
    amount = Usage(input_tokens=int(usage.input), output_tokens=int(usage.output))
    provider_id = provider.removesuffix("-chat")
    try:
        return calc_price(amount, name, provider_id=provider_id).total_price
    except LookupError:
        return None


def is_measured(usage: RequestUsage) -> bool:
    """Whether the provider reported the usage of a response."""
    counts = [usage.input_tokens, usage.output_tokens]
    is_reported = any(counts) and not usage.unmeasured_requests
    is_plausible = min(counts) >= 0 and max(counts) <= MOST_PLAUSIBLE_TOKENS
    return is_reported and is_plausible


def cost_of(messages: Sequence[ModelMessage]) -> Decimal | None:
    """The price of all responses in US dollars; None if any price is not known."""
    cost = Decimal(0)
    for message in messages:
        if message.kind != "response":
            continue
        if not is_measured(message.usage):
            return None
        try:
            cost += message.cost().total_price
        except (LookupError, ValueError):  # no such model
            return None
    return cost


def admit(session: orm.Session, user_id: UUID, settings: Settings) -> None:
    """Check that the user may spend more today.

    Raises:
        Problem: 429 if the budget for today is spent.
    """
    today = now().date()
    row = session.get(DailyUsage, (user_id, today))
    if row is None:
        return
    caps = _caps(settings)
    tokens_spent = caps.tokens and row.tokens >= caps.tokens
    dollars_spent = caps.micro_dollars and row.micro_dollars >= caps.micro_dollars
    if tokens_spent or dollars_spent:
        tomorrow = today + timedelta(days=1)
        midnight = datetime.combine(tomorrow, time(), UTC)
        wait = midnight - now()
        raise Problem(
            429,
            "budget-spent",
            "Your budget for today is spent; it is renewed at midnight UTC.",
            int(wait.total_seconds()) + 1,
        )


def _caps(settings: Settings) -> Amount:
    """The budget of a day; 0 is no limit."""
    micro_dollars = int(settings.user_dollars_per_day * MICRO)
    return Amount(settings.user_tokens_per_day, micro_dollars)


def _add_to_day(
    session: orm.Session,
    user_id: UUID,
    day: date,
    amount: Amount,
    unless: ColumnElement[bool],
) -> bool:
    """Add *amount* to a day's usage unless a condition holds; return whether added."""
    statement = insert(DailyUsage).values(
        user_id=user_id,
        day=day,
        tokens=amount.tokens,
        micro_dollars=amount.micro_dollars,
    )
    statement = statement.on_conflict_do_update(
        index_elements=[DailyUsage.user_id, DailyUsage.day],
        set_={
            "tokens": DailyUsage.tokens + amount.tokens,
            "micro_dollars": DailyUsage.micro_dollars + amount.micro_dollars,
        },
        where=~unless,
    )
    added = session.execute(statement.returning(DailyUsage.day)).one_or_none()
    return added is not None


class Meter:
    """What one run has used and reserved. Only the loop thread counts with it."""

    def __init__(
        self,
        app: Flask,
        user_id: UUID,
        price: Price,
        most_characters: int,
        most_tokens: int,
    ):
        self._app = app
        self.user_id = user_id
        self._price = price
        self._most_characters = most_characters
        self._most_tokens = most_tokens
        self._day = date.min
        self._characters = 0
        self._has_begun = False
        self._ended_requests = TokenUsage()
        self._request = TokenUsage()  # the present one, estimated
        self._reserved = Amount(0, 0)

    @property
    def used(self) -> TokenUsage:
        """Tokens of all requests, as reported or else as estimated."""
        return self._ended_requests.plus(self._request)

    def expect(self, estimated_input: float) -> None:
        """The first request will have about so many tokens of input."""
        self._request = TokenUsage(input=estimated_input)

    def begin_request(self, estimated_input: float) -> None:
        """A request with about so many tokens of input begins."""
        if self._has_begun:
            self._ended_requests = self.used
        self._has_begun = True
        self._request = TokenUsage(input=estimated_input)

    def request_failed(self) -> None:
        """The provider refused the request, so it costs nothing."""
        self._request = TokenUsage()

    def end_request(self, usage: RequestUsage) -> None:
        """The response is complete; take what its provider reported, if anything.

        Raises:
            TokenLimitError: when the answer has used all tokens that it may.
        """
        if is_measured(usage):
            self._request = TokenUsage(usage.input_tokens, usage.output_tokens)
        self._check_tokens()

    def room_for(self, text: str) -> str:
        """The beginning of *text* that the answer may still have."""
        room = max(0, self._most_characters - self._characters)
        return text[:room]

    async def count(self, text: str) -> None:
        """Count a piece of the response that arrives.

        Raises:
            AnswerTooLongError, TokenLimitError, BudgetSpentError: when the answer has
                to end here.
        """
        self._characters += len(text)
        if self._characters > self._most_characters:
            raise AnswerTooLongError
        arrived = TokenUsage(output=estimate_tokens(text))
        self._request = self._request.plus(arrived)
        self._check_tokens()
        if self.used.total > self._reserved.tokens:
            await asyncio.to_thread(self.reserve)

    def _check_tokens(self) -> None:
        if self.used.total > self._most_tokens:
            raise TokenLimitError

    def reserve(self) -> None:
        """Reserve what has been used and a slice more, in a transaction of its own.

        Raises:
            BudgetSpentError: when the budget of the day is spent already.
        """
        if not self._reserved.tokens:
            self._day = now().date()
        beyond = self._beyond_reserved()
        slice_price = self._micro_dollars(TokenUsage(output=SLICE))
        wanted = Amount(
            beyond.tokens + SLICE,
            max(0, beyond.micro_dollars + slice_price),
        )
        is_spent = self._day_is_spent()
        with self._app.app_context(), transaction() as session:
            is_added = _add_to_day(session, self.user_id, self._day, wanted, is_spent)
        if not is_added:
            raise BudgetSpentError
        self._reserved = Amount(
            self._reserved.tokens + wanted.tokens,
            self._reserved.micro_dollars + wanted.micro_dollars,
        )

    def settle(self, session: orm.Session) -> None:
        """Give back what was reserved and not used, in the caller's transaction."""
        if self._reserved.tokens:
            amount = self._beyond_reserved()
            _add_to_day(session, self.user_id, self._day, amount, false())

    def _beyond_reserved(self) -> Amount:
        """What was used and not reserved; negative if less was used."""
        used = self.used
        return Amount(
            used.total - self._reserved.tokens,
            self._micro_dollars(used) - self._reserved.micro_dollars,
        )

    def _micro_dollars(self, usage: TokenUsage) -> int:
        price = self._price(usage) or 0
        return int(price * MICRO)

    def _day_is_spent(self) -> ColumnElement[bool]:
        caps = _caps(self._app.extensions["settings"])
        limits = []
        if caps.tokens:
            limits.append(DailyUsage.tokens >= caps.tokens)
        if caps.micro_dollars:
            limits.append(DailyUsage.micro_dollars >= caps.micro_dollars)
        return or_(false(), *limits)
