"""The event log over Redis: what is lost there is noticed, not skipped."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from engines import running_redis
from redis import Redis

from app.chat.event_log import BLOCK_MILLISECONDS, KEEP_SECONDS, LIVE_SECONDS, LogLostError, RedisLog, frame


def test_an_event_that_was_lost_is_a_gap_for_whoever_resumes_before_it() -> None:
    async def resume(url: str) -> None:
        log, run = RedisLog(url), uuid.uuid4()
        await log.open(run)
        await log.append([(run, number, frame(number, "text", {})) for number in (1, 2, 4, 5)])
        await log.end(run, 5)
        for after in (0, 1, 2):
            with pytest.raises(LogLostError):
                await log.follow(run, after, [].append)
        got: list[bytes | None] = []
        await log.follow(run, 4, got.append)
        assert got == [frame(5, "text", {}), None]
        await log.close()

    with running_redis() as url:
        asyncio.run(resume(url))


def test_no_log_stays_for_good_even_if_its_process_dies_after_redis_was_flushed() -> None:
    async def write(url: str) -> None:
        log, run, redis = RedisLog(url), uuid.uuid4(), Redis.from_url(url)
        key = f"run:{run}"
        await log.open(run, 7)
        assert KEEP_SECONDS < redis.ttl(key) <= LIVE_SECONDS
        redis.flushall()
        await log.append([(run, number, frame(number, "text", {})) for number in range(8, 18)])
        assert KEEP_SECONDS < redis.ttl(key) <= LIVE_SECONDS
        await log.end(run, 17)
        assert 0 < redis.ttl(key) <= KEEP_SECONDS
        await log.close()
        redis.close()

    with running_redis() as url:
        asyncio.run(write(url))


def test_a_run_without_words_is_not_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[bytes | None] = []

    async def wait(url: str) -> int:
        log, run, readings = RedisLog(url), uuid.uuid4(), 0
        read: Any = log._redis.xread

        def counted(*args: Any, **named: Any) -> Any:
            nonlocal readings
            readings += 1
            return read(*args, **named)

        monkeypatch.setattr(log._redis, "xread", counted)
        await log.open(run)
        await log.follow(run, 0, got.append)
        await asyncio.sleep(0.5)
        idle = readings
        await log.append([(run, 1, frame(1, "text", {}))])
        await log.end(run, 1)
        while None not in got:
            await asyncio.sleep(0.01)
        await log.close()
        return idle

    with running_redis() as url:
        assert 0 < asyncio.run(wait(url)) <= 0.5 / (BLOCK_MILLISECONDS / 1000) + 1
    assert got == [frame(1, "text", {}), None]
