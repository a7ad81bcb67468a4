"""Figures for papers and slides: each as an SVG file and as a PNG of twice its size.

    write_figures(report, folder)  ->  folder/budget-held-out.svg, folder/budget-held-out.png, ...

A file stands for itself: its title above it, its caption below, light colours on white, no script; a browser shows the
numbers of a mark that is pointed at. The PNG is set in type that comes with the package (`fonts/`: Roboto, and signs of
DejaVu Sans, cut down to the letters of Europe), so that a machine without a single font still writes text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from instil.reports.chart import draw
from instil.reports.ink import HEAD, SMALL, clean, text, together, wrapped
from instil.reports.study_report import StudyReport

WIDTH = 760
"""Pixels of a figure's drawing, and of the wide one on a page."""
_FOREIGN = re.compile("[\u0460-\u1fff\u2c00-\uffef\U00010000-\U0010ffff]")
"""Letters beyond Latin, Greek and Cyrillic."""
_TIP = re.compile(r'<g class="told" data-tip="([^"]*)"[^>]*>')
"""A mark's numbers, as a page's script reads them."""
_AROUND = 24
_ZOOM = 2.0


def write_figures(report: StudyReport, folder: Path) -> list[Path]:
    """Every figure of a study as NAME.svg and NAME.png; what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for figure in report["figures"]:
        picture = svg_file(figure)
        for path, content in (
            (folder / f"{file_name(figure)}.svg", picture.encode()),
            (folder / f"{file_name(figure)}.png", png_of(picture)),
        ):
            path.write_bytes(content)
            written.append(path)
    return written


def file_name(figure: Mapping[str, Any]) -> str:
    """The name of a figure as a file may have it."""
    return re.sub(r"[^a-z0-9]+", "-", figure["name"].lower()).strip("-") or "figure"


def svg_file(figure: Mapping[str, Any]) -> str:
    """A figure as the text of an SVG file."""
    drawing = draw(figure, width=WIDTH)
    width = drawing.width + 2 * _AROUND
    heads = wrapped(figure["title"], HEAD, drawing.width)
    notes = wrapped(figure.get("caption", ""), SMALL, drawing.width)
    top = _AROUND + 22 * len(heads) + 8
    foot = top + drawing.height + 22
    said = [text(words, _AROUND, _AROUND + 12 + 22 * k, size=HEAD, kind="title") for k, words in enumerate(heads)]
    said += [text(words, _AROUND, foot + 17 * k, size=SMALL) for k, words in enumerate(notes)]
    height = foot + 17 * max(len(notes) - 1, 0) + _AROUND - 4 if notes else top + drawing.height + _AROUND
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="chart" width="{w:.0f}" height="{h:.0f}"'
        ' viewBox="0 0 {w:.0f} {h:.0f}">'
        '<title>{title}</title><style>{style}</style><rect class="paper" width="{w:.0f}" height="{h:.0f}"/>'
        '{said}<g transform="translate({x} {y})">{body}</g></svg>\n'
    ).format(
        w=width,
        h=height,
        title=clean(figure["title"]),
        style=Markup(_style()),  # noqa: S704 - the package's own file
        said=together(said),
        x=_AROUND,
        y=top,
        body=Markup(_TIP.sub(r"<g><title>\1</title>", str(drawing.body))),  # noqa: S704 - escaped when it was drawn
    )


def png_of(picture: str) -> bytes:
    """The PNG of an SVG file's text."""
    import resvg_py

    with as_file(files("instil.reports") / "fonts") as fonts:
        made = resvg_py.svg_to_bytes(
            svg_string=picture,
            zoom=_ZOOM,
            font_dirs=[str(fonts)],
            font_family="Roboto",
            sans_serif_family="Roboto",
            # the machine's own type serves scripts that the package's cannot write
            skip_system_fonts=_FOREIGN.search(picture) is None,
        )
    return bytes(made)


@cache
def _style() -> str:
    """The style sheet of charts with the colours of light pages written out: files know no variables."""
    folder = files("instil.reports") / "templates"
    colours: dict[str, str] = {}
    for sheet in ("style.css", "chart.css"):
        light = folder.joinpath(sheet).read_text("utf-8").split("@media", 1)[0]
        colours |= dict(re.findall(r"--([\w-]+): ([^;]+);", light))
    rules = folder.joinpath("chart.css").read_text("utf-8").split("/* drawing */", 1)[1]
    rules = re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], rules)
    return ".chart{font-family:Roboto,'Helvetica Neue',Arial,sans-serif}" + rules.replace(".chart ", "")
