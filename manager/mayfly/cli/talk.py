"""What verbs do with what was typed beside their own options, and how they talk to people."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mayfly.cli import misread
from mayfly.cli.box_names import VARIABLE, boxes_in, label
from mayfly.cli.client import PATIENCE, SECONDS, START, Client, find_socket
from mayfly.cli.paste import Here, here, pasted
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.quantities import parse_duration, parse_time, rfc3339

if TYPE_CHECKING:
    from mayfly.cli.ssh_socket import Box

AMONG_OTHERS = 10.0  # seconds that one of several boxes may say nothing, or have no place
SCREEN = 24  # lines of a terminal that nobody has made larger


@dataclass(frozen=True, slots=True)
class Where:
    """What stood before the verb."""

    socket: str | None = None
    config: str | None = None
    context: str | None = None  # of a kubeconfig; None: the manager is on this host
    host: str | None = None  # boxes by commas, as ssh names them; None: none was named
    here: bool = False  # the verb is about this host, whatever MAYFLY_HOST_SSH says


class Called(Protocol):
    """How a verb was called."""

    obj: Any  # a Where, once the command line is read


def where(ctx: Called) -> Where:
    """What stood before the verb."""
    return ctx.obj if isinstance(ctx.obj, Where) else Where()


def hosts(ctx: Called, socket: str | None, config: str | None) -> tuple[str, ...]:
    """The boxes that are asked over ssh; none: the manager is on this host, or in a cluster."""
    before = where(ctx)
    elsewhere = socket or config or before.socket or before.config or before.context
    given, called = before.host, "--host"
    if given is None and not elsewhere and not before.here:
        given, called = os.environ.get(VARIABLE) or None, VARIABLE
    if given is None:
        return ()
    if elsewhere:
        raise Usage("--host is of other boxes: --socket, --config and --context go without it")
    return boxes_in(given, called)


def elsewhere(ctx: Called, socket: str | None, config: str | None) -> bool:
    """Whether the manager that is asked is of another host, or of a cluster: nothing of it is seen here."""
    return where(ctx).context is not None or bool(hosts(ctx, socket, config))


def client(ctx: Called, socket: str | None, config: str | None) -> Client:
    """A client for the socket that the options name, those behind the verb first."""
    before = where(ctx)
    boxes = hosts(ctx, socket, config)
    if len(boxes) > 1:
        raise Usage(
            f"this is asked of one box: name it with --host, {' or '.join(map(label, boxes))}"
        )
    if boxes:
        from mayfly.cli import ssh_socket  # noqa: PLC0415  only where a box is named

        return over_ssh(ssh_socket.box(boxes[0], alone=True))
    if before.context is not None:
        return _in_cluster(ctx, before.context, socket, config)
    path = (
        find_socket(None, config)
        if socket is None and config is not None
        else find_socket(socket or before.socket, config or before.config)
    )

    def fitted(line: str) -> str:
        if START in line and _mistaken(config or before.config):
            line = "  its configuration has a mistake, and it does not start: mayfly config check"
        return pasted(line, place(ctx, socket, config))

    return Client(path, say, fitted=fitted)


def over_ssh(box: Box, *, patient: bool = True) -> Client:
    """A client for the manager on that box; ``patient``: nobody else is waited for at the same time."""
    place = here(None, host=box.box)
    misread.asked(box.name, f"ssh {box.box} mayfly --version")
    return Client(
        f"--host {box.name}",
        say,
        patience=PATIENCE if patient else AMONG_OTHERS,
        seconds=SECONDS if patient else AMONG_OTHERS,
        fitted=lambda line: pasted(line, place),
        connect=box.connected,
    )


def _in_cluster(ctx: Called, context: str, socket: str | None, config: str | None) -> Client:
    """A client for the manager that is a pod of that context's."""
    if socket is not None or config is not None or ctx.obj.socket or ctx.obj.config:
        raise Usage("--context is of a manager in a cluster: --socket and --config go without it")
    from mayfly.cli.cluster_socket import connected  # noqa: PLC0415  brings TLS and websockets

    misread.asked(f"--context {context}")

    return Client(
        f"--context {context}",
        say,
        fitted=lambda line: pasted(line, place(ctx, socket, config)),
        connect=lambda timeout: connected(context, timeout),
    )


