"""``init``: from nothing to a pool that takes jobs: asked, looked at, written, started, tried.

Nothing is written before the service has let the pool be; then all of it is written, or none.
"""

from __future__ import annotations

import os
import re
import socket as sockets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import typer

from mayfly.cli.image_line import build_line
from mayfly.cli.init_text import Found, PoolAnswers, config_text, pool_text
from mayfly.cli.interview import PROVIDERS, Interview, Interviewed, credential_of
from mayfly.cli.options import ConfigOption
from mayfly.cli.paste import BOOTED, here, next_steps, pasted
from mayfly.cli.setup_answers import Answers, read_answers
from mayfly.cli.setup_files import (
    Existing,
    Layout,
    WantedFile,
    changed,
    differences,
    drop_ins,
    existing,
    place_of,
    secret_files,
    unfit,
    write,
)
from mayfly.cli.setup_flow import Question
from mayfly.cli.setup_look import Unserved, checked
from mayfly.cli.setup_questions import Questions
from mayfly.cli.setup_secret import pointed
from mayfly.cli.talk import client, config_path, say
from mayfly.cli.trouble import Trouble, Usage
from mayfly.cli.whole_file import replace_file
from mayfly.core.model import Config, PoolSpec, Severity
from mayfly.core.mounts import ca_problem
from mayfly.core.plain_text import clean
from mayfly.edge.sources import DEFAULT_FILE
from mayfly.providers.installed import packages

SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock")


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
        str | None,
        typer.Option(
            "--token-file",
            metavar="PATH",
            help="A file that holds it and stays where it is; - reads standard input, and stores it.",
        ),
    ] = None,
    app: Annotated[
        str | None,
        typer.Option(
            "--app",
            metavar="ID",
            help="An App's id, where the service has such: the token is its private key.",
        ),
    ] = None,
    plain_http: Annotated[
        bool,
        typer.Option(
            "--plain-http", help="Let the token go to an http:// URL, readable on the way."
        ),
    ] = False,
    containers: Annotated[
        bool, typer.Option("--containers", help="Let jobs bring containers of their own.")
    ] = False,
    ca: Annotated[
        str | None,
        typer.Option(
            "--ca",
            metavar="PATH",
            help="A PEM file of authorities to trust too, such as the service's own.",
        ),
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option(
            "--proxy",
            metavar="URL",
            help="What the service is reached through; this environment's if absent.",
        ),
    ] = None,
    no_proxy: Annotated[
        str | None,
        typer.Option("--no-proxy", metavar="HOSTS", help="What is reached without it."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FILE", help="Answers in a TOML file, one key for each option."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at the service and show what would be written.")
    ] = False,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Write what nobody has tried at the service.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write over what differs; it is kept as .bak beside."),
    ] = False,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Do not build the images; say how instead.")
    ] = False,
    no_start: Annotated[
        bool, typer.Option("--no-start", help="Write only: no unit, no start, no waiting.")
    ] = False,
    canary: Annotated[
        bool, typer.Option("--canary", help="Run a job of the pool's own queue at the end.")
    ] = False,
    canary_job: Annotated[
        str | None,
        typer.Option(
            "--canary-job",
            metavar="JOB",
            help="Run that workflow or pipeline of the service at the end, as OWNER/REPOSITORY/FILE.yml or "
            "PROJECT/PIPELINE.",
        ),
    ] = None,
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
    """Set this host up: ask, look at the service, write, build, start, and wait until a slot is idle."""
    from mayfly.edge.sources import main_file  # noqa: PLC0415

    typed = Answers(
        provider, name, slots, gpus, url, agent_pool, scope, credential, token_file, app,
        plain_http or None, ca, proxy, no_proxy, canary_job, canary or None, containers or None,
    )  # fmt: skip
    path = main_file(config_path(ctx, config), os.environ)
    if from_prototype is not None:
        for option in [*typed.of_a_pool(), *(["--from"] if source is not None else [])]:
            raise Usage(f"{option} is said by the prototype's command line already")
        # Only a file is written and images are built: nothing is looked at, started or tried.
        others = {"--dry-run": dry_run, "--unchecked": unchecked}
        for option in [*typed.given(), *(name for name, said in others.items() if said)]:
            raise Usage(f"{option} means nothing to --from-prototype, which only writes")
        _prototype(ctx, from_prototype, path, force=force, build=not no_images)
        return
    answers = _joined(typed, read_answers(source)) if source is not None else typed
    if answers.credential is not None and answers.token_file is not None:
        raise Usage("the token is in --credential or in --token-file, not in both")
    answers = replace(answers, ca=_authorities(answers.ca))
    unit = path == DEFAULT_FILE and BOOTED.is_dir()
    setup = Setup(
        ctx,
        Layout(path, unit),
        Questions(sys.stdin.isatty() and source is None and answers.provider is None),
        look(),
        dry_run=dry_run,
        unchecked=unchecked,
        force=force,
        build=not no_images,
        start=unit and not no_start,
    )
    setup.do(answers)


