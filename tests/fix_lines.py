"""Every condition and check that the sources make: its code, its sentence, and the line to type.

Read out of the sources, so that nobody keeps a list by hand. A part of a sentence that is known only when it
is said is a gap. Where a code cannot be told, the reader fails: then it has to learn how that one is made.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import product
from pathlib import Path

from mayfly.core import gpu_checks, gpu_conditions
from mayfly.core.model import EngineLines
from tests.pages import ROOT

SOURCES = ROOT / "manager/mayfly"
GAP = "\0"  # what is known only when it is said
DEEP = 8  # names that are followed, one after the other
CODE = re.compile(r"[a-z]+\.[a-z_]+")


@dataclass(frozen=True, slots=True)
class Made:
    """One place that makes a condition, or a verdict of the doctor's."""

    code: str
    text: str  # with gaps
    fix: str  # with gaps; a gap alone is taken over from elsewhere, "": none
    where: str


@dataclass(frozen=True, slots=True)
class _Value:
    """What an expression may be, and on which branches of which `if`."""

    text: str
    branches: frozenset[tuple[int, str]] = frozenset()

    def goes_with(self, other: _Value) -> bool:
        here = dict(self.branches)
        return all(here.get(at, branch) == branch for at, branch in other.branches)

    def and_(self, text: str, other: _Value) -> _Value:
        return _Value(text, self.branches | other.branches)


Values = list[_Value]
UNKNOWN = [_Value(GAP)]


@cache
def _engine_lines() -> dict[str, tuple[str, ...]]:
    """What each line of an engine's may be: Docker's and a cluster's."""
    found: dict[str, tuple[str, ...]] = {}
    files = [SOURCES / f"engines/{engine}/lines.py" for engine in ("docker", "kubernetes")]
    for file in files:
        module = _module(file)
        for call in module.calls("EngineLines"):
            for word in call.keywords:
                if word.arg is not None:
                    told = tuple(one.text for one in module.values(word.value, call))
                    found[word.arg] = found.get(word.arg, ()) + told
    return {
        name: tuple(line.replace("{name}", GAP) for line in lines) for name, lines in found.items()
    }


# What the doctor's facts call some of them.
OF_FACTS = {"engine_addresses": "addresses", "engine_look": "status", "engine_room": "room"}
LINES = {one.name for one in fields(EngineLines)} - {"between"}


