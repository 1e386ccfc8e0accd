"""Collects clips: the past of the chosen channels, page by page and many at once, and what happens meanwhile.

The gateway is heard before the first page is asked for, so nothing falls between. Events are merged as they
come; but only pages cover, so whatever was only heard of is asked for again, now and then and after a kill.
Where a session was lost, everything is. A channel that is refused or gone is noted, and ends nothing.
Threading: `run` belongs to one thread, which takes events in; the threads of a pool ask. No channel is with
two of them.
"""

from __future__ import annotations

import concurrent.futures
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from discordfs.archived.people import text, thing, things
from discordfs.archived.records import whole_number
from discordfs.capture.asking import PATIENCE, REFUSALS, Asker
from discordfs.capture.scope import HOLDS_MESSAGES, Channel
from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.finding import TYPES, kinds_of
from discordfs.clipping.history import ChannelHistory
from discordfs.clipping.listening import Event, Listener
from discordfs.clipping.scope import Scope, SyncSettings, Troubles, unrecorded
from discordfs.clipping.taking import Counts, Taker
from discordfs.errors import Interrupted, RemoteGone, TimedOut
from discordfs.model import Clock
from discordfs.remote.base import GatewayApi, snowflake_at, snowflake_ns
from discordfs.remote.loop import Loop
from discordfs.remote.retrying import Patience

log = logging.getLogger(__name__)

SETTLE_S = 60.0
"""How often channels in which something happened are asked for pages."""

READY_S = 30.0
"""Within so many seconds a gateway that works has told all servers."""

