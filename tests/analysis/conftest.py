"""A results store with runs whose predictions are made up, but whose scores follow from them."""

import numpy as np
import pytest

from probekit.scores import predictions, scoring, store


class Kept:
    """Runs of the task ``mine``, kept as the real ones are."""

    def __init__(self, root):
        self.root = root

    def run(
        self,
        embedding,
        scores,
        targets,
        *,
        target="single",
        metric="accuracy",
        fold=None,
        groups=None,
        train=100,
        fraction=1.0,
        seed=0,
        source=None,
        **others,
    ):
        """Save a run; ``others`` are keys of the result. Returns its name."""
        scores, targets = np.asarray(scores, float), np.asarray(targets)
        count = len(scores)
        fold = np.zeros(count, int) if fold is None else np.asarray(fold)
        own = predictions.Predictions(
            clip_ids=np.array([f"c{k}" for k in range(count)]),
            fold=fold,
            folds=tuple(str(k + 1) for k in range(fold.max() + 1)),
            targets=targets,
            scores=scores,
            groups=np.full(count, "") if groups is None else np.asarray(groups),
            target=target,
            probabilities=False,
        )
        classes = [f"class {k}" for k in range(scores.shape[1])]
        found = scoring.score_predictions(own, metric, (), classes)
        folds = [
            {"fold": name, "train": train, "test": int((fold == k).sum()), "score": score}
            for k, (name, score) in enumerate(zip(own.folds, found["folds"], strict=True))
        ]
        result = {
            "format": store.FORMAT,
            "task": "mine",
            "title": "Mine",
            "embedding": embedding,
            "sources": [
                {
                    "extractor": embedding.partition(":")[0],
                    "fingerprint": "f" * 64,
                    "identity": {},
                    "stream": "embedding",
                    "pool": ["mean"],
                    "dim": 4,
                    **(source or {}),
                }
            ],
            "dim": 4,
            "probe": "linear",
            "settings": {},
            "steps": ["standardize"],
            "preset": "",
            "fraction": fraction,
            "seed": seed,
            "target": target,
            "probabilities": False,
            "metric": metric,
            "classes": classes,
            "clips": {"used": count, "of": count, "missing": {}, "missing_count": 0},
            "provenance": [],
            "manifest": "m",
            "created": "2026-01-01T00:00:00+00:00",
            **found,
            "folds": folds,
            **others,
        }
        result["run"] = store.run_id({k: str(v) for k, v in result.items()})
        path = store.result_path(self.root, result["task"], embedding, result["run"])
        store.save(path, result, own.arrays())
        return result["run"]

    def guess(self, embedding, said, targets, classes=0, **others):
        """Save a run that predicts these classes."""
        classes = classes or int(max(np.max(said), np.max(targets))) + 1
        return self.run(embedding, np.eye(classes)[np.asarray(said)], targets, **others)


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path / "reports")
