"""``pipeline install-hook``, and ``pipeline receive``, which the hook runs: a bare repository as a CI."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mayfly.cli.client import DEFAULT_SOCKET, Client
from mayfly.cli.options import ConfigOption, FolderArgument, SocketOption
from mayfly.cli.talk import client, say
from mayfly.cli.trouble import Down, Trouble, Usage
from mayfly.core.pipeline.pushes import PushError, Update, updates
from mayfly.core.plain_text import clean

if TYPE_CHECKING:
    from mayfly.edge.repository import Repository

INPUT_MAX = 32 * 1024 * 1024  # bytes of what git says of one push
AGAIN = 3  # branches that are named with what to type

KeepFormerOption = Annotated[
    bool,
    typer.Option("--keep-former", help="End no jobs of commits that a push has thrown away."),
]


NotesOption = Annotated[
    bool, typer.Option("--notes", help="Write how a run ended into the repository's git notes.")
]


def install_hook(
    ctx: typer.Context,
    repository: Annotated[
        str, typer.Argument(metavar="REPO.git", help="A bare repository of yours on this host.")
    ],
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse a push whose .mayfly.toml has a mistake.")
    ] = False,
    keep_former: KeepFormerOption = False,
    notes: NotesOption = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the hook away.")] = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Let each push into a bare repository run the jobs of what it changed."""
    if remove and (strict or keep_former or notes):
        raise Usage(
            "--remove takes every hook of Mayfly's away: the other options would be ignored"
        )
    from mayfly.cli import hook_file  # noqa: PLC0415  these bring much
    from mayfly.cli.loading import translated  # noqa: PLC0415
    from mayfly.edge.pipeline_extra import missing  # noqa: PLC0415

    folder = Path(repository)
    if not folder.is_dir():
        raise Trouble(f"there is no folder {repository}")
    folder = folder.resolve()
    hook_file.see_that_it_may_be_written(folder)
    with translated():
        _see_that_a_hook_runs_there(folder)
    if not remove and (sentence := missing()):
        raise Trouble(sentence)
    options = [*(["--keep-former"] * keep_former), *(["--notes"] * notes)]
    try:
        if remove:
            deeds = {name: hook_file.remove(folder, name) for name in HOOKS}
        else:
            command = _command(client(ctx, socket, config))
            _say_who_cannot_run(Path(command[0]))
            deeds = _installed(folder, [*command, "pipeline", "receive"], options, strict)
    except OSError as error:
        raise Trouble(f"{error.filename or folder}: {error.strerror}") from error
    if not any(deeds.values()):
        say(f"{folder} has no hook of Mayfly's")
    for name, deed in deeds.items():
        if deed:
            say(f"{folder}/hooks/{name} {deed}")


RUNS, CHECKS = HOOKS = ("post-receive", "pre-receive")


def _installed(
    folder: Path, receive: Sequence[str], options: Sequence[str], strict: bool
) -> dict[str, str | None]:
    """What became of each hook."""
    from mayfly.cli import hook_file  # noqa: PLC0415  only where it is wanted

    runs = hook_file.install(folder, RUNS, [*receive, *options])
    if strict:
        return {RUNS: runs, CHECKS: hook_file.install(folder, CHECKS, [*receive, "--check"])}
    return {RUNS: runs, CHECKS: hook_file.remove(folder, CHECKS)}


def _say_who_cannot_run(command: Path) -> None:
    """Others push, too: where they cannot reach this command, the hook is of no use to them."""
    python = Path(sys.executable).resolve()
    for place in (command, *command.resolve().parents, python, *python.parents):
        if not place.stat().st_mode & 0o001:
            say(f"others who push cannot run {command}: {place} is closed to them")
            return


