"""Figures of similarity, confusion, differences, label efficiency and cost."""

import json
import warnings

import numpy as np
import overlap
import pytest

from probekit.analysis import clustering
from probekit.analysis.class_differences import Differences
from probekit.analysis.confusion import Confusion
from probekit.analysis.cost import Cost, CostPoint
from probekit.analysis.label_efficiency import LabelEfficiency, Line, Point
from probekit.analysis.similarity import Similarity
from probekit.figures import (
    confusion_matrix,
    cost_scatter,
    curves,
    dot_plot,
    labels,
    similarity_matrix,
    style,
)
from probekit.scores.groups import RunGroup

TALLEST = 9.2  # inches of a page


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def entry(label="made", score=0.5, **others):
    result = {
        "task": "mine",
        "run": "0" * 64,
        "seed": 0,
        "probe": "linear",
        "preset": "",
        "folds": [{}],
        "sources": [{"fingerprint": "f" * 64}],
        "manifest": "m",
        "score": score,
        "interval": {"low": score - 0.04, "high": score + 0.04},
        "provenance": ["random weights"],
        **others,
    }
    return RunGroup(label, (result,), ())


def texts(figure):
    return [text.get_text().replace("\n", " ") for text, _ in overlap.boxes(figure)]


def readable(figure):
    """Say what is wrong with a figure's texts or size."""
    width, height = figure.get_size_inches()
    size = [] if width <= style.TWO_COLUMNS and height <= TALLEST else [f"{width} × {height}"]
    return overlap.find_overlaps(figure) + size


def similar(count, names="embedding {}"):
    own = np.random.default_rng(0).uniform(0, 1, (count, count))
    matrix = np.triu(own, 1) + np.triu(own, 1).T + np.eye(count)
    return Similarity(
        matrix=matrix,
        names=tuple(names.replace("{}", str(k)) for k in range(count)),
        tree=clustering.linkage_tree(1 - matrix[np.triu_indices(count, 1)]),
        measure="cka",
        choices={"debiased": False, "normalize": "none"},
        dims=(4,) * count,
        clips=90,
        common=90,
        expected=90,
        origin={"task": "mine"},
        provenance=("random weights",),
        name="similarity-cka-mine",
    )


def confused(classes, names="class {}"):
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.3, (classes, classes)) + 20 * np.eye(classes, dtype=int)
    named = tuple(names.replace("{}", str(k)) for k in range(classes))
    return Confusion(counts, named, tuple(range(classes))[::-1], "clusters", entry())


def differing(classes, metric="accuracy", names="class {}", spread=0.5, marks=True):
    rng = np.random.default_rng(0)
    value = rng.uniform(-spread, spread, classes)
    return Differences(
        names=tuple(names.replace("{}", str(k)) for k in range(classes)),
        scores=np.stack([0.5 + value / 2, 0.5 - value / 2], axis=1),
        difference=value,
        low=value - 0.1,
        high=value + 0.1,
        units=np.full(classes, 20),
        p=np.where(np.abs(value) > 0.2, 0.001, 0.5),
        adjusted=np.where((np.abs(value) > 0.2) & marks, 0.01, 1.0),
        correction="holm",
        metric=metric,
        first=entry("openl3:content=music,input=mel256,size=6144 / 10 % of labels"),
        second=entry("talnet:stream=gru,pool=mean+max"),
        clips=200,
        default_metric=True,
        exact=True,
    )


def efficient(lines, seeds=3, name="embedding {}"):
    rng = np.random.default_rng(0)
    made = []
    for k in range(lines):
        points = [
            Point(
                share, 7000 * share, tuple(0.5 + 0.02 * k + 0.1 * rng.uniform(size=seeds)), entry()
            )
            for share in (0.01, 0.1, 1.0)
        ]
        made.append(Line(name.replace("{}", str(k)), tuple(points)))
    return LabelEfficiency("mine", "accuracy", tuple(made[::-1]), ())


