"""The archive's door for whoever uses discordfs as a library: a run in a few lines.

    from datetime import UTC, datetime
    from pathlib import Path
    from discordfs.archive import CaptureSettings, capture

    settings = CaptureSettings("channel", (1180731401503506453,), after=datetime(2026, 1, 1, tzinfo=UTC))
    result = capture("TOKEN", settings, Path("archive"))
    print(result.directory, result.num_messages)
    for problem in (*result.refusals, *result.failures):
        print(problem)

What a run writes stands in docs/FORMAT.md, "Archive runs". Threading: `capture` blocks; other threads may run
others.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from discordfs.capture.asking import PATIENCE
from discordfs.capture.estimate import Estimate, estimate_of
from discordfs.capture.progress import Progress
from discordfs.capture.run import Capture, Result
from discordfs.capture.settings import MEDIA_KINDS, CaptureSettings, media_kinds
from discordfs.config import DISCORD_API
from discordfs.errors import TimedOut
from discordfs.model import Clock
from discordfs.registry import runtime_dir
from discordfs.remote.client import DiscordRemote
from discordfs.remote.ledger import Rules
from discordfs.remote.limiting import Limiter
from discordfs.remote.loop import Loop
from discordfs.remote.retrying import Patience

__all__ = [
    "MEDIA_KINDS",
    "Capture",
    "CaptureSettings",
    "Estimate",
    "Progress",
    "Result",
    "capture",
    "estimate",
    "media_kinds",
]

REQUESTS_A_SECOND = 50
"""What Discord allows a bot in all (its documents, "Global Rate Limit")."""

_CLOSE_S = 10.0
_LIVE_INTENTS = ("dm_messages", "dm_reactions", "emojis_and_stickers", "webhooks", "invites")
_BY_LEAVE = ("members",)


def capture(
    token: str,
    settings: CaptureSettings,
    root: Path,
    *,
    api: str = DISCORD_API,
    requests_a_second: int = REQUESTS_A_SECOND,
    patience: Patience = PATIENCE,
    clock: Clock = time.time_ns,
    rng: random.Random | None = None,
    began: Callable[[Path], None] = lambda path: None,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Makes a run in `root`, or goes on with one. `began` hears where it is, `tell` how it goes.

    What is forbidden or gone ends nothing and stands in the result. Raises Unauthorized, OSError, BusyError;
    KeyboardInterrupt as it comes. The run's metadata says then how it ended, and it can be resumed."""
    with _connected(token, settings, api, requests_a_second) as (remote, loop):
        run = Capture(
            remote,
            loop,
            settings,
            root,
            api_url=api,
            secrets=(token,),
            patience=patience,
            clock=clock,
            rng=rng,
            began=began,
            tell=tell,
        )
        return run.run()


def estimate(
    token: str,
    settings: CaptureSettings,
    *,
    api: str = DISCORD_API,
    requests_a_second: int = REQUESTS_A_SECOND,
) -> Estimate:
    """How much a run would be, by looking into each channel at a few places. Nothing is written."""
    with _connected(token, settings, api, requests_a_second) as (remote, loop):
        return estimate_of(remote, loop, settings, requests_a_second)


@contextlib.contextmanager
def _connected(
    token: str, settings: CaptureSettings, api: str, requests_a_second: int
) -> Iterator[tuple[DiscordRemote, Loop]]:
    with ExitStack() as undo:
        loop = undo.enter_context(Loop("discordfs-archive"))
        shared = runtime_dir(os.geteuid())
        rules = Rules(global_size=requests_a_second)
        remote = DiscordRemote(
            token,
            api=api,
            message_content=not settings.strict,
            intents=() if settings.live_s == 0 else (*_LIVE_INTENTS, *_BY_LEAVE),
            is_user_account=settings.is_user_account,
            limiter=Limiter(api, token, shared, rules=rules),
        )
        undo.callback(_close, loop, remote)
        yield remote, loop


def _close(loop: Loop, remote: DiscordRemote) -> None:
    with contextlib.suppress(TimedOut):
        loop.call(remote.close(), _CLOSE_S)