class Module:
    """One file, and what its expressions may be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.parent: dict[ast.AST, ast.AST] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        self._calls: dict[str, list[ast.Call]] = {}
        self._imports: dict[str, str] = {}
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parent[child] = node
            if isinstance(node, ast.FunctionDef):
                self.functions[node.name] = node
            elif isinstance(node, ast.Call):
                self._calls.setdefault(called(node), []).append(node)
            elif isinstance(node, ast.ImportFrom):
                self._imports |= {one.name: node.module or "" for one in node.names}

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """Where one of these is called."""
        for name in names:
            yield from self._calls.get(name, ())

    def function_of(self, node: ast.AST) -> ast.FunctionDef | None:
        """The one that it stands in."""
        while node in self.parent:
            node = self.parent[node]
            if isinstance(node, ast.FunctionDef):
                return node
        return None

    def place(self, node: ast.expr) -> str:
        return f"{self.path.relative_to(SOURCES)}:{node.lineno}"

    def imported(self, name: str) -> Module | None:
        """The file of Mayfly's that it comes from; ``None``: it is of this one."""
        path = SOURCES.parent / f"{self._imports.get(name, '').replace('.', '/')}.py"
        return _module(path) if path.is_file() else None

    # -- what an expression may be ---------------------------------------------------------------

    def values(self, node: ast.expr, at: ast.AST, depth: int = DEEP) -> Values:
        """What it may be where ``at`` stands."""
        if depth == 0:
            return UNKNOWN
        match node:
            case ast.Constant(value=value):
                return [_Value(value)] if isinstance(value, str) else UNKNOWN
            case ast.JoinedStr(values=parts):
                return self._joined([self._part(part, at, depth) for part in parts])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._joined([self.values(one, at, depth) for one in (left, right)])
            case ast.IfExp() | ast.BoolOp():
                some = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse]
                return [one for part in some for one in self.values(part, at, depth)]
            case ast.Subscript(value=ast.Name(id=name)):
                return self._of_table(name)
            case ast.Attribute(attr=attr, value=base):
                line = OF_FACTS.get(attr, attr if _is_of_engine(base) else "")
                if line in LINES:
                    return [_Value(one) for one in _engine_lines()[line]]
                return UNKNOWN
            case ast.Name(id=name):
                return self._name(name, at, depth)
            case ast.Call():
                return self._call(node, at, depth)
        return UNKNOWN

    def _of_table(self, name: str) -> Values:
        for node in self.tree.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            if isinstance(target, ast.Name) and target.id == name and isinstance(node, ast.Assign):
                rows = node.value.values if isinstance(node.value, ast.Dict) else []
                return [one for row in rows for one in self.values(row, node)] or UNKNOWN
        return UNKNOWN

    def _part(self, part: ast.expr, at: ast.AST, depth: int) -> Values:
        if not isinstance(part, ast.FormattedValue):
            return self.values(part, at, depth)
        inner = part.value
        follows = isinstance(inner, (ast.Name, ast.IfExp)) and part.format_spec is None
        return self.values(inner, at, depth - 1) if follows else UNKNOWN

    def _joined(self, parts: Sequence[Values]) -> Values:
        found: Values = [_Value("")]
        for part in parts:
            few = part if len(part) * len(found) <= 64 else UNKNOWN
            found = [
                one.and_(one.text + other.text, other)
                for one, other in product(found, few)
                if one.goes_with(other)
            ]
        return found

    def _call(self, node: ast.Call, at: ast.AST, depth: int) -> Values:
        name = called(node)
        if name == "on" and node.args:  # EngineLines.on
            return self.values(node.args[0], at, depth)
        if name == "replace" and isinstance(node.func, ast.Attribute):
            return self.values(node.func.value, at, depth)
        if name == "join" and node.args and isinstance(node.args[0], ast.GeneratorExp):
            return self.values(node.args[0].elt, at, depth)
        if name == "fix":  # Room.fix
            return [*self.values(node.args[0], at, depth), _Value(f"df -i {GAP}")]
        function = self.functions.get(name)
        if function is None and (elsewhere := self.imported(name)) is not None:
            return elsewhere.values(node, elsewhere.tree, depth - 1)
        if function is None or not isinstance(node.func, ast.Name):
            return UNKNOWN
        returned = [
            one.value
            for one in ast.walk(function)
            if isinstance(one, ast.Return) and one.value is not None
        ]
        found = [one for each in returned for one in self.values(each, each, depth - 1)]
        return [_Value(one.text) for one in found] or UNKNOWN

    def _name(self, name: str, at: ast.AST, depth: int) -> Values:
        found = [
            value
            for expression, where in self._assigned(name, at)
            for one in self.values(expression, where, depth - 1)
            for value in (_Value(one.text, one.branches | self._branches(where, at)),)
        ]
        if found:
            return found
        if (elsewhere := self.imported(name)) is not None:
            own = elsewhere.tree.body[-1]
            return [_Value(one.text) for one in elsewhere._name(name, own, depth - 1)]
        function = self.function_of(at)
        if function is None:
            return UNKNOWN
        given = [
            one for call in self.calls(function.name) for one in self._given(call, function, name)
        ]
        return [
            _Value(one.text) for each, where in given for one in self.values(each, where, depth - 1)
        ] or UNKNOWN

    def _given(
        self, call: ast.Call, function: ast.FunctionDef, name: str
    ) -> Iterator[tuple[ast.expr, ast.AST]]:
        """What a call gives that parameter."""
        names = [one.arg for one in function.args.args]
        if names[:1] == ["self"]:
            names = names[1:]
        for at, one in enumerate(flat(call.args)):
            if at < len(names) and names[at] == name:
                yield one, call
        for word in call.keywords:
            if word.arg == name:
                yield word.value, call

    def _assigned(self, name: str, at: ast.AST) -> Iterator[tuple[ast.expr, ast.AST]]:
        """The assignments that reach a place: the nearest before it, and those of branches on the way."""
        node = at
        while node in self.parent:
            above = self.parent[node]
            for _, block in ast.iter_fields(above):
                if not isinstance(block, list) or node not in block:
                    continue
                if isinstance(above, ast.ExceptHandler):
                    continue
                for statement in reversed(block[: block.index(node)]):
                    yield from (found := list(_assignments(statement, name)))
                    if found and not isinstance(statement, (ast.If, ast.Match, ast.Try, ast.For)):
                        return
            for one in _bound(above, name):
                yield one, above
            given = above.args if isinstance(above, ast.FunctionDef) else None
            if given and name in {one.arg for one in (*given.args, *given.kwonlyargs)}:
                return
            node = above

    def _branches(self, node: ast.AST, at: ast.AST) -> frozenset[tuple[int, str]]:
        """On which branches an assignment stands that the place itself does not."""
        found = set[tuple[int, str]]()
        around = {at}
        while at in self.parent:
            at = self.parent[at]
            around.add(at)
        while node in self.parent and node not in around:
            above = self.parent[node]
            if isinstance(above, ast.If) and above not in around and node is not above.test:
                found.add((above.lineno, "body" if node in above.body else "else"))
            node = above
        return frozenset(found)


