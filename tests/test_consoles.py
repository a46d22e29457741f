"""Every console block of the pages: what is typed can be typed, and a test runs it or a mark says why."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from mayfly.cli.verbs import app
from mayfly.service.pending_command import Answer
from tests.cli.conftest import COMMAND
from tests.command_lines import bare, parsed, simple
from tests.fakes.nvml import Hardware
from tests.pages import ROOT, Console, assert_is_there, consoles
from tests.service.standin import StandIn, slot, status
from tests.terminal import environment

CONSOLES = consoles()
HEADINGS = ["SLOT", "PROVIDER", "PHASE", "FOR", "GPU", "IMAGE", "JOB", "NOTE"]
# What a page may call beside mayfly and what is of this checkout.
OTHERS = {
    *("curl", "cut", "docker", "echo", "export", "git", "grep", "install", "journalctl", "ln"),
    *("ansible-playbook", "cd", "gunzip", "gzip", "mkdir", "ssh-keygen", "ssh-keyscan"),
    *("base64", "cmp", "cp", "helm", "kubectl", "nvidia-smi", "pipx", "rm", "sleep"),
    *("python3", "ssh", "ssh-add", "systemctl", "usermod", "uv", "/opt/mayfly/bin/pip"),
    *("apt-get", "promtool"),
}
GOOD = '[host]\nname = "lab"\n[[pool]]\nname = "local"\nslots = 2\n'

HERE = "tests/test_consoles.py"
# Who types a page's blocks and looks at what appears: all of the page, or the block of that number.
RUN = {
    "docs/how-to/install.md": (
        "tests/systemd/test_unit.py",
        "test_the_how_to_types_what_was_typed_here_and_shows_what_appeared",
    ),
    **{
        f"docs/grafana/README.md {number}": (
            "tests/real/metrics/test_page.py",
            "test_each_line_leads_from_nothing_to_numbers_and_alerts_in_prometheus",
        )
        for number in (1, 3, 4)
    },
    "docs/reference/metrics.md": (
        "tests/real/metrics/test_board.py",
        "test_the_socket_shows_what_the_page_of_metrics_does",
    ),
    "docs/how-to/quick-start.md": (
        "tests/pool/test_quick_start.py",
        "test_the_quick_start_is_what_is_typed_and_what_appears",
    ),
    **{
        f"docs/how-to/{provider}.md 0": (
            "tests/pool/test_four_lines.py",
            "test_four_typed_lines_lead_from_nothing_to_a_job",
        )
        for provider in ("azure", "github", "gitlab")
    },
    "docs/how-to/gitea.md 0": (
        "tests/real/gitea/test_gitea_page.py",
        "test_four_typed_lines_lead_to_a_green_job",
    ),
    "docs/how-to/several-cuda-versions.md 0": (HERE, "test_images_are_chosen_as_the_page_shows"),
    "docs/how-to/several-cuda-versions.md 1": (HERE, "test_images_are_chosen_as_the_page_shows"),
    "docs/how-to/pipelines.md 1": (
        "tests/pipelines/test_page.py",
        "test_what_the_page_types_prints_what_it_shows",
    ),
    "docs/how-to/pipelines.md 2": (
        "tests/pipelines/test_page.py",
        "test_what_the_page_types_prints_what_it_shows",
    ),
    "docs/how-to/pipelines.md 3": (
        "tests/pipelines/test_page.py",
        "test_the_page_s_file_of_cuda_versions_is_taken",
    ),
    **{
        f"docs/how-to/git-hook.md {number}": (
            "tests/pipelines/test_hook_page.py",
            "test_the_page_is_what_is_typed_and_what_appears",
        )
        for number in range(3)
    },
    **{
        f"docs/how-to/kubernetes.md {number}": (
            "tests/real/kubernetes/test_manager_pages.py",
            "test_each_line_leads_from_nothing_to_a_job_of_a_manager_beside_the_cluster",
        )
        for number in (0, 1, 3, 4, 5, 6)
    },
    **{
        f"docs/how-to/manager-in-a-cluster.md {number}": (
            "tests/real/kubernetes/test_manager_pages.py",
            "test_each_line_leads_from_an_image_to_a_job_from_the_desk",
        )
        for number in (0, 1, 3, 4)
    },
    "docs/how-to/boxes-and-a-cluster.md": (
        "tests/real/kubernetes/test_manager_pages.py",
        "test_a_pool_moves_from_a_box_to_the_cluster_line_by_line",
    ),
    **{
        f"docs/how-to/backup.md {number}": (
            "tests/real/boxes/test_backup_page.py",
            "test_each_line_of_the_page_leads_from_a_box_to_the_next",
        )
        for number in (0, 2, 3, 4)
    },
    "docs/how-to/air-gapped.md": (
        "tests/real/test_air_gapped.py",
        "test_what_was_carried_in_makes_a_box_that_runs_a_job",
    ),
    "docs/how-to/idle.md 1": (
        "tests/cli/test_idle.py",
        "test_the_report_ends_with_the_hours_and_the_money_as_the_page_shows",
    ),
    "docs/how-to/report.md": (
        "tests/cli/test_report.py",
        "test_what_the_page_types_prints_what_it_shows",
    ),
    "docs/reference/configuration.md": (
        HERE,
        "test_the_configuration_is_looked_at_as_the_page_shows",
    ),
    "docs/how-to/debian.md": (
        "tests/real/packages/test_debian.py",
        "test_it_is_installed_set_up_and_runs_a_job",
    ),
    "docs/reference/control-socket.md": (
        HERE,
        "test_the_control_socket_is_asked_as_the_page_shows",
    ),
    "CONTRIBUTING.md 1": (HERE, "test_make_help_is_what_the_page_shows"),
}
OTHERS |= {"apt", "debconf-set-selections"}  # of a package


def named(console: Console) -> str:
    return f"{console.page} {console.number}"


def of(page: str) -> list[Console]:
    return [console for console in CONSOLES if console.page == page]


@pytest.mark.parametrize("console", CONSOLES, ids=named)
def test_each_is_run_by_a_test_or_says_why_not(console: Console) -> None:
    runner = RUN.get(console.page) or RUN.get(named(console))
    assert (runner is None) != (console.mark is None), "either a runner or a mark, and not both"
    if runner is not None:
        assert_is_there(f"`{runner[0]}::{runner[1]}`")


def test_no_runner_is_of_a_block_that_is_gone() -> None:
    there = {console.page for console in CONSOLES} | {named(console) for console in CONSOLES}
    assert RUN.keys() <= there


@pytest.mark.parametrize("console", CONSOLES, ids=named)
def test_what_is_typed_is_there_to_be_typed(console: Console) -> None:
    for command, _ in console.typed:
        for words in map(bare, simple(command)):
            if words:
                is_there(words)


def is_there(words: list[str]) -> None:
    first, *rest = words
    if first == "mayfly":
        parsed(typer.main.get_command(app), rest)
    elif first == "make":
        (target,) = [word for word in rest if "=" not in word]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif first == ".venv/bin/python":  # a bare machine has no `python`
        assert rest[0] == "-m"
        assert importlib.util.find_spec(rest[1]) is not None
    elif first.startswith("scripts/"):
        assert os.access(ROOT / first, os.X_OK)
    else:
        assert first in OTHERS, words
    for option, value in pairwise(rest):
        if option == "-f":
            assert (ROOT / value).exists()
        elif option == "--build-arg":
            name = value.partition("=")[0]
            assert re.search(
                rf"^ARG {name}\b", (ROOT / "dockerfiles/Dockerfile").read_text(), re.MULTILINE
            )


def test_the_slots_of_a_status_have_its_columns_and_gpus_as_they_are_shown() -> None:
    shown = 0
    for console in CONSOLES:
        for command, lines in console.typed:
            table = [line for line in lines if line.startswith("SLOT ")]
            if re.search(r"mayfly status\b", command) and table:
                assert table[0].split() == HEADINGS
                at = table[0].index("GPU")
                for line in lines[lines.index(table[0]) + 1 :]:
                    if re.match(r"[a-z]+-\d+ ", line):
                        cell = line[at:].split("  ")[0].strip()
                        assert re.fullmatch(r"-|GPU-[0-9a-f]{4}|\d+ GPUs", cell), line
                        shown += 1
    assert shown > 10


def test_what_the_pipelines_call_is_in_the_images_that_their_pages_build() -> None:
    for name, example in (("azure", "azure-pipelines.yml"), ("gitlab", "gitlab-ci.yml")):
        text = (ROOT / "docs/how-to" / example).read_text()
        (build,) = (
            command
            for console in of(f"docs/how-to/{name}.md")
            for command, _ in console.typed
            if "images build" in command
        )
        assert not re.search(r"(?<![/\w])python (?!3)", text), "the images have no `python`"
        assert "python3 -m venv" in text
        assert "python3-venv" in build


def mayfly(command: str, **env: str) -> list[str]:
    """What a command prints on both streams, as a person sees it."""
    words = bare(shlex.split(command, comments=True))
    assert words[0] == "mayfly"
    ran = subprocess.run(
        [*COMMAND, *words[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=environment(**env),
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout.splitlines()


def test_images_are_chosen_as_the_page_shows() -> None:
    with Hardware(gpus=1, cuda=12080) as hardware:
        for console in of("docs/how-to/several-cuda-versions.md")[:2]:
            for command, lines in console.typed:
                assert sorted(mayfly(command, **hardware.environment())) == sorted(lines)


def test_the_configuration_is_looked_at_as_the_page_shows(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(GOOD)
    (console,) = of("docs/reference/configuration.md")
    for command, _ in console.typed:
        assert mayfly(command, MAYFLY_CONFIG=str(path))


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_control_socket_is_asked_as_the_page_shows(tmp_path: Path) -> None:
    manager = StandIn(tmp_path / "s", lambda _: Answer(201, {"job": "tovga8bsd"}))
    manager.publish(status(slot("local-0")))
    try:
        (console,) = of("docs/reference/control-socket.md")
        for command, lines in console.typed:
            words = shlex.split(command.replace("/run/mayfly/control.sock", str(manager.path)))
            said = subprocess.run([*words, "--silent", "--fail"], capture_output=True, check=True)
            if lines:
                shown = [re.escape(line).replace("…", ".*") for line in lines]
                assert re.fullmatch("\n".join(shown), said.stdout.decode().strip())
    finally:
        manager.close()


def test_make_help_is_what_the_page_shows() -> None:
    (_, lines), *_ = of("CONTRIBUTING.md")[1].typed
    said = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert tuple(said.stdout.splitlines()) == lines
