"""What tests of probes share: clips with features, and jobs."""

from dataclasses import replace

import numpy as np
import pytest

from probekit.cards import Protocol
from probekit.data import manifest as manifests
from probekit.metrics import metrics
from probekit.probes.base import FitContext
from probekit.tasks import splits

PROTOCOLS = {
    "split": Protocol(kind="split", inner_folds=3),
    "split without refit": Protocol(kind="split", refit=False, inner_folds=3),
    "folds": Protocol(kind="folds", inner_folds=3),
    "made folds": Protocol(kind="made-folds", folds=3, inner_folds=3),
    "made folds of groups": Protocol(kind="made-folds", folds=3, grouped=True, inner_folds=3),
}
METRIC = {"single": "accuracy", "multi": "pr-auc", "regression": "r2"}


def make_job(
    target="single", protocol="split", clips=90, dim=4, classes=3, noise=1.0, metric="", **others
):
    """Clips of noisy classes, tags or numbers that linear functions of the features decide."""
    rng = np.random.default_rng(5)
    kind = np.arange(clips) % classes
    features = rng.normal(size=(clips, dim))
    if target == "single":
        features = 2 * rng.normal(size=(classes, dim))[kind] + noise * features
        labels = [(f"class {k}",) for k in kind]
    else:
        own = features @ rng.normal(size=(dim, classes)) + noise * rng.normal(size=(clips, classes))
        tagged = [tuple(f"tag {k}" for k in range(classes) if row[k] > 0) for row in own]
        labels = tagged if target == "multi" else [tuple(3 * row - 10) for row in own]
    parts = ["train", "train", "valid", "test"]
    rows = [
        {
            "clip_id": f"c{k:03d}",
            "path": f"{k}.wav",
            "labels": labels[k],
            "split": parts[k // classes % 4],
            "fold": str(k // classes % 3 + 1),
            "group": f"g{k // classes // 2}",
        }
        for k in range(clips)
    ]
    names = [f"number {k}" for k in range(classes)] if target == "regression" else None
    table = manifests.from_rows("mine", rows, target=target, class_names=names)
    rule = PROTOCOLS[protocol]
    return FitContext(
        features=features.astype(np.float32),
        targets=table.targets(),
        clips=table,
        splits=splits.make_splits(rule, table),
        protocol=rule,
        metric=metrics.get_metric(metric or METRIC[target]),
        **others,
    )


@pytest.fixture(name="make_job")
def make_job_():
    return make_job


@pytest.fixture
def small_mlp(monkeypatch):
    """The MLP probe with a grid that is quick to search."""
    from probekit.probes import mlp

    small = mlp.MLPRecipe(hidden=((8,),), rates=(3e-2,), decay=(1e-4, 10.0), epochs=40, patience=5,
        steps=0, wait=0,
    )  # fmt: skip
    monkeypatch.setitem(mlp.RECIPES, "", small)
    return small


@pytest.fixture
def blanked():
    """A job whose test clips hold NaN, and labels that are none."""

    def blank(job, split):
        features, targets = job.features.copy(), job.targets.copy()
        features[split.test] = np.nan
        targets[split.test] = -(10**6) if job.clips.target != "multi" else -1
        return replace(job, features=features, targets=targets, splits=[split])

    return blank
