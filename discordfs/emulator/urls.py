"""Signed URLs of attachments: `?ex=…&is=…&hm=…&`, ex and is in hex seconds, hm an HMAC of 64 hex digits.

Times are bucketed, so that signing again within minutes gives the same URL. A URL lives for `url_lifetime`
less at most one bucket; short lifetimes get buckets of a quarter of them, at least one second. Threading:
pure.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from .settings import Settings

HERE = "http://emulator.invalid"  # stands in kept URLs for wherever the emulator listens
_PATH = re.compile(r"/(?:media/)?attachments/(\d{1,20})/(\d{1,20})/([^/?#]+)")
_HEX_TIME = re.compile(r"[0-9a-f]{1,12}")


@dataclass(frozen=True, slots=True)
class Place:
    """What an attachment's URL names."""

    channel_id: int
    attachment_id: int
    filename: str


class Signer:
    """Signs and checks attachment URLs with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def query(self, place: Place, now: float, settings: Settings) -> str:
        """The query string of a URL signed now, with Discord's trailing `&`."""
        bucket = max(1, int(min(settings.url_bucket, settings.url_lifetime / 4)))
        issued = int(now) // bucket * bucket
        expires = issued + max(1, int(settings.url_lifetime))
        return f"ex={expires:x}&is={issued:x}&hm={self._mac(place, f'{expires:x}', f'{issued:x}')}&"

    def valid(self, place: Place, query: Mapping[str, str], now: float) -> bool:
        """Whether this query was signed here for this place, and is not expired."""
        expires, issued, mac = query.get("ex", ""), query.get("is", ""), query.get("hm", "")
        if not _HEX_TIME.fullmatch(expires) or not hmac.compare_digest(
            mac.encode(), self._mac(place, expires, issued).encode()
        ):
            return False
        return now < int(expires, 16)

    def _mac(self, place: Place, expires: str, issued: str) -> str:
        text = f"{place.channel_id}/{place.attachment_id}/{place.filename}/{expires}/{issued}"
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def place_of(url: str) -> Place | None:
    """The attachment that a URL names, whatever its host and query; None if it is no such URL."""
    match = _PATH.fullmatch(urlsplit(url).path)
    return None if match is None else Place(int(match[1]), int(match[2]), match[3])
