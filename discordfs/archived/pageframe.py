"""What all pages of an archive share: their head with its policy, their looks, the way from one to the next;
and the index of a channel's months and threads.

The policy forbids all scripts and everything from outside but pictures and sounds of the archive itself,
which are linked relatively. What strangers wrote goes through markup.escaped. Threading: pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from discordfs.archived import people
from discordfs.archived.catalogue import Month
from discordfs.archived.markup import escaped

INDEX = "index.html"
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file:; media-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)
_STYLE = """
:root{color-scheme:light dark;--back:#fff;--front:#1e1f22;--soft:#5c5e66;--line:#dcdee3;--box:#f2f3f5;
--mark:#3f51d9;--gone:#b3261e;--chip:#4752c4}
@media(prefers-color-scheme:dark){:root{--back:#1e1f22;--front:#e3e5e8;--soft:#a5a8b0;--line:#3a3c42;
--box:#2b2d31;--mark:#a8b1ff;--gone:#ff8a80}
}
*{box-sizing:border-box}
html{scroll-padding-top:2.5rem}
body{margin:0 auto;padding:1rem;max-width:52rem;background:var(--back);color:var(--front);
font:1rem/1.45 system-ui,sans-serif;overflow-wrap:anywhere}
a{color:var(--mark)}
a:focus,.spoiler:focus,summary:focus{outline:2px solid var(--mark);outline-offset:2px}
h1{font-size:1.4rem;margin:.5rem 0 0}
.under{margin:.1rem 0 .6rem}
h2{position:sticky;top:0;margin:.8rem 0 .3rem;padding:.3rem 0;font-size:.9rem;color:var(--soft);
background:var(--back);border-bottom:1px solid var(--line)}
nav{display:flex;gap:1.2rem;flex-wrap:wrap;margin:.5rem 0}
article{display:flex;gap:.75rem;padding:.45rem .5rem;border-radius:.4rem}
article>div{min-width:0;flex:1}
article:hover,article:target{background:var(--box)}
article:target{outline:2px solid var(--mark)}
article.deleted{border-left:3px solid var(--gone)}
.face{flex:none;width:2.5rem;height:2.5rem;border-radius:50%;object-fit:cover;margin:.1rem 0 0;display:grid;
place-items:center;color:#fff;font-weight:600;text-transform:uppercase;overflow:hidden}
.f0{background:#4752c4}
.f1{background:#1f7a4d}
.f2{background:#9a5b00}
.f3{background:#b3261e}
.f4{background:#8e3a8a}
.f5{background:#00707f}
header b{margin-right:.4rem;color:var(--front);font-size:1rem}
header,.soft,.reply{color:var(--soft);font-size:.85rem}
header a{color:inherit;text-decoration:none}
header a:hover{text-decoration:underline}
.bot{background:var(--chip);color:#fff;border-radius:.25rem;padding:0 .3rem;font-size:.7rem;
margin-right:.4rem}
.text{white-space:pre-wrap;unicode-bidi:isolate}
.gone{color:var(--gone)}
.reply{margin:0 0 .15rem;overflow:hidden;white-space:nowrap;text-overflow:ellipsis}
.reply .face{display:inline-block;width:1.1rem;height:1.1rem;vertical-align:text-bottom;margin:0;
font-size:.65rem;line-height:1.1rem;text-align:center}
.embed,.old{margin:.3rem 0;padding:.4rem .7rem;border-left:4px solid var(--line);border-radius:.25rem;
background:var(--box)}
article:hover :is(.embed,.old,pre),article:target :is(.embed,.old,pre){background:var(--back)}
.embed p,.embed ul{margin:.2rem 0}
pre{background:var(--box);padding:.5rem;margin:.2rem 0;border-radius:.25rem;white-space:pre-wrap}
code{background:var(--box);border-radius:.2rem;padding:0 .2rem}
.spoiler{background:var(--front);color:var(--front);border-radius:.2rem}
.spoiler *{visibility:hidden}
.spoiler:hover,.spoiler:focus{background:var(--line);color:inherit}
.spoiler:hover *,.spoiler:focus *{visibility:visible}
.mention{color:var(--mark)}
.button,.reactions span{display:inline-block;border:1px solid var(--line);border-radius:1rem;
padding:.05rem .55rem;margin:.2rem .3rem 0 0;font-size:.9rem}
.shown{max-width:min(100%,30rem);max-height:22rem;display:block;margin:.3rem 0;border-radius:.4rem}
audio{display:block;max-width:100%;margin:.3rem 0}
.sticker{max-width:10rem;max-height:10rem}
.emoji{height:1.35em;max-width:4em;vertical-align:-.3em}
details{margin:.2rem 0}
.skip{position:absolute;left:-99rem}
.skip:focus{left:1rem}
table{border-collapse:collapse}
td,th{padding:.25rem 1.4rem .25rem 0;text-align:left;border-bottom:1px solid var(--line)}
th,.number,.date{white-space:nowrap}.number{text-align:right}
"""


@dataclass(frozen=True, slots=True)
class Beside:
    """A channel, thread or server that a page links: its name ("" if it has none), its index as seen from
    there, how many messages it has, those of its threads included, and the newest one."""

    id: int
    name: str
    place: str
    messages: int = 0
    newest_id: int = 0


def page_head(channel: str, server: str, month: str, before: str, after: str) -> str:
    """Up to the first message; `before` and `after` are the months beside it, or empty."""
    return (
        f"{_head(f'{channel} {month}')}{_beside(before, after, keys=True)}"
        f"<h1><bdi>{escaped(channel)}</bdi>, {month}</h1>"
        f'<p class="soft under"><bdi>{escaped(server)}</bdi>; times are UTC</p><main id="messages">\n'
    )


def page_end(before: str, after: str) -> str:
    return f"</main>{_beside(before, after)}</body></html>\n"


def day_head(day: str) -> str:
    return f"<h2>{day}</h2>\n"


def _beside(before: str, after: str, keys: bool = False) -> str:
    links = (
        f'<a href="{before}.html" rel="prev"{_key("p", keys)}>← {before}</a>' if before else "",
        f'<a href="{INDEX}"{_key("i", keys)}>All months</a>',
        f'<a href="{after}.html" rel="next"{_key("n", keys)}>{after} →</a>' if after else "",
    )
    return f'<nav aria-label="Months">{"".join(links)}</nav>'


def _key(letter: str, keys: bool) -> str:
    return f' accesskey="{letter}"' if keys else ""


def _head(title: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escaped(title)}</title><style>{_STYLE}</style></head><body>"
        '<a class="skip" href="#messages">To the messages</a>'
    )


def server_page(server: str, channels: Sequence[Beside]) -> str:
    """All channels of a server, or all direct messages."""
    rows = "".join(map(_channel_row, channels))
    return (
        f'{_head(server)}<h1><bdi>{escaped(server)}</bdi></h1><main id="messages">'
        f"<table><thead>{_CHANNEL_HEAD}</thead><tbody>{rows}</tbody></table></main></body></html>\n"
    )


_CHANNEL_HEAD = '<tr><th>Channel</th><th class="number">Messages</th><th>Newest</th></tr>'


def _channel_row(channel: Beside) -> str:
    count = f'<td class="number">{channel.messages:,}</td>'
    return f"<tr><td>{_linked(channel)}</td>{count}{_date(channel.newest_id)}</tr>"


def _date(number: int) -> str:
    """When this id was made, as a cell."""
    return f'<td class="date">{f"{people.moment(number):%Y-%m-%d}" if number else ""}</td>'


def _linked(beside: Beside) -> str:
    name = escaped(beside.name or str(beside.id))
    return f'<a href="{escaped(beside.place)}"><bdi>{name}</bdi></a>'


def index_page(channel: str, above: Beside, months: Sequence[Month], threads: Sequence[Beside]) -> str:
    """A channel's months, newest first, and the threads below it. `above` is its server, or a thread's
    channel."""
    rows = "".join(
        f'<tr><td><a href="{each.month}.html">{each.month}</a></td>{_numbers(each)}</tr>'
        for each in reversed(months)
    )
    below = "".join(map(_thread_row, threads))
    return (
        f"{_head(channel)}<h1><bdi>{escaped(channel)}</bdi></h1>"
        f'<p class="soft under">{_linked(above)}</p><main id="messages">'
        f"<table><thead>{_MONTH_HEAD}</thead><tbody>{rows}</tbody></table>"
        f"{_THREADS.format(below) if below else ''}"
        '<p class="soft">The same as <a href="../messages.txt">plain text</a> and '
        '<a href="../messages.jsonl">as Discord sent it</a>.</p></main></body></html>\n'
    )


_MONTH_HEAD = (
    '<tr><th>Month</th><th class="number">Messages</th><th class="number">With earlier versions</th>'
    '<th class="number">Deleted</th></tr>'
)
_THREADS = (
    "<h2>Threads</h2><table><thead><tr><th>Name</th><th>Since</th></tr></thead><tbody>{}</tbody></table>"
)


def _numbers(month: Month) -> str:
    counts = (month.messages, month.edited, month.deleted)
    return "".join(f'<td class="number">{count:,}</td>' for count in counts)


def _thread_row(thread: Beside) -> str:
    return f"<tr><td>{_linked(thread)}</td>{_date(thread.id)}</tr>"


def relative(*parts: str) -> str:
    """A relative link through names that may hold anything."""
    return "/".join(part if part == ".." else quote(part, errors="surrogateescape") for part in parts)
