"""Whatever strangers wrote, the pages and the text are harmless, and what they show is all there."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discordfs.archived import people
from discordfs.archived.htmlview import Place, message_html
from discordfs.archived.markup import Known, rendered
from discordfs.archived.merge import merge
from discordfs.archived.observing import Observation
from discordfs.archived.pictures import keys_of
from discordfs.archived.textview import harmless, message_text
from discordfs.archived.views import update_views
from discordfs.capture.media import items_of
from tests.archived.making import CHANNEL, GUILD, THREAD, RunMaker, at, id_at, message

FIRST = id_at("2024-01-05")
HOSTILE = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\"><svg onload=document.title='owned'>",
    "[x](javascript:document.title='owned')",
    "<http://127.0.0.1:PORT/a\"onmouseover='x'>",
    "[click](http://127.0.0.1:PORT/b)",
    "<iframe src=http://127.0.0.1:PORT/c></iframe><link rel=stylesheet href=http://127.0.0.1:PORT/d>",
    "</title></style><meta http-equiv=refresh content='0;url=http://127.0.0.1:PORT/e'>",
    "```html\n</pre><script>document.title='owned'</script>```",
    "**`<b onclick=x>`** ||<i>|| \u202egnp.exe \x1b[2J\x00",
]

KEYS = (
    *(
        "id",
        "type",
        "content",
        "author",
        "username",
        "global_name",
        "embeds",
        "title",
        "description",
        "fields",
    ),
    *(
        "name",
        "value",
        "url",
        "attachments",
        "filename",
        "size",
        "content_type",
        "reactions",
        "emoji",
        "count",
    ),
    *("poll", "question", "text", "answers", "answer_id", "poll_media", "results", "answer_counts", "thread"),
    *("message_snapshots", "message", "referenced_message", "edited_timestamp", "mentions", "sticker_items"),
    *(
        "components",
        "accessory",
        "label",
        "placeholder",
        "image",
        "thumbnail",
        "proxy_url",
        "avatar",
        "footer",
    ),
    *("message_reference", "channel_id", "message_id", "format_type"),
)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(text)
    return parser.found


def assert_harmless(text: str) -> None:
    for tag, attributes in tags(text):
        assert tag not in ("script", "iframe", "object", "embed", "svg", "form", "base", "style"), tag
        assert not [name for name in attributes if name.startswith("on")]
        target = attributes.get("href") or attributes.get("src") or ""
        assert not re.match(r"\s*(javascript|data|vbscript):", target, re.IGNORECASE)
        assert tag == "a" or "//" not in target


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_becomes_no_markup(text: str) -> None:
    assert_harmless(rendered(text, Known(lambda mention: "<b>", lambda key: "../media/x.png")))


@given(st.text(alphabet="<>\"'`*_~|[]()\\ \nabchtps:/&#@!1", max_size=200))
def test_no_text_at_all_becomes_markup_of_its_own(text: str) -> None:
    made = rendered(text)
    assert_harmless(made)
    allowed = {"a", "strong", "em", "u", "s", "span", "pre", "code", "bdi", "time"}
    assert {tag for tag, _ in tags(made)} <= allowed


@given(st.text(max_size=100))
def test_nothing_that_a_terminal_acts_on_is_left(text: str) -> None:
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", harmless(text))


def test_markup_is_shown() -> None:
    known = Known({"@7": "Ada"}.get)  # type: ignore[arg-type]
    made = rendered("**b** _i_ ~~s~~ `<c>` <@7> <:wave:123> https://x.org/?a=1&b=2 \\*no\\*", known)
    assert made == (
        "<strong>b</strong> <em>i</em> <s>s</s> <code>&lt;c&gt;</code> "
        '<span class="mention">@<bdi>Ada</bdi></span> <span class="mention">:wave:</span> '
        '<a href="https://x.org/?a=1&amp;b=2" rel="noopener noreferrer nofollow">'
        "https://x.org/?a=1&amp;b=2</a> *no*"
    )


def test_hostile_lengths_cost_their_length() -> None:
    for text in ("*" * 50_000, "[" * 50_000, "||" * 20_000, "**_" * 10_000, "<t:" * 10_000, "`" * 50_000):
        assert rendered(text)


NOWHERE = Place(1, "c", "s", lambda key: "", lambda number: "", lambda mention: "")
EVERYWHERE = Place(
    1, "c", "s", lambda key: "../media/x", lambda number: "../../c/html", lambda mention: "<i>"
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=12))
def test_no_body_whatever_ends_an_update(value: dict[str, Any]) -> None:
    """A run from elsewhere may hold anything that is JSON."""
    body = json.dumps(value).encode()
    other = json.dumps({**value, "content": "another"}).encode()
    observations = [Observation(FIRST, 1, 0, 0, body), Observation(FIRST, 2, 1, 0, other)]
    (merged,) = merge(observations, ())
    assert message_text(merged).endswith("\n")
    for place in (NOWHERE, EVERYWHERE):
        assert_harmless(message_html(merged, place))
    assert isinstance(people.searched(value), str)
    assert all(isinstance(key, str) for key in keys_of(value))


BREAKING_OUT = [
    *HOSTILE,
    *('x" onerror="alert(1)', "x' onload='alert(1)", "x onload=alert(1)"),
    *("javascript:alert(1)", " jAvascript:alert(1)", "data:text/html,<script>alert(1)</script>"),
]


@pytest.mark.parametrize("text", BREAKING_OUT)
def test_no_name_of_anything_breaks_out_of_its_place(text: str) -> None:
    """Each string of a message that a page shows, most of them as an attribute's value somewhere."""
    emoji = {"id": "9", "name": text}
    value = message(
        FIRST,
        f"<a:wave:123456789012345678> [{text}](https://example.org/{text})",
        author=text,
        edited_timestamp=text,
        referenced_message=message(FIRST - 1, text, author=text, channel_id=text),
        reactions=[{"emoji": emoji, "count": 1}, {"emoji": {"id": None, "name": text}, "count": text}],
        sticker_items=[{"id": str(number), "name": text, "format_type": number} for number in (1, 3)],
        attachments=[
            attachment(5, text, kind) | {"description": text} for kind in ("image/png", "video/mp4", text)
        ],
        embeds=[
            dict.fromkeys(("title", "url", "description", "type"), text),
            {"image": {"proxy_url": text}, "footer": {"text": text}, "author": {"name": text}},
        ],
        components=[{"type": 2, "label": text, "url": text}, {"type": 10, "content": text}],
        poll={"question": {"text": text}, "answers": [{"answer_id": text, "poll_media": {"text": text}}]},
        thread={"id": "1", "name": text},
        mentions=[{"id": "1", "global_name": text}],
    )
    (merged,) = merge([Observation(FIRST, 1, 0, 0, json.dumps(value).encode())], ())
    for place in (NOWHERE, EVERYWHERE):
        made = message_html(merged, place)
        assert_harmless(made)
        shown = [attributes for _, attributes in tags(made)]
        assert {name for each in shown for name in each} <= ATTRIBUTES


