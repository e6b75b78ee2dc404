"""How providers and servers say that a request is too long for the model."""

from __future__ import annotations

import json
from dataclasses import dataclass

from fake_provider import CLOSE, Step, chunk, end, error, event, raw

from shapes import ANTHROPIC, CHAT, RESPONSES, Script


@dataclass(frozen=True)
class Refusal:
    """A refused request, the word that the run ends with, and the protocol."""

    name: str
    steps: Script
    error: str = "context"
    model: str = CHAT


def openai(
    name: str,
    message: str,
    code: object = None,
    kind: str | None = "invalid_request_error",
    status: int = 400,
    said: str = "context",
) -> Refusal:
    """An error object as OpenAI sends it."""
    problem = {"message": message, "type": kind, "param": None, "code": code}
    return Refusal(name, (error(status, {"error": problem}),), said)


def anthropic(name: str, kind: str, message: str, status: int = 400) -> Refusal:
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return Refusal(name, (error(status, body),), model=ANTHROPIC)


LLAMA = {
    "code": 400,
    "message": "request (42947 tokens) exceeds the available context size (8192 tokens), try increasing it",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 42947,
    "n_ctx": 8192,
}
TOO_LONG = "Your input exceeds the context window of this model."


def streamed(problem: object) -> tuple[Step, ...]:
    """An error inside of a stream, as servers send it that have answered 200."""
    return (raw(b"data: " + json.dumps({"error": problem}).encode() + b"\n\n"), CLOSE)


def failed(code: str) -> Step:
    """A response of the Responses protocol that failed at once."""
    response = {"id": "resp_1", "object": "response", "created_at": 1, "output": []}
    response |= {"model": "gpt-4o", "status": "failed", "tools": []}
    response["error"] = {"code": code, "message": TOO_LONG}
    created = response | {"status": "in_progress", "error": None}
    return raw(
        event("response.created", sequence_number=0, response=created)
        + event("response.failed", sequence_number=1, response=response)
    )


FAMILIES = [
    openai(
        "OpenAI",
        "This model's maximum context length is 16385 tokens. However, your messages"
        " resulted in 20000 tokens. Please reduce the length of the messages.",
        "context_length_exceeded",
    ),
    openai("OpenAI, newer", TOO_LONG + " Please try again.", "context_length_exceeded"),
    openai("OpenAI, code only", "Bad request.", "context_length_exceeded"),
    openai(
        "vLLM",
        "This model's maximum context length is 16384 tokens. However, you requested"
        " 20000 tokens in the messages. Please reduce the length of the messages.",
        400,
        "BadRequestError",
    ),
    openai(
        "vLLM, newer",
        "You passed 20000 input tokens and requested 0 output tokens. However, the"
        " model's context length is only 16384 tokens, resulting in a maximum input"
        " length of 16384 tokens. (parameter=input_tokens, value=20000)",
        400,
        "BadRequestError",
    ),
    Refusal(
        "SGLang",
        (
            error(
                400,
                {
                    "object": "error",
                    "message": "The input (20000 tokens) is longer than the model's context length (16384 tokens).",
                    "type": "BadRequestError",
                    "code": 400,
                },
            ),
        ),
    ),
    Refusal("llama.cpp", (error(400, {"error": LLAMA}),)),
    Refusal(
        "llama.cpp, older",
        (
            error(
                500,
                {
                    "error": {
                        "code": 500,
                        "message": "the request exceeds the available context size."
                        " try increasing the context size or enable context shift",
                        "type": "server_error",
                    }
                },
            ),
        ),
    ),
    Refusal("llama.cpp, status 200", streamed(LLAMA)),
    openai("Ollama", json.dumps({"error": LLAMA}), None, "api_error"),
    openai("Ollama, other words", "the input length exceeds the context length"),
    Refusal(
        "LM Studio",
        (
            error(
                400,
                {
                    "error": "Trying to keep the first 20000 tokens when context the"
                    " overflows. However, the model is loaded with context length of"
                    " only 16384 tokens, which is not enough."
                },
            ),
        ),
    ),
    Refusal(
        "LM Studio, inside a stream",
        streamed(
            {
                "message": "The number of tokens to keep from the initial prompt is"
                " greater than the context length. Try to load the model with a larger"
                " context length, or provide a shorter input"
            }
        ),
    ),
    openai(
        "Groq",
        "Please reduce the length of the messages or completion.",
        "context_length_exceeded",
    ),
    openai(
        "Groq, by the code alone",
        "The request could not be processed.",
        "context_length_exceeded",
        status=413,
    ),
    Refusal(
        "Mistral",
        (
            error(
                400,
                {
                    "object": "error",
                    "message": "Prompt contains 33000 tokens and 0 draft tokens, too"
                    " large for model with 32768 maximum context length",
                    "type": "invalid_request_prompt",
                    "code": "3051",
                },
            ),
        ),
    ),
    openai(
        "DeepSeek",
        "This model's maximum context length is 65536 tokens. However, you requested"
        " 70000 tokens (66000 in the messages, 4000 in the completion). Please reduce"
        " the length of the messages or completion.",
        "invalid_request_error",
    ),
    openai(
        "Together",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193."
        " Given: 9000 `inputs` tokens and 512 `max_new_tokens`",
        status=422,
    ),
    openai(
        "OpenRouter",
        "This endpoint's maximum context length is 131072 tokens. However, you"
        " requested about 150000 tokens (149000 of text input, 1000 of tool input)."
        ' Please reduce the length of either one, or use the "middle-out" transform.',
        400,
        None,
    ),
    Refusal(
        "xAI",
        (
            error(
                400,
                {
                    "code": "Client specified an invalid argument",
                    "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
                },
            ),
        ),
    ),
    Refusal(
        "Google",
        (
            error(
                400,
                [
                    {
                        "error": {
                            "code": 400,
                            "message": "The input token count (1196265) exceeds the"
                            " maximum number of tokens allowed (1048575).",
                            "status": "INVALID_ARGUMENT",
                        }
                    }
                ],
            ),
        ),
    ),
    openai(
        "Bedrock, by a gateway",
        "BedrockException: Context Window Error - Input is too long for requested model.",
        "400",
        None,
    ),
    openai(
        "GitHub Copilot",
        "prompt token count of 130000 exceeds the limit of 128000",
        "model_max_prompt_tokens_exceeded",
    ),
    openai(
        "Kimi",
        "Invalid request: Your request exceeded model token limit: 131072 (requested: 150000)",
    ),
    openai("MiniMax", "invalid params, context window exceeds limit (2013)"),
    openai(
        "Cohere",
        "too many tokens: total number of tokens in the prompt cannot exceed 128000",
    ),
    openai("GLM", "Prompt exceeds max length", "1261", None),
    openai(
        "Qwen",
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]",
        "invalid_parameter_error",
    ),
    Refusal("a proxy that says nothing but 413", (error(413, b""),)),
    Refusal("a proxy's page with 413", (error(413, b"<h1>Too Large</h1>"),)),
    anthropic(
        "Anthropic",
        "invalid_request_error",
        "prompt is too long: 210000 tokens > 200000 maximum",
    ),
    anthropic(
        "Anthropic, with the answer",
        "invalid_request_error",
        "input length and `max_tokens` exceed context limit: 199759 + 8192 > 200000,"
        " decrease input length or `max_tokens` and try again",
    ),
    anthropic(
        "Anthropic, 413",
        "request_too_large",
        "Request exceeds the maximum size",
        413,
    ),
    Refusal(
        "Responses, refused",
        openai("", TOO_LONG, "context_length_exceeded").steps,
        model=RESPONSES,
    ),
    Refusal(
        "Responses, failed",
        (failed("context_length_exceeded"), CLOSE),
        model=RESPONSES,
    ),
    Refusal(
        "Responses, error event",
        (
            raw(
                event(
                    "error",
                    sequence_number=0,
                    code="context_length_exceeded",
                    message=TOO_LONG,
                    param="input",
                )
            ),
            CLOSE,
        ),
        model=RESPONSES,
    ),
]

