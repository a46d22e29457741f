"""Which boot of the host this is: what was not flushed before the last one ended may be gone."""

from __future__ import annotations

from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # proc(5): new at every boot


def host_boot() -> str:
    """An id of this boot; the same text for all of it, and "unknown" where the kernel does not say."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
