"""A server on loopback with people in it, and runs made of it through the package, over real HTTP."""

from __future__ import annotations

import gzip
import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from discordfs.archive import CaptureSettings, Result, capture
from discordfs.remote.retrying import Patience
from tests.contract.harness import Discord, discord_on_loopback

HASTE = Patience(deadline=5.0, first=0.01, longest=0.02)
NO_LIMIT = 100_000
_LOOKS = 5_000


@dataclass
class Server:
    """An emulator and its people. `said` holds each message that was posted, by channel."""

    discord: Discord
    root: Path
    people: dict[str, str] = field(default_factory=dict)

    @property
    def guild(self) -> int:
        return int(self.discord.address.guild_id)

    @property
    def channel(self) -> int:
        return self.discord.channels[0]

    @property
    def token(self) -> str:
        return self.discord.address.token

    def ask(self, method: str, route: str, body: Any = None, *, by: str = "", **params: Any) -> Any:
        """As the bot, or as one of the people."""
        data = None if body is None else json.dumps(body).encode()
        query = f"?{urlencode(params)}" if params else ""
        request = urllib.request.Request(f"{self.discord.address.api}{route}{query}", data, method=method)
        request.add_header("Authorization", self.people[by] if by else f"Bot {self.token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def person(self, name: str) -> str:
        made = self.discord.user(name, bot=False)
        self.people[name] = str(made["token"])
        return name

    @property
    def owner(self) -> str:
        """Whoever may do everything here."""
        number = self.ask("GET", f"/guilds/{self.guild}")["owner_id"]
        users = self.discord.control("GET", "/users")
        self.people["owner"] = next(str(each["token"]) for each in users if each["id"] == number)
        return "owner"

    def post(self, content: str, *, channel: int = 0, by: str = "", **more: Any) -> int:
        route = f"/channels/{channel or self.channel}/messages"
        return int(self.ask("POST", route, {"content": content, **more}, by=by)["id"])

    def posts(self, count: int, **more: Any) -> list[int]:
        return [self.post(f"message {number}", **more) for number in range(count)]

    def later(self, seconds: float = 60.0) -> None:
        """Discord's time goes on: what is there now shows in every listing."""
        self.discord.control("POST", "/clock", {"advance_s": seconds})

    def delete(self, message: int, channel: int = 0) -> None:
        self.ask("DELETE", f"/channels/{channel or self.channel}/messages/{message}")

    def react(self, message: int, emoji: str, *, by: str = "", channel: int = 0) -> None:
        place = f"/channels/{channel or self.channel}/messages/{message}/reactions/{quote(emoji)}/@me"
        self.ask("PUT", place, by=by)

    def new_channel(self, name: str, **more: Any) -> int:
        return int(self.ask("POST", f"/guilds/{self.guild}/channels", {"name": name, **more})["id"])

    def discord_channels(self) -> list[int]:
        """All of the server's that hold messages."""
        return [int(each["id"]) for each in self.ask("GET", f"/guilds/{self.guild}/channels")]

    def hold(self, route: str, nth: int = 1) -> None:
        """The nth GET of a route from now on waits, and those after it, until `release`."""
        self.discord.fault(route=route, method="GET", nth=nth, count=1_000_000, kind="hold")

    def release(self) -> None:
        self.discord.control("DELETE", "/faults")

    def await_held(self, route: str) -> None:
        """Until a GET of this route waits."""
        for _ in range(_LOOKS):
            faults = self.discord.control("GET", "/faults")
            if any(each["struck"] for each in faults if each["route"] == route):
                return
        raise AssertionError(f"nobody asked for {route}")

    def run(self, mode: str = "guild", *targets: int, **settings: Any) -> Run:
        """A run of the server, or of these targets."""
        given = targets or ((self.guild,) if mode == "guild" else ())
        chosen = CaptureSettings(mode, tuple(given), **settings)
        made = capture(
            self.token,
            chosen,
            self.root,
            api=self.discord.address.api,
            requests_a_second=NO_LIMIT,
            patience=HASTE,
        )
        return Run(made.directory, made)


@contextmanager
def behind(server: Server, mode: str, *targets: int, **settings: Any) -> Iterator[Future[Run]]:
    """A run that goes on while the test does something; whatever is held back is let go of at the end."""
    with ThreadPoolExecutor(1, "behind") as pool:
        try:
            yield pool.submit(server.run, mode, *targets, **settings)
        finally:
            server.discord.control("POST", "/release")


@dataclass
class Run:
    """A run's directory, read back."""

    path: Path
    result: Result

    def meta(self, *names: str) -> Any:
        return json.loads(self.path.joinpath(*(names or ("run.meta.json",))).read_text())

    def lines(self, name: str) -> list[str]:
        """The lines of the record file of this name, wherever it lies, compressed or not."""
        return [line for path in sorted(self.path.rglob(f"{name}.jsonl*")) for line in lines_of(path)]

    def records(self, name: str | int) -> list[Any]:
        return [json.loads(line) for line in self.lines(str(name))]

    def http(self, name: str | int, ending: str = "") -> list[Any]:
        """The HTTP records of a file whose URL ends so."""
        return [
            each
            for each in self.records(name)
            if each["type"] == "http" and each["request"]["url"].endswith(ending)
        ]

    def messages(self, channel: int) -> list[Any]:
        pages = [each["response"]["data"] for each in self.http(channel, f"/channels/{channel}/messages")]
        return [message for page in pages if isinstance(page, list) for message in page]

    def ids(self, channel: int) -> list[int]:
        """Of all messages, in the order in which they came, twice if they came twice."""
        return [int(message["id"]) for message in self.messages(channel)]

    def coverage(self, channel: int) -> Any:
        return self.meta("coverage.json")["channels"][str(channel)]

    def covers(self, channel: int, message: int) -> bool:
        return any(first <= message <= last for first, last in self.coverage(channel)["ranges"])

    def bytes(self) -> bytes:
        """All files, opened where they are compressed."""
        files = [path for path in self.path.parent.rglob("*") if path.is_file()]
        return b"".join(opened(path) for path in files)


def opened(path: Path) -> bytes:
    """A file's bytes, those that are compressed in it."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def lines_of(path: Path) -> list[str]:
    """Each ends in a line feed, and nothing else ends one."""
    *lines, rest = opened(path).decode().split("\n")
    assert rest == ""
    return lines


@contextmanager
def server_on_loopback(directory: Path, **settings: Any) -> Iterator[Server]:
    with discord_on_loopback(directory / "discord", **settings) as discord:
        yield Server(discord, directory / "archive")
