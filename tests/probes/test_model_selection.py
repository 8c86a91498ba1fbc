"""The choice of settings, with a probe whose scores are known beforehand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from probekit.errors import DataError
from probekit.parallel import resources
from probekit.probes import linear
from probekit.probes.model_selection import Curve, Fit, GridSearch, choose_all, is_at_edge
from probekit.solvers import row_span, solution_store
from probekit.tasks import splits

GRID = [{"level": 0.1}, {"level": 0.7}, {"level": 0.9}, {"level": 0.9000000000001}]


class Guess:
    """Right for a share of the clips."""

    probabilities = True

    def __init__(self, level, rows=()):
        self.level, self.rows = level, rows

    def scores(self, features):
        right = np.arange(len(features)) < self.level * len(features)
        truth = features[:, 0].round().astype(int)
        return np.eye(3)[np.where(right, truth, (truth + 1) % 3)]

    def predictions(self, features):
        return None

    def arrays(self):
        return {}


class Spy:
    """A fitter that remembers what it was given; the second feature names the clip."""

    def __init__(self, epochs=()):
        self.calls, self.epochs = [], epochs

    def __call__(self, context, features, targets, settings, held, epochs):
        rows = features[:, 1].astype(int)
        other = None if held is None else held[0][:, 1].astype(int)
        assert held is None or np.array_equal(held[1], other)
        self.calls.append((settings, set(rows), other, context.seed, epochs))
        number = self.epochs[(len(self.calls) - 1) % len(self.epochs)] if self.epochs else 0
        return Fit(Guess(settings["level"], rows), iterations=number)


@pytest.fixture
def job_of(make_job):
    def make(protocol="split", **others):
        job = make_job(protocol=protocol, steps=(), **others)
        features = np.stack([job.targets, np.arange(len(job.clips))], axis=1).astype(np.float32)
        return replace(job, features=features)

    return make


@pytest.mark.parametrize("protocol", ["split", "split without refit"])
def test_official_validation_clips_choose(job_of, protocol):
    job, spy = job_of(protocol), Spy()
    [split] = job.splits
    [chosen] = choose_all(job, GRID, GridSearch(spy))
    assert chosen.params == {"level": 0.9}  # the first of those that are equal but for rounding
    assert chosen.selected_on == f"{len(split.valid)} validation clips"
    for _, rows, held, *_ in spy.calls[:4]:
        assert rows == set(split.train) and set(held) == set(split.valid)
    final = set(split.train) | (set(split.valid) if job.protocol.refit else set())
    assert set(chosen.probe.probe.rows) == final
    assert len(spy.calls) == chosen.fits == (5 if job.protocol.refit else 4)
    if job.protocol.refit:
        assert spy.calls[-1][2] is None


@pytest.mark.parametrize("protocol", ["folds", "made folds of groups"])
def test_else_whole_folds_or_groups_of_the_training_clips(job_of, protocol):
    job, spy = job_of(protocol), Spy()
    unit = job.clips.column("fold" if protocol == "folds" else "group")
    for split, chosen in zip(job.splits, choose_all(job, GRID[:2], GridSearch(spy)), strict=True):
        pairs = splits.inner_cv(job.protocol, job.clips, split.train)
        own = spy.calls[: 2 * len(pairs) + 1]
        spy.calls = spy.calls[len(own) :]
        assert chosen.selected_on == f"{len(pairs)} divisions of the training clips"
        for _, rows, held, *_ in own[:-1]:
            assert not rows & set(held)
            assert rows | set(held) == set(split.train)
            assert not set(unit[list(rows)]) & set(unit[held])
        assert own[-1][1] == set(split.train)
        assert all(not rows & set(split.test) for _, rows, *_ in own)


def test_one_division_where_fits_are_dear(job_of):
    job, spy = job_of("folds"), Spy()
    first, *_ = choose_all(
        replace(job, splits=job.splits[:1]), GRID[:2], GridSearch(spy), max_inner_splits=1
    )
    assert len(spy.calls) == 3
    assert first.selected_on == "1 division of the training clips"


def test_the_final_fit_has_as_many_epochs_as_were_best_in_the_mean(job_of):
    job = job_of("made folds")
    spy = Spy(epochs=[10, 20, 33])
    choose_all(replace(job, splits=job.splits[:1]), GRID[:1], GridSearch(spy))
    assert [call[-1] for call in spy.calls] == [0, 0, 0, 21]


def test_divisions_without_the_metric_do_not_count(job_of):
    calls = []

    def score(targets, scores):
        calls.append(1)
        # of all three settings the second of three inner splits
        return float("nan") if len(calls) % 3 == 2 else (scores.argmax(1) == targets).mean()

    job = job_of("made folds")
    job = replace(job, metric=replace(job.metric, score=score), splits=job.splits[:1])
    [chosen] = choose_all(job, GRID[:3], GridSearch(Spy()))
    assert chosen.params == {"level": 0.9}
    assert np.isfinite(chosen.curve).all()
    job = replace(job, metric=replace(job.metric, score=lambda *_: float("nan")))
    with pytest.raises(
        DataError, match=r"mine, split '1', choosing settings on 3 div.*not defined"
    ):
        choose_all(job, GRID, GridSearch(Spy()))


def test_what_cannot_be_fitted_names_the_split(job_of):
    def refuse(*_):
        raise ValueError("too few clips")

    with pytest.raises(
        DataError, match=r"mine, split 'test', choosing settings on .* clips: too few clips"
    ):
        choose_all(job_of(), GRID, GridSearch(refuse))


def test_pieces_that_cannot_be_divided_are_told_before_any_fit(job_of):
    """The first split can be divided; of the last, all training clips are one piece."""
    job, spy = job_of("made folds"), Spy()
    *splits_before, last = job.splits
    pieces = job.clips.column("clip_id").astype("U20")
    pieces[last.train[:5]] = "a recording"
    bad = replace(last, name="bad", train=last.train[:5])
    job = replace(job, splits=[*splits_before, bad], pieces=pieces)
    message = r", split 'bad': the training clips are all of one piece \('a recording'\)"
    with pytest.raises(DataError, match=message):
        choose_all(job, GRID, GridSearch(spy))
    assert not spy.calls
    choose_all(replace(job, pieces=None), GRID, GridSearch(spy))


@pytest.mark.parametrize(
    ("values", "chosen", "expected"),
    [
        ([0.1, 1.0, 10.0], 10.0, True),
        ([0.1, 1.0, 10.0], 0.1, True),
        ([0.1, 1.0, 10.0], 1.0, False),
        ([0.1, 1.0], 1.0, False),  # two are no range
        (["rbf", "poly", "linear"], "rbf", False),
        ([None, 1.0, 2.0, 3.0], 3.0, True),
        ([50, 5, 1], 1, False),  # there is no number of neighbours below 1
        ([50, 5, 1], 50, True),
        ([50, 5, 2], 2, True),
    ],
)
def test_edges(values, chosen, expected):
    grid = [{"one": v, "two": "same"} for v in values]
    assert is_at_edge(grid, {"one": chosen, "two": "same"}) is expected


# ---- whether a point is behind the best


class Table:
    """A probe with given scores of all clips; the second feature names the clip."""

    probabilities = True

    def __init__(self, scores):
        self.table = scores

    def scores(self, features):
        return self.table[features[:, 1].astype(int)]

    def predictions(self, features):
        return None


def add_points(job, pairs, errors, seed=0):
    """A curve of points, each wrong on a share of the clips, drawn anew for each clip and point."""
    curve, rng = Curve(job, pairs), np.random.default_rng(seed)
    for share in errors:
        wrong = rng.random(len(job.targets)) < share
        truth = np.where(wrong, (job.targets + 1) % 3, job.targets)
        curve.add([Fit(Table(np.eye(3)[truth]))] * len(pairs))
    return curve


@pytest.fixture
def divided(job_of):
    job = job_of(clips=600)
    parts = np.array_split(np.random.default_rng(1).permutation(600), 5)
    return job, [(np.setdiff1d(np.arange(600), rows), rows) for rows in parts]


def test_behind_is_a_paired_t_test_over_divisions(divided):
    job, pairs = divided
    agreed = []
    for seed in range(25):
        curve = add_points(job, pairs, (0.2, 0.28), seed)
        first, second = np.array(curve.scores)[[curve.best, 1 - curve.best]]
        p = ttest_rel(first, second, alternative="greater").pvalue if curve.best == 0 else 1.0
        assert curve.is_behind() is bool(p < 0.05)
        agreed.append(curve.is_behind())
    assert 0 < sum(agreed) < 25


@pytest.mark.parametrize("count", [1, 5])
def test_behind_is_rare_where_there_is_no_difference(divided, count):
    """One division of 600 clips or five: at most 5 % of one side, 100 simulations."""
    job, pairs = divided
    if count == 1:
        pairs = [(np.arange(600), np.arange(600))]
    behind = [add_points(job, pairs, (0.25, 0.25), seed).is_behind() for seed in range(100)]
    assert sum(behind) <= 12  # binomial: P(more) is 1.5e-3 at 5 %


def test_behind_sees_a_real_difference_with_one_division(divided):
    job, _ = divided
    rows = np.arange(600)
    behind = [add_points(job, [(rows, rows)], (0.2, 0.4), seed).is_behind() for seed in range(25)]
    assert sum(behind) >= 24
    assert not add_points(job, [(rows, rows)], (0.4, 0.2)).is_behind()  # the last is the best


def test_pseudo_values_of_an_average_are_the_averages_of_the_parts(divided):
    """Accuracy is a mean of clips, of which the jackknife's pseudo-values are the parts' means."""
    job, _ = divided
    rows = np.arange(600)
    curve = add_points(job, [(rows, rows)], (0.3,))
    right = curve._outputs[0][0].argmax(axis=1) == job.targets
    np.testing.assert_allclose(
        curve._pseudo_values(curve._outputs[0]), right.reshape(10, 60).mean(axis=1), rtol=1e-9
    )


def test_behind_counts_groups_not_clips(job_of):
    """All clips of a group are right or wrong together: 20 outcomes, though there are 600 clips."""
    job, rows = job_of(clips=600), np.arange(600)
    group = np.arange(600) // 3 % 20  # of every class; as stored, not side by side
    table = job.clips.table.assign(group=[f"g{k}" for k in group])
    job = replace(job, clips=job.clips.with_table(table))
    rng, behind = np.random.default_rng(4), 0
    for _ in range(60):
        curve = Curve(job, [(rows, rows)])
        for _ in range(2):
            wrong = (rng.random(20) < 0.3)[group]
            predicted = np.where(wrong, (job.targets + 1) % 3, job.targets)
            curve.add([Fit(Table(np.eye(3)[predicted]))])
        behind += curve.is_behind()
    assert behind <= 9  # binomial: P(more) is 1e-3 at 5 %


def test_parts_are_of_whole_groups_and_pieces(job_of):
    """Units are found by following groups and pieces from clip to clip."""
    job = job_of(clips=600)
    pieces = np.array([f"p{k}" for k in range(600)])
    pieces[np.random.default_rng(2).permutation(600)[:60]] = np.repeat(
        [f"q{k}" for k in range(30)], 2
    )
    group, rows = job.clips.column("group"), np.arange(600)
    curve = Curve(replace(job, pieces=pieces), [(rows, rows)])
    [parts] = curve._parts
    for k in range(600):
        same = (group == group[k]) | (pieces == pieces[k])
        assert len(set(parts[same])) == 1
    assert len(set(parts)) >= 5
    wrong = np.random.default_rng(3).random(600) < 0.3
    curve.add([Fit(Table(np.eye(3)[np.where(wrong, (job.targets + 1) % 3, job.targets)]))])
    right = curve._outputs[0][0].argmax(axis=1) == job.targets
    means = [right[parts == part].mean() for part in np.unique(parts)]
    np.testing.assert_allclose(curve._pseudo_values(curve._outputs[0]), means, rtol=1e-9)


def test_a_best_point_of_before_is_not_tested_after_a_division_is_left_out(job_of):
    """As d′, which is infinite where all is right: the first point is best without division 2."""
    job = job_of(clips=600)

    def score(targets, scores):
        share = (scores.argmax(axis=1) == targets).mean()
        return float("nan") if share == 1 else float(share)

    halves = np.arange(300), np.arange(300, 600)
    job = replace(job, metric=replace(job.metric, score=score))
    curve = Curve(job, [(rows[::-1], rows) for rows in halves])
    for shares in ((0.9, 0.3), (0.6, 0.9), (0.5, 1.0)):
        right = np.concatenate([np.arange(300) < 300 * share for share in shares])
        predicted = np.where(right, job.targets, (job.targets + 1) % 3)
        curve.add([Fit(Table(np.eye(3)[predicted]))] * 2)
        behind = curve.is_behind()
    assert curve.means == pytest.approx([0.9, 0.6, 0.5], abs=1e-12)
    assert curve.best == 0 and not behind


def test_a_metric_defined_on_too_few_divisions_is_not_tested(divided):
    job, pairs = divided
    curve = add_points(job, pairs, (0.1, 0.9))
    curve.scores = [[0.9, np.nan, 0.9, 0.8, 0.9], [0.1, np.nan, 0.1, 0.2, 0.1]]
    assert not curve.is_behind()


@pytest.mark.parametrize("target", ["single", "multi"])
def test_divisions_that_folds_have_in_common_are_solved_once(make_job, monkeypatch, target):
    """Three folds, each of two held out inside each: three sets of clips for six divisions."""
    job = make_job(target=target, protocol="folds", clips=330, dim=340, noise=4.0)
    spans = []
    build = row_span.RowSpan.__init__
    monkeypatch.setattr(
        row_span.RowSpan,
        "__init__",
        lambda span, rows: spans.append(rows.count) or build(span, rows),
    )
    with resources.single_threaded():
        together = linear.Linear().choose_all(job)
        assert 6 <= len(spans) < 9  # three divisions (again where a path is longer), three refits
        alone = []
        for split in job.splits:  # nothing to share
            alone += linear.Linear().choose_all(replace(job, splits=[split]))
    for shared, single in zip(together, alone, strict=True):
        assert shared.params == single.params and shared.curve == single.curve
        np.testing.assert_array_equal(shared.probe.coef, single.probe.coef)
        assert shared.unconverged == 0


def test_a_full_disk_costs_time_but_no_fit(make_job, monkeypatch):
    job = make_job(protocol="folds", clips=90, dim=100, noise=4.0)

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    expected = linear.Linear(grid=(0.1, 1.0)).choose_all(job)
    monkeypatch.setattr(solution_store, "atomic_write", fail)
    for model, other in zip(linear.Linear(grid=(0.1, 1.0)).choose_all(job), expected, strict=True):
        np.testing.assert_array_equal(model.probe.coef, other.probe.coef)
