"""Figures as they go into a paper: PDF and SVG with real text, PNG at 300 dpi, data beside them."""

import csv
import io
import json
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probekit.analysis.dendrogram import Dendrogram
from probekit.cache import commit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ONE_COLUMN, TWO_COLUMNS = 3.5, 7.16  # inches, IEEE
FORMATS = ("pdf", "svg", "png")

# Okabe and Ito (2008), in an order whose luminance alternates
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000", "#999933")
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label may hold dollar signs
    "figure.dpi": 100,
}


def draw_dendrogram(tree: Dendrogram, width: float = ONE_COLUMN) -> "Figure":
    """Draw a dendrogram with the class names at its leaves.

    Parameters
    ----------
    tree : Dendrogram
        From :func:`probekit.analysis.dendrogram.dendrogram`.
    width : float > 0
        In inches.

    Returns
    -------
    matplotlib.figure.Figure
        Colours are those of about √classes clusters; provenance is written below.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from scipy.cluster import hierarchy

    names = tree.weights.names
    said = _wrapped("; ".join(tree.weights.provenance), width)
    with mpl.rc_context(STYLE):
        height = 0.55 + 0.135 * len(names) + 0.1 * len(said)
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        hierarchy.set_link_color_palette(list(PALETTE))
        hierarchy.dendrogram(
            tree.linkage,
            labels=list(names),
            orientation="left",
            ax=axes,
            color_threshold=_height_of_clusters(tree),
            above_threshold_color="#555555",
            leaf_font_size=6.5,
        )
        hierarchy.set_link_color_palette(None)
        axes.spines[["top", "left", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0, pad=2)
        axes.set_xlabel(f"{tree.metric} distance ({tree.method} linkage)")
        for collection in axes.collections:
            collection.set_linewidth(0.9)
        if said:
            figure.supxlabel("\n".join(said), fontsize=6, color="#444444")
    return figure


def save(
    figure: "Figure",
    stem: Path,
    *,
    caption: str,
    facts: dict[str, Any],
    rows: Sequence[dict[str, Any]],
) -> list[Path]:
    """Write a figure as PDF, SVG and PNG, its numbers as CSV, and what made it as JSON.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to write.
    stem : pathlib.Path
        Path without suffix; its folder is made.
    caption : str
        Goes into the JSON and into the files' metadata.
    facts : dict
        Fingerprints, choices, provenance.
    rows : sequence of dict
        The numbers behind the figure.

    Returns
    -------
    list of pathlib.Path
        What was written.
    """
    import matplotlib as mpl

    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    with mpl.rc_context(STYLE):
        for kind in FORMATS:
            metadata = _metadata(kind, caption)

            def draw(aside: Path, kind: str = kind, metadata: dict[str, Any] = metadata) -> None:
                figure.savefig(aside, format=kind, dpi=300, metadata=metadata)

            written.append(stem.with_name(f"{stem.name}.{kind}"))
            commit.commit(written[-1], draw)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    made = {
        "caption": caption,
        "probekit": version("probekit"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
    }
    for suffix, text in (
        ("csv", table.getvalue()),
        ("json", json.dumps(made, indent=1, ensure_ascii=False)),
    ):
        written.append(stem.with_name(f"{stem.name}.{suffix}"))
        commit.commit_text(written[-1], text)
    return written


def save_dendrogram(tree: Dendrogram, folder: Path, width: float = ONE_COLUMN) -> list[Path]:
    """Draw a dendrogram and write it with its data.

    Parameters
    ----------
    tree : Dendrogram
        What to draw.
    folder : pathlib.Path
        Where; the files are called ``dendrogram-<task>-<embedding>``.
    width : float > 0
        In inches.

    Returns
    -------
    list of pathlib.Path
        PDF, SVG, PNG, CSV and JSON.
    """
    from probekit.manifest import dataset_name

    w = tree.weights
    rows = [
        {
            "step": k,
            "left": _member(tree, int(left)),
            "right": _member(tree, int(right)),
            "distance": f"{distance:.6g}",
            "classes": int(size),
        }
        for k, (left, right, distance, size) in enumerate(tree.linkage)
    ]
    facts = {
        "task": w.task,
        "embedding": w.embedding,
        "fingerprint": w.fingerprint,
        "manifest": w.manifest,
        "c": w.c,
        "space": w.space,
        "center": tree.center,
        "metric": tree.metric,
        "linkage": tree.method,
        "cophenetic": tree.cophenetic,
        "leaves": [w.names[k] for k in tree.order],
        "provenance": list(w.provenance),
    }
    stem = folder / f"dendrogram-{dataset_name(w.task)}-{dataset_name(w.embedding)}"
    return save(draw_dendrogram(tree, width), stem, caption=tree.caption, facts=facts, rows=rows)


def _height_of_clusters(tree: Dendrogram) -> float:
    """Return the height at which the tree falls into about as many clusters as they are large."""
    heights = sorted(float(height) for height in tree.linkage[:, 2])
    clusters = round((len(heights) + 1) ** 0.5)
    if clusters < 2:
        return 0.0
    return (heights[-clusters] + heights[-clusters + 1]) / 2


def _member(tree: Dendrogram, number: int) -> str:
    """Name a class, or a cluster by the step that made it."""
    names = tree.weights.names
    return names[number] if number < len(names) else f"step {number - len(names)}"


def _metadata(kind: str, caption: str) -> dict[str, Any]:
    maker = f"probekit {version('probekit')}"
    if kind == "png":
        return {"Description": caption, "Software": maker}
    if kind == "svg":
        return {"Description": caption, "Creator": maker, "Date": None}
    return {"Subject": caption, "Creator": maker}


def _wrapped(text: str, width: float) -> list[str]:
    """Return lines that fit into a figure of that width, in inches, at 6 points."""
    return textwrap.wrap(text, max(20, int(width * 18)))