Json = Mapping[str, Any]
_TURN_S = 0.25
_HANG_UP_S = 10.0
_CONTENT_FLAGS = 1 << 18 | 1 << 19


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a collector is. `channels_done`: whose past is in the catalogue. `contents_came_empty`: the
    intent MESSAGE_CONTENT is missing, by what came."""

    channels: int
    channels_done: int
    messages: int
    new_clips: int
    requests: int
    is_live: bool
    contents_came_empty: bool = False


class Collector:
    """Collects over `api`, whose requests go through `loop`, into `catalogue`. `tell` hears how it goes about
    four times a second. One that died may `run` again."""

    def __init__(
        self,
        api: GatewayApi,
        loop: Loop,
        catalogue: Catalogue,
        settings: SyncSettings,
        *,
        patience: Patience = PATIENCE,
        settle_s: float = SETTLE_S,
        monotonic_ns: Clock = time.monotonic_ns,
        rng: random.Random | None = None,
        tell: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._api = api
        self._loop = loop
        self._catalogue = catalogue
        self._settings = settings
        self._patience = patience
        self._settle_s = settle_s
        self._monotonic_ns = monotonic_ns
        self._rng = rng
        self._tell = tell
        self._lock = threading.Lock()
        self._counts = Counts()
        self._start_afresh()

    def _start_afresh(self) -> None:
        """As whoever runs for the first time, but for what has been counted: what was begun before is in the
        catalogue."""
        self._asker = Asker(
            self._api, self._loop, patience=self._patience, clock=self._monotonic_ns, rng=self._rng
        )
        self._scope = Scope(self._asker, self._settings, self._ask)
        known, kinds = self._scope.known, self._settings.kinds or kinds_of(",".join(TYPES))
        self._taker = Taker(self._catalogue, kinds, known, self._api.now_ns, self._counts)
        self._listener = Listener(self._api) if self._settings.is_live else None
        self._pending: set[concurrent.futures.Future[None]] = set()
        self._running: set[int] = set()
        self._once_more: set[int] = set()
        self._looked: set[int] = set()
        self._done: set[int] = set()
        self._unfinished: set[int] = set()
        self._stirred: set[int] = set()
        self._strangers: set[int] = set()
        self._lacks_content: bool | None = None
        self._settled_ns = self._began_ns = 0
        self._has_begun_to_stay = False

    # --- what came of it --------------------------------------------------------------------------------

    @property
    def is_staying(self) -> bool:
        """Whether it collects until it is ended."""
        return self._settings.is_live

    @property
    def counts(self) -> Counts:
        return self._counts

    @property
    def troubles(self) -> Troubles:
        return self._scope.troubles

    @property
    def contents_came_empty(self) -> bool:
        """Whether the intent MESSAGE_CONTENT is missing, by what came."""
        counts = self._counts
        if not counts.empty:
            return False
        return self._lacks_content is True or (
            self._lacks_content is None and counts.empty >= 0.9 * counts.others
        )

    def progress(self) -> Progress:
        counts = self._counts
        channels = [each for each in self._scope.channels() if each.type in HOLDS_MESSAGES]
        with self._lock:
            done = sum(each.id in self._done for each in channels)
        return Progress(
            len(channels),
            done,
            counts.messages,
            counts.clips,
            self._asker.requests,
            self._has_begun_to_stay,
            self.contents_came_empty,
        )

    # --- running ----------------------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Until all is collected, or with `is_live` until `stop` is set. Raises RemoteErrors that concern
        everything (Unauthorized; Unavailable when not even the account could be asked for), sqlite3.Error."""
        self._stop = stop
        if self._asker.is_stopping:
            self._start_afresh()
        with ExitStack() as undo:
            self._pool = undo.enter_context(
                concurrent.futures.ThreadPoolExecutor(self._settings.parallel, "discordfs-clips")
            )
            undo.callback(self._asker.stop)
            try:
                self._do(self._introduce)
                if self._listener is not None:
                    undo.callback(self._take_events)
                    undo.callback(self._hang_up)
                    undo.callback(self._listener.begin())
                    self._wait_until_heard()
                self._do(self._scope.find)
                self._finish_pending()
                self._stay()
            except Interrupted:
                if not stop.is_set():
                    raise

    def _introduce(self) -> None:
        """Who asks, and whether the bot may see what others write."""
        self._taker.me = int(self._asker.get("/users/@me", unrecorded)["id"])
        self._began_ns = self._api.now_ns()
        try:
            told = self._asker.get("/applications/@me", unrecorded)
        except REFUSALS:
            return  # then what comes tells
        self._lacks_content = not int(told.get("flags") or 0) & _CONTENT_FLAGS

    def _hang_up(self) -> None:
        """Whoever starts again is told by the gateway from the beginning."""
        with suppress(TimedOut):
            self._loop.call(self._api.disconnect_gateway(), _HANG_UP_S)

    def _wait_until_heard(self) -> None:
        begun = self._monotonic_ns()
        while self._listener is not None and not self._listener.is_ready:
            if self._stop.wait(_TURN_S):
                raise Interrupted("the run was ended")
            if self._monotonic_ns() - begun > READY_S * 1e9:
                log.warning("the gateway does not tell of all servers: what is posted comes late")
                self._listener.be_late()
                return

    def _do(self, step: Callable[[], None]) -> None:
        """A step on another thread, while this one takes events in."""
        with self._lock:
            self._pending.add(self._pool.submit(step))
        self._finish_pending()

    def _finish_pending(self) -> None:
        """Until nothing is asked for any more. Raises what ends a run."""
        while True:
            with self._lock:
                pending = set(self._pending)
            if not pending:
                return
            done, _ = concurrent.futures.wait(pending, _TURN_S, concurrent.futures.FIRST_COMPLETED)
            self._reap(done)
            self._turn()

    def _reap(self, done: set[concurrent.futures.Future[None]]) -> None:
        with self._lock:
            self._pending -= done
        for future in done:
            future.result()

    def _turn(self) -> None:
        if self._stop.is_set():
            self._asker.stop()
        self._take_events()
        self._tell(self.progress())

    def _stay(self) -> None:
        """Live: until the end is asked for."""
        if self._listener is None:
            return
        self._has_begun_to_stay = True
        self._settled_ns = self._monotonic_ns()
        while not self._stop.is_set():
            event = self._listener.next(_TURN_S)
            if event is not None:
                self._take(event)
            self._turn()
            if self._listener.had_gap():
                for channel in self._scope.channels():
                    self._ask(channel, again=True)
            self._settle()
            with self._lock:
                done = {future for future in self._pending if future.done()}
            self._reap(done)

    def _settle(self) -> None:
        """What was only heard of, or failed, is asked for."""
        if self._monotonic_ns() - self._settled_ns < self._settle_s * 1e9:
            return
        self._settled_ns = self._monotonic_ns()
        with self._lock:
            due = self._stirred | self._unfinished
            self._stirred, self._unfinished = set(), set()
        for number in due:
            if (channel := self._scope.channel(number)) is not None:
                self._ask(channel)
        if self._scope.troubles.failures:
            self._later(self._scope.find)

    # --- pages: threads of the pool -----------------------------------------------------------------------

    def _ask(self, channel: Channel, again: bool = False) -> None:
        """Has a channel asked for what is to be had; `again`: also for what is known. From any thread."""
        with self._lock:
            if again:
                self._looked.discard(channel.id)
            if channel.id in self._running:
                self._once_more.add(channel.id)
            elif not self._asker.is_stopping:
                self._running.add(channel.id)
                self._pending.add(self._pool.submit(self._work_on, channel))

    def _work_on(self, channel: Channel) -> None:
        is_over = False
        while not is_over:
            try:
                self._work_once(channel)
            except BaseException:
                with self._lock:
                    self._running.discard(channel.id)
                raise
            with self._lock:
                is_over = channel.id not in self._once_more
                self._once_more.discard(channel.id)
                if is_over:
                    self._running.discard(channel.id)

    def _work_once(self, channel: Channel) -> None:
        with self._lock:
            is_first = channel.id not in self._looked
            self._looked.add(channel.id)
        what = f"channel {channel.id} ({channel.name})"
        is_over = True
        if channel.type in HOLDS_MESSAGES:
            is_over = self._scope.allowed(what, partial(self._pages, channel, is_first))
        if is_first and what not in self._scope.troubles.refusals:
            is_over &= self._scope.find_archived(channel)
        with self._lock:
            (self._done if is_over else self._unfinished).add(channel.id)

    def _pages(self, channel: Channel, is_first: bool) -> None:
        place = self._scope.place(channel)
        history = ChannelHistory(self._asker, self._catalogue, self._taker, channel, place, self._api.now_ns)
        is_new_here = snowflake_ns(channel.id) > self._began_ns
        if self._settings.has_history or is_new_here:
            history.whole(is_quiet=self._scope.is_quiet(channel))
        else:
            history.news(is_quiet=self._scope.is_quiet(channel))
        if is_first and self._settings.window_s > 0:
            history.again(snowflake_at(self._api.now_ns() - int(self._settings.window_s * 1e9)))

    # --- events: the thread of `run` ----------------------------------------------------------------------

    def _take_events(self) -> None:
        while self._listener is not None and (event := self._listener.next(0)) is not None:
            self._take(event)

    def _take(self, event: Event) -> None:
        handler = _HANDLERS.get(event.name)
        if handler is not None:
            handler(self, event.data)

    def _message(self, data: Json) -> None:
        number = whole_number(data.get("channel_id")) or 0
        channel = self._scope.channel(number)
        if channel is not None:
            self._taker.heard(self._scope.place(channel), data)
            with self._lock:
                self._stirred.add(number)
        elif number not in self._strangers and self._scope.may_be_chosen(
            whole_number(data.get("guild_id")) or 0
        ):
            self._strangers.add(number)
            self._later(partial(self._meet, number, data))

    def _deleted(self, data: Json) -> None:
        number = whole_number(data.get("channel_id")) or 0
        ids = data.get("ids") or [data.get("id")]
        if self._scope.channel(number) is not None and isinstance(ids, list):
            self._taker.deleted(number, [whole_number(each) or 0 for each in ids])

    def _channel(self, data: Json) -> None:
        for raw in things(data, "threads") or [data]:
            self._scope.hear_channel(raw, whole_number(data.get("guild_id")) or 0)

    def _channel_deleted(self, data: Json) -> None:
        number = whole_number(data.get("id")) or 0
        if self._scope.channel(number) is not None:
            self._later(partial(self._look_whether_gone, number))

    def _guild(self, data: Json) -> None:
        """In GUILD_CREATE, after each lost session again, is all that appeared meanwhile."""
        self._scope.hear_guild(data)
        for raw in (*things(data, "channels"), *things(data, "threads")):
            self._scope.hear_channel(raw, whole_number(data.get("id")) or 0)

    def _role(self, data: Json) -> None:
        role = thing(data, "role")
        if text(role, "name"):
            self._scope.hear_guild({"id": data.get("guild_id"), "roles": [role]})

    def _later(self, step: Callable[[], None]) -> None:
        """On a thread that may ask."""
        with self._lock:
            if not self._asker.is_stopping:
                self._pending.add(self._pool.submit(step))

    def _meet(self, number: int, message: Json) -> None:
        """A channel that nobody told of: asked for, and its message taken if it is chosen."""

        def ask() -> None:
            channel = self._scope.ask_for(number)
            if self._scope.enqueue(channel):
                self._taker.heard(self._scope.place(channel), message)

        self._scope.allowed(f"channel {number}", ask)

    def _look_whether_gone(self, number: int) -> None:
        """An event says that a channel is gone; its clips are only if it cannot be had any more."""

        def ask() -> None:
            try:
                self._scope.ask_for(number)
            except RemoteGone:
                self._catalogue.channel_gone(number, self._api.now_ns())

        self._scope.allowed(f"channel {number}", ask)


_HANDLERS: Mapping[str, Callable[[Collector, Json], None]] = {
    **dict.fromkeys(("MESSAGE_CREATE", "MESSAGE_UPDATE"), Collector._message),
    **dict.fromkeys(("MESSAGE_DELETE", "MESSAGE_DELETE_BULK"), Collector._deleted),
    **dict.fromkeys(("CHANNEL_CREATE", "CHANNEL_UPDATE"), Collector._channel),
    **dict.fromkeys(("THREAD_CREATE", "THREAD_UPDATE", "THREAD_LIST_SYNC"), Collector._channel),
    **dict.fromkeys(("CHANNEL_DELETE", "THREAD_DELETE"), Collector._channel_deleted),
    **dict.fromkeys(("GUILD_CREATE", "GUILD_UPDATE"), Collector._guild),
    **dict.fromkeys(("GUILD_ROLE_CREATE", "GUILD_ROLE_UPDATE"), Collector._role),
}
