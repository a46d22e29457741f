"""`--host BOX`: the manager of another box is asked over ssh as one of this host is, and several at once."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mayfly.cli import ssh_socket
from mayfly.cli.box_completion import complete_box
from mayfly.cli.box_names import boxes_in, parted
from mayfly.cli.client import PACE, Client, connected
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.command_refusal import Refusal
from mayfly.core.commands import CancelJobs, Command, SubmitJob
from mayfly.service.pending_command import Answer
from tests import copies
from tests.cli.conftest import Answers, Ran
from tests.fakes.ssh import FakeSsh
from tests.relayed import Relayed
from tests.service.standin import StandIn, job, slot, status
from tests.terminal import environment

Asked = Callable[..., Ran]
# As `mayfly`, for whom a login may last a second beside ssh's own time.
IMPATIENT = (
    *(sys.executable, "-c"),
    "from mayfly.cli import app, ssh_socket; ssh_socket.LOGIN = 1.0; app.main()",
)
WITHOUT_PLACE = {"MAYFLY_HOST_SSH": ""}


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[FakeSsh]:
    """A person's ssh, to boxes that have `mayfly`."""
    with Relayed(tmp_path) as mayfly:
        fake = FakeSsh(tmp_path / "ssh")
        fake.has(mayfly.path)
        yield fake


@pytest.fixture
def managers(ssh: FakeSsh) -> Iterator[dict[str, StandIn]]:
    """The managers of boxes a and b."""
    found = {name: StandIn(ssh.box(name), Answers()) for name in ("a", "b")}
    for name, one in found.items():
        one.publish(status(slot("local-0"), host=f"gpu-{name}"))
    yield found
    for one in found.values():
        one.close()


@pytest.fixture
def asked(ssh: FakeSsh, managers: dict[str, StandIn]) -> Asked:
    """``mayfly WORDS`` of a person at another desk."""
    del managers

    def run(
        *words: str, stdin: str = "", before: tuple[str, ...] = copies.MAYFLY, **env: str
    ) -> Ran:
        given = environment(**env)
        given["PATH"] = f"{ssh.programs}:{given['PATH']}"
        done = copies.run((*before, *words), given, stdin.encode())
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


# -- one box -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "behind", "env"),
    [
        (("--host", "a"), (), {}),
        ((), ("--host", "a"), {}),
        ((), ("--host=ann@a",), {}),
        ((), (), {"MAYFLY_HOST_SSH": "a"}),
        (("--host", "a"), (), {"MAYFLY_HOST_SSH": "b"}),
    ],
)
def test_a_manager_is_asked_where_the_option_or_the_variable_says(
    asked: Asked, before: tuple[str, ...], behind: tuple[str, ...], env: dict[str, str]
) -> None:
    for verb in ("status", "gpus", "jobs", "events"):
        said = asked(*before, verb, *behind, **env)
        assert said.code == 0, said.err
    said = asked(*before, "status", "--json", *behind, **env)
    assert json.loads(said.out)["host"] == "gpu-a"


def test_a_socket_that_is_named_goes_before_the_variable(
    asked: Asked, managers: dict[str, StandIn], ssh: FakeSsh
) -> None:
    said = asked("--socket", str(managers["b"].path), "status", "--json", MAYFLY_HOST_SSH="a")
    assert json.loads(said.out)["host"] == "gpu-b"
    assert ssh.asked("a") == []


def test_ssh_may_ask_a_person_where_one_box_is_asked_and_nobody_where_several_are(
    asked: Asked, ssh: FakeSsh
) -> None:
    asked("--host", "ann@a", "status")
    (alone,) = ssh.asked("a")
    asked("--host", "ann@a,b", "status")
    among = ssh.asked("a")[-1]
    assert "BatchMode" not in alone
    assert "-oBatchMode=yes" in among
    for call in (alone, among):
        assert call.endswith(" -- ann@a mayfly relay")
        assert "-oConnectTimeout=10" in call
        assert "-oServerAliveInterval=15" in call
        assert "-oRemoteCommand=none" in call
        assert "-oControlMaster=auto" in call


def test_a_temporary_directory_that_ssh_would_misread_has_no_master(
    asked: Asked, ssh: FakeSsh, tmp_path: Path
) -> None:
    for name in ("with a blank", "x%h"):
        (tmp_path / name).mkdir()
        said = asked("--host", "a", "status", TMPDIR=str(tmp_path / name))
        assert said.code == 0, said.err
        assert "Control" not in ssh.asked("a")[-1]
        assert list((tmp_path / name).iterdir()) == []


