"""`archive read`, `summary`, `search`, `add`, `import`, as people type them."""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from discordfs.archived.search import match_of
from discordfs.cli.archive_reading import COMMANDS
from discordfs.cli.common import exit_code
from discordfs.errors import MissingError, UsageError
from tests.archived.making import CHANNEL, GUILD, RunMaker, at, id_at, message, put_coverage
from tests.archived.test_pages import store_media

JANUARY, FEBRUARY = id_at("2024-01-05"), id_at("2024-02-05")


@dataclass
class Group:
    """What the group of commands hands on."""

    root: Path

    def run(self, name: str, *arguments: str | Path) -> Result:
        (command,) = [each for each in COMMANDS if each.name == name]
        return CliRunner().invoke(command, [str(each) for each in arguments], obj=self)

    def lines(self, name: str, *arguments: str | Path) -> list[str]:
        result = self.run(name, *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()


@pytest.fixture
def archive(tmp_path: Path) -> Group:
    return Group(tmp_path / "archive")


def made(root: Path, day: str = "2024-03-10", *more: dict[str, Any]) -> Path:
    run = RunMaker(root, at(day))
    texts = [message(JANUARY, "hello wörld\x1b[31m"), message(FEBRUARY, "good bye", author="bob"), *more]
    run.page(texts, after=0)
    return run.write()


class TestSearch:
    def test_words_phrases_beginnings_and_exclusions(self, archive: Group) -> None:
        made(archive.root)
        assert archive.lines("search", "WORLD") == [
            f"[2024-01-05 00:00] The server (100)/general (200) ada: hello wörld\\x1b[31m ({JANUARY})"
        ]
        assert len(archive.lines("search", "good bye")) == 1
        assert len(archive.lines("search", "hel*")) == 1
        for words in (["bye good"], ["--", "hello", "-world"], ["absent"], ['NOT "x'], ["x OR y"]):
            result = archive.run("search", *words)
            assert (result.exit_code, result.stdout) == (1, ""), words

    def test_filters(self, archive: Group) -> None:
        made(archive.root)

        def found(*options: str) -> list[int]:
            result = archive.run("search", "hello*", "--json", *options)
            return [json.loads(line)["id"] for line in result.stdout.splitlines()]

        assert found() == [JANUARY]
        for option in (
            "--channel=GENERAL",
            f"--channel={CHANNEL}",
            "--author=AD",
            "--author=7",
            "--after=2024-01-05",
        ):
            assert found(option) == [JANUARY], option
        for option in ("--channel=x", "--channel=1", "--author=bob", "--author=8", "--before=2024-01-05"):
            assert found(option) == [], option

    def test_a_threads_first_message_hides_not_the_one_it_began_with(self, archive: Group) -> None:
        """Both have the same id."""
        run = RunMaker(archive.root, at("2024-03-10"))
        run.page([message(JANUARY, "beginning")], after=0)
        run.page([message(JANUARY, "", type=21)], channel=JANUARY, after=0)
        run.write(types={JANUARY: (11, CHANNEL)})
        assert f"(200) ada: beginning ({JANUARY})" in archive.lines("search", "beginning")[0]

    def test_what_was_edited_or_deleted(self, archive: Group) -> None:
        made(archive.root)
        archive.lines("search", "hello")
        run = RunMaker(archive.root, at("2024-03-11"))
        run.page([message(FEBRUARY, "changed", edited_timestamp="2024-03-10")], after=0)
        elsewhere = run.write()
        archive.lines("add", elsewhere)
        assert archive.run("search", "good").exit_code == 1
        assert "(deleted)" in archive.lines("search", "hello")[0]
        assert len(archive.lines("search", "changed")) == 1

    def test_a_catalogue_that_is_damaged_or_of_another_release_is_made_anew(self, archive: Group) -> None:
        made(archive.root)
        archive.lines("search", "hello")
        path = archive.root / "catalogue.sqlite"
        for harm in (b"no database" * 1000, b""):
            path.write_bytes(harm)
            assert len(archive.lines("search", "hello")) == 1
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 77")
        connection.close()
        assert len(archive.lines("search", "hello")) == 1

    def test_nothing_typed_is_an_operator(self) -> None:
        assert match_of('a "b c" -d e* NEAR(') == '("a" AND "b c" AND "e"* AND "NEAR(") NOT "d"'
        for query in ("", "-a", '""', "***"):
            with pytest.raises(UsageError, match="no word"):
                match_of(query)

    def test_no_archive(self, archive: Group) -> None:
        result = archive.run("search", "x")
        assert isinstance(result.exception, MissingError)
        assert exit_code(result.exception) == 3


class TestRead:
    def test_by_id_name_run_and_file(self, archive: Group) -> None:
        run = made(archive.root)
        archive.lines("search", "hello")
        expected = [
            "[2024-01-05 00:00:00] ada:",
            "    hello wörld\\x1b[31m",
            "[2024-02-05 00:00:00] bob:",
            "    good bye",
        ]
        for given in (str(CHANNEL), "gen", str(run / str(GUILD) / f"{CHANNEL}.jsonl")):
            assert archive.lines("read", given) == expected
        for given in (run, archive.root):
            assert archive.lines("read", given)[1:-1] == expected

    def test_what_is_not_there(self, archive: Group) -> None:
        made(archive.root)
        assert isinstance(archive.run("read", "nothing").exception, MissingError)


class TestSummary:
    def test_a_sound_run(self, archive: Group) -> None:
        run = made(archive.root)
        said = archive.lines("summary")
        assert said[0] == f"{run}: run, not ended"
        assert said[1] == "  2 HTTP requests, 0 websocket packets, 2 messages"
        assert "2 messages, 2024-01-05 00:00 to 2024-02-05 00:00" in said[3]
        assert len(said) == 4

    def test_metadata_that_lies(self, archive: Group) -> None:
        run = made(archive.root)
        oldest, newest = {"id": JANUARY}, {"id": FEBRUARY}
        claims = {"num_messages": 9, "oldest_message": newest, "newest_message": oldest}
        put(run / str(GUILD) / f"{CHANNEL}.meta.json", channel={"id": CHANNEL}, summary=claims)
        put(
            run / str(GUILD) / "guild.meta.json",
            guild={"name": "S"},
            summary={"num_channels": 1, "num_messages": 3},
        )
        put(run / "run.meta.json", run={"completed": True}, summary={"num_http_requests": 5})
        put_coverage(run, [[0, JANUARY], [5, FEBRUARY]])
        said = "\n".join(archive.lines("summary"))
        for text in (
            "claims num_messages 9, counted 2",
            "oldest and newest message are swapped",
            "server 100: claims num_messages 3, counted 2",
            "claims num_http_requests 5, counted 2",
            "claims to cover 0 to 0, which no page does",
        ):
            assert text in said
        assert "num_channels" not in said
        (told,) = json.loads(archive.lines("summary", "--json")[0])["runs"]
        assert (told["messages"], len(told["all_wrong"]), told["damage"]) == (2, 5, [])

    def test_gaps_refusals_and_damage(self, archive: Group) -> None:
        run = RunMaker(archive.root, at("2024-03-10"))
        run.page([message(JANUARY)], after=JANUARY - 1, limit=1)
        run.page([message(FEBRUARY)], after=FEBRUARY - 1, limit=1)
        run.http(f"{GUILD}/{CHANNEL}.jsonl", f"/channels/{CHANNEL}/pins", {"code": 50001}, 403)
        path = run.write() / str(GUILD) / f"{CHANNEL}.jsonl"
        said = "\n".join(archive.lines("summary"))
        assert f"gap: nothing is known of 2024-01-05 00:00 to 2024-02-04 23:59 (ids {JANUARY + 1}" in said
        assert "1 answers of 403" in said
        path.write_bytes(b"garbage\n" + path.read_bytes())
        result = archive.run("summary")
        assert result.exit_code == 4
        assert "damaged: 100/200.jsonl: the line at byte 0 is no record" in result.output


class TestImport:
    def test_every_byte_is_copied_once(self, archive: Group, tmp_path: Path) -> None:
        run = made(tmp_path / "out")
        said = archive.lines("import", tmp_path / "out")
        assert said[0] == str(archive.root / run.name)
        assert "on this machine only" in said[-1]
        copy = archive.root / run.name
        assert contents(copy) == contents(run)
        assert f"{run.name} is there already" in archive.lines("import", run)[0]
        assert len(archive.lines("search", "hello")) == 1

    def test_another_run_of_the_same_name_is_kept_too(self, archive: Group, tmp_path: Path) -> None:
        made(tmp_path / "one")
        made(tmp_path / "two", "2024-03-10", message(FEBRUARY + 1, "third"))
        archive.lines("import", tmp_path / "one")
        archive.lines("import", tmp_path / "two")
        archive.lines("import", tmp_path / "two")
        assert len([each for each in archive.root.iterdir() if each.name.startswith("2024")]) == 2
        assert len(archive.lines("search", "third")) == 1

    def test_links_do_not_bring_others_files_in(self, archive: Group, tmp_path: Path) -> None:
        run = made(tmp_path / "out")
        (tmp_path / "secret").write_text("secret")
        os.symlink(tmp_path / "secret", run / "link")
        result = archive.run("import", run)
        assert "no plain file" in result.output
        assert not (archive.root / run.name / "link").exists()

    def test_files_of_messages_come_along(self, archive: Group, tmp_path: Path) -> None:
        """An archive without its pictures would be half of one."""
        attachment = {"id": "55", "filename": "a.txt", "size": 3, "url": "https://cdn/a"}
        made(tmp_path / "out", "2024-03-10", message(FEBRUARY + 1, "", attachments=[attachment]))
        store_media(tmp_path / "out", 55, "a.txt", b"abc")
        link = "views/The server (100)/general (200)/media/55-a.txt"
        other = Group(tmp_path / "other")
        other.lines("add", tmp_path / "out")
        assert (other.root / link).read_bytes() == b"abc"
        assert "1 files of messages" in archive.lines("import", tmp_path / "out")
        assert (archive.root / link).read_bytes() == b"abc"
        assert "1 files of messages" not in archive.lines("import", tmp_path / "out")

    @pytest.mark.expects_log("is not what its name says")
    def test_a_damaged_file_is_left_out(self, archive: Group, tmp_path: Path) -> None:
        made(tmp_path / "out")
        store_media(tmp_path / "out", 55, "a.txt", b"abc")
        (path,) = (tmp_path / "out" / "media").glob("*/*")
        path.write_bytes(b"abd")
        archive.lines("import", tmp_path / "out")
        assert not list((archive.root / "media").glob("*/*"))

    def test_a_directory_without_runs(self, archive: Group, tmp_path: Path) -> None:
        assert isinstance(archive.run("import", tmp_path).exception, MissingError)
        assert isinstance(archive.run("add", tmp_path).exception, MissingError)


def put(path: Path, **body: Any) -> None:
    path.write_text(json.dumps(body))


def contents(directory: Path) -> dict[str, bytes]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}
