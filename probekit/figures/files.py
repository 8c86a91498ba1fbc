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
DPI = 300


def save_drawing(
    draw: Drawing[AnyAnalysis],
    analysis: AnyAnalysis,
    folder: Path,
    width: float | None = None,
    style_file: str | Path | None = None,
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
        In inches.
    style_file : str or pathlib.Path, optional
        A matplotlib style file.

    Returns
    -------
    list of pathlib.Path
        PDF, SVG, PNG, CSV and JSON.
    """
    return save_figure(draw(analysis, width, style_file), analysis, folder, style_file)


def save_figure(
    figure: "Figure", analysis: Analysis, folder: Path, style_file: str | Path | None = None
) -> list[Path]:
    """Write a figure with its numbers (CSV) and what made it (JSON); see :func:`save_drawing`.

    Caption and facts are in the metadata of the pictures, too. Each file is written atomically.
    Labels that no installed font can draw are named in a warning; in the SVG they are text anyway.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"caption": analysis.caption, **analysis.facts()}
    paths = []
    with style_context(style_file):
        unreadable = missing_glyphs(_visible_texts(figure))
        for kind in FORMATS:
            metadata = _metadata(kind, analysis, facts)

            def write(path: Path, kind: str = kind, metadata: dict[str, Any] = metadata) -> None:
                figure.savefig(path, format=kind, dpi=DPI, metadata=metadata)

            paths.append(folder / f"{analysis.name}.{kind}")
            atomic.atomic_write(paths[-1], write)
    record = {
        **facts,
        "probekit": version("probekit"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for suffix, text in (
        ("csv", _csv(analysis.rows())),
        ("json", json.dumps(record, indent=1, ensure_ascii=False, default=_to_json)),
    ):
        paths.append(folder / f"{analysis.name}.{suffix}")
        atomic.atomic_write_text(paths[-1], text)
    if unreadable:
        first = unreadable[0] if len(unreadable[0]) <= 40 else unreadable[0][:39] + "…"
        others = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        warnings.warn(
            f"{analysis.name}: no installed font can draw {first!r}{others}; PDF and PNG show "
            "boxes instead. Install a font that can, for example Noto Sans CJK, or name one in a "
            "style file",
            stacklevel=2,
        )
    return paths


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
