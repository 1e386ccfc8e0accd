"""A Discord that has nothing but links and messages, in virtual time, for weeks of thousands of clips.

Its links are signed by the emulator's own signer, and its two routes answer as the emulator's do.
"""

from __future__ import annotations

import bisect
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from discordfs.clipping.catalogue import Found
from discordfs.emulator.settings import Settings
from discordfs.emulator.urls import Place, Signer, place_of
from discordfs.errors import Forbidden, RemoteGone, Unavailable

from .shown import made_up

DAY_S = 86_400
ASKING_S = 0.3


@dataclass
class Signing:
    """As an Api. `now` is in epoch seconds; a request takes 0.3 of them. `asked` counts by day and route,
    what failed apart. A link of a clip in `stubborn` comes back as it was."""

    now: float = 1_800_000_000.0
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    settings: Settings = field(default_factory=Settings)
    failing: float = 0.0
    most_failures: int = 10**9
    failures: int = 0
    is_down: bool = False
    refuses: bool = False
    stubborn: set[int] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)
    shut: set[int] = field(default_factory=set)
    asked: Counter[tuple[int, str]] = field(default_factory=Counter)
    messages: dict[int, dict[int, list[int]]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.signer = Signer(b"key")
        self.began = self.now

    def clock(self) -> int:
        return int(self.now * 1e9)

    def clips(self, count: int, spread_s: float = 0.0, *, channel: int = 501, gap: int = 1) -> list[Found]:
        """Clips in a channel, the links of which were signed within so many seconds before now."""
        found = []
        for number in range(0, count * gap, gap):
            each = made_up(number).clip
            url = self.url(channel, each.id, self.now - self.rng.random() * spread_s)
            found.append(made_up(number, channel=channel, url=url, expires_ns=ends_ns(url)))
            self.messages.setdefault(channel, {})[each.message] = [each.id]
        return found

    def url(self, channel: int, attachment: int, now: float | None = None) -> str:
        place = Place(channel, attachment, "clip.mp4")
        query = self.signer.query(place, self.now if now is None else now, self.settings)
        return f"https://cdn.discordapp.com/attachments/{channel}/{attachment}/clip.mp4?{query}"

    def requests(self) -> list[int]:
        """By day, without those that failed."""
        days = int((self.now - self.began) // DAY_S) + 1
        return [sum(n for (day, _), n in self.asked.items() if day == each) for each in range(days)]

    # --- an Api ---------------------------------------------------------------------------------------

    async def request(
        self, method: str, route: str, *, params: Mapping[str, Any] | None = None, json: Any = None
    ) -> Any:
        self.now += ASKING_S
        if self.is_down or (self.failures < self.most_failures and self.rng.random() < self.failing):
            self.failures += 1
            raise self.rng.choice((Unavailable("503"), Unavailable("reset"), Unavailable("timeout")))
        self.asked[int((self.now - self.began) // DAY_S), route.rpartition("/")[2][:8]] += 1
        if method == "POST" and route == "/attachments/refresh-urls":
            return self._refreshed(json["attachment_urls"])
        _, _, channel, _, *message = route.split("/")
        if int(channel) in self.shut:
            raise Forbidden("Missing Access")
        return self._one(int(channel), int(message[0])) if message else self._page(int(channel), params or {})

    def _refreshed(self, urls: list[str]) -> Any:
        assert 1 <= len(urls) <= 50
        if self.refuses:
            raise RemoteGone("404: Not Found")
        self.order += urls
        return {"refreshed_urls": [{"original": url, "refreshed": self._signed(url)} for url in urls]}

    def _signed(self, url: str) -> str:
        place = place_of(url)
        assert place is not None
        if place.attachment_id in self.stubborn:
            return url
        return self.url(place.channel_id, place.attachment_id)

    def _page(self, channel: int, params: Mapping[str, Any]) -> list[Any]:
        ids = sorted(self.messages.get(channel, {}))
        at = bisect.bisect_left(ids, int(params["around"]))
        return [self._one(channel, each) for each in ids[max(0, at - 50) : at + 50]]

    def _one(self, channel: int, message: int) -> Any:
        attachments = self.messages.get(channel, {}).get(message)
        if attachments is None:
            raise RemoteGone("404: Unknown Message")
        is_hidden = message in self.hidden
        shown = [] if is_hidden else attachments
        return {
            "id": str(message),
            "content": "" if is_hidden else "text",
            "author": {"id": "5"},
            "attachments": [{"id": str(each), "url": self.url(channel, each), "size": 5} for each in shown],
        }


def ends_ns(url: str) -> int:
    return int(url.partition("ex=")[2].partition("&")[0], 16) * 10**9
