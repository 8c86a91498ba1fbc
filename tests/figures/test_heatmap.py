"""Heatmaps: their cells, their marks, their legibility."""

import json

import numpy as np
import overlap
import pytest
import samples

from probekit.analysis.correlation import cosine_correlation
from probekit.cache.head import SavedHead
from probekit.figures import style
from probekit.figures.files import save_drawing
from probekit.figures.heatmap import (
    draw_confusion,
    draw_correlation,
    draw_similarity,
    draw_timeline,
)


def found_of(targets, sources, dim=128, label="{}", planted=5, provenance=("random weights",)):
    rng = np.random.default_rng(0)
    w, h = rng.normal(size=(targets, dim)), rng.normal(size=(sources, dim))
    for k in range(min(planted, targets, sources)):
        h[k] += 2 * w[k]
    target_names = [label.format(f"target {k}") for k in range(targets)]
    weights = samples.class_weights(w, target_names, provenance)
    names = tuple(label.format(f"source {k}") for k in range(sources))
    head = SavedHead(names, h, np.zeros(sources), "last", "none")
    return cosine_correlation(weights, samples.training_clips(w), head, permutations=99)


@pytest.mark.parametrize(
    ("targets", "sources"),
    [(2, 2), (10, 50), pytest.param(50, 300, marks=pytest.mark.slow), (120, 9)],
)
def test_names_can_be_read_whatever_the_size(targets, sources):
    figure = draw_correlation(found_of(targets, sources))
    assert overlap.find_overlaps(figure) == []
    width, height = figure.get_size_inches()
    assert width in (style.ONE_COLUMN, style.TWO_COLUMNS) and height < 9.2


@pytest.mark.parametrize("label", ["W" * 200 + " {}", "<script>{}</script>", "$x_{}^2$"])
def test_names_of_any_kind(label):
    figure = draw_correlation(found_of(8, 12, label=label.replace("{}", "{0}", 1)))
    assert overlap.find_overlaps(figure) == []


def test_cells_are_the_cosines_in_the_order_of_the_trees():
    found = found_of(6, 9)
    axes = draw_correlation(found).axes[0]
    (mesh,) = [one for one in axes.collections if one.get_array() is not None and one.colorbar]
    expected = found.cosine[np.ix_(found.source_order, found.target_order)]
    np.testing.assert_array_equal(mesh.get_array().reshape(9, 6), expected)
    for labels, names, order in (
        (axes.get_yticklabels(), found.sources, found.source_order),
        (axes.get_xticklabels(), found.weights.names, found.target_order),
    ):
        assert [text.get_text() for text in labels] == [names[k] for k in order]
    assert axes.yaxis_inverted()  # the first row is at the top
    assert -mesh.norm.vmin == mesh.norm.vmax >= np.abs(expected).max()


def test_dots_are_at_the_pairs_beyond_chance():
    found = found_of(6, 9)
    figure = draw_correlation(found)
    axes = figure.axes[0]
    dots = {tuple(p - 0.5) for c in axes.collections if not c.colorbar for p in c.get_offsets()}
    marked = found.significant[np.ix_(found.source_order, found.target_order)]
    assert dots == {(c, r) for r, c in np.argwhere(marked)} and len(dots) >= 5
    assert any("dots: beyond chance" in text for text in overlap.texts(figure))


def test_nothing_beyond_chance_is_said():
    figure = draw_correlation(found_of(6, 9, planted=0))
    assert any(text.startswith("no pair is beyond chance") for text in overlap.texts(figure))


def test_what_is_left_out_is_said_and_the_strongest_stay(tmp_path):
    found = found_of(10, 200)
    figure = draw_correlation(found)
    shown = overlap.texts(figure)
    assert {f"source {k}" for k in range(5)} <= set(shown)  # those with planted pairs
    assert any("of 200 source and 10 of 10 target classes" in text for text in shown)
    written = save_drawing(draw_correlation, found, tmp_path)
    assert written[3].read_text().count("\n") == 2001  # the table has all
    facts = json.loads(written[4].read_text())
    assert facts["pairs"] == 2000 and len(facts["sources_in_order"]) == 200


def test_provenance_is_written_below():
    assert any("random weights" in text for text in overlap.texts(draw_correlation(found_of(3, 4))))


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.slow), 24, 45])
def test_similarity_can_be_read(count):
    found = samples.similar(count)
    figure = draw_similarity(found)
    assert overlap.problems(figure) == []
    values = [t for t in overlap.texts(figure) if t.startswith(".")]
    assert bool(values) == (count <= 24)


def test_similarity_is_in_the_order_of_its_tree():
    found = samples.similar(5)
    axes = draw_similarity(found).axes[0]
    [mesh] = [one for one in axes.collections if one.colorbar]
    expected = found.matrix[np.ix_(found.order, found.order)]
    np.testing.assert_array_equal(mesh.get_array().reshape(5, 5), expected)
    assert [t.get_text() for t in axes.get_yticklabels()] == [found.names[k] for k in found.order]


@pytest.mark.parametrize("classes", [1, 2, 10, 26, pytest.param(50, marks=pytest.mark.slow), 120])
def test_confusion_can_be_read(classes):
    figure = draw_confusion(samples.confused(classes))
    assert overlap.problems(figure) == []
    said = [text for text in overlap.texts(figure) if "classes, those most confused" in text]
    assert bool(said) == (classes == 120)


def test_cells_are_percent_of_the_right_class():
    found = samples.confused(4)
    axes = draw_confusion(found).axes[0]
    [mesh] = [one for one in axes.collections if one.colorbar]
    np.testing.assert_allclose(
        mesh.get_array().reshape(4, 4), 100 * found.proportions[::-1, ::-1], rtol=1e-12
    )
    shown = {text.get_text() for text in axes.texts}
    assert shown == {f"{100 * v:.0f}" for v in found.proportions.ravel() if round(100 * v) > 0}


@pytest.mark.parametrize(
    "clip",
    [
        samples.over_time(),
        samples.over_time(1.0, classes=1),
        samples.over_time(3600.0, 1.0, classes=30, top=25),
        samples.over_time(20.0, classes=3, names=samples.LONG),
    ],
)
def test_a_timeline_can_be_read(clip):
    for width in (None, style.TWO_COLUMNS):
        assert overlap.problems(draw_timeline(clip, width)) == []


def test_a_timeline_shows_its_steps_in_order():
    clip = samples.over_time(200.0, 0.2, classes=4)
    rows, square = (
        axes for axes in draw_timeline(clip).axes if any(c.colorbar for c in axes.collections)
    )
    [mesh] = rows.collections
    np.testing.assert_array_equal(mesh.get_array().reshape(4, 500), clip.steps())
    assert rows.yaxis_inverted() and not square.yaxis_inverted()
    [mesh] = square.collections
    np.testing.assert_array_equal(mesh.get_array().reshape(500, 500), clip.similarity())
    for axes in (rows, square):  # in minutes, on the same axis
        np.testing.assert_allclose(axes.get_xlim(), (0, 200 / 60))
