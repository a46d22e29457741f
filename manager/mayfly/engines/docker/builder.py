"""Building and fetching images with the operator's own ``docker`` command, showing its progress.

The Engine's API has only the classic builder, and BuildKit's protocol is no small matter: the command has
both.
What is built needs nothing from a checkout: the context is made from the files that Mayfly carries.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from mayfly.edge.faults import Refused
from mayfly.engines.docker.registry_faults import unfetched

PARTS = ("agents", "dockerfiles")


@contextmanager
def context() -> Iterator[Path]:
    """A folder with what a build needs, for as long as it lasts."""
    with tempfile.TemporaryDirectory(prefix="mayfly-build-") as made:
        place = Path(made)
        for part in PARTS:
            with as_file(files("mayfly") / "data" / part) as source:
                shutil.copytree(source, place / part)
        yield place


def build(
    docker_host: str,
    *,
    target: str,
    tag: str,
    arguments: Mapping[str, str],
    labels: Mapping[str, str],
    options: Sequence[str] = (),
) -> int:
    """Build one target of the Dockerfile; docker's exit code. Its progress goes to standard error."""
    words = ["build", "--file", "dockerfiles/Dockerfile", "--target", target, "--tag", tag]
    if target != "local":
        arguments = {
            "WANTED": target,
            **arguments,
        }  # the classic builder goes through every stage before it
    for name, value in arguments.items():
        words += ["--build-arg", f"{name}={value}"]
    for name, value in labels.items():
        words += ["--label", f"{name}={value}"]
    with context() as place:
        return _docker(docker_host, [*words, *options, "."], place)


def built(docker_host: str, tag: str, label: str, text: str) -> str:
    """The id of the image that is called so and has that label, as it was just built; ``Refused`` where the
    Engine has none: a builder elsewhere keeps what it builds to itself.
    """
    form = f'{{{{.Id}}}} {{{{index .Config.Labels "{label}"}}}}'
    words = [_program(), "image", "inspect", "--format", form, tag]
    done = subprocess.run(words, env=_environment(docker_host), capture_output=True, check=False)
    image, _, said = done.stdout.decode(errors="replace").rstrip("\n").partition(" ")
    if done.returncode != 0 or said != text:
        raise Refused(f"the Engine does not have {tag} as it was built: look at `docker buildx ls`")
    return image


def pull(docker_host: str, source: str, reference: str) -> None:
    """Fetch ``source`` from its registry and call it ``reference``; its progress goes to standard error.

    A ``Fault`` says in one sentence why it could not be fetched.
    """
    program, environment = _program(), _environment(docker_host)
    words = [["pull", source], *([["tag", source, reference]] if source != reference else [])]
    for step in words:
        done = subprocess.run(
            [program, *step], env=environment, stdout=2, stderr=subprocess.PIPE, check=False
        )
        if done.returncode != 0:
            raise unfetched(source, done.stderr.decode(errors="replace"))


def converse(docker_host: str, container: str) -> int:
    """Start a container with this process's own input and output; the exit code of what runs in it."""
    words = ["start", "--attach", "--interactive", container]
    return subprocess.run(
        [_program(), *words], env=_environment(docker_host), check=False
    ).returncode


def _docker(docker_host: str, words: Sequence[str], place: Path | None) -> int:
    program, environment = _program(), _environment(docker_host)
    if words[0] == "build" and not _has_buildx(program, environment):
        environment["DOCKER_BUILDKIT"] = "0"  # a client without buildx needs it said
        # Else the classic builder keeps the container of the step that failed.
        words = ["build", "--force-rm", *words[1:]]
    done = subprocess.run([program, *words], cwd=place, env=environment, stdout=2, check=False)
    return done.returncode


def _program() -> str:
    program = shutil.which("docker")
    if program is None:
        raise Refused("the docker command is missing: install docker-cli, or do this elsewhere")
    return program


def _environment(docker_host: str) -> dict[str, str]:
    environment = {**os.environ, "DOCKER_HOST": docker_host}
    environment.pop("DOCKER_CONTEXT", None)
    return environment


def _has_buildx(program: str, environment: Mapping[str, str]) -> bool:
    probe = [program, "buildx", "version"]
    return subprocess.run(probe, env=environment, capture_output=True, check=False).returncode == 0
