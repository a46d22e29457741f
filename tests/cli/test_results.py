"""``submit --out`` and ``fetch``: the real command against a stand-in manager that keeps results."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mayfly.cli import results
from mayfly.cli.client import Client, Document, connected
from mayfly.cli.results import fetched, folder_of, place_here, wanted
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.commands import Command, SubmitJob
from mayfly.core.model import Generation
from mayfly.edge.results import Taken
from mayfly.service.pending_command import Answer
from tests.cli.conftest import Answers, Mayfly
from tests.service.standin import StandIn, job

AGENT = "0123456789abc"
ENDED: Mapping[str, Any] = {
    "state": "succeeded",
    "exit_code": 0,
    "agent": AGENT,
    "started": 1.0,
    "finished": 2.0,
}


def keeps(manager: StandIn, out: tuple[str, ...], left_out: tuple[str, ...] = ()) -> None:
    """The manager has taken ``results/r.xml`` for each of those paths."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in (("x", None), ("x/r.xml", b"<r/>")):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            entry.mode, entry.size = 0o755, len(data or b"")
            archive.addfile(entry, io.BytesIO(data or b""))

    @contextmanager
    def take(path: str) -> Iterator[Taken]:
        yield Taken(path, iter((made.getvalue(),)))

    found = manager.results.keep(Generation(AGENT), out, take)
    told = {"files": found.files, "size": found.size, "left_out": [*left_out]}
    manager.account.rows["j1"] = {**job("j1", **ENDED), "out": [*out], "results": told}


@pytest.fixture
def ends(manager: StandIn, answers: Answers) -> list[SubmitJob]:
    """Each job that is submitted has ended at once, and its results are kept; what was submitted."""
    asked: list[SubmitJob] = []

    def submit(command: Command) -> Answer:
        assert isinstance(command, SubmitJob)
        asked.append(command)
        keeps(manager, command.out)
        manager.account.prints(AGENT, b"printed\n")
        manager.account.ends(AGENT)
        return Answer(201, {"job": "j1"})

    answers.by_verb["submit"] = submit
    return asked


