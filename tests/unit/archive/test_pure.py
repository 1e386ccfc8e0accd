"""The archive's parts that ask nobody: what is scrubbed, what counts as covered, how lines are formed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discordfs.archived.coverage import covered_of
from discordfs.archived.ranges import LAST, joined, lacking
from discordfs.capture.coverage import Ledger, to_ask
from discordfs.capture.invites import codes_in
from discordfs.capture.job import Mark
from discordfs.capture.lines import Form, NoJson, decoded
from discordfs.capture.progress import progress_of
from discordfs.capture.reactions import emoji_path
from discordfs.capture.scope import Channel
from discordfs.capture.scrubbing import Scrubber
from discordfs.capture.settings import CaptureSettings
from discordfs.capture.threads import paged_by_time
from discordfs.errors import UsageError
from discordfs.remote.base import Exchange, GatewayFrame

TOKEN = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs"
HOOK = "Ab-_" * 17
SCRUBBER = Scrubber([TOKEN])


def exchange(data: str, status: int = 200, **more: Any) -> Exchange:
    given: dict[str, Any] = {"attempt": 1, "started_ns": 0, "ended_ns": 1_500_000, "error": ""} | more
    headers = {
        "Content-Type": "application/json",
        "X-RateLimit-Limit": "5",
        "Via": "1.1 google",
        "Set-Cookie": "x",
    }
    params = given.pop("params", {})
    return Exchange("GET", "https://discord.com/api/v10/x", params, status, headers, data, **given)


def line_of(form: Form, data: str, status: int = 200, **more: Any) -> str | None:
    try:
        return form.http(exchange(data, status, **more), decoded(data), True)
    except NoJson:
        return form.http(exchange(data, status, **more), None, False)


# --- what is scrubbed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bot {TOKEN}",
        f'{{"id":"1","token":"{HOOK}"}}',
        f'{{"token" : "{HOOK}", "x": 1}}',
        f"https://discord.com/api/webhooks/123456789/{HOOK}",
        f"https:\\/\\/ptb.discord.com\\/api\\/v10\\/webhooks\\/123456789\\/{HOOK}?wait=true",
        f"https://canary.discordapp.com/api/interactions/123456789/{HOOK}/callback",
        f'{{"access_token":"{HOOK}"}}',
    ],
)
def test_secrets_do_not_get_through(text: str) -> None:
    clean = SCRUBBER.text(text)
    assert TOKEN not in clean
    assert HOOK not in clean
    assert "[SCRUBBED]" in clean
    assert SCRUBBER.text(clean) == clean
    assert Scrubber([TOKEN], is_off=True).text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"content":"my \\"token\\": \\"none of your business\\""}',
        "https://discord.com/api/webhooks/123456789/messages",
        '{"tokens":"3"}',
        '{"token":null}',
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert SCRUBBER.text(text) is text


@pytest.mark.parametrize(
    "argv",
    [
        ["-t", TOKEN, "guild", "1"],
        ["--token", TOKEN, "guild", "1"],
        [f"--token={TOKEN}", "guild", "1"],
        [f"-t{TOKEN}", "guild", "1"],
        ["-Ut", TOKEN, "guild", "1"],
        ["-t", "another one, mistyped", "guild", "1"],
    ],
)
def test_no_token_stays_in_a_command_line(argv: list[str]) -> None:
    clean = SCRUBBER.command(["discordfs", "archive", *argv])
    assert TOKEN not in " ".join(clean)
    assert "mistyped" not in " ".join(clean)
    assert clean[-2:] == ["guild", "1"]
    assert Scrubber([TOKEN], is_off=True).command(argv) == argv


# --- lines --------------------------------------------------------------------------------------------


def test_an_ordinary_line_has_the_body_byte_for_byte() -> None:
    body = '{"n": 1.10, "big": 12345678901234567890123, "u":"\\u00e9\\ud800", "a":1, "a":2,\r\n "s":"x  y"}'
    line = line_of(Form(SCRUBBER), body, params={"limit": 100, "after": 0})
    assert line is not None
    assert body.replace("\r\n", "  ") in line
    record = json.loads(line)
    assert record["request"]["params"] == {"limit": 100, "after": 0}
    assert record["response"]["headers"] == {"content-type": "application/json", "x-ratelimit-limit": "5"}
    assert record["datetime_end"] == "1970-01-01T00:00:00.001500+00:00"


@pytest.mark.parametrize("body", ["<html>error code: 1015</html>", "NaN", '{"cut":', '{"a": "line\nbreak"}'])
def test_what_is_no_json_is_kept_as_a_string(body: str) -> None:
    line = line_of(Form(SCRUBBER), body, 429)
    assert line is not None
    assert "\n" not in line
    assert json.loads(line)["response"]["data"] == body


def test_without_an_answer_there_is_an_error_and_no_data() -> None:
    line = line_of(Form(SCRUBBER), "", 0, error="no connection", attempt=3)
    assert line is not None
    record = json.loads(line)
    assert (record["response"]["data"], record["response"]["status"]) == (None, 0)
    assert (record["attempt"], record["error"]) == (3, "no connection")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(JSON)
def test_a_strict_line_is_what_discard_would_have_written(value: Any) -> None:
    text = json.dumps(value)
    line = line_of(Form(Scrubber([]), strict=True), text)
    record = {
        "type": "http",
        "datetime_start": "1970-01-01T00:00:00+00:00",
        "datetime_end": "1970-01-01T00:00:00.001500+00:00",
        "request": {"method": "GET", "url": "https://discord.com/api/v10/x"},
        "response": {"data": json.loads(text)},
    }
    assert line is not None
    expected = json.dumps(record, ensure_ascii=False)
    try:
        expected.encode()
    except UnicodeEncodeError:  # Discard would have died of it
        assert json.loads(line) == record
    else:
        assert line == expected


@given(JSON)
def test_an_ordinary_line_says_the_same(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    line = line_of(Form(Scrubber([])), text)
    assert line is not None
    assert "\n" not in line
    assert json.loads(line)["response"]["data"] == value


def test_frames_are_objects_when_received_and_strings_when_sent() -> None:
    form = Form(SCRUBBER)
    heard = json.loads(form.frame(GatewayFrame("recv", '{"op":10,"d":{"x":1.0}}', 0)))
    sent = json.loads(form.frame(GatewayFrame("send", '{"token":"[SCRUBBED]"}', 0)))
    assert heard == {
        "type": "ws",
        "datetime": "1970-01-01T00:00:00+00:00",
        "direction": "recv",
        "data": {"op": 10, "d": {"x": 1.0}},
    }
    assert (sent["data"], sent["scrubbed"]) == ('{"token":"[SCRUBBED]"}', True)
    bare = Form(Scrubber([TOKEN], is_off=True))
    assert TOKEN in json.loads(bare.frame(GatewayFrame("send", '{"token":"[SCRUBBED]"}', 0)))["data"]


# --- what counts as covered ---------------------------------------------------------------------------

IDS = st.integers(1, 60)
RANGES = st.lists(st.tuples(IDS, IDS).map(lambda pair: (min(pair), max(pair))), max_size=6)


@given(RANGES, IDS, IDS)
def test_ranges_say_the_same_as_sets(ranges: list[tuple[int, int]], one: int, other: int) -> None:
    first, last = min(one, other), max(one, other)
    covered = {number for begins, ends in ranges for number in range(begins, ends + 1)}
    whole = joined(ranges)
    assert {number for begins, ends in whole for number in range(begins, ends + 1)} == covered
    assert all(after[0] > before[1] + 1 for before, after in pairwise(whole))
    gaps = {number for begins, ends in lacking([(first, last)], ranges) for number in range(begins, ends + 1)}
    assert gaps == set(range(first, last + 1)) - covered


def test_what_an_incremental_run_asks_for() -> None:
    assert to_ask([(1, 50)], 1, LAST, again_from=40) == ((40, LAST),)
    assert to_ask([(1, 50)], 1, LAST, again_from=80) == ((51, LAST),)
    assert to_ask([(1, 20), (30, 50)], 1, LAST, again_from=80) == ((21, 29), (51, LAST))
    assert to_ask([], 1, LAST, again_from=80) == ((1, LAST),)
    assert to_ask([(1, LAST)], 1, 70, again_from=80) == ()


def test_a_ledger_survives_its_file() -> None:
    ledger = Ledger()
    ledger.cover(5, 1, 10, 9)
    ledger.cover(5, 11, 20, 18)
    ledger.fail(5, "pins: 403")
    told = json.loads(json.dumps(ledger.snapshot()))["channels"]["5"]
    assert told == {"ranges": [[1, 20]], "oldest": True, "newest_id": 18, "errors": ["pins: 403"]}
    assert covered_of(told) == ledger.of(5)


# --- lists that are paged by time ---------------------------------------------------------------------

START = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(2, 7))
def test_entries_of_the_same_time_are_all_found(seconds: list[int], limit: int) -> None:
    """As threads are that were archived in one go. More of them than a page holds can't be told apart."""
    most = max((seconds.count(each) for each in seconds), default=0)
    entries = [
        {"id": number, "at": (START + timedelta(seconds=second)).isoformat()}
        for number, second in enumerate(seconds)
    ]
    entries.sort(key=lambda each: (each["at"], each["id"]), reverse=True)

    def ask(before: str | None) -> tuple[Sequence[Mapping[str, Any]], bool]:
        older = [each for each in entries if before is None or str(each["at"]) < before]
        return older[:limit], len(older) > limit

    found = {
        each["id"] for each in paged_by_time(ask, lambda one: str(one["id"]), lambda one: str(one["at"]))
    }
    if most < limit:
        assert found == {each["id"] for each in entries}


