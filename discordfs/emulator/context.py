"""What every room of the emulator can reach: one object per emulator, handed to handlers by the
application.

Threading: event loop only, but for the parts that say otherwise.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field

from aiohttp import web

from .clock import Clock
from .faults import Fault, Faults
from .files import Files
from .limits import InvalidAnswers, Limiter
from .model import User
from .sessions import Sessions
from .settings import Settings
from .snowflake import SnowflakeMaker
from .stats import Stats
from .store import Store
from .urls import Signer
from .world import World


@dataclass(slots=True)
class Context:
    """The parts of a running emulator. `settings` is replaced when a setting changes."""

    settings: Settings
    clock: Clock
    ids: SnowflakeMaker
    store: Store
    files: Files
    world: World
    signer: Signer
    base_url: str = ""
    sessions: Sessions = field(default_factory=Sessions)
    stats: Stats = field(default_factory=Stats)
    limiter: Limiter = field(default_factory=Limiter)
    invalid: InvalidAnswers = field(default_factory=InvalidAnswers)
    faults: Faults = field(default_factory=lambda: Faults(0))
    released: asyncio.Event = field(default_factory=asyncio.Event)  # set: nothing is held back
    stopping: asyncio.Event = field(default_factory=asyncio.Event)  # set: whoever waits, gives up


CONTEXT: web.AppKey[Context] = web.AppKey("context", Context)
_CALLER: ContextVar[User] = ContextVar("caller")
_FAULT: ContextVar[Fault | None] = ContextVar("fault", default=None)


def context_of(request: web.Request) -> Context:
    return request.app[CONTEXT]


def set_caller(user: User) -> None:
    """Remembers for the request under way who makes it; each request runs in a task of its own."""
    _CALLER.set(user)


def caller(request: web.Request) -> User:
    """Who makes this request; the pipeline has checked the token."""
    return _CALLER.get()


def set_fault(fault: Fault) -> None:
    _FAULT.set(fault)


def fault_of(request: web.Request) -> Fault | None:
    """The fault that strikes this request's answer, if any."""
    return _FAULT.get()
