"""Which channels are watched, and what they, their servers and roles are called.

What is found of a chosen server or channel is handed to `met`: a channel that holds messages, a thread,
archived ones too. A refusal ends nothing but what was refused. Threading: any number of threads; the lock is
held for moments, never across a request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from discordfs.archived.people import text, things
from discordfs.archived.records import whole_number
from discordfs.capture.asking import FAILURES, REFUSALS, Asker, told
from discordfs.capture.scope import HOLDS_MESSAGES, HOLDS_THREADS, Channel, channel_of
from discordfs.capture.threads import find_archived, note
from discordfs.clipping.finding import Kinds
from discordfs.clipping.model import Place
from discordfs.clipping.wording import Known
from discordfs.errors import BadRequest
from discordfs.remote.base import Exchange

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """What to collect. `channels`, `guilds`: chosen by their ids, threads come with their channels;
    `skipped`: channels without clips, such as a drive's own. `has_history`: all of the past, else what is
    new; `is_live`: then stay. `kinds`: of videos, None for those of the last time, else .mp4. `window_s`:
    how many seconds back known clips are looked at again."""

    channels: frozenset[int] = frozenset()
    guilds: frozenset[int] = frozenset()
    skipped: frozenset[int] = frozenset()
    has_history: bool = False
    is_live: bool = False
    kinds: Kinds | None = None
    window_s: float = 7 * DAY_S
    parallel: int = 16


def unrecorded(exchange: Exchange, body: Any, is_json: bool) -> None:
    """A Recorder that keeps nothing."""


@dataclass(slots=True)
class Troubles:
    """What Discord does not show, and what could not be had for now, in sentences, by what it is.
    `named`: among the refusals is something that was asked for by its id."""

    refusals: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    named: bool = False


@dataclass(frozen=True, slots=True)
class _Archived:
    """Takes threads from lists of archived ones."""

    asker: Asker
    enqueue: Callable[[Channel], object]
    failed: Callable[[str], None]


class Scope:
    """The chosen part of Discord, as far as it is known."""

    def __init__(self, asker: Asker, settings: SyncSettings, met: Callable[[Channel], None]) -> None:
        self.asker = asker
        self.troubles = Troubles()
        self._settings = settings
        self._met = met
        self._lock = threading.Lock()
        self._channels: dict[int, Channel] = {}
        self._archived: set[int] = set()
        self._guilds: dict[int, str] = {}
        self._roles: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self.known = Known(self._roles, self._names)

    # --- asking ---------------------------------------------------------------------------------------

    def find(self) -> None:
        """All that is chosen. Raises Unauthorized, Interrupted."""
        for guild in sorted(self._settings.guilds):
            self._named(f"server {guild}", partial(self._find_guild, guild))
        channels: list[Channel] = []
        for number in sorted(self._settings.channels):
            self._named(f"channel {number}", partial(self._find, number, channels))
        servers = sorted({each.guild for each in channels if each.guild} - self._settings.guilds)
        for guild in servers:
            self.allowed(f"server {guild}", partial(self._learn, guild))
        for channel in channels:
            self.enqueue(channel)
        for guild in servers:
            self.allowed(f"server {guild}: active threads", partial(self._find_active, guild))

    def ask_for(self, number: int) -> Channel:
        """A channel as Discord tells it now. Raises RemoteError, KeyError, TypeError, ValueError."""
        raw = self.asker.get(f"/channels/{number}", unrecorded)
        channel = channel_of(raw)
        self._name(raw)
        return channel

    def learn_once(self, guild: int) -> None:
        """The names of a server and of what is in it, unless they are known."""
        with self._lock:
            is_known = guild in self._guilds
        if not is_known:
            self.allowed(f"server {guild}", partial(self._learn, guild))

    def find_archived(self, channel: Channel) -> bool:
        """Its threads that are not active any more. As `allowed`."""
        if channel.type not in HOLDS_THREADS:
            return True
        what = f"channel {channel.id} ({channel.name}): archived threads"
        listed = _Archived(self.asker, self._enqueue_archived, self.failed)
        return self.allowed(what, lambda: find_archived(listed, channel, unrecorded))

    def _enqueue_archived(self, thread: Channel) -> None:
        with self._lock:
            self._archived.add(thread.id)
            self._names[thread.id] = thread.name
        self.enqueue(thread)

    def _find(self, number: int, found: list[Channel]) -> None:
        channel = self.ask_for(number)
        if channel.type not in HOLDS_MESSAGES | HOLDS_THREADS:
            raise BadRequest(f"it holds no messages (type {channel.type})")
        found.append(channel)

    def _find_guild(self, guild: int) -> None:
        for channel in self._learn(guild):
            self.enqueue(channel)
        self._find_active(guild)

    def _learn(self, guild: int) -> list[Channel]:
        """A server's name, roles and channels."""
        self.hear_guild(self.asker.get(f"/guilds/{guild}", unrecorded))
        raw = self.asker.get(f"/guilds/{guild}/channels", unrecorded)
        for each in raw:
            self._name(each)
        return [channel_of(each, guild) for each in raw]

    def _find_active(self, guild: int) -> None:
        answer = self.asker.get(f"/guilds/{guild}/threads/active", unrecorded)
        for raw in answer["threads"]:
            self._name(raw)
            note(self, raw, guild)

    def _named(self, what: str, step: Callable[[], object]) -> None:
        self.allowed(what, step)
        self.troubles.named |= what in self.troubles.refusals

    def allowed(self, what: str, step: Callable[[], object]) -> bool:
        """Does it; what is refused, or cannot be had for now, is noted until it succeeds. False when it is
        to be tried again."""
        try:
            step()
        except REFUSALS as error:
            self._note(self.troubles.refusals, what, str(error))
        except FAILURES as error:
            self._note(self.troubles.failures, what, told(error))
            return False
        else:
            with self._lock:
                self.troubles.refusals.pop(what, None)
                self.troubles.failures.pop(what, None)
        return True

    # --- hearing ----------------------------------------------------------------------------------------

    def hear_guild(self, raw: Mapping[str, Any]) -> None:
        """What a server says of itself, over HTTP or in GUILD_CREATE."""
        guild = whole_number(raw.get("id")) or 0
        with self._lock:
            if name := text(raw, "name"):
                self._guilds[guild] = name
            for role in things(raw, "roles"):
                self._roles[whole_number(role.get("id")) or 0] = text(role, "name")
        for each in (*things(raw, "channels"), *things(raw, "threads")):
            self._name(each)

    def hear_channel(self, raw: Mapping[str, Any], guild: int = 0) -> Channel | None:
        """A channel or thread that an event tells of; None when it is none of the chosen."""
        try:
            channel = channel_of(raw, guild)
        except (KeyError, TypeError, ValueError):
            return None
        self._name(raw)
        if channel.is_thread and not channel.guild:
            return None
        return channel if self.enqueue(channel) else None

    def enqueue(self, channel: Channel) -> bool:
        """Met: handed on if it is chosen. Whether it is."""
        if not self.is_chosen(channel):
            return False
        with self._lock:
            is_new = channel.id not in self._channels
            self._channels[channel.id] = channel
        if is_new:
            self._met(channel)
        return True

    def failed(self, text: str, /) -> None:
        self._note(self.troubles.failures, text, "")

    def _note(self, where: dict[str, str], what: str, why: str) -> None:
        with self._lock:
            where[what] = f"{what}: {why}" if why else what

    # --- knowing ----------------------------------------------------------------------------------------

    def is_chosen(self, channel: Channel) -> bool:
        """With its server, by itself, or as a thread with its channel."""
        chosen = self._settings
        ids = {channel.id, channel.parent}
        if chosen.channels & ids:
            return True
        return channel.guild in chosen.guilds and not chosen.skipped & ids

    def may_be_chosen(self, guild: int) -> bool:
        """Whether an unknown channel of this server may be."""
        with self._lock:
            servers = {each.guild for each in self._channels.values()}
        return guild in self._settings.guilds or guild in servers

    def channel(self, number: int) -> Channel | None:
        with self._lock:
            return self._channels.get(number)

    def channels(self) -> list[Channel]:
        """All that are chosen and known."""
        with self._lock:
            return list(self._channels.values())

    def is_quiet(self, channel: Channel) -> bool:
        """An archived thread: nobody can have written since it was listed."""
        with self._lock:
            return channel.id in self._archived

    def place(self, channel: Channel) -> Place:
        """For the catalogue. A thread is called after itself."""
        with self._lock:
            return Place(
                channel.id,
                channel.name,
                channel.guild,
                self._guilds.get(channel.guild, "") if channel.guild else "Direct messages",
                channel.parent,
            )

    def _name(self, raw: Mapping[str, Any]) -> None:
        number, name = whole_number(raw.get("id")) or 0, text(raw, "name")
        facts = raw.get("thread_metadata")
        with self._lock:
            if name:
                self._names[number] = name
            if isinstance(facts, dict) and facts.get("archived"):
                self._archived.add(number)
            else:
                self._archived.discard(number)
