"""What was seen with what: each service's parts, and with whose code a test has tried them.

A test says so by a mark, of its own or of its module:

    @pytest.mark.seen("gitlab", "registration", with_="sdk")

The marks are read from the source, so that the page is the same whatever can be run here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
# With whose code, from the best down, and how the page calls it.
WITH = {
    "client": "real client",
    "server": "real server",
    "emulator": "emulator",
    "sdk": "independent SDK",
    "fake": "our fake",
}
# What there is to be seen of each service.
PARTS = {
    "azure": (
        *("registration", "list of agents", "a job from start to end", "no new job", "removal"),
        *("jobs that wait", "cancelling a job that waits", "service principal", "updates"),
        *("a job that init runs", "a job with containers", "the lines of a job's log"),
    ),
    "gitea": (
        *("registration", "list of agents", "a job from start to end", "no new job", "removal"),
        *("cancelled jobs", "a job that init runs", "a job with containers"),
        "the lines of a job's log",
    ),
    "github": (
        *("registration", "list of agents", "a job from start to end", "removal", "GitHub App"),
        *("runner groups", "jobs that wait", "cancelling a job that waits", "the token's end"),
        *("scale sets", "updates", "a job that init runs", "a job with containers"),
        "the lines of a job's log",
    ),
    "gitlab": (
        *("registration", "list of agents", "a job from start to end", "no new job", "removal"),
        *("jobs that wait", "cancelling a job that waits", "the token's end"),
        *("a job that init runs", "a job with containers", "the lines of a job's log"),
    ),
}


def marks() -> Iterator[tuple[str, str, str, Path]]:
    """Each mark: service, part, with what, and the file where it stands."""
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        if "mark.seen(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "pytest.mark.seen":
                continue
            service, *parts = (ast.literal_eval(argument) for argument in node.args)
            (how,) = (ast.literal_eval(one.value) for one in node.keywords if one.arg == "with_")
            for part in parts:
                yield service, part, how, path


def table() -> Iterator[str]:
    """A row for each part of each service."""
    seen: dict[tuple[str, str], dict[str, set[str]]] = {}
    for service, part, how, path in marks():
        seen.setdefault((service, part), {}).setdefault(how, set()).add(path.stem)
    yield f"| service | part | {' | '.join(WITH.values())} | not at all |"
    yield "|---|---|" + "---|" * (len(WITH) + 1)
    for service, parts in PARTS.items():
        for part in parts:
            found = seen.get((service, part), {})
            cells = ["yes" if how in found else "" for how in WITH]
            yield f"| {service} | {part} | {' | '.join(cells)} | {'' if found else 'yes'} |"
