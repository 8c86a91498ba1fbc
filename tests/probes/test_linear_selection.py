"""The choice of C: it reads no test clip, sees no test label, and says what it saw."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from probekit.cards import Protocol
from probekit.data import manifest as manifests
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.probes import linear, model_selection
from probekit.probes.base import FitContext
from probekit.solvers import eigenbasis
from probekit.tasks import splits

GRID = (1e-3, 1e-1, 10.0, 1000.0)
SHORT = (1e-2, 1.0)  # where it does not matter which C is chosen
ACCURACY = metrics.get_metric("accuracy")
PROTOCOLS = {
    "split with validation clips": Protocol(kind="split"),
    "split without refit": Protocol(kind="split", refit=False),
    "split without validation clips": Protocol(kind="split", inner_folds=3),
    "official folds": Protocol(kind="folds", inner_folds=3),
    "made folds": Protocol(kind="made-folds", folds=4, inner_folds=3),
    "made folds of groups": Protocol(kind="made-folds", folds=4, grouped=True, inner_folds=3),
}


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def draw(clips=120, dim=6, classes=3, noise=2.0, valid=True):
    """Clips of noisy classes with a split, folds and groups; and their features."""
    rng = np.random.default_rng(0)
    targets = np.arange(clips) % classes
    features = rng.normal(size=(classes, dim))[targets] + noise * rng.normal(size=(clips, dim))
    parts = ["train", "train", "valid" if valid else "train", "test"]
    rows = [
        {
            "clip_id": f"c{k}",
            "path": "",
            "labels": (f"class {targets[k]}",),
            "split": parts[k // classes % 4],
            "fold": str(k // classes % 4),
            "group": f"g{k // 5}",
        }
        for k in range(clips)
    ]
    return manifests.from_rows("mine", rows), features.astype(np.float32)


def choose_all(
    features, targets, clips, divisions, protocol, metric, *, grid, standardize=True, **others
):
    context = FitContext(features, targets, clips, divisions, protocol, metric, **others)
    search = linear.PathSearch(standardize=standardize)
    return model_selection.choose_all(context, [{"C": c} for c in grid], search)


def choose(features, targets, clips, split, protocol, metric, grid):
    return choose_all(features, targets, clips, [split], protocol, metric, grid=grid)[0]


def fit_path(features, targets, target, classes, grid):
    """Fit all rows."""
    return linear.fit_paths(features, targets, [np.arange(len(features))], target, classes, grid)[0]


def same(one, other):
    return (
        np.array_equal(one.probe.coef, other.probe.coef)
        and np.array_equal(one.probe.intercept, other.probe.intercept)
        and np.array_equal(one.probe.scaler.mean, other.probe.scaler.mean)
        and np.array_equal(one.probe.scaler.scale, other.probe.scaler.scale)
        and one.curve == other.curve
        and one.probe.c == other.probe.c
    )


# ---- no leak


@pytest.fixture(params=PROTOCOLS, name="case")
def case_(request):
    protocol = PROTOCOLS[request.param]
    clips, features = draw(72, valid="without validation" not in request.param)
    return protocol, clips, features


def test_test_clips_are_never_read(case):
    """With NaN for features and nonsense for labels, every bit of the outcome is the same."""
    protocol, clips, features = case
    targets = clips.targets()
    for split in splits.make_splits(protocol, clips)[:2]:
        plain = choose(features, targets, clips, split, protocol, ACCURACY, SHORT)
        blanked, unlabelled = features.copy(), targets.copy()
        blanked[split.test], unlabelled[split.test] = np.nan, -(10**6)
        blind = choose(blanked, unlabelled, clips, split, protocol, ACCURACY, SHORT)
        assert same(plain, blind)
    changed = features.copy()
    changed[split.train[0]] += 1  # and the comparison can tell: a training clip matters
    assert not same(plain, choose(changed, targets, clips, split, protocol, ACCURACY, SHORT))


def test_feature_that_tells_only_the_test_labels_changes_nothing(case):
    """A feature that is zero in training, and the answer in the test, gets no weight at all."""
    protocol, clips, features = case
    targets = clips.targets()
    for split in splits.make_splits(protocol, clips)[:2]:
        answers = np.zeros((len(clips), 3), np.float32)
        answers[split.test] = 100 * np.eye(3)[targets[split.test]]
        leaky, blank = np.hstack([features, answers]), np.hstack([features, 0 * answers])
        found = choose(leaky, targets, clips, split, protocol, ACCURACY, SHORT)
        assert same(found, choose(blank, targets, clips, split, protocol, ACCURACY, SHORT))
        assert np.abs(found.probe.coef[:, 6:]).max() < 1e-9
        test = split.test
        scores, honest = (found.probe.scores(x[test]).argmax(axis=1) for x in (leaky, blank))
        assert np.array_equal(scores, honest)


def test_held_out_clips_have_no_part_in_the_fits_that_are_scored_on_them(monkeypatch):
    clips, features = draw(valid=False)
    protocol = PROTOCOLS["official folds"]
    split = splits.make_splits(protocol, clips)[0]
    seen = []
    fit_paths = linear.fit_paths

    def spy(features, targets, divisions, *others, **more):
        seen.extend(set(rows) for rows in divisions)
        return fit_paths(features, targets, divisions, *others, **more)

    monkeypatch.setattr(linear, "fit_paths", spy)
    choose(features, clips.targets(), clips, split, protocol, ACCURACY, GRID)
    *inner, final = seen
    assert final == set(split.train)
    fold = clips.column("fold")
    held = [{str(fold[k]) for k in set(split.train) - rows} for rows in inner]
    assert sorted(map(sorted, held)) == [["1"], ["2"], ["3"]]


@pytest.mark.parametrize("name", ["official folds", "made folds of groups"])
def test_all_splits_at_once_keep_each_others_test_clips_apart(name):
    """What a split tests, another trains on: even so it has no part in the first one's probe."""
    protocol = PROTOCOLS[name]
    clips, features = draw(72)
    targets = clips.targets()
    divisions = splits.make_splits(protocol, clips)
    leaky = np.hstack([features, np.zeros((len(clips), 3), np.float32)])
    wide = choose_all(leaky, targets, clips, divisions, protocol, ACCURACY, grid=SHORT)
    plain = choose_all(features, targets, clips, divisions, protocol, ACCURACY, grid=SHORT)
    for k, split in enumerate(divisions[:2]):
        leaky[:, 6:] = 0
        leaky[split.test, 6:] = 100 * np.eye(3)[targets[split.test]]
        found = choose_all(leaky, targets, clips, divisions, protocol, ACCURACY, grid=SHORT)
        assert same(found[k], wide[k])
        assert found[k].params == plain[k].params
        others = [j for j in range(len(divisions)) if j != k]
        assert all(np.abs(found[j].probe.coef[:, 6:]).max() > 1e-3 for j in others)


