"""One run: makes its directory, asks for all that is wanted, channel by channel in parallel, and ends well or
says why.

The state of a run stands in state.json until it has ended well; so `resume` goes on after any kill. Every few
seconds the records are brought to disk, then coverage and state are written: what these say is there.
Threading: `run` belongs to one thread, which starts the others and ends them.
"""

from __future__ import annotations

import concurrent.futures
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from discordfs.archived.coverage import NOWHERE, read_coverage
from discordfs.archived.mediafiles import MEDIA
from discordfs.archived.runs import COVERAGE, RUN_META, STATE, folder_of, read_meta
from discordfs.capture import earlier, guild, profile, renewing, threads
from discordfs.capture.asking import FAILURES, PATIENCE, REFUSALS, Asker, Recorder, into, told
from discordfs.capture.channel import ChannelCapture
from discordfs.capture.job import Job, Mark, mark_of
from discordfs.capture.lines import Form
from discordfs.capture.live import Live
from discordfs.capture.media import MediaStore, cdn_of
from discordfs.capture.progress import Progress, progress_of
from discordfs.capture.rundir import (
    RunDirectory,
    new_ident,
    new_run,
    unfinished_run,
    write_json,
)
from discordfs.capture.runmeta import Facts, run_meta
from discordfs.capture.scope import WORTH_A_FILE, Channel, channel_of
from discordfs.capture.scrubbing import Scrubber
from discordfs.capture.settings import CaptureSettings
from discordfs.errors import BadRequest, MissingError
from discordfs.model import Clock
from discordfs.remote.base import Exchange, GatewayApi, snowflake_at
from discordfs.remote.loop import Loop
from discordfs.remote.retrying import Patience