# --- small things -------------------------------------------------------------------------------------


def test_invite_codes_are_found_however_they_are_written() -> None:
    text = (
        "https://discord.gg/abc-1 discord.com/invite/Two2 https:\\/\\/discordapp.com\\/invite\\/three x.gg/no"
    )
    assert codes_in(text) == {"abc-1", "Two2", "three"}


def test_emojis_in_routes() -> None:
    assert emoji_path({"id": None, "name": "👍"}) == "%F0%9F%91%8D"
    assert emoji_path({"id": "7", "name": "fox"}) == "fox:7"
    assert emoji_path({"id": "7", "name": None}) == "_:7"


def test_progress_tells_the_time_that_is_left_by_the_ids() -> None:
    channel = Channel(id=0, guild=1, name="x", type=0, last_message=100 << 22)
    mark = Mark(channel, [(25 << 22, LAST)], messages=1000)
    told = progress_of([mark], requests=10, seconds=10.0)
    assert (told.messages_a_second, told.channels_done) == (100.0, 0)
    assert told.left_s == pytest.approx(30.0)
    assert progress_of([], 0, 0.0).left_s is None


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError):
        CaptureSettings("server", (1,))
    with pytest.raises(UsageError):
        CaptureSettings("guild")
    with pytest.raises(UsageError):
        CaptureSettings("profile", (1,))
