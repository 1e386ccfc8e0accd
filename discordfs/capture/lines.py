"""Records as lines: one JSON object each, in the form of Discard or in ours, which has more keys.

The ordinary form carries a body as it came over the wire, byte for byte but for line breaks between its
parts; the strict one is what Discard writes, and only of answers that it would have recorded. docs/FORMAT.md
has both forms. Threading: pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from discordfs.archived.records import iso
from discordfs.capture.scrubbing import Scrubber
from discordfs.remote.base import SCRUBBED, Exchange, GatewayFrame

_HEADERS = ("content-type", "date", "retry-after")
_HEADER_FAMILY = "x-ratelimit-"


class NoJson(ValueError):
    """A body that is no JSON."""


def decoded(text: str) -> Any:
    """The value of a body; None of an empty one. Raises NoJson."""
    try:
        return json.loads(text, parse_constant=_refuse) if text else None
    except (ValueError, RecursionError) as error:
        raise NoJson(str(error)) from None


def _refuse(constant: str) -> NoReturn:
    raise NoJson(f"{constant} is no JSON")


def dumped(value: Any) -> str:
    """As Discard writes it. A lone surrogate, which no UTF-8 has, stays escaped as it came."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


@dataclass(frozen=True, slots=True)
class Form:
    """How a run writes its records. `strict`: as Discard."""

    scrubber: Scrubber
    strict: bool = False

    def http(self, exchange: Exchange, body: Any, is_json: bool) -> str | None:
        """The line of an exchange, without its end; `body` is its data decoded. None where the strict form
        has no place for it."""
        if self.strict and not (is_json and 200 <= exchange.status < 300):
            return None
        request: dict[str, Any] = {"method": exchange.method, "url": exchange.url}
        if exchange.params:
            request["params"] = dict(exchange.params)
        times = f'"datetime_start": "{iso(exchange.started_ns)}", "datetime_end": "{iso(exchange.ended_ns)}"'
        data = dumped(body) if self.strict else _verbatim(exchange, is_json)
        line = f'{{"type": "http", {times}, "request": {dumped(request)}, "response": {{"data": {data}'
        line += "}" if self.strict else self._more(exchange)
        return self._ended(line)

    def _more(self, exchange: Exchange) -> str:
        told = {"status": exchange.status, "headers": _that_matter(exchange.headers)}
        rest = {"attempt": exchange.attempt, "error": exchange.error or None}
        return f", {dumped(told)[1:]}, {dumped(rest)[1:-1]}"

    def frame(self, frame: GatewayFrame) -> str:
        """The line of a gateway frame. What was received stands as it came, what was sent is a string."""
        head = f'{{"type": "ws", "datetime": "{iso(frame.at_ns)}", "direction": "{frame.direction}", "data": '
        if frame.direction == "send":
            data = dumped(self.scrubber.unscrubbed(frame.data))
            return self._ended(head + data, was_scrubbed=SCRUBBED in data)
        try:
            body = decoded(frame.data)
        except NoJson:
            return self._ended(head + dumped(frame.data))
        return self._ended(head + (dumped(body) if self.strict else _one_line(frame.data)))

    def _ended(self, line: str, was_scrubbed: bool = False) -> str:
        clean = self.scrubber.text(line)
        return clean + (', "scrubbed": true}' if was_scrubbed or clean is not line else "}")


def _verbatim(exchange: Exchange, is_json: bool) -> str:
    if exchange.error or (is_json and not exchange.data):
        return "null"
    return _one_line(exchange.data) if is_json else dumped(exchange.data)


def _one_line(text: str) -> str:
    """JSON has line breaks between its parts only: within strings they are escaped."""
    return text.replace("\r", " ").replace("\n", " ") if "\n" in text or "\r" in text else text


def _that_matter(headers: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower(): value for name, value in headers.items()}
    return {
        name: value for name, value in lower.items() if name in _HEADERS or name.startswith(_HEADER_FAMILY)
    }
