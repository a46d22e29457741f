"""Examples of each verb: what one wants, and what one types. Help, man pages and the reference show them.

Slots are called ``gpu-0``, jobs ``tovga8bsd`` and runs ``5vq2k8m1x`` in all of them; a test types each, or
says why it does not. Whoever adds a verb adds an example.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """One line for a shell."""

    does: str  # what comes of it, without a full stop
    typed: str


def _each(*pairs: tuple[str, str]) -> tuple[Example, ...]:
    return tuple(Example(does, typed) for does, typed in pairs)


# By verb, those of a group by both words. The first of each is what most people want.
EXAMPLES: Mapping[str, tuple[Example, ...]] = {
    "run": _each(
        ("Try a configuration in the foreground, without systemd", "mayfly run --config lab.toml"),
    ),
    "gateway": _each(
        (
            "Start it by hand, beside a manager in the foreground",
            "mayfly gateway --config lab.toml",
        ),
    ),
    "relay": _each(
        ("Ask the manager of another box, as `--host` does", "ssh box mayfly relay"),
    ),
    "status": _each(
        ("See what every slot is doing, and what is wrong", "mayfly status"),
        ("Watch it", "mayfly status --watch"),
        ("See several boxes at once, over ssh", "mayfly --host box1,box2 status"),
        ("Ask in a script whether a person is needed", "mayfly status >/dev/null || echo look"),
        ("Read the phase of each slot", "mayfly status --json | jq -r '.slots[].phase'"),
    ),
    "describe": _each(
        ("See why a slot does not take jobs", "mayfly describe gpu-0"),
        ("See what a job was given and how it ended", "mayfly describe tovga8bsd"),
    ),
    "events": _each(
        ("See what happened last", "mayfly events -n 20"),
        ("Follow one slot", "mayfly events --follow --slot gpu-0"),
        ("Hand every event to a program, one JSON a line", "mayfly events --follow --json"),
    ),
    "history": _each(
        ("See which agents ended today", "mayfly history --since 24h"),
        (
            "See those of one slot that never came up",
            "mayfly history --slot gpu-0 --outcome died_young",
        ),
    ),
    "logs": _each(
        ("Follow what a job prints", "mayfly logs -f tovga8bsd"),
        ("Read what the agent before this one printed", "mayfly logs --previous gpu-0"),
    ),
    "plan": _each(
        ("See what the manager would do next, and why", "mayfly plan"),
    ),
    "cordon": _each(
        ("Keep jobs off a slot for two hours", "mayfly cordon gpu-0 --for 2h --note 'new fan'"),
        ("Keep jobs off every slot", "mayfly cordon --all"),
    ),
    "uncordon": _each(
        ("Let a slot take jobs again", "mayfly uncordon gpu-0"),
        ("Let every slot take jobs again", "mayfly uncordon --all"),
    ),
    "drain": _each(
        (
            "Empty the host before a reboot; running jobs end first",
            "mayfly drain --wait --timeout 2h",
        ),
        ("Empty one slot now, and stop its job", "mayfly drain gpu-0 --force --yes"),
    ),
    "pause": _each(
        ("Have nothing touched while you look", "mayfly pause --note 'looking at the disk'"),
    ),
    "resume": _each(("Act again", "mayfly resume")),
    "recycle": _each(
        ("Give every slot a fresh agent, as after a new driver", "mayfly recycle --all"),
    ),
    "retry": _each(
        ("Try a held slot again, once its cause is gone", "mayfly retry gpu-0"),
    ),
    "reload": _each(
        ("See what a changed configuration would do", "mayfly reload --dry-run"),
        ("Apply it", "mayfly reload"),
    ),
    "wait": _each(
        ("Go on in a script once every slot is idle", "mayfly wait --for idle --timeout 5m"),
        ("Go on once the host is empty", "mayfly wait --for drained"),
    ),
    "report": _each(
        ("See who used how much in the last weeks", "mayfly report"),
        (
            "Write last quarter for a spreadsheet, by repository and month",
            "mayfly report --by repository --per month --since 90d --csv >quarter.csv",
        ),
    ),
    "idle": _each(
        ("See whether this host has anything to do, and when it is paused", "mayfly idle"),
        ("Ask for vetoes and look for the command", "mayfly idle test"),
    ),
    "gpus": _each(
        ("See the GPUs, who has them and what is wrong", "mayfly gpus"),
        ("See what a reset of a sick GPU would take", "mayfly gpus heal --plan"),
        ("Give back the clocks of jobs that have ended", "mayfly gpus unlock"),
    ),
    "health": _each(
        ("Ask in a prolog whether a GPU is fit", "mayfly health --gpu 0 --wait 5"),
    ),
    "submit": _each(
        (
            "Run a command, see what it prints, exit as it does",
            "mayfly submit --wait -- nvidia-smi",
        ),
        (
            "Send the folder you are in, and bring the results back",
            "mayfly submit --wait --dir . --out results -- python3 train.py",
        ),
        (
            "Run the same tests with three CUDA versions",
            "mayfly submit --cuda 11.8,12.4,12.8 --dir . -- make test",
        ),
        (
            "Run one job when another has ended well",
            "mayfly submit --after tovga8bsd -- make bench",
        ),
        ("Run a line of the shell", "mayfly submit -- sh -c 'ls | wc -l'"),
    ),
    "jobs": _each(
        ("See the queue, what runs and what has ended", "mayfly jobs"),
        ("See why a job still waits", "mayfly jobs --why tovga8bsd"),
        ("See your own that failed today", "mayfly jobs --mine --state failed --since 24h"),
    ),
    "cancel": _each(
        ("End a job, queued or running", "mayfly cancel tovga8bsd"),
        ("End all of yours that still wait", "mayfly cancel --mine --state queued --yes"),
    ),
    "attach": _each(
        ("Open a shell beside a running job", "mayfly attach tovga8bsd"),
        ("Run one command there", "mayfly attach tovga8bsd -- nvidia-smi"),
        ("Keep a held container for longer", "mayfly attach tovga8bsd --extend 1h"),
    ),
    "hold": _each(
        ("Keep the container of a job when it ends", "mayfly hold tovga8bsd --for 2h"),
    ),
    "top": _each(
        ("Watch what jobs use", "mayfly top"),
        ("Look once, for a program", "mayfly top -n 1 --json"),
    ),
    "reserve": _each(
        ("Have a GPU for two hours, in a shell", "mayfly reserve --for 2h"),
        ("Have it tomorrow morning", "mayfly reserve --for 3h --at 2027-03-01T09:00:00Z"),
        ("Have GPUs outside of containers", "mayfly reserve --gpus 2 --for 4h --outside --wait"),
        ("Keep it for longer", "mayfly reserve --extend tovga8bsd --for 1h"),
    ),
    "reservations": _each(
        ("See who has reserved what", "mayfly reservations"),
        ("See which GPUs are reserved", "mayfly reservations --json"),
    ),
    "release": _each(
        ("Give a held container up, or a reservation back", "mayfly release tovga8bsd"),
    ),
    "fetch": _each(
        ("Bring the results of a job into a new folder", "mayfly fetch tovga8bsd"),
        ("Bring them into a folder that is there", "mayfly fetch tovga8bsd -o out"),
    ),
    "runs": _each(
        ("See the last runs", "mayfly runs"),
        ("Run again what failed of one, and wait", "mayfly runs 5vq2k8m1x --rerun --failed --wait"),
        ("End what is left of one", "mayfly runs 5vq2k8m1x --cancel"),
    ),
    "push": _each(
        ("Run the jobs for what you changed, committed or not", "mayfly push --wait"),
        ("Run every job of a branch", "mayfly push --ref main --all"),
    ),
    "pipeline install-hook": _each(
        (
            "Let each push into a bare repository run its jobs",
            "mayfly pipeline install-hook /srv/git/lab.git",
        ),
    ),
    "pipeline receive": _each(
        (
            "What the hook that is installed calls, as git tells it of a push",
            "echo OLD NEW refs/heads/main | mayfly pipeline receive",
        ),
    ),
    "pipeline note": _each(
        ("Write how runs ended into git's notes", "mayfly pipeline note /srv/git/lab.git"),
    ),
    "pipeline render": _each(
        (
            "Print GitLab's jobs for what changed since main",
            "mayfly pipeline render --for gitlab --changed main..HEAD",
        ),
        (
            "See which jobs of the queue there are at all",
            "mayfly pipeline render --for local --all",
        ),
    ),
    "init": _each(
        ("Set this host up, question by question", "sudo mayfly init"),
        (
            "Set it up for GitHub without questions, with the token from a file",
            "sudo mayfly init --provider github --url https://github.com/lab/train --token-file - <token",
        ),
        ("See what would be written", "sudo mayfly init --from answers.toml --dry-run"),
    ),
    "install": _each(
        ("See what would be put where", "mayfly install --dry-run"),
        ("Put it there", "sudo mayfly install"),
    ),
    "doctor": _each(
        ("Look at everything, with a line to paste for what is wrong", "sudo mayfly doctor"),
        (
            "Take an agent through a slot as well, as a job would go",
            "sudo mayfly doctor --canary gpu-0 --timeout 5m",
        ),
        ("Have pools proposed for this host's GPUs", "mayfly doctor --pools"),
    ),
    "bugreport": _each(
        ("Write a report to send, without secrets", "sudo mayfly bugreport -o report.json"),
    ),
    "backup": _each(
        (
            "Write the state and the configuration of this box into a file",
            "sudo mayfly backup lab1.backup",
        ),
        (
            "Write one every night from another box, tokens left out",
            'ssh box sudo mayfly backup - >"box-$(date +%F).backup"',
        ),
        ("Hand this box over to another", "sudo mayfly backup --move --with-secrets lab1.backup"),
    ),
    "restore": _each(
        (
            "Make this box what a backup says, and look before it acts",
            "sudo mayfly restore lab1.backup",
        ),
        (
            "Take a box over that was handed over, and run what is queued",
            "sudo mayfly restore --resume lab1.backup",
        ),
    ),
    "shell": _each(
        ("See what a job would see in a slot", "sudo mayfly shell gpu-0"),
        ("Run one command there", "sudo mayfly shell gpu-0 -- nvidia-smi"),
    ),
    "config check": _each(
        ("Find every mistake in the configuration", "mayfly config check"),
        ("Look at a file before it is put in place", "mayfly config check --config new.toml"),
    ),
    "config show": _each(
        ("See every key in force and who said it", "mayfly config show --origin"),
    ),
    "config schema": _each(
        ("Give an editor the keys", "mayfly config schema >mayfly.schema.json"),
    ),
    "config migrate": _each(
        ("See how keys of an older version move", "mayfly config migrate"),
        ("Move them", "sudo mayfly config migrate --write"),
    ),
    "images list": _each(
        ("See the CUDA versions and the drivers that they need", "mayfly images list"),
    ),
    "images select": _each(
        ("See which image fits this host", "mayfly images select"),
        (
            "See which fits another",
            "mayfly images select --cuda-driver 12.8 --compute 9.0",
        ),
    ),
    "images build": _each(
        ("Build the image of a CUDA version for the queue", "sudo mayfly images build 12.8"),
        ("Build it for GitHub's runner", "sudo mayfly images build 12.8 --provider github"),
    ),
    "images refresh": _each(
        ("See which images a service will soon refuse", "sudo mayfly images refresh --dry-run"),
    ),
    "images pull": _each(
        (
            "Fetch images from a registry of your own",
            "sudo mayfly images pull --from registry.lab.example/ci",
        ),
    ),
    "notify list": _each(("See who is told of what", "mayfly notify list")),
    "notify test": _each(
        ("See whether a message arrives", "mayfly notify test oncall"),
    ),
    "completion": _each(
        ("Complete in the shell that you are in", "source <(mayfly completion bash)"),
        ("Complete in every shell of yours from now on", "mayfly completion --install"),
    ),
    "help": _each(
        ("See a verb's options and examples", "mayfly help drain"),
        ("See what the exit codes mean", "mayfly help exit-codes"),
        ("Read a man page that is not installed", "mayfly help --man submit | man -l -"),
    ),
}
