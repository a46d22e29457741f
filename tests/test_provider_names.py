"""Nothing but its own package knows a provider by name; what is left are texts for people."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mayfly.providers.installed import packages

ROOT = Path(__file__).parents[1] / "manager/mayfly"
# Where a name may stand, and what such a line says.
TEXTS = {
    "core/admission/image_names.py": r"\"registry\.gitlab\.com\"",  # a public registry, as others
    "cli/examples.py": r"for GitHub|GitLab's|mayfly .*(github|gitlab)",  # what people type
    "cli/prototype.py": r".*",  # what the 2019 prototype wrote down is Azure's alone
    "cli/verbs_images.py": r"Whose agent: local, azure, …",
    "cli/verbs_init.py": r"azure-token",
    "edge/app_key.py": r"GitHub",
    "edge/token_looks.py": r"gh\[opsur\]_|github_pat_|# GitHub|# GitLab|# Azure DevOps",  # their tokens
    "edge/journal.py": r"MAYFLY_SLOT=azure-0",
    "edge/web.py": r"\"GitHub\", 'pool",
    "providers/azure/__init__.py": r"https://github\.com/microsoft/azure-pipelines-agent",  # where it is
}


@pytest.mark.parametrize("name", [name for name in packages() if not packages()[name].embedded])
def test_a_provider_is_known_by_name_in_its_package_alone(name: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted(ROOT.rglob("*.py"))
        if not path.is_relative_to(ROOT / "providers" / name)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(name, line, re.IGNORECASE)
        and not re.search(TEXTS.get(str(path.relative_to(ROOT)), r"(?!)"), line)
    ]
    assert found == []


def test_every_text_that_is_allowed_is_there() -> None:
    for path, text in TEXTS.items():
        assert re.search(text, (ROOT / path).read_text()), path
