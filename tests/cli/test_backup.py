"""``backup`` and ``restore`` without an Engine: what is in a backup, what is refused, what is left then."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess, run

import pytest

from mayfly.core.apply import apply
from mayfly.core.backup import PARTS, Part, part_of
from mayfly.core.commands import Payload
from mayfly.core.facts import (
    AgentCreated,
    AgentExited,
    AgentOpened,
    Fact,
    GateOpening,
    JobEnded,
    JobSubmitted,
    SlotCordoned,
)
from mayfly.core.memory import Agent, Cordon, Job, Memory
from mayfly.core.model import Generation, JobId, JobState, PoolName, SlotName
from mayfly.core.naming import FIGURES, GATEWAY, WITNESSES
from mayfly.edge import build_records, client_records, clocks_let_go, history_of_host, state_lock
from mayfly.edge.backup_archive import Writer
from mayfly.edge.history import History
from mayfly.edge.history_file import FILE_NAME, SCHEMA_VERSION
from mayfly.edge.history_reader import HistoryReader
from mayfly.edge.lock_file import is_held
from mayfly.edge.state_lock import managing
from mayfly.providers.installed import packages
from mayfly.service import engine_claim
from tests import copies
from tests.harness import disk
from tests.pages import ROOT

NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
T = float(int(time.time()) - 3600)  # the job that runs has had its slot for an hour
# One after the other: each sweeps what another has left there.
in_var_tmp = pytest.mark.xdist_group("/var/tmp of backups")
POOL = '[[pool]]\nname = "a"\nslots = 2\n'


@dataclass
class Box:
    """A box whose manager does not run."""

    home: Path

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def config(self) -> Path:
        return self.home / "etc/config.toml"

    def configure(self, name: str = "one") -> None:
        """Write its configuration."""
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(f'[host]\nname = "{name}"\nstate_dir = "{self.state}"\n{POOL}')

    def mayfly(self, *words: str, stdin: bytes = b"") -> CompletedProcess[bytes]:
        """``mayfly WORDS``."""
        environment = {**os.environ, "MAYFLY_CONFIG": str(self.config)}
        return copies.run((*copies.MAYFLY, *words), environment, stdin)

    def does(self, *words: str, stdin: bytes = b"") -> str:
        """The same where it succeeds; what it says."""
        done = self.mayfly(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return done.stderr.decode()

    def refuses(self, *words: str, stdin: bytes = b"", code: int = 1) -> str:
        """The same where it is refused in one sentence; that."""
        done = self.mayfly(*words, stdin=stdin)
        told = done.stderr.decode()
        assert done.returncode == code, told
        assert told.count("\n") == 1, told
        return told

    def memory(self) -> Memory:
        """What is remembered there."""
        with closing(HistoryReader(self.state)) as reader:
            return reader.memory()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """What its history says."""
        with closing(sqlite3.connect(self.state / FILE_NAME)) as db:
            return [tuple(row) for row in db.execute(query)]


def job(number: int) -> Job:
    return Job(JobId(f"job{number}"), PoolName("a"), number, T, uid=7, owner="ann")


def agent(number: int, serial: int) -> Agent:
    generation = Generation(f"{number:013}")
    return Agent(generation, SlotName(f"a-{number}"), PoolName("a"), serial, "f", "i", (), T)


def lived(running: Agent, waiting: Agent) -> list[Fact]:
    """A job that has ended, one that runs, two that are queued, and an agent at its gate."""
    ended = agent(9, 1)
    return [
        *(JobSubmitted(T, job(number)) for number in range(1, 5)),
        AgentCreated(T, ended, ""),
        GateOpening(T + 1, ended.generation, "run", JobId("job1")),
        AgentOpened(T + 1, ended.generation),
        AgentExited(T + 11, ended.generation, "job_done", None, 0, 0),
        JobEnded(T + 11, JobId("job1"), JobState.SUCCEEDED, None, 0, used=10.0),
        AgentCreated(T + 11, running, ""),
        GateOpening(T + 12, running.generation, "run", JobId("job2")),
        AgentOpened(T + 12, running.generation),
        AgentCreated(T + 12, waiting, ""),
        SlotCordoned(T + 12, SlotName("a-1"), Cordon(T, "ann", drain=True)),
    ]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """One that was killed in the middle of a job."""
    made = Box(tmp_path / "one")
    made.configure()
    made.state.mkdir()
    running, waiting = agent(0, 5), agent(1, 6)
    payloads = {
        JobId(f"job{number}"): Payload(("true",), {"TOKEN": "s3cret"} if number == 4 else {})
        for number in range(1, 5)
    }
    with closing(History(made.state)) as history:
        facts = lived(running, waiting)
        history.commit(facts, apply(history.load(), facts), payloads)
        history.set_meta("host", "0123456789ab")
        history.set_meta("installation_key", "k" * 64)
        history.set_meta("engine_mark", "1 2 3")
    (made.state / "output").mkdir()
    (made.state / "output/0000000000009.log").write_bytes(b"what it printed")
    (made.state / "gitlab").mkdir()
    (made.state / "gitlab/a-0.json").write_text('{"token": "glrt"}')
    (made.state / "figures").mkdir()
    (made.state / "lost+found").mkdir()
    return made


@pytest.fixture
def other(tmp_path: Path) -> Box:
    """A box with nothing but a configuration."""
    made = Box(tmp_path / "two")
    made.configure("two")
    return made


def names(file: Path) -> set[str]:
    with tarfile.open(file) as archive:
        return set(archive.getnames())


def test_what_ran_is_lost_and_what_is_queued_waits_for_a_person(
    box: Box, other: Box, tmp_path: Path
) -> None:
    file = str(tmp_path / "b")
    told = box.does("backup", "--with-secrets", file)
    assert "with 2 queued and 1 running jobs" in told
    assert "not in it, as no part of a state: lost+found" in told
    assert Path(file).stat().st_mode & 0o777 == 0o600
    before = box.memory()
    told = other.does("restore", "--without-config", file)
    assert "2 jobs are queued, and none runs before `mayfly resume`" in told
    memory = other.memory()
    assert memory.agents == {}
    assert set(memory.jobs) == {"job3", "job4"}
    assert memory.pause is not None
    assert "may have run there since" in memory.pause.note
    (lost,) = other.rows("SELECT state, detail, finished - started FROM jobs WHERE id = 'job2'")
    assert lost[0] == "lost"
    assert "it may have gone on there" in str(lost[1])
    # Its time counts up to the backup, once.
    lives = other.rows("SELECT job, outcome FROM lives ORDER BY exited")
    assert lives == [("job1", "job_done"), ("job2", "unknown")]
    shares = other.rows("SELECT pool, uid, used FROM shares")
    assert [row[:2] for row in shares] == [("a", 7)]
    assert 3500 < float(str(shares[0][2])) < 5000
    # Another box: it takes nothing of the first for its own, nor what a service gave that one.
    assert not (other.state / "gitlab").exists()
    assert other.rows("SELECT key FROM meta WHERE key IN ('host', 'engine_mark')") == []
    assert (other.state / "output/0000000000009.log").read_bytes() == b"what it printed"
    with closing(HistoryReader(other.state)) as reader:
        payload = reader.payload(JobId("job4"))
    assert payload is not None
    assert payload.env == {"TOKEN": "s3cret"}
    assert box.memory() == before, "a backup changes nothing"


def test_no_secret_is_in_a_backup_that_was_not_asked_for_it(
    box: Box, other: Box, tmp_path: Path
) -> None:
    credentials = box.config.parent / "credentials"
    credentials.mkdir()
    (credentials / "token").write_text("ghp_secret")
    file = tmp_path / "b"
    told = box.does("backup", str(file))
    assert "the variables of 1 queued jobs are not in it" in told
    with tarfile.open(file) as archive:
        history = archive.extractfile(f"state/{FILE_NAME}")
        assert history is not None
        text = history.read()
    assert b"s3cret" not in text
    assert {name for name in names(file) if "gitlab" in name or "secrets" in name} == set()
    other.does("restore", "--without-config", str(file))
    assert set(other.memory().jobs) == {"job3"}
    (lost,) = other.rows("SELECT state, detail FROM jobs WHERE id = 'job4'")
    assert lost[0] == "lost"
    assert "--with-secrets" in str(lost[1])
    whole = tmp_path / "whole"
    box.does("backup", "--with-secrets", str(whole))
    assert {"secrets/credentials/token", "state/gitlab/a-0.json"} <= names(whole)


def test_the_same_box_keeps_who_it_is_and_what_was_there(box: Box, tmp_path: Path) -> None:
    file = str(tmp_path / "b")
    box.does("backup", file)
    assert "--force puts it aside" in box.refuses("restore", file)
    with closing(History(box.state)) as history:
        ended = [JobEnded(T + 20, JobId("job3"), JobState.SUCCEEDED, None, 0)]
        history.commit(ended, apply(history.load(), ended))
    told = box.does("restore", "--force", file)
    (kept,) = box.state.glob("before-restore-*")
    assert f"what was here is in {kept}" in told
    assert box.rows("SELECT value FROM meta WHERE key = 'host'") == [("0123456789ab",)]
    assert "job3" in box.memory().jobs
    with closing(sqlite3.connect(kept / FILE_NAME)) as db:
        assert db.execute("SELECT state FROM jobs WHERE id = 'job3'").fetchone() == ("succeeded",)


def test_a_box_that_was_handed_over_starts_no_manager_and_can_be_taken_back(
    box: Box, other: Box, tmp_path: Path
) -> None:
    file = str(tmp_path / "b")
    assert "something may still run in a-0" in box.refuses("backup", "--move", file)
    assert not Path(file).exists()
    with closing(History(box.state)) as history:
        ended: list[Fact] = [
            AgentExited(T + 20, Generation("0" * 13), "job_done", None, 0, 0),
            JobEnded(T + 20, JobId("job2"), JobState.SUCCEEDED, None, 0),
        ]
        history.commit(ended, apply(history.load(), ended))
    told = box.does("backup", "--move", file)
    assert "starts no manager any more" in told
    assert "was handed over at 20" in box.refuses("run")
    other.does("restore", "--without-config", "--resume", file)
    assert not (other.state / "gitlab").exists(), "nobody asked for secrets"
    memory = other.memory()
    assert memory.pause is None
    assert set(memory.jobs) == {"job3", "job4"}
    assert memory.slots[SlotName("a-1")].cordon is None, "it was emptied to move the box"
    assert other.rows("SELECT value FROM meta WHERE key = 'host'") == [("0123456789ab",)]
    # Over what is here already nobody but a person knows what has run.
    again = ("restore", "--without-config", "--force", "--resume", file)
    assert "say --yes where that is meant" in other.refuses(*again, code=2)
    other.does(*again, "--yes")
    assert other.rows("SELECT value FROM meta WHERE key = 'host'") == [("0123456789ab",)]
    whole = str(tmp_path / "whole")
    box.does("backup", "--move", "--with-secrets", whole)
    box.does("restore", "--force", whole)
    assert box.rows("SELECT value FROM meta WHERE key = 'moved'") == []
    assert (box.state / "gitlab/a-0.json").exists()


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _bit(data: bytes) -> bytes:
    half = len(data) // 2
    return data[:half] + bytes([data[half] ^ 4]) + data[half + 1 :]


def _entries(data: bytes, change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> bytes:
    """The backup with other entries."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as old,
        tarfile.open(fileobj=out, mode="w") as new,
    ):
        for entry in old:
            source = old.extractfile(entry)
            assert source is not None
            for name, text in change(entry.name, source.read()):
                made = tarfile.TarInfo(name)
                made.size = len(text)
                new.addfile(made, io.BytesIO(text))
    return gzip.compress(out.getvalue())


