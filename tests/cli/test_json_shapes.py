"""Every verb with `--json` prints a document with a schema of its own, and some test looks at it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from mayfly.cli.verbs import app
from mayfly.core.leases import Gpu
from mayfly.core.memory import Memory
from mayfly.core.model import HostSpec, SlotName, World
from mayfly.service import status
from mayfly.service.gpu_document import document
from tests.cli.conftest import Mayfly

ROOT = Path(__file__).parents[2]
SCHEMAS = {
    "status": "mayfly.status/1",
    "describe": "mayfly.describe/1",
    "events": "mayfly.events/1",
    "history": "mayfly.history/1",
    "plan": "mayfly.plan/1",
    "reload": "mayfly.reload/1",
    "gpus": "mayfly.gpus/1",
    "report": "mayfly.report/1",
    "idle": "mayfly.idle/1",
    "top": "mayfly.top/1",
    "jobs": "mayfly.jobs/1",
    "runs": "mayfly.runs/1",
    "reservations": "mayfly.reservations/1",
    "config check": "mayfly.config-check/1",
    "config show": "mayfly.config/2",
    "images list": "mayfly.images/1",
    "images select": "mayfly.images-select/1",
    "notify list": "mayfly.notify/1",
    "doctor": "mayfly.doctor/1",
}


def with_json(group: Any, prefix: str = "") -> set[str]:
    """The verbs that take ``--json``."""
    found = set()
    for name in group.list_commands(None):
        verb = group.get_command(None, name)
        if hasattr(verb, "list_commands"):
            found |= with_json(verb, f"{name} ")
        elif any("--json" in option.opts for option in verb.params):
            found.add(prefix + name)
    return found


def test_every_verb_with_json_is_named_here() -> None:
    assert with_json(typer.main.get_command(app)) == SCHEMAS.keys()


@pytest.mark.parametrize(("verb", "schema"), SCHEMAS.items())
def test_its_shape_is_looked_at_by_a_test(verb: str, schema: str) -> None:
    texts = [file.read_text() for file in (ROOT / "tests").rglob("test_*.py")]
    assert any(re.search(rf'"schema"\\?\]?.*"{re.escape(schema)}"', text) for text in texts), verb


def test_the_gpus_and_what_each_slot_has_of_them() -> None:
    gpu = Gpu(uuid="GPU-1", index=0, name="H100", memory=80, capability=(9, 0))
    told = document([gpu], None, {}, {SlotName("a-0"): ("GPU-1",)})
    assert told["schema"] == "mayfly.gpus/1"
    assert told.keys() == {
        *("schema", "watched", "driver", "cuda", "at", "late_since", "problem", "gpus", "slots")
    }
    gpus, slots = told["gpus"], told["slots"]
    assert isinstance(gpus, list)
    assert isinstance(slots, list)
    (row,), (slot,) = gpus, slots
    assert row.keys() == {
        *("uuid", "index", "name", "compute", "memory", "used", "utilisation", "processes"),
        *("energy", "throttled", "temperature", "problem", "slots", "at_work", "checks", "split"),
        *("mig", "heal"),
    }
    assert (row["slots"], row["compute"]) == (["a-0"], "9.0")
    assert slot == {"slot": "a-0", "gpus": ["GPU-1"], "health": "unknown", "text": "", "code": None}


def test_the_images_that_there_are(mayfly: Mayfly) -> None:
    told = json.loads(mayfly("images", "list", "--json").out)
    assert told["schema"] == "mayfly.images/1"
    for row in told["images"]:
        assert row.keys() >= {"cuda", "toolkit", "driver", "compute", "bases"}


def test_a_status_without_slots() -> None:
    told = status.document(HostSpec("box"), (), Memory(), World({}), "no slots are configured", ())
    assert told["schema"] == "mayfly.status/1"
    assert told.keys() == {"schema", "host", "headline", "paused", "slots", "health"}
