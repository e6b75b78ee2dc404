"""Mutations of what a browser gets: S6 headers, S7 the sanitiser, S9 templates."""

from __future__ import annotations

from changes import (
    comment_out,
    drop_keyword,
    never,
    remove_element,
    remove_operand,
    remove_statement,
    replace_by,
)
from mutation import Mutation
from places import in_function, in_module, in_text, in_toml

AGENT = "test_agent.py"
ATTACKS = "test_markdown_attacks.py -k nothing_of_it"
CONVERSATIONS = "test_conversations.py"
RESPONSES = "test_responses.py"
SIGN_UP = "test_sign_up.py"
HEADER_SET = f"{RESPONSES}::test_every_answer_carries_the_header_set"

HEADERS = "security/headers.py"
HEADER_TABLE = "security/headers.toml"
SANITISER = "security/markdown.py"
HIGHLIGHTING = "security/highlighting.py"
BOUNDS = "test_rendering_bounds.py"

DIRECTIVES = [
    "default-src",
    "style-src",
    "img-src",
    "font-src",
    "connect-src",
    "manifest-src",
    "worker-src",
    "form-action",
    "base-uri",
    "frame-ancestors",
    "object-src",
    "require-trusted-types-for",
    "trusted-types",
]
OTHER_HEADERS = [
    "X-Frame-Options",
    "X-Content-Type-Options",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Embedder-Policy",
    "Cross-Origin-Resource-Policy",
    "Origin-Agent-Cluster",
    "X-Permitted-Cross-Domain-Policies",
]


def without_header(prefix: str, table: str, name: str) -> Mutation:
    """Leave out one row of the table of headers."""
    return Mutation(
        id=f"{prefix}-{name.lower()}",
        path=HEADER_TABLE,
        find=in_toml(table, name),
        change=comment_out,
        tests=HEADER_SET,
    )


S6 = [
    *(without_header("csp", "content-security-policy", name) for name in DIRECTIVES),
    Mutation(
        id="csp-script-src",
        path=HEADER_TABLE,
        find=in_toml("content-security-policy", "script-src"),
        change=replace_by("\"'self'\""),
        tests=HEADER_SET,
    ),
    *(without_header("header", "others", name) for name in OTHER_HEADERS),
    Mutation(
        id="header-strict-transport-security",
        path=HEADERS,
        find=in_function("_complete", "request.is_secure"),
        change=remove_operand,
        tests=HEADER_SET,
    ),
    Mutation(
        id="header-referrer-policy",
        path=HEADER_TABLE,
        find=in_toml("others", "Referrer-Policy"),
        change=replace_by('"unsafe-url"'),
        tests=HEADER_SET,
    ),
    Mutation(
        id="header-permissions-policy",
        path=HEADERS,
        find=in_function("init_app", "TABLE['permissions-policy']"),
        change=replace_by("{}"),
        tests=HEADER_SET,
    ),
    Mutation(
        id="header-cache-control",
        path=HEADERS,
        find=in_function("_complete", "___.setdefault('Cache-Control', ___)"),
        change=remove_statement,
        tests=f"{RESPONSES} -k never_kept",
    ),
    Mutation(
        id="csp-nonce",
        path=HEADERS,
        find=in_function("init_app", "['script-src']", "'script-src'"),
        change=remove_element,
        tests=f"{RESPONSES} -k inline",
    ),
    Mutation(
        id="hosts-any",
        path="security/bodies.py",
        find=in_function("_refuse", "settings().trusted_hosts"),
        change=replace_by("()"),
        tests=f"{RESPONSES} -k unknown_hosts",
    ),
    Mutation(
        id="cookie-host-prefix",
        path="security/__init__.py",
        find=in_module("'__Host-session'"),
        change=replace_by("'session'"),
        tests=f"{SIGN_UP} -k cookies",
    ),
    Mutation(
        id="cookie-secure",
        path="security/__init__.py",
        find=in_function(
            "init_app", "app.config.update(SESSION_COOKIE_SECURE=___, **___)"
        ),
        change=drop_keyword("SESSION_COOKIE_SECURE"),
        tests=f"{SIGN_UP} -k cookies",
    ),
    Mutation(
        id="cookie-samesite",
        path=HEADER_TABLE,
        find=in_toml("talisman", "session_cookie_samesite"),
        change=replace_by('"None"'),
        tests=f"{SIGN_UP} -k cookies",
    ),
]
S7 = [
    Mutation(
        id="sanitiser-off",
        path=SANITISER,
        find=in_module("___.clean(___html)"),
        change=replace_by("___html"),
        tests=ATTACKS,
    ),
    Mutation(
        id="sanitiser-invisible-characters",
        path="text.py",
        find=in_function("clean_text", "INVISIBLE.sub('', ___text)"),
        change=replace_by("___text"),
        tests=ATTACKS,
    ),
    Mutation(
        id="sanitiser-link-rel",
        path=SANITISER,
        find=in_module("'noopener noreferrer nofollow'"),
        change=replace_by("None"),
        tests=ATTACKS,
    ),
    Mutation(
        id="sanitiser-own-links",
        path=SANITISER,
        find=in_function("_attribute", "ABSOLUTE.match(___)"),
        change=replace_by("True"),
        tests=ATTACKS,
    ),
    Mutation(
        id="sanitiser-reference-links",
        path=SANITISER,
        find=in_module("_parser.disable(___)", "'reference'"),
        change=remove_element,
        tests="test_markdown.py",
    ),
    Mutation(
        id="highlighting-without-bound",
        path=HIGHLIGHTING,
        find=in_function("highlight", "len(code) > longest"),
        change=never,
        tests=f"{BOUNDS} -k longer_code",
    ),
    Mutation(
        id="highlighting-of-any-shape",
        path=HIGHLIGHTING,
        find=in_function("_is_shaped_like_code", "ENDLESS.search(code)"),
        change=replace_by("None"),
        tests=f"{BOUNDS} -k unlikely_shape",
    ),
    Mutation(
        id="inline-without-bound",
        path=SANITISER,
        find=in_function("_inline_tokens", "is_plain or is_too_long", "is_too_long"),
        change=remove_operand,
        tests=f"{BOUNDS} -k paragraph_up_to",
    ),
    Mutation(
        id="nesting-without-bound",
        path=SANITISER,
        find=in_function("_at_most_nested", "outer >= depth"),
        change=never,
        tests=f"{BOUNDS} -k nest",
    ),
]
S9 = [
    Mutation(
        id="xss-question",
        path="templates/chat/_messages.html",
        find=in_text("{{ message.text }}"),
        change=replace_by("{{ message.text | safe }}"),
        tests=f"{CONVERSATIONS} -k shown_as_text",
    ),
    Mutation(
        id="xss-tool-step",
        path="templates/chat/_answer.html",
        find=in_text('"…", 0) }}'),
        change=replace_by('"…", 0) | safe }}'),
        tests=f"{AGENT} -k markup",
    ),
]
