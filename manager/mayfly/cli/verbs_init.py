"""``init``: looks at the host, asks what it cannot know, writes a commented configuration."""

from __future__ import annotations

import os
import re
import socket as sockets
import sys
from pathlib import Path
from typing import Annotated

import typer

from mayfly.cli.image_line import build_line
from mayfly.cli.init_text import Found, PoolAnswers, config_text
from mayfly.cli.options import ConfigOption, config_path, say
from mayfly.cli.trouble import Trouble, Usage
from mayfly.cli.whole_file import replace_file
from mayfly.providers import Package
from mayfly.providers.installed import package, packages

SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock")
PROVIDERS = tuple(packages())
URL_SAYS = "url"  # the group or project that the URL names


def init(
    ctx: typer.Context,
    *,
    provider: Annotated[
        str | None, typer.Option("--provider", help=f"One of {', '.join(PROVIDERS)}.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The pool's name.")] = None,
    slots: Annotated[int | None, typer.Option("--slots", min=1, help="How many slots.")] = None,
    gpus: Annotated[int | None, typer.Option("--gpus", min=0, help="GPUs of each slot.")] = None,
    url: Annotated[str | None, typer.Option("--url", help="The service's URL.")] = None,
    agent_pool: Annotated[
        str | None, typer.Option("--agent-pool", help="Its agent pool or runner group.")
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(
            "--scope",
            metavar="PLACE",
            help="GitLab: where its runners belong, group:ID, project:ID or instance.",
        ),
    ] = None,
    credential: Annotated[
        str | None, typer.Option("--credential", help="The token's name for systemd.")
    ] = None,
    token_file: Annotated[
        str | None, typer.Option("--token-file", metavar="PATH", help="Or a file that holds it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Do not build the images; say how instead.")
    ] = False,
    from_prototype: Annotated[
        str | None,
        typer.Option(
            "--from-prototype",
            metavar="-",
            help="Read the 2019 prototype's command line from standard input instead of asking.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Write a commented configuration for this host; never a secret, never over another file."""
    from mayfly.edge.sources import main_file  # noqa: PLC0415

    path = main_file(config_path(ctx, config), os.environ)
    if path.exists() and not force:
        raise Trouble(f"{path} exists; write over it with --force, or name another with --config")
    found = look()
    say(_told(found))
    if found.refused is not None:
        say(found.refused)
    if from_prototype is not None:
        _move(from_prototype, found, path, force=force)
        _images(ctx, path, found, build=not no_images)
        return
    asking = sys.stdin.isatty() and provider is None
    questions = Questions(asking)
    chosen = questions.choice("Which service do jobs come from", provider, PROVIDERS[0], PROVIDERS)
    service = packages()[chosen]
    per_slot = gpus or 0
    if found.gpus:
        per_slot = questions.number("GPUs for each slot", gpus, 1 if found.nvidia else 0)
    room = found.gpus // per_slot if per_slot and found.gpus else 2
    wanted = PoolAnswers(
        provider=chosen,
        name=questions.word("A name for the pool", name, chosen),
        slots=questions.number("How many slots", slots, max(1, room)),
        gpus=per_slot,
        url=questions.service(service, "Its URL", url),
        place=questions.place(service, scope),
        group=agent_pool or service.hints.group_default,
        credential=credential,
        token_file=token_file,
    )
    replace_file(path, config_text(found, wanted))
    _try(path)
    _images(ctx, path, found, build=not no_images)


def _move(source: str, found: Found, path: Path, *, force: bool) -> None:
    """Write what the prototype's command line said, its token into a file beside."""
    from mayfly.cli import prototype  # noqa: PLC0415

    if source != "-":
        raise Usage(
            "--from-prototype reads standard input alone: a token has no place in an argument"
        )
    old = prototype.parse(sys.stdin.read())
    token_file = path.with_name("azure-token")
    prototype.keep_token(old, token_file, force=force)
    replace_file(path, prototype.text_of(old, found, str(token_file.absolute())))
    say(
        f"the token is in {token_file}, which only its owner can read; it stood in `ps` and in shell"
    )
    say("histories until now, so make a new one at the service and write it there")
    _try(path)


def _try(path: Path) -> None:
    """See that the file that was written can be used."""
    from mayfly.cli.loading import load_config  # noqa: PLC0415  pydantic is heavy

    try:
        load_config(str(path))
    except Trouble as trouble:
        raise Trouble(f"{path} is written, and still needs you:\n{trouble}") from trouble
    say(f"{path} is written")


def _images(ctx: typer.Context, path: Path, found: Found, *, build: bool) -> None:
    """Build what images the configuration names and the Engine does not have; or say how that is done.

    One with a service's client is never built unasked: its version and checksum are a person's choice.
    """
    from mayfly.cli.verbs_images import build as build_image  # noqa: PLC0415
    from mayfly.cli.verbs_images import missing  # noqa: PLC0415

    for provider, name in missing(str(path)) if found.engine is not None else []:
        found_package = package(provider)
        if build and (found_package is None or found_package.client is None):
            build_image(ctx, [name], provider=provider, config=str(path))
        else:
            say(f"an image is still to be built: {build_line(provider, name)}")
    say("next: mayfly doctor, then systemctl enable --now mayfly")


def look() -> Found:
    """What this host has: an Engine and its runtimes, GPUs by their device files."""
    from mayfly.core.model import HostSpec  # noqa: PLC0415
    from mayfly.edge.config import default_host_name  # noqa: PLC0415
    from mayfly.edge.faults import Fault, Refused  # noqa: PLC0415
    from mayfly.engines import load as load_engine  # noqa: PLC0415  brings docker

    devices = [p for p in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)]
    host = default_host_name(sockets.gethostname())
    refused = None
    for address in _engines():
        try:
            info = load_engine(HostSpec(host, docker_host=address), timeout=5).facts()
        except Refused as fault:
            refused = refused or str(fault)
            continue
        except Fault:
            continue
        version = ".".join(str(part) for part in info.version)
        runtimes = tuple(sorted(info.runtimes))
        return Found(host, address, version, runtimes, len(devices), refused)
    return Found(host, None, gpus=len(devices), refused=refused)


def _engines() -> list[str]:
    named = os.environ.get("DOCKER_HOST", "")
    first = [named] if named.startswith("unix://") else []
    return [*first, *(f"unix://{path}" for path in SOCKETS if Path(path).exists())]


def _told(found: Found) -> str:
    engine = "no Docker Engine answers" if found.engine is None else f"Engine at {found.engine}"
    gpus = f"{found.gpus} GPUs" if found.gpus else "no GPU"
    return f"found {engine}, {gpus}"


class Questions:
    """Flags first; then, on a terminal, what a person types; then what is sensible."""

    def __init__(self, asking: bool) -> None:
        self._asking = asking

    def word(self, question: str, flag: str | None, otherwise: str) -> str:
        """A text."""
        if flag is not None:
            return flag
        if not self._asking:
            return otherwise
        print(f"{question} [{otherwise}]: ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip() or otherwise

    def choice(self, question: str, flag: str | None, otherwise: str, of: tuple[str, ...]) -> str:
        """One of a few words."""
        answer = self.word(f"{question} ({', '.join(of)})", flag, otherwise)
        if answer not in of:
            raise Usage(f"there is no {answer!r}; there are {', '.join(of)}")
        return answer

    def number(self, question: str, flag: int | None, otherwise: int) -> int:
        """A whole number."""
        answer = self.word(question, None if flag is None else str(flag), str(otherwise))
        if not answer.isdigit():
            raise Usage(f"{answer!r} is not a whole number")
        return int(answer)

    def service(self, provider: Package, question: str, flag: str | None) -> str | None:
        """What only a service has; the embedded queue is not asked."""
        return None if provider.embedded else self.word(question, flag, provider.hints.url)

    def place(self, provider: Package, flag: str | None) -> str | None:
        """Where a service's runners belong; ``None`` where ``url`` names that, or nobody said."""
        if not provider.hints.place_key or flag is not None:
            return flag
        asked = "Its runners belong to (url, group:ID, project:ID, instance)"
        answer = self.word(asked, None, URL_SAYS)
        return None if answer == URL_SAYS else answer
