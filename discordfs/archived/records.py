"""A line of a run as a record: who asked what, when, and the answer's data with its places in the line.

Reads the records of every version of Discard and ours: keys may be missing or in any order, times naive or
aware (naive ones are taken for UTC: Discard wrote local time there, and nobody knows which). Errors:
ValueError and RecursionError (jsontext.DAMAGE) for a line that is no record. Threading: pure.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from discordfs.archived.jsontext import Members, Value, array_at, starts_with, value_at

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_API = re.compile(r"^/api(?:/v\d+)?(?=/)")


@dataclass(frozen=True, slots=True)
class Record:
    """`kind` is "http" or "ws"; `text` the whole line. HTTP: `method`, `path` (below the API, such as
    "/channels/1/messages"), `params`, `status` (200 where the form has none: Discard recorded nothing else),
    `items` the elements of data that is an array, else `data`. Websocket: `is_received`, `data`.
    `at_ns`: when it was asked for, by the server's clock where the answer has it; 0 when nothing tells."""

    kind: str
    text: str
    at_ns: int
    data: Value | None
    items: tuple[Value, ...] | None = None
    method: str = ""
    path: str = ""
    params: Mapping[str, Any] | None = None
    status: int = 200
    attempt: int = 1
    is_received: bool = False

    @property
    def is_answer(self) -> bool:
        """An answer with what was asked for."""
        return self.kind == "http" and self.method == "GET" and 200 <= self.status < 300

    def verbatim(self, value: Value) -> str:
        return self.text[value.start : value.end]


def parse_record(line: bytes) -> Record:
    """Bytes that are no UTF-8 come back as they are when the text is encoded again (surrogateescape)."""
    text = line.decode("utf-8", "surrogateescape")
    fields: dict[str, Any] = {}
    data, items, members = None, None, Members(text, 0)
    for key, start in members:
        if key == "response" and starts_with(text, start, "{"):
            inner = Members(text, start)
            for name, place in inner:
                if name == "data" and starts_with(text, place, "["):
                    found, end = array_at(text, place)
                    items = tuple(found)
                    inner.taken(end)
                elif name == "data":
                    data = inner.take(place)
                else:
                    fields[name] = inner.take(place).value
            members.taken(inner.end)
        elif key == "data":
            data = members.take(start)
        else:
            fields[key] = members.take(start).value
    if text[members.end :].strip():
        raise ValueError("more than one object in a line")
    return _made(text, fields, data, items)


def _made(text: str, fields: dict[str, Any], data: Value | None, items: tuple[Value, ...] | None) -> Record:
    kind = fields.get("type")
    if kind == "ws":
        return Record(
            "ws", text, epoch_ns(fields.get("datetime")), data, is_received=fields.get("direction") == "recv"
        )
    if kind != "http":
        raise ValueError(f"no record of a kind that is known: {kind!r}")
    asked, headers = _mapping(fields.get("request")), _mapping(fields.get("headers"))
    path, params = _place(asked)
    return Record(
        "http",
        text,
        _date_ns(headers) or epoch_ns(fields.get("datetime_start")),
        data,
        items,
        method=str(asked.get("method", "GET")).upper(),
        path=path,
        params=params,
        status=_int(fields.get("status"), 200),
        attempt=_int(fields.get("attempt"), 1),
    )


def _place(asked: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    try:
        parts = urlsplit(str(asked.get("url", "")))
    except ValueError:
        return "", {}
    return _API.sub("", parts.path).rstrip("/"), dict(parse_qsl(parts.query)) | dict(
        _mapping(asked.get("params"))
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _int(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


def whole_number(value: Any) -> int | None:
    """An id, from an integer or a string of digits; None when it is neither, or larger than 63 bits."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) < 20):
        return None
    number = int(value)
    return number if 0 <= number < 1 << 63 else None


def epoch_ns(text: Any) -> int:
    """Of an ISO time, naive ones as UTC; 0 when it is none."""
    if not isinstance(text, str):
        return 0
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1_000_000) * 1000
    except (ValueError, OverflowError):
        return 0


def iso(at_ns: int) -> str:
    """The reverse: UTC, with its offset."""
    return (_EPOCH + timedelta(microseconds=at_ns // 1000)).isoformat()


def _date_ns(headers: Mapping[str, Any]) -> int:
    try:
        return (
            int(email.utils.parsedate_to_datetime(str(headers.get("date", ""))).timestamp()) * 1_000_000_000
        )
    except (ValueError, OverflowError):
        return 0


def json_value(text: str) -> Any:
    """Of a message that was kept as text."""
    return value_at(text, 0).value
