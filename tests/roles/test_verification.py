"""What a barrier has verified is on Discord, seen there; what is not is named."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from discordfs.errors import Damaged
from discordfs.verification import Verifier
from tests.fs.conftest import LOG_CHANNEL
from tests.roles.conftest import Machine


def verifier(machine: Machine) -> Verifier:
    return Verifier(machine.index, machine.chunks, LOG_CHANNEL)


def requests(machine: Machine) -> int:
    return sum(machine.store.traffic().requests.values())


def test_it_costs_a_few_requests(first: Machine) -> None:
    """Hundreds of files, and a listing of each channel in which they are."""
    for number in range(300):
        first.put(b"/file %d" % number, os.urandom(3000))
    first.put(b"/large", os.urandom(30_000_000))
    first.barrier()
    before = requests(first)
    verifier(first).verify()
    assert requests(first) - before <= 8


def test_what_was_verified_is_not_asked_for_again(first: Machine) -> None:
    first.put(b"/large", os.urandom(2_000_000))
    first.barrier()
    first.time.pass_s(60)
    checks = verifier(first)
    checks.verify()
    before = requests(first)
    checks.verify()
    assert requests(first) == before
    first.put(b"/small", b"small")
    first.barrier()
    before = requests(first)
    checks.verify()
    assert requests(first) - before <= 3


def test_a_message_that_is_gone_is_damage_and_its_files_are_named(first: Machine) -> None:
    first.put(b"/lost", os.urandom(2_000_000))
    first.barrier()
    (ref,) = [ref for ref in first.chunk_refs() if ref.plain_size > 1_000_000]
    first.store.delete_quietly(ref.channel, [ref.message])
    for _ in range(2):
        with pytest.raises(Damaged, match=r"1 messages.*lost"):
            verifier(first).verify()


def test_a_record_that_is_gone_is_damage(first: Machine) -> None:
    head = first.index.logbook.state().head_message
    first.store.delete_quietly(LOG_CHANNEL, [head])
    with pytest.raises(Damaged):
        verifier(first).verify()


def test_a_listing_that_lags_is_no_damage(first: Machine) -> None:
    first.put(b"/file", os.urandom(2_000_000))
    first.barrier()
    first.store.list_lag = 1e6
    verifier(first).verify()


@pytest.mark.parametrize("is_shorter", [False, True])
def test_a_message_that_lost_a_file_or_has_another_is_damage(first: Machine, is_shorter: bool) -> None:
    """Its author can edit a message: it is still listed then."""
    first.put(b"/hurt", os.urandom(2_000_000))
    first.barrier()
    (ref,) = [ref for ref in first.chunk_refs() if ref.plain_size > 1_000_000]
    messages = first.store._channels[ref.channel].messages
    message = messages[ref.message]
    kept = tuple(replace(each, size=each.size - 1) for each in message.attachments) if is_shorter else ()
    messages[ref.message] = replace(message, attachments=kept)
    with pytest.raises(Damaged, match=r"1 messages.*hurt"):
        verifier(first).verify()
