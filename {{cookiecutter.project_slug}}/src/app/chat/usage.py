"""Tokens and cost of an answer. What is not known is None, never zero."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage


def cost_of(messages: list[ModelMessage]) -> Decimal | None:
    """The price of all responses in US dollars, by genai-prices; None if any of them has no known price."""
    from pydantic_ai.messages import ModelResponse

    total = Decimal(0)
    for message in messages:
        if isinstance(message, ModelResponse):
            try:
                total += message.cost().total_price
            except LookupError:
                return None
    return total
