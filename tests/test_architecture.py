"""The layer rules of the house, read off its source. Each failure names the rule's reason.

Every rule is also shown a breach of itself, so that none of them passes by looking away.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "discordfs"

ORDER = (
    "errors",
    "model",
    "disk",
    "config",
    "tokens",
    "registry",
    "keys",
    "recoverycode",
    "codec",
    "soundness",
    "records",
    "remote",
    "diskcache",
    "cache",
    "flights",
    "chunks",
    "chunkstore",
    "fold",
    "logreading",
    "schema",
    "unsynced",
    "database",
    "extents",
    "ledger",
    "garbage",
    "logbook",
    "upkeep",
    "cut",
    "powercut",
    "index",
    "staging",
    "syncing",
    "log",
    "posting",
    "uploader",
    "replay",
    "follower",
    "lookout",
    "tenure",
    "recovery",
    "opening",
    "readahead",
    "node",
    "nodes",
    "contents",
    "paths",
    "xattrs",
    "relocation",
    "fs",
    "remotesync",
    "verification",
    "copying",
    "localtree",
    "stranded",
    "gc",
    "fsck",
    "salvage",
    "archived",
    "capture",
    "archive",
    "clipping",
    "clips",
    "tree",
    "statstruct",
    "orphans",
    "operations",
    "control",
    "emulator",
    "ending",
    "compose",
    "cli",
    "__main__",
)
"""The house from top to bottom: a module imports only from those above it. A package stands as one."""


@dataclass(frozen=True)
class Source:
    """A module of the house: its dotted name under discordfs ("" is the package itself), and its tree."""

    name: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    def imports(self) -> Iterator[tuple[str, int]]:
        """What it imports, absolute, wherever the import stands (under TYPE_CHECKING, in a function), and
        the line. `from a import b` gives a.b, which may be a module or a name in one."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node)
                yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        above = f"discordfs.{self.name}".split(".")[: -node.level]
        return ".".join([*above, *filter(None, [node.module])])

    def rooms_used(self) -> Iterator[tuple[str, int]]:
        """The rooms of our own house that it imports from."""
        for name, line in self.imports():
            parts = name.split(".")
            if parts[0] == "discordfs" and len(parts) > 1 and parts[1] != "__version__":
                yield parts[1], line


def source(name: str, text: str) -> Source:
    return Source(name, ast.parse(text))


@cache
def house() -> list[Source]:
    """All modules, read once: the rules change none of them."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        # A package's __init__ keeps its name, so that relative imports in it count from the right place.
        found.append(source(".".join(parts), path.read_text(encoding="utf-8")))
    return found


Rule = Callable[[Source], Iterator[str]]


# --- rule 1: who imports whom -------------------------------------------------------


def imports_point_upwards(module: Source) -> Iterator[str]:
    if module.room == "__init__":
        return
    if module.room not in ORDER:
        yield f"{module.name} has no place in ORDER: say where in the house it stands"
        return
    for room, line in module.rooms_used():
        if room not in ORDER or ORDER.index(room) > ORDER.index(module.room):
            yield (
                f"{module.name}:{line} imports {room} from below: what lies above must be usable, testable "
                "and replaceable without what is built on it"
            )


IMPORTERS = {
    "fuse": ("operations",),
    "discord": ("remote.client",),
    "aiohttp": ("remote", "web", "emulator"),
}


def libraries_have_their_importers(module: Source) -> Iterator[str]:
    for name, line in module.imports():
        library = name.partition(".")[0]
        allowed = IMPORTERS.get(library)
        if allowed is not None and not any(
            module.name == each or module.name.startswith(each + ".") for each in allowed
        ):
            yield (
                f"{module.name}:{line} imports {library}, which is for {', '.join(allowed)} alone: "
                "so a change of library stays in one room"
            )


# --- rule 2: errno ------------------------------------------------------------------


def errno_only_in_operations(module: Source) -> Iterator[str]:
    if module.name == "operations" or module.room == "emulator":
        return
    for name, line in module.imports():
        if name.partition(".")[0] == "errno":
            yield (
                f"{module.name}:{line} imports errno: errors are types, and the one table that turns them "
                "into numbers stands in operations.py"
            )


# --- rule 3: async ------------------------------------------------------------------


def async_only_at_the_edge(module: Source) -> Iterator[str]:
    if module.room in ("remote", "web", "emulator"):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await):
            yield (
                f"{module.name}:{node.lineno} is async: outside remote/, web/ and emulator/ there are plain "
                "threads, which come in through Loop.call"
            )


# --- rule 4: locks ------------------------------------------------------------------


def locks_are_taken_by_with(module: Source) -> Iterator[str]:
    for node in _calls(module):
        # A ticket of a semaphore taken without waiting is no lock: another thread gives it back.
        is_ticket = any(word.arg == "blocking" and not ast.literal_eval(word.value) for word in node.keywords)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "acquire" and not is_ticket:
            yield (
                f"{module.name}:{node.lineno} calls acquire(): a lock is taken by with, so that whoever "
                "takes it releases it on every way out"
            )


# --- rule 5: clock, randomness, sleep -----------------------------------------------

FREE_HANDED = ("compose", "cli", "emulator", "__main__")
CHANCE = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"},
    "os": {"urandom", "getrandom"},
    "asyncio": {"sleep"},
    "datetime": {"now", "utcnow", "today"},
    "uuid": {"uuid1", "uuid4"},
}
WHOLLY = {"secrets", "random"}
MAKERS = {"Random"}
"""random.Random() makes a source for a constructor argument that was left out; that is no draw."""


def chance_is_an_argument(module: Source) -> Iterator[str]:
    if module.room in FREE_HANDED:
        return
    for node in _calls(module):
        owner, name = _dotted(node.func)
        drawn = (owner in WHOLLY and name not in MAKERS) or name in CHANCE.get(owner, ())
        if drawn:
            yield (
                f"{module.name}:{node.lineno} calls {owner}.{name}(): clock, randomness and sleep are "
                "constructor arguments, so that tests decide them and never wait"
            )


# --- the emulator is a judge --------------------------------------------------------


def the_emulator_is_a_stranger(module: Source) -> Iterator[str]:
    if module.room != "emulator":
        return
    for room, line in module.rooms_used():
        if room != "emulator":
            yield (
                f"{module.name}:{line} imports {room}: the emulator shares nothing with what it judges, "
                "or both would be wrong in the same way"
            )


def one_room_imports_the_emulator(module: Source) -> Iterator[str]:
    if module.room in ("emulator", "cli"):
        return
    for room, line in module.rooms_used():
        if room == "emulator":
            yield f"{module.name}:{line} imports the emulator: a drive on Discord has nothing to do with it"


def _calls(module: Source) -> Iterator[ast.Call]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))


def _dotted(node: ast.expr) -> tuple[str, str]:
    """("time", "sleep") for time.sleep and for datetime.datetime's last two parts."""
    if isinstance(node, ast.Attribute):
        owner = node.value
        if isinstance(owner, ast.Name):
            return owner.id, node.attr
        if isinstance(owner, ast.Attribute):
            return owner.attr, node.attr
    return "", ""


