"""Values that cost something to make, kept for a while by Flask-Caching: in Redis, or in this process without one.

What belongs to a user has the user's id in its key. A Redis that fails costs time, never an answer.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from cachelib.serializers import JSONSerializer
from flask import Flask, current_app
from flask_caching import Cache
from pydantic_core import to_jsonable_python
from redis import RedisError, backoff, retry

TIMEOUT, PAUSE = 0.25, 5.0  # seconds a request waits for Redis, and seconds without a try after it has failed
MOST = 5_000  # values in this process
REDIS = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "retry": retry.Retry(backoff.NoBackoff(), 0)}
_cache = Cache()
_building = [threading.Lock() for _ in range(64)]  # by the hash of a key


class _Data(JSONSerializer):
    """Whoever writes into Redis cannot make us run code, as they could with pickle."""

    def loads(self, bvalue: Any) -> Any:
        return None if bvalue is None else super().loads(bvalue)


def get_or_set(key: str, seconds: int, build: Callable[[], Any]) -> Any:
    """What *build* returned at most *seconds* ago, as JSON values; of those of this process who miss it at once, one
    builds and the others wait."""
    if (found := _ask(_cache.get, key)) is None:
        with _building[hash(key) % len(_building)]:
            if (found := _ask(_cache.get, key)) is None:
                found = to_jsonable_python(build())
                _ask(_cache.set, key, found, seconds)
    return found


def delete(key: str) -> None:
    """Forget a value, because what it was made of has changed."""
    _ask(_cache.delete, key)


def _ask(operation: Callable[..., Any], *arguments: Any) -> Any:
    if time.monotonic() < current_app.extensions["cache.lost_at"] + PAUSE:
        return None
    try:
        return operation(*arguments)
    except (RedisError, OSError) as error:
        current_app.logger.warning("the cache is lost for now: %s", type(error).__name__)
        current_app.extensions["cache.lost_at"] = time.monotonic()
        return None


def init_app(app: Flask) -> None:
    app.extensions["cache.lost_at"] = float("-inf")
    redis = app.extensions["settings"].redis
    kind = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": redis, "CACHE_OPTIONS": REDIS} if redis else {}
    options = {"CACHE_TYPE": "SimpleCache", "CACHE_THRESHOLD": MOST, "CACHE_KEY_PREFIX": "cache:"} | kind
    _cache.init_app(app, options | {"CACHE_SERIALIZER": _Data})
