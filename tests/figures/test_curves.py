"""Curves of label efficiency."""

import numpy as np
import overlap
import pytest
import samples

from probekit.figures.curves import draw_label_efficiency, draw_layers


@pytest.mark.parametrize("lines", [1, 3, 16, 30])
def test_curves_can_be_read(lines):
    figure = draw_label_efficiency(samples.efficient(lines))
    assert overlap.problems(figure) == []
    named = [text for text in overlap.texts(figure) if text.startswith("embedding ")]
    assert len(named) == min(lines, 16)
    assert any("the best 16 of 30" in text for text in overlap.texts(figure)) == (lines == 30)


@pytest.mark.parametrize("seeds", [1, 4])
def test_curves_are_means_over_labels(seeds):
    found = samples.efficient(1, seeds)
    axes = draw_label_efficiency(found).axes[0]
    line = next(one for one in axes.lines if one.get_marker() == "o")
    np.testing.assert_allclose(
        np.asarray(line.get_ydata(), float), [p.mean for p in found.curves[0].points]
    )
    np.testing.assert_allclose(np.asarray(line.get_xdata(), float), [70, 700, 7000])
    assert axes.get_xscale() == "log"


@pytest.mark.parametrize("width", [3.3, None, 7.0])
@pytest.mark.parametrize("depths", [(5,), (5, 14), (25, 13, 5)])
@pytest.mark.parametrize("learned", [pytest.param(False, marks=pytest.mark.slow), True])
def test_layers_can_be_read(width, depths, learned):
    analysis = samples.layers(depths, learned)
    figure = draw_layers(analysis, width)
    assert overlap.problems(figure) == []
    assert len(figure.axes) == 2 + learned
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), [g.score for g in analysis.curves[0].layers])
    if learned:
        weights = figure.axes[1].lines[0].get_ydata()
        np.testing.assert_allclose(weights, analysis.curves[0].weights)
