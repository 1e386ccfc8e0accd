"""All checks, in order: the index in itself, the index against the log, the chunks against their messages,
and, if asked for, what is in them.

Job: carry the checks out and gather what they say. Nothing is changed, but that a chunk that was read whole
is noted as read. What needs Discord and cannot be asked now is said in `Report.undone`. Works on a drive that
is at work as well: it looks at one moment of the index, and asks again before it calls something missing.
Limits: those of the checks. Errors: Unauthorized, FormatError, OSError. Threading: one thread, on which
Discord is asked; no lock is held.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from discordfs.chunkstore import ChunkStore
from discordfs.errors import DiscordfsError, RateLimited, RemoteError, Unauthorized, Unavailable
from discordfs.fold import FoldState
from discordfs.fsck import comparing, indexcheck, logcheck, messages
from discordfs.fsck.findings import Finding, Heal, Report, Severity
from discordfs.fsck.local import Local, open_view
from discordfs.fsck.logcheck import LogCopy
from discordfs.fsck.messages import Ranges, Stored
from discordfs.logbook import state_in
from discordfs.model import Clock

log = logging.getLogger(__name__)

Told = Callable[[str], object]
"""Hears what is being done, in a few words."""


@dataclass(frozen=True, slots=True)
class Premises:
    """Where a drive lives: its files here (`scratch` is a folder for a while), its channels on Discord."""

    index: Path
    staging: Path
    outbox: Path
    scratch: Path
    log_channel: int
    channels: tuple[int, ...]

    def all_channels(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys((self.log_channel, *self.channels)))


@dataclass(slots=True)
class _Findings:
    found: list[Finding] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    is_offline: bool = False

    def report(self) -> Report:
        return Report(tuple(self.found), (), tuple(self.undone), self.is_offline)


class Checker:
    """Checks a drive. `hold` keeps staging as it is while it is compared; `verified` notes a chunk that was
    read whole, with its damaged ranges. `is_live`: a mount is at work on it."""

    def __init__(
        self,
        premises: Premises,
        chunks: ChunkStore,
        clock: Clock,
        *,
        is_live: bool = False,
        hold: Callable[[], AbstractContextManager[None]] = nullcontext,
        verified: Callable[[int, Ranges], object] = lambda chunk, ranges: None,
        told: Told = lambda text: None,
        is_reachable: bool = True,
    ) -> None:
        self._premises, self._chunks, self._clock = premises, chunks, clock
        self._is_live, self._hold, self._verified, self._told = is_live, hold, verified, told
        self._is_reachable = is_reachable

    def check(self, read_percent: float = 0.0) -> Report:
        """All checks; so many percent of the chunks are read whole."""
        findings = _Findings()
        findings.found += self.check_index()
        if any(
            finding.is_damage and finding.kind in ("sqlite", "schema", "row") for finding in findings.found
        ):
            text = "the rest was not checked: what is wrong with the index itself has to be mended first"
            findings.found.append(Finding("unchecked", text, severity=Severity.NOTE))
            return findings.report()
        self._asking(findings, "the log", self._check_log)
        self._asking(findings, "where the chunks lie", self._check_messages)
        if read_percent:
            told = {each.repair.chunk for each in findings.found if isinstance(each.repair, Heal)}
            self._asking(findings, "what is in the chunks", lambda: self._check_contents(read_percent, told))
        return findings.report()

    def check_index(self) -> list[Finding]:
        """What can be told without Discord."""
        self._told("the index")
        with self._hold(), self._view() as local:
            return indexcheck.inspect(local)

    @contextmanager
    def log_copy(self) -> Iterator[LogCopy]:
        """An index built of the log alone, as far as this machine knows the log at least, where the log goes
        as far. Raises Discord's answers."""
        premises = self._premises
        with logcheck.log_copy(self._chunks, premises.log_channel, premises.scratch, self._clock) as copy:
            while self._is_live and not copy.problem and self._known().head_seq > copy.state().head_seq:
                if not copy.follow():
                    break
            yield copy

    def is_writer(self, me: bytes, known: FoldState) -> bool:
        """Whether the log says that `me` writes the volume, and an index that ends at `known` does not know
        of more than the log. Raises Discord's answers."""
        with self.log_copy() as copy:
            said = copy.state()
            return said.owner == me and (known.epoch <= said.epoch or known.head_uid in copy.look.messages)

    def wrong_state(self, copy: LogCopy) -> list[Finding]:
        """Whether the index has a wrong end of the log's chain."""
        with self._view(copy.file) as local:
            return [*logcheck.check_state(local, copy)]

    def can_compare(self, copy: LogCopy) -> bool:
        """Whether the copy tells of all that the index calls recorded."""
        return copy.goes_as_far_as(self._known())

    def differences(self, copy: LogCopy) -> list[Finding]:
        """What differs between the index and the copy, if the two can be compared."""
        with self._view(copy.file) as local:
            known = state_in(local.connection)
            return [*comparing.compare(local)] if copy.goes_as_far_as(known) else []

    # --- inside -----------------------------------------------------------------------------------

    def _asking(self, findings: _Findings, what: str, check: Callable[[], Iterator[Finding]]) -> None:
        if findings.is_offline or not self._is_reachable:  # to try each in turn would last for minutes
            findings.is_offline = True
            findings.undone.append(f"{what} could not be checked: Discord cannot be reached")
            return
        self._told(what)
        try:
            for finding in check():
                findings.found.append(finding)
        except Unauthorized:
            raise
        except (RemoteError, DiscordfsError) as error:
            findings.is_offline |= isinstance(error, Unavailable | RateLimited)
            findings.undone.append(f"{what} could not be checked: {error}")

    def _view(self, copy: Path | None = None) -> _View:
        return _View(self._premises, self._is_live, copy)

    def _known(self) -> FoldState:
        with self._view() as local:
            return state_in(local.connection)

    def _check_log(self) -> Iterator[Finding]:
        with self.log_copy() as copy, self._view(copy.file) as local:
            known = state_in(local.connection)
            yield from logcheck.check_chain(copy, known, self._chunks, self._premises.log_channel)
            yield from _owner(known, copy)
            yield from logcheck.check_state(local, copy)
            if copy.goes_as_far_as(known):
                yield from comparing.compare(local)

    def _check_messages(self) -> Iterator[Finding]:
        with self._view() as local:
            yield from messages.check_messages(
                local, self._chunks, self._premises.all_channels(), self._is_current
            )

    def _is_current(self, chunk: Stored) -> bool:
        if not self._is_live:
            return True
        with self._view() as local:
            return any(
                (each.id, each.ref.message) == (chunk.id, chunk.ref.message)
                for each in messages.stored_chunks(local)
            )

    def _check_contents(self, percent: float, without: Container[int]) -> Iterator[Finding]:
        with self._view() as local:
            yield from messages.check_contents(
                local,
                self._chunks,
                percent,
                self._verified,
                lambda done, of: self._told(f"chunk {done + 1} of {of}"),
                without,
            )


class _View:
    """A moment of the index as a context."""

    def __init__(self, premises: Premises, is_live: bool, copy: Path | None) -> None:
        self._premises, self._is_live, self._copy = premises, is_live, copy

    def __enter__(self) -> Local:
        self._connection = open_view(self._premises.index, self._copy)
        return Local(self._connection, self._premises.staging, self._premises.outbox, self._is_live)

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _owner(known: FoldState, copy: LogCopy) -> Iterator[Finding]:
    said = copy.look.fold.state()
    if said.epoch and not known.epoch:
        yield Finding(
            "unknown-log",
            "the log holds a drive that this index knows nothing of: 'discordfs recover' it elsewhere",
        )
    elif said.epoch > known.epoch:
        yield Finding("writer", f"the volume is written by {said.holder} now", severity=Severity.NOTE)
