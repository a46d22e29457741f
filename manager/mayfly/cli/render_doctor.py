"""The doctor's results as text for people: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mayfly.cli.doctor import CheckResult, State
from mayfly.cli.render import wrapped
from mayfly.core import read_on
from mayfly.core.plain_text import clean

SIGNS = {State.OK: "✓", State.WARN: "!", State.FAIL: "✗", State.SKIP: "-"}
_COLOURS = {State.OK: "32", State.WARN: "33", State.FAIL: "31", State.SKIP: "2"}


def doctor(found: Sequence[CheckResult], width: int | None, colour: bool) -> list[str]:
    """A paragraph a group, and a sentence at the end."""
    lines: list[str] = []
    for group in dict.fromkeys(result.check.group for result in found):
        lines += [group, *_group([r for r in found if r.check.group == group], width, colour), ""]
    codes = [one.check.code for one in found if one.verdict.state in (State.FAIL, State.WARN)]
    more = wrapped(f"read on: {read_on.line_with(codes)}", width, "  ") if codes else []
    return [*lines, _sum(found), *more]


def _group(found: Iterable[CheckResult], width: int | None, colour: bool) -> list[str]:
    lines: list[str] = []
    for result in found:
        state, sign = result.verdict.state, SIGNS[result.verdict.state]
        told = wrapped(f"  {sign} {clean(result.verdict.text)}", width, "    ")
        if colour:
            told[0] = told[0].replace(sign, f"\x1b[{_COLOURS[state]}m{sign}\x1b[0m", 1)
        lines += told
        if result.verdict.fix:
            lines.append(f"    fix: {clean(result.verdict.fix)}")  # to be pasted: never wrapped
    return lines


def _sum(found: Sequence[CheckResult]) -> str:
    counts = {state: sum(1 for r in found if r.verdict.state is state) for state in State}
    if counts[State.SKIP] == len(found):
        return "nothing could be checked"
    told = [
        f"{counts[state]} {word}"
        for state, word in (
            (State.FAIL, "to mend"),
            (State.WARN, "to think about"),
            (State.OK, "well"),
            (State.SKIP, "not looked at"),
        )
        if counts[state]
    ]
    return ", ".join(told)


def document(found: Sequence[CheckResult], docs: str | None = None) -> dict[str, object]:
    """The same for programs; ``docs``: where the pages are as a site."""
    return {
        "schema": "mayfly.doctor/1",
        "checks": [
            {
                "code": result.check.code,
                "group": result.check.group,
                "title": result.check.title,
                "severity": result.check.severity,
                "state": result.verdict.state,
                "text": result.verdict.text,
                "fix": result.verdict.fix or None,
                "anchor": read_on.anchor(result.check.code, docs),
            }
            for result in found
        ],
    }