def test_what_ssh_is_configured_with_stays(asked: Asked, ssh: FakeSsh) -> None:
    lines = "controlpath /home/ann/.ssh/cm\nconnecttimeout 30\nserveraliveinterval 60\n"
    ssh.configured("a", lines)
    asked("--host", "a", "status")
    (call,) = ssh.asked("a")
    assert not any(word in call for word in ("Control", "ConnectTimeout", "ServerAlive"))


def test_what_is_to_be_typed_next_leads_to_the_box(
    asked: Asked, managers: dict[str, StandIn]
) -> None:
    line = {"code": "slot.held", "severity": "error", "text": "a person is needed"}
    fixes = ("mayfly retry local-0", "mayfly doctor", "sudo systemctl restart docker", "df -h /a")
    managers["a"].publish(status(slot("local-0"), health=[{**line, "fix": fix} for fix in fixes]))
    said = asked("--host", "ann@a", "status", "--all")
    assert [line.partition("fix: ")[2] for line in said.out.splitlines() if "fix:" in line] == [
        "mayfly --host ann@a retry local-0",
        "ssh -t ann@a sudo mayfly doctor",
        "ssh -t ann@a sudo systemctl restart docker",
        "ssh -t ann@a 'df -h /a'",
    ]


LOUD = "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo this is why >&2"
DENIED = 'echo "ann@a: Permission denied (publickey)." >&2; exit 255'
CHANGED = 'echo "Host key verification failed." >&2; exit 255'


@pytest.mark.parametrize(
    ("fails", "code", "sentence"),
    [
        ("", 3, "a is not reached over ssh: ssh: connect to host a port 22: Connection refused"),
        (DENIED, 1, "a is not reached over ssh: ann@a: Permission denied (publickey)."),
        (CHANGED, 1, "a is not reached over ssh: Host key verification failed."),
        ("exit 255", 3, "a is not reached over ssh: ssh does not say why"),
        (
            'echo "sh: 1: mayfly: not found" >&2; exit 127',
            1,
            "a has no program mayfly where ssh looks for it: sh: 1: mayfly: not found",
        ),
        (
            "echo \"Error: No such command 'relay'.\" >&2; exit 2",
            1,
            "the Mayfly on a is too old for --host: install a newer one",
        ),
        ("echo hello; exit 0", 1, "a: it did not come to the manager: hello"),
        (
            'printf "\\033]0;owned\\007\\033[2Jgo \\342\\200\\256away\\n" >&2; exit 9',
            1,
            "a: it did not come to the manager: go away",
        ),
        ("yes", 1, "a login on a prints without end: no manager is to be heard"),
    ],
)
def test_what_stands_in_the_way_is_told_in_a_sentence(
    asked: Asked, ssh: FakeSsh, fails: str, code: int, sentence: str
) -> None:
    ssh.fails("a", *([fails] if fails else []))
    said = asked("--host", "a", "status")
    assert (said.code, said.out) == (code, "")
    assert said.err.splitlines()[0] == f"mayfly: {sentence}"


def test_a_box_without_a_manager_says_how_to_start_it_there(
    asked: Asked, managers: dict[str, StandIn]
) -> None:
    managers["a"].close()
    said = asked("--host", "a", "plan")
    assert (said.code, said.out) == (3, "")
    assert "the manager on a is not running: nobody answers on" in said.err
    assert "  start it: ssh -t a sudo systemctl start mayfly\n" in said.err
    assert asked("--host", "a", "gpus").code == 3, "whose GPUs are not those of this desk"


def test_a_box_that_hangs_is_given_up_after_its_time(asked: Asked, ssh: FakeSsh) -> None:
    ssh.configured("a", "controlpath none\nconnecttimeout 1\nserveraliveinterval 0\n")
    ssh.fails("a", "exec sleep 600")
    said = asked("--host", "a,b", "status", before=IMPATIENT)
    assert said.code == 1
    assert "a does not answer over ssh within 2 s" in said.out
    assert "b/local-0" in said.out


def test_a_verb_about_this_host_does_not_ask_the_box_of_the_variable(
    asked: Asked, ssh: FakeSsh, tmp_path: Path
) -> None:
    file = tmp_path / "config.toml"
    idle = '[host.idle]\nafter = "1h"\ncommand = ["/bin/true"]\n'
    file.write_text(
        f'[host]\nname = "lab"\nsocket = "{tmp_path}/none"\n{idle}[[pool]]\nname = "local"\n'
    )
    for words in (("health",), ("idle", "test", "--yes")):
        said = asked(*words, MAYFLY_HOST_SSH="a", MAYFLY_CONFIG=str(file))
        assert ssh.asked("a") == [], said


