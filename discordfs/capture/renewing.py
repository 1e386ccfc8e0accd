"""Files whose addresses are out of date: their message is asked for again, in this run or in a later one.

What an earlier run could not have is tried once more in each run, even where its message is not seen again.
Of messages only those in the run's own channels are asked for; the answers stand in run.jsonl.
Threading: `renewed` on any thread, `try_again` on the run's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from discordfs.archived.people import is_empty
from discordfs.capture.asking import FAILURES, Recorder, into, told
from discordfs.capture.job import Job
from discordfs.capture.media import Item, items_of
from discordfs.errors import Forbidden, RemoteGone


def renewed(job: Job, record: Recorder, item: Item) -> Item:
    """The item with a fresh address. Raises RemoteGone when its message or it is gone, Forbidden and
    BadRequest when it is not shown, and what ends a channel."""
    if job.media is None or not item.message:
        raise RemoteGone("no message is known that shows it")
    message = job.asker.get(f"/channels/{item.channel}/messages/{item.message}", record)
    found = next((each for each in items_of(message, job.media.cdn) if each.key == item.key), None)
    if found is not None:
        return replace(found, channel=item.channel, message=item.message)
    if is_empty(message):
        raise Forbidden("its message comes empty: MESSAGE_CONTENT may be missing")
    raise RemoteGone("its message shows it no more")


def try_again(job: Job, turn: Callable[[], None]) -> None:
    """Has what earlier runs could not, as far as it is there now. `turn` is called now and then."""
    if job.media is None or job.settings.strict:
        return
    renew = partial(renewed, job, into(job.run_file, job.form))
    for some in job.media.left_over():
        try:
            job.media.fetch_all([each for each in some if _is_ours(job, each)], renew)
        except FAILURES as error:
            job.failed(f"files that earlier runs could not have: {told(error)}")
            return
        finally:
            job.run_file.commit()
        turn()


def _is_ours(job: Job, item: Item) -> bool:
    return bool(item.url) or item.channel in job.marks
