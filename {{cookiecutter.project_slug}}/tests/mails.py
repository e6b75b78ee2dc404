"""Mails that were sent, and visitors over https as production's cookies ask for."""

from __future__ import annotations

import re
from email.message import EmailMessage
from typing import Any

from support import FETCH, PAGE, Visitor, work_off


class Outbox(list[EmailMessage]):
    """Takes the place of an SMTP server."""

    def __call__(self, host: str, port: int, timeout: float) -> Outbox:
        return self

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def has_extn(self, name: str) -> bool:
        return False

    def login(self, user: str, password: str) -> None:
        pass

    def send_message(self, message: EmailMessage) -> None:
        self.append(message)

    def link(self, path: str) -> str:
        """The newest mailed link under *path*, without its host."""
        text = self[-1].get_body(("plain",)).get_content()
        return re.findall(rf"https?://[^/\s]+({path}/\S+)", text)[0]


class Secure(Visitor):
    """A visitor over https, as production's cookies ask for."""

    def get(self, url: str, headers: dict[str, str] = PAGE) -> Any:
        return self.client.get(url, headers=headers, base_url="https://localhost")

    def post(self, url: str, headers: dict[str, str] = FETCH, **form: str) -> Any:
        csrf = self.get("/account/csrf", FETCH).json["token"]
        headers = headers | {"X-CSRFToken": csrf, "Referer": "https://localhost/"}
        response = self.client.post(url, data=form, headers=headers, base_url="https://localhost")
        work_off(self.app)  # mails are queued
        return response