def test_what_a_login_prints_first_is_passed_over(asked: Asked, ssh: FakeSsh) -> None:
    ssh.fails("a", "echo 'Welcome to a'; printf 'no line end: '")
    said = asked("--host", "a", "status", "--json")
    assert json.loads(said.out)["host"] == "gpu-a", said.err


def test_what_a_box_says_beside_the_connection_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssh: FakeSsh
) -> None:
    """It says much, and then why there is no manager: the last line is told, and no file takes the rest."""
    ssh.box("a")
    ssh.fails("a", f"[ -p /proc/self/fd/2 ] && echo pipe >{tmp_path}/is; {LOUD}; exit 9")
    monkeypatch.setenv("PATH", f"{ssh.programs}:/usr/bin:/bin")
    box = ssh_socket.Box("a", alone=True)
    with pytest.raises(Trouble, match="it did not come to the manager: this is why"):
        box.connected(1.0)
    box.close()
    assert (tmp_path / "is").read_text() == "pipe\n"


def test_without_ssh_it_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    given = environment(PATH=str(tmp_path / "empty"))
    done = copies.run((*copies.MAYFLY, "--host", "a", "status"), given)
    assert done.returncode == 1
    assert b"--host needs the program ssh, which cannot be run here" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--host", "-oProxyCommand=reboot", "status"), "is no box that ssh could reach"),
        (("--host", "a b", "status"), "is no box that ssh could reach"),
        (("--host", "a;reboot", "status"), "is no box that ssh could reach"),
        (("--host", "$(reboot)@a", "status"), "is no box that ssh could reach"),
        (("--host", "a,", "status"), "is no box that ssh could reach"),
        (("--host", "", "status"), "is no box that ssh could reach"),
        (("--host", "a,a", "status"), "a is there twice"),
        (("--host", ",".join(f"b{n}" for n in range(65)), "jobs"), "asks 64 at most"),
        (
            ("--host", "a", "--socket", "/s", "status"),
            "--socket, --config and --context go without",
        ),
        (
            ("--host", "a", "status", "--config", "/c"),
            "--socket, --config and --context go without",
        ),
        (
            ("--host", "a", "--context", "lab", "jobs"),
            "--socket, --config and --context go without",
        ),
        (("--host", "a", "doctor"), "mayfly doctor is about this host: --host goes with"),
        (("--host", "a", "gpus", "unlock"), "gpus unlock is about this host"),
        (("--host", "a,b", "pause"), "this is asked of one box: name it with --host, a or b"),
        (("--host", "a,b", "events", "-f"), "this is asked of one box"),
        (("--host", "a,b", "logs", "c/local-0"), "there is no c among the boxes that are named"),
    ],
)
def test_what_has_no_meaning_is_one_sentence(
    asked: Asked, words: tuple[str, ...], sentence: str
) -> None:
    said = asked(*words)
    assert (said.code, said.out) == (2, "")
    assert sentence in said.err
    assert len(said.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "box",
    ["a", "ann@a", "gpu-1.lab.example", "10.0.0.5", "ssh://ann@a:2222", "LAB\\ann@a", "[::1]"],
)
def test_a_box_is_named_as_ssh_names_it(box: str) -> None:
    assert boxes_in(box, "--host") == (box,)


def test_a_name_with_its_box_is_parted_from_it() -> None:
    assert parted("ann@a:22/0abc") == ("ann@a:22", "0abc")
    assert parted("0abc") == ("", "0abc")
    with pytest.raises(Usage):
        boxes_in(parted("a/b/0abc")[0], "--host")


def test_the_boxes_of_ssh_s_configuration_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert complete_box("") == []
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text(
        "# lab\nHost gpu1 gpu2\n  User ann\n\nhost=old\nHost *.lab !x\nMatch host gpu9\nHost gpu1\n"
    )
    assert complete_box("") == ["gpu1", "gpu2", "old"]
    assert complete_box("ann@gpu") == ["ann@gpu1", "ann@gpu2"]
    assert complete_box("gpu1,g") == ["gpu1,gpu2"]


# -- several boxes -----------------------------------------------------------------------------------


