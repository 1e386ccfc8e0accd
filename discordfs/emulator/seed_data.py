"""What a seeded server has: tables, of which `seed` makes people, channels and messages.

A table grows at its end. Times are days before now. In contents, `{user:NAME}`, `{role:NAME}`,
`{channel:NAME}`, `{emoji:NAME}`, `{invite:NAME}` and `{cdn}` stand for what they name, and `{person:NAME}`
for a user as JSON. Threading: constants.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .model import ANNOUNCEMENT, CATEGORY, FORUM, MEDIA, PRIVATE_THREAD, PUBLIC_THREAD, STAGE, TEXT, VOICE

RIGHT_TO_LEFT = "\u202e"
SCRIPT = "<script>alert(1)</script>"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account. `member` False: has left since."""

    name: str
    display: str | None = None
    nick: str | None = None
    avatar: str | None = None
    roles: tuple[str, ...] = ()
    member: bool = True
    boosts: bool = False
    bot: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A channel. `shut` are the permissions that the bot does not have in it, `key` its name in these tables
    where the channel's own would not do.
    """

    name: str
    kind: int = TEXT
    parent: str | None = None
    topic: str | None = None
    nsfw: bool = False
    tags: tuple[str, ...] = ()
    shut: tuple[str, ...] = ()
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Talk:
    """A thread, by its key: of a channel, of a message (`of`), or in a forum, with its first message."""

    key: str
    parent: str
    owner: str
    days_ago: float
    name: str
    kind: int = PUBLIC_THREAD
    of: str | None = None
    first: str | None = None
    tags: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    archived: bool = False
    locked: bool = False


@dataclass(frozen=True, slots=True)
class Post:
    """A message to be made: by whom, so many days ago, with files by name; `more` is the rest of its body.

    `key` names it for others; `edited` is what it says in the end; `reactions` are emojis with who reacts
    (`*`: the whole crowd), those with a `!` in front as bursts. What follows a `#` in a file's name tells it
    from others of that name.
    """

    channel: str
    author: str
    days_ago: float
    content: str = ""
    files: tuple[str, ...] = ()
    key: str = ""
    reply_to: str = ""
    forward_of: str = ""
    more: dict[str, Any] = field(default_factory=dict)
    stickers: tuple[str, ...] = ()
    reactions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    votes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    edited: str | None = None
    pinned: bool = False
    deleted: bool = False
    ended: bool = False  # the poll


@dataclass(frozen=True, slots=True)
class Notice:
    """A message of Discord's own, of this type."""

    channel: str
    author: str
    days_ago: float
    kind: int
    content: str = ""
    more: dict[str, Any] = field(default_factory=dict)