def receive(
    ctx: typer.Context,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only look at the file, before the push has landed.")
    ] = False,
    keep_former: KeepFormerOption = False,
    notes: NotesOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Run the jobs of a push; git calls it as a hook of a bare repository."""
    if check and (keep_former or notes):
        raise Usage("--check runs and ends nothing: the other options would be ignored")
    from mayfly.cli.loading import pipelines  # noqa: PLC0415  these bring much
    from mayfly.cli.receiving import Receiver, checked  # noqa: PLC0415
    from mayfly.edge.repository import Repository  # noqa: PLC0415

    pushed = tuple(update for update in _pushed() if update.branch)
    if not pushed:
        return
    try:
        with pipelines():
            where = Repository(Path(os.environ.get("GIT_DIR", ".")))
            if check:
                well = checked(where, pushed, _tell)
            else:
                manager = client(ctx, socket, config)
                _see_that_it_runs(manager, where, pushed)
                receiver = Receiver(where, manager, _tell, ends=not keep_former, notes=notes)
                well = receiver.receive(pushed)
                if notes:
                    _note_later(manager, where)
    except Trouble as trouble:
        raise type(trouble)(_clean(str(trouble))) from trouble
    if not well:
        raise typer.Exit(1)


def _note_later(manager: Client, where: Repository) -> None:
    from mayfly.cli.run_notes import left_behind  # noqa: PLC0415  only where it is wanted

    try:
        left_behind([*_command(manager), "pipeline", "note", "--wait", where.place])
    except OSError as error:
        _tell(f"nobody writes notes of this push: {error.strerror}; mayfly pipeline note does")


def note(
    ctx: typer.Context,
    folder: FolderArgument = ".",
    *,
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run", metavar="RUN", help="Of this one too, that no push has begun one of."
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until none of its runs goes on any more.")
    ] = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Write how runs of pushes ended into the repository's git notes, refs/notes/mayfly."""
    from mayfly.cli.loading import translated  # noqa: PLC0415  these bring much
    from mayfly.cli.run_notes import Notes, written_in_time  # noqa: PLC0415
    from mayfly.edge.repository import Repository  # noqa: PLC0415

    with translated():
        notes = Notes(Repository(Path(folder)), client(ctx, socket, config))
        for one in run or ():
            notes.begin(one)
        written = written_in_time(notes) if wait else notes.write()[0]
    say(f"{written} {'note is' if written == 1 else 'notes are'} written")


def _pushed() -> tuple[Update, ...]:
    if sys.stdin.isatty():
        raise Usage("git calls this as its hook: mayfly pipeline install-hook REPO.git")
    found = sys.stdin.buffer.read(INPUT_MAX + 1)
    if len(found) > INPUT_MAX:
        raise Usage("the push has more than 32 MiB of refs")
    try:
        return updates(found)
    except PushError as error:
        raise Usage(str(error)) from error


def _see_that_it_runs(manager: Client, where: Repository, pushed: tuple[Update, ...]) -> None:
    try:
        manager.get("/v1/version")
    except Trouble as trouble:
        lines = [f"the push has landed, and nothing of it is run: {trouble}"]
        there = [update for update in pushed if update.new is not None]
        for update in there[:AGAIN]:
            base = "--all" if update.old is None else f"--base {update.old}"
            where_to = f"{shlex.quote(where.place)} --ref {shlex.quote(_shown(update.ref))}"
            lines.append(f"  then: mayfly push {where_to} {base}")
        raise (Down if isinstance(trouble, Down) else Trouble)("\n".join(lines)) from trouble


def _shown(ref: str) -> str:
    return ref.removeprefix("refs/heads/").encode("utf-8", "replace").decode()


def _tell(sentence: str) -> None:
    say(_clean(sentence))


def _clean(text: str) -> str:
    """What a push says goes to whoever pushes, through no terminal of ours."""
    return "\n".join(clean(line) for line in text.split("\n"))


def _see_that_a_hook_runs_there(folder: Path) -> None:
    """``Trouble`` where git would not run a hook that is put there."""
    from mayfly.edge.repository import Repository  # noqa: PLC0415

    where = Repository(folder)
    if not where.bare:
        raise Trouble(
            f"{folder} is no bare repository: of a folder with files, `mayfly push` runs the jobs"
        )
    if (elsewhere := where.setting("core.hooksPath")) is not None:
        raise Trouble(
            f"git takes the hooks of {folder} from {clean(elsewhere)} (core.hooksPath): unset that, or put a "
            "hook there by hand that runs `mayfly pipeline receive`"
        )


def _command(manager: Client) -> list[str]:
    """This command as a hook is to call it, for the socket that was named."""
    from mayfly.cli.verbs_install import own_command  # noqa: PLC0415

    usual = manager.path == DEFAULT_SOCKET
    return [own_command(), *([] if usual else ["--socket", str(Path(manager.path).absolute())])]