def test_several_boxes_are_one_table_and_one_document(
    asked: Asked, managers: dict[str, StandIn]
) -> None:
    for name, one in managers.items():
        one.account.rows = {f"j{name}": job(f"j{name}", state="running", slot="local-0")}
    said = asked("--host", "a,b", "status")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [
        ["BOX", "SLOTS", "PHASES"],
        ["a", "1", "1"],
        ["b", "1", "1"],
    ]
    assert [line.split()[0] for line in lines[3:]] == ["SLOT", "a/local-0", "b/local-0"]
    said = asked("--host", "a,b", "jobs")
    assert [line.split()[0] for line in said.out.splitlines()] == ["JOB", "a/ja", "b/jb"]
    found = json.loads(asked("--host", "a,b", "jobs", "--json").out)
    assert found["schema"] == "mayfly.jobs/1"
    assert [(row["box"], row["job"]) for row in found["jobs"]] == [("a", "ja"), ("b", "jb")]
    assert found["boxes"] == [
        {"box": "a", "answered": True, "left_out": 0},
        {"box": "b", "answered": True, "left_out": 0},
    ]


READS: dict[str, str] = {
    "reservations": "reservations",
    "status": "slots",
    "jobs": "jobs",
    "gpus": "gpus",
    "top": "rows",
    "events": "events",
    "history": "agents",
    "report": "rows",
    "runs": "runs",
}


@pytest.mark.parametrize("verb", READS)
def test_one_that_is_down_is_a_row_beside_the_others(asked: Asked, ssh: FakeSsh, verb: str) -> None:
    ssh.fails("b")
    said = asked("--host", "a,b", verb)
    assert said.code == 1
    assert "b" in said.out
    assert "b is not reached over ssh: ssh: connect to host b port 22: Connection ref" in said.out
    assert said.err == ""
    found = json.loads(asked("--host", "a,b", verb, "--json").out)
    assert found["schema"] == f"mayfly.{verb}/1"
    assert [one["answered"] for one in found["boxes"]] == [True, False]
    assert found["boxes"][1]["exit_code"] == 3
    assert "Connection refused" in found["boxes"][1]["error"]
    assert all(row["box"] == "a" for row in found[READS[verb]])


def answers(document: object) -> str:
    """Lines of a shell that are a box whose manager says this to whatever it is asked."""
    said = json.dumps(document)
    return f"""printf 'MAYFLY-RELAY/1\\n'
while IFS= read -r line && [ "$line" != "$(printf '\\r')" ]; do :; done
printf 'HTTP/1.1 200 OK\\r\\nContent-Length: {len(said)}\\r\\n\\r\\n%s' '{said}'; exit 0"""


RUBBISH = {
    **{key: [{"slot": {}, "at": [], "checks": 1, "mig": 5}] for key in READS.values()},
    "health": [7],
}


@pytest.mark.parametrize("verb", ["status", "gpus"])
def test_one_that_answers_rubbish_is_a_row_beside_the_others(
    asked: Asked, ssh: FakeSsh, verb: str
) -> None:
    ssh.fails("b", answers(RUBBISH))
    said = asked("--host", "a,b", verb)
    assert (said.code, said.err) == (1, "")
    assert "its answer is not understood" in said.out


# What asks a manager, with something behind it where that takes something.
ALONE = (
    *("status", "status --json", "jobs", "jobs --why x", "history", "events", "runs", "runs x"),
    *("reservations", "gpus", "report", "report --csv", "plan", "idle", "describe x", "logs x"),
    *("fetch x", "cancel x", "hold x", "release x", "submit -- true", "submit --wait -- true"),
    *("attach x", "cordon local-0", "pause", "reserve --gpus 1 --for 1h", "top"),
)
BAD: tuple[object, ...] = (
    {},
    {"slots": 3, "health": 5, "jobs": 7},
    {**{key: [None] for key in (*READS.values(), "rows")}, "health": [1], "out": 3, "finished": 1},
)


@pytest.mark.parametrize("document", BAD)
def test_one_box_alone_that_answers_rubbish_is_a_sentence_to_each_verb(
    asked: Asked, ssh: FakeSsh, document: object
) -> None:
    ssh.fails("b", answers(document))
    for verb in ALONE:
        said = asked("--host", "b", *verb.split())
        assert "Traceback" not in said.err, (verb, said.err)
        assert 0 <= said.code <= 5, (verb, said)
    said = asked("--host", "b", "gpus")
    assert said.code == 1
    assert "mayfly: b: its answer is not understood (" in said.err
    assert said.err.endswith("  ssh b mayfly --version\n")


