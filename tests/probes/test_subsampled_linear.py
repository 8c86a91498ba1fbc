"""The linear probe with C selected on a subsample first: the same minimum, and few fits on all."""

from dataclasses import replace

import numpy as np
import pytest

from probekit.errors import DataError, ProbekitError
from probekit.parallel import resources
from probekit.probes import linear
from probekit.probes.registry import get_probe
from probekit.solvers import logistic


@pytest.fixture(autouse=True)
def one_thread():
    with resources.single_threaded():
        yield


@pytest.mark.parametrize(
    ("target", "protocol"),
    [
        ("single", "split"),
        ("multi", "split without refit"),
        pytest.param("multi", "split", marks=pytest.mark.slow),
        pytest.param("single", "split without refit", marks=pytest.mark.slow),
    ],
)
def test_the_probe_is_that_of_the_whole_grid(make_job, target, protocol):
    job = make_job(target=target, protocol=protocol, clips=600, dim=10, noise=3.0)
    for mine, other in zip(
        get_probe("linear:subsample=150").choose_all(job),
        linear.Linear(full=True).choose_all(job),
        strict=True,
    ):
        fitted = [k for k, score in enumerate(mine.curve) if not np.isnan(score)]
        assert 3 <= len(fitted) < 12 and fitted == list(range(fitted[0], fitted[-1] + 1))
        # scores held out are those of the whole grid but for one clip at the boundary
        np.testing.assert_allclose(
            [mine.curve[k] for k in fitted], [other.curve[k] for k in fitted], atol=0.01
        )
        assert mine.grid == other.grid and mine.converged and mine.unconverged == 0
        best = max(mine.curve[k] for k in fitted)
        assert mine.selected_score == best
        assert mine.selected_on.startswith("150 of ")
        if mine.params == other.params:
            # strongly convex: |w - w*|² <= 2 · 1e-6 · objective, see test_linear
            distance = np.linalg.norm(mine.probe.coef - other.probe.coef)
            assert distance <= 1e-2 * np.linalg.norm(other.probe.coef)


def test_folds_select_among_the_values_tried_on_all_clips(make_job):
    job = make_job(protocol="folds", clips=240, noise=3.0)
    job = replace(job, splits=job.splits[:1])
    for model in get_probe("linear:subsample=100").choose_all(job):
        assert model.selected_score == np.nanmax(model.curve) and model.unconverged == 0
        assert "100 of 1" in model.selected_on


def test_the_best_lies_between_two_that_were_fitted_on_all(make_job):
    job = make_job(protocol="split", clips=900, dim=20, noise=4.0)
    [model] = get_probe("linear:subsample=100").choose_all(job)
    best = model.grid.index(model.params)
    assert not np.isnan(model.curve[best - 1]) and not np.isnan(model.curve[best + 1])


def test_subsamples_grow_by_four_and_contain_each_other(make_job, monkeypatch):
    job = make_job(protocol="split", clips=2000, dim=10, noise=3.0)
    train = []
    real = linear.PathSearch.fit_grid
    monkeypatch.setattr(
        linear.PathSearch,
        "fit_grid",
        lambda search, context, grid, pairs, curve: (
            train.append((len(grid), pairs[0][0])) or real(search, context, grid, pairs, curve)
        ),
    )
    [model] = get_probe("linear:subsample=100").choose_all(job)
    everything = job.splits[0].train
    sizes = [100, 400, len(everything)]
    assert model.selected_on.startswith(f"100, 400 of {len(everything):,} training clips, then 3")
    assert [grid for grid, _ in train] == [12] + [1] * (len(train) - 1)
    assert sorted({len(rows) for _, rows in train}) == sizes
    first, second = (next(rows for _, rows in train if len(rows) == size) for size in sizes[:2])
    assert set(first) < set(second) < set(everything)
    assert model.fits > len(train)


def test_a_small_training_set_is_used_whole(make_job):
    job = make_job(protocol="split", clips=120)
    grid = (0.01, 0.1, 1.0)
    [model] = get_probe("linear:subsample=1000", grid=grid).choose_all(job)
    [whole] = linear.Linear(grid=grid).choose_all(job)
    assert model.params == whole.params and model.selected_on == whole.selected_on
    np.testing.assert_array_equal(model.probe.coef, whole.probe.coef)


def test_test_clips_select_nothing(make_job):
    job = make_job(protocol="split", clips=480, noise=3.0)
    blank = job.features.copy()
    blank[job.splits[0].test] = 1e3
    probe = get_probe("linear:subsample=150")
    [seen], [unseen] = probe.choose_all(job), probe.choose_all(replace(job, features=blank))
    assert seen.params == unseen.params
    np.testing.assert_array_equal(seen.curve, unseen.curve)
    np.testing.assert_array_equal(seen.probe.coef, unseen.probe.coef)


