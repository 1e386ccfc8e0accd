"""The supervisor: who dies is reported and started again, and all end in order with nothing lost."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.place import ClipsDirectory
from discordfs.clipping.standing import standing
from discordfs.clipping.workers import Board, Plan, State, Supervisor, read_report
from discordfs.errors import BusyError, Unauthorized

WAIT_S = 20.0


class Job:
    """A worker that does what it is told: `steps` one after the other, then it waits for its end."""

    def __init__(self, log: list[str], name: str, *steps: Callable[[], object], stays: bool = True) -> None:
        self._log, self._name, self._steps, self._stays = log, name, list(steps), stays
        self.runs = 0
        self.begun = threading.Event()

    def run(self, stop: threading.Event) -> None:
        self.runs += 1
        if self._steps:
            self._steps.pop(0)()
        self.begun.set()
        if self._stays:
            assert stop.wait(WAIT_S)
        self._log.append(self._name)


def die() -> None:
    raise ValueError("out of luck")


def refuse() -> None:
    raise Unauthorized("the token is no good")


def supervisor(path: Path, *plans: Plan, board: Board | None = None) -> Supervisor:
    return Supervisor(
        plans, path / "workers.json", board=board, first_s=0.01, longest_s=0.02, rng=random.Random(1)
    )


def test_when_the_leader_is_done_the_others_finish_and_end_in_order(tmp_path: Path) -> None:
    log: list[str] = []
    left = [3]

    def one_less() -> bool:
        left[0] -= 1
        return left[0] == 0

    plans = [
        Plan("collector", Job(log, "collector", stays=False)),
        Plan("thumbnailer", Job(log, "thumbnailer"), is_idle=one_less),
        Plan("writer", Job(log, "writer")),
    ]
    crew = supervisor(tmp_path, *plans)
    crew.run()
    assert log == ["collector", "thumbnailer", "writer"]
    assert left == [0], "nobody is ended before its work is done"
    assert [each.state for each in crew.standings()] == [State.DONE, State.ENDED, State.ENDED]


@pytest.mark.expects_log("the worker thumbnailer died")
def test_who_dies_is_reported_and_started_again(tmp_path: Path) -> None:
    log: list[str] = []
    dying = Job(log, "thumbnailer", die, die)
    leader = Job(log, "collector", lambda: dying.begun.wait(WAIT_S), stays=False)
    crew = supervisor(tmp_path, Plan("collector", leader), Plan("thumbnailer", dying))
    crew.run()
    assert dying.runs == 3
    report = read_report(tmp_path / "workers.json")
    assert report is not None
    told = report["workers"][1]
    assert (told["name"], told["restarts"], told["state"]) == ("thumbnailer", 2, "ended")
    assert "out of luck" in told["error"]


def test_ctrl_c_ends_all_in_order(tmp_path: Path) -> None:
    log: list[str] = []
    jobs = {name: Job(log, name) for name in ("collector", "renewer", "writer")}
    crew = supervisor(tmp_path, *(Plan(name, job) for name, job in jobs.items()))

    def interrupt() -> None:
        if all(job.begun.is_set() for job in jobs.values()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crew.run(interrupt)
    assert log == list(jobs)
    report = read_report(tmp_path / "workers.json")
    assert report is not None
    assert report["is_over"]


def test_what_starting_again_does_not_mend_ends_all_and_is_said(tmp_path: Path) -> None:
    log: list[str] = []
    plans = [Plan("collector", Job(log, "collector")), Plan("renewer", Job(log, "renewer", refuse))]
    with pytest.raises(Unauthorized):
        supervisor(tmp_path, *plans).run()
    assert log == ["collector"]


def test_what_a_worker_cannot_do_for_now_is_told(tmp_path: Path) -> None:
    board, log = Board(), list[str]()
    say = board.of("renewer")
    leader = Job(log, "collector", lambda: say("Discord is away"), stays=False)
    supervisor(tmp_path, Plan("collector", leader), Plan("renewer", Job(log, "renewer")), board=board).run()
    report = read_report(tmp_path / "workers.json")
    assert report is not None
    assert report["workers"][1]["trouble"] == "Discord is away"


def test_status_says_whether_the_process_runs_has_ended_or_died(tmp_path: Path) -> None:
    directory = ClipsDirectory(tmp_path)
    assert standing(directory) is None
    Catalogue(directory.catalogue).close()
    found = standing(directory)
    assert found is not None
    assert (found["clips"], found["sync"]) == (0, None)
    worker = {"name": "collector", "state": "running", "restarts": 0, "trouble": "", "error": ""}
    body = {"format": 1, "pid": 1, "at_ns": 5 * 10**9, "is_over": False, "workers": [worker], "progress": {}}
    directory.workers.write_text(json.dumps(body))
    with directory.held():
        assert directory.is_held()
        running = standing(directory)
        with pytest.raises(BusyError, match="another"), directory.held():
            pass
    died = standing(directory)
    assert running is not None
    assert died is not None
    assert (running["sync"]["running"], running["sync"]["died"]) == (True, False)
    assert running["sync"]["workers"][0]["state"] == "running"
    assert (died["sync"]["running"], died["sync"]["died"]) == (False, True)
    assert died["sync"]["workers"][0]["state"] == "gone"


def test_a_report_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    path = tmp_path / "workers.json"
    for text in ("", "[]", '{"format": 99}', "{"):
        path.write_text(text)
        assert read_report(path) is None
