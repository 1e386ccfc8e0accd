"""The gallery in a real browser: it shows all clips, filters them, plays, and neither asks nor runs anything
of what strangers wrote."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from discordfs.clipping import gallery
from discordfs.clipping.catalogue import Catalogue, Found
from discordfs.clipping.model import Facts, Look, Place, Poster
from tests.clips.shown import ADA, BOB, film, found, made_up, post, take
from tests.mounting import MountedDrive

HOSTILE = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\"><svg onload=document.title='owned'>",
    "<iframe src=http://127.0.0.1:PORT/c></iframe><link rel=stylesheet href=http://127.0.0.1:PORT/d>",
    "</title></style><meta http-equiv=refresh content='0;url=http://127.0.0.1:PORT/e'>",
    "');document.title='owned';//",
    "javascript:document.title='owned'",
    "http://127.0.0.1:PORT/f.png",
    "\u2028\u2029\u202e</script>\\u0022",
    "${document.title='owned'} {{7*7}}",
]
MEMES = Place(502, "memes", 100, "The server")


def write(folder: Path, clips: Sequence[Found], icons: frozenset[int] = frozenset()) -> Path:
    """The gallery of these clips, as the mount shows it; the page."""
    (folder / "gallery").mkdir(parents=True)
    known = Catalogue(folder / "catalogue.sqlite")
    try:
        known.merge(clips)
        gallery.write_data(folder / "gallery", known, icons)
    finally:
        known.close()
    for name in gallery.PAGES:
        (folder / name).write_bytes(gallery.page(name))
    return folder / "index.html"


class _Elements(HTMLParser):
    """What a page has, by class: attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[dict[str, Any]] = []
        self.found: list[dict[str, Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, "text": "", **{name: value or "" for name, value in attrs}}
        self.found.append(element)
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data


class Dom:
    """A page after its scripts have run."""

    def __init__(self, text: str) -> None:
        self.text = text
        parser = _Elements()
        parser.feed(text)
        self._found = parser.found

    def all(self, kind: str = "", tag: str = "") -> list[dict[str, Any]]:
        return [
            each
            for each in self._found
            if (not kind or kind in each.get("class", "").split()) and (not tag or each["tag"] == tag)
        ]

    def by_id(self, name: str) -> dict[str, Any]:
        (element,) = (each for each in self._found if each.get("id") == name)
        return element

    @property
    def shown(self) -> int:
        root = self.all(tag="html")[0]
        assert root.get("data-state") == "ready", self.text[:3000]
        return int(root["data-shown"])

    @property
    def titles(self) -> list[str]:
        return [each["text"] for each in self.all("called")]


class Browser:
    """A headless browser with a profile of its own."""

    def __init__(self, command: str, profile: Path) -> None:
        self._command = [
            *(command, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--autoplay-policy=no-user-gesture-required", f"--user-data-dir={profile}"),
        ]

    def dom(self, page: Path, state: str = "", seconds: float = 10.0, size: str = "1400,1000") -> Dom:
        options = ["--dump-dom", f"--virtual-time-budget={int(seconds * 1000)}", f"--window-size={size}"]
        return Dom(self._run(*options, f"{page.as_uri()}{state and '#'}{state}"))

    def screenshot(self, page: Path, path: Path, size: str) -> bytes:
        options = [f"--screenshot={path}", "--virtual-time-budget=5000", f"--window-size={size}"]
        self._run(*options, page.as_uri())
        return path.read_bytes()

    def _run(self, *options: str) -> str:
        done = subprocess.run(
            [*self._command, *options], capture_output=True, text=True, timeout=200, check=True
        )
        return done.stdout


@pytest.fixture
def browser(chromium: str, tmp_path: Path) -> Browser:
    return Browser(chromium, tmp_path / "profile")


@contextmanager
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A port, and what was asked of it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while b"end" not in asked:
                connection, _ = server.accept()
                with connection:
                    asked.append(connection.recv(1000))

        thread = threading.Thread(target=accept)
        thread.start()
        port: int = server.getsockname()[1]
        try:
            yield port, asked
        finally:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"end")
            thread.join()


# --- what it says -------------------------------------------------------------------------------------


def arguments(path: Path) -> Any:
    """Of the one call that a data file is."""
    text = path.read_text(encoding="ascii")
    match = re.fullmatch(r"(\w+)\((.*)\);\n", text, re.DOTALL)
    assert match
    return match[1], json.loads(f"[{match[2]}]")


def test_the_data_have_every_clip_once(tmp_path: Path) -> None:
    """A clip that is missing there is missing for whoever only opens the page."""
    clips = [made_up(number, poster=BOB if number % 3 else ADA) for number in range(2 * gallery.CHUNK + 7)]
    write(tmp_path, clips)
    (name, [told]) = arguments(tmp_path / "gallery" / "data.js")
    assert (name, told["count"], told["chunks"]) == ("gallery", len(clips), 3)
    ids: list[str] = []
    for chunk in range(told["chunks"]):
        name, (number, rows) = arguments(tmp_path / "gallery" / f"data-{chunk}.js")
        assert (name, number) == ("clips", chunk)
        ids += [row[0] for row in rows]
    assert ids == [str(each.clip.id) for each in clips], "the oldest first"


def test_the_page_names_nobody_elses_address() -> None:
    """It works from the tree alone, and tells nobody that it was opened."""
    text = b"".join(map(gallery.page, gallery.PAGES)).decode()
    assert not re.search(r"(https?:)?//[a-z]+\.", text)
    assert "innerHTML" not in text
    assert "eval" not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy
    sources = {source for rule in policy[1].split(";") for source in rule.split()[1:]}
    assert sources == {"'none'", "'self'", "file:"}


# --- in the browser -----------------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Sixty clips of two people in two channels and three months."""
    clips = []
    for number in range(60):
        moment = 1_704_100_000 + (number % 3) * 31 * 86_400 + number
        more: dict[str, Any] = {
            "posted_ns": moment * 10**9,
            "facts": Facts(number + 1.0, 320, 180, "h264", True),
        }
        text = "the best one" if number == 30 else f"number {number}"
        clips.append(
            made_up(
                number,
                poster=BOB if number % 2 else ADA,
                place=MEMES if number % 5 == 0 else None,
                description=text,
                look=Look.DONE,
                **more,
            )
        )
    return write(tmp_path / "tree", clips)


def test_all_clips_are_shown_by_month(browser: Browser, page: Path) -> None:
    dom = browser.dom(page)
    assert dom.shown == 60
    assert dom.by_id("count")["text"].startswith("60 clips")
    assert "March 2024" in dom.all("month")[0]["text"]
    newest = dom.all("card")[0]
    assert newest["href"].startswith("The%20server/")
    assert newest["aria-label"].startswith("clip-59, by bob")
    assert dom.all("picture")
    assert {each["loading"] for each in dom.all(tag="img")} <= {"lazy"}


@pytest.mark.parametrize(
    ("state", "count"),
    [
        ("poster=ada", 30),
        ("channel=The%20server%2Fmemes", 12),
        ("month=2024-02", 20),
        ("q=best", 1),
        ("q=BOB+clip-1", 6),
        ("poster=bob&channel=The+server/memes&month=2024-03", 2),
        ("q=nothing+like+that", 0),
        ("poster=nobody", 60),
    ],
)
def test_filters_leave_what_they_say(browser: Browser, page: Path, state: str, count: int) -> None:
    dom = browser.dom(page, state)
    assert dom.shown == count
    assert len(dom.all("card")) == count or count > 20
    assert bool(dom.all("empty")) == (count == 0)
    assert ("hidden" in dom.by_id("clear")) == (count == 60), "whatever filters can be cleared"


@pytest.mark.parametrize(
    ("order", "first"),
    [("", "clip-59"), ("oldest", "clip-0"), ("longest", "clip-59"), ("largest", "clip-59")],
)
def test_order(browser: Browser, page: Path, order: str, first: str) -> None:
    assert browser.dom(page, f"sort={order}").titles[0] == first


def test_it_plays_in_place(browser: Browser, tmp_path: Path) -> None:
    """From the address that somebody sent, too."""
    one = made_up(1, facts=Facts(2.0, 320, 180), look=Look.DONE, description="look")
    page = write(tmp_path, [one, made_up(2)])
    dom = browser.dom(page, f"play={one.clip.id}")
    assert "open" in dom.by_id("stage")
    video = dom.by_id("video")
    assert video["src"].endswith("clip-1.mp4")
    assert dom.by_id("stage-name")["text"] == "clip-1"
    assert dom.by_id("stage-text")["text"] == "look"
    assert "hidden" not in dom.by_id("trouble"), "there is no such file here, and that is said"


def test_names_are_text_and_nothing_else(browser: Browser, tmp_path: Path) -> None:
    """Whoever posts a clip chooses its name, its text, and what they are called."""
    with listener() as (port, asked):
        texts = [text.replace("PORT", str(port)) for text in HOSTILE]
        clips = [
            made_up(
                number,
                poster=Poster(900 + number, text, text),
                place=Place(600 + number, text, 200 + number, text),
                filename=f"{text}.mp4",
                description=text,
                look=Look.DONE,
            )
            for number, text in enumerate(texts)
        ]
        page = write(tmp_path, clips, frozenset(range(900, 920)))
        for state in (
            "",
            f"play={clips[0].clip.id}",
            f"q={quote(texts[1])}",
            f"poster={quote(texts[0])}&play=<b>",
        ):
            dom = browser.dom(page, state)
            assert "<title>Clips</title>" in dom.text
            assert not {each["tag"] for each in dom.all()} & {"iframe", "svg", "object", "embed"}
            assert all(name[:2] != "on" for each in dom.all() for name in each)
            assert all(":" not in each.get("href", "") for each in dom.all(tag="a"))
        shown = browser.dom(page)
        assert shown.shown == len(HOSTILE)
        assert {each["text"] for each in shown.all("said")} == set(texts)
        # With a script that got in, the policy's work to do.
        hole = f"<script>document.title='owned'</script><img src=http://127.0.0.1:{port}/hole>"
        other = page.with_name("hole.html")
        other.write_text(page.read_text().replace("</main>", f"</main>{hole}"))
        assert "<title>Clips</title>" in browser.dom(other).text
    assert asked == [b"end"]


def test_a_narrow_window_and_a_dark_one(browser: Browser, page: Path, tmp_path: Path) -> None:
    """Cards stay within the window: nothing is scrolled sideways on a phone."""
    dom = browser.dom(page, size="500,900")
    widths = [int(re.search(r"width: (\d+)px", each["style"])[1]) for each in dom.all("card")]  # type: ignore[index]
    assert widths
    assert max(widths) * 2 + 16 <= 500
    assert len(browser.screenshot(page, tmp_path / "narrow.png", "500,900")) > 10_000


def test_the_keyboard_reaches_everything(browser: Browser, page: Path) -> None:
    """One card is in the tab order, arrows go on from there (their work is tested by a script of its own)."""
    script = page.with_name("keys.js")
    script.write_text(
        "addEventListener('load', () => setTimeout(() => {"
        "const key = (k) => document.activeElement.dispatchEvent("
        "new KeyboardEvent('keydown', {key: k, bubbles: true, cancelable: true}));"
        "const at = () => document.activeElement.dataset.at || document.activeElement.id;"
        "const seen = [];"
        "for (const k of ['/', 'ArrowDown', 'ArrowRight', 'ArrowRight', 'ArrowLeft', 'ArrowDown', 'ArrowUp',"
        " 'End', 'Home', '/', 'Escape']) { key(k); seen.push(at()); }"
        "document.activeElement.click(); seen.push(String(document.getElementById('stage').open));"
        "key('PageDown'); seen.push(document.getElementById('stage-name').textContent);"
        "document.getElementById('close').click(); seen.push(String(document.getElementById('stage').open));"
        "document.body.dataset.seen = seen.join(' ');"
        "}, 1500));"
    )
    other = page.with_name("keys.html")
    other.write_text(page.read_text().replace("</body>", '<script src="keys.js"></script></body>'))
    dom = browser.dom(other)
    seen = dom.all(tag="body")[0]["data-seen"].split()
    columns = int(seen[5]) - int(seen[4])
    assert columns > 1
    assert seen[:4] == ["q", "0", "1", "2"]
    assert seen[4:11] == ["1", str(1 + columns), "1", "59", "0", "q", "0"]
    assert seen[11:] == ["true", "clip-56", "false"]
    assert sum(each.get("tabindex") == "0" for each in dom.all("card")) == 1


def test_a_tree_without_clips_says_so(browser: Browser, tmp_path: Path) -> None:
    dom = browser.dom(write(tmp_path, []))
    assert dom.shown == 0
    assert "There are no clips yet" in dom.all("empty")[0]["text"]


@pytest.mark.usefixtures("fuse_available")
def test_it_opens_from_the_mount_and_plays(browser: Browser, drive: MountedDrive) -> None:
    """What a user does: opens index.html, and presses play."""
    message = post(drive.emulator, "first.mp4", film(), text="from the mount")
    take(drive, found(message))
    id_ = message["attachments"][0]["id"]
    dom = browser.dom(drive.mountpoint / "clips" / "index.html", f"play={id_}")
    assert dom.shown == 1
    assert dom.all("said")[0]["text"] == "from the mount"
    assert "hidden" in dom.by_id("trouble"), "it plays"
    assert drive.stats()["cdn"]["bytes_out"] > 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_100_000_clips_stay_usable(browser: Browser, tmp_path: Path) -> None:
    """Only what is in sight exists, and a filter answers at once."""
    clips = [
        made_up(number, poster=BOB if number % 9 else ADA, description=f"text {number}")
        for number in range(100_000)
    ]
    began = time.perf_counter()
    page = write(tmp_path, clips)
    dom = browser.dom(page, seconds=60)
    assert dom.shown == 100_000
    assert 0 < len(dom.all("card")) < 100
    assert browser.dom(page, "poster=ada&q=text+99", seconds=60).shown == sum(
        "99" in str(number) for number in range(0, 100_000, 9)
    )
    assert time.perf_counter() - began < 240
