"""Every `fix:` is a line to paste, and works where it is pasted: for this user, on this host."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mayfly.cli.paste import VERBS, Here, here, next_steps, pasted, to_paste, typed_again
from mayfly.cli.verbs import VERBS as ALL_VERBS
from mayfly.engines.docker.about import RESTART
from tests.fix_lines import GAP, made

MAYFLY = Path(__file__).parents[2] / "manager/mayfly"
# Which argument of a call is what to do.
PLACES = {"Condition": 3, "Finding": 2, "fail": 1, "warn": 1, "_of": 4}
# What a file has in which one of them is called, or a line is given by name or made by a function.
NAMED = re.compile(rf"\b(?:{'|'.join(PLACES)})\(|\bfix\s*=|_fix\(")
COMMANDS = {
    *("mayfly", "sudo", "df", "journalctl", "ps", "nvidia-smi", "iptables", "systemctl", "docker"),
    *("echo", "printf", "grep", "ls", "kubectl", "squeue", "sinfo", "scontrol", "sed", "xargs"),
}
OF_ROOT = {"docker", "iptables", "journalctl"}
ALICE, ROOT = Here(), Here(root=True)
BARE = Here(timekeeper=False, docker_file=False)
FAR = Here(host="ann@gpu1")
FOREGROUND = Here(config="/srv/lab.toml", unit=False, systemd=False)


@pytest.mark.parametrize(
    ("line", "place", "here"),
    [
        ("mayfly retry a-0", ALICE, "mayfly retry a-0"),
        ("mayfly retry a-0", FOREGROUND, "mayfly --config /srv/lab.toml retry a-0"),
        ("mayfly retry a-0", Here(socket="/s"), "mayfly --socket /s retry a-0"),
        ("mayfly retry a-0", Here(socket="/a;b"), "mayfly --socket '/a;b' retry a-0"),
        ("mayfly retry a-0", Here(config="/a b"), "mayfly --config '/a b' retry a-0"),
        ("mayfly images build 12.8", Here(root=True, socket="/s"), "mayfly images build 12.8"),
        ("mayfly images build 12.8", ALICE, "sudo mayfly images build 12.8"),
        ("mayfly doctor", ALICE, "sudo mayfly doctor"),
        ("mayfly doctor", ROOT, "mayfly doctor"),
        ("sudo systemctl start mayfly", ROOT, "systemctl start mayfly"),
        ("sudo systemctl start mayfly", FOREGROUND, "sudo mayfly --config /srv/lab.toml run"),
        ("mayfly doctor, then sudo systemctl enable --now mayfly", Here(systemd=False),
         "sudo mayfly doctor, then sudo mayfly run"),
        ("sudo systemctl restart mayfly", ALICE, "sudo systemctl restart mayfly"),
        ("mayfly config migrate --write", ALICE, "sudo mayfly config migrate --write"),
        ("mayfly config check", FOREGROUND, "mayfly --config /srv/lab.toml config check"),
        ("mayfly images list", FOREGROUND, "mayfly images list"),
        ("mayfly logs a   # to end it: mayfly drain a --force", Here(socket="/s"),
         "mayfly --socket /s logs a   # to end it: mayfly --socket /s drain a --force"),
        ("kubectl --namespace ci describe pod a-0-g1", Here(context="a lab"),
         "kubectl --context 'a lab' --namespace ci describe pod a-0-g1"),
        ("sudo kubectl --kubeconfig /k --namespace ci get pods", Here(context="lab"),
         "sudo kubectl --kubeconfig /k --namespace ci get pods"),
        ("kubectl delete devicetaintrules a   # then: mayfly retry a-0", Here(context="lab"),
         "kubectl --context lab delete devicetaintrules a   # then: mayfly --context lab retry a-0"),
        ("kubectl --namespace ci get pods", ALICE, "kubectl --namespace ci get pods"),
        ("mayfly retry a-0", FAR, "mayfly --host ann@gpu1 retry a-0"),
        ("mayfly doctor, then sudo systemctl enable --now mayfly", FAR,
         "ssh -t ann@gpu1 sudo mayfly doctor, then ssh -t ann@gpu1 sudo systemctl enable --now mayfly"),
        ("mayfly config check", FAR, "ssh -t ann@gpu1 mayfly config check"),
        ("sudo mayfly reload", FAR, "mayfly --host ann@gpu1 reload"),
        ("# buy another disk", FAR, "# buy another disk"),
        ("LoadCredential=x:/etc/mayfly/credentials/x", FOREGROUND,
         "LoadCredential=x:/etc/mayfly/credentials/x"),
        ("sudo timedatectl set-ntp true", ALICE, "sudo timedatectl set-ntp true"),
        ("it is wrong: timedatectl set-ntp true", BARE,
         "it is wrong: sudo apt-get install --yes systemd-timesyncd"),
        (RESTART.fix, ALICE, RESTART.fix),
        (RESTART.fix, BARE,
         ("echo '{\"live-restore\": true}' | sudo install -D -m 644 /dev/stdin /etc/docker/daemon.json "
          "&& sudo systemctl reload docker")),
        ("sudo systemctl edit mayfly   # and there", FOREGROUND,
         "sudo systemctl edit mayfly   # and there"),
    ],
)  # fmt: skip
def test_a_line_is_made_to_fit(line: str, place: Here, here: str) -> None:
    assert pasted(line, place) == here


@pytest.mark.parametrize(
    "line",
    [
        "mayfly retry a-0; rm -rf ~",
        "mayfly doctor && rm -rf ~",
        "mayfly retry $(rm -rf ~)",
        "mayfly retry ' #' ; rm -rf ~ '",
        "rm -rf ~ mayfly status",
        "rm -rf ~  # sudo mayfly status",
        "sudo true | rm -rf ~",
    ],
)
def test_a_line_of_another_box_begins_nothing_here(line: str) -> None:
    assert to_paste(line, FAR) == f"ssh -t ann@gpu1 {shlex.quote(line)}"


@pytest.mark.parametrize(
    ("line", "here"),
    [
        ("mayfly logs a   # (to end it: mayfly drain a)",
         "mayfly --host ann@gpu1 logs a   # (to end it: mayfly --host ann@gpu1 drain a)"),
        ("mayfly status\nrm -rf ~", "mayfly --host ann@gpu1 status rm -rf ~"),
        ("df -h /var", "ssh -t ann@gpu1 'df -h /var'"),
        ("sudo systemctl restart docker", "ssh -t ann@gpu1 sudo systemctl restart docker"),
        ("# buy a disk; then: mayfly retry a-0", "# buy a disk; then: mayfly --host ann@gpu1 retry a-0"),
    ],
)  # fmt: skip
def test_a_line_of_another_box_is_made_to_fit(line: str, here: str) -> None:
    assert to_paste(line, FAR) == here


def test_what_was_typed_is_kept_and_can_be_pasted() -> None:
    typed = {"--mine": True, "--all": False, "--state": None, "--pool": "a b\x1b", "-n": 3}
    assert typed_again("jobs", typed) == "mayfly jobs --mine --pool 'a b' -n 3"


def test_it_knows_every_verb_and_takes_no_other_word_for_one() -> None:
    assert frozenset(ALL_VERBS) == VERBS
    assert pasted("mayfly uses it; see mayfly status", Here(socket="/s")) == (
        "mayfly uses it; see mayfly --socket /s status"
    )


def test_who_came_by_sudo_types_the_next_line_with_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "1000")
    assert not here(None).root
    monkeypatch.delenv("SUDO_UID")
    assert here(None).root


@pytest.mark.parametrize(
    ("place", "steps"),
    [
        (ROOT, "mayfly doctor, then systemctl enable --now mayfly"),
        (Here(root=True, unit=False),
         "mayfly doctor, then mayfly install and systemctl enable --now mayfly"),
        (Here(root=True, unit=False, systemd=False), "mayfly doctor, then mayfly run"),
        (FOREGROUND,
         "sudo mayfly --config /srv/lab.toml doctor, then sudo mayfly --config /srv/lab.toml run"),
    ],
)  # fmt: skip
def test_what_comes_next_is_there(place: Here, steps: str) -> None:
    assert next_steps(place) == steps


def written(node: ast.expr, names: dict[str, list[ast.expr]]) -> Iterator[str]:
    """The texts that an expression may come to, as far as they stand in the source; X for what does not."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(v.value if isinstance(v, ast.Constant) else "X" for v in node.values)  # type: ignore[misc]
    elif isinstance(node, ast.IfExp):
        yield from written(node.body, names)
        yield from written(node.orelse, names)
    elif isinstance(node, ast.Name):
        for value in names.get(node.id, []):
            yield from written(value, {})


