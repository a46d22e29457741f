"""Which jobs a change asks for, kind of change by kind of change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.core.pipeline.changes import Change
from mayfly.core.pipeline.definition import Definition, JobRule, When, mistakes
from mayfly.core.pipeline.pattern import Captures, parse
from mayfly.core.pipeline.plan import Order, Plan, PlannedJob, planned


def rule(name: str, *paths: str, **given: object) -> JobRule:
    return replace(JobRule(name, run="true", paths=tuple(map(parse, paths))), **given)  # type: ignore[arg-type]


TEST = rule("test", "stages/{stage}/**")
PACK = rule("pack", "stages/{stage}/**", needs=("test",))
CLEAN = rule("clean", "stages/{stage}/**", when=When.DELETED)
DOCS = rule("docs", "docs/**", "*.md")
IDLE = rule("idle", when=When.NOTHING)
STAGES = Definition(
    (TEST, CLEAN, DOCS, IDLE), all_when=(parse("common/**"),), exclude=(parse("**/*.txt"),)
)
TREE = ("README.md", "common/x.py", "stages/a/f", "stages/a/g", "stages/b/f", "stages/b/t.txt")

M = Change


def D(path: str) -> Change:  # noqa: N802  as git calls it
    return Change(path, gone=True)


def plan(
    changes: Iterable[Change] | None,
    definition: Definition = STAGES,
    tree: Iterable[str] = TREE,
    offered: dict[str, tuple[str, ...]] | None = None,
) -> Plan:
    def template_of(job: JobRule, captures: Captures) -> str | None:
        text = job.template
        for name, value in captures:
            text = text and text.replace(f"<{name}>", value)
        return text

    return planned(definition, changes, tree, offered or {}, template_of)


def names(found: Plan) -> list[str]:
    return [job.default_name for job in found.jobs]


KINDS: dict[str, tuple[list[Change] | None, list[str]]] = {
    "a file of one": ([M("stages/a/f")], ["test-a"]),
    "files of two": ([M("stages/b/f"), M("stages/a/f"), M("stages/a/g")], ["test-a", "test-b"]),
    "one that is new": ([M("stages/c/f")], ["test-c"]),
    "one file of several is gone": ([D("stages/a/h")], ["test-a"]),
    "all of one is gone": ([D("stages/z/f"), D("stages/z/g")], ["clean-z"]),
    "gone but for what does not count": ([D("stages/z/f"), M("stages/b/t.txt")], ["clean-z"]),
    "renamed": ([D("stages/old/f"), M("stages/a/f")], ["test-a", "clean-old"]),
    "moved out of one that stays": ([D("stages/b/g"), M("stages/a/g")], ["test-a", "test-b"]),
    "a shared file": ([M("common/x.py")], ["test-a", "test-b", "docs"]),
    "a shared file is gone": ([D("common/y.py")], ["test-a", "test-b", "docs"]),
    "the file itself": ([M(".mayfly.toml")], ["test-a", "test-b", "docs"]),
    "shared, and one is gone": (
        [M("common/x"), D("stages/z/f")],
        ["test-a", "test-b", "clean-z", "docs"],
    ),
    "without a capture": ([M("README.md")], ["docs"]),
    "nobody's": ([M("LICENSE")], ["idle"]),
    "what counts for nobody": ([M("stages/a/x.txt")], ["idle"]),
    "nothing": ([], ["idle"]),
    "no commit before": (None, ["test-a", "test-b", "docs"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_change_asks_for_its_jobs(kind: str) -> None:
    changes, expected = KINDS[kind]
    found = plan(changes)
    assert names(found) == expected
    assert found.refused == ()


def test_a_job_s_own_exceptions_are_for_that_job_alone() -> None:
    definition = Definition((replace(TEST, exclude=(parse("**/g"),)), rule("all", "**")))
    assert names(plan([M("stages/a/g")], definition)) == ["all"]


def test_a_job_with_several_patterns_is_one_job_a_capture() -> None:
    definition = Definition((rule("t", "src/{lib}/**", "tests/{lib}/**"),))
    tree = ("src/x/a", "tests/x/a")
    assert names(plan([M("src/x/a"), M("tests/x/a")], definition, tree)) == ["t-x"]
    assert names(plan([D("src/x/b")], definition, tree)) == ["t-x"]


def test_a_template_that_changed_asks_for_the_jobs_that_are_written_in_it() -> None:
    by_stage = replace(TEST, run=None, template="ci/<stage>.sh")
    for_all = replace(TEST, id="deploy", run=None, template="ci/all.sh")
    definition = Definition((by_stage, for_all))
    assert names(plan([M("ci/b.sh")], definition)) == ["test-b"]
    assert names(plan([M("ci/all.sh")], definition)) == ["deploy-a", "deploy-b"]


def test_an_always_job_is_always_there_and_is_not_something() -> None:
    definition = Definition((rule("lint", when=When.ALWAYS), TEST, IDLE))
    assert names(plan([M("stages/a/f")], definition)) == ["lint", "test-a"]
    assert names(plan([], definition)) == ["lint", "idle"]


def test_a_matrix_is_a_job_a_cell_and_all_is_what_is_offered() -> None:
    matrix: dict[str, tuple[str, ...] | str] = {"cuda": "all", "python": ("3.11", "3.12")}
    definition = Definition((replace(TEST, matrix=matrix),))
    found = plan([M("stages/a/f")], definition, offered={"cuda": ("12.4", "12.8")})
    assert names(found) == [
        f"test-a-cuda{cuda}-{python}" for cuda in ("12.4", "12.8") for python in ("3.11", "3.12")
    ]
    assert found.jobs[0].values == {"stage": "a", "cuda": "12.4", "python": "3.11"}


def test_a_job_waits_for_what_is_about_the_same_and_runs() -> None:
    cudas = {"cuda": ("12.4", "12.8")}
    report = rule("report", "**", needs=("pack",))
    definition = Definition((replace(TEST, matrix=cudas), replace(PACK, matrix=cudas), report))
    found = plan([M("stages/a/f"), M("stages/b/f")], definition).jobs
    waits = {
        job.default_name: [one.default_name for one in Order(found).before(job)] for job in found
    }
    assert waits["pack-a-cuda12.8"] == ["test-a-cuda12.8"]
    assert waits["report"] == [f"pack-{s}-cuda{c}" for s in "ab" for c in ("12.4", "12.8")]
    assert definition.waves() == {"test": 0, "pack": 1, "report": 2}


BAD = [
    "a b",
    "$(x)",
    "a'b",
    'a"b',
    "a\nb",
    "\udcff",
    "-rf",
    ".",
    "..x",
    ";",
    "a" * 101,
    "`x`",
    "$x",
]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_a_shell_could_misread_is_refused_with_its_path(name: str) -> None:
    found = plan([M(f"stages/{name}/f")])
    (sentence,) = found.refused
    assert ascii(f"stages/{name}/f") in sentence
    assert sentence.isprintable()


@pytest.mark.parametrize("name", BAD)
def test_one_may_be_taken_away_and_stand_where_nothing_is_captured(name: str) -> None:
    assert plan([D(f"stages/{name}/f"), M(f"docs/{name}/f"), M(f"stages/a/{name}")]).refused == ()


def test_a_name_of_another_script_is_one() -> None:
    assert names(plan([M("stages/größe-2/f"), M("stages/段階/f")])) == ["test-größe-2", "test-段階"]


PATHS = st.sampled_from(
    [f"stages/{s}/{f}" for s in "abcd" for f in "fg"] + ["common/x", "docs/x", "LICENSE", "a.txt"]
)


@given(st.sets(PATHS), st.sets(PATHS))
def test_no_job_is_for_what_is_not_there_and_none_is_forgotten(
    before: set[str], after: set[str]
) -> None:
    touched = [D(path) for path in before - after] + [M(path) for path in after - before]
    found = plan(touched, tree=after).jobs
    stages = {path.split("/")[1] for path in after if path.startswith("stages")}
    old = {path.split("/")[1] for path in before if path.startswith("stages")}
    moved = {c.path.split("/")[1] for c in touched if c.path.startswith("stages")}
    shared = any(change.path.startswith("common") for change in touched)
    run = {job.values["stage"] for job in found if job.rule is TEST}
    gone = {job.values["stage"] for job in found if job.rule is CLEAN}
    assert run == (stages if shared else stages & moved)
    assert gone == old - stages
    assert any(job.rule is IDLE for job in found) == (len(found) == 1 and found[0].rule is IDLE)
    assert found


def test_what_is_wrong_between_keys_is_told() -> None:
    wrong = Definition(
        (
            rule(
                "a", "x/{n}", "y", needs=("b", "nope", "a"), matrix={"n": ("1",), "python": "all"}
            ),
            rule("b", "x", needs=("a",), template="t"),
            rule("c"),
            rule("d", "x", when=When.ALWAYS),
        )
    )
    told = [f"{'.'.join(map(str, where))} {text}" for where, text in mistakes(wrong)]
    for part in (
        "job.a.paths.1 captures other names",
        "job.a.matrix.n is the name of a capture",
        "job.a.matrix.python",
        "job.a.needs.1 there is no job nope",
        "job.a.needs.2 names the job itself",
        "job.b wants one of run and template",
        "job.c wants paths",
        "job.d.paths has no meaning",
        "a needs b needs a",
    ):
        assert any(part in sentence for sentence in told), part
    assert list(mistakes(STAGES)) == []
    assert list(mistakes(Definition(()))) != []


def test_a_plan_is_the_same_whatever_the_order_of_changes() -> None:
    changes = [M(f"stages/s{n}/f") for n in range(50)]
    assert plan(changes) == plan(reversed(changes))
    assert isinstance(plan(changes).jobs[0], PlannedJob)
