"""Values that cost something to make, kept for a while: in Redis where there is one, else in this process.

What belongs to a user has the user's id in its key. A Redis that fails costs time, never an answer.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app
from pydantic_core import to_json
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

logger = logging.getLogger(__name__)
TIMEOUT, PAUSE = 0.25, 5.0  # seconds a request waits for Redis, and seconds without a try after it has failed
MOST = 5_000  # values in this process


class Cache:
    """The cache of one application."""

    def __init__(self, url: str):
        options: dict[str, Any] = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
        self._redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options) if url else None
        self._local: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._lost_at = float("-inf")
        self._building = [threading.Lock() for _ in range(64)]

    def get_or_set(self, key: str, seconds: float, build: Callable[[], Any]) -> Any:
        """What *build* returned at most *seconds* ago, made of JSON values; of those of this process who miss it at
        once, one builds and the others wait."""
        if (found := self._get(key)) is None:
            with self._building[hash(key) % len(self._building)]:
                if (found := self._get(key)) is None:
                    found = to_json(build())
                    self._put(key, found, seconds)
        return json.loads(found)

    def delete(self, key: str) -> None:
        """Forget a value, because what it was made of has changed."""
        self._local.pop(key, None)
        self._ask(lambda redis: redis.delete(f"cache:{key}"))

    def _get(self, key: str) -> bytes | None:
        if self._available:
            found: bytes | None = self._ask(lambda redis: redis.get(f"cache:{key}"))
            return found
        until, value = self._local.get(key, (0.0, None))
        return value if until > time.monotonic() else None

    def _put(self, key: str, value: bytes, seconds: float) -> None:
        if self._available:
            self._ask(lambda redis: redis.set(f"cache:{key}", value, px=int(seconds * 1000)))
            return
        # Without Redis others cannot say that a value is out of date; alone, nobody else would.
        self._local[key] = time.monotonic() + (min(seconds, PAUSE) if self._redis else seconds), value
        if len(self._local) > MOST:
            self._local.popitem(last=False)

    @property
    def _available(self) -> bool:
        return self._redis is not None and time.monotonic() > self._lost_at + PAUSE

    def _ask(self, ask: Callable[[Redis], Any]) -> Any:
        if self._redis is None or not self._available:
            return None
        try:
            return ask(self._redis)
        except (RedisError, OSError) as error:
            logger.warning("the cache is lost for now: %s", type(error).__name__)
            self._lost_at = time.monotonic()
            return None


def cache() -> Cache:
    """The cache of the current application."""
    found: Cache = current_app.extensions["cache"]
    return found


def get_or_set(key: str, seconds: float, build: Callable[[], Any]) -> Any:
    """See ``Cache.get_or_set``."""
    return cache().get_or_set(key, seconds, build)


def init_app(app: Flask) -> None:
    app.extensions["cache"] = Cache(app.extensions["settings"].redis)
