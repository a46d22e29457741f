"""The chart's objects that no value changes are those of kustomize; tests/real renders the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pages import ROOT

TEMPLATES = ROOT / "kubernetes/chart/templates"
# Of each template that is plain YAML: the files that kustomize takes its objects from.
SOURCES = {
    "rights.yaml": ("kubernetes/role.yaml",),
    "network.yaml": ("kubernetes/network.yaml", "kubernetes/manager/network.yaml"),
}


def objects(*files: Path) -> list[Any]:
    return [one for file in files for one in yaml.safe_load_all(file.read_text()) if one]


def test_each_template_that_is_plain_yaml_is_compared() -> None:
    plain = {file.name for file in TEMPLATES.iterdir() if "{{" not in file.read_text()}
    assert plain == set(SOURCES)


@pytest.mark.parametrize("template", sorted(SOURCES))
def test_the_chart_gives_what_kustomize_gives(template: str) -> None:
    wanted = objects(*(ROOT / source for source in SOURCES[template]))
    assert wanted
    assert objects(TEMPLATES / template) == wanted