def _newer(name: str, text: bytes) -> list[tuple[str, bytes]]:
    if name == "manifest.json":
        text = json.dumps({**json.loads(text), "state_schema": SCHEMA_VERSION + 1}).encode()
    return [(name, text)]


def _later(name: str, text: bytes) -> list[tuple[str, bytes]]:
    return [(name, text.replace(b"mayfly.backup/1", b"mayfly.backup/2"))]


def _endless(name: str, text: bytes) -> list[tuple[str, bytes]]:
    return [] if name == "end.json" else [(name, text)]


def _outside(name: str, text: bytes) -> list[tuple[str, bytes]]:
    return [(name, text), ("../../x", b"")] if name == "manifest.json" else [(name, text)]


def _strange(name: str, text: bytes) -> list[tuple[str, bytes]]:
    return [(name, text), ("state/passwd", b"")] if name == "manifest.json" else [(name, text)]


def _mute(name: str, text: bytes) -> list[tuple[str, bytes]]:
    if name == "manifest.json":
        text = json.dumps({**json.loads(text), "taken": "yesterday"}).encode()
    return [(name, text)]


def _lacking(name: str, text: bytes) -> list[tuple[str, bytes]]:
    return [] if name.startswith("state/output") else [(name, text)]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_cut, "is cut off"),
        (_bit, "damaged"),
        (lambda data: data[:-3], "is cut off"),
        (lambda _: b"", "is empty: what was to write it has failed"),
        (lambda _: b"PK\3\4 some other file", "is no backup that `mayfly backup` has written"),
        (lambda data: _entries(data, _newer), "was written by a newer Mayfly"),
        (lambda data: _entries(data, _later), "was written by a newer Mayfly"),
        (lambda data: _entries(data, _endless), "is cut off"),
        (lambda data: _entries(data, _outside), "an entry that Mayfly never writes"),
        (lambda data: _entries(data, _strange), "an entry that Mayfly never writes"),
        (lambda data: _entries(data, _mute), "does not say what it is"),
        (lambda data: _entries(data, _lacking), "what is in it is not what was written"),
    ],
)
def test_a_file_that_is_not_whole_changes_nothing(
    box: Box, other: Box, tmp_path: Path, damage: Callable[[bytes], bytes], told: str
) -> None:
    file = tmp_path / "b"
    box.does("backup", str(file))
    file.write_bytes(damage(file.read_bytes()))
    assert told in other.refuses("restore", "--without-config", str(file))
    assert not other.state.exists()


