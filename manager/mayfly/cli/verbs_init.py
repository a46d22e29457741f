"""``init``: looks at the host, asks what it cannot know, writes a commented configuration."""

from __future__ import annotations

import os
import re
import socket as sockets
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mayfly.cli.image_line import build_line
from mayfly.cli.init_text import Found, PoolAnswers, config_text
from mayfly.cli.options import ConfigOption
from mayfly.cli.paste import here, next_steps, pasted
from mayfly.cli.talk import config_path, say
from mayfly.cli.trouble import Trouble, Usage
from mayfly.cli.whole_file import replace_file
from mayfly.core.mounts import ca_problem
from mayfly.edge.sources import DEFAULT_FILE
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
            help="Where the service's runners belong, such as group:ID.",
        ),
    ] = None,
    credential: Annotated[
        str | None, typer.Option("--credential", help="The token's name for systemd.")
    ] = None,
    token_file: Annotated[
        str | None, typer.Option("--token-file", metavar="PATH", help="Or a file that holds it.")
    ] = None,
    plain_http: Annotated[
        bool,
        typer.Option(
            "--plain-http", help="Let the token go to an http:// URL, readable on the way."
        ),
    ] = False,
    ca: Annotated[
        str | None,
        typer.Option(
            "--ca",
            metavar="PATH",
            help="A PEM file of authorities to trust too, such as the service's own.",
        ),
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
    """Write a commented configuration for this host; never a secret, never over another file unasked."""
    from mayfly.edge.sources import main_file  # noqa: PLC0415

    given = {
        "--url": url,
        "--agent-pool": agent_pool,
        "--scope": scope,
        "--credential": credential,
        "--token-file": token_file,
        "--plain-http": plain_http or None,
    }
    alone = {
        "--provider": provider,
        "--name": name,
        "--slots": slots,
        "--gpus": gpus,
        "--ca": ca,
        **given,
    }
    for option in (option for option, value in alone.items() if value is not None):
        if from_prototype is not None:
            raise Usage(f"{option} is said by the prototype's command line already")
    if credential is not None and token_file is not None:
        raise Usage("the token is in --credential or in --token-file, not in both")
    authorities = _authorities(ca)
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
    questions = Questions(sys.stdin.isatty() and provider is None)
    chosen = questions.ask(
        f"Where do jobs come from ({', '.join(PROVIDERS)})",
        provider,
        PROVIDERS[0],
        lambda answer: _not_a_service(answer, given),
    )
    service = packages()[chosen]
    per_slot = gpus or 0
    if found.gpus:
        per_slot = questions.number("GPUs for each slot", gpus, 1 if found.nvidia else 0, least=0)
    room = found.gpus // per_slot if per_slot and found.gpus else 2
    wanted = PoolAnswers(
        provider=chosen,
        name=questions.ask("A name for the pool", name, chosen, partial(_wrong, service, "name")),
        slots=questions.number("How many slots", slots, max(1, room), least=1),
        gpus=per_slot,
        url=None
        if service.embedded
        else questions.ask(
            "Its URL",
            url,
            service.hints.url,
            partial(_wrong_url, service, plain_http=plain_http),
        ),
        place=questions.place(service, scope),
        group=agent_pool or service.hints.group_default,
        credential=credential,
        token_file=token_file,
        plain_http=plain_http,
        ca=authorities,
    )
    replace_file(path, config_text(found, wanted))
    _try(path)
    _images(ctx, path, found, build=not no_images)


def _authorities(ca: str | None) -> str | None:
    """The whole path of the file of authorities; ``Usage`` where it is none."""
    if ca is None:
        return None
    from mayfly.edge.mounted import MountedPaths  # noqa: PLC0415

    path = str(Path(ca).absolute())
    problem = ca_problem(MountedPaths().look([path])[path], f"--ca {ca}")
    if problem is not None:
        raise Usage(problem)
    return path


def _not_a_service(answer: str, given: Mapping[str, str | bool | None]) -> str | None:
    """Why jobs cannot come from there; ``None``: they can, and no option would be ignored."""
    if answer not in PROVIDERS:
        return f"there is no {answer!r}; there are {', '.join(PROVIDERS)}"
    service = packages()[answer]
    taken = {
        "--agent-pool": bool(service.hints.group_key),
        "--scope": bool(service.hints.place_key),
    }
    for option, value in given.items():
        if value is not None and not taken.get(option, not service.embedded):
            return f"{option} means nothing to {answer}"
    return None


def _wrong(service: Package, key: str, answer: str, *, plain_http: bool = False) -> str | None:
    """What the configuration would say of a key that has this value; ``None``: nothing."""
    from mayfly.edge.config import ConfigError  # noqa: PLC0415  pydantic is heavy
    from mayfly.edge.sources import Layer, merge  # noqa: PLC0415
    from mayfly.providers.configuration import check  # noqa: PLC0415

    pool: dict[str, object] = {
        "name": "answer",
        "provider": service.name,
        "plain_http": plain_http,
    }
    if key == "name":
        pool[key] = answer
    else:
        pool[service.name] = {key: answer}
    try:
        check(merge([Layer("answers", {"pool": [pool]})]), "answers")
    except ConfigError as error:
        return next((problem.text for problem in error.problems if problem.key == key), None)
    return None


def _wrong_url(service: Package, answer: str, *, plain_http: bool) -> str | None:
    """The same of its URL, and how an `http://` one is taken here."""
    why = _wrong(service, "url", answer, plain_http=plain_http)
    if why is None:
        return None
    if plain_http or _wrong(service, "url", answer, plain_http=True) is not None:
        return f"the URL {why}"
    return f"the URL {why}, here by --plain-http"


def _move(source: str, found: Found, path: Path, *, force: bool) -> None:
    """Write what the prototype's command line said, its token into a file beside."""
    from mayfly.cli import prototype  # noqa: PLC0415

    if source != "-":
        raise Usage(
            "--from-prototype reads standard input alone: a token has no place in an argument"
        )
    old = prototype.parse(sys.stdin.read())
    token_file = path.parent / "credentials" / "azure-token"
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

    where = here(None if path == DEFAULT_FILE else str(path))
    for provider, name in missing(str(path)) if found.engine is not None else []:
        found_package = package(provider)
        if build and (found_package is None or found_package.client is None):
            build_image(ctx, [name], provider=provider, config=str(path))
        else:
            line = pasted(build_line(provider, name), where)
            say(f"an image is still to be built:\n  {line}")
    say(f"next: {next_steps(where)}")


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
    engine = (
        "no Docker Engine that answers" if found.engine is None else f"Engine at {found.engine}"
    )
    gpus = f"{found.gpus} GPUs" if found.gpus else "no GPU"
    return f"found {engine}, {gpus}"


class Questions:
    """Flags first; then, on a terminal, what a person types; then what is sensible.

    A person who answers wrongly is told why and asked again; a wrong flag is ``Usage``.
    """

    def __init__(self, asking: bool) -> None:
        self._asking = asking

    def ask(
        self,
        question: str,
        flag: str | None,
        otherwise: str,
        wrong: Callable[[str], str | None],
    ) -> str:
        """A text; ``wrong`` says what is wrong with one, or nothing."""
        if flag is not None:
            if (why := wrong(flag)) is not None:
                raise Usage(why)
            return flag
        while self._asking:
            print(f"{question} [{otherwise}]: ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            if not line:
                raise Trouble("nobody answers any more: nothing is written")
            answer = line.strip() or otherwise
            if (why := wrong(answer)) is None:
                return answer
            say(why)
        if (why := wrong(otherwise)) is not None:
            raise Usage(why)
        return otherwise

    def number(self, question: str, flag: int | None, otherwise: int, *, least: int) -> int:
        """A whole number."""

        def wrong(answer: str) -> str | None:
            if answer.isascii() and answer.isdigit() and least <= int(answer) <= 1000:
                return None
            return f"{answer!r} is not a whole number from {least} to 1000"

        return int(self.ask(question, None if flag is None else str(flag), str(otherwise), wrong))

    def place(self, provider: Package, flag: str | None) -> str | None:
        """Where a service's runners belong; ``None`` where ``url`` names that, or nobody said."""
        key = provider.hints.place_key
        if not key:
            return None

        def wrong(answer: str) -> str | None:
            return None if answer == URL_SAYS else _wrong(provider, key, answer)

        asked = f"Its runners belong to ({URL_SAYS}, {provider.hints.places})"
        answer = self.ask(asked, flag, URL_SAYS, wrong)
        return None if answer == URL_SAYS else answer
