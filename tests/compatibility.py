"""What others build on, as names: `tests/promised.json` has those that were ever promised.

``python -m tests.reference`` adds what is new. Nothing takes a name away but a person, who moves it from
`promised` to `gone`, where it says what stands in its place; a test wants that in the changelog as well.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer.main

from mayfly.cli.help_topics import TOPICS
from mayfly.cli.verb_text import verb_texts
from mayfly.cli.verbs import app
from mayfly.core.backup import SCHEMA as BACKUP
from mayfly.edge.history_file import SCHEMA_VERSION
from mayfly.edge.pipeline_file import DefaultsTable, FileTable, JobTable
from mayfly.providers.configuration import schema
from mayfly.service import openapi
from mayfly.service.control import Control
from tests import event_texts
from tests.service.exposition import begun

FILE = Path(__file__).parent / "promised.json"
MANAGER = Path(__file__).parents[1] / "manager/mayfly"
# Where the rows of documents are made whose fields the description for programs does not name.
ROWS = {
    "agents of a history": ("edge/history_reader.py", "_life_row"),
    "jobs": ("edge/history_reader.py", "_job_row"),
    "runs": ("edge/history_reader.py", "_run_row"),
    "slots of a status": ("service/status.py", "_slot"),
    "health of a status": ("service/status.py", "document"),
    "gpus": ("service/gpu_document.py", "_gpu"),
    "reservations": ("service/reservation_document.py", None),
}
SAID_BY_ALL = {"--help"}


def promised() -> dict[str, list[str]]:
    """All names as they are now, by what they are of."""
    return {
        "config keys": sorted(_tables(schema(), "")),
        "mayfly.toml keys": sorted(
            f"{where}{key}"
            for where, shape in (("", FileTable), ("defaults.", DefaultsTable), ("job.", JobTable))
            for key in shape.model_json_schema(by_alias=True)["properties"]
        ),
        "verbs and options": sorted(_verbs()),
        "exit codes": sorted(code for code, _ in TOPICS["exit-codes"].terms),
        "environment": sorted(name for name, _ in TOPICS["environment"].terms),
        "socket": sorted(_routes()),
        "documents": sorted({*_documents(), *_rows()}),
        "events": sorted(_events()),
        "metrics": sorted(_metrics()),
        "formats that are read": sorted(
            [BACKUP, *(f"state schema {one}" for one in range(1, SCHEMA_VERSION + 1))]
        ),
    }


def kept() -> dict[str, Any]:
    """What the file has: ``promised``, and ``gone`` with what stands in its place."""
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def write() -> None:
    """Add what is new."""
    before = kept() if FILE.exists() else {"promised": {}, "gone": {}}
    after = added(before["promised"], promised())
    FILE.write_text(json.dumps({"promised": after, "gone": before["gone"]}, indent=1) + "\n")


def added(before: Mapping[str, list[str]], now: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """What was promised and what is new; a kind that nobody looks for any more stays, too."""
    kinds = [*now, *(kind for kind in before if kind not in now)]
    return {kind: sorted({*before.get(kind, ()), *now.get(kind, ())}) for kind in kinds}


def is_told_gone(name: str, changelog: str) -> bool:
    """Whether the changelog names it under `Removed`: elsewhere its last word may stand for anything."""
    told = "\n".join(
        re.findall(r"^### Removed\n(.*?)(?=^##|\Z)", changelog, re.MULTILINE | re.DOTALL)
    )
    word = name.rpartition(" ")[2]
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", told) is not None


def _tables(of: Mapping[str, Any], where: str) -> Iterator[str]:
    """Every key of the configuration, by its table."""
    for name, table in of["$defs"].items():
        for key in table.get("properties", ()):
            yield f"{name.removesuffix('Table')}.{key}"
    for key in of.get("properties", ()):
        yield f"{where}{key}"


def _verbs() -> Iterator[str]:
    for verb in verb_texts(typer.main.get_command(app)):
        called = verb.called.partition(" [")[0]
        name = " ".join(word for word in called.split() if word.islower() or word == "install-hook")
        yield f"mayfly {name}"
        for option in verb.options:
            for one in option.names:
                if one.startswith("-") and one not in SAID_BY_ALL:
                    yield f"mayfly {name} {one}"


def _routes() -> Iterator[str]:
    for route in Control.ROUTES:
        yield f"{route.method} {route.path}"
        for name in route.query:
            yield f"{route.method} {route.path}?{name}"
        for key in route.body or ():
            yield f"{route.method} {route.path} body {key}"


def _documents() -> Iterator[str]:
    """The schema of each answer, and its fields."""
    described: Any = openapi.document(Control.ROUTES)
    for path, methods in described["paths"].items():
        for method, told in methods.items():
            for answer in told["responses"].values():
                for content in answer.get("content", {}).values():
                    for field, shape in content["schema"].get("properties", {}).items():
                        own = f" {shape['const']}" if field == "schema" else ""
                        yield f"{method.upper()} {path}: {field}{own}"


def _rows() -> Iterator[str]:
    for name, (file, function) in ROWS.items():
        tree = ast.parse((MANAGER / file).read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and function in (node.name, None):
                for one in ast.walk(node):
                    for key in one.keys if isinstance(one, ast.Dict) else ():
                        if isinstance(key, ast.Constant) and isinstance(key.value, str):
                            yield f"{name}: {key.value}"


def _events() -> Iterator[str]:
    for name, row in event_texts.shown().items():
        yield name
        yield from (f"{name}: {field}" for field in row if field not in event_texts.COMMON)
    for name, fields in event_texts.logged().items():
        yield name
        yield from (f"{name}: {field}" for field in fields)


def _metrics() -> Iterator[str]:
    for family in begun().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"{name} ({family.type})"
        for label in {label for sample in family.samples for label in sample.labels} - {"le"}:
            yield f"{name}{{{label}}}"