def _elsewhere(place: Path) -> Callable[[str, bytes], list[tuple[str, bytes]]]:
    def change(name: str, text: bytes) -> list[tuple[str, bytes]]:
        if name == "manifest.json":
            text = json.dumps({**json.loads(text), "state_dir": str(place)}).encode()
        return [(name, text)]

    return change


def test_a_folder_of_something_else_does_not_become_a_state(box: Box, tmp_path: Path) -> None:
    file, victim = tmp_path / "b", tmp_path / "victim"
    box.does("backup", str(file))
    file.write_bytes(_entries(file.read_bytes(), _elsewhere(victim)))
    victim.mkdir(mode=0o755)
    (victim / "passwd").write_text("root")
    told = box.refuses("restore", "--as", "two", "--force", str(file))
    assert f"the state belongs in {victim}, and what is in there is nothing of Mayfly's" in told
    assert victim.stat().st_mode & 0o777 == 0o755
    assert [one.name for one in victim.iterdir()] == ["passwd"]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM jobs; END",
            "the backup has a trigger 't'",
        ),
        ("UPDATE agents SET data = '[]'", "the state in the backup cannot be read"),
    ],
)
def test_a_state_that_is_none_of_mayflys_changes_nothing(
    box: Box, other: Box, tmp_path: Path, statement: str, told: str
) -> None:
    with closing(sqlite3.connect(box.state / FILE_NAME)) as db, db:
        db.execute(statement)
    box.does("backup", "--small", "--with-secrets", str(tmp_path / "b"))
    assert told in other.refuses("restore", "--without-config", str(tmp_path / "b"))
    assert not other.state.exists()


