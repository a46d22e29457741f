"""What the configuration says of the health gate's checks: ``[host.gpu_checks]`` in, settings by code out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite

from mayfly.core.gpu_checks import CHECKS, XID, CheckSetting, CheckSeverity
from mayfly.edge.mistakes import nearest

_SEVERITIES = [str(one) for one in CheckSeverity]
_KEYS = {"severity", "threshold"}
_NUMBERED = re.compile(rf"{re.escape(XID)}\.[1-9][0-9]{{0,3}}")
_FORM = 'must be "hold", "warn", "off", or a table such as { severity = "warn", threshold = 20 }'


def settings(value: object) -> dict[str, CheckSetting]:
    """The settings by code; ``ValueError`` with one sentence about the first that is wrong."""
    if not isinstance(value, dict):
        raise ValueError('must be a table such as { "gpu.xid_notice" = "off" }')
    return {code: _setting(code, said) for code, said in _flat("", value)}


def _flat(above: str, table: dict[str, object]) -> Iterator[tuple[str, object]]:
    """What is said by code: ``gpu.xid = "warn"`` without quotes is a table in a table to TOML."""
    for key, said in table.items():
        code = f"{above}{key}"
        if isinstance(said, dict) and _is_above(code, said):
            yield from _flat(f"{code}.", said)
        else:
            yield code, said


def _is_above(code: str, said: dict[str, object]) -> bool:
    """Whether it is a part of codes and not one of its own."""
    if not said or said.keys() & _KEYS:
        return False
    return not _is_known(code) or any(_is_known(f"{code}.{one}") for one in said)


def _is_known(code: str) -> bool:
    return code in CHECKS or _NUMBERED.fullmatch(code) is not None


def _setting(code: str, said: object) -> CheckSetting:
    if not _is_known(code):
        raise ValueError(f"there is no check {code!r}{nearest(code, list(CHECKS))}")
    table = said if isinstance(said, dict) else {"severity": said}
    further = sorted(table.keys() - _KEYS)
    if not table or further:
        extra = f", and {further[0]!r} is neither" if further else ""
        raise ValueError(f"{code} {_FORM}{extra}")
    severity = _severity(code, table["severity"]) if "severity" in table else None
    threshold = _threshold(code, table["threshold"]) if "threshold" in table else None
    return CheckSetting(severity, threshold)


def _severity(code: str, said: object) -> CheckSeverity:
    if said not in _SEVERITIES:
        near = nearest(said, _SEVERITIES, rest=False) if isinstance(said, str) else ""
        raise ValueError(f"{code} {_FORM}, not {str(said)[:40]!r}{near}")
    severity = CheckSeverity(str(said))
    if code in CHECKS and CHECKS[code].fixed and severity is not CheckSeverity.HOLD:
        raise ValueError(f"{code} always holds the slot: there is no GPU to open a gate to")
    return severity


def _threshold(code: str, said: object) -> float:
    check = CHECKS.get(code)
    if check is None or check.threshold is None:
        raise ValueError(f"{code} has no threshold")
    if isinstance(said, bool) or not isinstance(said, int | float):
        raise ValueError(f"{code}: its threshold must be a number, in {check.unit}")
    if not 0 <= said <= 10**9 or not isfinite(said):
        raise ValueError(f"{code}: its threshold must be from 0 to a thousand million")
    return float(said)
