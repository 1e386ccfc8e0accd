"""Polls: the JSON of a new one checked against Discord's limits, and as a message shows it.

Threading: pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .clock import iso
from .errors import ApiError, invalid_form

Json = dict[str, Any]
_MOST_QUESTION, _MOST_ANSWER, _MOST_ANSWERS, _MOST_HOURS = 300, 55, 10, 768
_DEFAULT_HOURS = 24
_HOUR_MS = 3_600_000


def checked(value: object) -> Json | None:
    """The poll as it is kept: `hours` instead of the time of its end, which the post will fix."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise invalid_form("poll", "DICT_TYPE_CONVERT", "Only dictionaries may be used in a DictType")
    answers = value.get("answers")
    if not isinstance(answers, list) or not 1 <= len(answers) <= _MOST_ANSWERS:
        message = f"Must be between 1 and {_MOST_ANSWERS} in length."
        raise invalid_form("poll.answers", "BASE_TYPE_BAD_LENGTH", message)
    hours = value.get("duration") or _DEFAULT_HOURS
    if not isinstance(hours, int) or not 1 <= hours <= _MOST_HOURS:
        raise invalid_form("poll.duration", "NUMBER_TYPE_MAX", f"Must be between 1 and {_MOST_HOURS}.")
    return {
        "question": {"text": _text(value.get("question"), "poll.question", _MOST_QUESTION)},
        "answers": [_answer(number, each) for number, each in enumerate(answers, 1)],
        "allow_multiselect": value.get("allow_multiselect") is True,
        "layout_type": 1,
        "hours": hours,
    }


def _answer(number: int, value: object) -> Json:
    media = value.get("poll_media") if isinstance(value, dict) else None
    kept: Json = {"text": _text(media, f"poll.answers.{number - 1}.poll_media", _MOST_ANSWER)}
    emoji = media.get("emoji") if isinstance(media, dict) else None
    if isinstance(emoji, dict):
        kept["emoji"] = {"id": emoji.get("id"), "name": emoji.get("name")}
    return {"answer_id": number, "poll_media": kept}


def _text(value: object, path: str, most: int) -> str:
    text = value.get("text") if isinstance(value, dict) else None
    if not isinstance(text, str) or not 1 <= len(text) <= most:
        raise invalid_form(f"{path}.text", "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {most} in length.")
    return text


def begun(poll: Mapping[str, Any], now_ms: int) -> Json:
    """The poll with the time of its end."""
    kept = dict(poll)
    return kept | {"expires_ms": now_ms + kept.pop("hours") * _HOUR_MS, "finalized": False}


def shown(poll: Mapping[str, Any], votes: Mapping[int, tuple[int, ...]], reader_id: int) -> Json:
    """A poll as `reader_id` sees it."""
    kept = dict(poll)
    expires_ms, finalized = kept.pop("expires_ms"), kept.pop("finalized")
    counts = [
        {"id": answer, "count": len(users), "me_voted": reader_id in users}
        for answer, users in sorted(votes.items())
    ]
    return kept | {
        "expiry": iso(expires_ms),
        "results": {"answer_counts": counts, "is_finalized": finalized},
    }


def answer_ids(poll: Mapping[str, Any]) -> set[int]:
    return {int(each["answer_id"]) for each in poll["answers"]}


def open_for(poll: Mapping[str, Any], now_ms: int) -> None:
    """ApiError if nobody can vote any more."""
    if poll["finalized"] or now_ms >= poll["expires_ms"]:
        raise ApiError(400, 520001, "Poll expired")


def result_embed(poll: Mapping[str, Any], votes: Mapping[int, tuple[int, ...]]) -> Json:
    """The embed of the message that tells how a poll ended (Discord's documents, "Poll Result Embed")."""
    total = sum(len(users) for users in votes.values())
    facts = {"poll_question_text": poll["question"]["text"], "total_votes": str(total)}
    winner = max(votes, key=lambda answer: len(votes[answer]), default=None)
    if winner is not None:
        media = next(each["poll_media"] for each in poll["answers"] if each["answer_id"] == winner)
        facts["victor_answer_votes"] = str(len(votes[winner]))
        facts |= {"victor_answer_id": str(winner), "victor_answer_text": media["text"]}
    fields = [{"name": name, "value": value, "inline": False} for name, value in facts.items()]
    return {"type": "poll_result", "fields": fields}
