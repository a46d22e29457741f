"""The lines of a log at GitLab where jobs run in containers: any shell prints them, and fails of none."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.core.model import FIGURES_TARGET
from mayfly.providers.gitlab.contained_lines import FIRST, LAST

SHELLS = [[name] for name in ("bash", "dash") if shutil.which(name)]
if shutil.which("bash"):
    SHELLS.append(["bash", "--posix"])
if shutil.which("busybox"):
    SHELLS.append(["busybox", "sh"])
FIGURES = {"first": "mayfly: slot s\n  a\\b  $(id)\n", "last": "mayfly: GPU 0\n"}
MEMORY = "mayfly: memory: "


@pytest.fixture
def figures() -> Iterator[Path]:
    """A manager's, that every user can read."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        for file, text in FIGURES.items():
            (place / file).write_text(text)
        yield place


def as_somebody() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(64321)
        os.setuid(64321)


def ran(shell: list[str], script: str, place: Path) -> tuple[str, int, str]:
    """A script as gitlab-runner makes it, in a shell at the end of a pipe: what it printed but for the
    memory, its code, and its errors.
    """
    first, last = (text.replace(FIGURES_TARGET, str(place)) for text in (FIRST, LAST))
    body = f"{first}\n{script}\n{last}".replace("'", "'\\''")
    done = subprocess.run(
        shell,
        input=f"set -e\n: | eval '{body}'\nexit 0\n",
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/"},
        preexec_fn=as_somebody,
    )
    lines = done.stdout.splitlines(keepends=True)
    assert sum(line.startswith(MEMORY) for line in lines) <= 1
    return (
        "".join(line for line in lines if not line.startswith(MEMORY)),
        done.returncode,
        done.stderr,
    )


SCRIPTS = {  # what it prints between the lines, and its code
    "echo works": ("works\n", 0),
    "echo fails; false; echo never": ("fails\n", 1),
    "echo ends; exit 7": ("ends\n", 7),
    "set +e; false; echo goes on": ("goes on\n", 0),
    "set -u; echo strict": ("strict\n", 0),
    "(exit 4) || echo caught": ("caught\n", 0),
    "ulimit -u 1 2>/dev/null || ulimit -p 1; echo alone": ("alone\n", 0),
    "ulimit -u 1 2>/dev/null || ulimit -p 1; echo alone; exit 3": ("alone\n", 3),
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[-1])
def test_the_lines_stand_around_a_script_however_it_ends(
    shell: list[str], script: str, figures: Path
) -> None:
    between, code = SCRIPTS[script]
    assert ran(shell, script, figures) == (
        f"{FIGURES['first']}{between}{FIGURES['last']}",
        code,
        "",
    )


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[-1])
def test_a_script_s_own_trap_and_names_are_its_own_and_no_figures_are_no_lines(
    shell: list[str], figures: Path
) -> None:
    cleared = "trap 'echo cleared up' EXIT; "
    assert ran(shell, f"{cleared}echo works", figures) == (
        f"{FIGURES['first']}works\n{FIGURES['last']}cleared up\n",
        0,
        "",
    )
    assert ran(shell, f"{cleared}exit 5", figures) == (f"{FIGURES['first']}cleared up\n", 5, "")
    for taken in ("unset -f _mayfly_lines", "unset _mayfly_over", "_mayfly_over=x"):
        said, code, _ = ran(shell, f"{taken}; echo works; exit 6", figures)
        assert (said.removesuffix(FIGURES["last"]), code) == (f"{FIGURES['first']}works\n", 6)
        assert ran(shell, f"set -u; {taken}; echo works", figures)[1] == 0
    assert ran(shell, "echo works", figures / "none") == ("works\n", 0, "")


@pytest.mark.parametrize("end", ["", "; false", "; exit 7"])
@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[-1])
def test_a_file_that_a_script_makes_its_output_has_no_lines_of_ours(
    shell: list[str], end: str, figures: Path
) -> None:
    figures.chmod(0o777)
    made = figures / "result.json"
    ran(shell, f"exec >{made}; echo {{}}{end}", figures)
    assert made.read_text() == "{}\n"
