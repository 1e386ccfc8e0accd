"""The clips' door for whoever uses discordfs as a library: videos of channels, collected into a catalogue.

    import threading
    from pathlib import Path
    from discordfs.clips import ClipsDirectory, SyncSettings, collecting

    settings = SyncSettings(channels=frozenset({1180731401503506453}), has_history=True)
    with collecting("TOKEN", ClipsDirectory(Path("clips")), settings) as work:
        work.collector.run(threading.Event())
        for named in work.catalogue.clips():
            print(named.name, named.clip.url)

Threading: `collecting` belongs to one thread; what it gives says itself from where it may be used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from discordfs.archive import REQUESTS_A_SECOND
from discordfs.capture.asking import PATIENCE
from discordfs.clipping.catalogue import Catalogue, Found, Named
from discordfs.clipping.collector import Collector, Progress
from discordfs.clipping.finding import kinds_of
from discordfs.clipping.model import Clip, Facts, Place, Poster
from discordfs.clipping.place import ClipsDirectory
from discordfs.clipping.record import read_record, record_of
from discordfs.clipping.scope import SyncSettings
from discordfs.config import DISCORD_API
from discordfs.errors import TimedOut, UsageError
from discordfs.registry import runtime_dir
from discordfs.remote.client import DiscordRemote
from discordfs.remote.ledger import Rules
from discordfs.remote.limiting import Limiter
from discordfs.remote.loop import Loop
from discordfs.remote.retrying import Patience

__all__ = [
    "Catalogue",
    "Clip",
    "ClipsDirectory",
    "Collector",
    "Facts",
    "Found",
    "Named",
    "Place",
    "Poster",
    "Progress",
    "SyncSettings",
    "Work",
    "collecting",
    "kinds_of",
    "read_record",
    "record_of",
]

_CLOSE_S = 10.0
_LIVE_INTENTS = ("dm_messages",)


@dataclass(frozen=True, slots=True)
class Work:
    """What works on clips has in its hands, while `collecting` lasts."""

    directory: ClipsDirectory
    catalogue: Catalogue
    remote: DiscordRemote
    loop: Loop
    collector: Collector


@contextlib.contextmanager
def collecting(
    token: str,
    directory: ClipsDirectory,
    settings: SyncSettings,
    *,
    home: int = 0,
    api: str = DISCORD_API,
    requests_a_second: int = REQUESTS_A_SECOND,
    patience: Patience = PATIENCE,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[Work]:
    """A collector, its catalogue and its connection; one at a time in a directory. Nothing is asked before
    something runs. What `settings` choose is remembered; where they choose nothing it is what was chosen
    last, else the server `home`. Raises BusyError, FormatError, UsageError."""
    with ExitStack() as undo:
        undo.enter_context(directory.held())
        catalogue = Catalogue(directory.catalogue)
        undo.callback(catalogue.close)
        settings = _chosen(catalogue, settings, home)
        loop = undo.enter_context(Loop("discordfs-clips"))
        limiter = Limiter(api, token, runtime_dir(os.geteuid()), rules=Rules(global_size=requests_a_second))
        intents = _LIVE_INTENTS if settings.is_live else ()
        remote = DiscordRemote(token, api=api, message_content=True, intents=intents, limiter=limiter)
        undo.callback(_close, loop, remote)
        collector = Collector(remote, loop, catalogue, settings, patience=patience, tell=tell)
        yield Work(directory, catalogue, remote, loop, collector)


def _chosen(catalogue: Catalogue, settings: SyncSettings, home: int) -> SyncSettings:
    if settings.channels or settings.guilds:
        catalogue.choose(settings.channels, settings.guilds)
        return settings
    channels, guilds = catalogue.chosen()
    if not channels and not guilds and not home:
        raise UsageError("no channel was chosen yet: name some by --channel ID, or a server by --guild ID")
    if not channels and not guilds:
        guilds = frozenset({home})
    return replace(settings, channels=channels, guilds=guilds)


def _close(loop: Loop, remote: DiscordRemote) -> None:
    with contextlib.suppress(TimedOut):
        loop.call(remote.close(), _CLOSE_S)