@cache
def _mistaken(config: str | None) -> bool:
    """Whether there is a configuration with a mistake: asked where no manager runs, since it takes time."""
    file = Path(config or os.environ.get("MAYFLY_CONFIG") or "/etc/mayfly/config.toml")
    if not os.access(file, os.R_OK):
        return False
    from mayfly.cli.loading import load_config  # noqa: PLC0415  brings pydantic

    try:
        load_config(str(file))
    except Trouble:
        return True
    return False


def place(ctx: Called, socket: str | None, config: str | None) -> Here:
    """Where what is said to a person is to be typed."""
    before, boxes = where(ctx), hosts(ctx, socket, config)
    if len(boxes) == 1:
        return here(None, host=boxes[0])
    return here(config or before.config, socket or before.socket, before.context)


def config_path(ctx: Called, config: str | None) -> str | None:
    """The configuration file that the options name; ``None`` where none does."""
    return config or where(ctx).config


def duration(text: str | None, option: str) -> float | None:
    """The seconds of an option; ``None`` where it was not given."""
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Usage(f"{option}: {text!r} {error}") from error


def moment_of(text: str | None) -> str | None:
    """What ``--since`` names: a time as it is, a duration as so long ago."""
    if text is None:
        return None
    try:
        at = parse_time(text)
    except ValueError:
        pass
    else:
        if at > time.time():
            raise Usage(f"--since: {text} is still to come")
        return rfc3339(at)
    try:
        ago = duration(text, "--since")
    except Usage as trouble:
        raise Usage(
            f'--since: {text!r} is neither a time nor a duration such as "24h"'
        ) from trouble
    return rfc3339(time.time() - (ago or 0.0))


def lasting(text: str | None, option: str) -> float | None:
    """The seconds of an option; ``Usage`` where they are none at all."""
    seconds = duration(text, option)
    if seconds is not None and seconds <= 0:
        raise Usage(f'{option}: {text!r} is no time at all; write for example "90s", "30m" or "2h"')
    return seconds


def needs(option: str, given: object, other: str, there: object) -> None:
    """``Usage`` where an option is given that would be ignored without another."""
    if given and not there:
        raise Usage(f"{option} goes with {other}: alone it would be ignored")


def say(sentence: str) -> None:
    """Talk: to people, on standard error; on a terminal no word is cut at its edge.

    What went to standard output before comes before it, where both lead to one file. Where that takes no more
    is told at the end, and keeps back no sentence.
    """
    with suppress(OSError):
        sys.stdout.flush()
    for line in talk(f"mayfly: {sentence}"):
        print(line, file=sys.stderr)


def talk(text: str) -> list[str]:
    """The lines of a text, wrapped to standard error's terminal; unchanged where it is no terminal.

    What is indented is to be typed, and never wrapped.
    """
    lines = text.split("\n")
    if not sys.stderr.isatty():
        return lines
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        width = 80
    if max(map(len, lines)) <= width:
        return lines
    import textwrap  # noqa: PLC0415  costs a millisecond that most calls need not pay

    folded = (
        [line] if line.startswith("  ") else textwrap.wrap(
            *(line, max(width, 20)),
            subsequent_indent="  ", break_long_words=False, break_on_hyphens=False,
        )
        for line in lines
    )  # fmt: skip
    return [part for parts in folded for part in parts or [""]]


def print_json(document: Mapping[str, object], *, line: bool = False) -> None:
    """Data as JSON on standard output, on one line where many follow each other."""
    if line:
        print(json.dumps(document, separators=(",", ":")), flush=True)
    else:
        print(json.dumps(document, indent=2))


def terminal_width() -> int | None:
    """The columns of the terminal on standard output; ``None`` where it is none."""
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80


def terminal_height() -> int:
    """The lines that what is printed may take: the terminal's, 24 where standard output is none."""
    try:
        return max(10, os.get_terminal_size(sys.stdout.fileno()).lines or SCREEN)
    except OSError:
        return SCREEN


def colours() -> bool:
    """Whether colours are wanted: a terminal, and nobody said no."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and sys.stdout.isatty()
