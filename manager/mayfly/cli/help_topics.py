"""What is worth knowing for all verbs, by topic: `mayfly help TOPIC` prints it, mayfly(1) has it as sections.

Each line is a term with what it means; a topic has a sentence before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mayfly.cli.where import Obtainable, obtainable


@dataclass(frozen=True, slots=True)
class Topic:
    """A few terms of one kind."""

    heading: str  # as a man page has it
    about: str
    terms: tuple[tuple[str, str], ...]


def _had_as(one: Obtainable) -> str:
    """Where one thing can be got, in a sentence."""
    where = f"at {one.published}" if one.published else "not published"
    made = "" if one.made == "-" else f"; made by: {one.made}"
    return where + made + ("" if one.installed == "-" else f"; installed by: {one.installed}")


TOPICS: Mapping[str, Topic] = {
    "exit-codes": Topic(
        "EXIT STATUS",
        "What a verb exits with. `submit --wait` and `attach` exit with the job's or the command's own code. "
        "Of several boxes (`--host a,b`) the worst counts: one that does not answer makes it 1; where none "
        "answers, it is what each would give alone, or 1 where they differ.",
        (
            ("0", "fine"),
            ("1", "a slot is held or a health line is an error, or what was asked failed"),
            ("2", "the command line is wrong: unknown option, missing or impossible value"),
            ("3", "the manager is not running"),
            ("4", "there is no such slot, job or pool"),
            ("5", "not within the time given, or no place at a busy manager for a minute"),
            ("130", "interrupted; what was begun at the manager goes on"),
        ),
    ),
    "environment": Topic(
        "ENVIRONMENT",
        "Variables that a verb reads. What is said by an option goes before.",
        (
            ("MAYFLY_CONFIG", "the configuration file, as --config FILE"),
            ("MAYFLY_HOST__KEY", "a key of [host], such as MAYFLY_HOST__SOCKET"),
            ("MAYFLY_HOST_SSH", "boxes to ask, as --host BOX, where no option says where"),
            ("NO_COLOR", "any value: no colours"),
            ("KUBECONFIG", "where --context NAME is looked up"),
        ),
    ),
    "files": Topic(
        "FILES",
        "What Mayfly reads and writes, where the configuration says nothing else.",
        (
            ("/etc/mayfly/config.toml", "the configuration; `mayfly help config` has its verbs"),
            ("/etc/mayfly/conf.d/*.toml", "its drop-ins, read in their order"),
            ("/etc/mayfly/credentials/", "tokens, for root alone"),
            ("/run/mayfly/control.sock", "the manager's control socket"),
            ("/var/lib/mayfly/", "what the manager remembers: slots, jobs, output"),
            (".mayfly.toml", "the jobs of a repository, for `mayfly push` and `mayfly pipeline`"),
        ),
    ),
    "times": Topic(
        "TIMES",
        "What TIME may be in an option. --since takes both kinds, others a duration alone.",
        (
            ("90, 90s, 30m, 2h, 1h30m, 2d", "a duration; a bare number is seconds"),
            ("2026-11-21", "a day, from its beginning"),
            ("2026-11-21T09:00:00Z", "a moment"),
        ),
    ),
    "where": Topic(
        "WHERE MAYFLY CAN BE GOT",
        "What is published, and how all else is made in a folder with Mayfly's source.",
        tuple((one.what, _had_as(one)) for one in obtainable()),
    ),
}