def test_one_that_does_not_wait_as_it_is_asked_to_is_not_asked_all_the_time(
    managers: dict[str, StandIn],
) -> None:
    asked: list[float] = []

    def reached(timeout: float) -> socket.socket:
        asked.append(time.monotonic())
        return connected(str(managers["b"].path), timeout)

    stranger = Client("--host b", connect=reached)
    for _ in range(3):
        stranger.get("/v1/status", {"after": 0, "wait": 60})  # it has one at once
    stranger.get("/v1/status")
    between = [later - sooner for sooner, later in pairwise(asked)]
    assert len(between) == 3
    assert all(one >= PACE * 0.9 for one in between[:2]), between


def test_where_none_answers_it_exits_as_each_of_them_would(asked: Asked, ssh: FakeSsh) -> None:
    ssh.fails("a")
    ssh.fails("b")
    assert asked("--host", "a,b", "jobs").code == 3
    ssh.fails("b", DENIED)
    assert asked("--host", "a,b", "jobs").code == 1
    said = asked("--host", "a,b", "status")
    assert "ssh-add, and once by hand: ssh b" in said.out


def test_a_box_s_trouble_is_the_exit_code_of_all(
    asked: Asked, managers: dict[str, StandIn]
) -> None:
    managers["b"].publish(status(slot("local-0", phase="held")))
    assert asked("--host", "a,b", "status").code == 1


def test_the_conditions_of_each_box_say_whose_they_are(
    asked: Asked, managers: dict[str, StandIn]
) -> None:
    line = {"code": "slot.held", "severity": "error", "text": "slot local-0 is held"}
    managers["b"].publish(status(slot("local-0"), health=[{**line, "fix": "mayfly retry local-0"}]))
    said = asked("--host", "a,b", "status")
    assert "health: ERROR slot.held b: slot local-0 is held" in said.out
    assert "  fix: mayfly --host b retry local-0" in said.out


@pytest.mark.parametrize("verb", ["logs", "describe", "jobs --why"])
def test_a_job_is_found_on_the_box_that_has_it(
    asked: Asked, managers: dict[str, StandIn], verb: str
) -> None:
    there = managers["b"].account
    there.rows = {"0abc": job("0abc", state="failed", agent="g1", exit_code=3, detail="it broke")}
    there.prints("g1", b"hello\n")
    there.ends("g1")
    expected = "hello" if verb == "logs" else "it broke"
    for name in ("0abc", "b/0abc"):
        said = asked("--host", "a,b", *verb.split(), name)
        assert said.code == 0, said.err
        assert expected in said.out
    assert expected in asked(*verb.split(), "b/0abc", **WITHOUT_PLACE).out, "as it was shown"
    said = asked("--host", "a,b", *verb.split(), "0none")
    assert (said.code, said.err) == (4, "mayfly: there is no slot or job 0none on a, b\n")


def test_a_slot_that_several_boxes_have_is_named_with_its_box(
    asked: Asked, managers: dict[str, StandIn]
) -> None:
    said = asked("--host", "a,b", "describe", "local-0")
    assert said.code == 2
    assert "local-0 is on a and on b: write a/local-0 or b/local-0" in said.err
    managers["b"].publish(status(slot("local-0", phase="busy")))
    assert "busy" in asked("--host", "a,b", "describe", "b/local-0").out


def test_a_job_that_may_be_on_a_box_that_is_down_is_not_said_to_be_nowhere(
    asked: Asked, ssh: FakeSsh
) -> None:
    ssh.fails("b")
    said = asked("--host", "a,b", "logs", "0abc")
    assert said.code == 3
    assert "no box that answers has a slot or job 0abc, and it was not asked of b (" in said.err


def test_jobs_of_several_boxes_are_cancelled_where_they_are(
    asked: Asked, managers: dict[str, StandIn]
) -> None:
    for name, one in managers.items():
        one.account.rows = {f"j{name}": job(f"j{name}")}
    said = asked("--host", "a,b", "cancel", "ja", "b/jb")
    assert said.code == 0, said.err
    asked_of: dict[str, list[Command]] = {name: one.commands for name, one in managers.items()}
    for name, commands in asked_of.items():
        (command,) = commands
        assert isinstance(command, CancelJobs)
        assert command.jobs == (f"j{name}",)


def takes(manager: StandIn, name: str) -> None:
    """It queues what comes as that job."""
    given: Any = manager
    given.answering.by_verb["submit"] = lambda _: Answer(201, {"job": name})


