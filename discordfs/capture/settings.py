"""What a run is to capture, and how. Threading: values are frozen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from discordfs.archived.ranges import LAST, Range
from discordfs.errors import UsageError
from discordfs.remote.base import snowflake_at

MODES = ("profile", "channel", "guild")
MEDIA_KINDS = ("attachments", "embeds", "avatars", "emojis", "stickers")
DAY_S = 86_400.0


def media_kinds(text: str) -> frozenset[str]:
    """The kinds of "all", "none" or a list with commas. Raises UsageError."""
    if text in ("all", "none"):
        return frozenset(MEDIA_KINDS if text == "all" else ())
    kinds = frozenset(part.strip() for part in text.split(",") if part.strip())
    if not kinds or kinds - set(MEDIA_KINDS):
        raise UsageError(f"media {text!r}: write all, none, or some of {', '.join(MEDIA_KINDS)}")
    return kinds


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """One run. `targets`: ids of channels or guilds, none for a profile. `after`, `before`: aware or in UTC;
    None is without bound. `strict`: requests, tree and records are Discard's. `window_s`: how many seconds
    back an incremental run looks again. `live_s`: how long to stay on the gateway, None for ever, 0 not at
    all. `command`: the argv to note."""

    mode: str
    targets: tuple[int, ...] = ()
    after: datetime | None = None
    before: datetime | None = None
    no_scrub: bool = False
    gzip: bool = False
    is_user_account: bool = False
    strict: bool = False
    media: frozenset[str] = frozenset()
    incremental: bool = False
    window_s: float = 7 * DAY_S
    resume: bool = False
    live_s: float | None = 0.0
    parallel: int = 16
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UsageError(f"mode {self.mode!r}: expected one of {', '.join(MODES)}")
        if (self.mode == "profile") == bool(self.targets):
            raise UsageError(f"a run of mode {self.mode} takes {'no ids' if self.targets else 'ids'}")

    @property
    def is_full(self) -> bool:
        return self.after is None and self.before is None

    @property
    def asked(self) -> Range:
        """The ids of messages that are wanted."""
        first = 1 if self.after is None else max(1, snowflake_at(_epoch_ns(self.after)))
        return first, LAST if self.before is None else snowflake_at(_epoch_ns(self.before)) - 1

    def identity(self) -> dict[str, Any]:
        """What a run that is gone on with has to have in common with the new one, as JSON."""
        return {
            "mode": self.mode,
            "targets": sorted(self.targets),
            "after": _text(self.after),
            "before": _text(self.before),
            "gzip": self.gzip,
            "strict": self.strict,
            "no_scrub": self.no_scrub,
            "is_user_account": self.is_user_account,
            "incremental": self.incremental,
            "media": sorted(self.media),
        }


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _epoch_ns(moment: datetime) -> int:
    return int(_aware(moment).timestamp() * 1_000_000) * 1000


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else _aware(moment).isoformat()
