"""Every protection that is removed or weakened once: what is changed where, and the tests that have to notice."""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """*old* occurs once in *path* under ``src/app``, and becomes *new*; *tests* must go red."""

    id: str
    path: str
    old: str
    new: str
    tests: str


ACCESS, ACCOUNTS, AGENT, BODIES = "test_access.py", "test_accounts.py", "test_agent.py", "test_bodies.py"
LIMITS, ATTACKS, RESPONSES = "test_limits.py", "test_markdown_attacks.py", "test_responses.py"
SETTINGS, PAGE, SIGN_UP = "test_settings.py", "test_settings_page.py", "test_sign_up.py"
HEADER_SET = f"{RESPONSES}::test_every_answer_carries_the_header_set"
OTHERS_THINGS = f"{ACCESS}::test_another_users_things_are_not_there_by_any_route"
DIRECTIVES = {
    "default-src": "'none'",
    "style-src": "'self'",
    "img-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "worker-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "object-src": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "app",
}
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "X-Permitted-Cross-Domain-Policies": "none",
}
HEAD, HEADER_TABLE = "security/headers.py", "security/headers.toml"


def _line(name: str, value: str, prefix: str) -> Mutation:
    line = f'{name} = "{value}"'
    return Mutation(f"{prefix}-{name.lower()}", HEADER_TABLE, f"\n{line}", f"\n# {line}", HEADER_SET)