ATTRIBUTES = {
    *("id", "class", "href", "rel", "title", "alt", "src", "loading", "controls", "preload", "dir"),
    *("datetime", "tabindex", "aria-hidden", "aria-label"),
}


# --- whole pages -----------------------------------------------------------------------------------------


def store_media(root: Path, key: int | str, name: str, data: bytes) -> None:
    """As captures keep files; a number is an attachment's."""
    digest = hashlib.sha256(data).hexdigest()
    path = root / "media" / digest[:2] / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    with sqlite3.connect(root / "media" / "media.sqlite") as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS media (key TEXT PRIMARY KEY, kind TEXT, sha256 TEXT, size INTEGER, "
            "content_type TEXT, name TEXT, url_path TEXT, status INTEGER, error TEXT, at TEXT)"
        )
        key = f"attachment:{key}" if isinstance(key, int) else key
        row = (key, "attachments", digest, len(data), "", name, "", 200, "", "")
        connection.execute("INSERT INTO media VALUES (?,?,?,?,?,?,?,?,?,?)", row)
    connection.close()


def attachment(number: int, name: str, kind: str = "image/png") -> dict[str, Any]:
    url = f"https://cdn.discordapp.com/attachments/1/{number}/{name}"
    return {"id": str(number), "filename": name, "size": 3, "content_type": kind, "url": url}


