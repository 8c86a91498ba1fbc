"""Files of a figure: PDF, SVG, PNG at 300 dpi, its numbers (CSV), and what made it (JSON)."""

import csv
import io
import json
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from probekit.analysis.base import Analysis
from probekit.figures.labels import missing_glyphs
from probekit.figures.style import Drawing, style_context
from probekit.utils import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AnyAnalysis = TypeVar("AnyAnalysis", bound=Analysis)

FORMATS = ("pdf", "svg", "png")
_TEXTS = ("csv", "json")
DPI = 300


def save_drawing(
    draw: Drawing[AnyAnalysis],
    analysis: AnyAnalysis,
    folder: Path,
    width: float | None = None,
    style_file: str | Path | None = None,
    *,
    counts: bool = False,
    out: Path | None = None,
) -> list[Path]:
    """Draw an analysis and write the figure with its data.

    Parameters
    ----------
    draw : callable
        For example :func:`probekit.figures.tree.draw_dendrogram`.
    analysis : Analysis
        What to draw.
    folder : pathlib.Path
        Where the files go; it is made.
    width : float > 0, optional
        In inches; it is part of the files' names if given, ``cost-gtzan-3.3in.pdf``.
    style_file : str or pathlib.Path, optional
        A matplotlib style file.
    counts : bool
        Whether the number of clips, if some are missing, is written in the figure, too; it is in
        the caption anyway.
    out : pathlib.Path, optional
        A file to write instead, and nothing else: ``.pdf``, ``.svg``, ``.png``, ``.csv`` or
        ``.json``; or another folder.

    Returns
    -------
    list of pathlib.Path
        PDF, SVG, PNG, CSV and JSON; or the one file.
    """
    figure = draw(analysis, width, style_file, counts)
    return save_figure(figure, analysis, folder, style_file, width=width, out=out)


def is_figure_file(path: Path) -> bool:
    """Return whether a name is that of a file of a figure, not of a folder."""
    return path.suffix.lower().removeprefix(".") in (*FORMATS, *_TEXTS)


def save_figure(
    figure: "Figure",
    analysis: Analysis,
    folder: Path,
    style_file: str | Path | None = None,
    *,
    width: float | None = None,
    out: Path | None = None,
) -> list[Path]:
    """Write a figure with its numbers (CSV) and what made it (JSON); see :func:`save_drawing`.

    Caption and facts are in the metadata of the pictures, too. Each file is written atomically.
    Labels that no installed font can draw are named in a warning; in the SVG they are text anyway.
    """
    facts = {"caption": analysis.caption, **analysis.facts()}
    stem = analysis.name if width is None else f"{analysis.name}-{width:g}in"
    if out is not None and is_figure_file(out):
        paths = {out.suffix.lower().removeprefix("."): out}
    else:
        paths = {kind: (out or folder) / f"{stem}.{kind}" for kind in (*FORMATS, *_TEXTS)}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    with style_context(style_file):
        unreadable = missing_glyphs(_visible_texts(figure)) if paths.keys() & FORMATS else []
        for kind in [kind for kind in FORMATS if kind in paths]:
            metadata = _metadata(kind, analysis, facts)

            def write(path: Path, kind: str = kind, metadata: dict[str, Any] = metadata) -> None:
                figure.savefig(path, format=kind, dpi=DPI, metadata=metadata)

            atomic.atomic_write(paths[kind], write)
    if "csv" in paths:
        atomic.atomic_write_text(paths["csv"], _csv(analysis.rows()))
    if "json" in paths:
        atomic.atomic_write_text(paths["json"], _record(facts, width))
    if unreadable:
        first = unreadable[0] if len(unreadable[0]) <= 40 else unreadable[0][:39] + "…"
        others = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        warnings.warn(
            f"{analysis.name}: no installed font can draw {first!r}{others}; PDF and PNG show "
            "boxes instead. Install a font that can, for example Noto Sans CJK, or name one in a "
            "style file",
            stacklevel=2,
        )
    return list(paths.values())


def _record(facts: dict[str, Any], width: float | None) -> str:
    """Return what made a figure, as JSON."""
    record = {
        **facts,
        **({} if width is None else {"width_inches": width}),
        "probekit": version("probekit"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(record, indent=1, ensure_ascii=False, default=_to_json)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV; columns in the order in which they first occur."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    )
    return text.getvalue()


def _metadata(kind: str, analysis: Analysis, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a picture, under the keys that its format has."""
    software = f"probekit {version('probekit')}"
    source = json.dumps(facts, ensure_ascii=False, default=_to_json)
    title, caption = analysis.name, analysis.caption
    if kind == "png":
        return {"Title": title, "Description": caption, "Software": software, "Source": source}
    if kind == "svg":
        metadata = {"Title": title, "Description": caption, "Creator": software, "Source": source}
        return {**metadata, "Date": None}
    metadata = {"Title": title, "Subject": caption, "Keywords": source, "Creator": software}
    return {**metadata, "CreationDate": None}


def _visible_texts(figure: "Figure") -> list[str]:
    from matplotlib.text import Text

    texts = figure.findobj(Text)
    return [text.get_text() for text in texts if isinstance(text, Text) and text.get_visible()]


def _to_json(value: Any) -> Any:
    """Return a NumPy number as Python's own, anything else as text."""
    return value.item() if hasattr(value, "item") else str(value)
