"""A manager whose pool is handed its jobs by the emulator, and what is held of it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.harness import Manager, until
from tests.providers.github_pool import BRIDGE
from tests.real.scaleset.emulator import TOKEN, Emulator


@dataclass
class EmulatedPool:
    """The emulator, and a manager that is not yet started."""

    emulator: Emulator
    manager: Manager
    tag: str

    def configure(self, slots: int) -> None:
        token = self.manager.home / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        self.manager.configure(
            f'[[pool]]\nname = "gh"\nprovider = "github"\nslots = {slots}\nimage = "{self.tag}"\n'
            f'[pool.github]\nurl = "{self.emulator.place}"\nenrolment = "scaleset"\n'
            f'scale_set = "box-gh"\ntoken = {{ file = "{token}" }}\ncalls_per_hour = 36000\n'
            f'[pool.env]\nSTUB_PACE = "20"\n'
            f'STUB_EMULATOR = "http://{BRIDGE}:{self.emulator.port}"\n'
        )

    def start(self) -> int:
        """Start the manager; the number of the set that it listens to."""
        self.manager.start(wait=None)
        until(lambda: self.emulator.state()["sessions"], "a session is open")
        (number,) = self.emulator.sets()
        return number

    def done(self, jobs: list[int], patience: float = 240) -> None:
        """Wait until those jobs are over, and hold them to it: each ran once, in a runner of its own."""

        def over() -> bool:
            known = self.emulator.jobs()
            return all(known[job]["state"] == "completed" for job in jobs)

        until(over, f"{len(jobs)} jobs are over", patience)
        known = self.emulator.jobs()
        assert {known[job]["result"] for job in jobs} == {"succeeded"}
        runners = [known[job]["runnerId"] for job in jobs]
        assert None not in runners
        assert len(set(runners)) == len(jobs)

    def nothing_is_left(self) -> None:
        """No registration, no message, and once the pool is drained no container."""

        def clear() -> bool:
            state = self.emulator.state()
            return not state["runners"] and not state["unacknowledged"] and not state["undelivered"]

        until(clear, "no registration and no message is left")
        drained = self.manager.cli("drain", "--all", "--wait", "--timeout", "120", timeout=150)
        assert drained.returncode == 0, drained.stderr
        until(lambda: not self.manager.containers(), "no container is left")
        until(lambda: not self.emulator.state()["sessions"], "the session is left")
