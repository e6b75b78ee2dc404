"""Mutations of the chat core: S11, what a model, a tool or a provider may do."""

from __future__ import annotations

from changes import (
    always,
    never,
    remove_operand,
    remove_statement,
    replace_by,
)
from mutation import Mutation
from places import in_class, in_function, in_module

CALLS = "test_outside_calls.py"
CONTEXT = "test_outside_context.py"
HISTORY = "test_outside_history.py"
PROVIDERS = "test_providers.py"
RUNS = "test_runs.py"
SAVING = "test_outside_saving.py"
SHAPES = "test_outside_shapes.py"
STEPS = "test_outside_steps.py"
TITLES = "test_titles.py"

MODEL_BUDGET = "chat/model/budget.py"
MODEL_CALL = "chat/model/call.py"
MODEL_CALL_IDS = "chat/model/call_ids.py"
MODEL_FAILURES = "chat/model/failures.py"
MODEL_HISTORY = "chat/model/history.py"
MODEL_OUTPUT = "chat/model/output.py"
MODEL_REASONING = "chat/model/reasoning.py"

S11 = [
    Mutation(
        id="model-without-limits",
        path=MODEL_CALL,
        find=in_function("answer", "settings.max_requests_per_run"),
        change=replace_by("None"),
        tests=f"{RUNS} -k endless",
    ),
    # Text that cannot be stored.
    Mutation(
        id="surrogates-not-replaced",
        path="text.py",
        find=in_function("storable", "_SURROGATE.search(text)"),
        change=never,
        tests=f"{SHAPES} -k 'lone and high'",
    ),
    Mutation(
        id="surrogates-not-joined",
        path="text.py",
        find=in_function("SurrogateJoiner.feed", "text and ___"),
        change=never,
        tests=f"{SHAPES} -k 'emoji and split'",
    ),
    Mutation(
        id="surrogates-not-joined-in-answers",
        path=MODEL_OUTPUT,
        find=in_function(
            "ObservedResponse._take_text", "self._joiner(index).feed(___text)"
        ),
        change=replace_by("storable(___text)"),
        tests=f"{SHAPES} -k 'emoji and split'",
    ),
    Mutation(
        id="control-characters-stored",
        path="text.py",
        find=in_function("storable", "_CONTROL.sub('', ___text)"),
        change=replace_by("___text"),
        tests=f"{SHAPES} -k 'NUL and inside'",
    ),
    Mutation(
        id="tool-results-as-they-come",
        path=MODEL_CALL,
        find=in_module("cleaned_result(result)"),
        change=replace_by("result"),
        tests=f"{SHAPES} -k 'result and lone'",
    ),
    # Tool calls whose ids the other side chooses, and approvals.
    Mutation(
        id="approval-not-checked-again",
        path=MODEL_CALL,
        find=in_function("_is_same_call", "return ___same_id and ___ and ___"),
        change=replace_by("return ___same_id"),
        tests=f"{STEPS} -k 'changed_since and name'",
    ),
    Mutation(
        id="step-by-id-of-any-response",
        path="chat/rendering.py",
        find=in_function(
            "GrowingAnswer.begin_response", "self._steps_of_response = {}"
        ),
        change=remove_statement,
        tests=f"{CALLS} -k 'earlier and round'",
    ),
    Mutation(
        id="approval-hides-characters",
        path="chat/rendering.py",
        find=in_function("arguments_of", "with_visible_escapes(_as_text(___value))"),
        change=replace_by("_as_text(___value)"),
        tests=f"{CALLS} -k 'shown and zero'",
    ),
    Mutation(
        id="call-ids-not-unique",
        path=MODEL_CALL_IDS,
        find=in_class("UniqueCallIds", "___ in self._seen"),
        change=remove_operand,
        tests=f"{SHAPES} -k 'twice and response'",
    ),
    Mutation(
        id="call-ids-not-given-back",
        path=MODEL_OUTPUT,
        find=in_function(
            "ObservedModel.request_stream", "messages = with_provider_call_ids(___)"
        ),
        change=remove_statement,
        tests=f"{SHAPES} -k 'twice and response'",
    ),
    Mutation(
        id="tool-calls-without-limit",
        path=MODEL_OUTPUT,
        find=in_module("self._tool_calls > self.limits.tool_calls"),
        change=never,
        tests=f"{SHAPES} -k 'more and calls'",
    ),
    # One run hurts another.
    Mutation(
        id="saved-in-one-batch-only",
        path="chat/runs/saving.py",
        find=in_function("save", "metrics.add(*___, scope='batch')"),
        change=replace_by("raise"),
        tests=f"{SAVING} -k 'hurts and messages'",
    ),
    Mutation(
        id="living-owner-not-asked-for",
        path="chat/runs/stale.py",
        find=in_function("is_stale", "owner is not Owner.UNKNOWN"),
        change=never,
        tests=f"{SAVING} -k this_process",
    ),
    # What an answer costs.
    Mutation(
        id="unknown-usage-is-zero",
        path=MODEL_BUDGET,
        find=in_function("is_measured", "return ___"),
        change=replace_by("return True"),
        tests=f"{SHAPES} -k 'usage and null'",
    ),
    Mutation(
        id="running-totals-added-up",
        path=MODEL_OUTPUT,
        find=in_function(
            "ObservedModel.request_stream", "count_running_totals_once(response)"
        ),
        change=remove_statement,
        tests=f"{SHAPES} -k 'running and totals'",
    ),
    Mutation(
        id="title-not-metered",
        path="chat/runs/titles.py",
        find=in_function("_ask", "meter.reserve()"),
        change=replace_by("meter.reserve = meter.settle = lambda *_: None"),
        tests=f"{TITLES} -k counts_against",
    ),
    Mutation(
        id="title-is-anything",
        path="chat/runs/titles.py",
        find=in_function("suggest", "usable_title(___output)"),
        change=replace_by("___output"),
        tests=f"{TITLES} -k failed_title",
    ),
    # Answers, requests and waits that are too long.
    Mutation(
        id="answer-without-limit",
        path=MODEL_BUDGET,
        find=in_function("Meter.count", "self._characters > self._most_characters"),
        change=never,
        tests=f"{PROVIDERS} -k MB",
    ),
    Mutation(
        id="tokens-without-limit",
        path=MODEL_BUDGET,
        find=in_function("Meter._check_tokens", "___ > self._most_tokens"),
        change=never,
        tests=f"{SHAPES} -k 'over and token'",
    ),
    Mutation(
        id="silence-without-limit",
        path=MODEL_OUTPUT,
        find=in_module("patience = self.limits.silence_seconds"),
        change=remove_statement,
        tests=f"{PROVIDERS} -k silence",
    ),
    Mutation(
        id="context-not-retried",
        path=MODEL_OUTPUT,
        find=in_function("ObservedModel.request_stream", "self._shortened_after(*___)"),
        change=replace_by("None"),
        tests=f"{CONTEXT} -k 'over_the_context and vLLM'",
    ),
    Mutation(
        id="newest-turn-not-shortened",
        path=MODEL_HISTORY,
        find=in_function("_fitting", "_shortened(___turn, budget)"),
        change=replace_by("___turn"),
        tests=f"{HISTORY} -k 'newest_turn and Japanese'",
    ),
    Mutation(
        id="failed-turns-are-told",
        path=MODEL_HISTORY,
        find=in_function("load", "_is_told(___)"),
        change=always,
        tests=f"{HISTORY} -k pile_up",
    ),
    Mutation(
        id="earlier-reasoning-is-told",
        path=MODEL_HISTORY,
        find=in_function("_turn", "_without_reasoning(___messages)"),
        change=replace_by("___messages"),
        tests=f"{HISTORY} -k 'newest_turn and reasoning'",
    ),
    # How an answer ends.
    Mutation(
        id="cut-stream-is-complete",
        path=MODEL_OUTPUT,
        find=in_function("ObservedResponse._finish", "self._check_not_cut(___)"),
        change=remove_statement,
        tests=f"{SHAPES} -k neither",
    ),
    Mutation(
        id="unknown-ending-is-good",
        path=MODEL_FAILURES,
        find=in_function("ending_of", "Failure.INCOMPLETE"),
        change=replace_by("None"),
        tests=f"{SHAPES} -k something_new",
    ),
    Mutation(
        id="rotated-key-not-read",
        path=MODEL_CALL,
        find=in_function("model_of", "config.read_secret_files()"),
        change=never,
        tests="test_first_hour.py -k rotated",
    ),
    # Reasoning between tags.
    Mutation(
        id="leading-tag-is-text",
        path=MODEL_REASONING,
        find=in_module("_tag_at(lowered, OPENING_TAGS)"),
        change=replace_by("''"),
        tests=f"{SHAPES} -k 'glued and text'",
    ),
    Mutation(
        id="lone-closing-tag-is-text",
        path=MODEL_REASONING,
        find=in_function(
            "ReasoningSplitter._end_line", "self._is_lone_closing_tag(___)"
        ),
        change=never,
        tests=f"{SHAPES} -k 'lone and closing'",
    ),
]
