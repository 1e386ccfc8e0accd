"""Runs made by hand, in the documented form, as captures and Discard's versions leave them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from discordfs.remote.base import snowflake_at

GUILD, CHANNEL, THREAD, DIRECT = 100, 200, 300, 400
_API = "https://discord.com/api/v10"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def id_at(text: str, more: int = 0) -> int:
    """An id that Discord gave at this time."""
    return snowflake_at(int(at(text).timestamp()) * 1_000_000_000) + more


def message(number: int, content: str = "hello", author: str = "ada", **more: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "type": 0,
        "channel_id": str(CHANNEL),
        "author": {"id": "7", "username": author, "global_name": None},
        "content": content,
        "timestamp": "2024-01-01T00:00:00+00:00",
        "edited_timestamp": None,
        "embeds": [],
        "attachments": [],
        **more,
    }


@dataclass
class RunMaker:
    """One run in `root`. `started` advances by a second with each record."""

    root: Path
    started: datetime
    mode: str = "channel"
    compressed: bool = False
    records: dict[str, list[str]] = field(default_factory=dict)
    ordinary: bool = True

    @property
    def path(self) -> Path:
        return self.root / f"{self.started:%Y%m%dT%H%M%S}_{self.mode}"

    def _now(self) -> str:
        count = sum(map(len, self.records.values()))
        return (self.started + timedelta(seconds=count)).isoformat()

    def http(self, file: str, url: str, data: Any, status: int = 200, **params: Any) -> None:
        """A record; `data` that is a string stands in it as it is."""
        request: dict[str, Any] = {"method": "GET", "url": _API + url}
        if params:
            request["params"] = params
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        now = self._now()
        more = f', "status": {status}, "headers": {{}}' if self.ordinary else ""
        rest = ', "attempt": 1, "error": null' if self.ordinary else ""
        line = (
            f'{{"type": "http", "datetime_start": "{now}", "datetime_end": "{now}", '
            f'"request": {json.dumps(request)}, "response": {{"data": {text}{more}}}{rest}}}'
        )
        self.records.setdefault(file, []).append(line)

    def heard(self, file: str, event: str, body: Any) -> None:
        record = {
            "type": "ws",
            "datetime": self._now(),
            "direction": "recv",
            "data": {"op": 0, "t": event, "s": 1, "d": body},
        }
        self.records.setdefault(file, []).append(json.dumps(record, ensure_ascii=False))

    def page(
        self, messages: Sequence[dict[str, Any]], channel: int = CHANNEL, guild: int = GUILD, **params: Any
    ) -> None:
        """A page of the listing, newest first as Discord gives it."""
        newest_first = sorted(messages, key=lambda each: -int(each["id"]))
        params = {"limit": 100, **params}
        place = f"{guild or '@me'}/{channel}.jsonl"
        self.http(place, f"/channels/{channel}/messages", newest_first, **params)

    def write(
        self,
        name: str = "general",
        guild_name: str = "The server",
        types: dict[int, tuple[int, int]] | None = None,
        names: dict[int, str] | None = None,
    ) -> Path:
        """The directory. `types`: (type, parent) of channels that are no text channel."""
        self.http("run.jsonl", "/users/@me", {"id": "1", "username": "bot"})
        for file, lines in self.records.items():
            path = self.path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            self._put(path, "".join(f"{line}\n" for line in lines))
            if path.stem.isdigit():
                self._channel_meta(path, name, types or {}, names or {})
        for folder in filter(Path.is_dir, self.path.iterdir()):
            if folder.name.isdigit():
                self._meta(
                    folder / "guild.meta.json", {"guild": {"id": int(folder.name), "name": guild_name}}
                )
                if not list(folder.glob("guild.jsonl*")):
                    self._put(folder / "guild.jsonl", "")
        self._meta(self.path / "run.meta.json", {"run": {"datetime_start": self.started.isoformat()}})
        return self.path

    def _channel_meta(
        self, path: Path, name: str, types: dict[int, tuple[int, int]], names: dict[int, str]
    ) -> None:
        number = int(path.stem)
        kind, parent = types.get(number, (0, 0))
        channel: dict[str, Any] = {"id": number, "name": names.get(number, name), "type": kind}
        if parent:
            channel["parent_id"] = parent
        self._meta(path.with_name(f"{path.stem}.meta.json"), {"channel": channel})

    def _meta(self, path: Path, body: dict[str, Any]) -> None:
        path.write_text(json.dumps(body, indent=4), encoding="utf-8")

    def _put(self, path: Path, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        if self.compressed:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data))
        else:
            path.write_bytes(data)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def put_coverage(run: Path, ranges: list[list[int]]) -> None:
    """What a run claims to have covered of the channel."""
    part = {"ranges": ranges, "oldest": False, "newest_id": 0, "errors": []}
    body = {"format": 1, "channels": {str(CHANNEL): part}, "errors": []}
    (run / "coverage.json").write_text(json.dumps(body))