@pytest.mark.parametrize("target", ["single", "multi"])
@pytest.mark.parametrize("classes", [2, 4])
def test_a_start_near_the_minimum_saves_directions(make_job, target, classes, monkeypatch):
    """All forms of the problem: softmax, two classes, tags."""
    job = make_job(target=target, clips=300, dim=12, classes=classes, noise=3.0)
    rows, count = [np.arange(300)], len(job.clips.class_names)
    arguments = (job.features, job.targets, rows, target, count, [1.0])
    [[cold]] = linear.fit_paths(*arguments)
    directions = []
    real = logistic._Path._set_direction
    monkeypatch.setattr(
        logistic._Path, "_set_direction", lambda *a: directions.append(1) or real(*a)
    )
    [[warm]] = linear.fit_paths(*arguments, start=cold.on_raw_features())
    assert len(directions) <= 1  # one where the gap of the start was just above the tolerance
    assert warm.converged and warm.gap <= logistic.TOLERANCE
    np.testing.assert_allclose(warm.coef, cold.coef, atol=1e-3 * np.abs(cold.coef).max())
    directions.clear()
    linear.fit_paths(*arguments)
    assert len(directions) > 2


def test_a_start_outside_the_span_of_the_rows_is_projected():
    """Fewer rows than features: such weights could never be reached from it."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 90)).astype(np.float32), np.arange(60) % 3
    [[start]] = linear.fit_paths(x, y, [np.arange(30)], "single", 3, [0.1])
    weights, intercepts = start.on_raw_features()
    arguments = (x, y, [np.arange(60)], "single", 3, [1e3])
    [[warm]] = linear.fit_paths(*arguments, start=(weights + 0.1, intercepts))
    [[cold]] = linear.fit_paths(*arguments)
    np.testing.assert_allclose(warm.coef, cold.coef, atol=2e-3 * np.abs(cold.coef).max())
    assert max(warm.gap, cold.gap) <= logistic.TOLERANCE


def test_a_start_lacks_classes_that_its_clips_had_not(make_job):
    job = make_job(clips=300, dim=6, classes=4)
    some = np.flatnonzero(job.targets != 3)
    arguments = (job.features, job.targets)
    [[part]] = linear.fit_paths(*arguments, [some], "single", 4, [1.0])
    assert np.isneginf(part.intercept[3])
    everything = [np.arange(300)]
    [[warm]] = linear.fit_paths(
        *arguments, everything, "single", 4, [1.0], start=part.on_raw_features()
    )
    [[cold]] = linear.fit_paths(*arguments, everything, "single", 4, [1.0])
    assert warm.gap <= logistic.TOLERANCE
    np.testing.assert_allclose(warm.coef, cold.coef, atol=4e-3 * np.abs(cold.coef).max())


def test_a_start_has_classes_that_a_division_has_not(make_job):
    """A class that is rare: all training clips have it, those of some inner divisions do not."""
    job = make_job(clips=300, dim=6, classes=4)
    arguments = (job.features, job.targets)
    [[start]] = linear.fit_paths(*arguments, [np.arange(300)], "single", 4, [1.0])
    divisions = [np.flatnonzero(job.targets != 3), np.arange(0, 300, 7)]
    warm, cold = (
        linear.fit_paths(*arguments, divisions, "single", 4, [0.01], start=initial)
        for initial in (start.on_raw_features(), None)
    )
    for [with_start], [without] in zip(warm, cold, strict=True):
        assert with_start.gap <= logistic.TOLERANCE and with_start.converged
        np.testing.assert_allclose(
            with_start.coef, without.coef, atol=4e-3 * np.abs(without.coef).max()
        )


def test_facts_name_the_subsample():
    facts = get_probe("linear:subsample=5000").facts()
    assert facts["subsample"] == 5000 and facts["grid"] == list(linear.GRID)
    assert get_probe("linear:subsample=5000").name == "linear:subsample=5000"
    assert get_probe("linear:subsample=5000", grid=[1.0, 0.1]).grid == (0.1, 1.0)


@pytest.mark.parametrize(
    "text, message",
    [
        ("linear:subsample=x", "must be a number of clips >= 100, got 'x'"),
        ("linear:subsample=99", "must be a number of clips >= 100, got '99'"),
        ("linear:subsampel=500", "subsample"),
    ],
)
def test_a_bad_parameter_is_named(text, message):
    with pytest.raises(ProbekitError, match=message):
        get_probe(text)


def test_other_presets_are_refused(make_job):
    job = make_job(steps=("l2",))
    with pytest.raises(DataError, match="leave out --preset"):
        get_probe("linear:subsample=100").choose_all(job)
