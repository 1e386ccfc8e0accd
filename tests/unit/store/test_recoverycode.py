"""The recovery code: what stands on paper is the last way to a drive, and is typed by tired people."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discordfs.errors import ConfigError, FormatError
from discordfs.keys import KeyFile
from discordfs.recoverycode import (
    GROUP_SIZE,
    GROUPS,
    decode_recovery_code,
    encode_recovery_code,
    lines_of_code,
)

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
KEY = KeyFile(bytes(range(16)), bytes(range(100, 132)))
CODE = encode_recovery_code(KEY)
GOLDEN = (
    "04002Y-0G30GG-2GC1RF-814505-P30D17-R7P8SS\n"
    "B6CXMY-6JTKBD-DHPPWC-VVGE5M-S76X3W-NESVQK\n"
    "GYBTFA-DY7TZ4-KZG20W-R50RNV-8MWYJM-93C6R1"
)


@given(volume=st.binary(min_size=16, max_size=16), master=st.binary(min_size=32, max_size=32))
def test_a_key_comes_back(volume: bytes, master: bytes) -> None:
    assert decode_recovery_code(encode_recovery_code(KeyFile(volume, master))) == KeyFile(volume, master)


def test_codes_that_are_printed_somewhere_stay_readable() -> None:
    assert "\n".join(lines_of_code(CODE)) == GOLDEN
    assert decode_recovery_code(GOLDEN) == KEY


@pytest.mark.parametrize(
    "typed",
    [
        CODE.lower(),
        CODE.replace("-", ""),
        CODE.replace("-", " \n "),
        CODE.replace("-", "\u2013"),  # what a word processor makes of a dash
        CODE.replace("0", "O").replace("1", "l"),
        CODE.replace("0", "o").replace("1", "I"),
        f"\n  {CODE}\r\n",
    ],
)
def test_what_people_make_of_a_code_is_taken(typed: str) -> None:
    assert decode_recovery_code(typed) == KEY


def test_each_single_wrong_letter_is_refused_and_its_group_named() -> None:
    """All places, all letters: a wrong key would give a drive that cannot be read."""
    for at, right in enumerate(CODE):
        if right == "-":
            continue
        group = at // (GROUP_SIZE + 1) + 1
        for wrong in ALPHABET.replace(right, ""):
            with pytest.raises(ConfigError, match=rf"mistake in group {group} \(") as refused:
                decode_recovery_code(CODE[:at] + wrong + CODE[at + 1 :])
            assert "others" not in str(refused.value)


def test_a_letter_lost_or_doubled_is_refused_and_its_group_named() -> None:
    for at, letter in enumerate(CODE):
        if letter == "-":
            continue
        group = at // (GROUP_SIZE + 1) + 1
        for typed in (CODE[:at] + CODE[at + 1 :], CODE[:at] + letter + CODE[at:]):
            with pytest.raises(ConfigError, match=rf"this one has 10[79]: look at group {group} \("):
                decode_recovery_code(typed)


def test_neighbours_that_changed_places_are_refused() -> None:
    letters = CODE.replace("-", "")
    for at in range(len(letters) - 1):
        swapped = letters[:at] + letters[at + 1] + letters[at] + letters[at + 2 :]
        if swapped != letters:
            with pytest.raises(ConfigError, match="mistake"):
                decode_recovery_code(swapped)


def test_groups_that_changed_places_are_refused_and_named() -> None:
    groups = CODE.split("-")
    for one in range(GROUPS):
        for other in range(one):
            swapped = groups.copy()
            swapped[one], swapped[other] = swapped[other], swapped[one]
            with pytest.raises(ConfigError, match=rf"group {other + 1} .*, group {one + 1} "):
                decode_recovery_code("-".join(swapped))


def test_lines_that_changed_places_are_refused() -> None:
    one, two, three = lines_of_code(CODE)
    with pytest.raises(ConfigError, match="and others"):
        decode_recovery_code(f"{two} {one} {three}")


def test_groups_of_two_codes_make_none() -> None:
    """Each group is good in itself and in its place: only the whole tells."""
    other = encode_recovery_code(KeyFile(bytes(16), bytes(32))).split("-")
    for place in range(GROUPS):
        mixed = CODE.split("-")
        if mixed[place] != other[place]:
            mixed[place] = other[place]
            with pytest.raises(ConfigError, match="a mistake somewhere"):
                decode_recovery_code("-".join(mixed))


def test_no_chance_letters_are_taken_for_a_code() -> None:
    source = random.Random(5)
    for _ in range(2000):
        with pytest.raises(ConfigError):
            decode_recovery_code("".join(source.choices(ALPHABET, k=GROUPS * GROUP_SIZE)))


@pytest.mark.parametrize("typed", ["", "   ", "no code at all", CODE[:50], CODE + CODE, CODE + "-0"])
def test_what_is_no_code_is_refused(typed: str) -> None:
    with pytest.raises(ConfigError):
        decode_recovery_code(typed)


@pytest.mark.parametrize("stray", ["U", "u", "é", "!", "\u0421", "\u017f"])
def test_a_stray_sign_is_named(stray: str) -> None:
    with pytest.raises(ConfigError, match=r"no code has in group 3 \("):
        decode_recovery_code(CODE[:15] + stray + CODE[16:])


def test_no_message_shows_the_code() -> None:
    """It is the key, and messages end up in logs."""
    for typed in (CODE[:-1], CODE[:-1] + "U", CODE.replace(CODE[40], "7"), CODE[:20] + "Z" + CODE[21:]):
        with pytest.raises(ConfigError) as refused:
            decode_recovery_code(typed)
        assert not any(group in str(refused.value) for group in CODE.split("-"))


def test_a_newer_releases_code_is_called_so() -> None:
    """Version 2, made as the specification says, group by group."""
    values = [ALPHABET.index(letter) for letter in CODE.split("-")[0][:-1]]
    values[1] ^= 12  # 00000 00 1.. becomes 00000 01 0..
    check = (0 + sum(w * v for w, v in zip((1, 3, 5, 7, 9), values, strict=True))) % 32
    group = "".join(ALPHABET[value] for value in (*values, check))
    with pytest.raises(FormatError, match="newer"):
        decode_recovery_code("-".join([group, *CODE.split("-")[1:]]))
