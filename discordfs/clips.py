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
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from discordfs.archive import REQUESTS_A_SECOND
from discordfs.capture.asking import PATIENCE, Asker
from discordfs.clipping.catalogue import Catalogue, Found, Named
from discordfs.clipping.collector import SETTLE_S, Collector, Progress
from discordfs.clipping.exporting import Exported, export
from discordfs.clipping.finding import TYPES, Kinds, kinds_of
from discordfs.clipping.importing import Imported, Importer
from discordfs.clipping.links import Renewer
from discordfs.clipping.model import Clip, Facts, Place, Poster
from discordfs.clipping.place import ClipsDirectory
from discordfs.clipping.record import read_record, record_of
from discordfs.clipping.scope import Scope, SyncSettings
from discordfs.clipping.thumbnails import Thumbnailer
from discordfs.clipping.workers import Board, Plan, Supervisor
from discordfs.config import DISCORD_API
from discordfs.disk import remove_drafts
from discordfs.errors import FormatError, RemoteError, TimedOut, Unauthorized, Unavailable, UsageError
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
    "Connection",
    "Exported",
    "Facts",
    "Found",
    "Imported",
    "Named",
    "Place",
    "Poster",
    "Progress",
    "Refreshed",
    "SyncSettings",
    "Work",
    "collecting",
    "connected",
    "crew",
    "export",
    "kinds_of",
    "read_record",
    "record_of",
    "refresh",
    "take_in",
]

_CLOSE_S = 10.0
_TYPES = "types"
_READ_S = 60.0
_TRIES = 5
"""How often in a row renewing may fail, until `refresh` gives up."""

_LIVE_INTENTS = ("dm_messages",)


@dataclass(frozen=True, slots=True)
class Connection:
    """What works on clips has in its hands, while `connected` lasts."""

    directory: ClipsDirectory
    catalogue: Catalogue
    remote: DiscordRemote
    loop: Loop
    patience: Patience


@dataclass(frozen=True, slots=True)
class Work(Connection):
    """The same, with what collects."""

    collector: Collector


@dataclass(frozen=True, slots=True)
class Refreshed:
    """How many links were to be renewed, how many were, and how many clips turned out to be gone."""

    clips: int
    renewed: int
    gone: int