def priced(names=6, probes=("linear",), costs=("parameters", "gflop", "seconds")):
    rng = np.random.default_rng(0)
    points = []
    for k in range(names):
        own = {kind: float(10 ** rng.uniform(0, 4)) for kind in costs}
        if k == 0:
            own["parameters"] = 0.0
        for probe in probes:
            label = f"embedding {k}" + (f" / {probe}" if probe != "linear" else "")
            points.append(CostPoint(entry(label, rng.uniform(0.4, 0.9), probe=probe), own, "cpu"))
    points.sort(key=lambda one: -one.entry.score)
    return Cost("mine", "accuracy", tuple(points), ("a note",))


LONG = "W" * 200 + " {}"


@pytest.mark.parametrize("count", [2, 8, 24, 45])
def test_similarity_can_be_read(count):
    found = similar(count)
    figure = similarity_matrix.draw(found)
    assert readable(figure) == []
    values = [t for t in texts(figure) if t.startswith(".")]
    assert bool(values) == (count <= 24)


def test_similarity_is_in_the_order_of_its_tree():
    found = similar(5)
    axes = similarity_matrix.draw(found).axes[0]
    [mesh] = [one for one in axes.collections if one.colorbar]
    expected = found.matrix[np.ix_(found.order, found.order)]
    np.testing.assert_array_equal(mesh.get_array().reshape(5, 5), expected)
    assert [t.get_text() for t in axes.get_yticklabels()] == [found.names[k] for k in found.order]


@pytest.mark.parametrize("classes", [1, 2, 10, 26, 50, 120])
def test_confusion_can_be_read(classes):
    figure = confusion_matrix.draw(confused(classes))
    assert readable(figure) == []
    said = [text for text in texts(figure) if "classes, those most confused" in text]
    assert bool(said) == (classes == 120)


def test_cells_are_percent_of_the_right_class():
    found = confused(4)
    axes = confusion_matrix.draw(found).axes[0]
    [mesh] = [one for one in axes.collections if one.colorbar]
    np.testing.assert_allclose(
        mesh.get_array().reshape(4, 4), 100 * found.proportions[::-1, ::-1], rtol=1e-12
    )
    shown = {text.get_text() for text in axes.texts}
    assert shown == {f"{100 * v:.0f}" for v in found.proportions.ravel() if round(100 * v) > 0}


@pytest.mark.parametrize("classes", [1, 2, 12, 60, 61, 527])
def test_differences_can_be_read(classes):
    figure = dot_plot.draw(differing(classes))
    assert readable(figure) == []
    between = [text for text in texts(figure) if "classes between" in text]
    assert between == ([f"… {classes - 60} classes between …"] if classes > 60 else [])
    assert len([t for t in texts(figure) if t.startswith("class ")]) == min(classes, 60)


def test_marks_are_filled_and_sides_are_named():
    found = differing(12)
    figure = dot_plot.draw(found)
    points = [one for one in figure.axes[0].lines if one.get_marker() == "o"]
    filled = [one.get_markerfacecolor() != "white" for one in points]
    assert filled == [bool(found.significant[k]) for k in found.order]
    assert [float(one.get_xdata()[0]) for one in points] == [
        found.difference[k] for k in found.order
    ]
    assert any("filled: beyond chance" in text for text in texts(figure))
    plain = dot_plot.draw(differing(12, marks=False))
    assert any("none is beyond chance" in text for text in texts(plain))
    left, right = (next(t for t in texts(figure) if mark in t) for mark in "←→")
    assert "talnet" in left and "openl3" in right
    assert figure.axes[0].get_xlim()[0] < figure.axes[0].get_xlim()[1]
    loss = dot_plot.draw(differing(12, metric="log-loss")).axes[0].get_xlim()
    assert loss[0] > loss[1]  # so that the first run is better at the right, all the same


