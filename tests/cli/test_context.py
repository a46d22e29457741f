"""`mayfly --context NAME`: a manager that is a pod is asked as one of this host is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mayfly.core.commands import Command, SubmitJob
from mayfly.service.pending_command import Answer
from tests import copies
from tests.cli.conftest import Answers, Ran
from tests.fakes.kubernetes import FakeCluster
from tests.service.standin import StandIn
from tests.terminal import environment

Asked = Callable[..., Ran]


@pytest.fixture
def fake(manager: StandIn, tmp_path: Path) -> Iterator[FakeCluster]:
    """A cluster with that manager in it."""
    with FakeCluster() as one:
        one.manager = tmp_path / "control.sock"
        yield one


@pytest.fixture
def asked(fake: FakeCluster, tmp_path: Path) -> Asked:
    """``mayfly WORDS`` of a person whose kubeconfig leads there."""
    file = tmp_path / "kubeconfig"
    file.write_text(fake.kubeconfig())

    def run(*words: str, stdin: str = "", **env: str) -> Ran:
        given = environment(**{"KUBECONFIG": str(file), **env})
        done = copies.run((*copies.MAYFLY, *words), given, stdin.encode())
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def test_it_reads_what_a_manager_there_publishes(asked: Asked) -> None:
    said = asked("--context", "fake", "status", "--json")
    assert said.code == 0, said.err
    assert [row["slot"] for row in json.loads(said.out)["slots"]] == ["local-0", "local-1"]


def test_what_is_to_be_typed_next_names_the_context_again(asked: Asked, manager: StandIn) -> None:
    line = {"code": "slot.held", "severity": "error", "text": "a person is needed"}
    from tests.service.standin import slot, status

    manager.publish(status(slot("local-0"), health=[{**line, "fix": "mayfly retry local-0"}]))
    said = asked("--context", "fake", "status")
    assert "mayfly --context fake retry local-0" in said.out


def test_a_job_with_a_folder_is_sent_there(
    asked: Asked, manager: StandIn, answers: Answers, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/words").write_text("x" * 300_000)
    taken: list[Command] = []

    def submitted(command: Command) -> Answer:
        taken.append(command)
        return Answer(201, {"job": "0abc0000def00"})

    answers.by_verb["submit"] = submitted
    said = asked("--context", "fake", "submit", "--dir", str(tmp_path / "folder"), "--", "true")
    assert (said.code, said.out) == (0, "0abc0000def00\n"), said.err
    (command,) = taken
    assert isinstance(command, SubmitJob)
    assert command.workspace is not None


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (
            ("--context", "other", "status"),
            2,
            "has none of contexts called 'other'; there are: fake",
        ),
        (
            ("--context", "fake", "--socket", "/s", "status"),
            2,
            "--socket and --config go without it",
        ),
        (
            ("--context", "fake", "status", "--config", "/c"),
            2,
            "--socket and --config go without it",
        ),
        (("--context", "fake", "doctor"), 2, "mayfly doctor is about this host"),
        (("--context", "fake", "images", "list"), 2, "mayfly images is about this host"),
    ],
)
def test_what_has_no_meaning_is_one_sentence(
    asked: Asked, words: tuple[str, ...], code: int, sentence: str
) -> None:
    said = asked(*words)
    assert (said.code, said.out) == (code, "")
    assert sentence in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_without_a_kubeconfig_it_says_which_file_it_looked_for(
    asked: Asked, tmp_path: Path
) -> None:
    said = copies.run(
        (*copies.MAYFLY, "--context", "lab", "status"),
        environment(KUBECONFIG=str(tmp_path / "none")),
    )
    assert said.returncode == 2
    assert f"the kubeconfig {tmp_path}/none cannot be read" in said.stderr.decode()


def test_a_cluster_without_a_manager_says_where_it_looked(fake: FakeCluster, asked: Asked) -> None:
    fake.manager = None
    said = asked("--context", "fake", "status")
    assert (said.code, said.out) == (3, "")
    assert "no manager is in namespace mayfly of context fake" in said.err


@pytest.mark.parametrize(
    ("path", "right"), [("/pods$", 'list resource "pods"'), ("/exec$", 'get resource "pods/exec"')]
)
def test_a_right_that_is_lacking_is_told_in_the_clusters_words(
    fake: FakeCluster, asked: Asked, path: str, right: str
) -> None:
    fake.fails("GET", path, 403, f'pods is forbidden: User "ann" cannot {right}', "Forbidden")
    said = asked("--context", "fake", "status")
    assert (said.code, said.out) == (1, "")
    assert f'User "ann" cannot {right}: ask whoever runs the cluster' in said.err
    assert "doctor" not in said.err


def test_a_pod_whose_manager_does_not_answer_is_told(
    fake: FakeCluster, asked: Asked, tmp_path: Path
) -> None:
    fake.manager = tmp_path / "gone.sock"
    said = asked("--context", "fake", "plan")
    assert (said.code, said.out) == (3, "")
    assert f"the manager is not running: nobody answers on {tmp_path}/gone.sock there" in said.err


@pytest.mark.parametrize("path", ["/pods$", "/exec$"])
def test_a_cluster_that_does_not_answer_is_no_manager_that_does_not_run(
    fake: FakeCluster, asked: Asked, path: str
) -> None:
    fake.fails("GET", path, 503, "etcdserver: no leader")
    said = asked("--context", "fake", "status")
    assert said.code == 1
    assert "etcdserver: no leader" in said.err


def test_an_account_that_the_cluster_does_not_know_is_told_what_to_do_at_this_desk(
    fake: FakeCluster, asked: Asked
) -> None:
    fake.fails("GET", "/pods$", 401, "Unauthorized", "Unauthorized")
    said = asked("--context", "fake", "status")
    assert (said.code, said.out) == (1, "")
    assert "does not know who this is: log in to it again" in said.err
    assert "host.kubernetes" not in said.err, "which is a manager's"


def test_several_kubeconfigs_are_one(fake: FakeCluster, asked: Asked, tmp_path: Path) -> None:
    whole = json.loads(fake.kubeconfig())
    parts = [tmp_path / "none"]
    for kind in ("contexts", "clusters", "users"):
        parts.append(tmp_path / kind)
        parts[-1].write_text(json.dumps({kind: whole[kind]}))
    said = asked("--context", "fake", "status", KUBECONFIG=":".join(map(str, parts)))
    assert said.code == 0, said.err
    said = asked("--context", "other", "status", KUBECONFIG=":".join(map(str, parts)))
    assert said.code == 2
    assert "has none of contexts called 'other'; there are: fake" in said.err