def page_of(root: Path, *messages: dict[str, Any], later: tuple[dict[str, Any], ...] = ()) -> Path:
    for day, shown in (("2024-03-10", messages), ("2024-03-11", later)):
        if shown:
            run = RunMaker(root, at(day))
            run.page(list(shown), after=0)
            run.write()
    update_views(root)
    return root / "views" / f"The server ({GUILD})" / f"general ({CHANNEL})" / "html" / "2024-01.html"


def test_what_a_message_has_is_shown(tmp_path: Path) -> None:
    emoji = {"id": None, "name": "👍"}
    poll = {"question": {"text": "Tea?"}, "answers": [{"answer_id": 1, "poll_media": {"text": "Yes"}}]}
    forwarded = [{"message": {"content": "forwarded words"}}]
    reply = message(FIRST, "the first words")
    page = page_of(
        tmp_path,
        reply,
        message(FIRST + 1, "answer", referenced_message=reply, reactions=[{"emoji": emoji, "count": 4}]),
        message(FIRST + 2, "", poll=poll, message_snapshots=forwarded, sticker_items=[{"name": "stuck"}]),
        message(FIRST + 3, "", type=7),
        message(FIRST + 4, "goes away"),
        later=(
            reply,
            message(FIRST + 1, "corrected", edited_timestamp="2024-03-01", referenced_message=reply),
        ),
    )
    text = page.read_text()
    for words in (
        "forwarded words",
        "Tea?",
        "Yes",
        "stuck",
        "joined the server",
        "(edited)",
        "corrected",
        "answer",
    ):
        assert words in text
    assert f'href="2024-01.html#m{FIRST}"' in text
    assert text.count("(deleted)") == 3
    plain = (page.parents[1] / "messages.txt").read_text()
    assert "> ada: the first words" in plain
    assert "(edited)" in plain
    assert "goes away" in plain


def test_media_is_linked_relatively_and_as_it_is(tmp_path: Path) -> None:
    """Also when it comes later than the message; a file that was not archived is named."""
    number = FIRST + 77
    page = page_of(
        tmp_path, message(FIRST, attachments=[attachment(number, "a b\u202e.png"), attachment(5, "lost.png")])
    )
    assert page.read_text().count("(not archived)") == 2
    store_media(tmp_path, number, "a b\u202e.png", b"png")
    update_views(tmp_path)
    text = page.read_text()
    assert text.count("(not archived)") == 1
    assert f'<img src="../media/{number}-a%20b_.png"' in text
    assert (page.parents[1] / "media" / f"{number}-a b_.png").read_bytes() == b"png"
    assert update_views(tmp_path).changed == 0


FACE, ANOTHER = "a1b2", "c3d4"
PROXY = "https://images-ext-1.discordapp.net/external/x/https/example.org/cat.png"
PICTURES = {
    f"avatar:7:{FACE}": f"{FACE}.png",
    "avatar:8:c3d4": f"{ANOTHER}.gif",
    "emoji:123456789012345678": "wave-123456789012345678.gif",
    "emoji:223456789012345678": "quoted-223456789012345678.png",
    "emoji:9": "party-9.png",
    "sticker:5": "stuck-5.png",
    "sticker:6": "spin-6.json",
    f"embed:{hashlib.sha256(b'/external/x/https/example.org/cat.png').hexdigest()}": "cat.png",
}


def illustrated(number: int) -> dict[str, Any]:
    """A message that shows each kind of picture."""
    answered = message(number - 1, "<:quoted:223456789012345678>", author="bob")
    answered["author"] |= {"id": "8", "avatar": ANOTHER}
    made = message(
        number,
        "hello <a:wave:123456789012345678>",
        type=19,
        referenced_message=answered,
        reactions=[{"emoji": {"id": "9", "name": "party"}, "count": 3}],
        sticker_items=[
            {"id": "5", "name": "stuck", "format_type": 1},
            {"id": "6", "name": "spin", "format_type": 3},
        ],
        embeds=[{"title": "cat", "image": {"url": "https://example.org/cat.png", "proxy_url": PROXY}}],
    )
    made["author"] |= {"avatar": FACE}
    return made


def sources(page: Path) -> list[str]:
    return [attributes["src"] or "" for _, attributes in tags(page.read_text()) if "src" in attributes]


