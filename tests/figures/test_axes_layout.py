"""Layout: labels that keep apart, ticks along a logarithmic axis."""

import numpy as np
import overlap
import pytest
from matplotlib.figure import Figure

from probekit.figures import style
from probekit.figures.axes_layout import format_count, log_ticks, place_labels, spread_labels


def test_round_numbers_along_factors():
    assert log_ticks(3, 600, 10) == [5, 10, 20, 50, 100, 200, 500]
    assert log_ticks(3, 600, 5) == [3, 10, 30, 100, 300]
    assert log_ticks(1, 1e9, 4) == [1, 1e3, 1e6, 1e9]
    assert [format_count(v) for v in (0.01, 5, 3e5, 2e6, 1e9)] == [
        "0.01",
        "5",
        "300k",
        "2M",
        "1G",
    ]


def test_numbers_are_moved_apart_as_little_as_can_be():
    moved = spread_labels(np.array([0.0, 0.1, 0.2, 5.0]), 1.0, 0.0, 9.0)
    assert np.diff(moved).min() >= 1 - 1e-9
    np.testing.assert_allclose(moved, [0, 1, 2, 5])  # the first three cannot start below 0
    free = spread_labels(np.array([4.0, 4.1, 4.2]), 1.0, 0.0, 9.0)
    np.testing.assert_allclose(free, [3.1, 4.1, 5.1])


def test_names_at_the_same_place_are_moved_apart():
    found = spread_labels(np.array([1.0, 1.0, 1.05, 3.0, 0.0]), 0.2, 0.1, 3.0)
    order = np.argsort(found)
    assert (np.diff(found[order]) >= 0.2 - 1e-9).all()
    assert found.min() >= 0.1 - 1e-9 and found.max() <= 3.0 + 1e-9
    assert found[3] == pytest.approx(3.0)  # what stands alone stays
    assert found[:3].mean() == pytest.approx(np.mean([1.0, 1.0, 1.05]))


def test_overlap_sees_what_is_wrong_and_nothing_else():
    with style.style_context():
        alone, figure = Figure(figsize=(3, 2)), Figure(figsize=(3, 2))
        for each in (alone, figure):
            each.text(0.1, 0.5, "one")
        assert overlap.find_overlaps(alone) == []
        figure.text(0.12, 0.5, "two")
        figure.text(0.99, 0.9, "beyond", fontsize=5)
        figure.text(0.11, 0.5, "hidden", visible=False)
        assert sorted(overlap.find_overlaps(figure)) == [
            "'beyond' has 5 points",
            "'beyond' is cut off",
            "'one' overlaps 'two'",
        ]


def test_names_beside_points_cover_neither_names_nor_points():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(25, 2)), 0.05 * rng.normal(size=(15, 2)) + 1])
    with style.style_context():
        figure = Figure(figsize=(7, 5))
        axes = figure.add_axes((0.05, 0.05, 0.9, 0.9))
        axes.scatter(*points.T, s=13)
        axes.set_axis_off()
        shown = place_labels(axes, points, [f"point number {k}" for k in range(40)])
        assert overlap.find_overlaps(figure) == []
        found = overlap.boxes(figure)
        names = {text.get_text() for text, _ in found}
        assert names == {f"point number {k}" for k in shown}
        assert len(shown) >= 30
        where = axes.transData.transform(points)
        assert not any(box.contains(*point) for _, box in found for point in where)


def test_names_of_points_in_one_place_are_shown_once_around_it():
    with style.style_context():
        figure = Figure(figsize=(4, 4))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        shown = place_labels(axes, np.full((200, 2), 0.5), ["name"] * 200)
        assert 4 <= len(shown) < 100
        assert overlap.find_overlaps(figure) == []
