"""How much a run would be: each channel is looked into at a few places, and its messages are guessed from how
close they lie there.

Threads say how many messages they have. Limits: a guess, within a factor of two or so; threads that are
archived are not counted, since finding them is most of the work. Threading: one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from discordfs.capture.asking import Asker
from discordfs.capture.scope import HOLDS_MESSAGES, Channel, channel_of
from discordfs.capture.settings import CaptureSettings
from discordfs.errors import BadRequest, Forbidden, RemoteGone
from discordfs.remote.base import Api, Exchange
from discordfs.remote.loop import Loop

_PAGE = 100
_PLACES = 4
_A_CHANNEL = 5.0
"""Requests a second that Discord takes in one channel, as users of the API report."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would be: about so many messages in so many channels, so many requests and `seconds`.
    `unreadable`: channels that are not shown."""

    channels: int
    messages: int
    requests: int
    seconds: float
    unreadable: tuple[int, ...]


def estimate_of(api: Api, loop: Loop, settings: CaptureSettings, requests_a_second: int) -> Estimate:
    """Raises what a run would raise before its channels."""
    asker = Asker(api, loop)
    channels = [each for target in settings.targets for each in _channels(asker, settings.mode, target)]
    counts: list[int] = []
    unreadable: list[int] = []
    for channel in channels:
        try:
            counts.append(_messages(asker, channel, settings))
        except (Forbidden, RemoteGone, BadRequest):
            unreadable.append(channel.id)
    pages = [count // _PAGE + 1 for count in counts]
    seconds = max([sum(pages) / requests_a_second, *(each / _A_CHANNEL for each in pages)], default=0.0)
    return Estimate(len(channels), sum(counts), sum(pages), seconds, tuple(unreadable))


def _nowhere(exchange: Exchange, body: object, is_json: bool) -> None:
    """Nothing of an estimate is kept."""


def _channels(asker: Asker, mode: str, target: int) -> Sequence[Channel]:
    if mode == "channel":
        found = [channel_of(asker.get(f"/channels/{target}", _nowhere))]
    else:
        raw = asker.get(f"/guilds/{target}/channels", _nowhere)
        active = asker.get(f"/guilds/{target}/threads/active", _nowhere)["threads"]
        found = [channel_of(each, target) for each in (*raw, *active)]
    return [each for each in found if each.type in HOLDS_MESSAGES]


def _messages(asker: Asker, channel: Channel, settings: CaptureSettings) -> int:
    """Between the channel's beginning and its newest message, the density at a few places, summed up."""
    first = max(channel.id, settings.asked[0])
    last = min(channel.last_message or first, settings.asked[1])
    if last <= first or channel.last_message == 0:
        return 0
    step, total = (last - first) / _PLACES, 0.0
    for number in range(_PLACES):
        begins = first + int(step * number)
        ids = [int(each["id"]) for each in _page(asker, channel.id, begins - 1)]
        within = [each for each in ids if each < begins + step or number == _PLACES - 1]
        if len(ids) < _PAGE or len(within) < len(ids):
            total += len(within)
        else:
            total += len(ids) * (begins + step - min(ids)) / (max(ids) - min(ids) + 1)
    return round(total)


def _page(asker: Asker, channel: int, after: int) -> Sequence[dict[str, str]]:
    params: dict[str, str | int] = {"limit": _PAGE, "after": after}
    page: Sequence[dict[str, str]] = asker.get(f"/channels/{channel}/messages", _nowhere, params)
    return page
