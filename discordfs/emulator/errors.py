"""Discord's error answers as exceptions, and the shape of their bodies.

Codes and texts: Discord's documents, "Opcodes and Status Codes". Threading: pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web

JSON_TYPE = "application/json"  # exactly so: discord.py's login fails over a charset parameter

VIA = {"Via": "1.1 emulator"}  # discord.py takes a 429 without it for Cloudflare's
REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    429: "Too Many Requests",
    500: "Internal Server Error",
}


class ApiError(Exception):
    """An answer that is an error: HTTP status, Discord's code, its text, and the nested `errors` of a
    50035.
    """

    def __init__(
        self, status: int, code: int, message: str, errors: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status = status
        self.code = code
        self.message = message
        self.errors = errors

    def body(self) -> dict[str, object]:
        """The JSON body."""
        body: dict[str, object] = {"message": self.message, "code": self.code}
        if self.errors is not None:
            body["errors"] = self.errors
        return body


def json_answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer with a Content-Type free of parameters."""
    data = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return web.Response(body=data, status=status, content_type=JSON_TYPE, headers=headers)


def plain(status: int, reason: str) -> ApiError:
    """An error without a code of its own, such as `401: Unauthorized`."""
    return ApiError(status, 0, f"{status}: {reason}")


def unauthorized() -> ApiError:
    return plain(401, "Unauthorized")


def missing_access() -> ApiError:
    return ApiError(403, 50001, "Missing Access")


def missing_permissions() -> ApiError:
    return ApiError(403, 50013, "Missing Permissions")


def unknown_channel() -> ApiError:
    return ApiError(404, 10003, "Unknown Channel")


def unknown_guild() -> ApiError:
    return ApiError(404, 10004, "Unknown Guild")


def unknown_message() -> ApiError:
    return ApiError(404, 10008, "Unknown Message")


def too_large() -> ApiError:
    return ApiError(413, 40005, "Request entity too large")


def empty_message() -> ApiError:
    return ApiError(400, 50006, "Cannot send an empty message")


def invalid_json() -> ApiError:
    return ApiError(400, 50109, "The request body contains invalid JSON.")


def invalid_form(path: str, code: str, message: str) -> ApiError:
    """50035 with the error nested under `path`, a dotted way into the body such as `attachments.0.id`."""
    nested: dict[str, object] = {"_errors": [{"code": code, "message": message}]}
    for step in reversed(path.split(".")):
        nested = {step: nested}
    return ApiError(400, 50035, "Invalid Form Body", nested)


def limited_body(wait: float, everywhere: bool) -> dict[str, object]:
    """The body of a 429: how many seconds to wait, and whether for everything."""
    message = "You are being rate limited."
    return {"message": message, "retry_after": round(wait, 3), "global": everywhere, "code": 0}