def test_held_out_clips_move_the_fits_by_rounding_at_most():
    """Inner divisions share a matrix; what is held out of one must not show in its weights."""
    clips, features = draw(valid=False)
    targets = clips.targets()
    held = np.arange(len(clips)) // 3 % 3 == 0
    rows = [np.flatnonzero(~held), np.arange(len(clips))]
    moved = features.copy()
    moved[held] += 5 * np.random.default_rng(1).normal(size=moved[held].shape)
    paths = [linear.fit_paths(x, targets, rows, "single", 3, GRID)[0] for x in (features, moved)]
    for one, other in zip(*paths, strict=True):
        # both are within the certified gap of the same minimum
        assert np.linalg.norm(one.coef - other.coef) < 4e-3 * np.linalg.norm(one.coef)
        np.testing.assert_allclose(one.scaler.mean, other.scaler.mean, atol=1e-6)


# ---- the choice


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_all_splits_at_once_are_as_each_alone(jobs):
    clips, features = draw(valid=False)
    protocol, targets = PROTOCOLS["official folds"], clips.targets()
    divisions = splits.make_splits(protocol, clips)
    seen = []
    found = choose_all(
        features,
        targets,
        clips,
        divisions,
        protocol,
        ACCURACY,
        grid=GRID,
        jobs=jobs,
        progress=lambda *at: seen.append(at),
    )
    assert seen == [(k + 1, len(divisions)) for k in range(len(divisions))]
    for split, one in zip(divisions, found, strict=True):
        assert same(one, choose(features, targets, clips, split, protocol, ACCURACY, GRID))


def test_where_lower_is_better_the_lowest_wins():
    clips, features = draw(valid=False)
    protocol, targets = PROTOCOLS["official folds"], clips.targets()
    split = splits.make_splits(protocol, clips)[0]
    metric = metrics.get_metric("log-loss")
    found = choose(features, targets, clips, split, protocol, metric, GRID)
    assert found.selected_score == min(found.curve) < max(found.curve)
    path = fit_path(features[split.train], targets[split.train], "single", 3, GRID)
    own = path[GRID.index(found.params["C"])]
    # the refit starts from the divisions' fits, not along the path: equal as far as certified
    np.testing.assert_allclose(found.probe.coef, own.coef, atol=1e-3 * np.abs(own.coef).max())