@pytest.mark.parametrize("lines", [1, 3, 16, 30])
def test_curves_can_be_read(lines):
    figure = curves.draw(efficient(lines))
    assert readable(figure) == []
    named = [text for text in texts(figure) if text.startswith("embedding ")]
    assert len(named) == min(lines, 16)
    assert any("the best 16 of 30" in text for text in texts(figure)) == (lines == 30)


def test_names_at_the_same_place_are_moved_apart():
    found = curves._apart(np.array([1.0, 1.0, 1.05, 3.0, 0.0]), 0.2, 0.1, 3.0)
    order = np.argsort(found)
    assert (np.diff(found[order]) >= 0.2 - 1e-9).all()
    assert found.min() >= 0.1 - 1e-9 and found.max() <= 3.0 + 1e-9
    assert found[3] == pytest.approx(3.0)  # what stands alone stays
    assert found[:3].mean() == pytest.approx(np.mean([1.0, 1.0, 1.05]))


@pytest.mark.parametrize("seeds", [1, 4])
def test_curves_are_means_over_labels(seeds):
    found = efficient(1, seeds)
    axes = curves.draw(found).axes[0]
    line = next(one for one in axes.lines if one.get_marker() == "o")
    np.testing.assert_allclose(
        np.asarray(line.get_ydata(), float), [p.mean for p in found.lines[0].points]
    )
    np.testing.assert_allclose(np.asarray(line.get_xdata(), float), [70, 700, 7000])
    assert axes.get_xscale() == "log"


@pytest.mark.parametrize("names", [1, 8, 40])
@pytest.mark.parametrize("probes", [("linear",), ("linear", "mlp", "knn")])
def test_costs_can_be_read(names, probes):
    costs = ("parameters", "gflop", "seconds")
    found = priced(names, probes, costs)
    figure = cost_scatter.draw(found)
    assert readable(figure) == []
    assert len(found.axes) == (2 if names == 1 else 3)
    assert {"mlp", "knn"} <= set(texts(figure)) or len(probes) == 1


def test_what_costs_nothing_stands_apart_and_one_kind_takes_one_column():
    figure = cost_scatter.draw(priced(5, costs=("parameters",)))
    assert figure.get_size_inches()[0] == style.ONE_COLUMN
    [axes] = figure.axes
    assert axes.get_xticklabels()[0].get_text() == "0"
    at = axes.get_xticks()[0]
    assert sum(one.get_xdata()[0] == at for one in axes.lines if one.get_marker() == "o") == 1
    assert any("a note; random weights" in text for text in texts(figure))


@pytest.mark.parametrize("name", [LONG, "<script>{}</script>", "$x_{}^2$"])
def test_names_of_any_kind(name):
    for figure in (
        similarity_matrix.draw(similar(6, name)),
        confusion_matrix.draw(confused(8, name)),
        dot_plot.draw(differing(9, names=name)),
        curves.draw(efficient(4, name=name)),
    ):
        assert readable(figure) == []


def test_files_have_all_numbers(tmp_path):
    for module, found, rows in (
        (similarity_matrix, similar(5), 10),
        (confusion_matrix, confused(60), None),
        (dot_plot, differing(100), 100),
        (curves, efficient(20), 60),
        (cost_scatter, priced(4), 4),
    ):
        files = module.save(found, tmp_path)
        assert [file.suffix for file in files] == [".pdf", ".svg", ".png", ".csv", ".json"]
        lines = files[3].read_text().splitlines()
        assert len(lines) - 1 == (rows or np.count_nonzero(found.counts))
        assert json.loads(files[4].read_text())["caption"] == found.caption
        assert "andom weights" in found.caption


def test_round_numbers_along_factors():
    assert labels.factors(3, 600, 10) == [5, 10, 20, 50, 100, 200, 500]
    assert labels.factors(3, 600, 5) == [3, 10, 30, 100, 300]
    assert labels.factors(1, 1e9, 4) == [1, 1e3, 1e6, 1e9]
    assert [labels.short(v) for v in (0.01, 5, 3e5, 2e6, 1e9)] == ["0.01", "5", "300k", "2M", "1G"]
