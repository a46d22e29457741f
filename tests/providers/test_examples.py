"""The examples of the services' pages: the services' schemas take them, the pools of the pages have what they
want, and the images of the pages have what they call.
"""

from __future__ import annotations

import importlib.resources
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.azure import FakeAzure
from tests.fakes.gitea import FakeGitea
from tests.fakes.github import FakeGitHub
from tests.fakes.gitlab import FakeGitLab
from tests.pages import ROOT
from tests.pipelines.test_example import assert_valid
from tests.providers.contract import agent, changed
from tests.providers.test_azure_contract import AzureBench
from tests.providers.test_gitea_contract import GiteaBench
from tests.providers.test_github_contract import GitHubBench
from tests.providers.test_gitlab_contract import GitLabBench

PLACE = ROOT / "docs/how-to"
CUDA = ("11.8", "12.8", "13.0")
MODEL = "nvidia-h100-pcie"
# What brings a command of the examples: nothing where every base has it, or NVIDIA's runtime puts it in.
BROUGHT = {
    "nvidia-smi": "",
    "ls": "",
    "echo": "",
    "python3": "python3",
    "python3 -m venv": "python3-venv",
    "git": "git",
}
IN_IMAGE = {"azure": {"git"}}  # what a stage of the Dockerfile has beside PACKAGES


@dataclass(frozen=True)
class Example:
    """One that a page leads to."""

    file: str
    schema: str
    fake: Callable[[], Any]
    bench: Callable[[Any, Path], Any]
    # of the document, for a CUDA version: what its job asks for
    asked: Callable[[Any, str], set[str]]
    # of the document: the name of the group of runners that it asks; "": the service has none
    group: Callable[[Any], str]
    # of the fake and of what an agent was given: what a runner there offers
    offered: Callable[[Any, Any], set[str]]
    # of the document: its shell lines
    lines: Callable[[Any], list[str]]


def filled(words: Any, variable: str, cuda: str) -> set[str]:
    """What jobs ask for, with the matrix's variable in it as the service puts it in."""
    return {str(word).replace(variable, cuda) for word in words}


def runs_on(job: Any) -> list[str]:
    wanted = job["runs-on"]
    return list(wanted["labels"]) if isinstance(wanted, dict) else list(wanted)


def of_steps(job: Any, key: str) -> list[str]:
    return [line for step in job["steps"] for line in str(step.get(key, "")).splitlines()]


EXAMPLES = {
    "github": Example(
        *("github-workflow.yml", "github-workflows", FakeGitHub, GitHubBench),
        asked=lambda it, cuda: filled(runs_on(it["jobs"]["test"]), "${{ matrix.cuda }}", cuda),
        group=lambda it: it["jobs"]["test"]["runs-on"]["group"],
        offered=lambda fake, given: set(fake.runner(given.registered).labels),
        lines=lambda it: of_steps(it["jobs"]["test"], "run"),
    ),
    "gitea": Example(
        *("gitea-workflow.yml", "github-workflows", FakeGitea, GiteaBench),
        asked=lambda it, cuda: filled(runs_on(it["jobs"]["test"]), "${{ matrix.cuda }}", cuda),
        group=lambda it: "",
        offered=lambda fake, given: {
            label.removesuffix(":host") for label in json.loads(given.files["runner"])["labels"]
        },
        lines=lambda it: of_steps(it["jobs"]["test"], "run"),
    ),
    "azure": Example(
        *("azure-pipelines.yml", "azure-pipelines", FakeAzure, AzureBench),
        asked=lambda it, cuda: filled(it["jobs"][0]["pool"]["demands"], "$(cuda)", cuda),
        group=lambda it: it["jobs"][0]["pool"]["name"],
        offered=lambda fake, given: set(given.files["capabilities"].decode().split("\n")),
        lines=lambda it: of_steps(it["jobs"][0], "script"),
    ),
    "gitlab": Example(
        *("gitlab-ci.yml", "gitlab-ci", FakeGitLab, GitLabBench),
        asked=lambda it, cuda: filled(it["test"]["tags"], "$CUDA", cuda),
        group=lambda it: "",
        offered=lambda fake, given: set(fake.runners[int(given.registration)].tags),
        lines=lambda it: list(it["test"]["script"]),
    ),
}