@cache
def _module(path: Path) -> Module:
    return Module(path)


def called(node: ast.Call) -> str:
    """By what name."""
    func = node.func.body if isinstance(node.func, ast.IfExp) else node.func
    return func.id if isinstance(func, ast.Name) else getattr(func, "attr", "")


def flat(given: Sequence[ast.expr]) -> list[ast.expr]:
    """The arguments, those of a tuple with a star each by itself."""
    found: list[ast.expr] = []
    for one in given:
        inner = one.value if isinstance(one, ast.Starred) else None
        found += flat(inner.elts) if isinstance(inner, ast.Tuple) else [one]
    return found


def _is_of_engine(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")
    return name in {"lines", "words", "engine", "LINES"}


def _assignments(statement: ast.stmt, name: str) -> Iterator[tuple[ast.expr, ast.AST]]:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from ((one, node) for one in _targeted(target, node.value, name))
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield from ((one, node) for one in _targeted(node.target, node.value, name))


def _targeted(target: ast.expr, value: ast.expr, name: str) -> Iterator[ast.expr]:
    if isinstance(target, ast.Name) and target.id == name:
        yield value
    if isinstance(target, ast.Tuple):
        if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts):
            for one, given in zip(target.elts, value.elts, strict=True):
                yield from _targeted(one, given, name)
        elif any(isinstance(one, ast.Name) and one.id == name for one in target.elts):
            yield value


def _bound(node: ast.AST, name: str) -> Iterator[ast.expr]:
    """What a loop, a `with` or `:=` in a test binds it to: not followed."""
    if isinstance(node, ast.For) and any(
        isinstance(one, ast.Name) and one.id == name for one in ast.walk(node.target)
    ):
        yield ast.Constant(None)


# -- who makes conditions and verdicts ------------------------------------------------------------


def made() -> list[Made]:
    """Every place that makes one, in the order of the files."""
    found: list[Made] = []
    for path in sorted(SOURCES.rglob("*.py")):
        if "simulated" in path.parts:
            continue
        source = path.read_text(encoding="utf-8")
        if not re.search(
            r"\b(Condition|Breach|Finding)\(|conditions\.tell\(|CHECKS: tuple\[Check", source
        ):
            continue
        found += _of_file(_module(path))
    return found


# A condition that these take over is one that was made elsewhere.
TAKEN_OVER = {"edge/gateway_control.py", "cli/examination.py", "service/notifier.py"}


