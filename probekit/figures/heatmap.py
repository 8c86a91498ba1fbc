"""Heatmaps: correlation and confusion of classes, similarity of embeddings, a clip over time."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from probekit._typing import Array
from probekit.analysis.confusion import Confusion
from probekit.analysis.correlation import LEVEL, Correlation
from probekit.analysis.similarity import Similarity
from probekit.analysis.timeline import Timeline
from probekit.figures import style
from probekit.figures.axes_layout import FigureLayout
from probekit.figures.labels import fit_to_width, text_width
from probekit.figures.tree import dendrogram_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

SMALLEST_CELL = 0.105  # inches; in smaller cells names of 6 points touch
_SIZE = 6.0  # points
_NAME_WIDTH = 105.0  # points that a name may take
_TOP = 0.06  # inches above a matrix without a tree
_SCALE_WIDTH = 0.62  # inches for the color scale at the right
_LARGEST_VECTOR = 40_000  # cells; of more, a picture is smaller

# correlation; inches
_CORRELATION_SCALE_WIDTH = 0.68
_LARGEST_CORRELATION_CELL, _CORRELATION_HEIGHT = 0.32, 6.4

# confusion; inches
_CONFUSION_SIDE, _LARGEST_CONFUSION_CELL = 7.2, 0.3
_SMALLEST_SIDE = 1.0  # a matrix of few classes still needs room for the text beside it
_SMALLEST_NUMBERED_CELL = 0.165
_TITLE_HEIGHT = 0.17

# similarity; inches
_EMBEDDING_NAME_WIDTH = 110.0  # points
_TREE_HEIGHT = 0.42
_SIMILARITY_CELLS = (0.2, 0.42)  # the smallest and the largest with a number

# timeline; inches
_ROW_HEIGHT, _ROWS_GAP, _TIME_HEIGHT = 0.125, 0.1, 0.34
_LARGEST_TIMELINE = 8.0  # height of both matrices
_TIME_WIDTH = 0.42  # for ticks and title of the lower matrix, at least
_MINUTES = 180.0  # seconds from which on time is in minutes


@style.styled
def draw_correlation(correlation: Correlation, width: float | None = None) -> "Figure":
    """Draw cosine similarities, source classes as rows and target classes as columns.

    Where there is no room for all, those with the strongest pairs are shown, and a note says so;
    the table has all. Pairs beyond chance have a dot. By default one column wide where all target
    classes fit, else two.
    """
    targets, sources = correlation.weights.names, correlation.sources
    strength = np.abs(correlation.cosine)
    limit = int(_CORRELATION_HEIGHT / SMALLEST_CELL)
    rows = _strongest(strength.max(axis=1), correlation.source_order, limit)
    row_names = [fit_to_width(sources[k], _NAME_WIDTH, _SIZE) for k in rows]
    left_margin = _longest(row_names) + 0.15
    scale_width = _CORRELATION_SCALE_WIDTH
    if width is None:
        needed = left_margin + SMALLEST_CELL * len(targets) + scale_width
        width = style.ONE_COLUMN if needed <= style.ONE_COLUMN else style.TWO_COLUMNS
    room = max(width - left_margin - scale_width, SMALLEST_CELL)
    limit = max(1, int(room / SMALLEST_CELL))
    columns = _strongest(strength.max(axis=0), correlation.target_order, limit)
    column_names = [fit_to_width(targets[k], _NAME_WIDTH, _SIZE) for k in columns]
    matrix_width = min(room, _LARGEST_CORRELATION_CELL * len(columns))
    matrix_height = max(SMALLEST_CELL * 1.1 * len(rows), 0.9)

    marked = correlation.significant[np.ix_(rows, columns)]
    level = f"beyond chance (p ≤ {LEVEL}, all pairs together)"
    notes = [f"dots: {level}" if correlation.significant.any() else f"no pair is {level}"]
    if len(rows) < len(sources) or len(columns) < len(targets):
        notes.append(
            f"shown: {len(rows)} of {len(sources)} source and {len(columns)} of {len(targets)} "
            "target classes, those with the strongest pairs"
        )
    height = _TOP + matrix_height + _longest(column_names) + 0.1
    layout = FigureLayout(width, height, [*notes, *correlation.weights.provenance])
    left = max(left_margin, (width - matrix_width - scale_width + left_margin) / 2)
    end = max(0.1, float(np.ceil(strength.max() * 10) / 10))
    cosine = correlation.cosine[np.ix_(rows, columns)]
    axes = _add_heatmap(
        layout,
        (left, _TOP, matrix_width, matrix_height),
        cosine,
        (row_names, column_names),
        style.diverging(),
        (-end, end),
        "cosine similarity",
    )
    for dark, color in ((True, "white"), (False, "black")):
        row, column = np.nonzero(marked & ((cosine > 0.45 * end) == dark))
        axes.scatter(column + 0.5, row + 0.5, s=1.6, color=color, linewidths=0)
    return layout.figure


@style.styled
def draw_confusion(confusion: Confusion, width: float | None = None) -> "Figure":
    """Draw how often clips of one class were taken for another, in percent.

    Where there is no room for all classes, the most confused are shown, and a note says so; the
    table has all. By default one column wide for up to about 15 classes, else two.
    """
    names = [fit_to_width(name, _NAME_WIDTH, _SIZE) for name in confusion.names]
    names_width = _longest(names) + 0.1
    if width is None:
        needed = _TITLE_HEIGHT + names_width + _SCALE_WIDTH + _SMALLEST_NUMBERED_CELL * len(names)
        width = style.ONE_COLUMN if needed <= style.ONE_COLUMN else style.TWO_COLUMNS
    room = min(width - _TITLE_HEIGHT - names_width - _SCALE_WIDTH, _CONFUSION_SIDE)
    errors = confusion.counts - np.diag(confusion.counts.diagonal())
    limit = max(1, int(room / SMALLEST_CELL))
    order = _strongest(errors.sum(axis=0) + errors.sum(axis=1), confusion.order, limit)
    cell = min(room / len(order), max(_LARGEST_CONFUSION_CELL, _SMALLEST_SIDE / len(order)))
    side = cell * len(order)
    notes = [*confusion.provenance]
    if len(order) < len(names):
        notes.insert(0, f"shown: {len(order)} of {len(names)} classes, those most confused")
    layout = FigureLayout(width, _TOP + side + names_width + _TITLE_HEIGHT, notes)
    margin = names_width + _TITLE_HEIGHT
    left = max(margin, (width - side - _SCALE_WIDTH + margin) / 2)
    shown_names = [names[k] for k in order]
    percent = 100 * confusion.proportions[np.ix_(order, order)]
    axes = _add_heatmap(
        layout,
        (left, _TOP, side, side),
        percent,
        (shown_names, shown_names),
        style.sequential(),
        (0, 100),
        "% of the right class",
    )
    if cell >= _SMALLEST_NUMBERED_CELL:
        _write_values(axes, percent, _format_percent, 50)
    x, y = left - names_width - _TITLE_HEIGHT / 2, _TOP + side + names_width + _TITLE_HEIGHT / 2
    _write_title(layout, "right class", x, _TOP + side / 2, 90)
    _write_title(layout, "predicted class", left + side / 2, y, 0)
    return layout.figure


@style.styled
def draw_similarity(similarity: Similarity, width: float | None = None) -> "Figure":
    """Draw the similarity of embeddings in the order of its tree, with the tree above.

    By default one column wide where numbers fit into the cells, else two.
    """
    order = list(similarity.order)
    names = [fit_to_width(similarity.names[k], _EMBEDDING_NAME_WIDTH, _SIZE) for k in order]
    names_width = _longest(names) + 0.1
    smallest, largest = _SIMILARITY_CELLS
    if width is None:
        needed = names_width + _SCALE_WIDTH + smallest * len(order)
        width = style.ONE_COLUMN if needed <= style.ONE_COLUMN else style.TWO_COLUMNS
    room = (width - names_width - _SCALE_WIDTH) / len(order)
    cell = float(np.clip(room, SMALLEST_CELL * 0.9, largest))
    side = cell * len(order)
    layout = FigureLayout(width, _TREE_HEIGHT + side + names_width, similarity.provenance)
    left = max(names_width, (width - side - _SCALE_WIDTH + names_width) / 2)
    matrix = similarity.matrix[np.ix_(order, order)]
    axes = _add_heatmap(
        layout,
        (left, _TREE_HEIGHT, side, side),
        matrix,
        (names, names),
        style.sequential(),
        (0, 1),
        similarity.scale_label,
    )
    if cell >= smallest:
        _write_values(axes, np.where(np.eye(len(order)), np.nan, matrix), _format_share, 0.5)
    _draw_tree(layout.add(left, 0.05, side, _TREE_HEIGHT - 0.07), similarity)
    return layout.figure


@style.styled
def draw_timeline(timeline: Timeline, width: float | None = None) -> "Figure":
    """Draw a clip over time: its classes or dimensions above, the similarity of its steps below.

    One column wide by default.
    """
    width = style.ONE_COLUMN if width is None else width
    names = [fit_to_width(name, _NAME_WIDTH, _SIZE) for name in timeline.row_names]
    left = max(_longest(names) + 0.1, _TIME_WIDTH)
    rows_height = max(_ROW_HEIGHT * len(names), 0.4)
    side = min(width - left - _SCALE_WIDTH, max(1.0, _LARGEST_TIMELINE - rows_height))
    left = max(left, (width - side - _SCALE_WIDTH + left) / 2)
    height = _TOP + rows_height + _ROWS_GAP + side + _TIME_HEIGHT
    layout = FigureLayout(width, height, timeline.provenance)
    unit, scale = ("min", 60.0) if timeline.times[-1] > _MINUTES else ("s", 1.0)
    edges = timeline.edges() / scale
    is_scores = timeline.scores is not None
    rows = _add_time_heatmap(
        layout,
        (left, _TOP, side, rows_height),
        (edges, np.arange(len(names) + 1)),
        timeline.steps(),
        style.sequential() if is_scores else style.diverging(),
        (0, 1) if is_scores else (-3, 3),
        "probability" if is_scores else "deviation (sd)",
    )
    rows.invert_yaxis()
    rows.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=_SIZE)
    rows.tick_params(axis="y", length=0, pad=2)
    rows.tick_params(axis="x", labelbottom=False)
    square = _add_time_heatmap(
        layout,
        (left, _TOP + rows_height + _ROWS_GAP, side, side),
        (edges, edges),
        timeline.similarity(),
        style.diverging(),
        (-1, 1),
        "cosine similarity",
    )
    square.set_xlabel(f"time ({unit})", labelpad=2)
    square.set_ylabel(f"time ({unit})", labelpad=2)
    square.set_yticks(square.get_xticks())
    square.set(xlim=(edges[0], edges[-1]), ylim=(edges[0], edges[-1]))
    return layout.figure


def _add_time_heatmap(
    layout: FigureLayout,
    box: tuple[float, float, float, float],
    edges: tuple[Array, Array],
    values: Array,
    colormap: "Colormap",
    limits: tuple[float, float],
    scale_title: str,
) -> "Axes":
    """Add a matrix whose columns, and maybe rows, are steps of time that begin at ``edges``."""
    from matplotlib.ticker import MaxNLocator

    axes = layout.add(*box)
    mesh = axes.pcolormesh(
        *edges,
        values,
        cmap=colormap,
        vmin=limits[0],
        vmax=limits[1],
        rasterized=values.size > _LARGEST_VECTOR,
        antialiased=False,
    )
    axes.xaxis.set_major_locator(MaxNLocator(max(2, int(box[2] / 0.4))))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=2, labelsize=_SIZE)
    left, top, width, height = box
    scale = _add_scale(layout, mesh, (left + width, top, height), scale_title)
    scale.set_yticks([limits[0], (limits[0] + limits[1]) / 2, limits[1]])
    return axes


def _add_heatmap(
    layout: FigureLayout,
    box: tuple[float, float, float, float],
    values: Array,
    names: tuple[Sequence[str], Sequence[str]],
    colormap: "Colormap",
    limits: tuple[float, float],
    scale_title: str,
) -> "Axes":
    """Add a matrix as colored cells, its first row at the top, with the color scale at its right.

    ``box`` is left, top, width and height in inches, ``names`` those of rows and columns; NaN is
    left white.
    """
    left, top, width, height = box
    rows, columns = names
    axes = layout.add(*box)
    mesh = axes.pcolormesh(
        values,
        cmap=colormap,
        vmin=limits[0],
        vmax=limits[1],
        rasterized=values.size > _LARGEST_VECTOR,
        antialiased=False,
    )
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90, fontsize=_SIZE)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=_SIZE)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)
    _add_scale(layout, mesh, (left + width, top, height), scale_title)
    return axes


def _add_scale(
    layout: FigureLayout,
    mesh: "QuadMesh",
    place: tuple[float, float, float],
    title: str,
) -> "Axes":
    """Add the color scale of a matrix whose right side, top and height in inches are given."""
    right, top, height = place
    scale = layout.add(right + 0.08, top, 0.07, min(height, 1.4))
    bar = layout.figure.colorbar(mesh, cax=scale)
    bar.outline.set_visible(False)
    bar.set_label(title, fontsize=_SIZE)
    scale.tick_params(length=2, labelsize=_SIZE)
    return scale


def _write_values(
    axes: "Axes", values: Array, format_value: Callable[[float], str], dark: float
) -> None:
    """Write numbers into their cells, in white where they are above ``dark``."""
    for (row, column), value in np.ndenumerate(values):
        text = format_value(value) if np.isfinite(value) else ""
        if text:
            axes.text(
                column + 0.5,
                row + 0.5,
                text,
                fontsize=_SIZE,
                ha="center",
                va="center_baseline",
                color="white" if value > dark else "black",
            )


def _format_percent(percent: float) -> str:
    return f"{percent:.0f}" if round(percent) > 0 else ""


def _format_share(share: float) -> str:
    return f"{share:.2f}".replace("0.", ".", 1) if abs(share) < 0.995 else "1"


def _write_title(layout: FigureLayout, text: str, x: float, y: float, rotation: float) -> None:
    """Write what rows or columns are, at a place in inches from the upper left."""
    layout.figure.text(
        x / layout.width,
        1 - y / layout.height,
        text,
        rotation=rotation,
        fontsize=7,
        ha="center",
        va="center",
    )


def _draw_tree(axes: "Axes", similarity: Similarity) -> None:
    """Draw the tree, each leaf above its column."""
    from matplotlib.collections import LineCollection

    linkage, leaves = similarity.tree.linkage, len(similarity.order)
    lines, colors = dendrogram_lines(linkage, similarity.order, ["#333333"] * leaves)
    axes.add_collection(LineCollection(lines, colors=colors, lw=0.7))
    axes.set_xlim(-0.5, leaves - 0.5)
    axes.set_ylim(0, float(linkage[:, 2].max()) * 1.02 or 1.0)
    axes.set_axis_off()


def _strongest(strength: Array, order: Sequence[int], limit: int) -> list[int]:
    """Return at most so many of the strongest classes, in their order."""
    strongest = set(np.argsort(-strength, kind="stable")[:limit].tolist())
    return [k for k in order if k in strongest]


def _longest(names: Sequence[str]) -> float:
    """Return the width of the longest name in inches."""
    return max(text_width(name, _SIZE) for name in names) / 72
