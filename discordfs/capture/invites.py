"""Invites that are met in messages: each code is looked up once in a run, so that it can be known later where
it led.

Threading: the thread that met it.
"""

from __future__ import annotations

import re

from discordfs.archived.coverage import NOWHERE
from discordfs.capture.asking import REFUSALS, Recorder
from discordfs.capture.job import Job

_INVITE = re.compile(
    r"(?:discord\.gg|discord(?:app)?\.com(?:\\?/)invite)(?:\\?/)([A-Za-z0-9-]{2,32})", re.IGNORECASE
)


def codes_in(text: str) -> set[str]:
    """The codes in a text, which may be JSON."""
    return set(_INVITE.findall(text))


def look_up(job: Job, text: str, record: Recorder) -> list[str]:
    """Asks for what is new in a page; which codes that was. One that has run out is an answer too."""
    codes = sorted(job.new_invites(codes_in(text)))
    for code in codes:
        try:
            job.asker.get(f"/invites/{code}", record, {"with_counts": "true"})
        except REFUSALS as error:
            job.ledger.fail(NOWHERE, f"invite: {error}")
    return codes
