"""The live runs of one process: started by a request, worked on by the loop thread.

A run belongs to no connection. Its text is published to the event log every 50 ms, less
often when the loop is late, and saved twice a second; a process that is killed loses
what it had not saved yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from flask import Flask

from app.chat import rendering
from app.chat.loop import LoopThread, detached
from app.chat.models import Failure, Message, Run, RunStatus
from app.chat.rendering import GrowingAnswer
from app.chat.runs import notifications, saving, stale
from app.chat.runs.live_run import LiveRun
from app.chat.streams import event_log
from app.chat.streams.redis_event_log import RedisEventLog
from app.config import Settings
from app.database import reading
from app.errors import Problem
from app.security.markdown import split_blocks
from app.state import AppKey

if TYPE_CHECKING:
    from app.chat.model.call import Prompt

FASTEST = 0.05  # seconds between two publications of one answer
SLOWEST = 0.25
LAG_FACTOR = 4  # how strongly a late loop stretches the interval
SAVE_EVERY = 0.5  # seconds
SAVE_ATTEMPTS = 120  # for a finished answer, before it is given up
LAST_SAVE_SECONDS = 10  # for saving, when a drain has to cut answers off

Rendered = TypeVar("Rendered")
RUNNER: AppKey[Runner] = AppKey("runner")


class Runner:
    """Owns the loop thread, the event log and the live runs of one application in one
    process."""

    def __init__(self, app: Flask):
        self.app = app
        self.settings: Settings = app.extensions["settings"]
        self.loop = LoopThread()
        self.log = _event_log(self.settings)
        self.live: dict[UUID, LiveRun] = {}
        self.draining = False
        self.saving_fails_since: float | None = None  # monotonic; None while it works
        self._failed_saves = 0  # in a row
        self._heartbeat = stale.Heartbeat(app, lambda: list(self.live))
        # Renders long texts, one after another; never the threads that save.
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="renderer")
        self._news = asyncio.Event()  # a first word is to be published
        self._ended = asyncio.Event()  # a run has ended
        self._appending = asyncio.Lock()  # keeps the events of a run in order
        self._publisher: asyncio.Task[None] | None = None
        self._saver: asyncio.Task[None] | None = None
        self._parsers: set[asyncio.Task[None]] = set()

    # What requests call, from any thread.

    def admit(self) -> None:
        """Check that this process can take another run.

        Raises:
            Problem: 503 when it drains or has as many as it may.
        """
        if self.draining:
            raise Problem(
                503,
                "draining",
                "This server is about to stop; please try again in a moment.",
                2,
            )
        if len(self.live) >= self.settings.max_runs:
            raise Problem(
                503,
                "too-many-runs",
                "Too many answers are being written; please try again in a moment.",
                5,
            )

    def launch(
        self, run: Run, question: Message, waited: Message | None = None
    ) -> None:
        """Begin to work on *run*, whose rows are committed; return when its log is
        open.

        A run that *waited* with this answer for approvals goes on; it may have begun in
        another process.
        """
        if waited:
            answer = GrowingAnswer.resumed(waited)
            number = waited.event_number
        else:
            answer = GrowingAnswer(run.answer_id)
            number = 0
        live = LiveRun(
            id=run.id,
            conversation_id=run.conversation_id,
            answer=answer,
            number=number,
            first_token_at=run.first_token_at,
            on_news=self._news.set,
            before_closing=self._render_open_text,
        )
        self.loop.submit(self._begin(live, question)).result()

    def cancel(self, run_id: UUID, status: RunStatus) -> None:
        """End a run's model call and keep its text, if this process works on it."""
        if live := self.live.get(run_id):
            self.loop.call(partial(live.cancel, status))

    def works_on(self, run_id: UUID) -> bool:
        """Whether this process works on a run; the last event of such a run is to
        come.
        """
        return run_id in self.live

    def runs_that_ended(self, run_ids: Sequence[UUID]) -> list[UUID]:
        """Which of these runs have ended; called in a worker thread."""
        return stale.runs_that_ended(self.app, run_ids)

    def health(self) -> str:
        """For ``/readyz``: degraded while answers cannot be saved."""
        if self.saving_fails_since is None:
            return "ok"
        seconds = f"{self.seconds_behind():.0f} s"
        return f"degraded: answers have not been saved for {seconds}"

    def seconds_behind(self) -> float:
        """Seconds since answers could last be saved; 0 while all is saved."""
        if self.saving_fails_since is None:
            return 0.0
        return time.monotonic() - self.saving_fails_since

    def begin_drain(self) -> None:
        """Take no new runs, and ask every stream to reconnect to another process."""
        self.draining = True
        self.loop.submit(self.log.release()).result()

    def finish_drain(self, seconds: float) -> None:
        """Wait for the live runs.

        Those that take longer end as interrupted, with their text saved.
        """
        self._wait_for_runs(seconds)
        for run_id in list(self.live):
            self.cancel(run_id, RunStatus.INTERRUPTED)
        self._wait_for_runs(LAST_SAVE_SECONDS)
        self.loop.submit(self.log.close()).result()
        self._renderer.shutdown(wait=False)

    def _wait_for_runs(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.live and time.monotonic() < deadline:
            time.sleep(FASTEST)

    # What happens on the loop thread.

    async def _begin(self, live: LiveRun, question: Message) -> None:
        self.live[live.id] = live  # only here: the loop iterates over it
        await self.log.open(live.id, live.number)
        self._heartbeat.start()
        if self._publisher is None or self._publisher.done():
            self._publisher = detached(self._publish())
        if self._saver is None or self._saver.done():
            self._saver = detached(self._save())
        live.start(self._work(live, question))

    async def _work(self, live: LiveRun, question: Message) -> None:
        try:
            async with asyncio.timeout(self.settings.run_timeout_seconds):
                prompt = await asyncio.to_thread(self._prepare, live, question)
                await self._ask(live, question, prompt)
        except asyncio.CancelledError:
            live.was_cancelled()
            raise
        except Exception as error:
            self._fail(live, error)
        finally:
            self._ended.set()

    def _prepare(self, live: LiveRun, question: Message) -> Prompt:
        """In a worker thread: import the agent, the first time, read what it is to be
        told, and reserve what that costs."""
        from app.chat.model import budget, call, history, output

        with self.app.app_context(), reading() as session:
            earlier = history.load(session, question, self.settings.history_tokens)
            messages = earlier.messages
            text: str | None = question.text
            decisions: list[history.Decision] = []
            if live.number:
                waited = history.pending(session, live.answer.answer_id)
                messages = [*messages, *waited.messages]
                decisions = waited.decisions
                live.messages = waited.messages
                text = None
        call.instrument(self.app)
        meter = budget.Meter(
            self.app,
            question.user_id,
            partial(budget.price_of, self.settings.chosen_model),
            self.settings.max_answer_chars,
            self.settings.max_tokens_per_run,
        )
        live.meter = meter
        expected = history.tokens_of(messages)
        expected += budget.estimate_tokens(text or "")
        expected += output.REQUEST_OVERHEAD
        expected *= earlier.correction
        meter.expect(expected)
        meter.reserve()
        return call.Prompt(
            question=text,
            messages=messages,
            history_length=len(earlier.messages),
            correction=earlier.correction,
            decisions=decisions,
        )

    async def _ask(self, live: LiveRun, question: Message, prompt: Prompt) -> None:
        from app.chat.model import call, failures

        assert live.meter is not None  # noqa: S101 (_prepare has set it)
        answer = await call.answer(self.app, question.user_id, prompt, live, live.meter)
        live.messages = [*live.messages, *answer.messages]
        live.end(answer.failure, answer.failure in failures.FATAL)

    def _fail(self, live: LiveRun, error: Exception) -> None:
        from app.chat.model import failures

        failure = failures.failure_of(error)
        if failure is Failure.MODEL and live.answer.is_only_reasoning:
            live.end(Failure.EMPTY, is_fatal=False)
            return
        described = failures.described(error, self.settings)
        self.app.logger.warning("run %s failed: %s (%s)", live.id, failure, described)
        live.fail(failure, error)
        failures.release_frames(error)

    async def _render_open_text(self, answer: GrowingAnswer) -> None:
        """Render the text that is about to be closed, if it is long, off the loop.

        The HTML is kept, so closing the text finds it.
        """
        text = answer.open_text
        if len(text) > rendering.LONG_TEXT:
            await self._in_renderer(rendering.closed_items, text)

    async def _parse_long_text(self, answer: GrowingAnswer, text: str) -> None:
        began = time.perf_counter()
        blocks, rest = await self._in_renderer(split_blocks, text)
        seconds = time.perf_counter() - began
        answer.end_long_parse(text, blocks, rest, seconds)

    async def _in_renderer(
        self, render: Callable[[str], Rendered], text: str
    ) -> Rendered:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._renderer, render, text)

    async def _publish(self) -> None:
        interval = FASTEST
        while self.live:
            due = time.monotonic() + interval
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), interval)
            self._news.clear()
            late = max(0.0, time.monotonic() - due)
            wanted = FASTEST + LAG_FACTOR * late
            interval = min(SLOWEST, 0.7 * interval + 0.3 * wanted)
            running = [live for live in self.live.values() if live.running]
            await self._append_news(running)

    async def _append_news(self, lives: Sequence[LiveRun]) -> None:
        async with self._appending:
            events = [live.next_event() for live in lives]
            if news := [event for event in events if event]:
                await self.log.append(news)
        for live in lives:
            if text := live.answer.begin_long_parse():
                parser = detached(self._parse_long_text(live.answer, text))
                self._parsers.add(parser)  # the loop itself keeps weak references
                parser.add_done_callback(self._parsers.discard)

    async def _save(self) -> None:
        while self.live:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), SAVE_EVERY)
            self._ended.clear()
            await self._save_once()

    async def _save_once(self) -> None:
        saving_since = time.time_ns()
        ended = [live for live in self.live.values() if not live.running]
        for live in ended:
            await self._render_open_text(live.answer)
        await self._append_news(ended)
        lives = [live for live in self.live.values() if live.running or live in ended]
        live_ids = [live.id for live in lives]
        news = [live.snapshot() for live in lives]
        snapshots = [snapshot for snapshot in news if snapshot]
        try:
            saved = await asyncio.to_thread(
                saving.save, self.app, snapshots, self._failed_saves
            )
            stops = await asyncio.to_thread(saving.stops_requested, self.app, live_ids)
        except Exception:  # whatever it is: this task saves every answer
            self.app.logger.exception("saving failed; it is tried again")
            await self._saving_failed(lives, snapshots)
            return
        self.saving_fails_since = None
        self._failed_saves = 0
        for snapshot in snapshots:
            self._take_saved(snapshot, saved)
        for run_id in stops:
            self.live[run_id].cancel(RunStatus.STOPPED)
        await self._finish(ended, saving_since)

    def _take_saved(self, snapshot: saving.Snapshot, saved: saving.Saved) -> None:
        """Act on what came of saving one run."""
        live = self.live[snapshot.run_id]
        run = saved.runs.get(live.id)
        if live.id in saved.failed:
            live.saved_run = run
            live.cancel(RunStatus.ERROR, Failure.SAVE)
        elif run is None:  # closed or deleted by someone else
            live.cancel(RunStatus.INTERRUPTED)
            if snapshot.outcome:
                live.saved_run = Run(status=RunStatus.ERROR, error=Failure.SAVE)
        elif snapshot.outcome:
            live.saved_run = run

    async def _saving_failed(
        self, lives: Sequence[LiveRun], snapshots: Sequence[saving.Snapshot]
    ) -> None:
        self._failed_saves += 1
        if self.saving_fails_since is None:
            self.saving_fails_since = time.monotonic()
        for snapshot in snapshots:
            live = self.live[snapshot.run_id]
            live.not_saved(snapshot)
            if not live.running and live.failed_saves >= SAVE_ATTEMPTS:
                live.saved_run = Run(status=RunStatus.ERROR, error=Failure.SAVE)
        given_up = [live for live in lives if not live.running]
        await self._finish(given_up, time.time_ns())
        await asyncio.sleep(SAVE_EVERY)

    async def _finish(self, lives: Sequence[LiveRun], saving_since: int) -> None:
        """Tell everyone of the ends of those runs that are saved, and forget them."""
        saved_ids = [live.id for live in lives if live.saved_run]
        if saved_ids:
            await asyncio.to_thread(notifications.ended, self.app, saved_ids)
        for live in lives:
            run = live.saved_run
            if run is None:
                continue
            live.finished(run, saving_since)
            async with self._appending:
                await self.log.append([live.terminal_event(run)])
                await self.log.end(live.id, live.number)
            self.live.pop(live.id, None)


def _event_log(settings: Settings) -> event_log.EventLog:
    if settings.redis:
        return RedisEventLog(settings.redis)
    return event_log.EventLog()
