"""The recovery code: a volume's id and master key on paper, in letters that forgive a reader.

108 letters in 18 groups of six. The last letter of each group checks the group and its place, so that a slip
of the pen is named; behind the key stand 7 bytes of SHA-256 over all of it, so that a wrong code is refused.
docs/FORMAT.md, "The recovery code", is the specification.

Limits: mistakes are found, not mended. No message quotes the code, as it is the key.
Threading: pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from discordfs.errors import ConfigError, FormatError
from discordfs.keys import MASTER_SIZE, VOLUME_SIZE, KeyFile

GROUPS = 18
GROUP_SIZE = 6
GROUPS_IN_LINE = 6

_VERSION = 1
_CHECK_SIZE = 7  # bytes
_SIZE = 1 + VOLUME_SIZE + MASTER_SIZE + _CHECK_SIZE
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base32: no I, L, O, U
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_VALUES |= {letter.lower(): value for letter, value in _VALUES.items()}
_VALUES |= {"O": 0, "o": 0, "I": 1, "i": 1, "L": 1, "l": 1}
_WEIGHTS = (1, 3, 5, 7, 9)
"""Odd, so that no change of a single letter leaves a group's sum modulo 32 as it is."""

_SEPARATORS = re.compile(r"[\s\-_.\u2010-\u2015\u2212]+")  # spaces, and the dashes that keyboards have


def encode_recovery_code(key: KeyFile) -> str:
    """Groups with dashes between them, on one line."""
    body = bytes([_VERSION]) + key.volume + key.master
    number = int.from_bytes(body + _check(body), "big") << _spare_bits()
    letters = [number >> 5 * at & 31 for at in reversed(range(GROUPS * (GROUP_SIZE - 1)))]
    groups = (letters[at : at + GROUP_SIZE - 1] for at in range(0, len(letters), GROUP_SIZE - 1))
    return "-".join(_written(place, group) for place, group in enumerate(groups))


def lines_of_code(code: str) -> list[str]:
    """The code as it is printed: three lines of six groups."""
    groups = code.split("-")
    return ["-".join(groups[at : at + GROUPS_IN_LINE]) for at in range(0, len(groups), GROUPS_IN_LINE)]


def decode_recovery_code(text: str) -> KeyFile:
    """The key that a code stands for. Case, spaces, dashes and lines do not matter; O is 0, I and L are 1.

    Raises ConfigError, which names the group with the mistake if it can, and FormatError for the code of a
    newer release."""
    groups = _grouped(text)
    wrong = [place for place, group in enumerate(groups) if _sum(place, group) != group[-1]]
    if wrong:
        raise ConfigError(f"the recovery code has a mistake in {_places(wrong)}: compare it letter by letter")
    number = 0
    for letter in (letter for group in groups for letter in group[:-1]):
        number = number << 5 | letter
    return _opened((number >> _spare_bits()).to_bytes(_SIZE, "big"), number & (1 << _spare_bits()) - 1)


def _opened(data: bytes, spare: int) -> KeyFile:
    body, check = data[:-_CHECK_SIZE], data[-_CHECK_SIZE:]
    if body[0] != _VERSION:
        raise FormatError(
            f"the recovery code is of version {body[0]}, which needs a newer discordfs: upgrade"
        )
    if check != _check(body) or spare:
        raise ConfigError(
            "the recovery code has a mistake somewhere, or it is none: compare it letter by letter"
        )
    return KeyFile(body[1 : 1 + VOLUME_SIZE], body[1 + VOLUME_SIZE :])


def _check(body: bytes) -> bytes:
    return hashlib.sha256(b"discordfs 1 recovery code" + body).digest()[:_CHECK_SIZE]


def _spare_bits() -> int:
    return 5 * GROUPS * (GROUP_SIZE - 1) - 8 * _SIZE


def _sum(place: int, group: Sequence[int]) -> int:
    return (place + sum(weight * letter for weight, letter in zip(_WEIGHTS, group, strict=False))) % 32


def _written(place: int, group: Sequence[int]) -> str:
    return "".join(_ALPHABET[letter] for letter in (*group, _sum(place, group)))


def _grouped(text: str) -> list[list[int]]:
    """The letters' values, by groups. Raises ConfigError for a stray sign, and for too many or few."""
    typed = [part for part in _SEPARATORS.split(text) if part]
    letters = "".join(typed)
    strange = [at // GROUP_SIZE for at, letter in enumerate(letters) if letter not in _VALUES]
    if strange:
        raise ConfigError(
            f"the recovery code has a sign that no code has in {_places(strange[:1])}: "
            "there are digits and letters, but no U"
        )
    values = [_VALUES[letter] for letter in letters]
    if len(values) != GROUPS * GROUP_SIZE:
        raise ConfigError(_miscounted(len(values), typed))
    return [values[at : at + GROUP_SIZE] for at in range(0, len(values), GROUP_SIZE)]


def _miscounted(count: int, typed: Sequence[str]) -> str:
    said = f"a recovery code has {GROUPS * GROUP_SIZE} letters and digits, this one has {count}"
    odd = [place for place, part in enumerate(typed) if len(part) != GROUP_SIZE]
    return f"{said}: look at {_places(odd)}" if 0 < len(odd) <= 3 else said


def _places(places: Sequence[int]) -> str:
    """For people, who count from 1: "group 8 (line 2, the 2nd)"."""
    named = [
        f"group {place + 1} (line {place // GROUPS_IN_LINE + 1}, number {place % GROUPS_IN_LINE + 1} there)"
        for place in places[:3]
    ]
    return ", ".join(named) + (" and others" if len(places) > 3 else "")
