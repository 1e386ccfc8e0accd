"""Rate limits as Discord keeps them: a global one per bot, buckets per route and top-level id, and the
block for too many invalid answers.

A window opens with its first request and lasts its whole length. All times in here are seconds of the
emulator's clock; the headers are made elsewhere, in the client's seconds. Threading: event loop only.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass

from .settings import Settings

_KEPT_WINDOWS = 4096  # beyond so many, the closed ones are dropped


@dataclass(frozen=True, slots=True)
class Rule:
    """How often something may be done: `limit` times in `window` seconds."""

    name: str
    limit: int
    window: float

    @property
    def bucket(self) -> str:
        """Discord's opaque hash of the bucket's kind."""
        return hashlib.blake2b(self.name.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one request. `rule` None: the global limit decided."""

    allowed: bool
    rule: Rule | None
    remaining: int
    reset_after: float


@dataclass(slots=True)
class _Window:
    ends: float
    used: int = 0


def rule_for(method: str, template: str, old_message: bool, settings: Settings) -> Rule:
    """The rule of a route, by its template such as `/channels/{channel_id}/messages`."""
    one_message = "/channels/{channel_id}/messages/{message_id}"
    name = f"{method} {template}"
    match name:
        case "POST /channels/{channel_id}/messages":
            return Rule(name, settings.post_limit, settings.post_window)
        case "POST /channels/{channel_id}/messages/bulk-delete":
            return Rule(name, settings.bulk_limit, settings.bulk_window)
    if name == f"PATCH {one_message}":
        return Rule(name, settings.edit_limit, settings.edit_window)
    if name == f"DELETE {one_message}" and old_message:
        return Rule(f"{name} old", settings.old_delete_limit, settings.old_delete_window)
    if name == f"DELETE {one_message}":
        return Rule(name, settings.delete_limit, settings.delete_window)
    if method != "GET" and template.startswith(f"{one_message}/reactions"):
        return Rule("reactions", settings.reaction_limit, settings.reaction_window)
    if name == "POST /webhooks/{webhook_id}/{webhook_token}":
        return Rule(name, settings.webhook_limit, settings.webhook_window)
    if method == "GET":
        return Rule(name, settings.read_limit, settings.read_window)
    return Rule(name, settings.write_limit, settings.write_window)


class Limiter:
    """The open windows of all bots."""

    def __init__(self) -> None:
        self._windows: dict[tuple[int, str, str], _Window] = {}

    def take(self, user_id: int, rule: Rule, top_id: str, now: float, settings: Settings) -> Verdict:
        """Counts one request against the global limit and its bucket, and says whether it may pass."""
        overall = Rule("global", settings.global_limit, settings.global_window)
        passed, left, reset_after = self._count((user_id, "global", ""), overall, now)
        if not passed:
            return Verdict(False, None, left, reset_after)
        passed, left, reset_after = self._count((user_id, rule.bucket, top_id), rule, now)
        return Verdict(passed, rule, left, reset_after)

    def reset(self) -> None:
        """Closes all windows."""
        self._windows.clear()

    def _count(self, key: tuple[int, str, str], rule: Rule, now: float) -> tuple[bool, int, float]:
        window = self._windows.get(key)
        if window is None or now >= window.ends:
            self._drop_closed(now)
            window = self._windows[key] = _Window(now + rule.window)
        passed = window.used < rule.limit
        window.used += passed
        return passed, max(0, rule.limit - window.used), window.ends - now

    def _drop_closed(self, now: float) -> None:
        if len(self._windows) > _KEPT_WINDOWS:
            self._windows = {key: window for key, window in self._windows.items() if now < window.ends}


class InvalidAnswers:
    """Cloudflare's count of 401, 403 and 429; when it is full, everything is answered by a block for a
    while.
    """

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._blocked_until = 0.0

    def blocked(self, now: float) -> float:
        """Seconds until the block ends; 0: there is none."""
        return max(0.0, self._blocked_until - now)

    def note(self, status: int, now: float, settings: Settings) -> None:
        """Counts an answer that counts."""
        if status not in (401, 403, 429) or not settings.invalid_limit:
            return
        self._times.append(now)
        while self._times and self._times[0] <= now - settings.invalid_window:
            self._times.popleft()
        if len(self._times) >= settings.invalid_limit:
            self._blocked_until = now + settings.block_time
            self._times.clear()

    @property
    def counted(self) -> int:
        """How many are on the count."""
        return len(self._times)

    def reset(self) -> None:
        """Forgets the count and lifts the block."""
        self._times.clear()
        self._blocked_until = 0.0