def _joined(typed: Answers, told: Answers) -> Answers:
    """What the options and the answers file say together; ``Usage`` where both say the same thing."""
    twice = [option for option in typed.given() if option in told.given()]
    if twice:
        raise Usage(f"{twice[0]} is said by --from already")
    said = {
        one.name: value for one in fields(typed) if (value := getattr(typed, one.name)) is not None
    }
    return replace(told, **said)


@dataclass(frozen=True, slots=True)
class Setup:
    """One run of the verb."""

    ctx: typer.Context
    layout: Layout
    questions: Questions
    found: Found
    dry_run: bool = False
    unchecked: bool = False
    force: bool = False
    build: bool = True
    start: bool = False

    def do(self, answers: Answers) -> None:
        """All of it; an interruption is told what was done."""
        written, left = False, ""
        try:
            self._see_writable()
            say(_told(self.found))
            if self.found.refused is not None:
                say(self.found.refused)
            there = existing(self.layout.config)
            if self._repairs(there, answers):
                files, pools, left = self._mended()
            else:
                files, pools = self._set_up(answers, there)
            if self.dry_run:
                return
            write(files)
            written = True
            for file in files:
                say(f"{file.path} is written")
            self._go_on(files, pools, answers)
            if left:
                raise Trouble(left)
        except KeyboardInterrupt:
            say(
                "interrupted: all is written; `mayfly init` goes on from there"
                if written
                else "interrupted: nothing is written"
            )
            raise

    # -- what is to be written ------------------------------------------------------------------------

    def _see_writable(self) -> None:
        """Whoever may not write is told before anything is asked."""
        place = self.layout.config
        while not place.exists():
            place = place.parent
        if not self.dry_run and not os.access(place, os.W_OK):
            raise Trouble(f"{self.layout.config} cannot be written: Permission denied; try sudo")

    def _repairs(self, there: Existing, answers: Answers) -> bool:
        """Whether what is there is to be looked at, and no pool added."""
        if not there.there or answers.of_a_pool() or not self.questions.asking:
            return False
        if there.mistakes is not None:
            raise Trouble(
                f"{self.layout.config} is there and cannot be used; mend it, or write over it with --force:\n"
                f"{there.mistakes}"
            )
        pools = ", ".join(there.pools)
        say(
            f"{self.layout.config} is there, with " + (f"the pools {pools}" if pools else "no pool")
        )
        question = Question("name", "Look at what is there, or add a pool (look, add)", "look")
        words = ("look", "add")
        chosen = self.questions.ask(
            question, lambda text: None if text in words else f"one of {', '.join(words)}"
        )
        return chosen == "look"

    def _set_up(self, answers: Answers, there: Existing) -> tuple[list[WantedFile], list[str]]:
        """The files of one pool that its service lets be, and the pool."""
        interview = Interview(
            self.found,
            self.layout,
            self.questions,
            # Where nobody is asked, the same words lead to the same pool each time.
            taken=tuple(there.pools) if self.questions.asking else (),
            unfit=lambda name: unfit(name, there),
            unchecked=self.unchecked,
            trial=not self.dry_run,
        )
        while True:
            known = interview.hold(answers)
            wanted = self._wanted(known)
            try:
                files = self._files(known, wanted, there)
                break
            except Unserved as refusal:
                answers = interview.refused(refusal, known.answers)
        if self.dry_run:
            self._show(files, known.answers)
            return [], []
        return self._settled(files), [wanted.name]

    def _wanted(self, known: Interviewed) -> PoolAnswers:
        answers, hints = known.answers, known.package.hints
        stored = known.secret is not None and known.secret.text is not None
        credential = credential_of(answers)
        token_file = (
            str(Path(answers.token_file).absolute()) if answers.token_file is not None else None
        )
        if not self.layout.unit and (stored or (known.secret is not None and token_file is None)):
            token_file = str(self.layout.stored(credential))
        return PoolAnswers(
            provider=known.package.name,
            name=str(answers.name),
            slots=answers.slots or 1,
            gpus=answers.gpus or 0,
            url=answers.url,
            place=answers.scope or None,
            group=answers.agent_pool or hints.group_default,
            credential=credential if answers.credential is not None else None,
            token_file=token_file,
            plain_http=bool(answers.plain_http),
            containers=bool(answers.containers),
            ca=answers.ca,
            proxy=answers.proxy,
            no_proxy=answers.no_proxy,
            app=answers.app,
        )

    def _files(self, known: Interviewed, wanted: PoolAnswers, there: Existing) -> list[WantedFile]:
        """The files as they are to be, once their pool was seen to work; a secret first."""
        place = place_of(wanted.name, there, self.layout, force=self.force)
        whole = place == self.layout.config
        text = config_text(self.found, wanted) if whole else pool_text(self.found, wanted)
        config = _loaded(self.layout.config, place, text)
        pool = next(one for one in config.pools if one.name == wanted.name)
        files = [WantedFile(place, text)]
        if known.secret is None:
            return files
        credential = credential_of(known.answers)
        if wanted.token_file is not None:
            reference = {"file": wanted.token_file}
        else:
            reference = {"credential": credential}
        _see(
            replace(pool, settings=pointed(pool.settings, reference, known.secret.reference)),
            config,
        )
        if known.secret.text is not None:
            return [*secret_files(self.layout, credential, known.secret.text), *files]
        return [*(drop_ins(self.layout, credential) if wanted.token_file is None else ()), *files]

    def _settled(self, files: Sequence[WantedFile]) -> list[WantedFile]:
        """Those that are to be written; what a person may have edited only once somebody agreed."""
        differing = changed(files)
        shown = differences(differing)
        if shown and not self.force:
            say(f"this would change:\n{shown}")
            if not self.questions.yes("Write it, and keep what is there as .bak", otherwise=False):
                raise Trouble(
                    f"{self.layout.config} exists and says something else: nothing is written; write over it "
                    "with --force, which keeps it as .bak beside"
                )
        return differing

    def _show(self, files: Sequence[WantedFile], answers: Answers) -> None:
        for file in files:
            if file.secret:
                say(f"would write {file.path}: the secret, for root alone")
            else:
                same = not changed([file])
                say(f"{file.path} is as it should be" if same else f"would write {file.path}:")
                if not same:
                    print(file.text, end="")
        if self.start:
            say("would then put the unit in place, start the manager and wait until a slot is idle")
            if answers.canary_job is not None:
                say(
                    f"would then run {clean(answers.canary_job)} at the service, and wait for its end"
                )
            elif answers.canary:
                say("would then run a job of the pool's own queue, and wait for its end")
            elif (
                self.questions.asking
                and answers.provider is not None
                and (packages()[answers.provider].canary is not None)
            ):
                say("would then offer to run a job that is at the service already")

    # -- what is there already ------------------------------------------------------------------------

    def _mended(self) -> tuple[list[WantedFile], list[str], str]:
        """What is to be written, the pools that work then, and a sentence on those that do not."""
        from mayfly.cli.setup_mending import mended  # noqa: PLC0415

        found = mended(_loaded(self.layout.config, None, ""), self.layout, self.questions, _see)
        return changed(found.files), list(found.working), found.left

    # -- what follows -----------------------------------------------------------------------------------

    def _go_on(self, files: Sequence[WantedFile], pools: Sequence[str], answers: Answers) -> None:
        """Images, unit, start, an idle slot, a job."""
        from mayfly.cli import setup_start  # noqa: PLC0415

        if self.start:
            setup_start.put(files)
        # (A service that nobody looked at is not asked which client it wants.)
        _images(self.ctx, self.layout.config, self.found, build=self.build and not self.unchecked)
        named = None if self.layout.config == DEFAULT_FILE else str(self.layout.config)
        if not self.start:
            say(f"next: {next_steps(here(named))}")
            if answers.canary or answers.canary_job is not None:
                say("no job is tried: the manager is not started by this")
            return
        setup_start.start(self.layout, files)
        say(setup_start.await_idle(client(self.ctx, None, named), pools))
        self._try(pools, answers)

    def _try(self, pools: Sequence[str], answers: Answers) -> None:
        from mayfly.cli.first_jobs import try_all  # noqa: PLC0415

        config = _loaded(self.layout.config, None, "")
        tried = [pool for pool in config.pools if str(pool.name) in pools]
        try_all(tried, config.host, answers, self.questions)