def matrix(service: str, document: Any) -> list[str]:
    """The versions that it is for."""
    match service:
        case "gitlab":
            return list(document["test"]["parallel"]["matrix"][0]["CUDA"])
        case "azure":
            legs = document["jobs"][0]["strategy"]["matrix"].values()
            return [leg["cuda"] for leg in legs]
        case _:
            return list(document["jobs"]["test"]["strategy"]["matrix"]["cuda"])


def read(service: str) -> Any:
    """The example, as its service reads it."""
    document = yaml.safe_load((PLACE / EXAMPLES[service].file).read_text())
    if True in document:
        document["on"] = document.pop(True)  # what `on` means in YAML, but not to GitHub
    return document


def page(service: str) -> str:
    return (PLACE / f"{service}.md").read_text()


def packages_of(service: str) -> str:
    """What the page has put into its image for jobs to call."""
    (packages,) = re.findall(r'images build .* PACKAGES="([^"]*)"', page(service))
    return str(packages)


def page_pool(service: str) -> Mapping[str, Any]:
    """The pool of the page."""
    (text,) = re.findall(
        r"^```toml\n(\[\[pool\]\].*?)^```", page(service), re.MULTILINE | re.DOTALL
    )[:1]
    (pool,) = tomllib.loads(text)["pool"]
    assert pool["provider"] == service
    return dict(pool)


@pytest.mark.parametrize("service", EXAMPLES)
def test_an_example_is_one_for_its_service_and_its_page_leads_to_it(service: str) -> None:
    example = EXAMPLES[service]
    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas/vendor"
    assert_valid(read(service), json.loads((vendored / f"{example.schema}.json").read_text()))
    assert f"({example.file})" in page(service)
    own = page_pool(service)[service]
    assert example.group(read(service)) == own.get("runner_group", own.get("agent_pool", ""))


@pytest.mark.parametrize(
    ("file", "schema"),
    [
        ("containers-github.yml", "github-workflows"),
        ("containers-gitlab-ci.yml", "gitlab-ci"),
        ("containers-azure-pipelines.yml", "azure-pipelines"),
    ],
)
def test_an_example_with_containers_is_one_for_its_service(file: str, schema: str) -> None:
    document = yaml.safe_load((PLACE / file).read_text())
    if True in document:
        document["on"] = document.pop(True)
    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas/vendor"
    assert_valid(document, json.loads((vendored / f"{schema}.json").read_text()))
    assert f"({file})" in (PLACE / "containers.md").read_text()


@pytest.mark.parametrize("service", EXAMPLES)
def test_each_version_of_an_example_has_its_pool_and_no_other(service: str, tmp_path: Path) -> None:
    """Three pools as the page has them, but for their CUDA version, on a host with one model of GPU."""
    example, document, known = EXAMPLES[service], read(service), page_pool(service)
    assert tuple(matrix(service, document)) == CUDA
    catalogue = tomllib.loads((ROOT / "dockerfiles/images.toml").read_text())["image"]
    assert set(CUDA) <= {image["cuda"] for image in catalogue}
    with example.fake() as fake:
        offers = {}
        for cuda in CUDA:
            home = tmp_path / cuda
            home.mkdir()
            bench = example.bench(fake, home)
            labels = tuple(known.get("labels", ()))
            bench.pool = changed(bench.pool, gpus=1, cuda=cuda, labels=labels, slots=1)
            one = agent(CUDA.index(cuda), f"l0000000abcd{CUDA.index(cuda)}")
            given = bench.provider().enrol(one, (MODEL, f"cuda-{cuda}"))
            offers[cuda] = example.offered(fake, given)
    for cuda in CUDA:
        asked = example.asked(document, cuda)
        assert [one for one, offered in offers.items() if asked <= offered] == [cuda], asked


@pytest.mark.parametrize("service", EXAMPLES)
def test_what_an_example_calls_is_in_the_image_that_its_page_builds(service: str) -> None:
    there = {*packages_of(service).split(), *IN_IMAGE.get(service, ())}
    made = set()
    for line in EXAMPLES[service].lines(read(service)):
        found = re.match(r"(python3 -m venv|[\w.-]+(?:/[\w.-]+)*)", line.strip())
        assert found is not None, line
        if found[1] == "python3 -m venv":
            made |= {f"{line.split()[-1]}/bin/{name}" for name in ("pip", "python")}
            assert BROUGHT["python3"] in there
        if found[1] not in made:
            assert not BROUGHT[found[1]] or BROUGHT[found[1]] in there, line
    assert made, "nothing is tested"
