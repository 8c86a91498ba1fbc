"""Labels exchanged between clips, and probes fitted to them."""

import numpy as np
import pytest

from probekit.analysis.class_weights import TrainingClips
from probekit.analysis.label_permutation import LabelExchange, PermutedProbe, is_relabeling
from probekit.probes.linear import fit_paths


def draw(exchange, seed=0):
    return exchange.draw(np.random.default_rng(seed))


def training_of(x, targets, c=0.1, groups=None):
    kind = "multi" if targets.ndim == 2 else "single"
    classes = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1
    x = (x - x.mean(axis=0)).astype(np.float32)
    [[probe]] = fit_paths(x, targets, [np.arange(len(x))], kind, classes, [c], standardize=False)
    has_weights = np.isfinite(probe.intercept)
    groups = np.full(len(x), "") if groups is None else groups
    return TrainingClips(x, targets, groups, probe.coef[has_weights], 1.0, has_weights, c)


# ---- exchanges


def test_clips_without_groups_exchange_labels_freely():
    exchange = LabelExchange(np.full(30, ""))
    assert (exchange.units, exchange.unit_name) == (30, "clips")
    rows = draw(exchange)
    assert sorted(rows) == list(range(30)) and (rows != np.arange(30)).any()


def test_groups_of_one_size_exchange_all_that_they_have():
    groups = np.array([f"g{k % 6}" for k in range(24)])
    exchange = LabelExchange(groups)
    assert (exchange.units, exchange.unit_name) == (6, "groups")
    moved = set()
    for seed in range(20):
        rows = draw(exchange, seed)
        assert sorted(rows) == list(range(24))
        for name in np.unique(groups):
            [source] = set(groups[rows[groups == name]])  # all from one group
            moved.add((name, source))
    assert len(moved) > 30  # of 36 pairs


def test_clips_within_a_group_exchange_labels():
    groups = np.repeat(["a", "b"], 20)
    rows = draw(LabelExchange(groups))
    assert not any(np.array_equal(np.sort(part), part) for part in (rows[:20], rows[20:]))


def test_groups_of_unequal_sizes_have_partners_of_similar_size_and_one_label_stays_one():
    rng = np.random.default_rng(0)
    sizes = rng.geometric(0.1, 300)
    group = np.repeat(np.arange(300), sizes)
    groups, label = group.astype(str), rng.integers(0, 5, 300)
    counts, chance = [], []
    for seed in range(20):
        rows = draw(LabelExchange(groups), seed)
        source = group[rows]
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        assert (source == source[first][group]).all()
        assert sorted(source[first]) == list(range(300))
        ratio = sizes[source[first]] / sizes
        big = sizes >= np.sort(sizes)[-10]  # the largest ten may have to look further
        assert ratio[~big].max() < 2.5 and ratio[~big].min() > 0.4
        counts.append(np.bincount(label[source], minlength=5))
        chance.append(np.bincount(label[rng.permutation(300)][group], minlength=5))
    spread = [np.std(values, axis=0).mean() for values in (counts, chance)]
    assert spread[0] < 0.7 * spread[1]  # clips of each class


def test_few_groups_exchange_whatever_their_sizes():
    groups = np.repeat(["a", "b", "c", "d"], [1, 5, 40, 300])
    sources = {groups[draw(LabelExchange(groups), seed)][-1] for seed in range(40)}
    assert sources == {"a", "b", "c", "d"}


def test_clips_without_a_group_are_groups_of_their_own():
    groups = np.array(["", "a", "a", "", "0", "0"])
    exchange = LabelExchange(groups)
    assert exchange.units == 4
    rows = draw(exchange)
    assert len(set(groups[rows[1:3]])) == len(set(groups[rows[4:]])) == 1


# ---- fits


@pytest.mark.parametrize("kind", ["binary", "softmax", "tags"])
def test_refits_are_fits_to_the_exchanged_labels(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 8)) @ rng.normal(size=(8, 8))
    if kind == "tags":
        targets = (rng.random((120, 4)) < [0.5, 0.2, 0.1, 0.0]).astype(np.int8)
    else:
        targets = rng.integers(0, 2 if kind == "binary" else 5, 120)
    training = training_of(x, targets)
    probe = PermutedProbe(training)
    ticks = []
    weights = list(probe.refits(7, 3, lambda *at: ticks.append(at)))
    assert ticks[-1] == (7, 7) and len(weights) == 7
    assert (probe.repeats, probe.failures) == (0, 0)
    rng = np.random.default_rng(3)
    for rows in weights:
        exact = training_of(x, targets[probe.exchange.draw(rng)]).coef
        assert np.linalg.norm(rows - exact) < 0.01 * np.linalg.norm(exact)


def test_what_does_not_converge_fast_is_fitted_by_the_solver_of_the_probe(monkeypatch):
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(60, 10)), np.minimum(rng.geometric(0.6, 60) - 1, 3)
    probe = PermutedProbe(training_of(x, targets))

    def give_up(labels, classes):
        return np.full((len(labels), classes, 10), np.nan), np.zeros(len(labels), bool)

    monkeypatch.setattr(probe._solver, "softmax", give_up)
    refits = list(probe.refits(2, 0))
    assert probe.failures == 0
    rng = np.random.default_rng(0)
    for weights in refits:
        exact = training_of(x, targets[probe.exchange.draw(rng)]).coef
        np.testing.assert_allclose(weights, exact, atol=1e-6)


def test_labels_that_come_back_are_counted():
    groups = np.repeat(["a", "b"], 10)
    x = np.random.default_rng(0).normal(size=(20, 3))
    probe = PermutedProbe(training_of(x, np.repeat([0, 1], 10), groups=groups))
    assert len(list(probe.refits(8, 0))) == 8
    assert probe.repeats == 8  # two groups can but exchange their names


def test_signs_turn_components_not_their_sizes():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6)) * np.arange(1, 7)
    training = training_of(x, rng.integers(0, 3, 80))
    _, _, components = np.linalg.svd(training.features, full_matrices=False)
    before = training.coef @ components.T
    for weights in PermutedProbe(training).flips(5, 0):
        after = weights @ components.T
        np.testing.assert_allclose(np.abs(after), np.abs(before), atol=1e-5)
        signs = np.sign(after / before)
        assert (signs == signs[0]).all()  # the same for all classes


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ([0, 0, 1, 2], [2, 2, 0, 1], True),
        ([0, 0, 1, 2], [0, 1, 1, 2], False),
        ([0, 1, 1, 2], [0, 1, 1, 1], False),
        ([[1, 0], [0, 1], [1, 1]], [[0, 1], [1, 0], [1, 1]], True),
        ([[1, 0], [0, 1], [1, 1]], [[0, 1], [1, 1], [1, 0]], False),
    ],
)
def test_relabelings(first, second, same):
    assert is_relabeling(np.array(first), np.array(second)) is same
