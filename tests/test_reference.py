"""The reference says what the code does: verbs, flags, keys and paths are checked against it."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from mayfly.core import command_effects, model
from mayfly.core.gpu_selection import GpuSelection
from mayfly.core.idle_settings import IdleSettings
from mayfly.edge import http_connection, unix_http
from mayfly.edge.cluster import ENGINE, Cluster
from mayfly.providers.azure.settings import AzureSettings
from mayfly.providers.configuration import provider_keys, schema
from mayfly.providers.gitea.settings import GiteaSettings
from mayfly.providers.github.settings import GitHubSettings
from mayfly.providers.gitlab.settings import GitLabSettings
from mayfly.providers.installed import packages
from mayfly.service import control, openapi
from mayfly.service.openapi import FAILURES
from tests import reference

SECTIONS = reference.sections()


@pytest.mark.parametrize(("page", "name"), list(SECTIONS))
def test_a_generated_part_is_up_to_date(page: str, name: str) -> None:
    told = "run `python -m tests.reference`"
    assert reference.generated(page, name) == SECTIONS[page, name].strip("\n"), told


def test_every_key_of_the_core_is_a_key_of_the_file() -> None:
    tables = {
        "HostTable": model.HostSpec,
        "PoolTable": model.PoolSpec,
        "GpuTable": GpuSelection,
        "LimitsTable": model.Limits,
        "SecurityTable": model.PoolSecurity,
        "DatasetTable": model.Dataset,
        "CacheTable": model.Cache,
        "ClusterTable": Cluster,
        "IdleTable": IdleSettings,
    }
    for table, spec in tables.items():
        own = {*packages(), ENGINE}  # what is a provider's or an engine's
        keys = set(schema()["$defs"][table]["properties"]) - own
        fields = {
            field.name
            for field in dataclasses.fields(spec)
            if field.metadata.get("key", True)  # else it follows from another key
        }
        assert keys == {{"datasets": "dataset"}.get(name, name) for name in fields}


def test_every_key_of_a_provider_is_in_what_it_is_read_into() -> None:
    tables = {
        "azure": AzureSettings,
        "gitea": GiteaSettings,
        "github": GitHubSettings,
        "gitlab": GitLabSettings,
    }
    assert {*tables, "local"} == set(packages())
    for name, kind in tables.items():
        table = provider_keys()[name].table
        assert table is not None
        fields = {one.name for one in dataclasses.fields(kind) if one.metadata.get("key", True)}
        assert table.model_fields.keys() == fields


def test_every_key_is_described() -> None:
    for table in schema()["$defs"].values():
        for key, shape in table["properties"].items():
            assert shape.get("description"), key


def test_the_bounds_in_the_page_are_those_of_the_code() -> None:
    page = (reference.DOCS / "control-socket.md").read_text()
    at_once, waiting, sending = unix_http.CONNECTIONS, control.LONG_POLLS, control.UPLOADS
    of_users = unix_http.USERS.bounds, control.LONG_POLLS_OF_USERS, control.UPLOADS_OF_USERS
    all_of, waiting_of, sending_of = ((one.all, one.of_one) for one in of_users)
    for row in (
        (
            f"| all | {at_once.all} ({at_once.kept_for_root} kept for root) | {at_once.of_one} "
            f"| {at_once.of_root} | {all_of[0]} | {all_of[1]} |"
        ),
        (
            f"| of these, waiting or following | {waiting.all} | {waiting.of_one} "
            f"| | {waiting_of[0]} | {waiting_of[1]} |"
        ),
        (
            f"| of these, sending content | {sending.all} | {sending.of_one} "
            f"| {sending.of_root} | {sending_of[0]} | {sending_of[1]} |"
        ),
    ):
        assert row in page
    each = f"Each {http_connection.PIECES_LEAST >> 20} MiB of content have"
    assert f"{each} {http_connection.PIECES_SECONDS:g} s" in page
    read, write = f"{http_connection.READ_SECONDS:g}", f"{http_connection.WRITE_SECONDS:g}"
    assert f"A request has {read} s to arrive, and the reader {write} s" in page
    assert http_connection.BODY_MAX == 2**20
    assert http_connection.HEAD_MAX == 64 * 2**10


def failures(path: Path) -> set[tuple[int, str]]:
    """The status and the kind of each failure that the file answers with."""
    calls = [
        node.args
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"refusal", "Refusal", "error_reply"}
    ]
    constant = [[arg.value for arg in call if isinstance(arg, ast.Constant)] for call in calls]
    # A status, then a word among what is said.
    return {
        (values[0], value)
        for values in constant
        for value in values[1:]
        if isinstance(values[0], int) and isinstance(value, str)
        if re.fullmatch("[a-z_]+", value)
    }


def test_every_kind_of_failure_is_in_the_page() -> None:
    page = (reference.DOCS / "control-socket.md").read_text()
    sources = [
        *Path(control.__file__).parent.glob("*.py"),
        *Path(command_effects.__file__).parent.glob("*.py"),
        Path(http_connection.__file__),
    ]
    found = set().union(*map(failures, sources))
    assert {(404, "no_such_slot"), (503, "no_disk"), (500, "bug")} <= found
    for status, kind in found:
        row = rf"^\| [^|]*{status}[^|]* \|[^|]*`{kind}`"
        assert re.search(row, page, re.MULTILINE), f"{status} {kind}"


def test_every_kind_of_failure_of_the_page_is_in_the_openapi_document_and_no_other() -> None:
    page = (reference.DOCS / "control-socket.md").read_text()
    rows = re.findall(r"^\| ([\d, ]+) \| ([^|]*) \|", page, re.MULTILINE)
    told = {
        (int(status), kind)
        for statuses, kinds in rows
        for status in statuses.split(",")
        for kind in re.findall("`([a-z_]+)`", kinds)
    }
    assert told == {(status, kind) for status, kinds in FAILURES.items() for kind in kinds}
    document: Any = openapi.document(control.Control.ROUTES)
    for status, kinds in FAILURES.items():
        schema = document["components"]["responses"][str(status)]["content"]["application/json"]
        assert schema["schema"]["properties"]["kind"]["enum"] == list(kinds)


def test_the_documents_in_the_page_have_the_keys_that_are_printed() -> None:
    page = (reference.DOCS / "cli.md").read_text()
    for key in control.JOB_KEYS:
        assert f"`{key}`" in page
