"""A server on loopback in which people post videos, and collections made of it through the package, over real
HTTP. The emulator's own tables are the judge."""

from __future__ import annotations

import json
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from discordfs.clipping.catalogue import Catalogue, Named
from discordfs.clipping.collector import SETTLE_S, Collector, Progress
from discordfs.clips import ClipsDirectory, SyncSettings, collecting
from discordfs.remote.retrying import Patience
from tests.archive.harness import HASTE, NO_LIMIT, Server
from tests.contract.harness import discord_on_loopback

WAIT_S = 30.0
VIDEO = b"\0\0\0\x18ftypisom\0\0\0\0isommp42 and no more than this"


@dataclass
class ClipServer(Server):
    """An emulator's server, and the clips of it in `directory`."""

    @property
    def directory(self) -> ClipsDirectory:
        return ClipsDirectory(self.root.parent / "clips")

    def upload(
        self,
        *names: str,
        content: str = "",
        channel: int = 0,
        by: str = "",
        data: bytes = VIDEO,
        kind: str = "video/mp4",
    ) -> dict[str, Any]:
        """A message with files; as Discord answers."""
        body = {"content": content, "attachments": [{"id": n} for n in range(len(names))]}
        parts = [("payload_json", "", "application/json", json.dumps(body).encode())]
        parts += [(f"files[{n}]", f'; filename="{name}"', kind, data) for n, name in enumerate(names)]
        mark = uuid.uuid4().hex
        text = b"".join(
            f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n'
            f"Content-Type: {content_type}\r\n\r\n".encode()
            + payload
            + b"\r\n"
            for name, more, content_type, payload in parts
        )
        route = f"{self.discord.address.api}/channels/{channel or self.channel}/messages"
        request = urllib.request.Request(route, text + f"--{mark}--\r\n".encode(), method="POST")
        request.add_header("Authorization", self.people[by] if by else f"Bot {self.token}")
        request.add_header("Content-Type", f"multipart/form-data; boundary={mark}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def clip(self, name: str = "a.mp4", **more: Any) -> int:
        """A message with one video; the id of its attachment."""
        return int(self.upload(name, **more)["attachments"][0]["id"])

    def edit(self, message: dict[str, Any], **body: Any) -> None:
        self.ask("PATCH", f"/channels/{message['channel_id']}/messages/{message['id']}", body)

    def remove(self, message: dict[str, Any]) -> None:
        self.delete(int(message["id"]), int(message["channel_id"]))

    def everything(self) -> Any:
        return self.discord.control("GET", "/everything")

    def truth(self) -> set[int]:
        """Ids of all .mp4 that are there, by the emulator's own tables."""
        return {
            int(each["id"])
            for message in self.everything()["messages"]
            for each in message["attachments"]
            if each["filename"].lower().endswith(".mp4")
        }

    def settings(self, **more: Any) -> SyncSettings:
        if "channels" not in more:
            more.setdefault("guilds", frozenset({self.guild}))
        return SyncSettings(**more)

    def sync(self, **more: Any) -> Synced:
        """Once, of the whole server unless told otherwise."""
        with self.collecting(self.settings(**more)) as (collector, catalogue):
            collector.run(threading.Event())
            return Synced(collector, list(catalogue.clips(with_hidden=True)))

    @contextmanager
    def collecting(
        self,
        settings: SyncSettings,
        tell: Callable[[Progress], None] = lambda progress: None,
        patience: Patience = HASTE,
        settle_s: float = SETTLE_S,
    ) -> Iterator[tuple[Collector, Catalogue]]:
        with collecting(
            self.token,
            self.directory,
            settings,
            api=self.discord.address.api,
            requests_a_second=NO_LIMIT,
            patience=patience,
            settle_s=settle_s,
            tell=tell,
        ) as work:
            yield work.collector, work.catalogue

    @contextmanager
    def live(self, *, patience: Patience = HASTE, settle_s: float = SETTLE_S, **more: Any) -> Iterator[Live]:
        """A collection that stays on the gateway meanwhile; it does when this is entered."""
        running = Live()
        settings = self.settings(is_live=True, **more)
        with self.collecting(settings, running.heard, patience, settle_s) as (collector, catalogue):
            running.begin(collector, catalogue)
            try:
                running.wait(lambda: collector.progress().is_live)
                yield running
            finally:
                running.end()


@dataclass
class Synced:
    """What came of a collection."""

    collector: Collector
    named: Sequence[Named]

    @property
    def there(self) -> set[int]:
        return {each.clip.id for each in self.named if not each.clip.deleted_ns}

    @property
    def gone(self) -> set[int]:
        return {each.clip.id for each in self.named if each.clip.deleted_ns}

    def of(self, clip: int) -> Named:
        return next(each for each in self.named if each.clip.id == clip)


@dataclass
class Live:
    """A collector on a thread of its own."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    stop: threading.Event = field(default_factory=threading.Event)
    errors: list[BaseException] = field(default_factory=list)

    def heard(self, _now: Progress) -> None:
        with self.changed:
            self.changed.notify_all()

    def begin(self, collector: Collector, catalogue: Catalogue) -> None:
        self.collector, self.catalogue = collector, catalogue
        self._thread = threading.Thread(target=self._run, name="live")
        self._thread.start()

    def _run(self) -> None:
        try:
            self.collector.run(self.stop)
        except BaseException as error:  # noqa: BLE001  # told by whoever waits
            self.errors.append(error)

    def wait(self, condition: Callable[[], bool]) -> None:
        """Until it is true; it is asked at each turn of the collector."""
        with self.changed:
            fine = self.changed.wait_for(lambda: bool(self.errors) or condition(), WAIT_S)
        assert not self.errors, self.errors
        assert fine, f"what was waited for did not come: {self.collector.troubles}"

    def there(self) -> set[int]:
        return {each.clip.id for each in self.catalogue.clips()}

    def end(self) -> None:
        self.stop.set()
        self._thread.join()
        assert not self.errors, self.errors


@contextmanager
def clip_server(directory: Path, **settings: Any) -> Iterator[ClipServer]:
    with discord_on_loopback(directory / "discord", **settings) as discord:
        yield ClipServer(discord, directory / "archive")
