"""The generated parts of the reference: verbs from the command line, keys from the configuration's
models, paths from the control socket's routes, metrics from what a manager exposes.

``python -m tests.reference`` writes them between their markers; a test sees that they are there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from mayfly.cli.help_topics import TOPICS
from mayfly.cli.key_text import default_text
from mayfly.cli.verb_text import verb_texts
from mayfly.cli.verbs import app
from mayfly.core.admission import (
    create,
    create_host,
    create_mounts,
    create_network,
    system,
)
from mayfly.core.admission.admit import ROUTES
from mayfly.core.admission.keys import Key
from mayfly.core.gpu_checks import CHECKS, RECOVERY, XID
from mayfly.core.gpu_findings import OF_KIND
from mayfly.core.xids import XIDS, XidKind
from mayfly.edge.pipeline_file import DefaultsTable, FileTable, JobTable
from mayfly.providers.configuration import schema
from mayfly.service import openapi
from mayfly.service.control import Control
from tests import compatibility, event_texts, seen
from tests.service.exposition import begun

DOCS = Path(__file__).parents[1] / "docs" / "reference"
BY_CASE = {XID, RECOVERY}  # of which it depends on what is said
TABLES = {
    "host": "HostTable",
    "idle": "IdleTable",
    "kubernetes": "ClusterTable",
    "pool": "PoolTable",
    "pool.kubernetes": "PoolClusterTable",
    "limits": "LimitsTable",
    "security": "SecurityTable",
    "slurm": "SlurmTable",
    "dataset": "DatasetTable",
    "caches": "CacheTable",
    "azure": "AzureTable",
    "github": "GitHubTable",
    "app": "AppTable",
    "gitlab": "GitLabTable",
    "gitea": "GiteaTable",
}


def sections() -> dict[tuple[str, str], str]:
    """Every generated part, by page and marker."""
    found = {("cli.md", "verbs"): "\n".join(_verbs())}
    found["cli.md", "exit-codes"] = "\n".join(_exit_codes())
    found |= {
        ("configuration.md", name): "\n".join(_keys(schema()["$defs"][table]))
        for name, table in TABLES.items()
    }
    found |= {
        ("mayfly-toml.md", name): "\n".join(_keys(shape.model_json_schema(by_alias=True)))
        for name, shape in (("file", FileTable), ("defaults", DefaultsTable), ("job", JobTable))
    }
    found |= {("containers.md", name): "\n".join(part) for name, part in _admitted()}
    found["control-socket.md", "paths"] = "\n".join(_paths())
    found["seen-with.md", "seen"] = "\n".join(seen.table())
    found["gpu-checks.md", "checks"] = "\n".join(_gpu_checks())
    found["gpu-checks.md", "xids"] = "\n".join(_xids())
    found["metrics.md", "metrics"] = "\n".join(_metrics())
    found["events.md", "facts"] = "\n".join(event_texts.of_facts())
    found["events.md", "log"] = "\n".join(event_texts.of_the_log())
    return found


def generated(page: str, name: str) -> str:
    """What stands between the markers now."""
    found: tuple[str, str, str] = _between(name).findall((DOCS / page).read_text())[0]
    return found[1].strip("\n")


def openapi_text() -> str:
    """The control socket's description for programs, as the page beside it has it for people."""
    return json.dumps(openapi.document(Control.ROUTES), indent=1, ensure_ascii=False) + "\n"


def write() -> None:
    """Bring every page up to date."""
    for (page, name), text in sections().items():
        path = DOCS / page
        before, now, after = _between(name).findall(path.read_text())[0]
        path.write_text(
            path.read_text().replace(f"{before}{now}{after}", f"{before}\n{text}\n{after}")
        )
    (DOCS / "openapi.json").write_text(openapi_text())
    compatibility.write()


def _between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- begin: {name} -->)(.*?)(<!-- end: {name} -->)", re.DOTALL)


# -- verbs -----------------------------------------------------------------------------------------


def _verbs() -> Iterator[str]:
    for verb in verb_texts(typer.main.get_command(app)):
        yield f"### `mayfly {verb.called}`"
        yield ""
        yield verb.does
        yield ""
        if verb.options:
            yield "| option | does |"
            yield "|---|---|"
            for option in verb.options:
                value = option.value.replace("|", "\\|")
                yield f"| `{', '.join(option.names)}{' ' + value if value else ''}` | {option.does} |"
            yield ""
        yield "```sh"
        for example in verb.examples:
            yield f"# {example.does}"
            yield example.typed
        yield "```"
        yield ""