BREACHES: dict[Rule, tuple[Source, ...]] = {
    imports_point_upwards: (
        source("index", "from discordfs.fs import Drive"),
        source("index", "from discordfs import fs"),
        source("index", "import discordfs.fs"),
        source("codec", "if TYPE_CHECKING:\n    from discordfs.cache import BlockCache"),
        source("keys", "def late():\n    from discordfs.operations import Face"),
        source("chunks.layout", "from ..fs import Drive"),
        source("attic", "import os"),
    ),
    libraries_have_their_importers: (
        source("cli.mount", "import fuse"),
        source("remote.http", "import discord"),
        source("remote.setup", "from discord.http import Route"),
        source("chunkstore", "import aiohttp"),
    ),
    errno_only_in_operations: (
        source("fs", "import errno"),
        source("staging", "from errno import ENOSPC"),
    ),
    async_only_at_the_edge: (
        source("fs", "async def read(): ..."),
        source("control", "def f():\n    async def g():\n        await h()"),
    ),
    locks_are_taken_by_with: (source("fs", "lock.acquire()"), source("fs", "self._tree.acquire(timeout=1)")),
    chance_is_an_argument: (
        source("fs", "now = time.time_ns()"),
        source("uploader", "time.sleep(1)"),
        source("keys", "key = os.urandom(32)"),
        source("remote.retrying", "pause = random.uniform(0, 1)"),
        source("index", "now = datetime.datetime.now()"),
    ),
    the_emulator_is_a_stranger: (
        source("emulator.world", "from discordfs.errors import NoEntry"),
        source("emulator.world", "from ..errors import NoEntry"),
    ),
    one_room_imports_the_emulator: (source("compose", "from discordfs.emulator import run"),),
}

RULES = tuple(BREACHES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule: Rule) -> None:
    breaches = [breach for module in house() for breach in rule(module)]
    assert not breaches, "\n".join(breaches)


@pytest.mark.parametrize(
    ("rule", "breach"), [(rule, breach) for rule, breaches in BREACHES.items() for breach in breaches]
)
def test_each_rule_catches_a_breach(rule: Rule, breach: Source) -> None:
    assert list(rule(breach)), f"{rule.__name__} lets {ast.unparse(breach.tree)!r} through"


def test_the_order_names_nothing_that_is_not_there() -> None:
    there = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    assert not set(ORDER) - there, "ORDER lists rooms that do not exist"


def test_no_module_imports_itself_in_a_circle() -> None:
    """Within a package too, where the order says nothing."""
    modules = {module.name.removesuffix(".__init__"): module for module in house()}
    above: dict[str, set[str]] = {name: set() for name in modules}
    for name, module in modules.items():
        for imported, _line in module.imports():
            inner = imported.removeprefix("discordfs.") if imported.startswith("discordfs.") else ""
            found = inner if inner in modules else inner.rpartition(".")[0]
            if found in modules and found != name:
                above[name].add(found)
    assert not _circle(above), f"a circle of imports: {' -> '.join(_circle(above))}"


def test_a_circle_is_found() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert not _circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def _circle(above: dict[str, set[str]]) -> list[str]:
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(above[name]):
            if circle := visit(other, [*way, name]):
                return circle
        done.add(name)
        return []

    for name in above:
        if circle := visit(name, []):
            return circle
    return []
