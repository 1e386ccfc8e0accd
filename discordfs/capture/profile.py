"""Who captures, and what the gateway says to that: the head of run.jsonl.

GET users/@me, GET gateway, and the websocket exchange up to READY and the GUILD_CREATE of each server.
Without a gateway in time the run goes on, and says so. Threading: one thread; frames come on the loop's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from discordfs.archived.coverage import NOWHERE
from discordfs.capture.asking import REFUSALS, into
from discordfs.capture.job import Job
from discordfs.capture.lines import NoJson, decoded
from discordfs.errors import Interrupted
from discordfs.remote.base import Exchange, GatewayApi, GatewayFrame

_CONTENT_FLAGS = 1 << 18 | 1 << 19
GATEWAY_S = 30.0
"""Seconds within which a gateway that works has told all servers."""

_TURN_S = 0.25


def who_am_i(job: Job) -> Mapping[str, Any]:
    """The account. Raises Unauthorized when the token is no good."""
    me: Mapping[str, Any] = job.asker.get("/users/@me", into(job.run_file, job.form))
    job.me = int(me["id"])
    job.run_file.commit()
    return me


def ask_for_intents(job: Job) -> None:
    """Whether the bot may see what others write. Of an account that is no bot it is not asked."""
    if job.settings.strict or job.settings.is_user_account:
        return
    try:
        told = job.asker.get("/applications/@me", into(job.run_file, job.form))
    except REFUSALS as error:
        job.ledger.fail(NOWHERE, f"intents: {error}")
        return
    job.lacks_content = not int(told.get("flags") or 0) & _CONTENT_FLAGS


class GatewayRecorder:
    """Records frames in run.jsonl from `begin` to `end`. `listener` is called on the loop's thread with each
    event's name and data."""

    def __init__(self, job: Job, api: GatewayApi) -> None:
        self._job = job
        self._api = api
        self._waiting: set[str] | None = None
        self._ready = threading.Event()
        self._stop: Callable[[], None] = lambda: None
        self.listener: Callable[[str, Any], None] = lambda event, data: None

    def begin(self) -> None:
        """Connects; the exchange is recorded from here on."""
        self._stop = self._api.observe(self._observe)
        self._api.connect_gateway()

    def wait(self, seconds: float = GATEWAY_S) -> bool:
        """Whether READY and all servers came within so many seconds. Raises Interrupted."""
        turns = int(seconds / _TURN_S)
        for _ in range(turns):
            if self._ready.wait(_TURN_S):
                break
            if self._job.asker.is_stopping:
                raise Interrupted("the run was ended")
        self._job.run_file.commit()
        return self._ready.is_set()

    def end(self) -> None:
        """Disconnects. Call it on no thread but those that may ask."""
        self._stop()
        self._job.asker.call(self._api.disconnect_gateway())
        self._job.run_file.commit()

    def _observe(self, event: Exchange | GatewayFrame) -> None:
        if isinstance(event, GatewayFrame):
            self._frame(event)
        elif event.url.endswith("/gateway"):
            self._gateway(event)

    def _gateway(self, exchange: Exchange) -> None:
        try:
            body, is_json = decoded(exchange.data), True
        except NoJson:
            body, is_json = None, False
        self._job.run_file.add(self._job.form.http(exchange, body, is_json))

    def _frame(self, frame: GatewayFrame) -> None:
        name, data = _event(frame)
        self._job.run_file.add(self._job.form.frame(frame))
        self.listener(name, data)
        if name == "READY":
            # A person's servers stand in READY itself, a bot's follow.
            self._waiting = {str(each["id"]) for each in data.get("guilds") or () if each.get("unavailable")}
        elif name == "GUILD_CREATE" and self._waiting is not None:
            self._waiting.discard(str(data["id"]))
        if self._waiting is not None and not self._waiting:
            self._ready.set()


def _event(frame: GatewayFrame) -> tuple[str, Any]:
    """The name and data of a dispatch, ("", None) of all else."""
    if frame.direction == "send":
        return "", None
    try:
        body = decoded(frame.data)
    except NoJson:
        return "", None
    return (str(body["t"]), body["d"]) if isinstance(body, dict) and body.get("t") else ("", None)
