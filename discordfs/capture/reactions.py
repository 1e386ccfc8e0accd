"""Who reacted to a message, and who voted in its poll: users, of each emoji and type or answer, paged to the
end whatever the count says.

Threading: the thread that captures the channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from discordfs.capture.asking import REFUSALS, Recorder
from discordfs.capture.job import Job

PAGE = 100
NORMAL, BURST = 0, 1


def page_users(job: Job, channel: int, message: Mapping[str, Any], record: Recorder) -> None:
    """All users of all reactions. A message or reaction that has gone meanwhile is recorded, no more."""
    for reaction in message["reactions"]:
        for kind in _types(reaction, job.settings.strict):
            route = f"/channels/{channel}/messages/{message['id']}/reactions/{emoji_path(reaction['emoji'])}"
            try:
                _page(job, route, kind, record)
            except REFUSALS as error:
                job.ledger.fail(channel, f"reactions: {error}")


def page_voters(job: Job, channel: int, message: Mapping[str, Any], record: Recorder) -> None:
    """All users of all answers of a poll."""
    for answer in message["poll"].get("answers") or ():
        route = f"/channels/{channel}/polls/{message['id']}/answers/{answer['answer_id']}"
        try:
            _page(job, route, None, record)
        except REFUSALS as error:
            job.ledger.fail(channel, f"poll: {error}")


def _types(reaction: Mapping[str, Any], strict: bool) -> list[int | None]:
    """Which types to ask for. Discard knew one, and did not say which."""
    if strict:
        return [None]
    details = reaction.get("count_details")
    if not details:
        return [NORMAL, BURST]
    return [kind for kind, name in ((NORMAL, "normal"), (BURST, "burst")) if details.get(name)] or [NORMAL]


def _page(job: Job, route: str, kind: int | None, record: Recorder) -> None:
    params: dict[str, str | int] = {"limit": PAGE}
    if kind is not None:
        params["type"] = kind
    while True:
        body = job.asker.get(route, record, params)
        users = body["users"] if isinstance(body, dict) else body  # of a poll they stand one level deeper
        if len(users) < PAGE:
            return
        after = max(int(each["id"]) for each in users)
        if after <= int(params.get("after", 0)):
            return
        params["after"] = after


def emoji_path(emoji: Mapping[str, Any]) -> str:
    """An emoji as a route names it: itself, or name:id. Discord does not look at the name of one that is
    gone."""
    text = f"{emoji.get('name') or '_'}:{emoji['id']}" if emoji.get("id") else str(emoji["name"])
    return quote(text, safe=":")