def test_faces_emojis_and_stickers_are_shown_from_the_archive(tmp_path: Path) -> None:
    """Else an archived conversation is one between nobodies, and what is only a picture says nothing; or
    Discord hears of everybody who reads."""
    page = page_of(tmp_path, illustrated(FIRST + 1))
    assert sources(page) == []
    for words in (
        ":wave:",
        ":quoted:",
        ":party:",
        "Sticker: <bdi>stuck</bdi>",
        "Image (not archived)",
        ">a</span>",
    ):
        assert words in page.read_text()
    for key, name in PICTURES.items():
        store_media(tmp_path, key, name, key.encode())
    assert update_views(tmp_path).changed == 1
    shown = sources(page)
    assert len(shown) == len(PICTURES) - 1
    assert '<a href="../media/sticker-6.json"><bdi>spin</bdi></a>' in page.read_text()
    contents = {(page.parent / each).read_bytes().decode() for each in (*shown, "../media/sticker-6.json")}
    assert contents == set(PICTURES)
    assert update_views(tmp_path).changed == 0


def test_a_picture_that_comes_late_is_shown_in_all_months(tmp_path: Path) -> None:
    first, second = message(FIRST), message(id_at("2024-02-05"))
    for each in (first, second):
        each["author"] |= {"avatar": FACE}
    page = page_of(tmp_path, first, second)
    store_media(tmp_path, f"avatar:7:{FACE}", "x.png", b"face")
    update_views(tmp_path)
    for each in (page, page.with_name("2024-02.html")):
        assert sources(each) == [f"../media/avatar-7-{FACE}.png"]


def test_the_keys_are_those_that_captures_use() -> None:
    value = illustrated(FIRST)
    value["attachments"] = [attachment(44, "a.png")]
    value["message_snapshots"] = [{"message": {"attachments": [attachment(45, "b.png")]}}]
    kept = {item.key for item in items_of(value, "https://cdn")}
    answered = {"avatar:8:c3d4", "emoji:223456789012345678"}
    assert set(filter(None, keys_of(value))) == kept | answered


def test_replies_notices_and_mentions_lead_to_where_they_mean(tmp_path: Path) -> None:
    """Also from a thread to its channel; what is gone is said to be gone."""
    run = RunMaker(tmp_path, at("2024-03-10"))
    started = {"channel_id": str(THREAD), "type": 0}
    asked = message(FIRST, "see <#300> and <@&55>")
    first = message(THREAD + 1, "", type=21, channel_id=str(THREAD), referenced_message=asked)
    run.page(
        [
            asked,
            message(FIRST + 1, "talk", type=18, message_reference=started),
            message(FIRST + 2, "to nobody", type=19, referenced_message=None, message_reference={"type": 0}),
        ],
        after=0,
    )
    run.page([first], channel=THREAD, after=0)
    run.http(f"{GUILD}/guild.jsonl", f"/guilds/{GUILD}/roles", [{"id": "55", "name": "<b>Choir"}])
    run.write(types={THREAD: (11, CHANNEL)}, names={THREAD: "talk"})
    update_views(tmp_path)
    channel = tmp_path / "views" / f"The server ({GUILD})" / f"general ({CHANNEL})"
    text = (channel / "html" / "2024-01.html").read_text()
    assert '#<bdi>talk</bdi></span> and <span class="mention">@<bdi>&lt;b&gt;Choir</bdi>' in text
    assert f'<a href="../threads/talk%20%28{THREAD}%29/html/index.html">started a thread: talk</a>' in text
    assert "a message that is gone" in text
    (page,) = (channel / "threads" / f"talk ({THREAD})" / "html").glob("2015*")
    assert f'href="../../../html/2024-01.html#m{FIRST}"' in page.read_text()


