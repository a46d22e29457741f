"""What prints the first and the last lines of a job's log: as hooks of GitHub's runner, in jobs' own shells,
and beside figures of a manager's in a container.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mayfly.core.model import Generation
from mayfly.edge.figures import Figures
from tests.agents.container import Agent
from tests.agents.somebody import as_somebody

AGENTS = Path(__file__).parents[2] / "agents"
FALLBACK = "mayfly: slot gpu-0\nmayfly: image mayfly/github:cuda12.8\n"
KNOWN = {"MAYFLY_SLOT": "gpu-0", "MAYFLY_IMAGE": "mayfly/github:cuda12.8"}
MEMORY = "mayfly: memory: "


def shown(done: subprocess.CompletedProcess[str]) -> str:
    """What was printed, but for the memory, of which a host may know nothing."""
    return "".join(
        line for line in done.stdout.splitlines(keepends=True) if not line.startswith(MEMORY)
    )


def hook(name: str, runner: dict[str, str], **job: str) -> subprocess.CompletedProcess[str]:
    """A hook as GitHub's runner begins it: ``runner`` is that process's environment, ``job`` what the job has
    set since.
    """
    set_since = " ".join(f"{key}='{value}'" for key, value in job.items())
    return subprocess.run(
        ["/bin/sh", "-c", f"{set_since} bash -e {AGENTS}/{name}; code=$?; exit $code"],
        env={"PATH": os.environ["PATH"], **KNOWN, **runner},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "value",
    ["x\n::add-path::/tmp", "##vso[task.complete]", "\x1b[0Ksection_start:1:x\r", "a b", ""],
)
def test_a_variable_that_a_service_could_take_for_a_command_is_not_printed(value: str) -> None:
    began = hook("job-started.sh", {"MAYFLY_SLOT": value, "MAYFLY_IMAGE": value})
    assert (began.returncode, began.stderr) == (0, "")
    assert began.stdout == "mayfly: slot unknown\nmayfly: image unknown\n"


def script(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_the_hooks_print_the_lines_and_fail_no_job() -> None:
    began, over = hook("job-started.sh", {}), hook("job-completed.sh", {})
    assert (began.returncode, began.stdout, began.stderr) == (0, FALLBACK, "")
    assert (over.returncode, shown(over), over.stderr) == (0, "", "")


@pytest.mark.parametrize("code", [0, 3])
def test_a_hook_of_the_pool_s_or_the_image_s_runs_too_and_says_what_comes_of_the_job(
    tmp_path: Path, code: int
) -> None:
    own = script(tmp_path / "own.sh", f"echo own of $GITHUB_JOB\nfalse || exit {code}\n")
    job = {"GITHUB_JOB": "build"}
    began = hook("job-started.sh", {"MAYFLY_HOOK_STARTED": own}, **job)
    assert (began.returncode, began.stdout) == (code, f"{FALLBACK}own of build\n")
    over = hook("job-completed.sh", {"MAYFLY_HOOK_COMPLETED": own}, **job)
    assert (over.returncode, shown(over)) == (code, "own of build\n")


def test_such_a_hook_stops_at_its_first_error_as_the_runner_has_it(tmp_path: Path) -> None:
    own = script(tmp_path / "own.sh", "false\necho never\n")
    began = hook("job-started.sh", {"MAYFLY_HOOK_STARTED": own})
    assert (began.returncode, began.stdout) == (1, FALLBACK)


def test_a_job_can_neither_name_another_hook_nor_take_it_away(tmp_path: Path) -> None:
    own = script(tmp_path / "own.sh", "echo of the operator\n")
    other = script(tmp_path / "other.sh", "echo of the job\n")
    for value in (other, ""):
        over = hook("job-completed.sh", {"MAYFLY_HOOK_COMPLETED": own}, MAYFLY_HOOK_COMPLETED=value)
        assert shown(over) == "of the operator\n"
    assert shown(hook("job-completed.sh", {}, MAYFLY_HOOK_COMPLETED=other)) == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gone.sh", "is not there"),
        ("own.py", "ends neither with .sh nor with .ps1"),
        ("own.ps1", "there is no pwsh"),
    ],
)
def test_a_hook_that_the_runner_would_not_run_fails_the_job_as_it_does_there(
    tmp_path: Path, name: str, told: str
) -> None:
    if name != "gone.sh":
        script(tmp_path / name, "")
    if name.endswith("ps1") and shutil.which("pwsh"):
        pytest.skip("there is a pwsh")
    began = hook("job-started.sh", {"MAYFLY_HOOK_STARTED": str(tmp_path / name)})
    assert began.returncode == 1
    assert told in began.stderr


def without_processes() -> None:
    """Of whoever is begun next: nothing more can be begun by it."""
    as_somebody()
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))


@pytest.mark.parametrize(("name", "words"), [("job-lines", ["last"]), ("job-completed.sh", [])])
def test_a_job_that_has_left_no_process_to_be_had_does_not_fail_of_its_lines(
    name: str, words: list[str]
) -> None:
    done = subprocess.run(
        ["/bin/sh", "-s", *words],
        stdin=(AGENTS / name).open(),
        env=KNOWN,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=without_processes,
    )
    assert "fork" in done.stderr
    assert done.returncode == 0


# -- shells of jobs' own -------------------------------------------------------------------------------------


def in_place(tmp_path: Path, *names: str) -> Path:
    """What agents have in ``/opt/mayfly``, with its place as it is here."""
    for name in ("job-lines", *names):
        text = (AGENTS / name).read_text().replace("/opt/mayfly", str(tmp_path))
        script(tmp_path / name, text.replace("/tmp/.mayfly-", f"{tmp_path}/.mayfly-"))
    last = '#!/bin/sh\necho "mayfly: $1"\nexit "${2:-0}"\n'
    script(tmp_path / "job-lines", last)
    return tmp_path


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A place of everybody's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


GITLAB = {  # what a job's script is: what it prints between the lines, and its code
    "echo works": ("works\n", 0),
    "echo fails; false; echo never": ("fails\n", 1),
    "echo ends; exit 7": ("ends\n", 7),
    "set -u; echo strict; echo $nothing": ("strict\n", 1),
    "set +e; false; echo goes on": ("goes on\n", 0),
    "(exit 4) || echo caught": ("caught\n", 0),
}


@pytest.mark.parametrize("told", GITLAB)
def test_at_gitlab_the_lines_stand_around_a_script_however_it_ends(
    tmp_path: Path, told: str
) -> None:
    done = gitlab(in_place(tmp_path, "gitlab-lines"), told)
    between, code = GITLAB[told]
    assert (done.stdout, done.returncode) == (f"mayfly: first\n{between}mayfly: last\n", code)


def test_at_gitlab_a_script_s_own_trap_is_its_own(tmp_path: Path) -> None:
    place = in_place(tmp_path, "gitlab-lines")
    done = gitlab(place, "trap 'echo cleared up' EXIT; echo works")
    assert done.stdout == "mayfly: first\nworks\nmayfly: last\ncleared up\n"
    failed = gitlab(place, "trap 'echo cleared up' EXIT; false")
    assert (failed.stdout, failed.returncode) == ("mayfly: first\ncleared up\n", 1)


@pytest.mark.parametrize("end", ["", "; false", "; trap : EXIT"])
def test_at_gitlab_a_file_that_a_script_makes_its_output_has_no_lines_of_ours(
    tmp_path: Path, end: str
) -> None:
    made = tmp_path / "result.json"
    done = gitlab(in_place(tmp_path, "gitlab-lines"), f"exec >{made}; echo {{}}{end}")
    assert (made.read_text(), done.returncode) == ("{}\n", int(end == "; false"))


@pytest.mark.parametrize("code", [0, 7])
def test_at_gitlab_a_script_that_has_left_no_process_to_be_had_ends_with_its_own_code(
    open_place: Path, code: int
) -> None:
    place = in_place(open_place, "gitlab-lines")
    done = gitlab(place, f"ulimit -u 1; echo works; (( {code} )) && exit {code}; :", as_somebody)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout == "mayfly: first\nworks\nmayfly: last\n"


@pytest.mark.parametrize(("most", "last"), [("100", ""), ("max", "mayfly: last\n")])
def test_at_gitlab_beside_a_script_s_own_trap_no_process_is_wanted_where_none_is_to_be_had(
    open_place: Path, most: str, last: str
) -> None:
    place = in_place(open_place, "gitlab-lines")
    counted = place / "gitlab-lines"
    script(counted, counted.read_text().replace("/sys/fs/cgroup", str(place)))
    script(place / "pids.max", f"{most}\n")
    script(place / "pids.current", "98\n")
    limit = "" if last else "ulimit -u 1; "
    done = gitlab(place, f"trap 'echo cleared up' EXIT; {limit}echo works", as_somebody)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"mayfly: first\nworks\n{last}cleared up\n"


def gitlab(
    place: Path, told: str, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """A script as gitlab-runner makes it: one word, which a shell at the end of a pipe evaluates; ``before``
    is done in the process that becomes the shell.
    """
    lines = f". {place}/gitlab-lines"
    body = f"{lines}\n{told}\n{lines}".replace("'", "'\\''")
    whole = f"set -eo pipefail\nset +o noclobber\n: | eval '{body}'\nexit 0\n"
    return subprocess.run(
        ["bash", "-l"],
        input=whole,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": "/"} if before is not None else None,
        preexec_fn=before,
    )


@pytest.fixture
def runner(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`runner(script, …)`: steps as Gitea's runner begins them, one after the other."""
    place = in_place(tmp_path, "gitea-step", "gitea-client")
    program = tmp_path / "gitea-runner"
    shutil.copy("/bin/sh", program)

    def ran(*steps: str, **env: str) -> subprocess.CompletedProcess[str]:
        words = []
        for number, text in enumerate(steps):
            script(tmp_path / f"{number}.sh", text)
            words.append(f"bash --noprofile --norc -e -o pipefail {tmp_path}/{number}.sh; code=$?")
        return subprocess.run(
            [str(program), "-c", "\n".join([*words, "exit $code"])],
            env={
                "PATH": os.environ["PATH"],
                "BASH_ENV": f"{place}/gitea-step",
                "MAYFLY_BASHENV": "",
                **env,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return ran


def test_at_gitea_the_first_lines_come_once_and_the_last_after_what_fails(
    runner: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = runner("echo one", "echo two; false; echo never")
    assert done.stdout == "mayfly: first\none\ntwo\nmayfly: last\n"
    assert (done.returncode, done.stderr) == (1, "")


def test_at_gitea_a_file_and_the_code_of_a_step_are_its_own(
    runner: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    made = tmp_path / "result.json"
    failed = runner(f"exec >{made}; echo {{}}; exit 4")
    assert (made.read_text(), failed.returncode) == ("{}\n", 4)
    # No program can be begun with that.
    big = runner("export big=$(printf %0200000d 1); echo works; exit 5")
    assert (big.returncode, big.stdout) == (5, "works\n")


@pytest.mark.parametrize("code", [0, 3])
def test_at_gitea_a_step_that_has_left_no_process_to_be_had_ends_with_its_own_code(
    open_place: Path, code: int
) -> None:
    place = in_place(open_place, "gitea-step")
    shutil.copy("/bin/sh", open_place / "gitea-runner")
    script(place / "0.sh", f"SECONDS=20; ulimit -u 1; echo works; exit {code}")
    done = subprocess.run(
        [str(place / "gitea-runner"), "-c", f"bash --noprofile --norc -e {place}/0.sh; exit $?"],
        env={"PATH": os.environ["PATH"], "BASH_ENV": f"{place}/gitea-step"},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        preexec_fn=as_somebody,
    )
    assert (done.stdout, done.stderr) == ("mayfly: first\nworks\nmayfly: last\n", "")
    assert done.returncode == code


def test_at_gitea_what_a_step_begins_prints_nothing_more(
    runner: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = runner(
        'said=$(bash -c "echo inner"); echo "<$said> ${BASH_ENV-none} ${MAYFLY_BASHENV-none}"'
    )
    assert done.stdout == "mayfly: first\n<inner> none none\n"


def test_at_gitea_a_bash_env_of_the_pool_s_is_read_by_steps_and_what_they_begin(
    runner: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    own = script(tmp_path / "env", "greeting=hello\n")
    done = runner("echo $greeting; bash -c 'echo $greeting'", MAYFLY_BASHENV=own)
    assert done.stdout == "mayfly: first\nhello\nhello\n"
    assert runner("echo well", MAYFLY_BASHENV=f"{own}-gone").stdout == "well\n"


def test_at_gitea_a_step_s_own_trap_and_options_are_its_own(
    runner: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = runner("set -u; trap 'echo cleared up' EXIT; echo works; exit 5")
    assert (done.stdout, done.returncode) == ("mayfly: first\nworks\ncleared up\n", 5)


@pytest.mark.parametrize(
    "there", ["", "[]", '[\n {"group": "Image", "detail": "lab 7"}\n]', "no list"]
)
def test_azure_s_agent_is_given_the_first_lines_beside_what_the_image_says(
    tmp_path: Path, there: str
) -> None:
    place = tmp_path / "agent"
    place.mkdir()
    if there:
        (place / ".setup_info").write_text(there)
    lines = 'mayfly: slot "a\\b"\nmayfly: image i\n'
    for name in ("setup-info", "job-lines"):
        shutil.copy(AGENTS / name, tmp_path / name)
    script(tmp_path / "job-lines", f"cat <<'X'\n{lines}X\n")
    subprocess.run(["/bin/sh", tmp_path / "setup-info", place], check=True)
    known = [{"group": "Image", "detail": "lab 7"}] if "lab" in there else []
    assert json.loads((place / ".setup_info").read_text()) == [
        *known,
        {"group": "Mayfly", "detail": lines},
    ]


# -- the figures ---------------------------------------------------------------------------------------------


def beside(tmp_path: Path, meanwhile: str) -> str:
    """What the last lines are beside figures, where that is done in place of each wait for a reading."""
    place = tmp_path / "figures"
    place.mkdir(exist_ok=True)
    (place / "last").write_text("mayfly: reading 0\n")
    text = (AGENTS / "job-lines").read_text().replace("/run/mayfly-job", str(place))
    assert text.count("sleep 0.2") == 1
    copy = script(tmp_path / "job-lines", text.replace("sleep 0.2", meanwhile))
    return shown(
        subprocess.run(["/bin/sh", copy, "last"], capture_output=True, text=True, check=True)
    )


def test_the_last_lines_wait_for_one_more_reading_and_not_for_long(tmp_path: Path) -> None:
    read = f"printf 'mayfly: reading 1\\nmayfly: more\\n' >{tmp_path}/figures/last"
    assert beside(tmp_path, read) == "mayfly: reading 1\nmayfly: more\n"
    assert beside(tmp_path, f"printf . >>{tmp_path}/waits") == "mayfly: reading 0\n"
    assert (tmp_path / "waits").read_text() == "." * 11
    assert beside(tmp_path, f"rm -f {tmp_path}/figures/last") == "mayfly: reading 0\n"
    assert beside(tmp_path, "false") == "mayfly: reading 0\n"


@pytest.mark.engine
def test_a_job_reads_its_figures_and_cannot_write_them(
    start: Callable[..., Agent], tmp_path: Path
) -> None:
    figures, mine = Figures(tmp_path / "state"), Generation("0" * 13)
    (tmp_path / "state").mkdir(mode=0o700)
    place = figures.make(mine)
    files = {"first": "mayfly: slot test-0\n", "last": "mayfly: at last\n"}
    figures.write(mine, files)
    agent = start(binds={str(place): {"bind": "/run/mayfly-job", "mode": "ro"}})
    tries = "'touch x' 'rm first' 'mv last first' 'mkdir y' 'ln first z' 'chmod 777 .'"
    told = agent.run(
        *("sh", "-c"),
        f"cd /run/mayfly-job; for try in {tries}; do $try && echo done; done 2>/dev/null; cat first last",
    )
    assert told == "".join(files.values())
    assert {path.name: path.read_text() for path in place.iterdir()} == files


def test_figures_are_replaced_whole_and_gone_with_their_agent(tmp_path: Path) -> None:
    figures, mine = Figures(tmp_path), Generation("0" * 13)
    assert not figures.write(mine, {"last": "x"}), "nobody has made the directory"
    place = figures.make(mine)
    assert place.stat().st_mode & 0o777 == 0o755
    texts = [f"{number} " * 5000 + "end\n" for number in range(2)]
    figures.write(mine, {"last": texts[0]})
    seen: list[str] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.append((place / "last").read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        figures.write(mine, {"last": texts[number % 2]})
    stop.set()
    reader.join()
    assert seen
    assert set(seen) <= set(texts)
    assert (place / "last").stat().st_mode & 0o777 == 0o644
    figures.remove(mine)
    figures.remove(mine)
    assert list((tmp_path / "figures").iterdir()) == []
