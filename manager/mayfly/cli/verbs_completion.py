"""``completion``: the script by which a shell completes what is typed, printed or put in place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from mayfly.cli.completion_scripts import SCRIPTS
from mayfly.cli.talk import say
from mayfly.cli.trouble import Trouble, Usage
from mayfly.core.plain_text import clean


def completion(
    shell: Annotated[
        str | None,
        typer.Argument(metavar="[SHELL]", help="bash, zsh or fish; yours if absent."),
    ] = None,
    *,
    install: Annotated[
        bool, typer.Option("--install", help="Put it where your shell reads it, for you alone.")
    ] = False,
) -> None:
    """Print the script by which a shell completes verbs, options and names."""
    named = shell or Path(os.environ.get("SHELL", "")).name
    if named not in SCRIPTS:
        which = f"there is no {clean(named)!r}" if named else "which shell is yours is not known"
        raise Usage(f"completion: {which}; there are {', '.join(SCRIPTS)}")
    if not install:
        print(SCRIPTS[named], end="")
        return
    path = place(named, os.environ)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SCRIPTS[named], encoding="utf-8")
    except OSError as error:
        raise Trouble(f"{path} cannot be written: {error.strerror}") from error
    print(path)
    say(NEXT[named])


# What has to be so that the shell reads its file.
NEXT = {
    "bash": "the next shell completes, where the package bash-completion is; else add to ~/.bashrc: "
    "source <(mayfly completion bash)",
    "zsh": "the next shell completes, where ~/.zshrc has these before compinit: fpath+=~/.zfunc; "
    "autoload -Uz compinit; compinit",
    "fish": "the next shell completes",
}


def place(shell: str, environ: Mapping[str, str]) -> Path:
    """Where that shell looks for what its user has."""
    home = Path(environ.get("HOME") or "~").expanduser()
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local/share")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return {
        "bash": data / "bash-completion/completions/mayfly",
        "zsh": home / ".zfunc/_mayfly",
        "fish": config / "fish/completions/mayfly.fish",
    }[shell]
