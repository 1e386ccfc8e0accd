"""Who may write a volume, and what becomes of the one who may not any more."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from discordfs.errors import BusyError, OutcomeUnknown, ReadOnly, Unavailable
from discordfs.fold import CLAIM_LIFETIME_S
from discordfs.log import Lost, Stopped
from discordfs.logreading import Look
from discordfs.remote.base import Message, UploadFile
from discordfs.remote.memory import MemoryStore
from discordfs.tenure import Role, Wish
from tests.fs.conftest import LOG_CHANNEL
from tests.roles.conftest import Clock, Machine


def written(machine: Machine) -> set[str]:
    return {entry.name.decode() for entry in machine.drive.readdir(b"/")}


def end(machine: Machine) -> None:
    """Unmounts it as `umount` does: with nothing left to say, that is said."""
    machine.barrier()
    machine.drive.close()
    machine.uploader.stop()
    machine.uploader.log.end()
    machine.is_open = False
    machine.index.close()
    machine.staging.close()
    machine.chunks.close()


# --- roles --------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_told_who_writes(first: Machine, second: Machine) -> None:
    """Else two machines would overwrite each other without knowing."""
    with pytest.raises(BusyError, match=r"tester@house since .*--read-only.*--take-over"):
        second.assume(Wish.WRITE)


def test_a_reader_is_welcome(first: Machine, second: Machine) -> None:
    standing = second.assume(Wish.READ)
    assert standing.role is Role.READER
    assert "tester@house" in standing.why


def test_our_own_volume_goes_on(first: Machine) -> None:
    first.close()
    for wish in Wish:
        assert first.assume(wish).role is Role.WRITER


@pytest.mark.expects_log("read-only from here")
def test_taking_over_brings_everything_and_the_former_writer_loses(first: Machine, second: Machine) -> None:
    first.put(b"/b", b"later")
    first.barrier()
    assert second.assume(Wish.TAKE_OVER).role is Role.WRITER
    second.open()
    assert second.get(b"/b") == b"later"
    second.put(b"/c", b"from the second")
    second.barrier()

    first.put(b"/late", b"nobody else has this")
    with pytest.raises(Lost, match="is written by"):
        first.uploader.barrier(30.0, lambda status: None)
    with pytest.raises(ReadOnly):
        first.put(b"/more", b"")
    assert first.get(b"/late") == b"nobody else has this"
    first.close()
    assert first.assume(Wish.WRITE).role is Role.LOSER
    with pytest.raises(BusyError, match="resubmit"):
        first.assume(Wish.TAKE_OVER)


def test_a_loser_with_nothing_of_its_own_is_as_anybody(first: Machine, second: Machine) -> None:
    first.close()
    second.assume(Wish.TAKE_OVER)
    with pytest.raises(BusyError, match="somebody@second"):
        first.assume(Wish.WRITE)
    assert first.assume(Wish.READ).role is Role.READER
    assert first.assume(Wish.TAKE_OVER).role is Role.WRITER
    first.open()
    assert written(first) == {"a"}


def test_a_writer_that_has_ended_is_followed_without_being_told_to(first: Machine, second: Machine) -> None:
    end(first)
    assert second.assume(Wish.WRITE).role is Role.WRITER
    second.open()
    second.put(b"/b", b"from the second")
    second.barrier()
    with pytest.raises(BusyError):
        first.assume(Wish.WRITE)


def test_a_writer_that_has_ended_and_is_back_is_a_writer(first: Machine, second: Machine) -> None:
    """Else whoever mounts next would take the volume from a mount that stands idle."""
    end(first)
    first.open()
    assert first.uploader.has_begun.wait(30)
    with pytest.raises(BusyError):
        second.assume(Wish.WRITE)
    first.put(b"/b", b"and goes on")
    first.barrier()


def test_without_discord_the_index_decides(first: Machine, second: Machine) -> None:
    first.close()
    assert first.assume(Wish.WRITE, is_reachable=False).role is Role.WRITER
    assert second.assume(Wish.READ, is_reachable=False).role is Role.READER
    with pytest.raises(BusyError):
        second.assume(Wish.WRITE, is_reachable=False)
    with pytest.raises(Unavailable):
        second.assume(Wish.TAKE_OVER, is_reachable=False)


@pytest.mark.expects_log("read-only from here")
def test_a_loser_remembers_that_without_discord(first: Machine, second: Machine) -> None:
    second.assume(Wish.TAKE_OVER)
    first.put(b"/late", b"here alone")
    with pytest.raises(Lost):
        first.uploader.barrier(30.0, lambda status: None)
    first.close()
    assert first.assume(Wish.WRITE, is_reachable=False).role is Role.LOSER


# --- copies -------------------------------------------------------------------------------------------


@pytest.mark.expects_log("older copy")
def test_an_older_copy_of_the_writer_is_another_writer(
    first: Machine, make_machine: Callable[[str], Machine]
) -> None:
    """A state directory out of a backup must not write as the one that went on: it would undo its files."""
    first.close()
    copy = make_machine("copy")
    shutil.copytree(first.root, copy.root, dirs_exist_ok=True)
    first.open()
    first.put(b"/b", b"since the backup")
    first.barrier()
    with pytest.raises(BusyError, match="tester@house"):
        copy.assume(Wish.WRITE)
    assert copy.assume(Wish.TAKE_OVER).role is Role.WRITER
    copy.open()
    assert copy.get(b"/b") == b"since the backup"


@pytest.mark.expects_log("older copy")
def test_an_older_copy_with_files_of_its_own_keeps_them(
    first: Machine, make_machine: Callable[[str], Machine]
) -> None:
    first.put(b"/staged", b"in both, and then in one")
    first.close()
    copy = make_machine("copy")
    shutil.copytree(first.root, copy.root, dirs_exist_ok=True)
    first.open()
    first.barrier()
    assert copy.assume(Wish.WRITE).role is Role.LOSER
    assert copy.assume(Wish.READ).role is Role.LOSER
    with copy.parts() as (index, _, _):
        assert [entry.name for _, entry in index.unrecorded()] == [b"staged"]


# --- what comes between -------------------------------------------------------------------------------


class Interrupted(Exception):
    """The machine is switched off."""


def test_a_take_over_that_was_interrupted_while_it_waited_goes_on(
    first: Machine, second: Machine, clock: Clock
) -> None:
    with second.parts() as (index, chunks, reader):
        tenure = second.tenure(index, chunks, reader)
        tenure._wait = lambda seconds: True
        with pytest.raises(Stopped):
            tenure.assume(Wish.TAKE_OVER, True, lambda text: None)
    claims = len(second.store._channels[10].messages)
    assert second.assume(Wish.TAKE_OVER).role is Role.WRITER
    assert len(second.store._channels[10].messages) == claims + 1


@pytest.mark.parametrize(
    ("wish", "lag_s"),
    [(Wish.WRITE, 0.0), (Wish.TAKE_OVER, 0.0), (Wish.TAKE_OVER, 3.0), (Wish.TAKE_OVER, 8.0)],
)
def test_a_take_over_that_was_interrupted_at_its_very_end_is_done(
    first: Machine, second: Machine, wish: Wish, lag_s: float
) -> None:
    """The adoption is posted, and nobody here has heard of it. Where listings do not show it yet, another one
    goes there, and does not count: the volume is this machine's by the first."""
    first.put(b"/b", b"between recovery and take-over")
    first.barrier()
    with second.parts() as (index, chunks, reader):
        tenure = second.tenure(index, chunks, reader)

        def cut_off(adoption: bytes) -> Look:
            raise Interrupted

        tenure._settle = cut_off  # type: ignore[method-assign]
        with pytest.raises(Interrupted):
            tenure.assume(Wish.TAKE_OVER, True, lambda text: None)
    second.store.list_lag = lag_s
    assert second.assume(wish).role is Role.WRITER
    second.store.list_lag = 0.0
    second.open()
    assert second.get(b"/b") == b"between recovery and take-over"
    second.put(b"/c", b"and it can write")
    second.barrier()
    second.close()
    assert second.assume(Wish.WRITE).role is Role.WRITER


