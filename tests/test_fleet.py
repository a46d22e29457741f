"""What the role for Ansible takes and writes, without a box; `tests/real/fleet` runs it on two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment

TASKS = Path(__file__).parents[1] / "fleet/ansible/roles/mayfly/tasks"
GIVEN = {"mayfly_wheel": "x.whl", "mayfly_config": "[host]"}
KEY = "ssh-ed25519 AAAA prometheus"


def evaluated(expression: str, key: str) -> object:
    """What Ansible makes of it; its filter `split` is Python's."""
    environment = Environment(autoescape=False)
    environment.filters["split"] = str.split
    return environment.compile_expression(expression)(mayfly_metrics_key=key, **GIVEN)


@pytest.mark.parametrize(
    ("key", "taken"), [("", 1), (KEY, 1), (f"{KEY}\n", 1), (f"{KEY}\n{KEY}", 0)]
)
def test_a_second_key_does_not_get_in_without_what_bounds_the_first(key: str, taken: int) -> None:
    asserted = task("main.yml", "Look at what was given")["ansible.builtin.assert"]["that"]
    assert all(evaluated(one, key) for one in asserted) == bool(taken)


def test_the_line_of_the_key_is_one_line() -> None:
    text = task("metrics.yml", "Let one key in")["ansible.builtin.copy"]["content"]
    written = Environment(autoescape=False).from_string(text).render(mayfly_metrics_key=f"{KEY}\n")
    assert written == f'restrict,port-forwarding,permitopen="127.0.0.1:9925" {KEY}'


def task(file: str, name: str) -> Any:
    (found,) = (one for one in yaml.safe_load((TASKS / file).read_text()) if one["name"] == name)
    return found