S1 = [
    Mutation("csrf-not-checked", "security/__init__.py", "(headers, bodies, csrf, limits", "(headers, bodies, limits", f"{RESPONSES} -k token"),
    Mutation("csrf-no-referrer-check", "security/__init__.py", 'app.config["WTF_CSRF_TIME_LIMIT"] = None',
             'app.config["WTF_CSRF_TIME_LIMIT"] = None; app.config["WTF_CSRF_SSL_STRICT"] = False', f"{RESPONSES} -k another_site"),
    Mutation("csrf-token-survives-sign-in", "accounts/sessions.py", 'for key in ("csrf_token", "_flashes"):',
             'for key in ("_flashes",):', f"{ACCOUNTS} -k token_of_before"),
]  # fmt: skip
S2 = [
    Mutation("limit-per-account", "security/access.py", "((route.account_limit, account), ", "((None, None), ",
             f"{LIMITS} -k one_account"),
    Mutation("limit-per-client", "security/access.py", ", (route.limit, client)):", ",):", f"{LIMITS} -k many_accounts"),
    Mutation("limit-ipv6-network", "security/limits.py", " >> 64 << 64", "", f"{LIMITS} -k 'customer or many_accounts'"),
    Mutation("limit-spelling-of-an-address", "security/limits.py", "email.casefold()", "email", f"{LIMITS} -k one_account"),
    Mutation("limit-second-factor", "security/limits.py", "if request.endpoint in SECOND_FACTOR:", "if False:",
             f"{LIMITS} -k second_factor"),
    Mutation("limit-mails", "security/access.toml", 'mails = "3/15 minutes', 'mails = "300/15 minutes',
             f"{LIMITS} -k mailbox"),
    Mutation("limit-owner-locked-out", "accounts/sessions.py", '_user_id"] = token\n    know_device(user.email)\n',
             '_user_id"] = token\n', f"{LIMITS} -k owner"),
    Mutation("limit-owner-locked-out-after-reset", "accounts/sessions.py", "    know_device(user.email)\n    end_others(",
             "    end_others(", f"{LIMITS} -k owner"),
    Mutation("limit-no-fallback", "security/limits.py", '"in_memory_fallback_enabled": True', '"in_memory_fallback_enabled": False',
             f"{LIMITS} -k store_is_gone"),
    Mutation("limit-fields", "security/limits.py", "    app.after_request(_announce)\n", "", f"{LIMITS} -k learns"),
    Mutation("proxy-of-ones-own-invention", "security/__init__.py", "if hops := settings.proxy_hops:",
             "if hops := settings.proxy_hops or 1:", f"{LIMITS} -k choose_its_address"),
]  # fmt: skip
S3 = [
    Mutation("key-short", "config.py", "len(key) < 32 or ", "", f"{SETTINGS} -k weak_key"),
    Mutation("key-regular", "config.py", "len(set(key)) < 12 or ", "", f"{SETTINGS} -k weak_key"),
    Mutation("key-placeholder", "config.py", " or any(word in key.lower() for word in PLACEHOLDERS)", "",
             f"{SETTINGS} -k weak_key"),
    Mutation("key-fallbacks-forgotten", "accounts/two_factor.py", ", *settings.secret_key_fallbacks)", ",)",
             f"{PAGE} -k new_secret_key"),
    Mutation("key-hashes-passwords", "accounts/__init__.py", '"STATIC_FOLDER": None,',
             '"STATIC_FOLDER": None, "PASSWORD_SINGLE_HASH": ["plaintext"],'
             ' "PASSWORD_SALT": settings.secret_key.get_secret_value(),', f"{PAGE} -k new_secret_key"),
]  # fmt: skip
S4 = [
    Mutation("errors-tell-their-cause", "errors.py", "return answer(InternalServerError())",
             'return answer(Problem(500, "error", str(error)))', f"{RESPONSES} -k unexpected"),
    Mutation("errors-without-reference", "errors.py", ', "trace_id": tracing.current_ids()[0]}', "}", f"{RESPONSES} -k errors_are_pages"),
]  # fmt: skip
S5 = [
    Mutation("body-bytes", "security/bodies.py", "        request.max_content_length = FORM_BYTES\n", "", f"{BODIES} -k bounded"),
    Mutation("body-fields", "security/bodies.py", '.count(b"&") >= FORM_FIELDS', '.count(b"&") >= 10**9', f"{BODIES} -k bounded"),
    Mutation("body-parts", "security/bodies.py", '    app.config["MAX_FORM_PARTS"] = FORM_FIELDS\n', "", f"{BODIES} -k bounded"),
    Mutation("body-kind", "security/access.py", "        abort(415)", "        pass", f"{BODIES} -k kinds"),
    Mutation("body-zero-byte", "security/bodies.py", '"\\0" in text', "text is None", f"{BODIES} -k zero_byte"),
    Mutation("form-unknown-fields", "chat/forms.py", "if not form.validate() or unknown:", "if not form.validate():",
             f"{BODIES} -k unknown_fields"),
    Mutation("form-unknown-account-fields", "accounts/forms.py", "if unknown or any(", "if any(", f"{BODIES} -k unknown_fields"),
    Mutation("query-unknown-fields", "chat/views.py", 'class Position(BaseModel, extra="forbid"):', "class Position(BaseModel):",
             f"{BODIES} -k query"),
    Mutation("password-length", "accounts/__init__.py", "if len(password) > LONGEST_PASSWORD:", "if False:",
             f"{BODIES} -k long_passwords"),
]  # fmt: skip
S6 = [
    *(_line(name, value, "csp") for name, value in DIRECTIVES.items()),
    Mutation("csp-script-src", HEADER_TABLE, '\nscript-src = ""', "\nscript-src = \"'self'\"", HEADER_SET),
    *(_line(name, value, "header") for name, value in HEADERS.items()),
    Mutation("header-strict-transport-security", HEAD, " or request.is_secure:", ":", HEADER_SET),
    Mutation("header-referrer-policy", HEADER_TABLE, 'Referrer-Policy = "same-origin"', 'Referrer-Policy = "unsafe-url"',
             HEADER_SET),
    Mutation("header-permissions-policy", HEAD, '"permissions_policy": TABLE["permissions-policy"]', '"permissions_policy": {}', HEADER_SET),
    Mutation("header-cache-control", HEAD, '        response.headers.setdefault("Cache-Control", "no-store")\n', "",
             f"{RESPONSES} -k never_kept"),
    Mutation("csp-nonce", HEAD, 'content_security_policy_nonce_in=["script-src"]', "content_security_policy_nonce_in=[]",
             f"{RESPONSES} -k inline"),
    Mutation("hosts-any", "security/bodies.py", "(trusted := settings().trusted_hosts)", "(trusted := ())",
             f"{RESPONSES} -k unknown_hosts"),
    Mutation("cookie-host-prefix", "security/__init__.py", '"__Host-session" if secure', '"session" if secure',
             f"{SIGN_UP} -k cookies"),
    Mutation("cookie-secure", "security/__init__.py", "SESSION_COOKIE_SECURE=secure", "SESSION_COOKIE_SECURE=False",
             f"{SIGN_UP} -k cookies"),
    Mutation("cookie-samesite", HEADER_TABLE, 'session_cookie_samesite = "Lax"', 'session_cookie_samesite = "None"',
             f"{SIGN_UP} -k cookies"),
]  # fmt: skip
SANITISER = "security/markdown.py"
WHOLE = f"{ATTACKS} -k nothing_of_it"
S7 = [
    Mutation("sanitiser-off", SANITISER, "Markup(_cleaner.clean(html))", "Markup(html)", WHOLE),
    Mutation("sanitiser-invisible-characters", SANITISER, 'return INVISIBLE.sub("", text)', "return text", WHOLE),
    Mutation("sanitiser-link-rel", SANITISER, 'link_rel="noopener noreferrer nofollow"', "link_rel=None", WHOLE),
    Mutation("sanitiser-own-links", SANITISER, "(https?://|mailto:)[^/]", ".", WHOLE),
    Mutation("sanitiser-reference-links", SANITISER, '["reference", "html_block", "html_inline"]', '["html_block", "html_inline"]',
             "test_markdown.py"),
]  # fmt: skip
S8 = [
    Mutation("owner-of-a-row", "chat/views.py", "row is None or row.user_id != current_user.id", "row is None", OTHERS_THINGS),
    Mutation("owner-of-a-session", "accounts/sessions.py", "UserSession.id == session_id, UserSession.user_id == user.id",
             "UserSession.id == session_id", OTHERS_THINGS),
    Mutation("owner-of-the-list", "chat/search.py", "Conversation.user_id == user_id, ", "", f"{ACCESS} -k no_list"),
    Mutation("owner-of-the-devices", "accounts/sessions.py", "UserSession.user_id == user_id, is_alive", "is_alive",
             f"{ACCESS} -k no_list"),
    Mutation("owner-of-the-export", "accounts/own_data.py", ".where(column == user_id)", "", f"{ACCESS} -k no_list"),
    Mutation("owner-of-exported-conversations", "chat/export.py", ".where(Conversation.user_id == user_id)", "",
             f"{ACCESS} -k no_list"),
    Mutation("owner-of-ended-sessions", "accounts/sessions.py", "UserSession.user_id == user.id, UserSession.id.is_d",
             "UserSession.id.is_d", f"{ACCESS} -k no_list"),
    Mutation("owner-of-found-words", "chat/search.py", """f'user_id:"{user_id.hex}"', *""", "*", f"{AGENT} -k ones_own"),
    Mutation("owner-of-counted-conversations", "chat/tools.py", "kept = Conversation.user_id == user_id, Conversation.d", "kept = True, Conversation.d", f"{AGENT} -k ones_own"),
    Mutation("owner-of-an-approval", "chat/runs.py", ".where(Run.user_id == user_id)", "", OTHERS_THINGS),
    Mutation("reader-writes", "database.py", '("query_only=ON",)', "()", "test_database.py -k cannot_write"),
    Mutation("access-signed-in", "security/access.py", "if route.who != PUBLIC and not current_user.is_authenticated:", "if False:",
             f"{ACCESS} -k without_signing_in"),
    Mutation("access-admin", "security/access.py", "if route.who == ADMIN and not current_user.is_admin:", "if False:",
             f"{ACCESS} -k admin"),
    Mutation("access-unlisted", "security/access.py", "    if route is None or route.who == NOBODY:\n        abort(404)\n",
             "    if route is None:\n        return None\n", f"{ACCESS} -k not_in_the_table"),
]  # fmt: skip
S9 = [
    Mutation("xss-question", "templates/chat/_messages.html", "{{ message.text }}", "{{ message.text | safe }}",
             "test_conversations.py -k shown_as_text"),
    Mutation("xss-tool-step", "templates/chat/_answer.html", '"…", 0) }}', '"…", 0) | safe }}',
             f"{AGENT} -k markup"),
]  # fmt: skip
SESSIONS = "accounts/sessions.py"
S10 = [
    Mutation("password-hash-cost", "accounts/flask-security.toml", "argon2__memory_cost = 19456", "argon2__memory_cost = 1024",
             f"{ACCOUNTS} -k owasp_cost"),
    Mutation("password-common", "accounts/flask-security.toml", 'COMPLEXITY_CHECKER = "zxcvbn"', 'COMPLEXITY_CHECKER = ""',
             f"{PAGE} -k common"),
    Mutation("password-short", "accounts/flask-security.toml", "LENGTH_MIN = 10", "LENGTH_MIN = 8",
             f"{ACCOUNTS} -k short_password"),
    Mutation("sign-up-tells-who-exists", "accounts/__init__.py", ', "RETURN_GENERIC_RESPONSES"), confirm', "), confirm", f"{SIGN_UP}"),
    Mutation("time-tells-who-exists", "security/access.py", "if route.account_limit and not settings().development:", "if False:",
             "test_sign_up.py -k as_long"),
    Mutation("remember-me", "accounts/forms.py", '{"remember": None}', "{}", f"{ACCOUNTS} -k remember_me"),
    Mutation("sign-in-by-token", SESSIONS, "    manager.request_loader(None)", "    pass", f"{ACCOUNTS} -k 'nothing_signs_in or basic'"),
    Mutation("session-idle", SESSIONS, "UserSession.last_seen_at > now() - idle", "UserSession.id.is_not(None)",
             f"{ACCOUNTS} -k idle_or_old"),
    Mutation("session-too-old", SESSIONS, "UserSession.created_at > now() - age", "UserSession.id.is_not(None)",
             f"{ACCOUNTS} -k idle_or_old"),
    Mutation("session-survives-sign-out", SESSIONS, "    user_logged_out.connect(end_current, app)\n", "",
             f"{ACCOUNTS} -k new_session_and_ends"),
    Mutation("session-survives-new-password", SESSIONS, "    password_changed.connect(end_others, app)\n", "",
             f"{PAGE} -k new_password_ends"),
    Mutation("session-survives-reset", SESSIONS, "    password_reset.connect(_after_reset, app)\n", "", f"{PAGE} -k mailed_link"),
    Mutation("links-survive-new-address", SESSIONS, "    change_email_confirmed.connect(_void_links, app)\n", "", f"{PAGE} -k address"),
    Mutation("disabled-account-signs-in", "accounts/models.py", "    roles = []", "    is_authenticated = True\n    roles = []",
             f"{ACCOUNTS} -k disabled"),
    Mutation("session-token-stored", SESSIONS, "return hashlib.sha256(token.encode()).hexdigest()", "return token",
             f"{ACCOUNTS} -k hash_of_a_token"),
    Mutation("no-password-asked-again", "accounts/__init__.py", "FRESH_FOR = timedelta(minutes=15)", "FRESH_FOR = timedelta(days=999)",
             f"{PAGE} -k password_again"),
    Mutation("no-password-asked-before-deletion", "accounts/views.py", "FRESH_MINUTES = 15", "FRESH_MINUTES = 10**6",
             f"{PAGE} -k password_again"),
    Mutation("code-works-twice", "accounts/two_factor.py", ", last_counter=user.tf_last_counter)", ")", f"{PAGE} -k works_once"),
    Mutation("recovery-codes-stored", "accounts/two_factor.py",
             "[base64.urlsafe_b64encode(key) for key in keys]", "None", f"{PAGE} -k recovery_code"),
    Mutation("export-tells-secrets", "accounts/own_data.py", "if name not in SECRET and", "if", f"{PAGE} -k but_secrets"),
    Mutation("deletion-keeps-rows", "accounts/own_data.py", "session.execute(delete(User).where(User.id == user.id))",
             "session.get_one(User, user.id).active = False", f"{PAGE} -k deleted_account"),
]  # fmt: skip
S11 = [
    Mutation("model-without-limits", "chat/asking.py", "UsageLimits(request_limit=settings.max_requests_per_run, ",
             "UsageLimits(request_limit=None, ", "test_runs.py -k endless"),
]  # fmt: skip
GROUPS = {
    "S1": S1,
    "S2": S2,
    "S3": S3,
    "S4": S4,
    "S5": S5,
    "S6": S6,
    "S7": S7,
    "S8": S8,
    "S9": S9,
    "S10": S10,
    "S11": S11,
}
ALL = [mutation for group in GROUPS.values() for mutation in group]
