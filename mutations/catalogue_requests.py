"""Mutations of what guards requests: CSRF, limits, keys, errors, bodies (S1 to S5)."""

from __future__ import annotations

from changes import (
    drop_key,
    drop_keyword,
    never,
    remove_element,
    remove_operand,
    remove_statement,
    replace_by,
)
from mutation import Mutation
from places import in_class, in_function, in_module, in_toml

ACCOUNTS = "test_accounts.py"
BODIES = "test_bodies.py"
LIMITS = "test_limits.py"
RESPONSES = "test_responses.py"
SETTINGS = "test_settings.py"
SETTINGS_PAGE = "test_settings_page.py"

S1 = [
    Mutation(
        id="csrf-not-checked",
        path="security/__init__.py",
        find=in_function("init_app", "(*___, csrf, *___)", "csrf"),
        change=remove_element,
        tests=f"{RESPONSES} -k token",
    ),
    Mutation(
        id="csrf-no-referrer-check",
        path="security/__init__.py",
        find=in_module("app.config['WTF_CSRF_TIME_LIMIT'] = None"),
        change=replace_by(
            "app.config.update(WTF_CSRF_TIME_LIMIT=None, WTF_CSRF_SSL_STRICT=False)",
        ),
        tests=f"{RESPONSES} -k another_site",
    ),
    Mutation(
        id="csrf-token-survives-sign-in",
        path="accounts/sessions.py",
        find=in_function("begin", "'csrf_token'"),
        change=remove_element,
        tests=f"{ACCOUNTS} -k token_of_before",
    ),
]
S2 = [
    Mutation(
        id="limit-per-account",
        path="security/access.py",
        find=in_function("seal", "(___.account_limit, account)"),
        change=replace_by("(None, None)"),
        tests=f"{LIMITS} -k one_account",
    ),
    Mutation(
        id="limit-per-client",
        path="security/access.py",
        find=in_function("seal", "(___.limit, client)"),
        change=remove_element,
        tests=f"{LIMITS} -k many_accounts",
    ),
    Mutation(
        id="limit-ipv6-network",
        path="security/limits.py",
        find=in_module("___address >> 64 << 64"),
        change=replace_by("___address"),
        tests=f"{LIMITS} -k 'customer or many_accounts'",
    ),
    Mutation(
        id="limit-spelling-of-an-address",
        path="security/limits.py",
        find=in_module("___email.casefold()"),
        change=replace_by("___email"),
        tests=f"{LIMITS} -k one_account",
    ),
    Mutation(
        id="limit-second-factor",
        path="security/limits.py",
        find=in_module("request.endpoint in SECOND_FACTOR"),
        change=never,
        tests=f"{LIMITS} -k second_factor",
    ),
    Mutation(
        id="limit-mails",
        path="security/access.toml",
        find=in_toml("limits", "mails"),
        change=replace_by('"300/15 minutes;1000/day"'),
        tests=f"{LIMITS} -k mailbox",
    ),
    Mutation(
        id="limit-owner-locked-out",
        path="accounts/sessions.py",
        find=in_function("begin", "know_device(___)"),
        change=remove_statement,
        tests=f"{LIMITS} -k owner",
    ),
    Mutation(
        id="limit-owner-locked-out-after-reset",
        path="accounts/sessions.py",
        find=in_function("_after_reset", "know_device(___)"),
        change=remove_statement,
        tests=f"{LIMITS} -k owner",
    ),
    Mutation(
        id="limit-no-fallback",
        path="security/limits.py",
        find=in_module("{'in_memory_fallback_enabled': True, **___}"),
        change=drop_key("in_memory_fallback_enabled"),
        tests=f"{LIMITS} -k store_is_gone",
    ),
    Mutation(
        id="limit-fields",
        path="security/limits.py",
        find=in_function("init_app", "app.after_request(___)"),
        change=remove_statement,
        tests=f"{LIMITS} -k learns",
    ),
    Mutation(
        id="proxy-of-ones-own-invention",
        path="security/__init__.py",
        find=in_function("init_app", "settings.proxy_hops"),
        change=replace_by("___ or 1"),
        tests=f"{LIMITS} -k choose_its_address",
    ),
]
S3 = [
    Mutation(
        id="key-short",
        path="config.py",
        find=in_function("production_problems", "len(key) < 32"),
        change=remove_operand,
        tests=f"{SETTINGS} -k weak_key",
    ),
    Mutation(
        id="key-regular",
        path="config.py",
        find=in_function("production_problems", "len(set(key)) < 12"),
        change=remove_operand,
        tests=f"{SETTINGS} -k weak_key",
    ),
    Mutation(
        id="key-placeholder",
        path="config.py",
        find=in_function(
            "production_problems",
            "any(___ for ___ in PLACEHOLDERS)",
        ),
        change=remove_operand,
        tests=f"{SETTINGS} -k weak_key",
    ),
    Mutation(
        id="key-fallbacks-forgotten",
        path="accounts/two_factor.py",
        find=in_function("options", "*settings.secret_key_fallbacks"),
        change=remove_element,
        tests=f"{SETTINGS_PAGE} -k new_secret_key",
    ),
    Mutation(
        id="key-hashes-passwords",
        path="accounts/__init__.py",
        find=in_function("_options", "{'STATIC_FOLDER': None, **___}"),
        change=replace_by(
            "___ | {'PASSWORD_SINGLE_HASH': ['plaintext'],"
            " 'PASSWORD_SALT': settings.secret_key.get_secret_value()}",
        ),
        tests=f"{SETTINGS_PAGE} -k new_secret_key",
    ),
]
S4 = [
    Mutation(
        id="errors-tell-their-cause",
        path="errors.py",
        find=in_function("_unexpected", "InternalServerError()"),
        change=replace_by("Problem(500, 'error', str(error))"),
        tests=f"{RESPONSES} -k unexpected",
    ),
    Mutation(
        id="errors-without-reference",
        path="errors.py",
        find=in_function("answer", "{'trace_id': ___, **___}"),
        change=drop_key("trace_id"),
        tests=f"{RESPONSES} -k errors_are_pages",
    ),
]
S5 = [
    Mutation(
        id="body-bytes",
        path="security/bodies.py",
        find=in_function("_refuse", "request.max_content_length = ___"),
        change=remove_statement,
        tests=f"{BODIES} -k bounded",
    ),
    Mutation(
        id="body-fields",
        path="security/bodies.py",
        find=in_function("_refuse", "___ >= FORM_FIELDS"),
        change=never,
        tests=f"{BODIES} -k bounded",
    ),
    Mutation(
        id="body-parts",
        path="security/bodies.py",
        find=in_function("init_app", "app.config['MAX_FORM_PARTS'] = ___"),
        change=remove_statement,
        tests=f"{BODIES} -k bounded",
    ),
    Mutation(
        id="body-kind",
        path="security/access.py",
        find=in_function("_guard", "abort(415)"),
        change=remove_statement,
        tests=f"{BODIES} -k kinds",
    ),
    Mutation(
        id="body-zero-byte",
        path="security/bodies.py",
        find=in_function("_refuse", "'\\0' in ___"),
        change=never,
        tests=f"{BODIES} -k zero_byte",
    ),
    Mutation(
        id="form-unknown-fields",
        path="chat/pages/forms.py",
        find=in_function("accepted", "errors[name] = ___"),
        change=remove_statement,
        tests=f"{BODIES} -k unknown_fields",
    ),
    Mutation(
        id="form-unknown-account-fields",
        path="accounts/forms.py",
        find=in_function("Strict.validate", "if ___: ___", "unknown or ___", "unknown"),
        change=remove_operand,
        tests=f"{BODIES} -k unknown_fields",
    ),
    Mutation(
        id="query-unknown-fields",
        path="chat/pages/views.py",
        find=in_class("EventsQuery"),
        change=drop_keyword("extra"),
        tests=f"{BODIES} -k query",
    ),
    Mutation(
        id="password-length",
        path="accounts/__init__.py",
        find=in_function("Passwords.validate", "len(___) > LONGEST_PASSWORD"),
        change=never,
        tests=f"{BODIES} -k long_passwords",
    ),
]
