"""Discord's answers as values and as the errors of the contract.

Source: Discord's documents, "HTTP and Gateway Error Codes" and "Rate Limits". Threading: pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multidict import CIMultiDict

from discordfs.errors import (
    BadRequest,
    Forbidden,
    OutcomeUnknown,
    RateLimited,
    RemoteError,
    RemoteGone,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from discordfs.remote.base import Exchange

_UNKNOWN_MESSAGE = 10008
_TOO_LARGE = 40005
_BLOCKED_SECONDS = 60.0  # a 429 that does not say how long


class MessageGone(RemoteGone):
    """The message does not exist, while its channel does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (case-insensitive) and body of an answer that arrived whole."""

    status: int
    headers: Mapping[str, str]
    text: str

    def body(self) -> Any:
        """The decoded body; None when empty. ValueError when it is no JSON."""
        return json.loads(self.text) if self.text else None

    def refusal(self) -> tuple[int, str]:
        """Discord's error code and message; (0, "") where it is not the API that answers."""
        try:
            body = json.loads(self.text)
            return int(body.get("code", 0)), str(body.get("message", ""))
        except (ValueError, AttributeError, TypeError):
            return 0, ""

    def retry_after(self) -> float:
        """Seconds to wait after a 429."""
        try:
            return max(0.0, float(json.loads(self.text)["retry_after"]))
        except (ValueError, KeyError, TypeError):
            return _seconds(self.headers.get("Retry-After", ""))


def _seconds(header: str) -> float:
    try:
        return max(0.0, float(header))
    except ValueError:
        return _BLOCKED_SECONDS


def lost(method: str, message: str) -> Unavailable:
    """No answer, or none that tells the outcome, to a request that may have arrived."""
    return Unavailable(message) if method == "GET" else OutcomeUnknown(message)


def failure_of(what: str, exchange: Exchange) -> RemoteError | None:
    """The error that an exchange stands for, None when it went well; `what` names the request."""
    if exchange.error:
        return lost(exchange.method, exchange.error)
    if 200 <= exchange.status < 300:
        return None
    return error_of(
        exchange.method, what, Answer(exchange.status, CIMultiDict(exchange.headers), exchange.data)
    )


def error_of(method: str, what: str, answer: Answer) -> RemoteError:
    """The error that an answer other than 2xx stands for; `what` names the request."""
    code, said = answer.refusal()
    message = f"{what}: {answer.status} {said or 'without an explanation'}" + (
        f" (code {code})" if code else ""
    )
    if answer.status == 413 or code == _TOO_LARGE:
        return TooLarge(message)
    match answer.status:
        case 401:
            return Unauthorized(f"{message}; Discord does not accept the token, give a new one")
        case 403:
            return Forbidden(message)
        case 404:
            return MessageGone(message) if code == _UNKNOWN_MESSAGE else RemoteGone(message)
        case 429:
            return RateLimited(message, answer.retry_after())
        case status if status >= 500 or status == 408:
            return lost(method, message)
    return BadRequest(message, code)
