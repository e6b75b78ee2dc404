"""Mutations of who may see and do what: S8 ownership and access, S10 accounts."""

from __future__ import annotations

from changes import (
    always,
    drop_keyword,
    never,
    remove_element,
    remove_operand,
    remove_statement,
    replace_by,
)
from mutation import Mutation
from places import in_class, in_function, in_module, in_toml

ACCESS = "test_access.py"
ACCOUNTS = "test_accounts.py"
AGENT = "test_agent.py"
SETTINGS_PAGE = "test_settings_page.py"
SIGN_UP = "test_sign_up.py"
OTHERS_THINGS = f"{ACCESS}::test_another_users_things_are_not_there_by_any_route"

ACCESS_TABLE = "security/access.py"
FLASK_SECURITY = "accounts/flask-security.toml"
OWN_DATA = "accounts/own_data.py"
SESSIONS = "accounts/sessions.py"
TWO_FACTOR = "accounts/two_factor.py"

S8 = [
    Mutation(
        id="owner-of-a-row",
        path="chat/pages/views.py",
        find=in_module("___.user_id != current_user.id"),
        change=remove_operand,
        tests=OTHERS_THINGS,
    ),
    Mutation(
        id="owner-of-a-session",
        path=SESSIONS,
        find=in_function("end", "UserSession.user_id == user.id"),
        change=remove_element,
        tests=OTHERS_THINGS,
    ),
    Mutation(
        id="owner-of-the-list",
        path="chat/pages/conversation_list.py",
        find=in_module("Conversation.user_id == user_id"),
        change=remove_element,
        tests=f"{ACCESS} -k no_list",
    ),
    Mutation(
        id="owner-of-the-devices",
        path=SESSIONS,
        find=in_function("living", "UserSession.user_id == user_id"),
        change=remove_element,
        tests=f"{ACCESS} -k no_list",
    ),
    Mutation(
        id="owner-of-the-export",
        path=OWN_DATA,
        find=in_function("rows_of", "column == user_id"),
        change=remove_element,
        tests=f"{ACCESS} -k no_list",
    ),
    Mutation(
        id="owner-of-exported-conversations",
        path="chat/pages/export.py",
        find=in_module("Conversation.user_id == user_id"),
        change=remove_element,
        tests=f"{ACCESS} -k no_list",
    ),
    Mutation(
        id="owner-of-ended-sessions",
        path=SESSIONS,
        find=in_function("end_others", "UserSession.user_id == user.id"),
        change=remove_element,
        tests=f"{ACCESS} -k no_list",
    ),
    Mutation(
        id="owner-of-found-words",
        path="chat/search.py",
        find=in_module("f'user_id:\"{user_id.hex}\"'"),
        change=remove_element,
        tests=f"{AGENT} -k ones_own",
    ),
    Mutation(
        id="owner-of-counted-conversations",
        path="chat/tools.py",
        find=in_function("my_usage", "Conversation.user_id == user_id"),
        change=always,
        tests=f"{AGENT} -k ones_own",
    ),
    Mutation(
        id="owner-of-an-approval",
        path="chat/runs/service.py",
        find=in_function("decide", "Run.user_id == user_id"),
        change=remove_element,
        tests=OTHERS_THINGS,
    ),
    Mutation(
        id="reader-writes",
        path="database.py",
        find=in_module("'query_only=ON'"),
        change=remove_element,
        tests="test_database.py -k cannot_write",
    ),
    Mutation(
        id="access-signed-in",
        path=ACCESS_TABLE,
        find=in_function("_guard", "not current_user.is_authenticated"),
        change=never,
        tests=f"{ACCESS} -k without_signing_in",
    ),
    Mutation(
        id="access-admin",
        path=ACCESS_TABLE,
        find=in_function("_guard", "not current_user.is_admin"),
        change=never,
        tests=f"{ACCESS} -k admin",
    ),
    Mutation(
        id="access-unlisted",
        path=ACCESS_TABLE,
        find=in_function(
            "_guard",
            "if route is None or ___: abort(404)",
        ),
        change=replace_by("if route is None: return None"),
        tests=f"{ACCESS} -k not_in_the_table",
    ),
]
S10 = [
    Mutation(
        id="password-hash-cost",
        path=FLASK_SECURITY,
        find=in_toml("", "SECURITY_PASSWORD_HASH_PASSLIB_OPTIONS"),
        change=replace_by(
            "{ argon2__type = 'ID', argon2__memory_cost = 1024,"
            " argon2__time_cost = 2, argon2__parallelism = 1 }",
        ),
        tests=f"{ACCOUNTS} -k owasp_cost",
    ),
    Mutation(
        id="password-common",
        path=FLASK_SECURITY,
        find=in_toml("", "SECURITY_PASSWORD_COMPLEXITY_CHECKER"),
        change=replace_by('""'),
        tests=f"{SETTINGS_PAGE} -k common",
    ),
    Mutation(
        id="password-short",
        path=FLASK_SECURITY,
        find=in_toml("", "SECURITY_PASSWORD_LENGTH_MIN"),
        change=replace_by("8"),
        tests=f"{ACCOUNTS} -k short_password",
    ),
    Mutation(
        id="sign-up-tells-who-exists",
        path="accounts/__init__.py",
        find=in_function("_options", "'RETURN_GENERIC_RESPONSES'"),
        change=remove_element,
        tests=SIGN_UP,
    ),
    Mutation(
        id="time-tells-who-exists",
        path=ACCESS_TABLE,
        find=in_function("_guard", "___.account_limit and ___"),
        change=never,
        tests=f"{SIGN_UP} -k as_long",
    ),
    Mutation(
        id="remember-me",
        path="accounts/forms.py",
        find=in_module("{'remember': None}"),
        change=replace_by("{}"),
        tests=f"{ACCOUNTS} -k remember_me",
    ),
    Mutation(
        id="sign-in-by-token",
        path=SESSIONS,
        find=in_function("init_app", "___.request_loader(None)"),
        change=remove_statement,
        tests=f"{ACCOUNTS} -k 'nothing_signs_in or basic'",
    ),
    Mutation(
        id="session-idle",
        path=SESSIONS,
        find=in_function("is_alive", "UserSession.last_seen_at > ___"),
        change=remove_operand,
        tests=f"{ACCOUNTS} -k idle_or_old",
    ),
    Mutation(
        id="session-too-old",
        path=SESSIONS,
        find=in_function("is_alive", "UserSession.created_at > ___"),
        change=remove_operand,
        tests=f"{ACCOUNTS} -k idle_or_old",
    ),
    Mutation(
        id="session-survives-sign-out",
        path=SESSIONS,
        find=in_function("init_app", "user_logged_out.connect(*___)"),
        change=remove_statement,
        tests=f"{ACCOUNTS} -k new_session_and_ends",
    ),
    Mutation(
        id="session-survives-new-password",
        path=SESSIONS,
        find=in_function("init_app", "password_changed.connect(*___)"),
        change=remove_statement,
        tests=f"{SETTINGS_PAGE} -k new_password_ends",
    ),
    Mutation(
        id="session-survives-reset",
        path=SESSIONS,
        find=in_function("init_app", "password_reset.connect(*___)"),
        change=remove_statement,
        tests=f"{SETTINGS_PAGE} -k mailed_link",
    ),
    Mutation(
        id="links-survive-new-address",
        path=SESSIONS,
        find=in_function("init_app", "change_email_confirmed.connect(*___)"),
        change=remove_statement,
        tests=f"{SETTINGS_PAGE} -k address",
    ),
    Mutation(
        id="disabled-account-signs-in",
        path="accounts/models.py",
        find=in_class("User", "roles = ___value"),
        change=replace_by("is_authenticated = True\nroles = ___value"),
        tests=f"{ACCOUNTS} -k disabled",
    ),
    Mutation(
        id="session-token-stored",
        path=SESSIONS,
        find=in_function("_hash", "return ___"),
        change=replace_by("return token"),
        tests=f"{ACCOUNTS} -k hash_of_a_token",
    ),
    Mutation(
        id="no-password-asked-again",
        path="accounts/__init__.py",
        find=in_module("FRESH_FOR = ___"),
        change=replace_by("FRESH_FOR = timedelta(days=999)"),
        tests=f"{SETTINGS_PAGE} -k password_again",
    ),
    Mutation(
        id="no-password-asked-before-deletion",
        path="accounts/views.py",
        find=in_module("FRESH_MINUTES = ___"),
        change=replace_by("FRESH_MINUTES = 10**6"),
        tests=f"{SETTINGS_PAGE} -k password_again",
    ),
    Mutation(
        id="code-works-twice",
        path=TWO_FACTOR,
        find=in_function(
            "OneTimeCodes.verify_totp",
            "___.match(___, last_counter=___, **___)",
        ),
        change=drop_keyword("last_counter"),
        tests=f"{SETTINGS_PAGE} -k works_once",
    ),
    Mutation(
        id="recovery-codes-stored",
        path=TWO_FACTOR,
        find=in_function(
            "options",
            "[base64.urlsafe_b64encode(___) for ___ in ___]",
        ),
        change=replace_by("None"),
        tests=f"{SETTINGS_PAGE} -k recovery_code",
    ),
    Mutation(
        id="export-tells-secrets",
        path=OWN_DATA,
        find=in_function("columns", "___ not in SECRET"),
        change=remove_operand,
        tests=f"{SETTINGS_PAGE} -k but_secrets",
    ),
    Mutation(
        id="deletion-keeps-rows",
        path=OWN_DATA,
        find=in_function("delete_account", "session.execute(delete(User).where(___))"),
        change=replace_by("session.get_one(User, user.id).active = False"),
        tests=f"{SETTINGS_PAGE} -k deleted_account",
    ),
]
