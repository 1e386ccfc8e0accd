"""How the clips of a state directory are, for `status`: what the catalogue has, and what each worker does.

Threading: any; nothing is changed, and nobody is waited for.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.place import ClipsDirectory
from discordfs.clipping.workers import State, read_report

GONE = "gone"
"""The state of workers whose process has died without a word."""


def standing(directory: ClipsDirectory) -> dict[str, Any] | None:
    """Counts of clips, and under `sync` the process (`running`; `died` when it was killed), its progress and
    its workers as it told them last; None where nothing was ever collected."""
    if not directory.catalogue.exists():
        return None
    return {**_counts(directory), "sync": _sync(directory)}


def _counts(directory: ClipsDirectory) -> dict[str, int]:
    catalogue = Catalogue(directory.catalogue, is_reader=True)
    try:
        return catalogue.counts()
    except sqlite3.Error:  # it is being made, or damaged, which `clips` says
        return {}
    finally:
        catalogue.close()


def _sync(directory: ClipsDirectory) -> dict[str, Any] | None:
    report = read_report(directory.workers)
    if report is None:
        return None
    is_running = directory.is_held() and not report.get("is_over")
    died = not is_running and not report.get("is_over")
    workers = [dict(each) for each in report.get("workers", ()) if isinstance(each, dict)]
    for each in workers:
        if died and each.get("state") in (State.RUNNING, State.PAUSING, State.WAITING):
            each["state"] = GONE
    return {
        "pid": report.get("pid"),
        "running": is_running,
        "died": died,
        "at": report.get("at_ns", 0) / 1e9,
        "progress": report.get("progress"),
        "workers": workers,
    }