def crew(
    work: Work,
    *,
    has_thumbnails: bool = True,
    more: Callable[[Work, Board], Sequence[Plan]] = lambda work, board: (),
) -> Supervisor:
    """The workers, in the order in which they end: who fills what the next one empties is before it. `more`
    makes those that come after them."""
    board, workers = Board(), work.directory.workers
    # Whoever stays goes on once Discord is there again; whoever came for what there is says that it is not.
    fatal = (Unauthorized, FormatError) if work.collector.is_staying else (RemoteError, FormatError)

    def read(channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
        return work.loop.call(work.remote.read(channel, message, attachment, start, length), _READ_S)

    renewer = Renewer(work.remote, work.loop, work.catalogue, work.remote.now_ns, told=board.of("renewer"))
    plans = [
        Plan("collector", work.collector, fatal=fatal),
        Plan("renewer", renewer, is_idle=renewer.is_idle),
    ]
    if has_thumbnails:
        told = board.of("thumbnailer")
        thumbnailer = Thumbnailer(work.catalogue, read, work.directory.thumbs, work.remote.now_ns, told=told)
        plans.append(Plan("thumbnailer", thumbnailer, is_idle=thumbnailer.is_idle))
    plans += more(work, board)
    return Supervisor(
        plans, workers, board=board, facts=lambda: {"progress": asdict(work.collector.progress())}
    )


@contextlib.contextmanager
def connected(
    token: str,
    directory: ClipsDirectory,
    *,
    api: str = DISCORD_API,
    requests_a_second: int = REQUESTS_A_SECOND,
    patience: Patience = PATIENCE,
    is_live: bool = False,
) -> Iterator[Connection]:
    """The catalogue, to be written, and Discord; one at a time in a directory. Nothing is asked before
    something runs. Raises BusyError, FormatError."""
    with ExitStack() as undo:
        undo.enter_context(directory.held())
        remove_drafts(directory.path)
        catalogue = Catalogue(directory.catalogue)
        undo.callback(catalogue.close)
        loop = undo.enter_context(Loop("discordfs-clips"))
        limiter = Limiter(api, token, runtime_dir(os.geteuid()), rules=Rules(global_size=requests_a_second))
        intents = _LIVE_INTENTS if is_live else ()
        remote = DiscordRemote(token, api=api, message_content=True, intents=intents, limiter=limiter)
        undo.callback(_close, loop, remote)
        yield Connection(directory, catalogue, remote, loop, patience)


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
    settle_s: float = SETTLE_S,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[Work]:
    """The same, with a collector. What `settings` choose is remembered, channels and kinds of videos; where
    they choose nothing it is what was chosen last, else the server `home`. Raises BusyError, FormatError,
    UsageError."""
    with connected(
        token,
        directory,
        api=api,
        requests_a_second=requests_a_second,
        patience=patience,
        is_live=settings.is_live,
    ) as to:
        chosen = _chosen(to.catalogue, settings, home)
        collector = Collector(
            to.remote, to.loop, to.catalogue, chosen, patience=patience, settle_s=settle_s, tell=tell
        )
        yield Work(to.directory, to.catalogue, to.remote, to.loop, patience, collector)


def take_in(
    to: Connection, folder: Path, tell: Callable[[int, int], None] = lambda done, total: None
) -> Imported:
    """The predecessor's records in `folder`, with what Discord says of them. `tell` hears how many of how
    many are done. Raises RemoteError; what was taken by then stays, and the next time goes on."""
    asker = Asker(to.remote, to.loop, patience=to.patience)
    scope = Scope(asker, SyncSettings(), lambda channel: None)
    return Importer(asker, scope, to.catalogue, to.remote.now_ns).run(folder, tell)


def refresh(
    to: Connection,
    clips: Sequence[int] | None = None,
    wait: Callable[[float], object] = time.sleep,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Refreshed:
    """Renews the links of these clips, or of all, now. Raises Unavailable when that does not go for now."""
    total = to.catalogue.doubt(clips)
    renewer = Renewer(to.remote, to.loop, to.catalogue, to.remote.now_ns)
    failures = 0
    while failures < _TRIES:
        turn = renewer.step()
        tell(renewer.renewed + renewer.gone, total)
        failures = failures + 1 if turn.failure else 0
        if turn.failure:
            wait(turn.wait_s)
        elif renewer.is_idle():
            return Refreshed(total, renewer.renewed, renewer.gone)
    raise Unavailable(f"links cannot be renewed for now ({turn.failure}): try again later")


def _chosen(catalogue: Catalogue, settings: SyncSettings, home: int) -> SyncSettings:
    if settings.channels or settings.guilds:
        catalogue.choose(settings.channels, settings.guilds)
    channels, guilds = catalogue.chosen()
    if not channels and not guilds and not home:
        raise UsageError("no channel was chosen yet: name some by --channel ID, or a server by --guild ID")
    if not channels and not guilds:
        guilds = frozenset({home})
    return replace(settings, channels=channels, guilds=guilds, kinds=_kinds(catalogue, settings.kinds))


def _kinds(catalogue: Catalogue, chosen: Kinds | None) -> Kinds:
    """Those that were chosen, now or before. Of others than before no page has shown anything yet."""
    before = catalogue.setting(_TYPES)
    kinds = chosen or kinds_of(before or ",".join(TYPES))
    if before and not kinds.extensions <= kinds_of(before).extensions:
        catalogue.cover_anew()
    catalogue.set(_TYPES, ",".join(sorted(kinds.extensions)))
    return kinds


def _close(loop: Loop, remote: DiscordRemote) -> None:
    with contextlib.suppress(TimedOut):
        loop.call(remote.close(), _CLOSE_S)
