"""Keeps the catalogue's links alive: each is renewed before it ends, fifty with one request.

Those that end first go first, at two hours before their end or at the last tenth of a shorter life; a request
takes along what ends soon after, so it goes out full. A link that comes back as it was is put off; so is
everything after a failure, longer each time; nothing is dropped. Where Discord refuses to renew links
(POST /attachments/refresh-urls is undocumented), messages are asked for instead, a page of 100 at once. That
a clip is gone is believed of its own message alone. Of a clip that came without its size the message is asked
for too.
Limits: a request takes 60 s at most. Errors: Unauthorized, sqlite3.Error; others are told and tried again.
Threading: `run` or `step` on one thread at a time.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from discordfs.clipping.backoff import Backoff
from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.model import Clip
from discordfs.clipping.record import expiry_of
from discordfs.errors import BadRequest, Forbidden, RemoteError, RemoteGone, TimedOut, Unauthorized
from discordfs.model import Clock
from discordfs.remote.base import Api
from discordfs.remote.loop import Loop
from discordfs.remote.urls import attachments_of

MARGIN_S = 7200.0
BATCH = 50
"""Links in one request (Discord's own limit)."""

PAGE = 100
_NS = 10**9
_CALL_S = 60.0
_LOOK_S = 60.0  # between two looks for what is due
_AGAIN_S = 86_400.0  # until what was refused is tried once more
_STUBBORN = 2  # times that a link comes back as it was, until its message is asked for
_log = logging.getLogger(__name__)

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of a step: links renewed, clips found to be gone, what failed ("": nothing; while it rests
    after a failure, that one), and in how many seconds the next step is due."""

    renewed: int = 0
    gone: int = 0
    failure: str = ""
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _PutOff:
    """A clip whose link came back as it was, so many times; not asked for before `until_ns`."""

    times: int
    until_ns: int


class Renewer:
    """Renews over `api`, whose requests go through `loop`. `clock` is Discord's, by which links end. `told`
    hears what goes wrong, "" once it goes well."""

    def __init__(
        self,
        api: Api,
        loop: Loop,
        catalogue: Catalogue,
        clock: Clock,
        *,
        margin_s: float = MARGIN_S,
        rng: random.Random | None = None,
        told: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._api, self._loop, self._catalogue, self._clock = api, loop, catalogue, clock
        self._margin_ns = int(margin_s * _NS)
        self._told = told
        self._backoff = Backoff(rng=rng)
        self._put_off: dict[int, _PutOff] = {}
        self._rest_until_ns = 0
        self._trouble = ""
        self._refused_until_ns = 0
        self.renewed = 0
        self.gone = 0

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        while not stop.is_set():
            stop.wait(self.step().wait_s)

    def is_idle(self) -> bool:
        """Whether there is nothing to renew now, or Discord does not let it be done for now."""
        now = self._clock()
        return now < self._rest_until_ns or not self._due(now)[0]

    def step(self) -> Turn:
        """At most one batch."""
        now = self._clock()
        if now < self._rest_until_ns:
            return Turn(failure=self._trouble, wait_s=(self._rest_until_ns - now) / _NS)
        batch, wait_s = self._due(now)
        if not batch:
            return Turn(wait_s=wait_s)
        before = self.renewed, self.gone
        try:
            self._renew(batch, now)
        except Unauthorized:
            raise
        except (RemoteError, TimedOut) as error:
            return self._failed(error, batch[0], before)
        self._backoff.succeeded()
        self._told("")
        return Turn(self.renewed - before[0], self.gone - before[1])

    def _failed(self, error: Exception, first: Clip, before: tuple[int, int]) -> Turn:
        """Rests, but not for so long that links would end over it."""
        pause = min(self._backoff.failed(), max(1.0, self._margin(first) / 8 / _NS))
        pause = max(pause, getattr(error, "retry_after", 0.0))
        if self._backoff.failures == 1:
            _log.warning("links cannot be renewed for now, and are tried again: %s", error)
        self._trouble = str(error)
        self._told(self._trouble)
        self._rest_until_ns = self._clock() + int(pause * _NS)
        return Turn(self.renewed - before[0], self.gone - before[1], str(error), pause)

    # --- what is due ------------------------------------------------------------------------------------

    def _due(self, now: int) -> tuple[list[Clip], float]:
        """A batch, or none and for how many seconds."""
        soonest = self._catalogue.next_expiry()
        if soonest is None:
            return [], _LOOK_S
        if soonest > now + self._margin_ns:
            return [], self._wait(now, soonest - self._margin_ns)
        off = {clip for clip, each in self._put_off.items() if each.until_ns > now}
        reach = now + 2 * self._margin_ns
        found = [clip for clip in self._catalogue.due(reach, BATCH + len(off)) if clip.id not in off]
        if not found:
            return [], self._wait(now, reach)
        margin = self._margin(found[0])
        if found[0].expires_ns > now + margin:
            return [], self._wait(now, found[0].expires_ns - margin)
        return [clip for clip in found if clip.expires_ns <= now + 2 * margin][:BATCH], 0.0

    def _wait(self, now: int, until: int) -> float:
        until = min([until, *(each.until_ns for each in self._put_off.values() if each.until_ns > now)])
        return min(_LOOK_S, max(0.001, (until - now) / _NS))

    def _margin(self, clip: Clip) -> int:
        """How long before its end a link is renewed, ns."""
        life = clip.expires_ns - _signed_ns(clip.url)
        return max(1, min(self._margin_ns, life // 10)) if 0 < life < clip.expires_ns else self._margin_ns

    # --- asking -----------------------------------------------------------------------------------------

    def _renew(self, batch: Sequence[Clip], now: int) -> None:
        linked = [clip for clip in batch if clip.url and clip.size and not self._is_stubborn(clip)]
        singly = [clip for clip in batch if clip not in linked]
        if linked and (now < self._refused_until_ns or not self._refresh(linked)):
            singly += linked
        while singly:
            seen = self._look_around(singly[0])
            singly = [clip for clip in singly if clip.id not in seen]

    def _is_stubborn(self, clip: Clip) -> bool:
        known = self._put_off.get(clip.id)
        return known is not None and known.times >= _STUBBORN

    def _refresh(self, clips: Sequence[Clip]) -> bool:
        """Whether Discord renews links at all."""
        links = list({clip.url: None for clip in clips})
        try:
            answer = self._ask("POST", "/attachments/refresh-urls", json={"attachment_urls": links})
        except (Forbidden, RemoteGone) as error:
            _log.info("Discord renews no links by themselves, so messages are asked for: %s", error)
            self._refused_until_ns = self._clock() + int(_AGAIN_S * _NS)
            return False
        except BadRequest as error:  # one link among them that is none
            _log.info("links were not taken, so their messages are asked for: %s", error)
            return False
        pairs = answer.get("refreshed_urls", ()) if isinstance(answer, dict) else ()
        newer = {str(each.get("original")): str(each.get("refreshed")) for each in pairs}
        self._take([(clip, newer.get(clip.url, "")) for clip in clips])
        return True

    def _look_around(self, clip: Clip) -> set[int]:
        """Asks for a page around a clip's message; the clips that are done with."""
        where = {"around": clip.message, "limit": PAGE}
        try:
            page = self._ask("GET", f"/channels/{clip.channel}/messages", params=where)
        except (Forbidden, RemoteGone):
            page = []  # its own message tells
        messages: dict[int, Message | None] = {int(each["id"]): each for each in page}
        if clip.message not in messages:
            messages[clip.message] = self._message(clip)
        known = self._catalogue.present(clip.channel, min(messages), max(messages))
        ids = [id_ for number in known.keys() & messages.keys() for id_ in known[number]]
        for each in filter(None, map(self._catalogue.clip, ids)):
            self._judge(each, messages[each.message])
        return {clip.id, *ids}

    def _message(self, clip: Clip) -> Message | None:
        """None: it is gone. An empty one where it may not be read."""
        try:
            found: Message = self._ask("GET", f"/channels/{clip.channel}/messages/{clip.message}")
            return found
        except RemoteGone:
            return None
        except Forbidden:
            return {}

    def _judge(self, clip: Clip, message: Message | None) -> None:
        """What a clip's message says of it."""
        if message is None:
            self._lose(clip)
            return
        shown = {int(each["id"]): each for each in attachments_of(message)}
        if clip.id not in shown and (shown or message.get("content")):
            self._lose(clip)
            return
        mine = shown.get(clip.id, {})  # a message that shows nothing at all may be hidden from the bot
        if not clip.size and mine.get("size"):
            self._catalogue.sized(clip.id, int(mine["size"]))
        self._take([(clip, str(mine.get("url", "")))])

    def _ask(self, method: str, route: str, **more: Any) -> Any:
        return self._loop.call(self._api.request(method, route, **more), _CALL_S)

    # --- what came --------------------------------------------------------------------------------------

    def _take(self, links: Sequence[tuple[Clip, str]]) -> None:
        """Newer links; those that are none are put off."""
        ends = [(clip, url, (expiry_of(url) or 0) * _NS) for clip, url in links]
        newer = [(clip.id, url, end) for clip, url, end in ends if end > clip.expires_ns]
        self._catalogue.renewed(newer)
        self.renewed += len(newer)
        for clip, _, end in ends:
            if end > clip.expires_ns:
                self._put_off.pop(clip.id, None)
            else:
                self._delay(clip)

    def _delay(self, clip: Clip) -> None:
        """Longer each time, but asked again before it ends."""
        known = self._put_off.get(clip.id)
        times = known.times + 1 if known else 1
        now, margin = self._clock(), self._margin(clip)
        left = clip.expires_ns - now
        if left > 2 * margin:
            return  # not due: it was only in the page
        most = max(left // 2, margin // 64) if left > 0 else int(_AGAIN_S * _NS)
        self._put_off[clip.id] = _PutOff(times, now + min(most, margin // 8 * 2 ** min(times, 16)))

    def _lose(self, clip: Clip) -> None:
        self._catalogue.attachment_gone(clip.id, self._clock())
        self._put_off.pop(clip.id, None)
        self.gone += 1


def _signed_ns(url: str) -> int:
    """When a link was signed, epoch ns; 0 where it does not say."""
    try:
        return int(parse_qs(urlsplit(url).query)["is"][-1], 16) * _NS
    except (KeyError, ValueError):
        return 0