def test_what_a_job_made_is_there_once_it_has_ended(
    ends: list[SubmitJob], mayfly: Mayfly, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    ran = mayfly("submit", "--out", f"results/={here}", "--wait", "--", "true")
    assert (ran.code, ran.out) == (0, "printed\n"), ran.err
    assert [one.out for one in ends] == [("results/",)]
    assert (here / "r.xml").read_bytes() == b"<r/>"


def test_what_each_job_of_a_group_made_comes_into_a_folder_of_its_own(
    manager: StandIn,
    answers: Answers,
    mayfly: Mayfly,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = ("g-1", "g-2", "g-3")

    def submit(command: Command) -> Answer:
        assert isinstance(command, SubmitJob)
        keeps(manager, command.out)
        kept = manager.account.rows.pop("j1")
        manager.account.rows = {name: {**kept, "job": name, "group": "g"} for name in jobs}
        return Answer(201, {"job": "g", "group": "g", "jobs": [*jobs]})

    answers.by_verb["submit"] = submit
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g-2").mkdir()
    words = ("submit", "--matrix", "SEED=1,2,3", "--out", "results/", "--wait", "--", "true")
    ran = mayfly(*words)
    assert ran.code == 1
    assert "mayfly: g-2 is here already, and stays as it is: mayfly fetch g-2 -o DIR" in ran.err
    assert f"mayfly: the results of job g-1 are in {tmp_path}/g-1\n" in ran.err
    assert {str(one.relative_to(tmp_path)) for one in tmp_path.glob("g-*/**/*.xml")} == {
        "g-1/results/r.xml",
        "g-3/results/r.xml",
    }


@pytest.mark.parametrize("path", ["../.ssh", "a/../../.ssh", "/x/.."])
def test_what_a_manager_says_is_brought_back_leads_nowhere_but_into_the_folder(
    manager: StandIn, mayfly: Mayfly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """It may be another box's, and that a stranger's."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.chdir(home)
    keeps(manager, (path,))
    for words in ((), ("-o", "here")):
        ran = mayfly("fetch", "j1", *words)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == f"mayfly: nothing is brought back: {path} leads out of the job's folder\n"
    assert [*tmp_path.rglob("r.xml")] == []


@pytest.mark.parametrize("name", ["", "..", "../j1", "/tmp/j1", "a/b"])
def test_a_job_s_folder_is_here(name: str) -> None:
    with pytest.raises(Trouble, match="is no name of a job"):
        folder_of(name)
    assert folder_of("g-1") == Path("g-1")


def test_what_is_missing_is_told_and_is_no_success(
    manager: StandIn, mayfly: Mayfly, tmp_path: Path
) -> None:
    keeps(manager, ("a", "b"), ("c: there is no such file or directory",))
    ran = mayfly("fetch", "j1", "-o", tmp_path / "here")
    assert ran.code == 1
    assert ran.out == f"{tmp_path}/here/a\n{tmp_path}/here/b\n"
    assert ran.err == "mayfly: not brought back: c: there is no such file or directory\n"
    assert (tmp_path / "here/b/r.xml").read_bytes() == b"<r/>"


def test_somebody_else_s_names_do_not_reach_the_folder_that_one_is_in(
    manager: StandIn, mayfly: Mayfly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/r.xml").write_text("mine")
    monkeypatch.chdir(home)
    keeps(manager, (".ssh", ".git/hooks"))
    ran = mayfly("fetch", "j1")
    assert (ran.code, ran.out) == (1, "j1/.ssh\n")
    assert ran.err.splitlines() == [
        "mayfly: not written: 2 of them beneath .git: git runs what is there",
        f"mayfly: the results of job j1 are in {home}/j1",
    ]
    assert (home / ".ssh/r.xml").read_text() == "mine"
    assert {str(one.relative_to(home)) for one in home.rglob("*") if one.is_file()} == {
        ".ssh/r.xml",
        "j1/.ssh/r.xml",
    }
    (home / "j1/.ssh/r.xml").write_text("mine, too")
    again = mayfly("fetch", "j1")
    assert (again.code, again.out) == (1, "")
    assert "j1 is here already, and stays as it is" in again.err
    assert (home / "j1/.ssh/r.xml").read_text() == "mine, too"
    assert mayfly("fetch", "j1", "-o", "j1").out == "j1/.ssh\n"
    assert (home / "j1/.ssh/r.xml").read_text() == "<r/>"


@pytest.mark.parametrize(
    ("row", "code", "told"),
    [
        ({"out": []}, 2, "job j1 brings nothing back: name it with `mayfly submit --out`"),
        ({"finished": None, "state": "running"}, 1, "job j1 is running: its results come when"),
        ({"started": None, "state": "cancelled"}, 1, "job j1 has not run"),
        ({"results": {"files": 1, "size": 4, "left_out": []}, "agent": "g"}, 4, "are not kept"),
    ],
)
def test_why_there_is_nothing_is_told(
    manager: StandIn, mayfly: Mayfly, row: dict[str, Any], code: int, told: str
) -> None:
    manager.account.rows["j1"] = {**job("j1", **ENDED), "out": ["x"], "results": None, **row}
    ran = mayfly("fetch", "j1")
    assert (ran.code, ran.out) == (code, "")
    assert told in ran.err


class Counting(Client):
    """Counts how often the row is asked for; once results are waited for they are taken."""

    asked = 0

    def get(
        self, path: str, query: Mapping[str, object] | None = None, timeout: float | None = None
    ) -> Document:
        self.asked += 1
        assert self.asked <= 2, "it asks over and over"
        return super().get(path, query, timeout)

    taken: Callable[[], object]

    def fetched(self, path: str, query: Mapping[str, object]) -> Generator[bytes, None, None]:
        assert query["wait"]
        self.taken()
        return super().fetched(path, query)


@pytest.mark.parametrize("asked", [None, 3])
def test_of_a_manager_elsewhere_no_more_is_taken_than_is_asked_for_and_what_came_stays(
    manager: StandIn,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    asked: int | None,
) -> None:
    keeps(manager, ("x", "y"))
    manager.account.rows["j1"]["results"]["size"] = 1 << 60  # it says whatever it likes
    manager.account.rows["j1"]["results"]["left_out"] = ["nothing"] * 500
    monkeypatch.setattr(results, "FROM_ELSEWHERE", 5)  # one file has four bytes
    elsewhere = Client("b", connect=partial(connected, str(manager.path)))
    places = {"x": tmp_path / "x", "y": tmp_path / "y"}
    assert not fetched(elsewhere, "j1", places, asked)
    assert (tmp_path / "x/r.xml").exists() is (asked is None)
    assert not (tmp_path / "y/r.xml").exists()
    said = capsys.readouterr().err
    told = "5B" if asked is None else "3B"
    assert (
        f"the rest: it is more than {told}; more of it: mayfly fetch j1 -o DIR --most SIZE" in said
    )
    assert len(said.splitlines()) < 30
    assert fetched(Client(str(manager.path)), "j1", places) is False, "of this host all comes"
    assert (tmp_path / "y/r.xml").exists()


def taken_later(manager: StandIn, out: tuple[str, ...]) -> None:
    manager.account.rows["j1"] = {**job("j1", **ENDED), "out": [*out], "results": None}


def test_results_that_are_still_taken_are_waited_for_by_the_manager(
    manager: StandIn, tmp_path: Path
) -> None:
    taken_later(manager, ("x",))
    client = Counting(str(manager.path))
    client.taken = lambda: keeps(manager, ("x",))
    assert fetched(client, "j1", {"x": tmp_path / "x"})
    assert (tmp_path / "x/r.xml").read_bytes() == b"<r/>"


def test_nothing_that_could_be_brought_back_is_known_at_once(
    manager: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken_later(manager, ("x",))
    client = Counting(str(manager.path))
    told = {"files": 0, "size": 0, "left_out": ["x: there is no such file or directory"]}
    client.taken = lambda: manager.account.rows["j1"].update(results=told)
    assert not fetched(client, "j1", {"x": tmp_path / "x"})
    assert "not brought back: x: there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "places"),
    [
        (["results/"], {"results/": "results"}),
        (["a/b", "./c"], {"a/b": "a/b", "./c": "c"}),
        (["/var/log/x"], {"/var/log/x": "x"}),
        (["x=/tmp/y", "z=w/v"], {"x": "/tmp/y", "z": "w/v"}),
        (["r.xml=there/"], {"r.xml": "there/r.xml"}),
        (["results/=there/"], {"results/": "there"}),
    ],
)
def test_each_path_has_its_place_here(
    given: list[str], places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert {path: os.fspath(place) for path, place in wanted(given).items()} == places


def test_a_path_has_its_own_place_below_a_folder() -> None:
    assert place_here("/a/b", Path("to")) == Path("to/b")
    assert place_here("a/b/", Path("to")) == Path("to/a/b")
    for odd in (["=x"], ["x="], ["x", "x=y"]):
        with pytest.raises(Usage):
            wanted(odd)