def _exit_codes() -> Iterator[str]:
    topic = TOPICS["exit-codes"]
    yield topic.about
    yield ""
    yield "| exit | means |"
    yield "|---|---|"
    for code, means in topic.terms:
        yield f"| {code} | {means} |"


# -- keys ------------------------------------------------------------------------------------------


def _keys(table: dict[str, Any]) -> Iterator[str]:
    required = set(table.get("required", ()))
    yield "| key | default | what it is |"
    yield "|---|---|---|"
    for key, shape in table["properties"].items():
        if "$ref" in str(shape) and key in TABLES and key != "app":
            continue
        said = default_text(shape)
        default = "must be there" if key in required else f"`{said}`" if said else ""
        yield f"| `{key}` | {default} | {shape['description']} |"


# -- checks of GPUs --------------------------------------------------------------------------------


def _gpu_checks() -> Iterator[str]:
    yield "| code | found | does | threshold | a reset may end it | from |"
    yield "|---|---|---|---|---|---|"
    for check in CHECKS.values():
        limit = f"{check.threshold:g} {check.unit}" if check.threshold is not None else ""
        does = f"{check.severity}, always" if check.fixed else str(check.severity)
        heals = "yes" if check.healable else "as it says" if check.code in BY_CASE else ""
        source = f"[page]({check.source})" if check.source else ""
        yield f"| `{check.code}` | {check.seen} | {does} | {limit} | {heals} | {source} |"


def _xids() -> Iterator[str]:
    yield "| XID | means | counts as | a reset may end it |"
    yield "|---|---|---|---|"
    kinds = {kind: f"`{code}`" for kind, code in OF_KIND.items()}
    for number, meaning in XIDS.items():
        heals = "yes" if meaning.resettable and meaning.kind is XidKind.HARDWARE else ""
        yield f"| {number} | {meaning.text} | {kinds[meaning.kind]} | {heals} |"


# -- paths -----------------------------------------------------------------------------------------


def _paths() -> Iterator[str]:
    yield "| request | query | what it is |"
    yield "|---|---|---|"
    for route in Control.ROUTES:
        query = " ".join(f"`{name}`" for name in route.query)
        yield f"| `{route.method} {route.path}` | {query} | {route.does} |"


# -- a job's own containers -------------------------------------------------------------------------


def _admitted() -> Iterator[tuple[str, Iterator[str]]]:
    yield "paths", _admitted_paths()
    yield "create", _bodies(("", create.CONFIG))
    yield "host", _bodies(("", create_host.HOST), ("RestartPolicy.", create_host.RESTART))
    yield (
        "mounts",
        _bodies(
            ("", create_mounts.MOUNT),
            ("BindOptions.", create_mounts.BIND_OPTIONS),
            ("VolumeOptions.", create_mounts.VOLUME_OPTIONS),
            ("VolumeOptions.DriverConfig.", create_mounts.DRIVER),
            ("TmpfsOptions.", create_mounts.TMPFS_OPTIONS),
        ),
    )
    yield "endpoint", _bodies(("", create_network.ENDPOINT))
    yield "healthcheck", _bodies(("", create.HEALTHCHECK))
    others = [one for one in ROUTES if one.keys and one.keys is not create.CONFIG]
    yield "bodies", _bodies(*((f"`{one.method} {one.path}`: ", one.keys) for one in others))


def _admitted_paths() -> Iterator[str]:
    yield "| request | what becomes of it | parameters |"
    yield "|---|---|---|"
    for route in ROUTES:
        said = (f"`{one.name}`{_otherwise(one.does)}" for one in route.query)
        yield f"| `{route.method} {route.path}` | {route.does} | {'; '.join(said)} |"
    for family, why in system.FAMILIES.items():
        yield f"| `{family}…` | refused: {why} | |"


def _otherwise(does: str) -> str:
    return "" if does == "as it is" else f" ({does})"


def _bodies(*tables: tuple[str, tuple[Key, ...]]) -> Iterator[str]:
    yield "| key | what becomes of it |"
    yield "|---|---|"
    for where, keys in tables:
        for key in keys:
            name = f"{where}`{key.name}`" if where.startswith("`") else f"`{where}{key.name}`"
            yield f"| {name} | {key.does} |"


# -- metrics ---------------------------------------------------------------------------------------


def _metrics() -> Iterator[str]:
    yield "| metric | type | labels | what it is |"
    yield "|---|---|---|---|"
    for family in sorted(begun().registry.collect(), key=lambda family: family.name):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        shown = " ".join(f"`{label}`" for label in labels)
        yield f"| `{name}` | {family.type} | {shown} | {family.documentation} |"


if __name__ == "__main__":
    write()
