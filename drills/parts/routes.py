"""Every route of the running application with good values for all that it takes: where fuzzers and scanners start."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field

from fake_provider import call
from served import PASSWORD, Served, Visitor, question

EMAIL, KEY, TEXT = "{email}", "{key}", "What is 2 + 2?"
POINT, SECRET = "B" + "A" * 86, "A" * 22
QUERIES: dict[str, dict[str, str]] = {
    "chat.search": {"q": "Hello"},
    "chat.export": {"format": "md"},
    "chat.run_events": {"after": "0"},
    "security.login": {"next": "/chat"},
    "security.register": {"next": "/chat"},
    "security.verify": {"next": "/chat"},
    "security.mf_recovery": {"next": "/chat"},
    "security.two_factor_token_validation": {"next": "/chat"},
}
BODIES: dict[str, dict[str, str]] = {
    "security.login": {"email": EMAIL, "password": PASSWORD, "next": "/chat"},
    "security.logout": {},
    "security.register": {"email": "{new}", "password": PASSWORD, "next": "/chat"},
    "security.send_confirmation": {"email": EMAIL},
    "security.confirm_email": {},
    "security.forgot_password": {"email": EMAIL},
    "security.reset_password": {"password": PASSWORD},
    "security.two_factor_token_validation": {"code": "123456"},
    "security.mf_recovery": {"code": "a1b2-c3d4"},
    "security.two_factor_rescue": {"help_setup": "lost_device"},
    "security.tf_select": {"which": "authenticator"},
    "security.verify": {"password": PASSWORD},
    "security.change_password": {"password": PASSWORD, "new_password": PASSWORD + " 2"},
    "security.change_email": {"email": "{new}"},
    "security.two_factor_setup": {"setup": "authenticator"},
    "security.two_factor_setup_validate": {"code": "123456"},
    "security.mf_recovery_codes": {"generate_new_codes": "1"},
    "accounts.end_session": {},
    "accounts.end_other_sessions": {},
    "accounts.delete": {"email": EMAIL},
    "avatar.upload": {"picture": ""},
    "avatar.delete": {},
    "chat.start": {"text": TEXT, "client_key": KEY},
    "chat.ask": {"text": TEXT, "client_key": KEY},
    "chat.edit": {"text": TEXT, "client_key": KEY},
    "chat.rename": {"title": "Sums"},
    "chat.delete": {},
    "chat.restore": {},
    "chat.regenerate": {},
    "chat.stop": {},
    "chat.show_version": {},
    "chat.feedback": {"rating": "1", "reason": "It is right."},
    "chat.decide": {"decision": "approve", "reason": "Yes."},
    "chat.seen": {},
    "pwa.set_appearance": {"scheme": "dark"},
    "pwa.subscribe": {
        "endpoint": "https://127.0.0.1/send/x", "p256dh": POINT, "auth": SECRET, "with_title": "true",
    },
    "pwa.unsubscribe": {},
}  # fmt: skip
# What ends the session or the account that it is sent by.
ENDS_SESSIONS = {
    "security.logout", "accounts.delete", "accounts.end_other_sessions", "accounts.end_session",
    "security.change_password", "security.reset_password", "security.two_factor_setup_validate",
}  # fmt: skip
OF_ANSWERS = {"chat.regenerate", "chat.feedback"}


@dataclass
class Things:
    """Rows of one member, of every kind that an address names."""

    email: str
    ids: dict[str, list[str]] = field(default_factory=dict)

    def values(self, route: Route) -> dict[str, str]:
        """Ids for the path of *route*; of the messages the answer, where it has to be one."""
        first = 1 if route.endpoint in OF_ANSWERS else 0
        return {name: self.ids[name][first if name == "message_id" else 0] for name in route.parts}

    def fill(self, value: str) -> str:
        new = f"{uuid.uuid4().hex[:12]}@example.com"
        return value.replace(EMAIL, self.email).replace(KEY, str(uuid.uuid4())).replace("{new}", new)


@dataclass(frozen=True)
class Route:
    endpoint: str
    method: str
    rule: str

    @property
    def query(self) -> dict[str, str]:
        return QUERIES.get(self.endpoint, {})

    @property
    def body(self) -> dict[str, str]:
        return BODIES[self.endpoint] if self.method == "POST" else {}

    @property
    def parts(self) -> list[str]:
        """The names of what is variable in the path."""
        return re.findall(r"<(?:\w+:)?(\w+)>", self.rule)

    def path(self, values: dict[str, str]) -> str:
        return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: values[found[1]], self.rule)


def routes(served: Served) -> list[Route]:
    """Those of the URL map of the running application, without the drill's own."""
    found = [Route(*row) for row in json.loads((served.folder / "routes.json").read_text())]
    unknown = {route.endpoint for route in found if route.method == "POST"} - BODIES.keys()
    if unknown:
        raise SystemExit(f"drills/parts/routes.py does not know what these take: {', '.join(sorted(unknown))}")
    return sorted((route for route in found if "hole" not in route.endpoint), key=str)


def things(served: Served, member: Visitor, email: str) -> Things:
    """Two conversations, an answer that waits for approval, a session; and what else an address may name."""
    served.model.will(call("delete_conversation", json.dumps({"title": "none of that name"})))
    waiting = question(member, "Delete a conversation")
    plain = question(member)
    member.post("/reset", email=email)
    token = served.mailbox.link(email, "/reset").rpartition("/")[2]
    pages = member.ask(f"/chat/{plain[0]}").text + member.ask(f"/chat/{waiting[0]}").text

    def all_of(pattern: str) -> list[str]:
        return list(dict.fromkeys(re.findall(pattern + r"([0-9a-f-]{36})", pages)))

    ids = {
        "conversation_id": [plain[0], waiting[0]],
        "message_id": all_of('id="m'),
        "run_id": [plain[1], waiting[1]],
        "call_id": all_of("/tool-calls/"),
        "session_id": re.findall(r"/sessions/([0-9a-f-]{36})/end", member.ask("/account/settings").text),
        "token": [token],
        "filename": re.findall(r"/static/(css/tokens[^\"]+)", pages),
    }
    return Things(email, {name: found or [str(uuid.uuid4())] for name, found in ids.items()})