def test_without_standardization_weights_are_of_the_features_themselves():
    clips, features = draw(valid=False)
    features = 3 + features * np.logspace(-1, 1, 6, dtype=np.float32)
    protocol, targets = PROTOCOLS["official folds"], clips.targets()
    split = splits.make_splits(protocol, clips)[0]
    [found] = choose_all(
        features, targets, clips, [split], protocol, ACCURACY, grid=GRID, standardize=False
    )
    assert not found.probe.scaler.mean.any() and (found.probe.scaler.scale == 1).all()
    rows = split.train
    model = LogisticRegression(C=found.params["C"], tol=1e-10, max_iter=100_000)
    model.fit(features[rows].astype(float), targets[rows])
    expected = model.decision_function(features.astype(float))
    expected -= expected.mean(axis=1, keepdims=True)
    scores = found.probe.scores(features)
    # certified to 1e-6 of the objective: see test_linear for what that leaves of the weights
    np.testing.assert_allclose(scores - scores.mean(axis=1, keepdims=True), expected, atol=2e-2)


def test_best_mean_over_the_divisions_wins():
    clips, features = draw(valid=False)
    protocol, targets = PROTOCOLS["official folds"], clips.targets()
    split = splits.make_splits(protocol, clips)[1]
    found = choose(features, targets, clips, split, protocol, ACCURACY, GRID)
    curves = []
    for fit, held in splits.inner_cv(protocol, clips, split.train):
        path = fit_path(features[fit], targets[fit], "single", 3, GRID)
        curves.append([(p.scores(features[held]).argmax(1) == targets[held]).mean() for p in path])
    assert np.array_equal(found.curve, np.mean(curves, axis=0))
    assert found.probe.c == GRID[int(np.argmax(found.curve))]
    assert found.selected_on == "3 divisions of the training clips"
    assert found.fits == 3 * len(GRID) + 1
    assert found.unconverged == 0


def test_validation_clips_choose_where_there_are_some():
    clips, features = draw()
    protocol, targets = PROTOCOLS["split with validation clips"], clips.targets()
    (split,) = splits.make_splits(protocol, clips)
    found = choose(features, targets, clips, split, protocol, ACCURACY, GRID)
    path = fit_path(features[split.train], targets[split.train], "single", 3, GRID)
    held = split.valid
    assert found.curve == [
        (probe.scores(features[held]).argmax(1) == targets[held]).mean() for probe in path
    ]
    assert found.selected_on == "30 validation clips"


@pytest.mark.parametrize("refit", [True, False])
def test_probe_is_refitted_on_training_and_validation_clips_if_the_card_says_so(refit):
    clips, features = draw()
    targets, protocol = clips.targets(), Protocol(kind="split", refit=refit)
    (split,) = splits.make_splits(protocol, clips)
    found = choose(features, targets, clips, split, protocol, ACCURACY, GRID)
    rows = np.flatnonzero(np.isin(clips.column("split"), ["train", "valid"] if refit else "train"))
    (alone,) = fit_path(features[rows], targets[rows], "single", 3, (found.probe.c,))
    np.testing.assert_allclose(found.probe.scaler.mean, alone.scaler.mean, rtol=1e-12)
    np.testing.assert_allclose(found.probe.coef, alone.coef, atol=5e-3 * np.abs(alone.coef).max())


def test_of_equal_values_the_strongest_regularization_wins():
    clips, features = draw(noise=0.01)  # every C recognizes every clip
    protocol = PROTOCOLS["made folds"]
    split = splits.make_splits(protocol, clips)[0]
    found = choose(features, clips.targets(), clips, split, protocol, ACCURACY, GRID)
    assert found.curve == [1.0] * len(GRID)
    assert found.probe.c == GRID[0]


def test_means_that_differ_by_rounding_only_are_equal():
    clips, features = draw(valid=False)
    protocol = PROTOCOLS["official folds"]
    split = splits.make_splits(protocol, clips)[0]
    assert np.mean([0.1, 0.2, 0.3]) > np.mean([0.3, 0.2, 0.1])
    values = iter([0.3, 0.1, 0.2, 0.2, 0.1, 0.3])  # of both C on each of three divisions
    metric = replace(ACCURACY, score=lambda targets, scores: next(values))
    found = choose(features, clips.targets(), clips, split, protocol, metric, (0.1, 10.0))
    assert found.probe.c == 0.1


@pytest.mark.parametrize(
    ("grid", "edge"),
    [((1e-2, 1.0, 1e3), True), ((1e-9, 1e-8, 1e-3), True), ((1e-9, 1e-3, 1e3), False)],
    ids=["first", "last", "between"],
)
def test_choice_at_the_edge_of_the_grid_is_flagged(grid, edge):
    clips, features = draw(240, dim=60, noise=5.0)
    protocol = PROTOCOLS["made folds"]
    split = splits.make_splits(protocol, clips)[0]
    found = choose(features, clips.targets(), clips, split, protocol, ACCURACY, grid)
    assert found.at_edge is edge
    assert (found.probe.c in (grid[0], grid[-1])) is edge


# ---- what cannot be done


