"""The examples of every verb, typed into a shell as they stand, before a manager with two slots.

What an example calls its job, its run and its files is put there first. One that is not typed here says why.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.cli.examples import EXAMPLES
from tests.engine.private_engine import PrivateEngine
from tests.harness import POOL, Manager
from tests.pipelines.example import ENVIRONMENT, commit, git, write
from tests.relayed import Relayed

JOB, RUN, BARE = "tovga8bsd", "5vq2k8m1x", "/srv/git/lab.git"
PIPELINE = '[job.test]\npaths = "**"\nrun = "true"\n'
ENDLESS = "goes on until somebody ends it"
OF_OTHERS = "changes the host, or asks a service; tests of its own type it"
ELSEWHERE = "takes seconds of an Engine, or looks at all of the host; tests of its own type it"
# Why an example is not typed here.
NOT_TYPED = {
    "mayfly run --config lab.toml": ENDLESS,
    "mayfly gateway --config lab.toml": ENDLESS,
    "mayfly status --watch": ENDLESS,
    "mayfly events --follow --slot gpu-0": ENDLESS,
    "mayfly events --follow --json": ENDLESS,
    "ssh box mayfly relay": "needs ssh to another box: tests/cli/test_host.py",
    "mayfly --host box1,box2 status": "needs ssh to other boxes: tests/cli/test_host.py",
    "mayfly help --man submit | man -l -": "tests/cli/test_man_pages.py",
    "echo OLD NEW refs/heads/main | mayfly pipeline receive": "git alone calls it: tests/pool/test_push.py",
    "mayfly doctor --pools": "needs a GPU: tests/cli/test_doctor_pools.py",
    **{
        example.typed: "needs a GPU: tests/engine/test_reservations.py"
        for verb in ("reserve",)
        for example in EXAMPLES[verb]
    },
    **{
        example.typed: OF_OTHERS
        for verb in ("init", "images build", "images pull", "images refresh", "notify test")
        for example in EXAMPLES[verb]
    },
    "sudo mayfly install": OF_OTHERS,
    **{example.typed: "tests/cli/test_completion.py" for example in EXAMPLES["completion"]},
    "sudo mayfly doctor": ELSEWHERE,
    "sudo mayfly doctor --canary gpu-0 --timeout 5m": ELSEWHERE,
    "sudo mayfly bugreport -o report.json": ELSEWHERE,
    **{
        example.typed: "tests/real/boxes/test_backup_page.py"
        for verb in ("backup", "restore")
        for example in EXAMPLES[verb]
    },
    "sudo mayfly shell gpu-0": ELSEWHERE,
    "sudo mayfly shell gpu-0 -- nvidia-smi": ELSEWHERE,
}
# What is typed, in this order, and how it exits where that is not with 0.
BEFORE = (  # with a job that has ended, and a slot or two that are idle
    *("wait", "status", "describe", "events", "history", "logs", "plan", "report", "jobs", "runs"),
    *("config check", "config show", "config schema", "config migrate", "images list"),
    *("images select", "pipeline install-hook", "pipeline note", "pipeline render", "install"),
    *("gpus", "health", "notify list", "help", "push", "submit", "fetch", "pause", "resume"),
    *("reservations", "idle"),
)
RUNNING = ("top", "attach", "hold", "release", "cancel")  # with a job that runs
AFTER = ("cordon", "uncordon", "retry", "reload", "recycle", "drain")
LAST = "mayfly wait --for drained"
NOTHING = "no GPU, and no driver, is here"
CODES = {
    "mayfly submit --wait -- nvidia-smi": (127, NOTHING),
    "mayfly attach tovga8bsd -- nvidia-smi": (127, NOTHING),
    "mayfly attach tovga8bsd --extend 1h": (1, "it runs, and is not held yet"),
    "mayfly submit --cuda 11.8,12.4,12.8 --dir . -- make test": (4, "no pool has these versions"),
    "mayfly gpus": (1, NOTHING),
    "mayfly gpus heal --plan": (1, NOTHING),
    "mayfly idle test": (1, "the configuration has no [host.idle]"),
    "mayfly health --gpu 0 --wait 5": (3, NOTHING),
    "mayfly images select": (1, NOTHING),
    "mayfly runs 5vq2k8m1x --cancel": (1, "all of it has ended"),
    "mayfly runs 5vq2k8m1x --rerun --failed --wait": (1, "nothing of it has failed"),
}


class Desk:
    """A folder with what the examples name, and a shell in it."""

    def __init__(self, place: Path, manager: Manager, mayfly: Path) -> None:
        self.folder = place / "desk"
        self.bare = place / "lab.git"
        self.names: dict[str, str] = {BARE: str(self.bare)}
        programs = place / "programs"
        programs.mkdir()
        (programs / "mayfly").symlink_to(mayfly)
        (programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
        (programs / "sudo").chmod(0o755)
        self.environment = {
            **ENVIRONMENT,
            **manager.environment(),
            "PATH": f"{programs}:/usr/bin:/bin",
        }
        git(place, "init", "--quiet", "--bare", "--initial-branch", "main", "lab.git")
        git(place, "init", "--quiet", "--initial-branch", "main", "desk")
        write(self.folder, ".mayfly.toml", PIPELINE)
        write(self.folder, "train.py", "open('results', 'w').write('0.5')\n")
        commit(self.folder)
        git(self.folder, "remote", "add", "origin", str(self.bare))
        git(self.folder, "push", "--quiet", "--set-upstream", "origin", "main")
        shutil.copy(manager.config, self.folder / "new.toml")

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        """A line of the shell, with the names that are here."""
        for name, found in self.names.items():
            line = line.replace(name, found)
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def manager(worker_engine: PrivateEngine) -> Iterator[Manager]:
    pool = POOL.replace('"local"\nprovider', '"gpu"\nprovider').replace("slots = 1", "slots = 2")
    with Manager(worker_engine.url, pool) as made:
        made.start()
        yield made


def lines(*verbs: str) -> list[str]:
    """What is typed of those verbs."""
    found = [example.typed for verb in verbs for example in EXAMPLES[verb]]
    return [line for line in found if line not in NOT_TYPED and line != LAST]


def test_each_example_is_typed_or_says_why_not() -> None:
    everything = [example.typed for examples in EXAMPLES.values() for example in examples]
    typed = [*lines(*BEFORE, *RUNNING, *AFTER), LAST]
    assert sorted([*typed, *NOT_TYPED]) == sorted(everything)
    assert set(typed) >= CODES.keys()


@pytest.mark.skipif(shutil.which("jq") is None, reason="there is no jq")
@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_examples_do_what_they_say(manager: Manager, tmp_path: Path) -> None:
    with Relayed(tmp_path) as mayfly:
        desk = Desk(tmp_path, manager, mayfly.path)
        first = manager.submit("sh", "-c", "echo 0.5 >results", options=["--out", "results"])
        manager.ended(first)
        desk.names[JOB] = first
        pushed = desk.types("mayfly push --all --wait")
        assert pushed.returncode == 0, pushed.stderr
        desk.names[RUN] = manager.get("/v1/runs")["runs"][0]["run"]
        play(desk, lines(*BEFORE))
        assert (desk.folder / "results").read_text() == "0.5"
        assert (desk.folder / "out/results").read_text() == "0.5\n"
        desk.names[JOB] = manager.queue("sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done")
        manager.started(desk.names[JOB])
        play(desk, lines(*RUNNING))
        assert manager.ended(desk.names[JOB])["state"] == "cancelled"
        play(desk, [*lines(*AFTER), LAST])
        assert all(slot["cordoned"] for slot in manager.get("/v1/status")["slots"])


def play(desk: Desk, typed: list[str]) -> None:
    """Type them one after the other; each exits as it is to."""
    wrong = []
    for line in typed:
        done = desk.types(line)
        code, _ = CODES.get(line, (0, ""))
        if done.returncode != code:
            wrong.append(f"{line}: {done.returncode}\n{done.stdout}{done.stderr}")
    assert not wrong, "\n".join(wrong)
