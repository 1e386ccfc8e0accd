"""Names that strangers chose become names on any disk, or no archive could be copied or trusted."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discordfs.archived.names import clean, file_named, named, number_of

HOSTILE = [
    "..",
    ".",
    "",
    "CON",
    "con.txt",
    "a/b",
    "x\n",
    "\u202egnp.exe",
    " a. ",
    "é" * 300,
    "\x00",
    "\ud800",
    "NUL",
    "COM1",
    "\u2028",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_harmless(name: str) -> None:
    for made in (named(name, 123), file_named(name, 123)):
        assert_harmless(made)
    assert number_of(named(name, 123)) == 123
    assert file_named(name, 123).startswith("123-")


@given(st.text(max_size=400))
def test_any_name_is_harmless(name: str) -> None:
    assert_harmless(named(name, 1 << 62))
    assert_harmless(file_named(name, 1 << 62))
    assert number_of(named(name, 1 << 62)) == 1 << 62


def assert_harmless(made: str) -> None:
    assert 0 < len(made.encode()) <= 255
    assert "/" not in made
    assert made not in (".", "..")
    assert made == made.strip()
    assert not made.startswith(".")
    assert not made.endswith(".")
    bad = [
        letter
        for letter in made
        if unicodedata.category(letter) in ("Cc", "Cs") or letter in "\u202e\u2066\u200f"
    ]
    assert not bad
    assert clean(made) == made


def test_names_that_are_alike_stay_distinct() -> None:
    assert named("x" * 300, 1) != named("x" * 300, 2)
    assert named("a/b", 1) != named("a_b", 2)


def test_an_ordinary_name_stays_as_it_is() -> None:
    assert named("général 👩‍🚀", 5) == "général 👩‍🚀 (5)"
    assert file_named("holiday.tar.gz", 5) == "5-holiday.tar.gz"
    assert file_named("x" * 300 + ".jpg", 5).endswith("xx.jpg")