def test_two_at_once_one_gets_it(
    first: Machine, second: Machine, make_machine: Callable[[str], Machine], clock: Clock
) -> None:
    third = make_machine("third")
    third.recover()
    with second.parts() as (index, chunks, reader):
        tenure = second.tenure(index, chunks, reader)
        tenure._wait = lambda seconds: True
        with pytest.raises(Stopped):
            tenure.assume(Wish.TAKE_OVER, True, lambda text: None)
    with pytest.raises(BusyError, match="somebody@second is taking the volume over"):
        third.assume(Wish.TAKE_OVER)
    clock.pass_s(CLAIM_LIFETIME_S + 60)
    assert third.assume(Wish.TAKE_OVER).role is Role.WRITER
    with pytest.raises(BusyError):
        second.assume(Wish.WRITE)


def test_a_writer_that_writes_on_during_the_wait_keeps_what_it_saw_verified(
    first: Machine, second: Machine, clock: Clock
) -> None:
    with second.parts() as (index, chunks, reader):
        tenure = second.tenure(index, chunks, reader)
        began: list[float] = []

        def wait(seconds: float) -> bool:
            if not began:
                first.put(b"/between", b"a claim is alive")
            began.append(seconds)
            return clock.pass_s(seconds)

        tenure._wait = wait
        tenure.assume(Wish.TAKE_OVER, True, lambda text: None)
    second.open()
    assert written(second) == {"a"}
    assert first.index.unrecorded()


