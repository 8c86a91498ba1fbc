"""Scatter plots of projections and of costs: names, keys, colors."""

import itertools

import numpy as np
import overlap
import pytest
import samples
from matplotlib.colors import to_hex

from probekit.analysis.projection import Projection
from probekit.figures import style
from probekit.figures.files import save_drawing
from probekit.figures.scatter import draw_cost, draw_projection


def made(kind, count, groups, names=None, labels=None, seed=0, **others):
    rng = np.random.default_rng(seed)
    group = np.arange(count) % groups
    facts = {
        "kind": kind,
        "points": 5 * rng.normal(size=(groups, 2))[group] + rng.normal(size=(count, 2)),
        "names": tuple(names or (f"{kind} {k}" for k in range(count))),
        "group": group,
        "groups": tuple(labels or (f"group {k}" for k in range(groups))),
        "axes": ("t-SNE 1", "t-SNE 2"),
        "color_text": "Colors: groups",
        "origin": {"task": "mine"},
        "choices": {"method": "tsne", "perplexity": 30.0, "seed": 0},
        "title": "things",
        "provenance": ("random weights",),
        "name": "projection-mine",
        **others,
    }
    return Projection(**facts)


@pytest.mark.parametrize("count", [2, 12, 100])
def test_names_of_classes_do_not_overlap(count):
    found = made("classes", count, min(count, 5))
    figure = draw_projection(found)
    assert overlap.find_overlaps(figure) == []
    shown = [text for text in overlap.texts(figure) if text.startswith("classes ")]
    assert len(shown) >= min(count, 40)
    said = f"{len(shown)} of {count} names shown; random weights"
    assert (said in overlap.texts(figure)) == (len(shown) < count)


@pytest.mark.parametrize("groups", [1, 3, 60])
def test_keys_of_clips_can_be_read(groups):
    figure = draw_projection(made("clips", 240, groups))
    assert overlap.find_overlaps(figure) == []
    shown = [text for text in overlap.texts(figure) if text.startswith("group ")]
    assert len(shown) == min(groups, 48)
    assert any("the key has 48 of 60 groups" in text for text in overlap.texts(figure)) == (
        groups == 60
    )


def test_groups_of_long_names():
    figure = draw_projection(
        made("clips", 100, 5, labels=[f"{k}" + " name" * 40 for k in range(5)])
    )
    assert overlap.find_overlaps(figure) == []


def test_groups_differ_in_colour_or_form():
    found = made("clips", 300, 24)
    axes = draw_projection(found).axes[0]
    looks = set()
    for collection in axes.collections:
        form = collection.get_paths()[0].vertices
        looks.add((to_hex(collection.get_facecolor()[0]), form.round(3).tobytes()))
    assert len(axes.collections) == len(looks) == 24
    forms = [
        collection.get_paths()[0].vertices.round(3).tobytes() for collection in axes.collections
    ]
    # in gray print and to the color-blind, too: neighbors differ in form
    assert all(a != b for a, b in itertools.pairwise(forms)) and len(set(forms[:10])) == 9


def test_all_points_are_drawn_and_those_of_no_group_are_grey():
    found = made("clips", 60, 3)
    found.group[:10] = -1
    axes = draw_projection(found).axes[0]
    drawn = np.concatenate([one.get_offsets() for one in axes.collections])
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, found.points))
    colors = [to_hex(one.get_facecolor()[0]) for one in axes.collections]
    gray = axes.collections[colors.index(style.GRAY.lower())]
    assert len(gray.get_offsets()) == 10
    assert (drawn >= [axes.get_xlim()[0], axes.get_ylim()[0]]).all()
    assert (drawn <= [axes.get_xlim()[1], axes.get_ylim()[1]]).all()


def test_files_have_all_points(tmp_path):
    found = made("classes", 60, 5)
    written = save_drawing(draw_projection, found, tmp_path)
    assert len(written[3].read_text().splitlines()) == 61


def test_points_in_one_place_are_drawn():
    found = made("classes", 5, 1, points=np.zeros((5, 2)))
    assert overlap.find_overlaps(draw_projection(found)) == []


# ---- cost


@pytest.mark.parametrize(
    ("names", "probes"),
    [
        (1, ("linear",)),
        (8, ("linear", "mlp", "knn")),
        (40, ("linear",)),
        pytest.param(1, ("linear", "mlp", "knn"), marks=pytest.mark.slow),
        pytest.param(8, ("linear",), marks=pytest.mark.slow),
        pytest.param(40, ("linear", "mlp", "knn"), marks=pytest.mark.slow),
    ],
)
def test_costs_can_be_read(names, probes):
    costs = ("parameters", "gflop", "seconds")
    found = samples.priced(names, probes, costs)
    figure = draw_cost(found)
    assert overlap.problems(figure) == []
    assert len(found.axes) == (2 if names == 1 else 3)
    assert {"mlp", "knn"} <= set(overlap.texts(figure)) or len(probes) == 1


@pytest.mark.parametrize(
    "width",
    [2.5, 5.0, 7.16, *(pytest.param(width, marks=pytest.mark.slow) for width in (3.3, 3.5, 4.5))],
)
def test_costs_can_be_read_at_any_width(width):
    found = samples.priced(6, ("linear", "mlp", "knn"))
    figure = draw_cost(found, width)
    assert overlap.problems(figure) == []
    assert figure.get_size_inches()[0] == width
    titles = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    assert len(titles) == 3
    panels = [axes.get_position() for axes in figure.axes if axes.get_xlabel()]
    lines = len({round(panel.y0, 6) for panel in panels})
    assert lines == (1 if width > 5 else 3)


def test_what_costs_nothing_stands_apart_and_one_kind_takes_one_column():
    figure = draw_cost(samples.priced(5, costs=("parameters",)))
    assert figure.get_size_inches()[0] == style.ONE_COLUMN
    [axes] = figure.axes
    assert axes.get_xticklabels()[0].get_text() == "0"
    at = axes.get_xticks()[0]
    assert sum(one.get_xdata()[0] == at for one in axes.lines if one.get_marker() == "o") == 1
    assert any("a note; random weights" in text for text in overlap.texts(figure))
