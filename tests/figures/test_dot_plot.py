"""The dot plot of class differences."""

import overlap
import pytest
import samples

from probekit.figures.dot_plot import draw_class_differences


@pytest.mark.parametrize("classes", [1, 2, 12, 60, 61, pytest.param(527, marks=pytest.mark.slow)])
def test_differences_can_be_read(classes):
    figure = draw_class_differences(samples.differing(classes))
    assert overlap.problems(figure) == []
    between = [text for text in overlap.texts(figure) if "classes between" in text]
    assert between == ([f"… {classes - 60} classes between …"] if classes > 60 else [])
    assert len([t for t in overlap.texts(figure) if t.startswith("class ")]) == min(classes, 60)


def test_marks_are_filled_and_sides_are_named():
    found = samples.differing(12)
    figure = draw_class_differences(found)
    points = [one for one in figure.axes[0].lines if one.get_marker() == "o"]
    filled = [one.get_markerfacecolor() != "white" for one in points]
    assert filled == [bool(found.significant[k]) for k in found.order]
    assert [float(one.get_xdata()[0]) for one in points] == [
        found.difference[k] for k in found.order
    ]
    assert any("filled: beyond chance" in text for text in overlap.texts(figure))
    plain = draw_class_differences(samples.differing(12, marks=False))
    assert any("none is beyond chance" in text for text in overlap.texts(plain))
    left, right = (next(t for t in overlap.texts(figure) if mark in t) for mark in "←→")
    assert "talnet" in left and "openl3" in right
    assert figure.axes[0].get_xlim()[0] < figure.axes[0].get_xlim()[1]
    loss = draw_class_differences(samples.differing(12, metric="log-loss")).axes[0].get_xlim()
    assert loss[0] > loss[1]  # so that the first run is better at the right, all the same
