"""``mayfly pipeline render``: where the changes come from, what is refused, how texts are escaped."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mayfly.core.pipeline.offered import cuda_versions
from tests.pipelines.conftest import Render
from tests.pipelines.example import commit, git, repository, write
from tests.service.standin import StandIn, slot, status

LOCAL = ("--for", "local")


def names(text: str) -> list[str]:
    return [json.loads(line)["name"] for line in text.splitlines()]


def small(folder: Path, text: str, *paths: str) -> Path:
    """A repository with that file and one commit."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for path in paths:
        write(folder, path)
    write(folder, ".mayfly.toml", text)
    commit(folder)
    return folder


def typed(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


# -- what changed ----------------------------------------------------------------------------------


def test_a_merge_request_sees_its_own_changes_and_not_those_of_main(
    tmp_path: Path, render: Render
) -> None:
    folder = repository(tmp_path / "r")
    write(folder, "stages/text/bert/train.py", "mine")
    commit(folder)
    git(folder, "checkout", "--quiet", "main")
    write(folder, "stages/vision/vit/train.py", "theirs")
    commit(folder)
    git(folder, "checkout", "--quiet", "change")
    bert = [f"test-text-bert-cuda{cuda}" for cuda in ("12.4", "12.8")] + ["publish-text-bert"]
    for asked in ("main..HEAD", "main...HEAD", "main..", "main"):
        assert names(render(folder, "--changed", asked, *LOCAL).out) == bert
    git(folder, "checkout", "--quiet", "main")
    assert "vit" in render(folder, "--changed", "HEAD~1..HEAD", *LOCAL).out  # a push to main


def test_a_branch_s_first_push_asks_for_every_job_and_says_so(
    tmp_path: Path, render: Render
) -> None:
    folder = repository(tmp_path / "r")
    ran = render(folder, "--changed", "0" * 40 + "..HEAD", *LOCAL)
    assert ran.err == "mayfly: there is no commit before: every job is asked for\n"
    assert names(ran.out) == names(render(folder, "--all", *LOCAL).out)
    assert len(names(ran.out)) == 10


def test_a_list_is_looked_up_in_the_folder_as_it_is(
    tmp_path: Path, render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = repository(tmp_path / "r")
    write(folder, "stages/text/new/x")
    git(folder, "rm", "-r", "--quiet", "stages/vision/vit")
    typed(monkeypatch, b"stages/text/new/x\nstages/vision/vit/train.py\n")
    ran = render(folder, "--changed-from", "-", *LOCAL)
    assert names(ran.out)[-2:] == ["remove-vision-vit", "publish-text-new"]
    listed = tmp_path / "list"
    listed.write_bytes(b"M\tdocs/index.rst\n")
    assert names(render(folder, "--changed-from", str(listed), *LOCAL).out) == ["docs"]


def test_the_commit_is_read_and_not_the_folder(tmp_path: Path, render: Render) -> None:
    folder = repository(tmp_path / "r")
    (folder / "docs/index.rst").write_text("other")
    commit(folder)
    (folder / ".mayfly.toml").write_text("nonsense")
    assert names(render(folder, "--changed", "main..HEAD", *LOCAL).out) == ["docs"]
    assert render(folder, "--all", *LOCAL).code == 1


def test_a_bare_repository_is_read_as_a_hook_would(tmp_path: Path, render: Render) -> None:
    folder = repository(tmp_path / "r")
    write(folder, "docs/index.rst", "other")
    commit(folder)
    git(tmp_path, "clone", "--quiet", "--bare", str(folder), "bare.git")
    bare = tmp_path / "bare.git"
    assert names(render(bare, "--changed", "main..change", *LOCAL).out) == ["docs"]
    assert render(bare, "--changed-from", os.devnull, *LOCAL).code == 2


# -- what is refused -------------------------------------------------------------------------------

HEAD = "[job.a]\npaths = 'stages/{stage}/**'\n"
WRONG: list[tuple[str, str]] = [
    (HEAD + "run = '{{ stge }}'", ".mayfly.toml:3: [job.a] run: knows no stge; there are changed, stage"),
    (HEAD + "run = '{{'", ".mayfly.toml:3: [job.a] run: is no template: "),
    (HEAD + "run = 'x'\n[job.a.gitlab]\nx = ['{{ y }}']", "[job.a] gitlab.x.1: knows no y"),
    (HEAD + "run = 'x'\nneeds = 'b'", ".mayfly.toml:4: [job.a] needs.1: there is no job b"),
    (HEAD + "run = '{{ 1 / 0 }}'", "job a: run cannot be filled in: division by zero"),
    (HEAD + "run = '{{ stage.x }}'", "job a: run cannot be filled in: "),
    (HEAD + "run = '{{ ().__class__.__mro__ }}'", "run: does what no template may: it asks for __mro__"),
    (HEAD + "run = '{% for i in range(99999) %}{{ \"x\" * 99 }}{% endfor %}'", "more than 1 MiB"),
    (HEAD + "run = '{% for i in range(9999999) %}x{% endfor %}'", "job a: run cannot be filled in"),
    (HEAD + "run = '{% include \"../../etc/passwd\" %}'", "is no path of this repository"),
    (HEAD + "run = '{% include \"nope\" %}'", "job a: run: there is no file nope"),
    (HEAD + "template = 'ci/{{ stage }}.sh'", "there is no file ci/s.sh, which its template names"),
    (HEAD + "template = '/etc/passwd'", "'/etc/passwd' is no path of this repository"),
    (HEAD + "run = 'x'\nname = 'a {{ stage }}'", "job a: name makes 'a s'"),
    (f"{HEAD}run = 'x'\nname = 'b-s'\n{HEAD.replace('job.a', 'job.b')}run = 'x'", "two jobs are called b-s"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_a_mistake_is_told_where_it_stands_and_nothing_is_printed(
    tmp_path: Path, render: Render, text: str, sentence: str
) -> None:
    folder = small(tmp_path / "r", text, "stages/s/f")
    ran = render(folder, "--all", *LOCAL)
    assert (ran.code, ran.out) == (1, "")
    assert sentence in ran.err
    assert ran.err.startswith("mayfly: ")


def test_every_template_with_a_mistake_is_told_also_of_jobs_that_do_not_run(
    tmp_path: Path, render: Render
) -> None:
    text = (
        HEAD
        + "run = '{{ x }}'\ntags = ['a', '{{ y }}']\n[job.b]\nwhen = 'nothing'\nrun = '{% if %}'\n"
    )
    ran = render(small(tmp_path / "r", text, "other"), "--all", *LOCAL)
    lines = ran.err.removeprefix("mayfly: ").splitlines()
    assert [line.split(": ")[0] for line in lines[:3]] == [f".mayfly.toml:{n}" for n in (3, 4, 7)]
    assert lines[3:] == ["3 mistakes"]


def test_a_mistake_in_one_job_hides_none_in_another(tmp_path: Path, render: Render) -> None:
    text = (
        "[job.test]\npathes = 'x'\nrun = '{{ nope }}'\n"
        "[job.b]\nwhen = 'always'\nneeds = ['zz', 'test']\nrun = '{{ lipsum.__globals__ }}'\n"
        "[job.c]\nwhen = 'always'\nrun = '{{ nope }}'\n"
    )
    ran = render(small(tmp_path / "r", text, "other"), "--all", *LOCAL)
    assert ran.err.removeprefix("mayfly: ").splitlines() == [
        ".mayfly.toml:2: [job.test] pathes: there is no such key; did you mean paths?",
        ".mayfly.toml:6: [job.b] needs.1: there is no job zz",
        ".mayfly.toml:7: [job.b] run: does what no template may: it asks for __globals__",
        ".mayfly.toml:10: [job.c] run: knows no nope; there are changed",
        "4 mistakes",
    ]


def test_a_folder_s_name_that_a_shell_could_misread_is_refused(
    tmp_path: Path, render: Render
) -> None:
    folder = small(
        tmp_path / "r", HEAD + "run = 'make -C stages/{{ stage }}'", "stages/$(x)/f", "stages/a b/f"
    )
    ran = render(folder, "--all", *LOCAL)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("rename it, or leave it out by except") == 2
    assert "'stages/$(x)/f': the stage that job a takes from it is '$(x)'" in ran.err


def test_a_repository_without_the_file_and_a_folder_without_a_repository_are_told(
    tmp_path: Path, render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small(tmp_path / "r", "x", "a")
    git(folder, "rm", "--quiet", ".mayfly.toml")
    commit(folder)
    assert "there is no .mayfly.toml at the top of" in render(folder, "--all", *LOCAL).err
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "cannot be read as a git repository" in render(tmp_path, "--all", *LOCAL).err
    for asked in ("nope..HEAD", "-x..HEAD", "HEAD..--output=x"):
        ran = render(folder, "--changed", asked, *LOCAL)
        assert (ran.code, ran.out, len(ran.err.splitlines())) == (1, "", 1)
    assert render(folder, "--changed", "..HEAD", *LOCAL).code == 2


def test_a_matrix_with_an_order_is_asked_for_wave_by_wave(tmp_path: Path, render: Render) -> None:
    folder = repository(tmp_path / "r")
    for service in ("github", "azure"):
        ran = render(folder, "--all", "--for", service)
        assert ran.code == 2
        assert "--wave 0 to --wave 1" in ran.err
        assert render(folder, "--all", "--for", service, "--wave", "2").code == 2
    for service in ("gitlab", "local"):
        assert render(folder, "--all", "--for", service, "--wave", "0").code == 2


# -- what is written -------------------------------------------------------------------------------

NASTY = [
    *("a: b", "- x", "#c", "'", '"', "$HOME", "${{ x }}", "$(x)", "yes", "1e3", "é\t", "a\nb: ["),
    *("%", "*a", "!x"),
]


def test_no_text_is_taken_for_anything_else_by_any_service(tmp_path: Path, render: Render) -> None:
    written = ", ".join(f"N{n} = {json.dumps(text)}" for n, text in enumerate(NASTY))
    text = f"[job.a]\nwhen = 'always'\nrun = {json.dumps(chr(10).join(NASTY))}\nenv = {{ {written} }}\n"
    text = text.replace("{{ x }}", "{{ '{{ x }}' }}")
    folder = small(tmp_path / "r", text)
    script = "\n".join(NASTY)
    env = {f"N{n}": text for n, text in enumerate(NASTY)}

    gitlab = yaml.safe_load(render(folder, "--all", "--for", "gitlab").out)["a"]
    assert gitlab["script"] == [script]
    assert {
        key: v["value"] if isinstance(v, dict) else v for key, v in gitlab["variables"].items()
    } == env
    for key, value in gitlab["variables"].items():
        assert isinstance(value, dict) == ("$" in env[key])
        assert value == env[key] or value["expand"] is False
    (cell,) = json.loads(render(folder, "--all", "--for", "github").out)["include"]
    assert (cell["run"], cell["env"]) == (script, env)
    leg = json.loads(render(folder, "--all", "--for", "azure").out)["a"]
    assert leg == {"name": "a", "run": script, **env}
    line = json.loads(render(folder, "--all", "--for", "local").out)
    assert (line["argv"], line["env"]) == (["sh", "-ec", script], env)


def test_changed_paths_are_quoted_for_the_shell_and_a_path_that_is_no_text_is_refused(
    tmp_path: Path, render: Render
) -> None:
    text = "[job.a]\npaths = 'src/**'\nrun = \"lint {{ changed | map('sh') | join(' ') }}\"\n"
    folder = small(tmp_path / "r", text, "src/a b", "src/it's", "src/x")
    git(folder, "checkout", "--quiet", "-b", "change")
    write(folder, "src/a b", "1")
    write(folder, "src/it's", "2")
    commit(folder)
    line = json.loads(render(folder, "--changed", "main..HEAD", *LOCAL).out)
    assert line["argv"][2] == "lint 'src/a b' 'src/it'\"'\"'s'"
    Path(os.fsdecode(os.fsencode(folder) + b"/src/\xff")).write_text("3")
    commit(folder)
    ran = render(folder, "--changed", "main..HEAD", *LOCAL)
    assert (ran.code, ran.out) == (1, "")
    assert "job a: run has bytes that are no text" in ran.err


def test_nothing_at_all_is_a_pipeline_that_each_service_takes(
    tmp_path: Path, render: Render
) -> None:
    folder = small(tmp_path / "r", HEAD + "run = 'x'")
    printed = {
        service: render(folder, "--changed", "HEAD..HEAD", "--for", service).out
        for service in ("gitlab", "github", "azure", "local")
    }
    assert list(yaml.safe_load(printed["gitlab"])) == ["workflow", "nothing-to-do"]
    assert json.loads(printed["github"]) == {"include": []}
    assert (json.loads(printed["azure"]), printed["local"]) == ({}, "")


def test_the_page_skips_matrices_that_are_printed_so(tmp_path: Path, render: Render) -> None:
    """The workflows compare the text, and an output has no end of line."""
    folder = small(tmp_path / "r", HEAD + "run = 'x'")
    page = (Path(__file__).parents[2] / "docs/how-to/pipelines.md").read_text()
    for service in ("github", "azure"):
        printed = render(folder, "--changed", "HEAD..HEAD", "--for", service).out
        assert f"'{printed.strip()}'" in page


def test_names_that_differ_only_in_what_azure_does_not_take_stay_two(
    tmp_path: Path, render: Render
) -> None:
    folder = small(
        tmp_path / "r", HEAD + "run = 'x'", "stages/x.y/f", "stages/x-y/f", "stages/X_Y/f"
    )
    legs = json.loads(render(folder, "--all", "--for", "azure").out)
    assert [leg["stage"] for leg in legs.values()] == ["X_Y", "x-y", "x.y"]
    assert list(legs) == ["a_X_Y", "a_x_y_2", "a_x_y_3"]


def test_a_word_that_means_something_else_to_a_service_is_refused(
    tmp_path: Path, render: Render
) -> None:
    text = "[job.cache]\npaths = '{run}/**'\nrun = 'x'\nenv = { STAGE = '1', stage = '2' }\n"
    folder = small(tmp_path / "r", text, "a/f")
    assert "GitLab has another meaning for" in render(
        small(tmp_path / "g", "[job.cache]\nwhen = 'always'\nrun = 'x'"), "--all", "--for", "gitlab"
    ).err  # fmt: skip
    assert "run means something else in a matrix" in render(folder, "--all", "--for", "github").err
    assert "Azure has one variable" in render(folder, "--all", "--for", "azure").err


def test_a_job_that_waits_for_more_than_a_list_may_hold_waits_for_a_stage(
    tmp_path: Path, render: Render
) -> None:
    text = HEAD + "run = 'x'\n[job.report]\npaths = '**'\nneeds = 'a'\nrun = 'y'\n"
    folder = small(tmp_path / "r", text, *(f"stages/s{n}/f" for n in range(51)))
    child = yaml.safe_load(render(folder, "--all", "--for", "gitlab").out)
    assert child["stages"] == ["wave-0", "wave-1"]
    assert child["report"] == {"stage": "wave-1", "script": ["y"]}
    assert child["a-s7"] == {"stage": "wave-0", "script": ["x"]}


# -- what pools offer ------------------------------------------------------------------------------

ALL = HEAD + "run = 'x'\nmatrix = { cuda = 'all' }\n"
OFFERED: list[tuple[Any, tuple[str, ...]]] = [
    (
        {"slots": [{"image": "mayfly/local:cuda12.8"}, {"image": "mayfly/github:cuda9.2-devel"}]},
        ("9.2", "12.8"),
    ),
    ({"slots": [{"image": "mayfly/local:cpu"}, {}, 3]}, ()),
    ({"images": [{"cuda": "13.0"}, {"cuda": "12.4"}]}, ("12.4", "13.0")),
    ({"cuda": ["12.8", "12.8", "x; y"]}, ("12.8",)),
    ([], ()),
    ({"slots": 3, "images": None, "cuda": "12.8"}, ()),
]


@pytest.mark.parametrize(("document", "versions"), OFFERED)
def test_what_a_document_offers(document: Any, versions: tuple[str, ...]) -> None:
    assert cuda_versions(document) == versions


def test_all_versions_are_those_of_the_pools_or_of_a_file(
    tmp_path: Path, render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small(tmp_path / "r", ALL, "stages/s/f")
    path = tmp_path / "s"
    ran = render(folder, "--all", *LOCAL, "--socket", str(path))
    assert (ran.code, ran.out) == (3, "")
    assert 'says cuda = "all", and nobody here knows what the pools have' in ran.err
    assert "--cuda-from FILE" in ran.err

    manager = StandIn(path, lambda _: pytest.fail("nothing is asked of it"))
    slots = [
        {**slot(f"local-{number}"), "image": f"mayfly/local:cuda{version}"}
        for number, version in enumerate(("12.8", "12.4", "12.8"))
    ]
    manager.publish(status(*slots))
    try:
        asked = render(folder, "--all", *LOCAL, "--socket", str(path))
    finally:
        manager.close()
    assert names(asked.out) == ["a-s-cuda12.4", "a-s-cuda12.8"]

    typed(monkeypatch, b'{"cuda": ["13.0"]}')
    assert names(render(folder, "--all", *LOCAL, "--cuda-from", "-").out) == ["a-s-cuda13.0"]
    for wrong, sentence in ((b"x", "is not JSON"), (b"{}", "names no CUDA version")):
        file = tmp_path / "offers"
        file.write_bytes(wrong)
        assert sentence in render(folder, "--all", *LOCAL, "--cuda-from", str(file)).err