CROWD = 120  # people who do nothing but react and vote
ROLES = {"Choir": 0x3498DB, f"{RIGHT_TO_LEFT}nimda": 0xE74C3C, SCRIPT: 0, "..": 0}
EMOJIS = {"party": True, "shrug": False}  # name to whether it moves
STICKERS = {"wave": 1, "dance": 2, "spin": 3, "jump": 4}  # name to format
PEOPLE = (
    Person("anna", "Anna", avatar="5f4dcc3b5aa765d61d8327deb882cf99", roles=("Choir",), boosts=True),
    Person("bruno", "Bruno", nick="Bruno the Bold", avatar="a_7c6a180b36896a0a8c02787eeafb0e4c"),
    Person("carla", "Carla", avatar="6cb75f652a9b52798eb6cf2201057c73", member=False),
    Person("mallory", SCRIPT, nick=f"{RIGHT_TO_LEFT}gnp.exe", roles=(SCRIPT, "..")),
    Person("dots", "..", nick="CON"),
    Person("helper", bot=True),
)
PLACES = (
    Place("Talk", CATEGORY),
    Place("lounge", parent="Talk", topic="Anything goes.\nNo, really: anything.\n\x1b[31mRed?\x1b[0m"),
    Place("clips", parent="Talk"),
    Place("Work", CATEGORY),
    Place("notes", parent="Work", topic='<b>bold</b> & "quoted"'),
    Place("news", ANNOUNCEMENT),
    Place("Voice Talk", VOICE, parent="Talk"),
    Place("Stage", STAGE),
    Place("help", FORUM, topic="Ask here.", tags=("open", "solved")),
    Place("gallery", MEDIA, tags=("photo",)),
    Place("..", CATEGORY, key="dots-category"),
    Place("..", parent="dots-category", key="dots"),
    Place("con", parent="dots-category"),
    Place("twins", key="twins-1"),
    Place("twins", key="twins-2"),
    Place("🎉" * 100, key="long"),
    Place(f"{RIGHT_TO_LEFT}gpj.txt", key="rtl"),
    Place("<img-src=x-onerror=alert(1)>", key="html", nsfw=True),
    Place("empty"),
    Place("closed", shut=("view",)),
    Place("no-history", shut=("read_history",)),
)
TALKS = (
    Talk("opinions", "lounge", "bruno", 19.5, "Opinions on the harbour", of="harbour"),
    Talk("plans", "lounge", "anna", 15, "Plans", archived=True),
    Talk("old-plans", "lounge", "anna", 16, "Plans", archived=True, locked=True),
    Talk("secret", "lounge", "anna", 14, "Between us", PRIVATE_THREAD, members=("bruno",)),
    Talk("old-secret", "lounge", "bruno", 13, "Between us", PRIVATE_THREAD, archived=True),
    Talk("told", "notes", "anna", 12.5, f"../{SCRIPT}{RIGHT_TO_LEFT}", archived=True),
    Talk("scoop", "news", "anna", 9.5, "About the release", of="release"),
    Talk("question", "help", "bruno", 8, "It does not start", first="It says nothing.", tags=("open",)),
    Talk("answered", "help", "anna", 7.5, "Solved", first="How?", tags=("solved",), archived=True),
    Talk("photo", "gallery", "anna", 7, "Sunset", first="Look", files=("sunset.png",), tags=("photo",)),
    Talk("old-photo", "gallery", "bruno", 6.5, "CON", first="Old", files=("old.png",), archived=True),
    Talk("takes", "clips", "anna", 10.88, "Other takes", of="evening"),
    Talk("film", "gallery", "anna", 7.1, "Sunset, moving", first="It sinks", files=("sunset.mp4",)),
    Talk("behind-closed-doors", "closed", "anna", 6, "Behind closed doors"),
    *(Talk(f"many-{n}", "notes", "bruno", 5 + n / 100, f"Archived {n}", archived=True) for n in range(60)),
)
_PICTURE = {"url": "{cdn}/world/cat.png", "width": 256, "height": 256}
_BUTTON = {"type": 2, "style": 5, "label": "Site", "url": "https://example.org/"}
_POLL = {
    "question": {"text": f"Which one? {SCRIPT}"},
    "answers": [{"poll_media": {"text": text, "emoji": {"name": "👍"}}} for text in ("this", "that")],
    "duration": 768,
    "allow_multiselect": True,
}
POSTS = (
    Post("general", "anna", 40, "Hello, is this thing on?", key="hello", reactions=(("👍", ("*",)),)),
    Post("general", "bruno", 39.9, "It is. Files go to clips, everything else stays here.", reply_to="hello"),
    Post("lounge", "anna", 20, "A picture from the trip.", ("harbour.png",), key="harbour", pinned=True),
    Post("lounge", "bruno", 19, "Nice! Was it that cold?", edited="Nice! Was it *that* cold?"),
    Post("clips", "bruno", 12, "First try", ("first-try.mp4",)),
    Post("clips", "anna", 11, "Two takes, pick one", ("take-1.MP4", "take-2.webm")),
    Post("clips", "bruno", 3, "Not a clip at all", ("sources.mp4.zip",)),
    Post("notes", "anna", 2, "Shopping list", ("list.txt",)),
    Post("notes", "bruno", 1, "Done: everything but the coffee."),
    Post(
        "lounge",
        "anna",
        18.9,
        "React!",
        key="react",
        reactions=(
            ("❤️", ("bruno", "anna")),
            ("!❤️", ("anna", "mallory")),
            ("party", ("bruno",)),
            ("!🔥", ("*",)),
        ),
    ),
    Post("lounge", "carla", 18.8, "Bye, I am leaving.", reactions=(("😢", ("carla", "anna")),)),
    Post("lounge", "anna", 18.7, "This will be gone.", ("gone.txt",), deleted=True),
    Post("lounge", "bruno", 18.6, "To something that is gone", key="gone-target", deleted=True),
    Post("lounge", "anna", 18.55, "What did you say?", reply_to="gone-target"),
    Post("lounge", "mallory", 18.5, f"{SCRIPT}<img src=x onerror=alert(1)><!-- ]]> -->", key="html"),
    Post("lounge", "mallory", 18.4, "\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m\rover\b\b\x9b2J"),
    Post(
        "lounge", "mallory", 18.3, f"photo_{RIGHT_TO_LEFT}gnp.exe \u2066\u200b\u2069 [x](javascript:alert(1))"
    ),
    Post("lounge", "mallory", 18.2, "```html\n</code></pre><script>alert(1)</script>\n```\n||spoiler|| `\\`"),
    Post("lounge", "anna", 18.1, "x" * 2000),
    Post(
        "lounge", "anna", 18.0, "<@{user:bruno}> <@&{role:Choir}> <#{channel:notes}> @everyone {emoji:party}"
    ),
    Post("lounge", "anna", 17.9, "Come over: https://discord.gg/{invite:home} or discord.gg/{invite:away}"),
    Post("lounge", "bruno", 17.8, "Old one: https://discord.com/invite/unknowncode <t:1700000000:R>"),
    Post("lounge", "anna", 17.7, "Stickers", stickers=("wave", "spin", "jump")),
    Post("lounge", "bruno", 17.6, stickers=("dance",)),
    Post(
        "lounge",
        "helper",
        17.5,
        "",
        more={
            "embeds": [
                {"title": f"Cat {SCRIPT}", "image": _PICTURE, "fields": [{"name": "n", "value": "\x1b[1mv"}]},
                {"description": "Gone", "thumbnail": {"url": "{cdn}/world/gone.png"}},
            ],
            "components": [{"type": 1, "components": [_BUTTON]}],
        },
    ),
    Post(
        "lounge",
        "anna",
        17.4,
        key="poll",
        more={"poll": _POLL},
        votes=(("bruno", (1, 2)), ("mallory", (2,)), ("*", (1,))),
    ),
    Post("lounge", "bruno", 17.3, more={"poll": _POLL}, votes=(("anna", (1,)),), ended=True),
    Post("notes", "anna", 17.2, forward_of="harbour"),
    Post("notes", "bruno", 17.1, "Nothing in it", ("empty.txt", "empty.bin")),
    Post("notes", "bruno", 17.0, "Equal names", ("same.txt", "same.txt")),
    Post("notes", "mallory", 16.9, "Names", ("../../etc/passwd", "CON.txt", "<b>.png", "a b;c.txt", "ü.txt")),
    Post("notes", "anna", 16.8, "", ("only-a-file.bin",), edited="A file, and a word."),
    Post("news", "anna", 10, "Release 1", key="release", pinned=True),
    Post("general", "hook:Build <b>", 9, "The build is green.", more={"username": "CI"}),
    Post("news", "hook:Build <b>", 8.9, "Built", ("log.txt",), more={"username": ".."}),
    Post("Voice Talk", "bruno", 6, "Can you hear me?", reactions=(("👂", ("anna",)),)),
    Post("Stage", "anna", 5.9, "Welcome, all."),
    Post("dots", "dots", 5.8, "In a channel called .."),
    Post("con", "dots", 5.7, "In a channel called CON"),
    Post("twins-1", "anna", 5.6, "In the first of two", ("same.txt",)),
    Post("twins-2", "anna", 5.5, "In the second of two", ("same.txt",)),
    Post("long", "anna", 5.4, "In a channel with a name of 400 bytes"),
    Post("rtl", "anna", 5.3, "From right to left"),
    Post("html", "mallory", 5.2, "In a channel that is an image"),
    Post("closed", "anna", 5.1, "The bot never reads this."),
    Post("no-history", "anna", 5.0, "The bot is told that there is nothing."),
    Post("dm:anna", "anna", 4.5, "Just between us", ("private.txt",), reactions=(("👍", ("discordfs",)),)),
    Post("dm:anna", "discordfs", 4.4, "Nobody else sees it."),
    Post("opinions", "anna", 19.4, "I liked it.", reactions=(("party", ("bruno", "anna")),)),
    Post("opinions", "bruno", 19.3, "Too cold.", ("thermometer.txt",), pinned=True),
    Post("plans", "bruno", 14.9, "First we take it."),
    Post("old-plans", "bruno", 15.9, "Never mind."),
    Post("secret", "bruno", 13.9, "Not a word.", ("secret.txt",)),
    Post("old-secret", "bruno", 12.9, "It was a surprise party.", reactions=(("🎉", ("*",)),)),
    Post("told", "mallory", 12.4, "In a thread with a name like a path"),
    Post("scoop", "bruno", 9.4, "At last."),
    Post("question", "anna", 7.9, "Is it plugged in?"),
    Post("question", "bruno", 7.8, "Oh."),
    Post("answered", "bruno", 7.4, "Like this.", ("how.txt",)),
    Post("photo", "bruno", 6.9, "Wow", reactions=(("🔥", ("bruno",)),)),
    Post("behind-closed-doors", "anna", 5.95, "Nor this."),
    *(Post("general", "bruno", 30 - n / 20, f"Day by day, {n}") for n in range(230)),
    Post("clips", "anna", 10.9, "The whole evening.\nAlmost.", ("index-last.mp4",), key="evening"),
    Post("clips", "carla", 10.8, "Held upright", ("upright.mp4", "portrait.mp4")),
    Post("clips", "mallory", 10.7, f"{SCRIPT} of <@{{user:anna}}>", ("wide-pixels.mp4", "notes.txt")),
    Post("clips", "bruno", 10.6, "", ("screen.webm", "phone.mov", "screen.mkv")),
    Post("clips", "bruno", 10.5, "It begins in the dark", ("dark-start.mp4",)),
    Post("clips", "anna", 10.4, "Again", ("again.mp4",)),
    Post("clips", "anna", 10.3999, "And again", ("again.mp4#2",)),
    Post("clips", "carla", 10.3, "||How it ends||", ("SPOILER_ending.mp4",)),
    Post("clips", "bruno", 10.2, "No extension", ("recording",)),
    Post("clips", "anna", 10.1, "How it starts", ("ending.mp4",), edited="How it *ends*"),
    Post("clips", "anna", 10.05, "Better not.", ("gone.mp4",), deleted=True),
    Post("clips", "mallory", 9.9, "Broken", ("cut-off.mp4", "garbage.mp4", "empty.mp4", "cut-off.webm")),
    Post("clips", "hook:Build <b>", 9.8, "Nightly", ("long.mp4",)),
    Post("takes", "bruno", 10.85, "Mine", ("first-try.mp4#2",)),
    Post("dots", "dots", 5.75, "", ("take-1.MP4#2",)),
    Post("dm:anna", "anna", 4.3, "For you alone", ("private.mp4",)),
    Post("notes", "carla", 4.2, forward_of="evening"),
)
_COMMAND = {"id": "{user:anna}", "type": 2, "user": "{person:anna}", "authorizing_integration_owners": {}}
_WATCHED = {
    "type": "auto_moderation_message",
    "description": SCRIPT,
    "fields": [{"name": "rule_name", "value": "No scripts", "inline": False}],
}
_FOLLOWED = {  # what a webhook posts that follows another server's news
    "flags": 1 << 1,
    "webhook_id": "{user:helper}",
    "message_reference": {"type": 0, "channel_id": "1", "message_id": "2", "guild_id": "3"},
}
NOTICES = (
    Notice("general", "anna", 39.99, 7),
    Notice("general", "anna", 38, 8, "2"),
    Notice("general", "anna", 37.9, 9),
    Notice("news", "anna", 10.5, 12, "Elsewhere #news"),
    Notice("general", "bruno", 2.5, 22),
    Notice("Stage", "anna", 5.99, 27, "Welcome"),
    Notice("Stage", "anna", 5.85, 28, "Welcome"),
    Notice("lounge", "helper", 17.55, 20, "Rolled a 6", {"interaction_metadata": _COMMAND}),
    Notice("lounge", "mallory", 17.45, 24, more={"embeds": [_WATCHED]}),
    Notice("twins-1", "helper", 8.8, 0, "Release 1, from elsewhere", _FOLLOWED),
)
