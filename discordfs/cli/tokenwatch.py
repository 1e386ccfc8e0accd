"""A new token for a mount that runs: once Discord has refused the present one, another is looked for where
tokens are kept, and taken up.

Job: hear of a 401, look every few seconds, hand over what is found. Limits: nothing is asked of Discord, and
nothing is done at all while all is well. DISCORD_TOKEN does not count, as a process keeps its environment.

Threading: one thread, from `start` to `stop`. Refusals are heard on the remote's thread. The remote takes a
token from any thread: it is one assignment, and one more that allows requests again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from discordfs.errors import ConfigError
from discordfs.model import Clock
from discordfs.remote.base import Exchange, GatewayFrame
from discordfs.tokens import Token

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0

_REFUSED = 401


class Remote(Protocol):
    """What takes the token: DiscordRemote."""

    def observe(self, observer: Callable[[Exchange | GatewayFrame], None]) -> Callable[[], None]: ...

    def use_token(self, token: str) -> None: ...


class TokenWatch:
    """Watches over the token of `remote`, which is `current` at first.

    `find` gives the token that is kept now (ConfigError: none). `taken` hears of a new one before it is used
    or named anywhere. `clock` is that of the remote's exchanges (epoch ns)."""

    def __init__(
        self,
        *,
        remote: Remote,
        current: Token,
        find: Callable[[], Token],
        taken: Callable[[Token], None],
        clock: Clock,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._remote, self._find, self._taken, self._clock = remote, find, taken, clock
        self._current = current
        self._look_every_s = look_every_s
        self._taken_ns = 0
        self._refusal: Exchange | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._trouble = ""
        self._thread = threading.Thread(target=self._watch, name="discordfs-token", daemon=True)
        self._unobserve: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._unobserve = self._remote.observe(self._heard)
        self._thread.start()

    def stop(self) -> None:
        self._unobserve()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    # --- hearing ----------------------------------------------------------------------------------

    def _heard(self, event: Exchange | GatewayFrame) -> None:
        if not isinstance(event, Exchange) or event.status == 0:
            return
        refusal = event if event.status == _REFUSED else None
        if refusal is None and not self._ends_refusal(event):
            return
        with self._changed:
            self._refusal = refusal
            self._changed.notify_all()

    def _ends_refusal(self, answered: Exchange) -> bool:
        """Only a request that began after it proves that the remote goes on: others were under way."""
        return self._refusal is not None and answered.started_ns > self._refusal.ended_ns

    # --- looking ----------------------------------------------------------------------------------

    def _watch(self) -> None:
        while self._wait(lambda: self._refusal is not None) and not self._stopping:
            log.warning(
                "Discord refuses the token from %s: nothing is asked of it until there is another in the "
                "token file, the keyring, the state directory or .env",
                self._current.source,
            )
            while not self._wait(lambda: self._refusal is None, self._look_every_s):
                self._look_guarded()

    def _wait(self, condition: Callable[[], bool], seconds: float | None = None) -> bool:
        """Until the condition is true or the mount ends (True), or the time is over (False)."""
        with self._changed:
            return self._changed.wait_for(lambda: self._stopping or condition(), seconds)

    def _look_guarded(self) -> None:
        try:
            self._look()
        except Exception:
            log.exception("looking for a new token failed in a way that nobody foresaw")

    def _look(self) -> None:
        try:
            found = self._find()
        except (ConfigError, OSError) as error:
            self._say(f"no new token yet: {error}")
            return
        if found.reveal() != self._current.reveal():
            self._take(found)
        elif self._is_answer_to_an_older_token():
            self._remote.use_token(found.reveal())

    def _take(self, token: Token) -> None:
        self._taken(token)
        self._current, self._taken_ns, self._trouble = token, self._clock(), ""
        self._remote.use_token(token.reveal())
        log.info("a new token was found (%s): the drive goes on with it", token.source)

    def _is_answer_to_an_older_token(self) -> bool:
        """A refusal that came late has stopped the remote, which has a newer token by now: it may go on."""
        refusal = self._refusal
        return refusal is not None and refusal.started_ns <= self._taken_ns

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("%s", trouble)
