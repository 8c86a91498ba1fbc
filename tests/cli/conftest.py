"""A task of a user's own with two imported embeddings, and what they scored."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from probekit.cache import import_export
from probekit.data import manifest as manifests
from probekit.probes import evaluate

CARD = """
name: mine
title: Sounds of mine
dataset: mine
module: table
options: {csv: mine.csv}
protocol: {kind: folds, inner_folds: 3, description: three folds of mine}
metric: accuracy
also: [balanced-accuracy]
published:
  - {method: "[red]SVM[/red]", score: 0.9, metric: accuracy, where: "Somebody, 2020",
     differs: other folds}
  - {method: CNN, score: 0.7, metric: f1 (kind not stated), where: "Somebody, 2021"}
"""


@pytest.fixture(autouse=True)
def _few_settings(small_grid, few_neighbors):
    """Commands are tested here, not the selection of settings."""


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The task's card and its cache; nothing is scored yet. Not to be changed."""
    root = tmp_path_factory.mktemp("mine")
    rng = np.random.default_rng(0)
    rows = [
        {
            "clip_id": f"c{k}",
            "path": f"{k}.wav",
            "labels": (("yes", "no", "a, b")[k % 3],),
            "fold": f"{k // 3 % 3}",
        }
        for k in range(72)
    ]
    clips = manifests.from_rows("mine", rows)
    clips.write(root / "mine.csv")
    (root / "mine.yaml").write_text(CARD)
    for name, noise in (("good", 0.5), ("bad", 4.0)):
        values = np.eye(3)[clips.targets()] + noise * rng.normal(size=(72, 3))
        np.save(root / "x.npy", values)
        import_export.import_arrays(
            name, clips, [root / "x.npy"], cache=root / "cache", dataset="mine"
        )
    return root


@pytest.fixture(scope="session")
def scored_once(made, few_settings, few_neighbor_counts):
    """Five runs: two embeddings, one of them with another probe, with few labels and two seeds."""
    common = {"cache": made / "cache", "root": made, "reports": made / "reports"}
    task = str(made / "mine.yaml")
    with few_settings(), few_neighbor_counts():
        evaluate.evaluate(task, ["good", "bad"], **common)
        evaluate.evaluate(task, "good", probe="knn", **common)
        evaluate.evaluate(task, "good", fractions=[0.5], seeds=2, **common)
    return made / "reports"


@pytest.fixture
def scored(scored_once, tmp_path):
    """A store that a test may damage."""
    shutil.copytree(scored_once, tmp_path / "reports")
    files = sorted((tmp_path / "reports").rglob("*.json"))
    return SimpleNamespace(
        root=tmp_path / "reports", files=files, results=[json.loads(f.read_text()) for f in files]
    )
