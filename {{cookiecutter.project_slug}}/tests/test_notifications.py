"""Devices are told of an answer that nobody has seen: encrypted, by known push services only."""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import http_ece
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from py_vapid import Vapid02
from sqlalchemy import select
from support import PAGE, Asked, MakeApp, ScriptedModel, Visitor, work_off

from app import jobs
from app.chat.models import Run
from app.database import now
from app.pwa import push

pytestmark = pytest.mark.one_engine

ENDPOINT = "https://fcm.googleapis.com/fcm/send/"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Device:
    """The browser's side of a subscription."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.auth = secrets.token_bytes(16)
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.endpoint = ENDPOINT + secrets.token_hex(8)
        self.form = {"endpoint": self.endpoint, "p256dh": base64url(point), "auth": base64url(self.auth)}

    def read(self, body: bytes) -> Any:
        return json.loads(http_ece.decrypt(body, private_key=self.key, auth_secret=self.auth, version="aes128gcm"))


@dataclass
class PushService(requests.adapters.BaseAdapter):
    """Takes what is sent to any push service, and answers as told."""

    status: int = 201
    location: str = ""
    taken: list[requests.PreparedRequest] = field(default_factory=list)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        self.taken.append(request)
        response = requests.Response()
        response.status_code, response.url, response.request = self.status, str(request.url), request
        response.raw = io.BytesIO()
        if self.location:
            response.headers["Location"] = self.location
        return response

    def close(self) -> None:
        pass


@pytest.fixture
def service() -> Iterator[PushService]:
    push._http.cache_clear()
    service = PushService()
    push._http().mount("https://", service)
    yield service
    push._http.cache_clear()


@pytest.fixture
def ready(make_app: MakeApp) -> Flask:
    """An application that can notify."""
    key = make_app().test_cli_runner().invoke(args=["vapid"]).output.strip()
    assert key.startswith("VAPID_PRIVATE_KEY=")
    return make_app(vapid_private_key=key.partition("=")[2])


@pytest.fixture
def eve(ready: Flask) -> Visitor:
    return Visitor.signed_in(ready, "eve@example.com")


def subscribed(visitor: Visitor, **more: str) -> Device:
    device = Device()
    response = visitor.post("/push/subscription", **device.form, **more)
    assert response.status_code == 204, response.text
    return device


def answered(visitor: Visitor, scripted: ScriptedModel, words: str = "Private words.") -> Asked:
    """A question and its answer, with nobody looking, and the jobs of some seconds later done."""
    scripted.answer(words)
    asked = visitor.ask("A private question")
    asked.page()
    work_later(visitor.app)
    return asked


def work_later(app: Flask) -> None:
    work_off(app)
    work_off(app, (now() + timedelta(seconds=10)).replace(tzinfo=None))


def test_a_device_reads_that_the_answer_is_ready_and_nothing_private(
    ready: Flask, eve: Visitor, scripted: ScriptedModel, service: PushService
) -> None:
    device = subscribed(eve)
    asked = answered(eve, scripted)
    (sent,) = service.taken
    assert sent.url == device.endpoint
    message = device.read(sent.body)
    assert message["url"] == asked.conversation
    assert message["body"] == "Your answer is ready."
    assert "rivate" not in json.dumps(message)
    assert int(sent.headers["ttl"]) > 0
    assert Vapid02.verify(sent.headers["Authorization"])
    with ready.app_context():
        assert push.public_key() in sent.headers["Authorization"]


def test_the_title_is_told_where_the_user_allows_it(
    eve: Visitor, scripted: ScriptedModel, service: PushService
) -> None:
    device = subscribed(eve, with_title="on")
    answered(eve, scripted)
    assert device.read(service.taken[0].body)["title"] == "A private question"


def test_every_device_is_told_and_one_that_is_signed_out_no_more(
    ready: Flask, eve: Visitor, scripted: ScriptedModel, service: PushService
) -> None:
    devices = [subscribed(eve)]
    for _ in range(2):
        other = Visitor(ready).sign_in_as(eve)
        devices.append(subscribed(other))
    answered(eve, scripted)
    assert {sent.url for sent in service.taken} == {device.endpoint for device in devices}
    other.post("/logout", PAGE)
    answered(eve, scripted)
    assert [sent.url for sent in service.taken[3:]] == [device.endpoint for device in devices[:2]]


def test_nobody_is_told_what_a_page_has_shown(eve: Visitor, scripted: ScriptedModel, service: PushService) -> None:
    subscribed(eve)
    scripted.answer("Words.")
    asked = eve.ask()
    (seen,) = re.findall(r'data-seen="([^"]+)"', asked.html)
    asked.page()
    assert eve.post(seen).status_code == 204
    work_later(eve.app)
    assert service.taken == []


def test_a_failed_answer_is_told_and_a_stopped_one_is_not(
    eve: Visitor, scripted: ScriptedModel, service: PushService
) -> None:
    device = subscribed(eve)
    scripted.fail(RuntimeError("no"))
    eve.ask().page()
    work_later(eve.app)
    assert "could not be answered" in device.read(service.taken[0].body)["body"]
    scripted.say("Begun")
    asked = eve.ask()
    eve.post(asked.stop)
    asked.page()
    work_later(eve.app)
    assert len(service.taken) == 1


@pytest.mark.parametrize("status", [404, 410])
def test_a_device_that_is_gone_is_forgotten(
    eve: Visitor, scripted: ScriptedModel, service: PushService, status: int
) -> None:
    subscribed(eve)
    service.status = status
    answered(eve, scripted)
    assert eve.rows(select(push.PushSubscription)) == []


def test_a_push_service_that_is_down_is_asked_again(
    ready: Flask, eve: Visitor, scripted: ScriptedModel, service: PushService
) -> None:
    subscribed(eve)
    service.status = 503
    answered(eve, scripted)
    service.status = 201
    work_off(ready, (now() + timedelta(minutes=1)).replace(tzinfo=None))
    assert len(service.taken) == 2
    assert len(eve.rows(select(push.PushSubscription))) == 1


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://10.0.0.8/x",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/x",
        "https://fcm.googleapis.com.evil.example/x",
        "https://evilfcm.googleapis.com/x",
        "https://fcm.googleapis.com@127.0.0.1/x",
        "https://fcm.googleapis.com:8443/x",
        "https://127.0.0.1\\@fcm.googleapis.com/x",
        "https://fcm.googleapis.com#@127.0.0.1/x",
        "https://.notify.windows.com/x",
        "https://notify.windows.com.evil.example/x",
        "https://fcm.googleapis.com/x y",
        "https://fcm.googleapis.com/" + "x" * 1000,
        "file:///etc/passwd",
        "",
    ],
)
def test_a_hostile_endpoint_is_refused(eve: Visitor, endpoint: str) -> None:
    refused = eve.post("/push/subscription", **Device().form | {"endpoint": endpoint})
    assert refused.status_code == 422
    assert list(refused.json["errors"]) == ["endpoint"]
    assert eve.rows(select(push.PushSubscription)) == []


@pytest.mark.parametrize("host", ["updates.push.services.mozilla.com", "web.push.apple.com", "db5p.notify.windows.com"])
def test_the_push_services_of_browsers_are_accepted(eve: Visitor, host: str) -> None:
    form = Device().form | {"endpoint": f"https://{host}/wpush/v2/gAAAA-_~=?token=a%2Fb"}
    assert eve.post("/push/subscription", **form).status_code == 204


@pytest.mark.parametrize("change", [{"p256dh": "x"}, {"auth": "y" * 23}, {"user_id": "z"}, {"with_title": "maybe"}])
def test_a_broken_subscription_is_refused(eve: Visitor, change: dict[str, str]) -> None:
    refused = eve.post("/push/subscription", **Device().form | change)
    assert list(refused.json["errors"]) == list(change)


def test_a_redirect_is_not_followed(eve: Visitor, scripted: ScriptedModel, service: PushService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inside:
        inside.settimeout(0.2)
        service.status, service.location = 307, f"http://127.0.0.1:{inside.getsockname()[1]}/"
        subscribed(eve)
        answered(eve, scripted)
        assert len(service.taken) == 1
        with pytest.raises(TimeoutError):
            inside.accept()


def test_a_host_that_is_no_longer_allowed_is_not_called(
    ready: Flask, eve: Visitor, make_app: MakeApp, scripted: ScriptedModel, service: PushService
) -> None:
    subscribed(eve)
    stricter = make_app(vapid_private_key=ready.extensions["settings"].vapid_private_key, push_hosts=["push.example"])
    (session_id,) = eve.rows(select(push.PushSubscription.session_id))
    with stricter.app_context(), pytest.raises(ValueError, match="PUSH_HOSTS"):
        push.send(session_id, {"body": "x"})
    assert service.taken == []


def test_a_user_turns_their_own_devices_off(ready: Flask, eve: Visitor) -> None:
    subscribed(eve)
    (session_id,) = eve.rows(select(push.PushSubscription.session_id))
    mallory = Visitor.signed_in(ready, "mallory@example.com")
    assert mallory.post(f"/push/{session_id}/remove").status_code == 404
    assert "Turn off" in eve.get("/account/settings").text
    assert eve.post(f"/push/{session_id}/remove").status_code == 303
    assert eve.rows(select(push.PushSubscription)) == []


def test_without_a_key_nothing_is_offered(app: Flask, ada: Visitor) -> None:
    assert "not set up" in ada.get("/account/settings").text
    assert 'name="push-key" content=""' in ada.get("/chat").text


def test_users_who_never_wanted_it_cost_no_job(
    ready: Flask, eve: Visitor, scripted: ScriptedModel, service: PushService
) -> None:
    scripted.answer("Words.")
    eve.ask().page()
    with ready.app_context():
        assert jobs.queue().pending_count() == 0
    assert eve.rows(select(Run.seen_at)) == [None]
