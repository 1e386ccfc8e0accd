"""run.meta.json: Discard's keys in Discard's order, and what we know besides under `discordfs`. Threading:
pure."""

from __future__ import annotations

import importlib.metadata
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from discordfs import __version__
from discordfs.capture.scrubbing import Scrubber
from discordfs.capture.settings import CaptureSettings
from discordfs.remote.base import SCRUBBED

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a run at a moment. `ended` None: it goes on. `counts`: HTTP records, websocket
    records, messages. `more`: what only we write."""

    settings: CaptureSettings
    output_dir: str
    directory: str
    ident: str
    begun: str
    ended: str | None
    error: BaseException | None
    has_errors: bool
    is_complete: bool
    counts: tuple[int, int, int]
    user: Mapping[str, Any] | None
    token: str
    more: Mapping[str, Any]


def run_meta(facts: Facts, scrubber: Scrubber) -> dict[str, Any]:
    """The file's object. Nothing secret is in it, tracebacks included."""
    settings, error = facts.settings, facts.error
    http, ws, messages = facts.counts
    body: dict[str, Any] = {
        "client": {
            "name": "discordfs",
            "version": __version__,
            "discord.py_version": importlib.metadata.version("discord.py"),
        },
        "command": scrubber.command(settings.command),
        "settings": {
            "mode": settings.mode,
            "token": facts.token if settings.no_scrub else SCRUBBED,
            "is_user_account": settings.is_user_account,
            "output_dir": facts.output_dir,
            "after": _iso(settings.after),
            "before": _iso(settings.before),
            "no_scrub": settings.no_scrub,
            "gzip": settings.gzip,
        },
        "run": {
            "datetime_start": facts.begun,
            "datetime_end": facts.ended,
            "run_directory": facts.directory,
            "ident": facts.ident,
            "completed": facts.is_complete,
            "finished": facts.ended is not None,
            "errors": facts.has_errors,
            "exception": None if error is None else scrubber.text(f"{type(error).__name__}: {error}"),
            "traceback": None if error is None else scrubber.text(_traceback(error)),
        },
        "summary": {"num_http_requests": http, "num_ws_packets": ws, "num_messages": messages},
        "user": _user(facts.user),
    }
    return body if settings.strict else body | {"discordfs": {"format": FORMAT, **facts.more}}


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _user(raw: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if raw is None:
        return None
    return {
        "id": int(raw["id"]),
        "name": raw.get("username"),
        "discriminator": raw.get("discriminator"),
        "bot": bool(raw.get("bot", False)),
    }
