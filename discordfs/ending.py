"""How a mount ends: work under way gets a moment, then the transport is closed under it; and a writer that
has nothing left to say says so.

Limits: POSTS_GRACE_S and CLOSE_TIMEOUT_S. Errors: none; what cannot be said, whoever comes next finds out.
Threading: whoever ends the mount, with a thread for what may take long.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

from discordfs.errors import DiscordfsError, TimedOut
from discordfs.index import Index
from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop
from discordfs.uploader import Uploader

log = logging.getLogger(__name__)

POSTS_GRACE_S = 3.0
"""Seconds that posts under way get to finish when the mount ends; what does not is found again later."""

CLOSE_TIMEOUT_S = 10.0


def end_tenure(index: Index, uploader: Uploader, loop: Loop, remote: DiscordRemote) -> None:
    """With nothing left to say, says so: then nobody has to be told to take the volume over. The transport
    is closed under it when it takes long."""
    book, ledger = index.logbook, index.ledger
    state = book.state()
    is_all_said = book.oldest_change() is None and not book.intents() and not ledger.intents()
    is_empty = not ledger.staged_bytes and not ledger.sealed_bytes
    is_ours = state.epoch and state.owner == book.me and not state.released and not uploader.lost
    if is_all_said and is_empty and is_ours and uploader.is_working:
        in_time(lambda: _say_end(uploader), loop, remote)


def _say_end(uploader: Uploader) -> None:
    try:
        uploader.log.end()
    except (DiscordfsError, OSError) as error:
        log.info("that this writer has ended could not be said: %s", error)


def in_time(work: Callable[[], None], loop: Loop, remote: DiscordRemote) -> None:
    """Posts under way get a moment; then the transport is closed under them, which ends them."""
    worker = threading.Thread(target=work, name="discordfs-stop")
    worker.start()
    worker.join(POSTS_GRACE_S)
    if worker.is_alive():
        close_remote(loop, remote)
        worker.join()


def close_remote(loop: Loop, remote: DiscordRemote) -> None:
    with contextlib.suppress(TimedOut):
        loop.call(remote.close(), CLOSE_TIMEOUT_S)
