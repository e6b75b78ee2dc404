"""The event log over Redis: what is lost there is noticed, not skipped."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from engines import running_redis

from app.chat.event_log import LogLostError, RedisLog, frame


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