class AnswersLost(MemoryStore):
    """Carries posts out, and loses the answers of the next few."""

    lose = 0

    async def post(self, channel: int, content: str, files: list[UploadFile], nonce: str) -> Message:  # type: ignore[override]
        message = await super().post(channel, content, files, nonce)
        if self.lose:
            self.lose -= 1
            raise OutcomeUnknown("the answer was lost")
        return message


@pytest.mark.expects_log("it is looked for")
def test_lost_answers_make_no_second_claim(first: Machine, second: Machine, clock: Clock) -> None:
    store = first.store
    store.__class__ = AnswersLost
    assert isinstance(store, AnswersLost)
    before = len(store._channels[10].messages)
    store.lose = 1
    assert second.assume(Wish.TAKE_OVER).role is Role.WRITER
    assert len(store._channels[10].messages) == before + 2


@pytest.mark.expects_log("another machine had begun this volume's log")
def test_of_two_that_begin_one_empty_log_the_later_stops(
    make_machine: Callable[[str], Machine], store: MemoryStore
) -> None:
    """Neither could see the other: it must not go on writing what no recovery would ever find."""
    older, younger = make_machine("older"), make_machine("younger")
    older.open()
    older.barrier()
    with unlisted(store):
        younger.open()
        younger.put(b"/kept", b"kept")
        younger.barrier()
    younger.put(b"/new", b"new")
    with pytest.raises(Lost, match="another machine had begun"):
        younger.barrier()
    assert younger.uploader.lost
    assert younger.get(b"/kept") == b"kept"
    older.put(b"/mine", b"mine")
    older.barrier()
    assert not older.uploader.lost


@contextmanager
def unlisted(store: MemoryStore) -> Iterator[None]:
    """What is in the log by now shows in no listing meanwhile."""
    shown = store._channels[LOG_CHANNEL].messages
    hidden = dict(shown)
    shown.clear()
    try:
        yield
    finally:
        everything = dict(sorted((hidden | shown).items()))
        shown.clear()
        shown.update(everything)
