"""A figure's files: PDF and SVG with real text, PNG at 300 dpi, its numbers and what made it."""

import csv
import io
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from probekit.analysis.base import Analysis
from probekit.figures import style
from probekit.figures import text as text_module
from probekit.utils import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Found = TypeVar("Found", bound=Analysis)

FORMATS = ("pdf", "svg", "png")
DPI = 300


def save(
    figure: "Figure", analysis: Analysis, folder: Path, look: str | Path | None = None
) -> list[Path]:
    """Write a figure with its numbers (CSV) and what made it (JSON).

    Caption and facts are in the metadata of the pictures, too. Each file is there whole or not at
    all. A label that no font on this machine can draw is named in a warning; in the SVG it is
    there as text all the same.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to write.
    analysis : Analysis
        What it shows; its name is the files' stem.
    folder : pathlib.Path
        Where; it is made.
    look : str or pathlib.Path, optional
        The style file with which it was drawn.

    Returns
    -------
    list of pathlib.Path
        PDF, SVG, PNG, CSV and JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"caption": analysis.caption, **analysis.facts()}
    written = []
    with style.style_context(look):
        strange = text_module.missing_glyphs(_texts(figure))
        for kind in FORMATS:
            metadata = _metadata(kind, analysis, facts)

            def draw(aside: Path, kind: str = kind, metadata: dict[str, Any] = metadata) -> None:
                figure.savefig(aside, format=kind, dpi=DPI, metadata=metadata)

            written.append(folder / f"{analysis.name}.{kind}")
            atomic.atomic_write(written[-1], draw)
    made = {
        **facts,
        "probekit": version("probekit"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    for suffix, text in (
        ("csv", _table(analysis.rows())),
        ("json", json.dumps(made, indent=1, ensure_ascii=False, default=_plain)),
    ):
        written.append(folder / f"{analysis.name}.{suffix}")
        atomic.atomic_write_text(written[-1], text)
    if strange:
        warnings.warn(_unreadable(strange, analysis.name), stacklevel=2)
    return written


@dataclass(frozen=True)
class Saver(Generic[Found]):
    """Draws an analysis, and writes the figure with its data.

    Attributes
    ----------
    draw : callable
        Takes the analysis, a width and a style file, and returns a figure.
    """

    draw: "Callable[[Found, float | None, str | Path | None], Figure]"

    def __call__(
        self,
        found: Found,
        folder: Path,
        width: float | None = None,
        look: str | Path | None = None,
    ) -> list[Path]:
        """Draw and write.

        Parameters
        ----------
        found : Analysis
            What to draw.
        folder : pathlib.Path
            Where.
        width : float > 0, optional
            In inches.
        look : str or pathlib.Path, optional
            A style file.

        Returns
        -------
        list of pathlib.Path
            PDF, SVG, PNG, CSV and JSON.
        """
        return save(self.draw(found, width, look), found, folder, look)


def _table(rows: Sequence[dict[str, Any]]) -> str:
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
    """Return what a file says of itself, under the keys that its format has."""
    maker = f"probekit {version('probekit')}"
    made_of = json.dumps(facts, ensure_ascii=False, default=_plain)
    title = analysis.name
    if kind == "png":
        return {
            "Title": title,
            "Description": analysis.caption,
            "Software": maker,
            "Source": made_of,
        }
    if kind == "svg":
        return {
            "Title": title,
            "Description": analysis.caption,
            "Creator": maker,
            "Source": made_of,
            "Date": None,
        }
    return {
        "Title": title,
        "Subject": analysis.caption,
        "Keywords": made_of,
        "Creator": maker,
        "CreationDate": None,
    }


def _texts(figure: "Figure") -> list[str]:
    """Return all texts of a figure that are shown."""
    from matplotlib.text import Text

    found = figure.findobj(Text)
    return [item.get_text() for item in found if isinstance(item, Text) and item.get_visible()]


def _unreadable(labels: list[str], name: str) -> str:
    """Say which labels show boxes or unjoined letters."""
    first = labels[0] if len(labels[0]) <= 40 else labels[0][:39] + "…"
    others = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
    return (
        f"{name}: no font on this machine can draw {first!r}{others}; PDF and PNG show boxes "
        "there. Install one that can, for example Noto Sans CJK, or name one in a style file"
    )


def _plain(value: Any) -> Any:
    """Return numbers of numpy as Python's own, for JSON."""
    return value.item() if hasattr(value, "item") else str(value)
