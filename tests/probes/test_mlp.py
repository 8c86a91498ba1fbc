from dataclasses import replace

import numpy as np
import pytest

from probekit.probes import mlp, perceptron, registry
from probekit.probes.model_selection import score_probe

SETTINGS = {"hidden": [16], "rate": 3e-2, "decay": 1e-4}
RECIPE = mlp.MLPRecipe(epochs=40, patience=6, steps=0, wait=0)


def parts(job):
    [split] = job.splits
    return tuple((job.features[r], job.targets[r]) for r in (split.train, split.valid, split.test))


def fit(job, held=True, seed=0, epochs=0, recipe=RECIPE):
    [split] = job.splits
    train, valid, _ = parts(job)
    held_out = (valid[0], split.valid) if held else None
    return mlp._fit(recipe, replace(job, seed=seed), *train, SETTINGS, held_out, epochs)


@pytest.mark.parametrize("metric", ["accuracy", "log-loss"])
def test_early_stopping_goes_back_to_the_best_epoch(make_job, monkeypatch, metric):
    job = make_job(noise=2.0, metric=metric)
    seen = []

    def watch(*given):
        seen.append(score_probe(*given))
        return seen[-1]

    monkeypatch.setattr(mlp, "score_probe", watch)
    found = fit(job)
    best = max(seen) if metric == "accuracy" else min(seen)
    assert seen[-1] != best and seen[0] != best  # the example asks for it
    assert found.iterations == seen.index(best) + 1
    assert len(seen) == found.iterations + RECIPE.patience
    assert score_probe(job, found.probe, parts(job)[1][0], job.splits[0].valid) == best
    assert found.converged


def test_a_score_that_still_rises_at_the_limit_has_not_converged(make_job):
    job = make_job(noise=2.0, metric="log-loss")
    assert not fit(job, recipe=replace(RECIPE, epochs=2)).converged
    assert fit(job).converged


def test_held_out_clips_are_looked_at_every_so_often(make_job):
    found = fit(make_job(), recipe=replace(RECIPE, every=3))
    assert found.iterations % 3 == 0


def test_a_refit_has_the_epochs_that_it_is_told(make_job):
    job = make_job()
    assert fit(job, held=False, epochs=7).iterations == 7
    six, seven, again = (fit(job, held=False, epochs=n).probe.arrays() for n in (6, 7, 7))
    assert all(np.array_equal(seven[k], again[k]) for k in seven)
    assert not np.array_equal(six["layer-0/weight"], seven["layer-0/weight"])


def test_seeds(make_job):
    job = make_job()
    one, same, other = (fit(job, seed=s).probe.arrays() for s in (0, 0, 1))
    assert set(one) == {f"layer-{k}/{name}" for k in (0, 1) for name in ("weight", "bias")}
    assert all(np.array_equal(one[k], same[k]) for k in one)
    assert not np.array_equal(one["layer-0/weight"], other["layer-0/weight"])


def test_every_epoch_draws_other_batches(make_job, monkeypatch):
    orders, step = [], perceptron.Perceptron._step

    def watch(network, features, *others):
        orders.append(features.tobytes())
        return step(network, features, *others)

    monkeypatch.setattr(perceptron.Perceptron, "_step", watch)
    fit(make_job(), held=False, epochs=4)
    assert len(orders) == len(set(orders)) == 4


def test_classes_that_training_lacks_have_a_score(make_job):
    job = make_job()
    [split] = job.splits
    targets = job.targets.copy()
    targets[np.r_[split.train, split.valid][targets[np.r_[split.train, split.valid]] == 2]] = 0
    scores = fit(replace(job, targets=targets)).probe.scores(job.features)
    assert scores.shape == (90, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
    assert (scores.argmax(axis=1) < 2).all()


def test_tags_are_told_apart_one_by_one(make_job):
    job = make_job("multi", noise=0.3)
    found = fit(job)
    assert found.probe.probabilities
    scores = found.probe.scores(parts(job)[2][0])
    assert job.metric.score(parts(job)[2][1], scores) > 0.8
    assert ((scores > 0) & (scores < 1)).all()


def test_a_single_tag(make_job):
    job = make_job("multi", classes=1, noise=0.3)
    found = fit(job)
    scores = found.probe.scores(parts(job)[2][0])
    assert scores.shape == (len(scores), 1)
    assert job.metric.score(parts(job)[2][1], scores) > 0.8


def test_a_tag_that_training_lacks(make_job):
    job = make_job("multi")
    targets = job.targets.copy()
    targets[:, 1] = 0
    scores = fit(replace(job, targets=targets)).probe.scores(job.features)
    assert scores.shape == (90, 3) and np.isfinite(scores).all()
    assert scores[:, 1].mean() < 0.5


@pytest.mark.parametrize("numbers", [1, 2])
def test_numbers_come_back_in_their_own_scale(make_job, numbers):
    job = make_job("regression", classes=numbers, noise=0.1)
    found = fit(job)
    assert not found.probe.probabilities
    features, truth = parts(job)[2]
    scores = found.probe.scores(features)
    assert scores.shape == truth.shape
    assert job.metric.score(truth, scores) > 0.7  # 0 is the mean; the numbers lie around -10


def test_a_number_that_does_not_vary(make_job):
    job = make_job("regression", classes=1)
    job = replace(job, targets=np.full_like(job.targets, 4.0))
    np.testing.assert_allclose(
        fit(job, held=False, epochs=3).probe.scores(job.features), 4, atol=1e-9
    )


def test_the_grids(make_job, small_mlp):
    assert len(mlp.MLPRecipe().grid()) == 8
    assert mlp.MLPRecipe().grid()[0] == {"hidden": [128], "rate": 1e-3, "decay": 1e-4}
    hear = mlp.RECIPES["hear"]
    assert (len(hear.grid()), hear.epochs, hear.patience, hear.every) == (8, 500, 20, 3)
    [chosen] = registry.get_probe("mlp").choose_all(make_job(protocol="split", noise=0.5))
    assert chosen.params["decay"] == 1e-4  # ten is too much
    assert chosen.iterations >= 1


def test_few_clips_have_as_many_steps_as_training_takes():
    recipe = mlp.MLPRecipe()
    few, many = recipe.with_schedule(440), recipe.with_schedule(200_000)
    assert (few.epochs, few.every, few.patience) == (1334, 2, 67)  # three batches an epoch
    assert (many.epochs, many.every, many.patience) == (200, 1, 10)
    assert mlp.RECIPES["hear"].with_schedule(100) == mlp.RECIPES["hear"]
