"""The application that a soak asks: each question names the model that answers it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.messages import ModelMessage, UserPromptPart
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from soak_cases import MODELS, TOOL_RESULTS, Marked, marked

from app import create_app
from app.chat.agent import agent
from app.chat.model import call
from app.chat.tools import Deps


class ModelByQuestion(WrapperModel):
    """Hands each request to the model that its newest question names."""

    def __init__(self, models: dict[str, Model]):
        super().__init__(next(iter(models.values())))
        self._models = models

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        model = self._models[newest_question(messages).model]
        async with model.request_stream(messages, model_settings, model_request_parameters, run_context) as response:
            yield response


def newest_question(messages: list[ModelMessage]) -> Marked:
    for message in reversed(messages):
        for part in reversed(message.parts):
            text = part.content if isinstance(part, UserPromptPart) else ""
            if isinstance(text, str) and (found := marked(text)):
                return found
    raise LookupError("a request without a question")


@agent.tool(name="odd")
def return_odd_result(context: RunContext[Deps], value: Any = None) -> Any:
    """Something odd."""
    return TOOL_RESULTS[newest_question(context.messages).row]


def models_by_name() -> dict[str, Model]:
    settings = app.extensions["settings"]
    return {name: call._build(settings.model_copy(update={"model": name})) for name in MODELS}


app = create_app()
app.extensions["limits"].enabled = False  # the client asks faster than people may
call.MODEL.set(app, ModelByQuestion(models_by_name()))
