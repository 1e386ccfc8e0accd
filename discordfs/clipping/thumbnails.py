"""Makes a thumbnail of each clip and learns its facts, several at a time, from the few ranges that takes.

The catalogue is the queue. A picture is on disk before the catalogue says so. A file that is no video is
marked with the reason and never tried again; whatever Discord or the disk has to do with leaves the clip
waiting, put off for longer each time.
Limits: PARALLEL files at once, of which video.py says what each takes; pictures of more than 4 million pixels
are looked at alone. Errors: Unauthorized, sqlite3.Error;
others are told and tried again. Threading: `run` or `step` on one thread at a time; the looks are on others,
which end with the step.
"""

from __future__ import annotations

import concurrent.futures
import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from discordfs.clipping.backoff import Backoff
from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.model import Clip
from discordfs.clipping.video import PIXELS, RangeFile, look
from discordfs.disk import whole_file
from discordfs.errors import (
    BadRequest,
    Forbidden,
    Interrupted,
    RemoteError,
    RemoteGone,
    TimedOut,
    Unauthorized,
    VideoError,
)
from discordfs.model import Clock

PARALLEL = 3
_BATCH = 4 * PARALLEL
_SIDE_BY_SIDE = 4_000_000  # pixels
_PAGE = 64
_NS = 10**9
_LOOK_S = 2.0  # between two looks for new clips
_AGAIN_S = (60.0, 86_400.0)  # until a clip that failed is tried again
_BEHIND_THE_END = 416
_log = logging.getLogger(__name__)

Read = Callable[[int, int, int, int, int], bytes]
"""(channel, message, attachment, start, length) -> exactly these bytes, or an error: MessageStore.read."""


@dataclass(frozen=True, slots=True)
class Round:
    """What came of a step: clips looked at, found to be no videos, put off; and in how many seconds the next
    step is due."""

    looked: int = 0
    failed: int = 0
    put_off: int = 0
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _One:
    """A look at a clip, whose picture may have so many pixels."""

    clip: Clip
    file: RangeFile
    pixels: int = _SIDE_BY_SIDE


class Thumbnailer:
    """Makes `folder`/<attachment id>.png. `told` hears what goes wrong, "" once it goes well."""

    def __init__(
        self,
        catalogue: Catalogue,
        read: Read,
        folder: Path,
        clock: Clock,
        *,
        rng: random.Random | None = None,
        told: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._catalogue, self._read, self._folder, self._clock = catalogue, read, folder, clock
        self._told = told
        self._rng = rng or random.Random()
        self._backoff = Backoff(rng=self._rng)
        self._guard = threading.Lock()
        self._put_off: dict[int, tuple[Backoff, int]] = {}
        self._rest_until_ns = 0
        self._stop = threading.Event()
        self.fetched = 0
        """Bytes that were read of clips."""

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set: a look under way ends with its next range."""
        while not stop.is_set():
            stop.wait(self.step(stop).wait_s)

    def is_idle(self) -> bool:
        """Whether no clip waits, but for those that are put off."""
        now = self._clock()
        return now < self._rest_until_ns or not self._batch(now)

    def step(self, stop: threading.Event | None = None) -> Round:
        """A few clips."""
        self._stop = stop or threading.Event()
        now = self._clock()
        if now < self._rest_until_ns:
            return Round(wait_s=(self._rest_until_ns - now) / _NS)
        batch = self._batch(now)
        if not batch:
            return Round(wait_s=_LOOK_S)
        with concurrent.futures.ThreadPoolExecutor(PARALLEL, "discordfs-thumbs") as pool:
            looks = [_One(clip, self._file(clip)) for clip in batch]
            results = list(pool.map(self._look, looks))
        alone = [one for one, result in zip(looks, results, strict=True) if result == "alone"]
        results += [self._look(replace(one, pixels=PIXELS)) for one in alone]
        return Round(*(results.count(each) for each in ("looked", "failed", "put off")))

    def _batch(self, now: int) -> list[Clip]:
        found: list[Clip] = []
        after = -1
        while len(found) < _BATCH and (page := self._catalogue.waiting(after, _PAGE)):
            found += [clip for clip in page if self._put_off.get(clip.id, (None, 0))[1] <= now]
            after = page[-1].id
        return found[:_BATCH]

    def _file(self, clip: Clip) -> RangeFile:
        return RangeFile(lambda start, length: self._range(clip, start, length), clip.size)

    # --- on threads of the pool ---------------------------------------------------------------------------

    def _look(self, one: _One) -> str:
        """What came of it; "alone" is for a look by itself, "" for one that was not begun or broken off."""
        clip = one.clip
        if self._stop.is_set() or self._clock() < self._rest_until_ns:
            return ""
        try:
            return self._make(one)
        except Unauthorized:
            raise
        except Interrupted:
            return ""
        except VideoError as error:
            # Its picture may just be too large for several at once; what was read of it is still here.
            return "alone" if one.pixels < PIXELS else self._mark(clip, str(error))
        except BadRequest as error:
            if error.code != _BEHIND_THE_END:
                return self._delay(clip, error)
            shorter = f"it has less than the {clip.size:,} bytes that Discord says"
            return self._mark(clip, shorter if clip.size else "it is empty")
        except (RemoteError, TimedOut, OSError) as error:
            return self._delay(clip, error)

    def _make(self, one: _One) -> str:
        clip = one.clip
        if not clip.size:
            self._range(clip, 0, 1)  # of an empty file an error; else its size was not told yet
            return self._delay(clip, RemoteGone(f"the size of clip {clip.id} is not known yet"))
        seen = look(one.file, one.pixels)
        self._keep(clip, seen.thumbnail)
        self._catalogue.looked(clip.id, seen.facts)
        self._succeeded(clip)
        return "looked"

    def _range(self, clip: Clip, start: int, length: int) -> bytes:
        if self._stop.is_set():
            raise Interrupted("the run was ended")
        data = self._read(clip.channel, clip.message, clip.id, start, length)
        with self._guard:
            self.fetched += len(data)
        return data

    def _keep(self, clip: Clip, picture: bytes) -> None:
        with whole_file(self._folder / f"{clip.id}.png") as file:
            file.write(picture)

    def _mark(self, clip: Clip, reason: str) -> str:
        self._catalogue.look_failed(clip.id, reason)
        self._succeeded(clip)
        return "failed"

    def _succeeded(self, clip: Clip) -> None:
        with self._guard:
            self._put_off.pop(clip.id, None)
            self._backoff.succeeded()
        self._told("")

    def _delay(self, clip: Clip, error: Exception) -> str:
        """This clip, and all of them where it is not for this one alone."""
        is_its_own = isinstance(error, RemoteGone | Forbidden | BadRequest)
        now = self._clock()
        with self._guard:
            backoff = self._put_off.get(clip.id, (Backoff(*_AGAIN_S, self._rng), 0))[0]
            self._put_off[clip.id] = backoff, now + int(backoff.failed() * _NS)
            if not is_its_own:
                pause = max(self._backoff.failed(), getattr(error, "retry_after", 0.0))
                self._rest_until_ns = max(self._rest_until_ns, now + int(pause * _NS))
            is_first = not is_its_own and self._backoff.failures == 1
        if is_first:
            _log.warning("clips cannot be looked at for now, and are tried again: %s", error)
        self._told(f"clip {clip.id}: {error}")
        return "put off"
