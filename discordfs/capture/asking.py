"""Requests from plain threads: repeated as long as it makes sense, every attempt written down as it went.

Unavailable and RateLimited are repeated up to a deadline, nothing else is. `stop` ends what is under way, in
every thread. Threading: any number of threads ask at once; none holds a lock meanwhile.
"""

from __future__ import annotations

import concurrent.futures
import random
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from discordfs.capture.lines import Form, NoJson, decoded
from discordfs.capture.recordfile import RecordFile
from discordfs.errors import (
    BadRequest,
    Forbidden,
    Interrupted,
    RateLimited,
    RemoteError,
    RemoteGone,
    Unavailable,
)
from discordfs.model import Clock
from discordfs.remote.answers import failure_of
from discordfs.remote.base import Api, Exchange
from discordfs.remote.loop import Loop
from discordfs.remote.retrying import Patience, Trial

T = TypeVar("T")
PATIENCE = Patience(deadline=900.0, first=1.0, longest=60.0)
REFUSALS = (Forbidden, RemoteGone, BadRequest)
"""What is not shown: asking again would not help."""

FAILURES = (Unavailable, RateLimited, KeyError, TypeError, ValueError, AttributeError)
"""What could not be had for now; also an answer of another shape than Discord's documents give it."""

_ANSWER_S = 7200.0
"""Seconds for one attempt: the limiter may make it wait, the transport has timeouts of its own."""


class Recorder(Protocol):
    """Whoever writes an exchange down; `body` is its data decoded, if it is JSON."""

    def __call__(self, exchange: Exchange, body: Any, is_json: bool) -> None: ...


def told(error: BaseException) -> str:
    """An error for people: ours say it themselves, others mean an answer that cannot be understood."""
    return (
        str(error) if isinstance(error, RemoteError) else f"an answer that cannot be understood ({error!r})"
    )


def into(file: RecordFile, form: Form) -> Recorder:
    """Writes exchanges down in a file."""

    def record(exchange: Exchange, body: Any, is_json: bool) -> None:
        file.add(form.http(exchange, body, is_json))

    return record


class Asker:
    """Asks one Api; `requests` counts attempts."""

    def __init__(
        self,
        api: Api,
        loop: Loop,
        *,
        patience: Patience = PATIENCE,
        clock: Clock = time.monotonic_ns,
        rng: random.Random | None = None,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._api = api
        self._loop = loop
        self._patience = patience
        self._clock = clock
        self._rng = rng or random.Random()
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait
        self._lock = threading.Lock()
        self._under_way: set[concurrent.futures.Future[Any]] = set()
        self.requests = 0

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """Whoever asks from now on, or is waiting, gets Interrupted."""
        self._stopping.set()
        with self._lock:
            under_way = list(self._under_way)
        for future in under_way:
            future.cancel()

    def pause(self, seconds: float) -> bool:
        """Waits; at once True when the run is stopped."""
        return self._wait(seconds) or self.is_stopping

    def get(self, route: str, record: Recorder, params: Mapping[str, str | int] | None = None) -> Any:
        """The decoded answer to a GET. Raises the RemoteError that the last attempt stands for;
        Interrupted."""
        return self.exchange(route, record, params)[0]

    def exchange(
        self, route: str, record: Recorder, params: Mapping[str, str | int] | None = None
    ) -> tuple[Any, Exchange]:
        """The same, with the exchange that it came by."""
        trial = Trial(self._patience, self._clock, self._rng)
        while True:
            try:
                return self._once(route, record, params, trial.attempt)
            except (Unavailable, RateLimited) as error:
                pause = trial.pause(error)
                if pause is None:
                    raise
            self._wait(pause)
            trial.attempt += 1

    def _once(
        self, route: str, record: Recorder, params: Mapping[str, str | int] | None, attempt: int
    ) -> tuple[Any, Exchange]:
        self.requests += 1
        exchange = self.call(self._api.exchange("GET", route, params=params, attempt=attempt))
        try:
            body, is_json = decoded(exchange.data), True
        except NoJson:
            body, is_json = None, False
        record(exchange, body, is_json)
        failure = failure_of(f"GET {route}", exchange)
        if failure is None and not is_json:
            failure = Unavailable(f"GET {route}: an answer that is no JSON")
        if failure is not None:
            raise failure
        return body, exchange

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """A coroutine's result, on the loop. Raises Interrupted once `stop` was called."""
        if self.is_stopping:
            coroutine.close()
            raise Interrupted("the run was ended")
        future = self._loop.submit(coroutine)
        with self._lock:
            self._under_way.add(future)
        try:
            if self._stopping.is_set():  # it may have been since
                future.cancel()
            return future.result(_ANSWER_S)
        except TimeoutError:
            future.cancel()
            raise Unavailable(f"no answer within {_ANSWER_S:g} s") from None
        except concurrent.futures.CancelledError:
            raise Interrupted("the run was ended") from None
        finally:
            with self._lock:
                self._under_way.discard(future)
