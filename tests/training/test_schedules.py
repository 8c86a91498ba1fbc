"""The recipes, beside what is known of the published one."""

from dataclasses import replace

import pytest

from probekit.errors import ProbekitError
from probekit.training import schedules


def test_won_is_the_published_recipe():
    recipe = schedules.get_recipe("won", "pr-auc")
    found = [
        (p.optimizer, p.lr, p.new_optimizer, sum(q.epochs for q in recipe.phases[: k + 1]))
        for k, p in enumerate(recipe.phases)
    ]
    # minzwon/sota-music-tagging-models, solver.py: Adam to epoch 80, SGD to 100, 120, 200; the
    # later rates are set in the same optimizer
    assert found == [
        ("adam", 1e-4, True, 80),
        ("sgd", 1e-3, True, 100),
        ("sgd", 1e-4, False, 120),
        ("sgd", 1e-5, False, 200),
    ]
    assert (recipe.batch_size, recipe.weight_decay, recipe.momentum) == (16, 1e-4, 0.9)
    assert (recipe.select, recipe.max_valid_loss, recipe.burn_in) == ("loss", 1.0, 0)
    assert recipe.chunk_policy == "won" and recipe.patience is None


@pytest.mark.parametrize("metric", ["pr-auc", "f1-samples@0.1"])
def test_hung2022_is_won_but_selects_by_the_metric(metric):
    """Section III-C: "The best model is selected based on the validation metric for each task"."""
    recipe, won = (schedules.get_recipe(name, metric) for name in ("hung2022", "won"))
    assert (recipe.select, recipe.max_valid_loss) == ("metric", None)
    assert recipe.burn_in == won.burn_in == (10 if metric != "pr-auc" else 0)
    same = replace(recipe, name="won", select=won.select, max_valid_loss=won.max_valid_loss)
    assert same == won
    assert won.select == ("loss" if metric == "pr-auc" else "metric")


def test_won_chooses_by_f1_after_ten_epochs_on_dcase2017():
    recipe = schedules.get_recipe("won", "f1-samples@0.1")
    assert (recipe.select, recipe.burn_in, recipe.max_valid_loss) == ("metric", 10, None)


def test_default_stops_early_by_the_metric_and_covers_clips():
    recipe = schedules.get_recipe("default", "accuracy")
    assert recipe.select == "metric" and recipe.chunk_policy == "cover"
    assert recipe.patience is not None and recipe.patience < recipe.epochs


def test_phases_begin_once_each():
    recipe = schedules.get_recipe("won", "pr-auc")
    assert [e for e in range(recipe.epochs) if recipe.is_phase_start(e)] == [80, 100, 120]
    assert [recipe.phase_at(e) for e in (0, 79, 80, 99, 100, 119, 120, 199)] == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
        3,
    ]


@pytest.mark.parametrize("epochs", [4, 5, 7, 10, 20, 33, 100, 200, 400])
def test_another_number_of_epochs_keeps_the_shares(epochs):
    recipe = schedules.get_recipe("won", "f1-samples@0.1", epochs=epochs)
    counts = [p.epochs for p in recipe.phases]
    assert sum(counts) == recipe.epochs == epochs and min(counts) >= 1
    if epochs >= 10:
        shares = (0.4, 0.1, 0.1, 0.4)
        assert all(abs(n - epochs * s) <= 3 for n, s in zip(counts, shares, strict=True))
    assert recipe.burn_in == epochs * 10 // 200 < epochs


def test_other_numbers_take_the_place_of_the_recipes():
    recipe = schedules.get_recipe("won", "pr-auc", batch=4, lr=2e-4)
    assert recipe.batch_size == 4
    assert [p.lr for p in recipe.phases] == pytest.approx([2e-4, 2e-3, 2e-4, 2e-5], rel=1e-12)
    assert replace(recipe, batch_size=16).facts() != recipe.facts()


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("wonn", {}, "Did you mean 'won'"),
        ("won", {"epochs": 3}, "--epochs must be >= 4 for recipe 'won', one per phase, got 3"),
        ("default", {"batch": 1}, "--batch must be >= 2, got 1"),
        ("default", {"lr": 0.0}, "--lr must be > 0, got 0"),
        ("default", {"lr": float("nan")}, "--lr must be > 0, got nan"),
    ],
)
def test_what_makes_no_sense_is_said(name, given, words):
    with pytest.raises(ProbekitError, match=words):
        schedules.get_recipe(name, "accuracy", **given)


def test_a_warm_up_is_part_of_the_epochs():
    def epochs(**numbers):
        return [p.epochs for p in schedules.get_recipe("lee2021", "accuracy", **numbers).phases]

    assert epochs() == [20, 100]
    assert epochs(warm_up=10) == [10, 100]  # UrbanSound8K in the paper
    assert epochs(epochs=20, warm_up=12) == [12, 8]
    with pytest.raises(ProbekitError, match=r"--epochs must be >= 13 .*12 of them without unlab"):
        epochs(epochs=12, warm_up=12)