@in_var_tmp
def test_it_goes_through_a_pipe(box: Box, other: Box) -> None:
    done = box.mayfly("backup", "-")
    assert done.returncode == 0, done.stderr
    other.does("restore", "--without-config", "-", stdin=done.stdout)
    assert set(other.memory().jobs) == {"job3"}


def test_what_is_in_the_way_is_refused_and_named(box: Box, other: Box, tmp_path: Path) -> None:
    file = tmp_path / "b"
    file.write_text("mine")
    assert "is there already" in box.refuses("backup", str(file))
    assert file.read_text() == "mine"
    assert "no manager has run on it yet" in other.refuses("backup", str(tmp_path / "c"))
    box.does("backup", str(file := tmp_path / "d"))
    with managing(box.state):
        assert "stop it first" in box.refuses("restore", "--force", str(file))
        assert "stop it before" in box.refuses("backup", "--move", str(tmp_path / "e"))
        box.does("backup", str(tmp_path / "f"))
    assert "63 at most" in other.refuses("restore", "--as", "a" * 64, str(file), code=2)
    named = ("restore", "--as", "three", "--without-config", str(file))
    assert "--as is written into the configuration" in other.refuses(*named, code=2)
    assert "--as: 'a b' is no name" in other.refuses("restore", "--as", "a b", str(file), code=2)
    assert "cannot be read" in other.refuses("restore", str(tmp_path / "none"))
    assert "--yes goes with --resume" in other.refuses("restore", "--yes", str(file), code=2)


