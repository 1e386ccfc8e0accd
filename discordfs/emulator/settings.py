"""The emulator's settings: every number that a test may want to turn.

Limits: a `Settings` value never changes; a change makes a new one (`changed`), which the context then
holds. Threading: immutable, so any thread may read it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace

MIB = 1024**2
_SIZE = re.compile(r"(\d+)\s*(?:([KMGT])(?:iB|B)?)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1024, "M": MIB, "G": 1024 * MIB, "T": 1024 * 1024 * MIB}
_TRUE = frozenset({"on", "true", "yes", "1"})
_FALSE = frozenset({"off", "false", "no", "0"})


class SettingsError(ValueError):
    """A setting has no such name, or its value cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings with Discord's values as defaults (facts: Discord's documents, else reports of users).

    Times ending in `_ms` and the network settings are wall-clock; all other times are seconds of the
    emulator's own clock, which runs `time_scale` times as fast.
    """

    # --- network and clock
    time_scale: float = 1.0  # emulator seconds per wall second
    latency_ms: float = 0.0  # wall milliseconds before every answer, API and CDN
    bandwidth_bps: int = 0  # bits per second, per connection and direction; 0: no cap
    hold_uploads: bool = (
        False  # message posts wait, body received and nothing committed, until it is off again
    )

    # --- sizes
    file_limit: int = 20 * MIB  # bytes of one attachment
    request_limit: int = 25 * MIB  # bytes of one request body
    alter_images: bool = True  # images do not come back as they were sent

    # --- messages
    nonce_window: float = 300.0  # how long enforce_nonce remembers
    list_lag_ms: float = 0.0  # new messages are missing from listings for so long
    bulk_delete_days: float = 14.0  # bulk delete refuses older messages

    # --- CDN
    url_lifetime: float = 86400.0  # life of a signed URL
    url_bucket: float = 300.0  # URLs signed within one bucket are equal
    range: bool = True  # off: a Range request gets the whole body with 200
    gone_status: int = 404  # for expired and unsigned URLs; 401 and 403 were seen too
    refresh_urls: bool = True  # off: POST /attachments/refresh-urls is unknown, as it is undocumented

    # --- gateway
    heartbeat_interval_ms: int = 41250  # told in HELLO
    gateway_sends: int = 120  # payloads a client may send in a minute of wall time
    identify_limit: int = 1000  # sessions a day

    # --- rate limits: requests per window
    rate_limits: bool = True
    global_limit: int = 50
    global_window: float = 1.0
    post_limit: int = 5  # create message, a channel
    post_window: float = 5.0
    edit_limit: int = 5
    edit_window: float = 5.0
    delete_limit: int = 5
    delete_window: float = 1.0
    old_delete_limit: int = 30  # messages older than bulk_delete_days have a bucket of their own
    old_delete_window: float = 120.0
    bulk_limit: int = 1
    bulk_window: float = 1.0
    reaction_limit: int = 1  # add or remove one
    reaction_window: float = 0.25
    webhook_limit: int = 5  # posts of a webhook
    webhook_window: float = 2.0
    read_limit: int = 5  # each GET route
    read_window: float = 1.0
    write_limit: int = 5  # each other route
    write_window: float = 5.0
    invalid_limit: int = 10_000  # answers 401, 403, 429 before Cloudflare blocks; 0: never
    invalid_window: float = 600.0
    block_time: float = 600.0  # how long such a block lasts

    # --- chance
    fault_seed: int = 0  # seed of the faults given by probability

    @classmethod
    def parse(cls, pairs: Iterable[str]) -> Settings:
        """Settings from `KEY=VALUE` strings; SettingsError names the first that is wrong."""
        given: dict[str, object] = {}
        for pair in pairs:
            key, sign, value = pair.partition("=")
            if not sign:
                raise SettingsError(f"setting {pair!r}: expected KEY=VALUE")
            given[key.strip()] = value
        return cls().changed(given)

    def changed(self, given: Mapping[str, object]) -> Settings:
        """A copy with these values, each a string or the JSON value of the right type."""
        values: dict[str, object] = {}
        for key, value in given.items():
            values[key] = _value(key, value)
        return replace(self, **values)  # type: ignore[arg-type]

    def as_json(self) -> dict[str, object]:
        """Name to value, as the control endpoint shows them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("expected on or off")


def _integer(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("expected a whole number, 0 or more (sizes may end in K, M, G)")
    return int(match[1]) * _UNITS[(match[2] or "").upper()]


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("expected a number") from None
    if not 0 <= number < 1e12:
        raise ValueError("expected a number, 0 or more")
    return number


_PARSERS: dict[str, Callable[[str], bool | int | float]] = {
    "bool": _boolean,
    "int": _integer,
    "float": _number,
}
_TYPES: dict[str, str] = {field.name: str(field.type) for field in fields(Settings)}
# A window or a limit of nothing would divide by zero or never let anybody through.
_POSITIVE = frozenset(name for name in _TYPES if name.endswith(("_window", "_limit"))) - {"invalid_limit"} | {
    "time_scale",
    "url_lifetime",
    "url_bucket",
    "heartbeat_interval_ms",
    "gateway_sends",
}


def _value(key: str, value: object) -> bool | int | float:
    if key not in _TYPES:
        raise SettingsError(f"unknown setting {key!r}; known: {', '.join(sorted(_TYPES))}")
    text = ("on" if value else "off") if isinstance(value, bool) else str(value).strip()
    try:
        parsed = _PARSERS[_TYPES[key]](text)
    except ValueError as error:
        raise SettingsError(f"setting {key}={text}: {error}") from None
    if key in _POSITIVE and not parsed:
        raise SettingsError(f"setting {key}={text}: must be more than 0")
    if key == "gone_status" and parsed not in (401, 403, 404):
        raise SettingsError(f"setting {key}={text}: expected 401, 403 or 404")
    return parsed
