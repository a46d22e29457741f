"""The example of the page: for each kind of change what a person would have written, for all four outputs."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mayfly.service import openapi
from mayfly.service.control import Control
from tests.pipelines.conftest import Render
from tests.pipelines.example import KINDS, block, commit, git, repository, write

EXPECTED = Path(__file__).parent / "expected"
WAVES = ("--wave", "0"), ("--wave", "1")


def expected(kind: str) -> dict[str, Any]:
    """The four outputs of a kind, put together from the files of its jobs."""
    names = yaml.safe_load((EXPECTED / "kinds.yml").read_text())[kind]
    found: dict[str, Any] = {
        "gitlab": {"workflow": {"rules": [{"when": "always"}]}},
        "github": [{"include": []}, {"include": []}],
        "azure": [{}, {}],
        "local": [],
    }
    for name in names:
        part = yaml.safe_load((EXPECTED / f"{name}.yml").read_text())
        found["gitlab"] |= part["gitlab"]
        found["local"] += part["local"]
        for wave in (0, 1):
            found["github"][wave]["include"] += part["github"][wave]["include"]
            found["azure"][wave] |= part["azure"][wave]
    return found


def by_name(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row["name"]))


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """The services' published schemas, and of what the manager says of itself that of a run."""
    place = importlib.resources.files("check_jsonschema") / "builtin_schemas/vendor"
    paths: Any = openapi.document(Control.ROUTES)["paths"]
    run = paths["/v1/runs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return {"local": run} | {
        name: json.loads((place / f"{file}.json").read_text())
        for name, file in (
            ("gitlab", "gitlab-ci"),
            ("github", "github-workflows"),
            ("azure", "azure-pipelines"),
        )
    }


def assert_valid(document: Any, schema: Any) -> None:
    """The schema takes it."""
    kind = jsonschema.validators.validator_for(schema)
    faults = [fault.message for fault in kind(schema).iter_errors(document)]
    assert faults == []


def workflow(matrices: list[Any]) -> Any:
    """The page's workflow of GitHub with the matrices in place of the expressions that read them."""
    document = yaml.safe_load(block(".github/workflows/ci.yml"))
    document["on"] = document.pop(True)  # what `on` means in YAML, but not to GitHub
    for job, matrix in zip(("first", "second"), matrices, strict=True):
        if matrix["include"]:
            document["jobs"][job]["strategy"]["matrix"] = matrix
        else:
            del document["jobs"][job]  # its `if` skips it
    if "first" not in document["jobs"] and "second" in document["jobs"]:
        document["jobs"]["second"]["needs"] = "plan"
    return document


def azure(matrix: Any) -> Any:
    """The same of Azure Pipelines."""
    document = yaml.safe_load(block("azure-pipelines.yml"))
    document["jobs"][1]["strategy"]["matrix"] = matrix
    return document


def submitted(lines: list[dict[str, Any]]) -> Any:
    """The jobs as one run of the embedded queue, where what is waited for are places and not names."""
    places = {line["name"]: place for place, line in enumerate(lines)}
    tasks = [
        {**line, "after": [places[name] for name in line["after"]], "out": line["out"] or None}
        for line in lines
    ]
    return {"repository": "/srv/git/example.git", "tasks": tasks}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_change_gives_what_a_person_would_have_written(
    kind: str, tmp_path: Path, render: Render, schemas: dict[str, Any]
) -> None:
    folder = repository(tmp_path / "r")
    KINDS[kind](folder)
    commit(folder)
    wanted = expected(kind)

    def rendered(service: str, *more: str) -> str:
        ran = render(folder, "--changed", "main..HEAD", "--for", service, *more)
        assert (ran.code, ran.err) == (0, "")
        return ran.out

    child = yaml.safe_load(rendered("gitlab"))
    assert child == wanted["gitlab"]
    assert_valid(child, schemas["gitlab"])

    cells = [json.loads(rendered("github", *wave)) for wave in WAVES]
    for cell, want in zip(cells, wanted["github"], strict=True):
        assert by_name(cell["include"]) == by_name(want["include"])
    assert_valid(workflow(cells), schemas["github"])

    legs = [json.loads(rendered("azure", *wave)) for wave in WAVES]
    assert legs == wanted["azure"]
    for matrix in legs:
        if matrix:
            assert_valid(azure(matrix), schemas["azure"])

    lines = [json.loads(line) for line in rendered("local").splitlines()]
    assert by_name(lines) == by_name(wanted["local"])
    for number, line in enumerate(lines):
        assert set(line["after"]) <= {before["name"] for before in lines[:number]}
    if lines:
        assert_valid(submitted(lines), schemas["local"])


def test_the_expected_outputs_are_of_all_kinds_and_all_files_are_used() -> None:
    kinds = yaml.safe_load((EXPECTED / "kinds.yml").read_text())
    assert kinds.keys() == KINDS.keys()
    used = {name for names in kinds.values() for name in names} | {"kinds"}
    assert used == {path.stem for path in EXPECTED.glob("*.yml")}


def test_the_schemas_refuse_what_is_none(schemas: dict[str, Any]) -> None:
    """So that taking what is printed says something."""
    for service, wrong in (
        ("gitlab", {"a": {"script": [], "tags": 3}}),
        ("github", {"on": "push", "jobs": {"a": {"steps": 3}}}),
        ("azure", {"jobs": [{"job": "a b", "steps": 3}]}),
        ("local", {"repository": "/r", "tasks": [{"argv": [], "need": 3}]}),
    ):
        with pytest.raises(AssertionError):
            assert_valid(wrong, schemas[service])


def test_the_pages_own_pipeline_of_gitlab_is_one(schemas: dict[str, Any]) -> None:
    assert_valid(yaml.safe_load(block(".gitlab-ci.yml")), schemas["gitlab"])


STAGES = tuple(f"stages/area{n % 20}/stage{n}/deep/train.py" for n in range(400))


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """The example with four hundred more stages, whose areas have no script of their own."""
    folder = repository(tmp_path / "r", *STAGES)
    for area in range(20):
        write(folder, f"ci/publish-area{area}.sh", "true\n")
    commit(folder)
    git(folder, "branch", "--force", "main")
    return folder


def test_four_hundred_stages_are_fifty_lines_and_one_change_is_one_stage(
    large: Path, render: Render
) -> None:
    assert len(block(".mayfly.toml").splitlines()) < 50
    write(large, STAGES[123], "changed\n")
    commit(large)
    ran = render(large, "--changed", "main..HEAD", "--for", "local")
    names = [json.loads(line)["name"] for line in ran.out.splitlines()]
    assert names == [
        *(f"test-area3-stage123-cuda{cuda}" for cuda in ("12.4", "12.8")),
        "publish-area3-stage123",
    ]
    write(large, "common/io.py", "changed\n")
    commit(large)
    ran = render(large, "--changed", "main..HEAD", "--for", "gitlab")
    assert len(yaml.safe_load(ran.out)) == 1 + 3 * 403 + 1
    ran = render(large, "--changed", "main..HEAD", "--for", "github", "--wave", "0")
    assert (ran.code, ran.err) == (
        1,
        "mayfly: 807 jobs are more than the 256 that a matrix of GitHub takes\n",
    )
