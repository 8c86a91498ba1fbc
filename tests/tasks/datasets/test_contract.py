"""Every task: rehearse it, check it, extract, evaluate. What a task's card promises holds."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from probekit import cards
from probekit.extraction import extract
from probekit.metrics import metrics
from probekit.probes import evaluate
from probekit.tasks import splits, validation
from probekit.tasks.standin.writer import MARKER
from probekit.tasks.task import load_task

TASKS = list(cards.card_paths("tasks"))
LINEAR = ("esc50", "audioset", "emomusic")  # one of each target; probes have tests of their own


@pytest.fixture(scope="module")
def standins(tmp_path_factory):
    """Each task's stand-in data, made when it is first asked for."""
    made = {}

    def one(name):
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            task = load_task(name)
            task.write_standin(root, clips=48, seed=1)
            made[name] = SimpleNamespace(task=task, root=root, clips=task.manifest(root))
        return made[name]

    return one


def one_of_each_module():
    """Return all tasks; a module's further ones are slow: ESC-10 and ESC-40 are ESC-50's clips."""
    first = {cards.load_task_card(name).module: name for name in reversed(TASKS)}
    kept = {*first.values(), *(name for name in TASKS if name in first)}
    slow = [pytest.mark.slow]
    return [name if name in kept else pytest.param(name, marks=slow) for name in TASKS]


@pytest.mark.parametrize("name", one_of_each_module())
def test_stand_in_passes_the_check(standins, name):
    own = standins(name)
    assert (own.root / MARKER).exists()
    found = validation.check_folder(own.task, own.root)
    assert found.faults == []
    assert found.stand_in or own.task.card.stand_in
    # 48 asked for; a task whose list is in its card, or with many folds, has more
    assert 30 <= found.counts["clips"]["found"] <= 1000
    assert own.clips.expected is None


@pytest.mark.parametrize("name", one_of_each_module())
def test_splits_make_sense(standins, name):
    own = standins(name)
    card = own.task.card
    divisions = splits.make_splits(card.protocol, own.clips)
    targets = own.clips.targets()
    tested = np.concatenate([split.test for split in divisions])
    assert len(set(tested)) == len(tested)
    if "folds" in card.protocol.kind:
        assert len(tested) == len(own.clips)
    for split in divisions:
        sides = [set(split.train), set(split.valid), set(split.test)]
        assert sides[0] and sides[2]
        assert len(set.union(*sides)) == sum(map(len, sides))
        if own.clips.target == "single":
            assert len(set(targets[split.train])) >= 2
            assert set(targets[split.test]) <= set(targets[split.train])
    named = set(card.counts) - {"clips"}
    assert named <= set(splits.split_assignments(card.protocol, own.clips))


@pytest.mark.parametrize("name", TASKS)
def test_card_names_metrics_that_fit_it(name):
    card = cards.load_task_card(name)
    for metric in (card.metric, *card.also):
        assert card.target in metrics.get_metric(metric).targets
    if set(card.counts) > {"clips"}:
        assert sum(n for side, n in card.counts.items() if side != "clips") == card.counts["clips"]


@pytest.mark.parametrize("name", one_of_each_module())
def test_extraction_and_evaluation_beat_chance(standins, tmp_path, small_grid, name):
    own = standins(name)
    # GTZAN's list is in its cards, so all of it is there; a fifth of it will do
    few = 200 if len(own.clips) > 500 else None
    [summary] = extract.extract(
        "melstats", task=name, root=own.root, cache=tmp_path / "cache", limit=few
    )
    assert summary.failed == {}
    assert summary.done == (few or len(own.clips))
    [result] = evaluate.evaluate(
        name,
        "melstats",
        cache=tmp_path / "cache",
        reports=tmp_path / "reports",
        probe="linear" if name in LINEAR else "knn",
    )
    said = own.task.card.stand_in or "stand-in data"
    assert said in result["provenance"]
    notes = [note for note in result["provenance"] if re.search(r"[\d,]+ of [\d,]+ clips", note)]
    assert notes == ([f"200 of {len(own.clips):,} clips"] if few else [])
    metric = metrics.get_metric(own.task.card.metric)
    blind = np.mean([ignorant(metric, own, split) for split in divided(own)])
    gain = result["score"] - blind
    assert (gain if metric.higher_is_better else -gain) > 0.05, (result["score"], blind)


def divided(own):
    return splits.make_splits(own.task.card.protocol, own.clips)


def ignorant(metric, own, split):
    """The score of one who knows how frequent classes are in training, and nothing else."""
    targets = own.clips.targets()
    train = targets[split.train]
    if own.clips.target == "single":
        train = train[:, None] == np.arange(len(own.clips.class_names))
    even = np.tile(train.mean(axis=0), (len(split.test), 1))
    return metric.score(targets[split.test], even)
