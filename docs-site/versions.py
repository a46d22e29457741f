"""Which versions a site has, for the choice in the head of its pages and for its first page: one folder each.

`versions.json` is what Material for MkDocs asks a server for, in the form of mike's; `versions.js` is the
same for a site that is read from a folder, where a page may load a script and nothing else. The first page
leads to the newest release, or to what there is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from packaging.version import InvalidVersion, Version

FIRST = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Mayfly</title>
<meta http-equiv="refresh" content="0; url={place}/index.html"></head>
<body><a href="{place}/index.html">Mayfly {place}</a></body></html>
"""


def age(name: str) -> tuple[bool, Version | str]:
    """Releases by their number, words before all of them."""
    try:
        return True, Version(name)
    except InvalidVersion:
        return False, name


def main(site: Path) -> None:
    """Write the three files for the folders that there are."""
    names = [path.parent.name for path in site.glob("*/index.html")]
    words = sorted(name for name in names if not age(name)[0])
    releases = sorted((name for name in names if age(name)[0]), key=Version, reverse=True)
    order = releases + words
    known = [
        {"version": name, "title": name, "aliases": ["latest"] if [name] == releases[:1] else []}
        for name in order
    ]
    (site / "versions.json").write_text(json.dumps(known), encoding="utf-8")
    (site / "versions.js").write_text(
        f"var mayflyVersions = {json.dumps(known)};\n", encoding="utf-8"
    )
    (site / "index.html").write_text(FIRST.format(place=order[0]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
