"""What MkDocs is told of the pages: their order is the index's, docs/README.md; those beside docs/ are pages.

A page that the index does not name is in no order, and MkDocs, which is strict, then builds nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
BESIDE = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
INDEX = "README.md"
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[([^\]\[]+)\]\(((?!https?:|#)[^)\s]+)\)")
_ROW = re.compile(r"^\| \[(.+?)\]\(([\w./-]+\.md)\)", re.MULTILINE)


def on_config(config: Any) -> Any:
    """The order of the pages."""
    text = _inside((ROOT / "docs" / INDEX).read_text(encoding="utf-8"))
    parts = _HEADING.split(text)[1:]
    sections: list[Any] = [{"Documentation": INDEX}]
    for heading, rows in zip(parts[::2], parts[1::2], strict=True):
        pages = [{name.replace("`", ""): place} for name, place in _ROW.findall(rows)]
        sections.append({heading: pages})
    decisions = [{"Decisions": "adr/README.md"}]
    own = (ROOT / "docs/adr" / INDEX).read_text(encoding="utf-8")
    decisions += [{f"{name}": f"adr/{place}"} for name, place in _ROW.findall(own)]
    for section in sections[1:]:
        for pages in section.values():
            pages[:] = [one for one in pages if "adr/README.md" not in one.values()]
    rest = [{"Security, reporting": "SECURITY.md"}, {"Changes": "CHANGELOG.md"}]
    config.nav = [*sections, {"Decisions": decisions}, {"Project": rest}]
    return config


def on_files(files: Files, config: Any) -> Files:
    """With the pages that are beside docs/."""
    for name in BESIDE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    """Links between the two places as they are on the site; of a file that is no page, the text alone."""
    beside = page.file.src_uri in BESIDE
    folder = ROOT if beside else (ROOT / "docs" / page.file.src_uri).parent

    def shown(link: re.Match[str]) -> str:
        target = (folder / link[2].partition("#")[0]).resolve()
        own = target.is_relative_to(ROOT / "docs") or target in {ROOT / name for name in BESIDE}
        return link[0] if own or not target.is_file() else link[1]

    kept = _LINK.sub(shown, markdown)
    return kept.replace("](docs/", "](") if beside else _inside(kept)


def _inside(markdown: str) -> str:
    names = "|".join(map(re.escape, BESIDE))
    return re.sub(rf"\]\(((?:\.\./)*)\.\./({names})", r"](\1\2", markdown)
