"""Draws the life of an extent in docs/ARCHITECTURE.md from the table at the top of staging.py."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "ARCHITECTURE.md"
BEGIN, END = "<!-- life of an extent: made by `make docs` -->", "<!-- end of the life -->"


def transitions() -> list[tuple[str, str, str]]:
    """(state, becomes, when) of each row of the table."""
    tree = ast.parse((ROOT / "discordfs" / "staging.py").read_text(encoding="utf-8"))
    table = [line for line in (ast.get_docstring(tree) or "").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    return [(row[0], row[3], row[4]) for row in rows]


def diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> dirty: write"]
    lines += [
        f"    {state} --> {'[*]' if after == 'gone' else after}: {re.sub('[:;]', ',', when)}"
        for state, after, when in transitions()
    ]
    return "\n".join([BEGIN, *lines, "```", END])


def page() -> str:
    """The whole document with the diagram as the table has it."""
    text = PAGE.read_text(encoding="utf-8")
    begin, end = text.index(BEGIN), text.index(END) + len(END)
    return text[:begin] + diagram() + text[end:]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