CHECKPOINT_S = 5.0
_TURN_S = 0.5
_STATE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run. `refusals`: what Discord does not show; `is_target_refused`: something of that was
    asked for by its id; `failures`: what could not be had this time (`resume` tries again); `media_problems`:
    files that are missing."""

    directory: Path
    completed: bool
    num_messages: int
    num_http_requests: int
    num_ws_packets: int
    refusals: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    media_problems: tuple[str, ...] = ()
    contents_came_empty: bool = False
    is_target_refused: bool = False
    exception: str = ""


class Capture:
    """A run over `api`, whose requests go through `loop`. `secrets`: tokens, which no file may have.

    `began` hears of the run's directory, `tell` how it goes on, about twice a second."""

    def __init__(
        self,
        api: GatewayApi,
        loop: Loop,
        settings: CaptureSettings,
        root: Path,
        *,
        api_url: str,
        secrets: tuple[str, ...],
        clock: Clock = time.time_ns,
        monotonic_ns: Clock = time.monotonic_ns,
        rng: random.Random | None = None,
        patience: Patience = PATIENCE,
        began: Callable[[Path], None] = lambda path: None,
        tell: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._api = api
        self._loop = loop
        self._settings = settings
        self._root = root
        self._api_url = api_url
        self._clock = clock
        self._monotonic_ns = monotonic_ns
        self._rng = rng or random.Random()
        self._began = began
        self._tell = tell
        self._form = Form(Scrubber(secrets, settings.no_scrub), settings.strict)
        self._secrets = secrets
        self._asker = Asker(api, loop, patience=patience, clock=monotonic_ns, rng=self._rng)
        self._lock = threading.Lock()
        self._queued: set[int] = set()
        self._thread_places: dict[int, frozenset[int] | None] = {}
        self._pending: set[concurrent.futures.Future[None]] = set()
        self._user: Mapping[str, Any] | None = None
        self._told_ns = self._written_ns = 0

    def stop(self) -> None:
        """Ends a run from another thread: `run` raises Interrupted soon, and the run can be resumed."""
        self._asker.stop()

    def run(self) -> Result:
        """Captures. What is forbidden or gone ends nothing. Raises Unauthorized, Interrupted, OSError,
        KeyboardInterrupt, BusyError; the run's metadata then says why, and it can be resumed."""
        with ExitStack() as undo:
            self._open(undo)
            self._began(self._directory.path)
            try:
                self._work()
            except BaseException as error:
                self._asker.stop()
                self._stop_threads()
                self._end(error)
                raise
            return self._end(None)

    # --- beginning ----------------------------------------------------------------------------------

    def _open(self, undo: ExitStack) -> None:
        """The run's directory, new or gone on with, and the job."""
        self._started_ns = self._monotonic_ns()
        state = self._directory_and_state()
        self._is_resumed = bool(state)
        undo.callback(self._directory.close)
        self._meta = read_meta(self._directory.path / RUN_META)
        self._begun = str(self._meta.get("run", {}).get("datetime_start") or self._now().isoformat())
        self._ident = str(self._meta.get("run", {}).get("ident") or self._new_ident)
        run_file = self._directory.file("run.jsonl")
        self._job = Job(
            settings=self._settings,
            asker=self._asker,
            form=self._form,
            directory=self._directory,
            run_file=run_file,
            server_now_ns=self._api.now_ns,
            enqueue=self._enqueue,
            known=earlier.coverage_of(self._root) if self._settings.incremental else {},
        )
        self._job.opened(run_file)
        undo.callback(self._close_files)
        self._take_up(state)
        if self._settings.media:
            self._job.media = self._media_store()
            undo.callback(self._job.media.close)
        self._pool = concurrent.futures.ThreadPoolExecutor(self._settings.parallel, "discordfs-capture")
        undo.callback(self._pool.shutdown)
        self._write_meta(None, is_over=False)
        self._checkpoint()

    def _directory_and_state(self) -> dict[str, Any]:
        self._new_ident = new_ident(self._rng)
        asked = self._settings.identity()
        if self._settings.resume:
            try:
                path, state = unfinished_run(self._root, asked)
                self._directory = RunDirectory(path, self._settings.gzip)
                return state
            except MissingError:
                pass  # nothing to go on with: a new one
        full = self._settings.is_full and not self._settings.incremental
        mode, now = self._settings.mode, self._now()
        self._directory = new_run(self._root, mode, full, self._new_ident, now, self._settings.gzip)
        return {}

    def _take_up(self, state: Mapping[str, Any]) -> None:
        for body in state.get("channels", ()):
            mark = mark_of(body)
            self._job.marks[mark.channel.id] = mark
        self._job.known_invites.update(state.get("invites", ()))
        self._job.invites.update(self._job.known_invites)
        covered = read_coverage(self._directory.path / COVERAGE)
        self._job.ledger.channels.update(covered)
        for key, name in state.get("guilds", {}).items():
            self._job.guilds[int(key)] = name
            self._job.guild_file(int(key))

    def _media_store(self) -> MediaStore:
        return MediaStore(
            self._root / MEDIA,
            self._settings.media,
            cdn_of(self._api_url),
            lambda url, sink: self._asker.call(self._api.download(url, sink)),
            self._clock,
            self._rng,
            self._asker.pause,
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock() / 1e9, UTC)

    # --- working ------------------------------------------------------------------------------------

    def _work(self) -> None:
        job, settings = self._job, self._settings
        self._user = profile.who_am_i(job)
        job.again_from = snowflake_at(self._api.now_ns() - int(settings.window_s * 1e9))  # in Discord's time
        recorder = profile.GatewayRecorder(job, self._api)
        live = self._live(recorder)
        recorder.begin()
        try:
            if not recorder.wait():
                note = job.failed if settings.mode == "profile" else partial(job.ledger.fail, NOWHERE)
                note("the gateway did not tell of all servers in time")
            profile.ask_for_intents(job)
            if live is None:
                recorder.end()
            self._ask_targets()
            for mark in [each for each in job.marks.values() if not each.done]:
                self._enqueue(mark.channel)
            self._wait_for_channels()
            self._find_threads_again()
            renewing.try_again(job, self._turn)
            if live is not None:
                live.stay(settings.live_s, self._is_resumed)
        finally:
            if not self._asker.is_stopping:
                recorder.end()

    def _live(self, recorder: profile.GatewayRecorder) -> Live | None:
        if self._settings.live_s == 0 or self._settings.mode == "profile":
            return None
        return Live(self._job, recorder, self._enqueue_again, self._wait_for_channels, self._turn)

    def _ask_targets(self) -> None:
        if self._settings.mode == "guild":
            for target in self._settings.targets:
                self._named(f"server {target}", target, partial(self._guild, target))
        elif self._settings.mode == "channel":
            found = [self._channel(target) for target in self._settings.targets]
            self._servers_of([each for each in found if each is not None])

    def _named(self, what: str, target: int, step: Callable[[], None]) -> None:
        """Something that was asked for by name: that it is not shown is said at the end."""
        try:
            step()
        except REFUSALS as error:
            self._job.refused(f"{what}: {error}", target)
            self._job.ledger.fail(NOWHERE, f"{what}: {error}")
        except FAILURES as error:
            self._job.failed(f"{what}: {told(error)}")

    def _guild(self, target: int) -> None:
        channels = guild.describe(self._job, target, is_whole=True)
        self._find_threads(target, None)
        for channel in channels:
            if self._settings.strict and channel.type in (15, 16):
                continue
            self._enqueue(channel)

    def _find_threads(self, server: int, of: frozenset[int] | None) -> None:
        """Active threads, before the channels list those that are archived and again at the end: whichever
        way a thread goes meanwhile, it is met. `of`: only those of these channels."""
        if not self._settings.strict:
            self._thread_places[server] = of
            guild.find_active_threads(self._job, server, of)

    def _find_threads_again(self) -> None:
        for server, of in self._thread_places.items():
            guild.find_active_threads(self._job, server, of)
        self._wait_for_channels()
        with self._lock:
            unseen = sorted(self._job.told_threads - self._queued - {0})
        for thread in unseen:
            self._look_for(thread)
        self._wait_for_channels()

    def _look_for(self, thread: int) -> None:
        """A thread that a notice tells of and no list showed: it goes back and forth, or it is gone."""
        try:
            raw = self._asker.get(f"/channels/{thread}", into(self._job.run_file, self._form))
            threads.note(self._job, raw, 0)
        except REFUSALS as error:
            self._job.ledger.fail(NOWHERE, f"thread {thread}: {error}")
        except FAILURES as error:
            self._job.failed(f"thread {thread}: {told(error)}")

    def _channel(self, target: int) -> Channel | None:
        """A channel that was named; the answer goes where its server's do, which only the answer tells."""
        kept: list[tuple[Exchange, Any, bool]] = []

        def keep(exchange: Exchange, body: Any, is_json: bool) -> None:
            kept.append((exchange, body, is_json))

        found: list[Channel] = []

        def ask() -> None:
            channel = channel_of(self._asker.get(f"/channels/{target}", keep))
            if channel.type not in WORTH_A_FILE:
                raise BadRequest(f"it holds no messages (type {channel.type})")
            found.append(channel)

        self._named(f"channel {target}", target, ask)
        file = self._job.guild_file(found[0].guild if found else 0)
        record: Recorder = into(file, self._form)
        for exchange, body, is_json in kept:
            record(exchange, body, is_json)
        file.commit()
        return found[0] if found else None

    def _servers_of(self, channels: list[Channel]) -> None:
        for server in sorted({each.guild for each in channels if each.guild}):
            self._named(f"server {server}", server, partial(self._server, server))
            self._find_threads(server, frozenset(each.id for each in channels))
        for channel in channels:
            self._enqueue(channel)

    def _server(self, server: int) -> None:
        guild.describe(self._job, server, is_whole=False)

    # --- channels in parallel -----------------------------------------------------------------------

    def _enqueue(self, channel: Channel) -> None:
        """From any thread; each channel once in a run."""
        with self._lock:
            if channel.id in self._queued or self._asker.is_stopping:
                return
            self._queued.add(channel.id)
            mark = self._job.marks.get(channel.id)
            if mark is None:
                mark = self._job.marks[channel.id] = Mark(channel, self._job.wanted(channel.id))
            if not mark.done:
                self._pending.add(self._pool.submit(ChannelCapture(self._job, mark).run))

    def _enqueue_again(self, channel: Channel) -> None:
        capture = ChannelCapture(self._job, self._job.marks[channel.id])
        with self._lock:
            self._pending.add(self._pool.submit(capture.run_again))

    def _wait_for_channels(self) -> None:
        while True:
            with self._lock:
                pending = set(self._pending)
            if not pending:
                return
            done, _ = concurrent.futures.wait(pending, _TURN_S, concurrent.futures.FIRST_COMPLETED)
            with self._lock:
                self._pending -= done
            for future in done:
                future.result()
            self._turn()

    def _turn(self) -> None:
        """What is due now and then."""
        now = self._monotonic_ns()
        if now - self._told_ns >= _TURN_S * 1e9:
            self._told_ns = now
            self._tell(self._progress())
        if now - self._written_ns >= CHECKPOINT_S * 1e9:
            self._checkpoint()

    def _progress(self) -> Progress:
        seconds = (self._monotonic_ns() - self._started_ns) / 1e9
        return progress_of(list(self._job.marks.values()), self._asker.requests, seconds)

    def _stop_threads(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    # --- what is kept -------------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        """What coverage and state say is on disk before they say it."""
        job = self._job
        coverage = job.ledger.snapshot()
        with job.lock:
            marks = [mark.as_json() for mark in list(job.marks.values())]
            invites = sorted(job.known_invites)
            files = list(job.files)
        state = {
            "format": _STATE_FORMAT,
            "asked": self._settings.identity(),
            "guilds": {str(key): name for key, name in job.guilds.items()},
            "channels": marks,
            "invites": invites,
        }
        for file in files:
            file.sync()
        write_json(self._directory.path / COVERAGE, coverage, indent=None)
        write_json(self._directory.path / STATE, state, indent=None)
        self._written_ns = self._monotonic_ns()

    def _close_files(self) -> None:
        for file in list(self._job.files):
            self._job.closed(file)

    def _end(self, error: BaseException | None) -> Result:
        """Closes the books. After a good end nothing is left but what Discard has, and the coverage."""
        self._close_files()
        for number in self._job.guilds:
            self._write_guild_meta(number)
        for mark in self._job.marks.values():
            if not mark.done:
                ChannelCapture(self._job, mark).write_meta()
        is_good = error is None and not self._job.failures
        self._checkpoint()
        self._write_meta(error, is_over=True)
        if is_good:
            (self._directory.path / STATE).unlink()
            if self._settings.strict:
                (self._directory.path / COVERAGE).unlink()
        return self._result(error, is_good)

    def _write_guild_meta(self, number: int) -> None:
        marks = [mark for mark in self._job.marks.values() if mark.channel.guild == number]
        summary = {"num_channels": len(marks), "num_messages": sum(mark.messages for mark in marks)}
        body = {"guild": {"id": number, "name": self._job.guilds[number]}, "summary": summary}
        self._directory.write_meta(body, folder_of(number), "guild.meta.json")

    def _counts(self) -> tuple[int, int, int]:
        """(HTTP records, websocket records, messages) so far."""
        marks = list(self._job.marks.values())
        files = [self._job.run_file, *self._job.guild_files.values()]
        http = sum(mark.http for mark in marks) + sum(file.http for file in files)
        ws = sum(mark.ws for mark in marks) + sum(file.ws for file in files)
        return http, ws, sum(mark.messages for mark in marks)

    def _result(self, error: BaseException | None, is_good: bool) -> Result:
        http, ws, messages = self._counts()
        job = self._job
        return Result(
            self._directory.path,
            is_good,
            messages,
            http,
            ws,
            tuple(job.refusals),
            tuple(job.failures),
            tuple(job.media.failing()) if job.media is not None else (),
            job.contents_came_empty,
            not job.refused_ids.isdisjoint(self._settings.targets),
            "" if error is None else f"{type(error).__name__}: {error}",
        )

    def _write_meta(self, error: BaseException | None, *, is_over: bool) -> None:
        """run.meta.json, with Discard's keys, and ours under one of their own."""
        job = self._job
        has_errors = error is not None or bool(job.refusals or job.failures)
        facts = Facts(
            settings=self._settings,
            output_dir=str(self._root),
            directory=str(self._directory.path),
            ident=self._ident,
            begun=self._begun,
            ended=self._now().isoformat() if is_over else None,
            error=error,
            has_errors=has_errors,
            is_complete=is_over and error is None and not job.failures,
            counts=self._counts(),
            user=self._user,
            token=self._secrets[0] if self._secrets else "",
            more=self._more(),
        )
        self._directory.write_meta(run_meta(facts, self._form.scrubber), RUN_META)

    def _more(self) -> dict[str, Any]:
        job, settings = self._job, self._settings
        return {
            "api": self._api_url,
            "media": sorted(settings.media),
            "incremental": settings.incremental,
            "is_resumed": self._is_resumed,
            "refusals": job.refusals,
            "failures": job.failures,
            "contents_came_empty": job.contents_came_empty,
        }
