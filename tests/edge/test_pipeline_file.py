"""A repository's ``.mayfly.toml``: every mistake at once, each with its line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mayfly.core.pipeline.definition import When
from mayfly.edge.mistakes import ConfigError
from mayfly.edge.pipeline_file import read

SERVICES = ("acme",)
GOOD = """\
all_when = ["common/**"]
except = "**/*.md"
[defaults]
tags = "gpu"
env = { A = "1", B = "2" }
timeout = "1h"
[job.test]
paths = ["stages/{stage}/**"]
run = ["make", "make test"]
env = { B = "3" }
tags = []
[job.test.acme]
retry = 2
[job.idle]
when = "nothing"
run = "true"
"""


def test_the_file_is_read_with_its_defaults() -> None:
    found = read(GOOD, SERVICES)
    test, idle = found.jobs
    assert (test.run, test.tags, test.timeout) == ("make\nmake test", (), 3600)
    assert (test.env, test.captures) == ({"A": "1", "B": "3"}, ("stage",))
    assert test.own == {"acme": {"retry": 2}}
    assert (idle.when, idle.tags, idle.paths) == (When.NOTHING, ("gpu",), ())
    assert [pattern.text for pattern in found.all_when + found.exclude] == ["common/**", "**/*.md"]


WRONG: list[tuple[str, list[str]]] = [
    ("", ["no [job.NAME]"]),
    ("job = 3", ["1: job: must be a table of tables"]),
    ('[job.a]\npaths = "x"\nru = "y"', ["3: [job.a] ru: there is no such key; did you mean run?"]),
    ('[job.a]\npaths = "x"\n', ["1: [job.a]: wants one of run and template"]),
    ('al_when = "x"\n[job.a]\nrun = 3', ["1: al_when", "3: [job.a] run: must be a text in quotes"]),
    (
        'except = "/x"\n[job.a]\npaths = [\n  "x",\n  "y**",\n]\nrun = "z"\n[job.b]\nwhen = "soon"',
        ["1: except", "5: [job.a] paths.2", "9: [job.b] when: must be"],
    ),
    ('[job.a]\nwhen = "always"\nrun = ls\n[job.b]\nx = 1', ["3: is not TOML", "5: [job.b] x"]),
    (
        '[job.a]\npathes = "x"\n[job.b]\nwhen = "always"\nrun = "x"\nneeds = ["a", "zz"]\n[job.c]\nrun = "x"',
        ["2: [job.a] pathes", "6: [job.b] needs.2: there is no job zz", "7: [job.c]: wants paths"],
    ),
    ('al_when = "x"', ["1: al_when"]),
    ('[job.a]\nwhen = "always"\nrun = ls', ["3: is not TOML"]),
    ('[job."a b"]\nwhen = "always"\nrun = "x"', ["1: [job.a b]: is no name"]),
    ('[job.a]\nwhen = "always"\nrun = "x"\nacme = 1', ["4: [job.a] acme: must be a table"]),
    *(
        (f'[job.a]\nwhen = "always"\nrun = "x"\nmatrix = {matrix}', [f"4: [job.a] matrix: {why}"])
        for matrix, why in (
            ("3", "must be a table"),
            ("{ cuda = 12 }", "cuda must be a list"),
            ("{ cuda = [12.4] }", "cuda has 12.4"),
            ('{ cuda = ["12 4"] }', "cuda has '12 4'"),
            ('{ cuda = ["1", "1"] }', "cuda has a value twice"),
            ('{ Cuda = ["1"] }', "'Cuda' is no axis"),
            ('{ env = ["1"] }', "'env' is no axis"),
        )
    ),
]


@pytest.mark.parametrize(("text", "sentences"), WRONG)
def test_every_mistake_is_told_with_its_line(text: str, sentences: list[str]) -> None:
    with pytest.raises(ConfigError) as told:
        read(text, SERVICES)
    found = [str(problem) for problem in told.value.problems]
    assert len(found) == len(sentences), found
    for problem, sentence in zip(found, sentences, strict=True):
        assert problem.startswith(".mayfly.toml:")
        assert sentence in problem


def test_a_pipeline_s_file_is_read_without_what_is_known_of_configurations() -> None:
    script = (
        "import sys, mayfly.edge.pipeline_file\n"
        "sys.exit('mayfly.edge.config_mistakes' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
