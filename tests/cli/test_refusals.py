"""Every verb refuses what it would ignore or cannot mean: each option and argument of the CLI has a row."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mayfly.cli.app import main
from mayfly.cli.verbs import app
from mayfly.core.commands import Command
from mayfly.service.pending_command import Answer
from tests.cli.conftest import Answers
from tests.service.standin import StandIn

GOOD = (
    '[host]\nname = "lab"\ndocker_host = "unix:///nowhere"\n[[pool]]\nname = "local"\nslots = 2\n'
)
# Options of every verb, which stand for themselves.
SHARED = {"--help", "--socket", "--config", "--host", "--json"}
ANY = "any value has a meaning"
ALONE = "a flag that acts whatever else is given"

# For each option and argument: what is refused of it and with which exit code, or why nothing is.
ROWS: dict[str, list[tuple[str, int]] | str] = {
    "run --take-over": ALONE,
    "status --watch": ALONE,
    "status --all": ALONE,
    "describe name": [("describe nope", 4)],
    "events --follow": ALONE,
    "events --slot": [("events --slot nope", 4), ("events -f --slot nope", 4)],
    "events --limit": [(f"events -n {n}", 2) for n in ("x", "0", "-1", "1001")],
    "history --since": [
        (f"history --since {t}", 2) for t in ("nonsense", "-5", "2999-01-01T00:00:00Z")
    ],
    "history --slot": [("history --slot nope", 4)],
    "history --outcome": [("history --outcome nope", 2)],
    "history --gpu": [("history --gpu GPU-nope", 4)],
    "history --limit": [(f"history -n {n}", 2) for n in ("x", "0", "-1")],
    "logs name": [("logs nope", 4)],
    "logs --follow": [("logs -f --previous local-0", 2)],
    "logs --previous": [("logs --previous nope", 4)],
    "cordon slots": [("cordon nope", 4), ("cordon", 2)],
    "cordon --all": [("cordon --all local-0", 2)],
    "cordon --note": ANY,
    "cordon --for": [(f"cordon local-0 --for {t}", 2) for t in ("nonsense", "0", "-5")],
    "uncordon slots": [("uncordon nope", 4), ("uncordon", 2)],
    "uncordon --all": [("uncordon --all local-0", 2)],
    "drain slots": [("drain nope", 4)],
    "drain --all": [("drain --all local-0", 2)],
    "drain --wait": ALONE,
    "drain --timeout": [
        ("drain local-0 --timeout 5s", 2),
        ("drain local-0 --wait --timeout nonsense", 2),
        ("drain local-0 --wait --timeout -5", 2),
    ],
    "drain --note": ANY,
    "drain --force": [("drain local-0 --force", 2)],
    "drain --yes": [("drain local-0 --yes", 2)],
    "pause --note": ANY,
    "recycle slots": [("recycle nope", 4), ("recycle", 2)],
    "recycle --all": [("recycle --all local-0", 2)],
    "retry slots": [("retry nope", 4), ("retry", 2)],
    "retry --all": [("retry --all local-0", 2)],
    "reload --dry-run": ALONE,
    "wait --for": [("wait", 2), ("wait --for nonsense", 2)],
    "wait --timeout": [(f"wait --for idle --timeout {t}", 2) for t in ("nonsense", "-5")],
    "report --by": [("report --by owner", 2)],
    "report --per": [("report --per day", 2)],
    "report --since": [
        (f"report --since {t}", 2) for t in ("nonsense", "-5", "2999-01-01T00:00:00Z")
    ],
    "report --until": [
        ("report --until nonsense", 2),
        ("report --since 2025-11-03 --until 2025-11-02", 2),
    ],
    "report --zone": [(f"report --zone {zone}", 2) for zone in ("Nowhere/Else", "../x", "''")],
    "report --csv": [("report --csv --json", 2)],
    "idle what": [("idle nonsense", 2), ("idle test --json", 2), ("idle test", 1)],
    "idle --yes": [("idle --yes", 2)],
    "gpus what": [("gpus nonsense", 2)],
    "gpus gpu": [("gpus heal nope --plan", 4), ("gpus unlock GPU-1", 2)],
    "gpus --force": [("gpus --force", 2), ("gpus heal --force", 2)],
    "gpus --plan": [("gpus --plan", 2), ("gpus unlock --plan", 2)],
    "gpus --yes": [("gpus --yes", 2), ("gpus heal --watch --yes", 2), ("gpus unlock --yes", 2)],
    "gpus --watch": ALONE,
    "health --gpu": [(f"health --gpu {g}", 2) for g in ("gpu0", "-1", "''")],
    "health --wait": [(f"health --wait {t}", 2) for t in ("nonsense", "0", "-5")],
    "submit command": [("submit", 2)],
    "submit --wait": ALONE,
    "submit --pool": [("submit --pool nope -- true", 4)],
    "submit --env": [("submit -e NO_SUCH_VARIABLE_HERE -- true", 2)],
    "submit --timeout": [(f"submit --timeout {t} -- true", 2) for t in ("nonsense", "0", "-5")],
    "submit --name": [("submit --name 'a b' -- true", 2)],
    "submit --priority": [("submit --priority urgent -- true", 2)],
    "submit --after": [("submit --after nope -- true", 4)],
    "submit --retry-lost": [(f"submit --retry-lost {n} -- true", 2) for n in ("x", "-1", "11")],
    "submit --gpus": [(f"submit --gpus {n} -- true", 2) for n in ("x", "-1", "65")],
    "submit --cuda": [
        ("submit --cuda new -- true", 2),
        ("submit --cuda 12.8,all -- true", 2),
    ],
    "submit --image": [
        ("submit --image 'no such name' -- true", 2),
        ("submit --image lab/torch:1 --cuda 12.8 -- true", 2),
    ],
    "submit --matrix": [
        ("submit --matrix A -- true", 2),
        ("submit --matrix A= -- true", 2),
        ("submit --matrix A=1 --matrix A=2 -- true", 2),
        ("submit -e A=1 --matrix A=1,2 -- true", 2),
    ],
    "submit --dir": [("submit --dir /no/such/folder -- true", 2)],
    "submit --stdin": ALONE,
    "submit --out": [
        ("submit --out ../x -- true", 2),
        ("submit --out x= -- true", 2),
        ("submit --out =x -- true", 2),
        ("submit --out x --out x=y -- true", 2),
        ("submit --out x=y -- true", 2),
    ],
    "submit --hold": ALONE,
    "reserve --for": [("reserve", 2), *((f"reserve --for {t}", 2) for t in ("nonsense", "-5"))],
    "reserve --gpus": [(f"reserve --for 1h --gpus {n}", 2) for n in ("x", "0", "-1")],
    "reserve --at": [(f"reserve --for 1h --at {t}", 2) for t in ("nonsense", "25:00", "-5")],
    "reserve --pool": [("reserve --for 1h --pool nope", 4)],
    "reserve --image": [("reserve --for 1h --outside --image a", 2)],
    "reserve --dir": [
        ("reserve --for 1h --dir /no/such/folder", 2),
        ("reserve --for 1h --outside --dir .", 2),
    ],
    "reserve --outside": [("reserve --extend x --for 1h --outside", 2)],
    "reserve --wait": [("reserve --extend x --for 1h --wait", 2)],
    "reserve --extend": [("reserve --extend nope --for 1h", 4)],
    "fetch job": [("fetch nope", 4)],
    "fetch -o": "any value has a meaning",
    "fetch --most": [(f"fetch x --most {n}", 2) for n in ("x", "-1", "1QB")],
    "jobs --mine": ALONE,
    "jobs --state": [("jobs --state waiting", 2)],
    "jobs --pool": "any value has a meaning: of a pool that is no more there may be jobs",
    "jobs --group": "any value has a meaning: of a group that is forgotten there are no jobs",
    "jobs --since": [(f"jobs --since {t}", 2) for t in ("nonsense", "-5", "2999-01-01T00:00:00Z")],
    "jobs -n": [(f"jobs -n {n}", 2) for n in ("x", "0", "-1")],
    "jobs --why": [("jobs --why nope", 4), ("jobs --why nope --mine", 2)],
    "runs run": [("runs nope", 4)],
    "runs --repository": "any value has a meaning: of one that is no more there may be runs",
    "runs --ref": "any value has a meaning: of one that is no more there may be runs",
    "runs --state": [("runs --state waiting", 2), ("runs nope --state failed", 2)],
    "runs --mine": [("runs nope --mine", 2)],
    "runs --since": [(f"runs --since {t}", 2) for t in ("nonsense", "-5", "2999-01-01T00:00:00Z")],
    "runs -n": [(f"runs -n {n}", 2) for n in ("x", "0", "-1", "1001")],
    "runs --cancel": [("runs --cancel", 2), ("runs nope --cancel", 4)],
    "runs --rerun": [("runs --rerun", 2), ("runs nope --rerun", 4), ("runs x --rerun --cancel", 2)],
    "runs --failed": [("runs x --failed", 2)],
    "runs --wait": [("runs x --wait", 2), ("runs nope --rerun --wait", 4)],
    "cancel jobs": [("cancel nope", 4), ("cancel", 2)],
    "cancel --mine": [("cancel j1 --mine", 2), ("cancel --mine --all", 2)],
    "cancel --all": [("cancel j1 --all", 2)],
    "cancel --state": [("cancel j1 --state queued", 2), ("cancel --mine --state failed", 2)],
    "cancel --pool": [("cancel j1 --pool local", 2)],
    "cancel --yes": [("cancel j1 --yes", 2)],
    "pipeline render --for": [
        ("pipeline render --all", 2),
        ("pipeline render --all --for nope", 2),
    ],
    "pipeline render --changed": [
        ("pipeline render --for local", 2),
        ("pipeline render --for local --changed a..b --changed-from x", 2),
    ],
    "pipeline render --changed-from": [
        ("pipeline render --for local --changed-from - --cuda-from -", 2),
    ],
    "pipeline render --all": [("pipeline render --for local --all --changed a..b", 2)],
    "pipeline render --wave": [("pipeline render --for local --all --wave x", 2)],
    "pipeline render --cuda-from": [
        ("pipeline render --for local --changed-from - --cuda-from -", 2),
    ],
    "pipeline render --submit": [("pipeline render --for gitlab --all --submit", 2)],
    "push folder": [("push /no/such/folder", 1)],
    "push --ref": [("push /no/such/folder --ref x", 1)],
    "push --base": [("push --base x --all", 2)],
    "push --all": [("push --base x --all", 2)],
    "push --wait": ALONE,
    "pipeline install-hook repository": [
        ("pipeline install-hook", 2),
        ("pipeline install-hook /no/such/folder", 1),
    ],
    "pipeline install-hook --strict": [("pipeline install-hook x --remove --strict", 2)],
    "pipeline install-hook --keep-former": [("pipeline install-hook x --remove --keep-former", 2)],
    "pipeline install-hook --remove": [("pipeline install-hook x --remove --strict", 2)],
    "pipeline install-hook --notes": [("pipeline install-hook x --remove --notes", 2)],
    "pipeline receive --notes": [("pipeline receive --check --notes", 2)],
    "pipeline note folder": [("pipeline note /no/such/folder", 1)],
    "pipeline note --run": [("pipeline note /no/such/folder --run nope", 1)],
    "pipeline note --wait": ALONE,
    "pipeline receive --check": [("pipeline receive --check --keep-former", 2)],
    "pipeline receive --keep-former": [("pipeline receive --check --keep-former", 2)],
    "pipeline render --repository": [
        ("pipeline render --for local --all --repository /no/such/folder", 1),
    ],
    "init --provider": [
        ("init --provider nope", 2),
        ("init --from-prototype - --provider azure", 2),
    ],
    "init --name": [("init --name Not.Good", 2)],
    "init --slots": [(f"init --slots {n}", 2) for n in ("many", "0", "-1")],
    "init --gpus": [(f"init --gpus {n}", 2) for n in ("many", "-1")],
    "init --url": [("init --url https://x", 2), ("init --provider gitlab --url nonsense", 2)],
    "init --agent-pool": [(f"init --provider {p} --agent-pool x", 2) for p in ("local", "gitlab")],
    "init --scope": [
        *((f"init --provider {p} --scope instance", 2) for p in ("local", "azure", "github")),
        ("init --provider gitlab --scope nonsense", 2),
    ],
    "init --credential": [
        ("init --credential x", 2),
        ("init --provider azure --credential x --token-file /x", 2),
    ],
    "init --token-file": [("init --token-file /x", 2)],
    "init --plain-http": [("init --plain-http", 2)],
    "init --ca": [
        (f"init --ca {path}", 2) for path in ("/no/such/ca.pem", "/etc/hostname", "/etc")
    ],
    "init --app": [
        *((f"init --provider {p} --app 12", 2) for p in ("local", "azure", "gitlab", "gitea")),
    ],
    "init --proxy": [("init --from-prototype - --proxy http://x", 2)],
    "init --containers": [("init --from-prototype - --containers", 2)],
    "init --no-proxy": [("init --from-prototype - --no-proxy x", 2)],
    "init --from": [
        ("init --from /no/such/answers.toml", 2),
        ("init --from /etc/hostname", 2),
        ("init --from-prototype - --from /x", 2),
    ],
    "init --dry-run": [("init --from-prototype - --dry-run", 2)],
    "init --unchecked": [("init --from-prototype - --unchecked", 2)],
    "init --no-start": ALONE,
    "init --canary": [
        *((f"init --provider {p} --canary", 2) for p in ("azure", "gitea", "github")),
        ("init --from-prototype - --canary", 2),
    ],
    "init --canary-job": [
        ("init --provider local --canary-job a/b", 2),
        ("init --from-prototype - --canary-job a/b", 2),
    ],
    "init --force": ALONE,
    "init --no-images": ALONE,
    "init --from-prototype": [("init --from-prototype nonsense", 2)],
    "install --dry-run": ALONE,
    "install --uninstall": ALONE,
    "install --root": ANY,
    "doctor --strict": ALONE,
    "doctor --canary": [("doctor --canary nope", 4)],
    "doctor --pools": [("doctor --pools --json", 2), ("doctor --pools --canary local-0", 2)],
    "doctor --provider": [("doctor --provider azure", 2), ("doctor --pools --provider nope", 2)],
    "doctor --timeout": [
        ("doctor --timeout 5s", 2),
        *((f"doctor --canary local-0 --timeout {t}", 2) for t in ("nonsense", "0", "-5")),
    ],
    "bugreport --output": [("bugreport -o /no/such/folder/report", 1)],
    # More of both: tests/cli/test_backup.py.
    "backup file": [("backup", 2), ("backup /no/such/folder/b", 1)],
    "backup --with-secrets": ALONE,
    "backup --small": ALONE,
    "backup --move": ALONE,
    "restore file": [("restore", 2), ("restore /no/such/b", 1), ("restore --as two /dev/null", 1)],
    "restore --resume": ALONE,
    "restore --as": [("restore --as 'a b' /no/such/b", 2)],
    "restore --without-config": ALONE,
    "restore --force": ALONE,
    "restore --yes": [("restore --yes /no/such/b", 2)],
    "notify test targets": [("notify test nobody", 2)],
    "completion shell": [("completion tcsh", 2)],
    "completion --install": [("completion tcsh --install", 2)],
    "help --man": [("help --man nonsense", 2), ("help --man exit-codes", 2)],
    "help words": [("help nonsense", 2), ("help config nonsense", 2)],
    "top -n": [("top -n 0", 2), ("top -n nonsense", 2)],
    "attach name": [("attach nope", 4)],
    "attach command": ANY,
    "attach --extend": [
        *((f"attach j1 --extend {t}", 2) for t in ("nonsense", "0", "-5")),
        ("attach --extend 1h --resume j1", 2),
        ("attach --extend 1h nope", 4),
    ],
    "attach --resume": [("attach --resume j1 id", 2), ("attach --resume nope", 4)],
    "hold name": [("hold nope", 4)],
    "hold --for": [(f"hold j1 --for {t}", 2) for t in ("nonsense", "0", "-5")],
    "release name": [("release", 2), ("release nope", 4)],
    "shell slot": [("shell nope", 4)],
    "shell command": ANY,
    "shell --timeout": [
        ("shell local-0 --timeout 5s", 2),
        *((f"shell --timeout {t} local-0", 2) for t in ("nonsense", "0", "-5")),
    ],
    "config show --origin": ALONE,
    "config migrate --write": ALONE,
    "images select --cuda-driver": [("images select --cuda-driver nonsense", 2)],
    "images select --compute": [
        ("images select --compute 9.0", 2),
        ("images select --cuda-driver 12.8 --compute nonsense", 2),
    ],
    "images select --arch": [("images select --cuda-driver 12.8 --arch nonsense", 2)],
    "images select --cuda": [("images select --cuda-driver 12.8 --cuda nonsense", 2)],
    "images select --compat": ALONE,
    "images select --provider": [("images select --cuda-driver 12.8 --provider nope", 2)],
    "images build wanted": [("images build nonsense", 2), ("images build --base x nonsense", 2)],
    "images build --provider": [("images build cpu --provider nope", 2)],
    "images build --flavour": [
        ("images build 12.8 --flavour nonsense", 2),
        ("images build cpu --flavour base", 2),
    ],
    "images build --distribution": [
        ("images build 12.8 --distribution nonsense", 2),
        ("images build 12.8 --base x --distribution ubuntu24.04", 2),
    ],
    "images build --base": ANY,
    "images build --tag": [
        ("images build cpu 12.8 --tag lab/agent:1", 2),
        ("images build cpu --tag lab|agent", 2),
    ],
    "images build --uid": [(f"images build cpu --uid {n}", 2) for n in ("x", "0", "-1")],
    "images build --build-arg": [
        ("images build cpu --build-arg nonsense", 2),
        *((f"images build cpu --provider {p}", 2) for p in ("azure", "github")),
        ("images build cpu --provider gitea --build-arg RUNNER_VERSION=--x", 2),
        (
            "images build cpu --provider azure --build-arg AGENT_VERSION= --build-arg AGENT_SHA256=x",
            2,
        ),
        (f"images build cpu --provider azure --build-arg AGENT_SHA256={'a' * 64}", 2),
    ],
    "images build --docker-host": [("images build cpu --docker-host tcp://x:1", 2)],
    "images build --no-cache": ALONE,
    "images refresh --within": [(f"images refresh --within {n}", 2) for n in ("x", "-1", "366")],
    "images refresh --newest": ALONE,
    "images refresh --dry-run": ALONE,
    "images pull --from": ANY,
}


def parameters(group: Any, before: str = "") -> Iterator[str]:
    """Every verb with each of its options and arguments."""
    for name in group.list_commands(None):
        verb = group.get_command(None, name)
        if hasattr(verb, "list_commands"):
            yield from parameters(verb, f"{name} ")
            continue
        for one in verb.params:
            named = one.opts[0] if one.param_type_name == "option" else one.name
            if named not in SHARED:
                yield f"{before}{name} {named}"


def test_every_option_and_argument_has_its_row() -> None:
    assert set(parameters(typer.main.get_command(app))) == ROWS.keys()


REFUSED = [
    (typed, code) for row in ROWS.values() if not isinstance(row, str) for typed, code in row
]


@pytest.mark.parametrize(("typed", "code"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_it_is_refused_and_nothing_is_done(
    manager: StandIn,
    answers: Answers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    code: int,
) -> None:
    asked: list[Command] = []

    def act(command: Command) -> Answer:
        asked.append(command)
        lists = ("slots", "jobs", "after")
        named = [name for key in lists for name in getattr(command, key, None) or ()]
        if getattr(command, "reservation", None) == "nope":
            told = "there is no reservation nope"
            return Answer(404, {"error": told, "kind": "no_such_reservation"})
        named += [str(getattr(command, "to", ""))]
        if getattr(command, "gpu", None) == "nope":
            return Answer(404, {"error": "there is no GPU nope", "kind": "no_such_gpu"})
        if "nope" in named or getattr(command, "pool", None) == "nope":
            kind = "no_such_pool" if hasattr(command, "pool") else "no_such_slot"
            return Answer(404, {"error": "there is none of that name", "kind": kind})
        return Answer(200, {"slots": []})

    verbs = (
        *("cordon", "uncordon", "drain", "recycle", "retry", "submit", "cancel", "heal"),
        *("reserve", "extend", "release", "hold"),
    )
    answers.by_verb = dict.fromkeys(verbs, act)
    path = tmp_path / "config.toml"
    verb = typed.split(maxsplit=1)[0]
    if verb != "init":
        path.write_text(GOOD)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    words = ["mayfly", "--socket", str(manager.path), "--config", str(path), *typed.split()]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == code, said
    assert said.startswith(("mayfly: ", "Usage: "))
    assert code == 4 or asked == []
    assert path.exists() == (verb != "init")
