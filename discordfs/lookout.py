"""Looking at the log in the background: when a hint comes, and now and then while none can come.

Job: the one thread that asks whether there is anything new: for a mount that follows the log, and for a
writer, who must hear that another machine takes over. Hints say when to look; the listing decides. Limits: as
long as the gateway stands nothing is asked without a hint; else once a minute. Threading: one thread, which
holds no lock while it looks; hints come on the loop's thread, and are only noted there.

A listing may show a message later than the hint comes: so after a hint there are some more looks. Whoever
looks is told which message it is about, and need not ask when it has read that already.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from discordfs.errors import DiscordfsError, TimedOut
from discordfs.fold import LISTING_LAG_S
from discordfs.remote.base import Hint

log = logging.getLogger(__name__)

LOOK_EVERY_S = 60.0
"""Seconds between two looks while no hints come."""

AGAIN_S = (1.0, LISTING_LAG_S)
"""Seconds after the look that a hint brought, and after that one, to two more about the same message."""

ANY_MESSAGE = 2**64
"""The newest message that a look is about, where nobody named one."""


class Lookout:
    """Calls `look` with the id of the newest message that was heard of. `hears` tells whether hints come now.
    `failed` is told what went wrong; then there is another look after LOOK_EVERY_S, hints or not."""

    def __init__(
        self,
        look: Callable[[int], None],
        hears: Callable[[], bool],
        failed: Callable[[Exception], None],
        every_s: float = LOOK_EVERY_S,
        again_s: Sequence[float] = AGAIN_S,
    ) -> None:
        self._look, self._hears, self._failed, self._every_s = look, hears, failed, every_s
        self._changed = threading.Condition()
        self._newest = self._heard = 0
        self._again_s = tuple(again_s)
        self._to_come: tuple[float, ...] = ()  # pauses before the looks that a hint still asks for
        self._asked = self._done = 0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="discordfs-lookout", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def hint(self, hint: Hint) -> None:
        """Something happened in the log's channel. Deletions are no news of what the log says."""
        if hint.kind == "delete":
            return
        newest = max(hint.messages, default=ANY_MESSAGE)
        with self._changed:
            self._heard = max(self._heard, newest) if self._to_come else newest
            self._to_come = self._again_s
        self._ask(newest)

    def refresh(self, timeout_s: float) -> None:
        """Returns after a look that began after this call. Raises TimedOut."""
        asked = self._ask(ANY_MESSAGE)
        with self._changed:
            if not self._changed.wait_for(lambda: self._done >= asked or self._is_stopping, timeout_s):
                raise TimedOut(f"the log could not be read within {timeout_s:g} s")

    def _ask(self, newest: int) -> int:
        with self._changed:
            self._asked += 1
            self._newest = max(self._newest, newest)
            self._changed.notify_all()
            return self._asked

    def _run(self) -> None:
        has_failed = False
        while self._wait(has_failed):
            with self._changed:
                serving, newest = self._asked, self._newest or ANY_MESSAGE
                self._newest = 0
            has_failed = not self._look_guarded(newest)
            with self._changed:
                self._done = serving
                self._changed.notify_all()

    def _look_guarded(self, newest: int) -> bool:
        try:
            self._look(newest)
        except (DiscordfsError, OSError) as error:
            self._failed(error)
        except Exception as error:
            log.exception("looking at the log failed in a way that nobody foresaw")
            self._failed(error)
        else:
            return True
        return False

    def _wait(self, has_failed: bool) -> bool:
        """Until a look is due (True), or the end (False)."""
        with self._changed:
            while not self._is_stopping and self._asked == self._done:
                pause, *later = *self._to_come, self._every_s
                if self._changed.wait(pause):
                    continue
                if later:
                    self._to_come, self._newest = tuple(later[:-1]), self._heard
                    return not self._is_stopping
                if has_failed or not self._hears():
                    return not self._is_stopping
            return not self._is_stopping
