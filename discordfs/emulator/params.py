"""Ids, numbers and times from paths and query strings, with Discord's errors for bad ones.

Threading: pure.
"""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from .errors import invalid_form

_GREATEST = (1 << 63) - 1


def path_id(request: web.Request, key: str) -> int:
    """A snowflake that is part of the path; ApiError 400 if it is no number."""
    return _snowflake(key, request.match_info[key])


def snowflake_param(request: web.Request, key: str) -> int | None:
    """A snowflake from the query string."""
    return _snowflake(key, request.query[key]) if key in request.query else None


def limit_param(request: web.Request, default: int, most: int, least: int = 1) -> int:
    """The query's `limit`, which must lie within bounds."""
    text = request.query.get("limit", str(default))
    if not text.isdecimal() or not text.isascii():
        raise invalid_form("limit", "NUMBER_TYPE_COERCE", f'Value "{text}" is not int.')
    if int(text) > most:
        raise invalid_form("limit", "NUMBER_TYPE_MAX", f"int value should be less than or equal to {most}.")
    if int(text) < least:
        raise invalid_form(
            "limit", "NUMBER_TYPE_MIN", f"int value should be greater than or equal to {least}."
        )
    return int(text)


def time_param(request: web.Request, key: str, default: int) -> int:
    """A time from the query string, in epoch milliseconds."""
    text = request.query.get(key)
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        message = f'Value "{text}" is not an ISO8601 timestamp.'
        raise invalid_form(key, "DATE_TIME_TYPE_PARSE", message) from None
    zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return round(zoned.timestamp() * 1000)


def flag_param(request: web.Request, key: str) -> bool:
    """Whether the query string says yes."""
    return request.query.get(key, "").lower() in ("true", "1")


def _snowflake(key: str, text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text) > _GREATEST:
        raise invalid_form(key, "NUMBER_TYPE_COERCE", f'Value "{text}" is not snowflake.')
    return int(text)