NOW = {"starts_in": 0.0, "ahead": 0, "slots": 2, "busy": 1}
IN_AN_HOUR = {"starts_in": 3600.0, "ahead": 3, "slots": 4, "busy": 4}
UNKNOWN = {"starts_in": None, "ahead": 2, "slots": 4, "busy": 4}
FEWER_AHEAD = {**UNKNOWN, "ahead": 1}
CLOSED = {"starts_in": None, "ahead": 0, "slots": 0, "busy": 0}


@pytest.mark.parametrize(
    ("of_a", "of_b", "chosen"),
    [
        (NOW, NOW, "a"),
        (IN_AN_HOUR, NOW, "b"),
        (UNKNOWN, IN_AN_HOUR, "b"),
        (UNKNOWN, FEWER_AHEAD, "b"),
        (CLOSED, UNKNOWN, "b"),
        ({**NOW, "busy": 1}, {**NOW, "busy": 0}, "b"),
        ({**NOW, "starts_in": "soon", "slots": []}, UNKNOWN, "b"),
        (Refusal(404, "no_such_pool", "there is no pool"), UNKNOWN, "b"),
    ],
)
def test_a_job_goes_to_the_box_where_it_starts_first(
    asked: Asked, managers: dict[str, StandIn], of_a: Any, of_b: Any, chosen: str
) -> None:
    for name, estimate in (("a", of_a), ("b", of_b)):
        managers[name].queue.estimated = estimate
        takes(managers[name], f"j{name}")
    said = asked("--host", "a,b", "submit", "--pool", "local", "-e", "TOKEN=x", "--", "secret")
    assert (said.code, said.out) == (0, f"{chosen}/j{chosen}\n"), said.err
    assert {name: len(one.commands) for name, one in managers.items()} == {
        name: int(name == chosen) for name in managers
    }
    for one in managers.values():
        (command,) = one.queue.asked
        assert command.pool == "local"
        assert (command.payload.argv, command.payload.env) == (("true",), {}), "not theirs to know"


def test_a_box_that_is_down_gets_no_job_and_is_told(
    asked: Asked, managers: dict[str, StandIn], ssh: FakeSsh
) -> None:
    takes(managers["b"], "jb")
    ssh.fails("a")
    said = asked("--host", "a,b", "submit", "--", "true")
    assert (said.code, said.out) == (0, "b/jb\n")
    assert "mayfly: a is left out: a is not reached over ssh" in said.err
    ssh.fails("b")
    said = asked("--host", "a,b", "submit", "--", "true")
    assert (said.code, said.out) == (3, "")
    assert "no box takes it:\n  a: a is not reached" in said.err


def test_what_no_box_takes_is_said_once(asked: Asked, managers: dict[str, StandIn]) -> None:
    for one in managers.values():
        one.queue.estimated = Refusal(404, "no_such_pool", "no pool has CUDA 99.9")
    said = asked("--host", "a,b", "submit", "--cuda", "99.9", "--", "true")
    assert (said.code, said.out) == (4, "")
    assert said.err == "mayfly: no box takes it: no pool has CUDA 99.9\n"


def test_a_job_that_runs_after_another_goes_where_that_is(
    asked: Asked, managers: dict[str, StandIn]
) -> None:
    for name, one in managers.items():
        one.account.rows = {f"j{name}": job(f"j{name}"), f"k{name}": job(f"k{name}")}
        takes(one, "next")
    words = ("--host", "a,b", "submit", "--after")
    said = asked(*words, "b/jb", "--after", "kb", "--", "true")
    assert (said.code, said.out) == (0, "b/next\n"), said.err
    (command,) = managers["b"].commands
    assert isinstance(command, SubmitJob)
    assert command.after == ("jb", "kb")
    said = asked(*words, "ja", "--after", "jb", "--", "true")
    assert said.code == 2
    assert "a job waits for jobs of one box, and these are of a, b" in said.err


def test_a_folder_is_sent_to_another_box(
    asked: Asked, managers: dict[str, StandIn], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/words").write_text("x" * 300_000)
    takes(managers["a"], "0abc")
    said = asked("--host", "a", "submit", "--dir", str(tmp_path / "folder"), "--", "true")
    assert (said.code, said.out) == (0, "0abc\n"), said.err
    (command,) = managers["a"].commands
    assert isinstance(command, SubmitJob)
    assert command.workspace is not None