FAMILIES += [
    Refusal(
        "an error after an empty first chunk",
        (chunk({"role": "assistant", "content": ""}), *streamed(LLAMA)),
    ),
]

# Refusals that mention lengths or tokens and are about something else.
OTHER_REFUSALS = [
    openai(
        "tokens a minute",
        "Request too large for gpt-4o in organization org-1 on tokens per min (TPM):"
        " Limit 30000, Requested 40000. The input or output tokens must be reduced in"
        " order to run successfully.",
        "rate_limit_exceeded",
        "tokens",
        429,
        "busy",
    ),
    openai(
        "tokens a day",
        "Rate limit reached on tokens per day (TPD): Limit 100000, Used 99000.",
        "rate_limit_exceeded",
        "tokens",
        429,
        "busy",
    ),
    openai(
        "an answer longer than the model's",
        "max_tokens is too large: 999999. This model supports at most 16384 completion"
        " tokens, whereas you provided 999999.",
        "invalid_value",
        said="unavailable",
    ),
    openai(
        "a parameter that is not supported",
        "Unsupported parameter: 'seed' is not supported with this model.",
        "unsupported_parameter",
        said="unavailable",
    ),
    openai(
        "a tool's name",
        "Invalid 'tools[0].function.name': string too long. Expected a string with"
        " maximum length 64, but got a string with length 70 instead.",
        "string_above_max_length",
        said="unavailable",
    ),
    openai(
        "no such model",
        "The model `gpt-5-context` does not exist or you do not have access to it.",
        "model_not_found",
        status=404,
        said="unavailable",
    ),
    openai(
        "no money",
        "Insufficient Balance",
        "invalid_request_error",
        "unknown_error",
        402,
        "unavailable",
    ),
    openai(
        "a wrong key",
        "Incorrect API key provided.",
        "invalid_api_key",
        status=401,
        said="unconfigured",
    ),
    openai(
        "a server in trouble",
        "The server had an error while processing your request.",
        None,
        "server_error",
        500,
        "busy",
    ),
    Refusal("an ending", (end("content_filter"),), "refused"),
]
