"""What is asked of Discord before a drive is opened: whether the volume is really new, whether the bot sees
all of it, and which role the mount has.

Job: never begin a volume anew whose index is lost; never take a bot's blindness for damage; decide without
Discord where it does not answer. Errors: MissingError, Forbidden, Unavailable, and those of tenure.py.
Threading: one thread, before anything runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from discordfs.chunkstore import ChunkStore
from discordfs.errors import Forbidden, MissingError, RemoteError, RemoteGone, TimedOut, Unavailable
from discordfs.fold import FoldState
from discordfs.index import Index
from discordfs.logreading import LogReader
from discordfs.recovery import NO_INTENT
from discordfs.remote.base import Message
from discordfs.tenure import Standing, Tenure, Wish

log = logging.getLogger(__name__)


def check_index_is_there(
    place: Path,
    chunks: ChunkStore,
    reader: LogReader,
    is_reachable: bool,
    are_hidden: Callable[[Sequence[Message]], bool],
) -> None:
    """A volume that has a log must never begin as an empty one because its index at `place` is lost.
    `are_hidden` says whether the bot may not see some of these messages."""
    if place.exists():
        return
    lost = f"the index {place} is missing"
    if not is_reachable:
        raise Unavailable(f"{lost}, and Discord cannot be asked now whether the volume has ever been used")
    asked_ns = chunks.asking_ns(reader.channel)
    messages = chunks.list_after(reader.channel, 0)
    look = reader.fold(FoldState(), messages, asked_ns)
    if look.messages or look.unreadable:
        raise MissingError(f"{lost}, and the volume has a log: 'discordfs recover' builds the index from it")
    if are_hidden(messages):
        raise Forbidden(f"{lost}, and {NO_INTENT.format(channel=reader.channel)}")


def assume_role(
    tenure: Tenure,
    index: Index,
    chunks: ChunkStore,
    reader: LogReader,
    wish: Wish,
    is_reachable: bool,
    progress: Callable[[str], None],
) -> Standing:
    """The role of a mount. Where Discord says no, or nothing, the index decides, if it can; else Discord's
    answer is the error."""
    is_hidden = False
    try:
        if is_reachable:
            is_hidden = _is_newest_record_hidden(index, chunks, reader)
            if not is_hidden:
                return tenure.assume(wish, True, progress)
    except (RemoteError, TimedOut) as error:
        log.warning("Discord cannot be asked who writes the volume (%s)", error)
        try:
            return tenure.assume(wish, False, progress)
        except Unavailable:
            raise error from None
    if is_hidden:
        raise Forbidden(NO_INTENT.format(channel=reader.channel))
    return tenure.assume(wish, False, progress)


def _is_newest_record_hidden(index: Index, chunks: ChunkStore, reader: LogReader) -> bool:
    head = index.logbook.state().head_message
    if not head:
        return False
    try:
        return not chunks.message(reader.channel, head).attachments
    except RemoteGone:  # deleted by somebody: what that means is for others to say
        return False
