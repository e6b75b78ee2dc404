"""A conversation goes on in any script and with any size of a model's context."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from engines import Engine
from fake_provider import (
    Body,
    FakeProvider,
    call,
    conversation_of,
    end,
    error,
    question_of,
    say,
)
from outside import (
    CALM,
    DIGITS,
    EARLIER,
    GOES_ON,
    LATER,
    MOST_SECONDS,
    QUESTION,
    Scene,
    a_tool,
    last_answer,
    long_text,
    make_scene,
    provider,
    seen_on,
    squeezed,
    store_turns,
    table,
    verdict,
    visible,
    within,
)
from shapes import NOTES, Script
from shapes.context import FAMILIES, OTHER_REFUSALS, Refusal
from support import Asked, MakeApp, Page

__all__ = ["provider", "table"]
pytestmark = CALM
CONTEXT = 32_000  # tokens that the model of these tests can read
QUESTION_TOKENS = 8000


@dataclass(frozen=True)
class Language:
    """A text of some script, and about how many characters one token holds."""

    name: str
    sample: str
    characters: float


LANGUAGES = [
    Language("Japanese", "東京の天気は今日も晴れです。", 1.0),
    Language("Chinese", "今天的天气很好。我们去公园散步吧。", 1.0),
    Language("Korean", "오늘은 날씨가 아주 좋습니다. ", 1.1),
    Language("Thai", "วันนี้อากาศดีมากและท้องฟ้าแจ่มใส ", 1.3),
    Language("Hindi", "आज मौसम बहुत अच्छा है और आसमान साफ है। ", 1.4),
    Language("Arabic", "الطقس اليوم جميل جدا والسماء صافية ", 1.7),
    Language("Hebrew", "מזג האוויר היום נעים מאוד והשמיים בהירים ", 1.6),
    Language("Russian", "Сегодня очень хорошая погода и ясное небо. ", 2.2),
    Language("emoji", "🙂🎉🚀🌍🐍", 0.4),
    Language("joined emoji", "👨\u200d👩\u200d👧\u200d👦🏳\ufe0f\u200d🌈", 0.6),
    Language("Base64", DIGITS, 1.4),
    Language("hexadecimal", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b", 1.6),
    Language("code", "for (let i=0;i<n;i++){a[i]=b[i]*c[i]-d[i];}\n", 2.3),
    Language("digits", "314159265358979323846264338327950288", 1.2),
    Language("English", "The weather is very nice today and the sky is clear. ", 4.4),
]


class SmallModel:
    """Counts tokens, refuses what is over its context, and reports what it has read."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.requests: dict[str, list[Body]] = {}

    def tokens(self, body: Body) -> int:
        long = sum(map(len, self._texts(body)))
        return int(long / self.language.characters) + 1000  # instructions and tools

    def _texts(self, body: Body) -> list[str]:
        return [one.text for one in conversation_of(body)]

    def __call__(self, body: Body) -> Script:
        self.requests.setdefault(question_of(body), []).append(body)
        tokens = self.tokens(body)
        if tokens > CONTEXT:
            message = f"This model's maximum context length is {CONTEXT} tokens."
            problem = {"message": message, "code": "context_length_exceeded"}
            return (error(400, {"error": problem}),)
        return (say("A short answer."), end("stop", usage=(tokens, 5)))


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda row: row.name)
def test_a_long_conversation_goes_on_in_any_script(
    make_app: MakeApp,
    provider: FakeProvider,
    engine: Engine,
    table: list[Sequence[str]],
    language: Language,
) -> None:
    scene = make_scene(make_app, provider)
    model = SmallModel(language)
    with verdict(table, "5 tokens", language.name, engine.name) as judged:
        scene.begin_neighbour()
        scene.scripts.fallback = model
        length = int(QUESTION_TOKENS * language.characters)
        most = scene.app.extensions["settings"].max_message_chars
        body = long_text(min(length, most - 100), language.sample).strip()
        conversation = "/chat"
        with judged.on("page"):
            for number in range(5):
                question = f"{number}: {body}"
                asked = scene.ask(question, conversation)
                conversation = asked.conversation
                page = within(MOST_SECONDS, asked.page)
                assert page.ending.kind == "done", (number, scene.run_of(asked).error)
                assert len(model.requests[question]) <= 2
        with judged.on("stored row"):
            assert scene.run_of(asked).error is None
            assert scene.answer_of(asked).text == "A short answer."
        with judged.on("next question"):
            check_short_question(scene, model, conversation)
        with judged.on("neighbour"):
            scene.end_neighbour()


def check_short_question(scene: Scene, model: SmallModel, conversation: str) -> None:
    """A short question fits at once, together with the newest turn."""
    asked = scene.ask("Is it?", conversation)
    assert within(MOST_SECONDS, asked.page).ending.kind == "done"
    (request,) = model.requests["Is it?"]
    told = conversation_of(request)
    assert "A short answer." in [one.text for one in told if one.by == "assistant"]
    assert any(one.text.startswith("4: ") for one in told if one.by == "user")


