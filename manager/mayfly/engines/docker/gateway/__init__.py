"""The gateway: a process apart from the manager that serves each agent an Engine socket of its own.

What an agent may ask is decided by ``core.admission`` and nowhere here. Manager and gateway meet in files
below ``STATE/gateway`` and on one control socket, so that either may be started again without the other.
It must never answer from what it remembers where the Engine can be asked, and never let one agent wait for
another.
"""