def _loaded(config: Path, place: Path | None, text: str) -> Config:
    """The configuration as it would be; ``Trouble`` with every mistake."""
    from mayfly.edge.config import ConfigError  # noqa: PLC0415  pydantic is heavy
    from mayfly.providers.configuration import load  # noqa: PLC0415

    try:
        return load(str(config), texts={} if place is None else {place: text}).config
    except ConfigError as error:
        raise Trouble(f"nothing is written, since it would have mistakes:\n{error}") from error


def _see(pool: PoolSpec, config: Config) -> None:
    """Have the pool's provider look; what is unwise is said."""
    for finding in checked(pool, config.host):
        if finding.severity is not Severity.INFO:
            say(f"{finding.text}: {finding.fix.removeprefix('# ')}")


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


def _prototype(ctx: typer.Context, source: str, path: Path, *, force: bool, build: bool) -> None:
    """What ``--from-prototype`` does."""
    if path.exists() and not force:
        raise Trouble(f"{path} exists; write over it with --force, or name another with --config")
    found = look()
    say(_told(found))
    if found.refused is not None:
        say(found.refused)
    _move(source, found, path, force=force)
    _images(ctx, path, found, build=build)
    say(f"next: {next_steps(here(None if path == DEFAULT_FILE else str(path)))}")


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

    Which client goes into one, and by which checksum, its service is asked.
    """
    from mayfly.cli.verbs_images import build as build_image  # noqa: PLC0415
    from mayfly.cli.verbs_images import missing  # noqa: PLC0415

    where = here(None if path == DEFAULT_FILE else str(path))
    for provider, name in missing(str(path)) if found.engine is not None else []:
        if build:
            build_image(ctx, [name], provider=provider, config=str(path))
        else:
            line = pasted(build_line(provider, name), where)
            say(f"an image is still to be built:\n  {line}")


def look() -> Found:
    """What this host has: an Engine and its runtimes, GPUs by their device files."""
    from mayfly.core.model import HostSpec  # noqa: PLC0415
    from mayfly.edge.config import default_host_name  # noqa: PLC0415
    from mayfly.edge.faults import Fault, Refused  # noqa: PLC0415
    from mayfly.engines import load as load_engine  # noqa: PLC0415  brings docker

    devices = [p for p in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia[0-9]+", p.name)]
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