def fixes() -> Iterator[tuple[str, str]]:
    """Every line to paste of the source, with its file."""
    for file in sorted(MAYFLY.rglob("*.py")):
        source = file.read_text()
        if NAMED.search(source) is None:  # most: to read them all takes seconds
            continue
        nodes = list(ast.walk(ast.parse(source)))
        names: dict[str, list[ast.expr]] = {}
        for node in nodes:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names.setdefault(node.targets[0].id, []).append(node.value)
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                place = PLACES.get(called, 99)
                given = {one.arg: one.value for one in node.keywords}
                if len(node.args) > place or "fix" in given:
                    line = given.get("fix") or node.args[place]
                    yield from ((file.name, text) for text in written(line, names) if text)
            if isinstance(node, ast.FunctionDef) and node.name.endswith("_fix"):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Return) and inner.value is not None:
                        yield from ((file.name, text) for text in written(inner.value, {}))


FIXES = sorted(
    {
        *fixes(),
        *((one.where, one.fix.replace(GAP, "X")) for one in made() if one.fix.strip(GAP)),
    }
)


def test_there_are_many() -> None:
    assert len(FIXES) > 30


@pytest.mark.parametrize(("file", "line"), FIXES, ids=[line[:40] for _, line in FIXES])
def test_each_is_a_command_or_a_comment(file: str, line: str) -> None:
    """What is done elsewhere, at a service or in a file, stands behind a #: pasted, it does no harm."""
    assert "…" not in line
    if line.startswith("# "):
        return
    for command in re.split(r"; | && | \| ", line.partition("   # ")[0]):
        words = command.removeprefix("sudo ").split()
        assert words[0] in COMMANDS or command.startswith("sudo "), (file, line)
        # Of root, or of a group that Mayfly's own group is not.
        assert words[0] not in OF_ROOT or command.startswith("sudo "), (file, line)
        assert not any(word.endswith((",", ":")) for word in words if word != "root:"), (file, line)
        if words[0] == "mayfly":
            assert words[1] in VERBS
