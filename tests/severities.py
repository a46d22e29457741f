"""How bad each condition and check is: read from the sources, as `tests/fix_lines.py` reads what to type."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

from mayfly.core.gpu_checks import CHECKS, CheckSeverity
from tests import fix_lines
from tests.fix_lines import CODE, SOURCES, TAKEN_OVER, Module, called, flat

ORDER = ("error", "warning", "info")
OF_DOCTOR = {"fail": ("error",), "warn": ("warning",), "found": ORDER[:2], "tell": ORDER[:2]}
UNTIL_RETRIED = ", until somebody types `mayfly retry`"


def severities() -> dict[str, str]:
    """What the page says of each code."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(SOURCES.rglob("*.py")):
        if "simulated" not in path.parts:
            module = fix_lines._module(path)
            for code, severity in _of_file(module):
                found[code].add(severity)
    found["agent.canary"].add("error")  # made where the canary is flown
    said = {code: " or ".join(sorted(those, key=ORDER.index)) for code, those in found.items()}
    for code, check in CHECKS.items():
        holds = check.severity is CheckSeverity.HOLD
        said[code] = "holds the slot" if holds else "warning"
        said[code] += UNTIL_RETRIED if check.until_retried else ""
    return said


def _of_file(module: Module) -> Iterator[tuple[str, str]]:
    name = str(module.path.relative_to(SOURCES))
    for call in module.calls("Condition"):
        given = flat(call.args)
        if len(given) >= 4 and not (name in TAKEN_OVER and isinstance(given[0], ast.Subscript)):
            for (code, at), (how_bad, _) in fix_lines._through(module, call, (given[0], given[1])):
                for one in module.values(code, at):
                    yield from _each(module, one.text, how_bad)
    for call in module.calls("tell"):
        given = flat(call.args)
        if name.startswith("engines/docker/gateway/") and len(given) >= 4:
            said = [word.value for word in call.keywords if word.arg == "severity"]
            for one in module.values(given[0], call):
                yield from _each(module, one.text, said[0]) if said else [(one.text, "error")]
    for call in module.calls("Breach"):
        isolation = fix_lines._module(SOURCES / "core/isolation.py")
        [made] = list(isolation.calls("Condition"))
        for one in module.values(flat(call.args)[0], call):
            yield from _each(isolation, f"isolation.{one.text}", flat(made.args)[1])
    if name == "cli/doctor.py":
        yield from _of_doctor(module)


def _each(module: Module, code: str, how_bad: ast.expr) -> Iterator[tuple[str, str]]:
    """Each severity that the expression may be; of a name, those that its module knows."""
    if not CODE.fullmatch(code):
        return  # of what is told elsewhere
    inside: ast.AST = how_bad
    if isinstance(how_bad, ast.IfExp):
        test = how_bad.test
        # `breach.code == "metadata"`: known here.
        if isinstance(test, ast.Compare) and isinstance(test.comparators[0], ast.Constant):
            holds = test.comparators[0].value == code.partition(".")[2]
            inside = how_bad.body if holds else how_bad.orelse
    elif isinstance(how_bad, ast.Name):
        inside = module.tree
    words = {
        node.attr.lower()
        for node in ast.walk(inside)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Severity"
    }
    assert words, f"{module.path}: how bad {code} is cannot be told"
    yield from ((code, word) for word in words)


def _of_doctor(module: Module) -> Iterator[tuple[str, str]]:
    judges = {
        str(call.args[0].value): call.args[3].id
        for call in module.calls("Check")
        if len(call.args) > 3
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[3], ast.Name)
    }
    for code, judge in judges.items():
        for name in sorted(fix_lines._reached(module, judge)):
            for node in ast.walk(module.functions[name]):
                if isinstance(node, ast.Call):
                    yield from ((code, word) for word in OF_DOCTOR.get(called(node), ()))
