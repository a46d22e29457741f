"""The launcher of provider `local`: who the job is, what it can reach, and how its end is told."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from tests.agents.container import Agent, archive, files, frame

pytestmark = pytest.mark.engine

Start = Callable[..., Agent]
Until = Callable[..., object]

# How root in the container finds the launcher: the first of the children of init.
LAUNCHER = "/proc/$(cut -d' ' -f1 /proc/1/task/1/children)"


# ---- who the job is


def test_the_job_is_an_unprivileged_user_without_capabilities_or_groups(at_gate: Agent) -> None:
    said = at_gate.run(
        "sh", "-c", "id; grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs)' /proc/self/status"
    )
    lines = said.split("\n")
    assert lines[0] == "uid=1000(runner) gid=1000(runner) groups=1000(runner)"
    nothing = "0" * 16
    assert said.count(nothing) == 4
    assert "NoNewPrivs:\t1" in lines


def test_the_job_dies_of_full_memory_before_its_launcher(at_gate: Agent, until: Until) -> None:
    at_gate.take("sh", "-c", "cat /proc/self/oom_score_adj; sleep 1000")
    until(lambda: "1000\n" in at_gate.raw().decode())
    scores = at_gate.root("sh", "-c", f"cat /proc/1/oom_score_adj {LAUNCHER}/oom_score_adj").split()
    # A job may lower its own to 0: of equals the larger process dies.
    assert scores == ["0", "0"]
    at_gate.signal("USR2")
    at_gate.wait()


def test_the_job_sees_the_pools_variables_and_its_own_and_nothing_of_the_launcher(
    start: Start,
) -> None:
    agent = start(
        environment={"IMAGENET_DIR": "/datasets/imagenet", "NVIDIA_VISIBLE_DEVICES": "void"}
    )
    said = agent.run("env", env={"MAYFLY_JOB": "42", "TOKEN": 'it\'s\n"here" $HOME `id` \\ '})
    assert set(said.rstrip("\n").replace("it's\n", "it's ").split("\n")) == {
        "IMAGENET_DIR=/datasets/imagenet",
        "NVIDIA_VISIBLE_DEVICES=void",
        'TOKEN=it\'s "here" $HOME `id` \\ ',
        "MAYFLY_JOB=42",
        "MAYFLY_SLOT=test-0",
        "LANG=C.UTF-8",
        "HOSTNAME=test-0",
        "HOME=/home/runner",
        "USER=runner",
        "LOGNAME=runner",
        "SHELL=/bin/sh",
        "PWD=/home/runner",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }


def test_the_jobs_own_variables_win_over_the_pools(start: Start) -> None:
    agent = start(environment={"LEVEL": "pool", "line": "pool", "code": "pool"})
    said = agent.run(
        "sh",
        "-c",
        "echo $LEVEL $line $code $PATH",
        env={"LEVEL": "job", "PATH": "/x:/bin:/usr/bin"},
    )
    assert said == "job pool pool /x:/bin:/usr/bin\n"


def test_arguments_arrive_unchanged(at_gate: Agent) -> None:
    odd = ["", "a b", "it's", '"', "\\", "$HOME", "*", "two\nlines", "-n", "tab\t", "ü", "a\n"]
    said = at_gate.run("sh", "-c", 'printf "<%s>" "$@"', "sh", *odd, b"\xff\xfe")
    # docker's log is text: what is not UTF-8 arrives as the replacement character
    assert said.startswith("".join(f"<{word}>" for word in odd))


def test_the_job_starts_in_a_home_of_its_own_that_it_can_write(at_gate: Agent) -> None:
    assert at_gate.run("sh", "-c", "pwd; touch file && stat -c %U file; umask") == (
        "/home/runner\nrunner\n0022\n"
    )


def test_what_stands_between_the_home_and_a_mount_below_it_is_the_jobs(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "cache/made").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    volumes = [
        f"{tmp_path}/cache:/home/runner/.cache/pip/wheels",
        f"{tmp_path}/data:/home/runner/.cache/pip/wheels/made/deeper",
    ]
    one = start(binds=volumes)
    home = "/home/runner/.cache"
    said = one.run(
        *(
            "sh",
            "-c",
            f"mkdir {home}/other {home}/pip/x && stat -c %u {home} {home}/pip/wheels/made",
        )
    )
    assert said == "1000\n0\n", "the host's own directories keep their owner"


def test_a_user_of_the_hosts_keeps_its_number_and_groups(start: Start) -> None:
    agent = start(environment={"MAYFLY_USER": "4321:4322", "MAYFLY_GROUPS": "2001,2002"})
    said = agent.run("sh", "-c", "id; whoami; touch ~/x && ls -n ~/x | cut -d' ' -f3,4")
    assert said == "uid=4321(job) gid=4322 groups=4322,2001,2002\njob\n4321 4322\n"


def test_root_is_refused_as_the_job_user(start: Start) -> None:
    agent = start(environment={"MAYFLY_USER": "0"}, at_gate=False)
    assert agent.wait() == 70


def test_without_sudo_in_the_pool_sudo_gives_nothing(at_gate: Agent) -> None:
    at_gate.run("sudo", "-n", "id")
    assert at_gate.note("exit") == "1 0"
    assert "no new privileges" in at_gate.errors()


def test_with_sudo_in_the_pool_the_job_can_become_root(start: Start) -> None:
    open_to_root: dict[str, list[str]] = {"cap_drop": [], "cap_add": [], "security_opt": []}
    # In no network nobody names this host, which sudo would complain of.
    agent = start(environment={"MAYFLY_SUDO": "1"}, network_mode="none", **open_to_root)
    assert agent.run("sh", "-c", "id -u; sudo -n id -u 2>&1") == "1000\n0\n"


# ---- what the job can reach


def test_nothing_of_the_enrolment_is_left_to_read(
    at_gate: Agent, engine: docker.APIClient, until: Until
) -> None:
    at_gate.take("sh", "-c", "echo started; sleep 1000", env={"TOKEN": "SECRET-VALUE"})
    until(lambda: "started" in at_gate.raw().decode())
    assert "SECRET" not in json.dumps(engine.inspect_container(at_gate.container))
    assert "SECRET" not in json.dumps(engine.top(at_gate.container))
    assert "SECRET" not in json.dumps(engine.diff(at_gate.container))
    assert at_gate.root("find", "/run/mayfly", "-mindepth", "1", "-not", "-path", "*/w*") == ""
    at_gate.signal("USR2")
    at_gate.wait()
    assert b"SECRET" not in at_gate.raw(stderr=True)


def test_the_job_can_neither_list_nor_forge_the_witness(at_gate: Agent) -> None:
    said = at_gate.run(
        "sh",
        "-c",
        "ls /run/mayfly; ls /run/mayfly/w; echo '0 0' >/run/mayfly/w/exit; "
        "cat /proc/$PPID/environ /proc/1/environ; ls -A ~/..; exit 9",
    )
    assert said == "runner\n"
    assert at_gate.note("exit") == "9 0"
    assert at_gate.errors().count("ermission denied") == 5


def test_a_preloaded_library_reaches_nothing_that_is_root(at_gate: Agent) -> None:
    """LD_PRELOAD of what does not exist is reported by every program that is started with it."""
    at_gate.run("/bin/true", env={"LD_PRELOAD": "/nowhere.so", "PATH": "/nowhere"})
    assert at_gate.note("exit") == "0 0"
    assert at_gate.errors().count("/nowhere.so") == 1


def test_the_job_trusts_its_pools_authority_beside_all_that_the_image_trusts(
    start: Start, tmp_path: Path
) -> None:
    """Each tool by its own variable. Most of them take one file, and then trust nothing else."""
    authority = tmp_path / "ca.pem"
    authority.write_text("-----BEGIN CERTIFICATE-----\nOURS\n-----END CERTIFICATE-----")
    mine = {str(authority): {"bind": "/etc/mayfly/ca.pem", "mode": "ro"}}
    look = (
        'for f in "$SSL_CERT_FILE" "$REQUESTS_CA_BUNDLE" "$CURL_CA_BUNDLE" "$GIT_SSL_CAINFO"; do '
        'echo $(grep -c BEGIN "$f") $(grep -c OURS "$f"); done; cat "$NODE_EXTRA_CA_CERTS"; echo; '
        "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt"
    )
    *trusted, _, ours, _, public = start(binds=mine).run("sh", "-c", look).splitlines()
    assert ours == "OURS"
    assert int(public) > 50
    assert trusted == [f"{int(public) + 1} 1"] * 4
    bare = start(binds=mine, tmpfs={"/run/mayfly": "size=16m,mode=0700", "/etc/ssl": "size=1m"})
    assert bare.run("sh", "-c", look).splitlines()[:4] == ["1 1"] * 4


def test_without_an_authority_the_job_is_told_of_none(at_gate: Agent) -> None:
    assert at_gate.run("sh", "-c", "env | grep -E 'SSL|CA_' || echo none") == "none\n"


# ---- how it ends


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["true"], 0),
        (["false"], 1),
        (["sh", "-c", "exit 64"], 64),
        (["sh", "-c", "exit 255"], 255),
        (["no-such-command"], 127),
        (["/no/such/command"], 127),
        (["/etc/passwd"], 126),
        (["/etc"], 126),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["sh", "-c", "kill -SEGV $$"], 139),
        (["sh", "-c", "kill -TERM $$"], 143),
        ([], 65),
    ],
    ids=str,
)
def test_the_jobs_exit_code_is_in_the_witness_and_on_the_last_line(
    at_gate: Agent, argv: list[str], code: int
) -> None:
    at_gate.take(*argv)
    assert at_gate.wait() == code
    assert at_gate.note("exit") == f"{code} 0"
    assert at_gate.raw().decode().endswith(f"mayfly: ended {code}\n")


@pytest.mark.parametrize("name", ["A-B", "1A", "", "A B", "Ä"])
def test_a_variable_that_no_shell_could_export_fails_the_job(at_gate: Agent, name: str) -> None:
    at_gate.take("true", env={name: "x"})
    assert at_gate.wait() == 65


def test_a_frame_without_a_job_ends_with_65(at_gate: Agent) -> None:
    at_gate.send(frame(at_gate.generation, archive({"other": b""})))
    assert at_gate.wait() == 65
    assert at_gate.note("exit") == "65 0"


@pytest.mark.parametrize(
    ("name", "number"), [("TERM", 15), ("INT", 2), ("QUIT", 3), ("HUP", 1), ("USR1", 10)]
)
def test_a_signal_reaches_the_job_and_its_end_is_waited_for(
    at_gate: Agent, until: Until, name: str, number: int
) -> None:
    trap = f"trap 'echo got {name}; sleep 0.3; echo tidied; exit 5' {name}"
    script = f"{trap}; echo up; while :; do sleep 0.05; done"
    at_gate.take("bash", "-c", script)
    until(lambda: "up\n" in at_gate.raw().decode())
    at_gate.signal(name)
    assert at_gate.wait() == 5
    assert at_gate.output() == f"up\ngot {name}\ntidied\n"
    assert at_gate.note("exit") == "5 0"


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("INT", 130), ("QUIT", 131)])
def test_a_job_without_a_trap_dies_of_the_signal(
    at_gate: Agent, until: Until, name: str, code: int
) -> None:
    at_gate.take("sh", "-c", "echo up; exec sleep 1000")
    until(lambda: "up\n" in at_gate.raw().decode())
    at_gate.signal(name)
    assert at_gate.wait() == code
    assert at_gate.note("exit") == f"{code} 0"


@pytest.mark.parametrize("attempt", range(5))
def test_signals_at_the_moment_of_the_end_do_not_confuse_the_code(
    at_gate: Agent, until: Until, attempt: int
) -> None:
    script = "trap : USR1; trap 'exit 3' TERM; echo up; while :; do read -rt 1000 <> <(:); done"
    at_gate.take("bash", "-c", script)
    until(lambda: "up\n" in at_gate.raw().decode())
    flood = "for i in {1..300}; do kill -USR1 $p; [ $i != 200 ] || kill -TERM $p; done"
    at_gate.root("bash", "-c", f"p=$(basename {LAUNCHER}); {flood}")
    assert at_gate.wait() == 3
    assert at_gate.note("exit") == "3 0"


def test_docker_stop_of_a_busy_agent_lets_the_job_tidy_up(
    at_gate: Agent, engine: docker.APIClient, until: Until
) -> None:
    at_gate.take(
        "bash",
        "-c",
        "trap 'sleep 1; echo tidied; exit 0' TERM; echo up; while :; do sleep 0.05; done",
    )
    until(lambda: "up\n" in at_gate.raw().decode())
    engine.stop(at_gate.container, timeout=20)
    assert at_gate.output() == "up\ntidied\n"
    assert at_gate.note("exit") == "0 0"


def test_a_job_that_ignores_every_signal_ends_by_usr2_with_an_account(
    at_gate: Agent, until: Until
) -> None:
    at_gate.take(
        "bash", "-c", "trap '' TERM INT QUIT HUP USR1 USR2; echo up; while :; do sleep 0.05; done"
    )
    until(lambda: "up\n" in at_gate.raw().decode())
    at_gate.signal("TERM")
    at_gate.signal("USR2")
    assert at_gate.wait() == 137
    assert at_gate.note("exit") == "137 0"


def test_a_reservation_s_job_that_stops_itself_is_ended_by_its_launcher_at_its_time(
    at_gate: Agent,
) -> None:
    # Nobody in there can tell it otherwise: what the manager writes nobody else can.
    script = "( echo 999 >/run/mayfly/w/lasts ) 2>/dev/null; kill -STOP $$"
    at_gate.open(files(("sh", "-c", script)) | {"lasts": b"2\n"})
    assert at_gate.wait() == 0
    assert at_gate.note("exit") == "0 0", "its time is over, and that is no failure"
    assert not (at_gate.witness / "signals").exists()


def test_one_that_lasts_longer_by_its_manager_s_word_goes_on_until_then(at_gate: Agent) -> None:
    (at_gate.witness / "lasts").write_text("4\n")
    at_gate.open(files(("sh", "-c", "sleep 3; echo later; exit 5")) | {"lasts": b"1\n"})
    assert at_gate.wait() == 5
    assert "later\n" in at_gate.raw().decode()


def test_daemons_that_a_job_leaves_behind_are_dead_before_its_end_is_told(at_gate: Agent) -> None:
    script = """
        setsid sleep 1001 & nohup sleep 1002 >/dev/null 2>&1 &
        (trap '' TERM HUP INT; setsid sh -c 'sleep 1003 & sleep 1004' & )
        (setsid sh -c 'while :; do echo still here; sleep 0.01; done' &)
        sleep 0.1; exit 4
    """
    at_gate.take("bash", "-c", script)
    assert at_gate.wait() == 4
    assert at_gate.note("exit") == "4 0"
    assert at_gate.raw().decode().endswith("still here\nmayfly: ended 4\n")


def test_when_the_witness_tells_the_end_no_other_process_lives(
    at_gate: Agent, until: Until
) -> None:
    """A witness that is a pipe holds the launcher still at the moment of telling."""
    at_gate.take("bash", "-c", "for i in 1 2 3 4 5; do setsid sleep 1000 & done; sleep 0.2; exit 0")
    os.mkfifo(at_gate.witness / "exit")
    until(lambda: "sleep" in " ".join(at_gate.processes()))
    until(lambda: "sleep" not in " ".join(at_gate.processes()))
    rows = at_gate.processes()
    assert len(rows) == 2, rows  # init and the launcher
    with (at_gate.witness / "exit").open() as told:
        assert told.read() == "0 0\n"
    assert at_gate.wait() == 0


def test_a_fork_bomb_at_the_pids_limit_can_not_keep_the_end_from_being_told(
    start: Start, until: Until
) -> None:
    agent = start(pids_limit=64)
    agent.take(
        "bash", "-c", "trap '' TERM; echo up; b() { b | b & }; b; while :; do b 2>/dev/null; done"
    )
    until(lambda: len(agent.processes()) >= 60)
    agent.signal("USR2")
    agent.wait()
    assert (agent.note("exit") or "").split()[0] in {"137", "143", "254"}


def test_a_fork_bomb_whose_first_process_ends_is_cleared_out(start: Start) -> None:
    agent = start(pids_limit=64)
    bomb = "bomb() { while :; do sleep 1000 & done; } 2>/dev/null"
    agent.take("bash", "-c", f"{bomb}; bomb & bomb & exec sleep 0.7")
    assert agent.wait() == 0
    assert agent.note("exit") == "0 0"


def test_a_job_that_fills_its_memory_dies_alone_and_is_counted(start: Start) -> None:
    agent = start(mem_limit="64m", memswap_limit="64m")
    agent.take(
        "sh",
        "-c",
        "tail -c 1g /dev/zero | tail -c 1g >/dev/null; tail /dev/zero; echo went on; exit 7",
    )
    assert agent.wait() == 7
    code, kills = (agent.note("exit") or "").split()
    assert code == "7"
    assert int(kills) >= 1
    assert agent.output() == "went on\n"


def test_a_job_killed_for_memory_has_137_and_the_count(start: Start) -> None:
    agent = start(mem_limit="64m", memswap_limit="64m")
    agent.take("tail", "/dev/zero")
    assert agent.wait() == 137
    assert agent.note("exit") == "137 1"
    assert agent.errors() == ""


def test_a_job_that_ends_by_itself_was_not_signalled(at_gate: Agent) -> None:
    at_gate.run("sh", "-c", "kill -TERM $$")
    assert at_gate.note("signals") is None


def test_a_forged_last_line_changes_nothing(at_gate: Agent, until: Until) -> None:
    at_gate.take("sh", "-c", "echo mayfly: ended 0; sleep 0.5; exit 3")
    until(lambda: "ended 0" in at_gate.raw().decode())
    assert at_gate.note("exit") is None
    assert at_gate.wait() == 3
    assert at_gate.note("exit") == "3 0"
    assert at_gate.output() == "mayfly: ended 0\n"


def test_a_job_that_closes_its_output_is_waited_for(at_gate: Agent) -> None:
    at_gate.take("bash", "-c", "exec >&- 2>&-; sleep 0.5; exit 6")
    assert at_gate.wait() == 6
    assert at_gate.note("exit") == "6 0"
    assert at_gate.raw().decode().endswith("mayfly: ended 6\n")


def test_a_job_that_makes_its_output_nonblocking_does_not_harm_the_account(at_gate: Agent) -> None:
    # Perl is what Debian always has.
    at_gate.take(
        "perl",
        "-e",
        "use Fcntl; fcntl(STDOUT, F_SETFL, O_NONBLOCK|O_WRONLY) or die; "
        "for (1..20000) { syswrite STDOUT, 'x' x 1000 } exit 8",
    )
    assert at_gate.wait() == 8
    assert at_gate.note("exit") == "8 0"


def test_output_without_a_last_newline_is_kept_exactly(at_gate: Agent) -> None:
    assert at_gate.run("printf", "no newline") == "no newline"


def test_output_comes_before_the_last_line_whatever_its_size(at_gate: Agent) -> None:
    said = at_gate.run("sh", "-c", "seq 1 200000")
    assert said.endswith("\n200000\n")
    assert said.count("\n") == 200000


def test_binary_output_passes(at_gate: Agent) -> None:
    at_gate.take("head", "-c", "100000", "/dev/urandom")
    assert at_gate.wait() == 0
    assert at_gate.note("exit") == "0 0"


def test_an_agent_that_is_killed_from_outside_leaves_no_exit(at_gate: Agent, until: Until) -> None:
    at_gate.take("sh", "-c", "echo up; sleep 1000")
    until(lambda: "up\n" in at_gate.raw().decode())
    at_gate.signal("KILL")
    assert at_gate.wait() == 137
    assert at_gate.note("opened") is not None
    assert at_gate.note("exit") is None