def test_the_configuration_comes_with_it_and_none_is_overwritten(box: Box, tmp_path: Path) -> None:
    drop_in = box.config.parent / "conf.d/a.toml"
    drop_in.parent.mkdir()
    drop_in.write_text("[host]\nhistory_days = 3\n")
    file = tmp_path / "b"
    box.does("backup", str(file))
    before = box.config.read_text()
    for place in (box.state / FILE_NAME, drop_in, box.config):
        place.unlink()
    box.does("restore", str(file))
    assert (box.config.read_text(), drop_in.read_text()) == (
        before,
        "[host]\nhistory_days = 3\n",
    )
    (box.state / FILE_NAME).unlink()
    box.config.write_text("# another\n")
    told = box.refuses("restore", str(file))
    assert str(box.config) in told
    assert "--without-config leaves it as it is" in told
    assert not (box.state / FILE_NAME).exists()


def test_what_is_roots_alone_is_so_again_and_what_is_left_out_is_named(
    box: Box, tmp_path: Path
) -> None:
    etc, far = box.config.parent, tmp_path / "far"
    (etc / "credentials").mkdir()
    (etc / "conf.d").mkdir()
    drop_in, own = etc / "conf.d/a.toml", (etc / "other.toml", etc / "credentials/a.toml")
    for place in (*own, far):
        place.write_text("glrt-1")
        place.chmod(0o600)
    drop_in.write_text(
        "".join(
            f'[[pool]]\nname = "{name}"\nprovider = "gitlab"\nslots = 1\n[pool.gitlab]\n'
            f'url = "https://forge.lab/x"\ntoken = {{ file = "{token}" }}\n'
            for name, token in (("b", etc / "other.toml"), ("c", far))
        )
    )
    drop_in.chmod(0o600)
    box.config.chmod(0o640)
    (box.state / "output").rename(tmp_path / "output")
    (box.state / "output").symlink_to(tmp_path / "output")
    told = box.does("backup", "--with-secrets", str(tmp_path / "b"))
    assert "2 files with tokens and keys are in it" in told
    assert f"not in it, as no files beside the configuration: {far}" in told
    assert f"state/output/{9:013}.log" in names(tmp_path / "b"), "it is on another disk"
    (box.state / FILE_NAME).unlink()
    for place in (*own, drop_in, box.config):
        place.unlink()
    box.does("restore", str(tmp_path / "b"))
    modes = [place.stat().st_mode & 0o777 for place in (*own, drop_in, box.config)]
    assert modes == [0o600, 0o600, 0o600, 0o640]


