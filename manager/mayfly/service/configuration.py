"""The configuration in force: read again when asked, handed to those who work by it, and told of.

One that cannot be used changes nothing: the one from before stays in force, and status says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from mayfly.core.job_images import of_agents
from mayfly.core.model import Config, HostSpec, PoolName
from mayfly.core.stimuli import ConfigRead
from mayfly.edge.faults import Fault
from mayfly.edge.log import Log
from mayfly.providers import Provider
from mayfly.service.clock import Clock
from mayfly.service.report import Report
from mayfly.service.services import Services


class UsesProviders(Protocol):
    """Who acts on the pools' services."""

    def use_providers(
        self, providers: Mapping[PoolName, Provider], images_of_agents: tuple[str, ...] = ()
    ) -> None:
        """The providers of the pools, from the next action on."""


class Configuration:
    """Used by the loop's thread alone."""

    def __init__(
        self,
        reread: Callable[[], Config],
        services: Services,
        workers: UsesProviders,
        report: Report,
        log: Log,
        clock: Clock,
    ) -> None:
        self._reread = reread
        self._services = services
        self._workers = workers
        self._report = report
        self._log = log
        self._clock = clock
        # What was wrong with the file, the last time it was read; None: nothing.
        self.rejected: str | None = None
        # Keys of the file that are read at a start alone, and say something else by now.
        self.at_start: tuple[str, ...] = ()
        self._host: HostSpec | None = None  # as this manager was started; None: not yet

    def use(self, config: Config) -> ConfigRead:
        """Work by it from now on, as far as a manager that runs can."""
        if self._host is not None:
            host, self.at_start = self._host.reread(config.host)
            config = replace(config, host=host)
        self._host = config.host
        self._workers.use_providers(self._services.use(config), of_agents(config.pools))
        return ConfigRead(config, self._services.traits)

    def reuse(self, config: Config) -> ConfigRead:
        """The same, of one that was read while the manager runs."""
        read = self.use(config)
        self.rejected = None
        self._report.metrics.use(config)
        self._report.metrics.reloaded(self._clock.now(), good=True)
        self._log.event("config.loaded", pools=len(config.pools))
        for sentence in config.old_keys:
            self._log.event("config.old_key", reason=sentence)
        return read

    def reload(self) -> tuple[ConfigRead, ...]:
        """Read the file again; nothing follows where it cannot be used."""
        self._report.reloading()
        try:
            return (self.reuse(self._reread()),)
        except Fault as fault:
            self.rejected = str(fault)
            self._log.event("config.rejected", reason=str(fault))
            self._report.metrics.reloaded(self._clock.now(), good=False)
            return ()