def test_from_a_servers_page_every_page_is_reached_and_back(tmp_path: Path) -> None:
    """Whoever opens an archive has one file to open; nobody types numbers."""
    run = RunMaker(tmp_path, at("2024-03-10"))
    run.page([message(FIRST, "one")], after=0)
    run.page([message(FIRST + 1, "two"), message(FIRST + 2, "three")], channel=THREAD, after=0)
    run.page([message(FIRST, "in private")], channel=400, guild=0, after=0)
    run.page([message(FIRST, "lone")], channel=500, after=0)
    kinds = {THREAD: (11, CHANNEL), 500: (11, 999)}
    run.write(types=kinds, names={THREAD: "a/b #?%", 500: "without a channel"}, guild_name="<b>")
    update_views(tmp_path)
    views = tmp_path / "views"
    pages = {path.resolve() for path in views.rglob("*.html")}
    assert len(pages) == 2 + 4 * 2
    for start in (views / f"<b> ({GUILD})" / "index.html", views / "Direct messages" / "index.html"):
        assert_harmless(start.read_text().replace("<style>", "<span>"))
        found = reached(start.resolve())
        assert found <= pages
        assert {start.resolve()} <= found
        for page in found - {start.resolve()}:
            assert start.resolve() in reached(page), page
        pages -= found
    assert not pages
    assert '<td class="number">3</td><td class="date">2024-01-05' in (
        (views / f"<b> ({GUILD})" / "index.html").read_text()
    )


def reached(page: Path) -> set[Path]:
    found, waiting = set[Path](), [page]
    while waiting:
        here = waiting.pop()
        if here in found:
            continue
        found.add(here)
        links = [unquote((each.get("href") or "").partition("#")[0]) for _, each in tags(here.read_text())]
        waiting += [(here.parent / link).resolve() for link in links if link.endswith(".html")]
    return found


def test_buttons_and_texts_in_components_are_shown_and_found(tmp_path: Path) -> None:
    """Some bots' messages consist of nothing else."""
    inner = [
        {"type": 10, "content": "**boxed** <i>"},
        {"type": 2, "label": "Go", "url": "https://example.org/"},
    ]
    page = page_of(tmp_path, message(FIRST, "", components=[{"type": 17, "components": inner}]))
    assert "<strong>boxed</strong> &lt;i&gt;" in page.read_text()
    assert '<a href="https://example.org/"' in page.read_text()
    assert "| **boxed** <i>\n    | Go https://example.org/" in (page.parents[1] / "messages.txt").read_text()
    assert "boxed" in people.searched(message(FIRST, "", components=[{"type": 17, "components": inner}]))


def test_the_policy_stands_in_every_page(tmp_path: Path) -> None:
    page = page_of(tmp_path, message(FIRST))
    for each in page.parent.iterdir():
        assert "default-src 'none'" in each.read_text()
        assert_harmless(each.read_text().replace("<style>", "<span>"))


# --- in a browser ------------------------------------------------------------------------------------------


@contextmanager
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A port, and what was asked of it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    asked.append(connection.recv(1000))
                if asked[-1] == b"end":
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        port: int = server.getsockname()[1]
        try:
            yield port, asked
        finally:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"end")
            thread.join()


def dump(browser: str, page: Path, profile: Path, *options: str) -> str:
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        f"--user-data-dir={profile}",
    ]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync", *options]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=100, check=True)
    return done.stdout


def test_a_browser_runs_no_script_and_asks_nobody(chromium: str, tmp_path: Path) -> None:
    """An archive that is opened must tell nobody that it was, nor act for whoever wrote in it."""
    with listener() as (port, asked):
        texts = [text.replace("PORT", str(port)) for text in HOSTILE]
        shown = [
            message(
                FIRST + number,
                text,
                author=text,
                attachments=[{**attachment(number, text), "url": f"http://127.0.0.1:{port}/f"}],
                embeds=[
                    {
                        "title": text,
                        "url": f"http://127.0.0.1:{port}/g",
                        "image": {"url": f"http://127.0.0.1:{port}/h"},
                    }
                ],
                reactions=[{"emoji": {"id": None, "name": text}, "count": 1}],
                thread={"id": "1", "name": text},
            )
            for number, text in enumerate(texts)
        ]
        store_media(tmp_path, 0, "x.png", b"no picture")
        page = page_of(tmp_path, *shown)
        dom = dump(chromium, page, tmp_path / "profile", "--dump-dom")
        # The same page with the policy's work to do: a script that got in would not run either.
        open_page = page.with_name("hole.html")
        hole = f"<script>document.title='owned'</script><img src=http://127.0.0.1:{port}/hole>"
        open_page.write_text(page.read_text().replace("</main>", f"{hole}</main>"))
        second = dump(chromium, open_page, tmp_path / "profile", "--dump-dom")
    assert "<title>general 2024-01</title>" in dom
    assert dom.count("<article") == len(HOSTILE)
    assert "<title>general 2024-01</title>" in second
    assert asked == [b"end"]