def test_one_class_in_training_names_the_split():
    clips, features = draw()
    targets = np.where(clips.column("split") == "test", clips.targets(), 1)
    protocol = PROTOCOLS["split with validation clips"]
    (split,) = splits.make_splits(protocol, clips)
    with pytest.raises(DataError, match=r"mine, split 'test'.*all training clips have the same"):
        choose(features, targets, clips, split, protocol, ACCURACY, GRID)


def test_division_without_two_classes_says_that_it_is_about_choosing_c():
    clips, features = draw(valid=False)
    # class 2 in fold 3 only: with that one held out, nothing is left to tell apart
    targets = np.where(clips.column("fold") == "3", 2, 1)
    protocol = PROTOCOLS["official folds"]
    split = splits.make_splits(protocol, clips)[0]
    with pytest.raises(DataError, match=r"split '0', choosing C on 3 divisions .* same label"):
        choose(features, targets, clips, split, protocol, ACCURACY, GRID)


def tags(valid_positive):
    rng = np.random.default_rng(0)
    rows = []
    for k in range(60):
        split = ["train", "valid", "test"][k % 3]
        positive = k % 2 if split != "valid" else valid_positive and k < 30
        rows.append(
            {"clip_id": f"c{k}", "path": "", "split": split, "labels": ("tag",) if positive else ()}
        )
    clips = manifests.from_rows("tags", rows, target="multi")
    return clips, rng.normal(size=(60, 3)).astype(np.float32)


@pytest.mark.parametrize("name", ["pr-auc", "roc-auc"])
def test_metric_that_is_not_defined_on_held_out_clips_is_an_error(name):
    clips, features = tags(valid_positive=False)
    protocol = Protocol(kind="split")
    (split,) = splits.make_splits(protocol, clips)
    with pytest.raises(
        DataError,
        match=r"tags, split 'test', choosing C on 20 validation clips: "
        r".*not defined on the clips held out",
    ):
        choose(features, clips.targets(), clips, split, protocol, metrics.get_metric(name), GRID)


def test_divisions_in_which_the_metric_is_not_defined_are_left_out():
    clips, features = tags(valid_positive=True)
    table = clips.table.assign(fold=[str(k // 15) for k in range(60)])
    table["labels"] = [("tag",) if k % 2 and k < 45 else () for k in range(60)]
    clips = manifests.from_rows("tags", table.to_dict("records"), target="multi")
    protocol = Protocol(kind="folds")
    split = splits.make_splits(protocol, clips)[0]
    metric = metrics.get_metric("roc-auc")
    found = choose(features, clips.targets(), clips, split, protocol, metric, GRID)
    curves = []
    for fit, held in splits.inner_cv(protocol, clips, split.train):
        if clips.targets()[held].any():
            path = fit_path(features[fit], clips.targets()[fit], "multi", 1, GRID)
            curves.append(
                [metric.score(clips.targets()[held], p.scores(features[held])) for p in path]
            )
    assert len(curves) == 2
    assert np.array_equal(found.curve, np.mean(curves, axis=0))


# ---- the basis that the fits to the divisions leave to the refit


def test_the_refit_computes_no_basis_anew(monkeypatch):
    """One for each split, and the refit's weights are the minimum all the same."""
    clips, features = draw(240)
    protocol = PROTOCOLS["official folds"]
    divisions, targets = splits.make_splits(protocol, clips), clips.targets()
    computed = []
    rotate = eigenbasis.EigenBasis._rotate_rows
    monkeypatch.setattr(
        eigenbasis.EigenBasis,
        "_rotate_rows",
        lambda basis, *arguments: (computed.append(basis), rotate(basis, *arguments)),
    )
    models = choose_all(features, targets, clips, divisions, protocol, ACCURACY, grid=GRID)
    assert len(computed) == len(divisions)
    for model, split in zip(models, divisions, strict=True):
        grid = [model.probe.c]
        [alone] = fit_path(features[split.train], targets[split.train], "single", 3, grid)
        assert model.gap <= linear.CERTIFIED
        # a gap of 1e-6 of the objective allows about its root of the weights
        np.testing.assert_allclose(
            model.probe.coef, alone.coef, atol=3e-3 * np.abs(alone.coef).max()
        )


def test_a_basis_is_for_the_same_rows_of_the_same_features_only():
    features, rows = np.zeros((4, 2)), np.array([0, 2])
    for other, others, taken in (
        (features, rows, True),
        (features.copy(), rows, False),
        (features, np.array([0, 1]), False),
        (features, np.array([0, 2, 3]), False),
    ):
        memo = linear.BasisMemo(features, rows, "basis")
        assert memo.take(other, others) == ("basis" if taken else None)
        assert memo.take(features, rows) is None  # it is given away once
    sent = copy.copy(linear.BasisMemo(features, rows, "basis"))  # as a pickle of it
    assert sent.features is None and sent.basis is None
