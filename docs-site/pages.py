"""What MkDocs is told of the pages: their order is the index's, docs/README.md; those beside docs/ are pages.

A page that the index does not name is in no order, and MkDocs, which is strict, then builds nothing. What a
reader's browser wants beside the theme is in the folder that MAYFLY_DOCS_VENDORED names, and on the site
then; a build that only checks has none.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parents[1]
BESIDE = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
INDEX = "README.md"
VENDORED = os.environ.get("MAYFLY_DOCS_VENDORED", "")
ASSETS = "assets/vendored"
DRAWS = f"{ASSETS}/mermaid.min.js"
CHOICE = f"{ASSETS}/choice.js"
_ELSEWHERE = re.compile(r"https://unpkg\.com/[\w@./-]+")
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[([^\]\[]+)\]\(((?!https?:|#)[^)\s]+)\)")
_ROW = re.compile(r"^\| \[(.+?)\]\(([\w./-]+\.md)\)", re.MULTILINE)


def on_config(config: Any) -> Any:
    """The order of the pages, and what the search wants where the site is read from a folder."""
    config.extra["polyfills"] = [f"{ASSETS}/iframe-worker.js"]
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
    if VENDORED:
        for path in (*sorted(Path(VENDORED).iterdir()), ROOT / "docs-site/choice.js"):
            place = f"{ASSETS}/{path.name}"
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_post_page(output: str, page: Any, **_: object) -> str:
    """With what draws, where there is a drawing: before the theme's script, which else asks another host."""

    def script(place: str) -> str:
        return f'<script src="{get_relative_url(place, page.url)}"></script>'

    top = get_relative_url(".", page.url)
    choice = f'<script src="{top}/../versions.js"></script>{script(CHOICE)}'
    output = output.replace(
        "</body>", choice.replace("<script", f'<script data-versions="{top}/"', 1) + "</body>"
    )
    if 'class="mermaid"' in output:
        at = output.rindex("<script", 0, output.index("assets/javascripts/bundle."))
        output = output[:at] + script(DRAWS) + output[at:]
    return output


def on_post_build(config: Any) -> None:
    """No address of another host is left in the theme's scripts: nobody asks one, not even by mistake."""
    for path in Path(config.site_dir).glob("assets/javascripts/**/*.js"):
        text = path.read_text(encoding="utf-8")
        path.write_text(_ELSEWHERE.sub("", text), encoding="utf-8")


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