def _of_file(module: Module) -> Iterator[Made]:
    name = str(module.path.relative_to(SOURCES))
    for call in module.calls("Condition"):
        given = flat(call.args)
        if ast.unparse(call.func) == "threading.Condition":
            continue
        unread = f"{module.place(call)}: give code, severity, text and fix by their places"
        assert len(given) >= 4, unread
        if not (name in TAKEN_OVER and isinstance(given[0], ast.Subscript)):
            yield from _each(module, call, given[0], given[2], given[3])
    for call in module.calls("tell"):
        given = flat(call.args)
        if name.startswith("engines/docker/gateway/") and len(given) >= 4:
            yield from _each(module, call, given[0], given[2], given[3])
    for call in module.calls("Breach"):
        given = flat(call.args)
        yield from _each(module, call, given[0], given[1], given[2], "isolation.")
    for call in module.calls("Finding"):
        given = flat(call.args)
        if name.startswith("engines/") and len(given) == 3:
            if not (isinstance(given[0], ast.Constant) and given[0].value is True):
                yield from _each(module, call, ast.Constant("engine.answers"), given[1], given[2])
        elif name.startswith("providers/") and len(given) >= 3:
            yield from _each(module, call, ast.Constant("service.allows"), given[1], given[2])
    if name == "cli/doctor.py":
        yield from _of_doctor(module)


def _each(
    module: Module,
    call: ast.Call,
    code: ast.expr,
    text: ast.expr,
    fix: ast.expr,
    prefix: str = "",
) -> Iterator[Made]:
    for parts in _through(module, call, (code, text, fix)):
        values = [module.values(one, at) for one, at in parts]
        for one, told, line in product(*values):
            if not (one.goes_with(told) and one.goes_with(line) and told.goes_with(line)):
                continue
            if one.text.startswith("isolation." + GAP):
                continue  # each breach is told where it is found
            if one.text == GAP and module.path.name == "gpu_conditions.py":
                xid = "dmesg" in line.text
                for check in gpu_checks.CHECKS:
                    if xid == (check in gpu_conditions._XIDS):
                        yield Made(check, GAP, line.text, module.place(call))
                continue
            whole = prefix + one.text
            unknown = f"{module.place(call)}: no code can be told: {ast.unparse(code)}"
            assert CODE.fullmatch(whole), unknown
            # (As `core/isolation.py` says it.)
            said = f"agents of pool {GAP} {told.text}" if prefix else told.text
            if whole == "service.allows" and not said.startswith("pool "):
                said = f"pool {GAP}: {said}"  # as the doctor says it
            yield Made(whole, said, line.text, module.place(call))


def _through(
    module: Module, call: ast.Call, parts: tuple[ast.expr, ...]
) -> Iterator[list[tuple[ast.expr, ast.AST]]]:
    """The parts; where they are what its function is given, those of each of its callers, together."""
    function = module.function_of(call)
    callers = list(module.calls(function.name)) if function is not None else []
    names = {one.id for one in parts if isinstance(one, ast.Name)}
    given = [] if function is None else [one.arg for one in function.args.args]
    if function is None or not callers or not names & {*given}:
        yield [(one, call) for one in parts]
        return
    for caller in callers:
        yield [
            next(module._given(caller, function, one.id), (one, call))
            if isinstance(one, ast.Name) and one.id in given
            else (one, call)
            for one in parts
        ]


def _of_doctor(module: Module) -> Iterator[Made]:
    """A verdict is of the checks whose judge comes to the function that makes it."""
    judges = {
        str(call.args[0].value): call.args[3].id
        for call in module.calls("Check")
        if len(call.args) > 3
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[3], ast.Name)
    }
    for code, judge in judges.items():
        for name in sorted(_reached(module, judge)):
            function = module.functions[name]
            for call in ast.walk(function):
                if not isinstance(call, ast.Call):
                    continue
                given = flat(call.args)
                if called(call) in {"fail", "warn", "found", "tell"} and len(given) == 2:
                    yield from _each(module, call, ast.Constant(code), given[0], given[1])
                elif called(call) == "Verdict" and len(given) == 3:
                    yield from _each(module, call, ast.Constant(code), given[1], given[2])
    yield from (Made(code, GAP, GAP, "cli/doctor.py") for code in judges)
    yield Made("agent.canary", GAP, GAP, "cli/doctor.py")


def _reached(module: Module, judge: str) -> set[str]:
    found, left = set[str](), [judge]
    while left:
        name = left.pop()
        if name in found or name in {"fail", "warn", "ok", "skip"}:
            continue
        found.add(name)
        left += [
            node.id
            for node in ast.walk(module.functions[name])
            if isinstance(node, ast.Name) and node.id in module.functions
        ]
    return found