def test_a_question_too_long_for_the_model_does_not_spoil_the_conversation(
    make_app: MakeApp, provider: FakeProvider
) -> None:
    japanese = Language("Japanese", "東京の天気は今日も晴れです。", 0.8)
    scene = make_scene(make_app, provider)
    conversation = store_turns(scene, [EARLIER])
    model = scene.scripts.fallback = SmallModel(japanese)
    question = long_text(31_000, japanese.sample)
    for _ in range(2):
        asked = scene.ask(question, conversation)
        page = within(MOST_SECONDS, asked.page)
        assert scene.run_of(asked).error == "context"
        assert NOTES["context"] in page.ending.data["footer"]
        assert len(model.requests.pop(question)) <= 2
    asked = scene.ask("Is it?", conversation)
    assert within(MOST_SECONDS, asked.page).ending.kind == "done"
    (request,) = model.requests["Is it?"]
    users = [one.text for one in conversation_of(request) if one.by == "user"]
    assert users == [EARLIER[0], "Is it?"]


# Six turns of about 3,500 tokens each: more than the half of what a model can read.
TURNS = [(f"Question {n}?", long_text(14_000) + f" END {n}.") for n in range(6)]
READABLE = 64_000  # characters


def refusing(refusal: Refusal, when: Callable[[Body], bool]) -> Callable[[Body], Script]:
    """Refuses some requests and answers the others."""

    def respond(body: Body) -> Script:
        return refusal.steps if when(body) else (say("It fits."),)

    return respond


def is_too_long(body: Body) -> bool:
    return sum(len(one.text) for one in conversation_of(body)) > READABLE


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_a_request_over_the_context_is_tried_once_with_less_history(
    make_app: MakeApp,
    provider: FakeProvider,
    engine: Engine,
    table: list[Sequence[str]],
    row: Refusal,
) -> None:
    scene = make_scene(make_app, provider, model=row.model)
    conversation = store_turns(scene, TURNS)
    with verdict(table, "5 errors", row.name, engine.name) as judged:
        scene.begin_neighbour()
        with judged.on("page"):
            asked, page = ask_a_model(scene, conversation, refusing(row, is_too_long))
            assert (page.ending.kind, scene.run_of(asked).error) == ("done", None)
            assert squeezed("It fits.") in seen_on(page)
            check_requests(scene, 2)
            assert "END 5." in json.dumps(scene.scripts.requests[QUESTION][-1])
        with judged.on("stored row"):
            always = refusing(row, lambda body: True)
            asked, page = ask_a_model(scene, conversation, always)
            assert scene.run_of(asked).error == "context"
            assert NOTES["context"] in page.ending.data["footer"]
            shown = last_answer(scene.ada, conversation)
            assert squeezed(NOTES["context"]) in visible(shown)
            check_requests(scene, 2)
        with judged.on("next question"):
            later = scene.ask(LATER, conversation)
            assert within(MOST_SECONDS, later.page).ending.kind == "done"
            told = conversation_of(scene.later_request())
            assert [one.text for one in told if one.by == "user"].count(QUESTION) <= 1
        with judged.on("neighbour"):
            scene.end_neighbour()


def test_a_tool_result_that_does_not_fit_costs_history_and_not_the_answer(
    make_app: MakeApp, provider: FakeProvider
) -> None:
    scene = make_scene(make_app, provider)
    conversation = store_turns(scene, TURNS)
    refusal = FAMILIES[0]

    def respond(body: Body) -> Script:
        if is_too_long(body):
            return refusal.steps
        has_result = any(one.by == "result" for one in conversation_of(body))
        return (say("It fits."),) if has_result else (call("odd"),)

    with a_tool("odd", long_text(50_000)):
        scene.scripts.fallback = respond
        asked = scene.ask(QUESTION, conversation)
        page = within(MOST_SECONDS, asked.page)
    assert scene.run_of(asked).error in (None, "context")
    assert len(scene.scripts.requests[QUESTION]) <= 3
    assert scene.run_of(asked).error or squeezed("It fits.") in seen_on(page)
    later = scene.ask(LATER, conversation)
    assert within(MOST_SECONDS, later.page).ending.kind == "done"


def ask_a_model(scene: Scene, conversation: str, model: Callable[[Body], Script]) -> tuple[Asked, Page]:
    scene.scripts.requests.pop(QUESTION, None)
    scene.scripts.fallback = model
    asked = scene.ask(QUESTION, conversation)
    return asked, within(MOST_SECONDS, asked.page)


def check_requests(scene: Scene, most: int) -> None:
    """At most so many requests, each with less than the one before."""
    requests = scene.scripts.requests[QUESTION]
    lengths = [len(json.dumps(body)) for body in requests]
    assert len(lengths) <= most
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("row", OTHER_REFUSALS, ids=lambda row: row.name)
def test_other_refusals_are_not_taken_for_a_long_conversation(
    make_app: MakeApp,
    provider: FakeProvider,
    engine: Engine,
    table: list[Sequence[str]],
    row: Refusal,
) -> None:
    scene = make_scene(make_app, provider, model=row.model)
    conversation = store_turns(scene, [EARLIER])
    with verdict(table, "5 other errors", row.name, engine.name) as judged:
        scene.begin_neighbour()
        always = refusing(row, lambda body: True)
        asked, page = ask_a_model(scene, conversation, always)
        with judged.on("page"):
            assert NOTES[row.error] in page.ending.data["footer"]
        with judged.on("stored row"):
            assert scene.run_of(asked).error == row.error
            check_requests(scene, 1)
        with judged.on("next question"):
            later = scene.ask(LATER, conversation)
            page = within(MOST_SECONDS, later.page)
            assert squeezed(GOES_ON) in seen_on(page)
            told = conversation_of(scene.later_request())
            assert [one.text for one in told] == [*EARLIER, LATER]
        with judged.on("neighbour"):
            scene.end_neighbour()
