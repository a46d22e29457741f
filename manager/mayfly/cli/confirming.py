"""Asking a person whether something is meant that cannot be taken back."""

from __future__ import annotations

import sys

from mayfly.cli.trouble import Trouble, Usage


def confirm(question: str, *, unasked: str, unchanged: str) -> None:
    """Ask on a terminal. ``Usage`` with ``unasked`` where nobody can be asked, ``Trouble`` with ``unchanged``
    where somebody says no.
    """
    if not sys.stdin.isatty():
        raise Usage(unasked)
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Trouble(unchanged)


def confirm_end(question: str, *, yes: bool) -> None:
    """Ask whether running jobs are to end, unless ``--yes`` says so."""
    if not yes:
        told = "this stops running jobs: say --yes where nobody can be asked"
        confirm(question, unasked=told, unchanged="nothing was done")
