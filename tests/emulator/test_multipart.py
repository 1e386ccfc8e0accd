"""The multipart parser, however the network cuts the body."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discordfs.emulator.multipart import MultipartError, Parser, PartBegin, PartData, PartEnd, boundary_of

CONTENTS = [b"", b"plain", b"\r\n--b", b"--b--", b"\r\n\r\n", bytes(range(256)) * 3, b"\r\n--\r\n-\r"]


def body(contents: list[bytes]) -> bytes:
    whole = b"preamble\r\n"
    for number, content in enumerate(contents):
        head = f'Content-Disposition: form-data; name="files[{number}]"; filename="f\\"{number}.bin"'
        whole += b"--boundary\r\n" + head.encode() + b"\r\nContent-Type: a/b\r\n\r\n" + content + b"\r\n"
    return whole + b"--boundary--\r\nepilogue"


def parsed(pieces: list[bytes]) -> list[tuple[PartBegin, bytes]]:
    parser, parts = Parser(b"boundary"), []
    for piece in pieces:
        for event in parser.feed(piece):
            if isinstance(event, PartBegin):
                begin, data = event, b""
            elif isinstance(event, PartData):
                data += bytes(event.data)
            else:
                assert isinstance(event, PartEnd)
                parts.append((begin, data))
    assert parser.done
    return parts


@given(st.lists(st.integers(1, 40), min_size=1))
def test_every_way_to_cut_gives_the_same_parts(cuts: list[int]) -> None:
    whole, pieces, at = body(CONTENTS), [], 0
    while at < len(whole):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(whole[at : at + size])
        at += size
    assert [data for _, data in parsed(pieces)] == CONTENTS


def test_headers_are_understood() -> None:
    ((begin, _),) = parsed([body([b"x"])])
    assert begin == PartBegin("files[0]", 'f"0.bin', "a/b")
    assert boundary_of('multipart/form-data; boundary="a b"; x=y') == b"a b"


@pytest.mark.parametrize(
    "broken",
    [
        b"--boundary\r\nContent-Type: a/b\r\n\r\nx\r\n--boundary--",
        b"--boundaryXY",
        b"--boundary\r\n" + b"x" * 20000,
    ],
)
def test_broken_bodies_are_refused(broken: bytes) -> None:
    with pytest.raises(MultipartError):
        parsed([broken])


def test_a_body_may_be_cut_off() -> None:
    parser = Parser(b"boundary")
    assert list(parser.feed(body([b"x"])[:-20]))
    assert not parser.done