def test_a_box_is_closed_before_its_backup_is_whole_and_open_where_there_is_none(
    box: Box, tmp_path: Path
) -> None:
    with closing(History(box.state)) as history:
        ended: list[Fact] = [
            AgentExited(T + 20, Generation("0" * 13), "job_done", None, 0, 0),
            JobEnded(T + 20, JobId("job2"), JobState.SUCCEEDED, None, 0),
        ]
        history.commit(ended, apply(history.load(), ended))
    theirs, ours = os.pipe()
    os.close(theirs)
    with Path(os.devnull).open("r+b") as nothing:
        environment = {**os.environ, "MAYFLY_CONFIG": str(box.config)}
        files = (nothing.fileno(), ours, nothing.fileno())
        process = copies.start((*copies.MAYFLY, "backup", "--move", "-"), environment, files)
        assert process.wait(60) == 1
    os.close(ours)
    assert box.rows("SELECT value FROM meta WHERE key = 'moved'") == []
    with closing(sqlite3.connect(box.state / FILE_NAME)) as db, db:
        db.execute(
            "CREATE TRIGGER t BEFORE INSERT ON meta WHEN new.key = 'moved'"
            " BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    file = tmp_path / "b"
    assert box.mayfly("backup", "--move", str(file)).returncode != 0
    assert list(tmp_path.glob("*b*")) == []


def of_another_machine(file: Path, folder: Path) -> None:
    """Have the backup say that it is of another machine."""
    with tarfile.open(file) as archive:
        entries = archive.getnames()
        archive.extractall(folder, filter="data")
    told = json.loads((folder / "manifest.json").read_text())
    with file.open("wb") as out:
        writer = Writer(out)
        writer.text("manifest.json", {**told, "machine": "another"})
        for name in entries:
            if name not in ("manifest.json", "end.json"):
                writer.file(name, folder / name)
        writer.end()


def test_a_box_beside_the_first_gets_a_name_and_an_identity_of_its_own(
    box: Box, tmp_path: Path
) -> None:
    file = tmp_path / "b"
    box.does("backup", str(file))
    of_another_machine(file, tmp_path / "all")
    (box.state / FILE_NAME).unlink()
    box.config.unlink()
    told = box.refuses("restore", str(file))
    assert "--as NAME gives this one a name of its own, --as one the same" in told
    box.does("restore", "--as", "three", str(file))
    shown = box.mayfly("config", "show", "--json").stdout
    assert json.loads(shown)["host"]["name"] == "three", shown
    assert box.rows("SELECT value FROM meta WHERE key = 'host'") == []


def test_no_manager_begins_an_empty_state_where_a_restore_was_broken_off(
    box: Box, tmp_path: Path
) -> None:
    file = str(tmp_path / "b")
    box.does("backup", file)
    (box.config.parent / "conf.d").write_text("")
    told = box.refuses("restore", "--force", "--as", "two", file)
    assert "Not a directory; what was here is as it was" in told
    (box.config.parent / "conf.d").unlink()
    # The configuration cannot be put in place, once the old state has gone from its own.
    in_the_way = box.config.parent / ".config.toml.restored"
    in_the_way.mkdir()
    assert "what was here is in" in box.refuses("restore", "--force", file)
    assert not (box.state / FILE_NAME).exists()
    in_the_way.rmdir()
    told = box.refuses("run")
    assert f"a restore of {box.state} was broken off: restore again" in told
    assert not (box.state / FILE_NAME).exists()
    box.does("restore", file)
    assert "job3" in box.memory().jobs
    assert not list(box.state.glob(".restore*"))


def test_a_disk_that_is_full_leaves_everything_as_it_was(
    box: Box, other: Box, tmp_path: Path
) -> None:
    (box.state / "output/0000000000008.log").write_bytes(os.urandom(3 << 20))
    small = tmp_path / "small"
    small.mkdir()
    with disk(small, "1m"):
        told = box.refuses("backup", str(small / "b"))
        assert "No space left on device; there is no backup" in told
        assert list(small.iterdir()) == []
        box.does("backup", "--small", str(small / "b"))
    file = tmp_path / "b"
    box.does("backup", str(file))
    other.state.mkdir()
    with disk(other.state, "1m"):
        told = other.refuses("restore", "--without-config", str(file))
        assert "No space left on device; what was here is as it was" in told
        assert [one.name for one in other.state.iterdir() if one.name != "lock"] == []


@in_var_tmp
def test_one_that_is_killed_in_the_middle_leaves_no_backup_and_what_it_left_goes_with_the_next(
    box: Box, other: Box, tmp_path: Path
) -> None:
    (box.state / "output/0000000000008.log").write_bytes(os.urandom(4 << 20))
    pipe = tmp_path / "b"
    os.mkfifo(pipe)
    ours = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    theirs = os.open(pipe, os.O_WRONLY)
    with Path(os.devnull).open("r+b") as nothing:
        environment = {**os.environ, "MAYFLY_CONFIG": str(box.config)}
        files = (nothing.fileno(), theirs, nothing.fileno())
        process = copies.start((*copies.MAYFLY, "backup", "-"), environment, files)
    os.close(theirs)
    os.set_blocking(ours, True)
    got = os.read(ours, 4096)  # the rest does not fit into the pipe: it is in the middle
    (left,) = (place for place in Path("/var/tmp").glob(".mayfly-backup-*") if is_held(place))
    process.kill()
    process.wait(60)
    while piece := os.read(ours, 1 << 16):
        got += piece
    os.close(ours)
    assert "is cut off" in other.refuses("restore", "--without-config", "-", stdin=got)
    assert not other.state.exists()
    assert left.exists()
    assert box.mayfly("backup", "-").returncode == 0
    assert not left.exists()
    beside = tmp_path / ".mayfly-backup-dead"
    beside.mkdir()
    box.does("backup", str(tmp_path / "c"))
    assert not beside.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else")
def test_whoever_may_not_look_into_the_state_is_told_to_try_sudo() -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        hidden = Box(Path(place))
        hidden.configure()
        with managing(hidden.state), closing(History(hidden.state)):
            pass
        environment = {**os.environ, "MAYFLY_CONFIG": str(hidden.config)}
        line = (*NOBODY, *copies.MAYFLY, "backup", "-")
        done = run(line, env=environment, capture_output=True, text=True, check=False)
    told = f"mayfly: {hidden.state} cannot be read: Permission denied; try sudo\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


def test_each_entry_of_a_state_directory_is_something_to_a_backup() -> None:
    named = (build_records, client_records, clocks_let_go, history_of_host, state_lock)
    names = {FILE_NAME, engine_claim.KNOWN, GATEWAY, FIGURES, WITNESSES}
    names |= {one.NAME for one in named}
    for file in (ROOT / "manager/mayfly").rglob("*.py"):
        names |= set(re.findall(r'\bstate_dir\)? / "([^"]+)"', file.read_text()))
    assert len(names) > 15
    assert [name for name in sorted(names) if part_of(name, packages()) is None] == []
    assert part_of("mayfly.sqlite-wal") is Part.OF_THE_BOX
    assert part_of("output") is Part.BULK
    assert part_of("lost+found") is None
    assert part_of("forge", {"forge"}) is Part.TOKENS
    assert {*PARTS.values(), Part.TOKENS} == set(Part)
