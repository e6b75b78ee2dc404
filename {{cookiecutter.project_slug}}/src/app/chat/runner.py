"""The live runs of one process: started by a request, worked on by the loop, followed by any number of streams.

A run belongs to no connection. Its text is published to the event log every 50 ms, less often when the loop lags, and
saved twice a second; what a killed process loses is what it had not yet saved.
"""

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from flask import Flask

from app.chat import background, event_log, failures, history, usage
from app.chat.answer import GrowingAnswer
from app.chat.live import LiveRun
from app.chat.loop import LoopThread, detached
from app.chat.models import Message, Run, RunStatus
from app.database import reading
from app.errors import Problem

FASTEST, SLOWEST = 0.05, 0.25  # seconds between two publications of one answer
LAG_FACTOR = 4  # how strongly a late loop stretches them
SAVE_EVERY = 0.5
SAVE_ATTEMPTS = 120  # for a finished answer, before it is given up
LAST_SAVE_SECONDS = 10  # what is left for saving when a drain has to cut answers off


class Runner:
    """Owns the loop thread, the event log and the live runs of one application in one process."""

    def __init__(self, app: Flask):
        self.app = app
        self.settings = app.extensions["settings"]
        self.loop = LoopThread()
        redis = self.settings.redis
        self.log = event_log.RedisLog(redis) if redis else event_log.EventLog()
        self.live: dict[UUID, LiveRun] = {}
        self.draining = False
        self._wake = asyncio.Event()  # a run has ended
        self._helpers: dict[str, asyncio.Task[None]] = {}

    def admit(self) -> None:
        """Raise a problem with status 503 if this process cannot take another run."""
        if self.draining:
            raise Problem(503, "draining", "This server is about to stop; please try again in a moment.", 2)
        if len(self.live) >= self.settings.max_runs:
            raise Problem(503, "too-many-runs", "Too many answers are being written; please try again in a moment.", 5)

    def launch(self, run: Run, question: Message, waited: Message | None = None) -> None:
        """Begin to work on *run*, whose rows are committed; returns when its log is open. One that *waited* with this
        answer for approvals goes on; it may have begun in another process. *question* is read in other threads."""
        live = LiveRun(run.id, run.conversation_id, run.answer_id, first_token_at=run.first_token_at)
        if waited:
            live.answer, live.number = GrowingAnswer.resumed(waited), waited.event_number
        self.loop.submit(self._begin(live, question)).result()

    def cancel(self, run_id: UUID, status: RunStatus) -> None:
        """End a run's model call and keep its text, if it is this process that works on it."""
        if live := self.live.get(run_id):
            self.loop.submit(self._cancel(live, status)).result()

    def begin_drain(self) -> None:
        """Take no new runs, and ask every stream to reconnect elsewhere."""
        self.draining = True
        self.loop.submit(self.log.release()).result()

    def finish_drain(self, seconds: float) -> None:
        """Wait for the live runs; those that take longer are closed as interrupted, with their text saved."""
        self._wait_for_runs(seconds)
        for run_id in list(self.live):
            self.cancel(run_id, RunStatus.INTERRUPTED)
        self._wait_for_runs(LAST_SAVE_SECONDS)
        self.loop.submit(self.log.close()).result()

    def _wait_for_runs(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.live and time.monotonic() < deadline:
            time.sleep(FASTEST)

    async def _begin(self, live: LiveRun, question: Message) -> None:
        self.live[live.id] = live  # here, not in the request's thread: the loop iterates over it
        await self.log.open(live.id, live.number)
        for name, helper in (("publish", self._publish), ("save", self._save)):
            if name not in self._helpers or self._helpers[name].done():
                self._helpers[name] = detached(helper())
        live.start(self._work(live, question))

    async def _cancel(self, live: LiveRun, status: RunStatus) -> None:
        if live.task and live.running:
            live.cancelled_as = status
            live.task.cancel()

    async def _work(self, live: LiveRun, question: Message) -> None:
        try:
            async with asyncio.timeout(self.settings.run_timeout_seconds):
                ask, meter, *told = await asyncio.to_thread(self._prepare, live, question)
                patience = self.settings.between_tokens_seconds
                live.result = await ask(*told, live.handler(meter, patience, self._publish_first))
                meter.tokens = live.result.usage.input_tokens, live.result.usage.output_tokens
            live.error = failures.ending_of(live.result)
            finished = RunStatus.ERROR if live.error in failures.FATAL_ENDINGS else RunStatus.DONE
            live.status = RunStatus.WAITING if live.answer.undecided else finished
        except asyncio.CancelledError:
            live.status = live.cancelled_as
        except Exception as error:
            live.status, live.error = RunStatus.ERROR, failures.code_of(error)
            self.app.logger.warning("run %s failed: %s (%s)", live.id, live.error, failures.described(error))
            live.failed(error)
        self._wake.set()

    def _prepare(self, live: LiveRun, question: Message) -> Any:
        """In a thread: import the agent, the first time, read what it is to be told, and reserve what that costs."""
        from app.chat import asking

        with self.app.app_context(), reading() as session:
            earlier = history.load(session, question, self.settings.history_tokens)
            text: str | None = question.text
            decisions: asking.Decisions = {}
            if live.number:
                live.before, decisions = history.waiting(session, live.answer_id)
                text, earlier = None, [*earlier, *live.before]
        price = partial(asking.price_of, self.settings.chosen_model)
        meter = live.meter = usage.Meter(self.app, question.user_id, price, usage.estimated(text, earlier))
        meter.tokens = meter.expected, 0
        meter.reserve()
        return asking.on_behalf_of(self.app, question.user_id), meter, text, earlier, decisions

    async def _publish_first(self, live: LiveRun) -> None:
        if event := live.next_event():
            await self.log.append([event])

    async def _publish(self) -> None:
        interval = FASTEST
        while self.live:
            due = time.monotonic() + interval
            await asyncio.sleep(interval)
            wanted = FASTEST + LAG_FACTOR * (time.monotonic() - due)
            interval = min(SLOWEST, 0.7 * interval + 0.3 * wanted)
            running = [live for live in self.live.values() if live.running]
            if batch := [event for live in running if (event := live.next_event())]:
                await self.log.append(batch)

    async def _save(self) -> None:
        while self.live:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), SAVE_EVERY)
            self._wake.clear()
            await self._save_once([live for live in self.live.values() if not live.running])

    async def _save_once(self, finished: list[LiveRun]) -> None:
        since = time.time_ns()
        await self.log.append([event for live in finished if (event := live.next_event())])
        lives = {live.id: live for live in self.live.values() if live.running or live in finished}
        snapshots = [snapshot for live in lives.values() if (snapshot := live.snapshot())]
        try:
            saved = await asyncio.to_thread(history.save, self.app, snapshots)
            stops = await asyncio.to_thread(history.stops_requested, self.app, list(lives))
        except Exception:  # whatever it is: this task saves every answer and has to go on
            self.app.logger.exception("saving failed; trying again")
            for snapshot in snapshots:
                lives[snapshot.run_id].not_saved(snapshot)
            finished = [live for live in finished if live.failed_saves >= SAVE_ATTEMPTS]
            saved, stops = {}, set()
            await asyncio.sleep(SAVE_EVERY)
        else:
            for snapshot in snapshots:
                if snapshot.run_id not in saved:  # closed or deleted by someone else
                    await self._cancel(lives[snapshot.run_id], RunStatus.INTERRUPTED)
        for run_id in stops:
            await self._cancel(lives[run_id], RunStatus.STOPPED)
        if saved and finished:
            await asyncio.to_thread(background.ended, self.app, [live.id for live in finished if live.id in saved])
        for live in finished:
            run = saved.get(live.id) or Run(status=RunStatus.ERROR, error="save")
            live.finished(run, since)
            await self.log.append([live.terminal_event(run)])
            await self.log.end(live.id, live.number)
            del self.live[live.id]
