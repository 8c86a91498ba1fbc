"""A results store for tests of scores."""

import numpy as np
import pytest

from probekit.scores import predictions, scoring, store


class Store:
    """A results store: predictions are invented, scores are computed from them."""

    def __init__(self, root):
        self.root = root

    def keep(
        self,
        embedding,
        scores,
        targets,
        fold=None,
        groups=None,
        *,
        target="single",
        metric="accuracy",
        also=(),
        clip_ids=None,
        fold_names=None,
        train=100,
        number="",
        **others,
    ):
        """Save one run; ``others`` are keys of the result. Returns its file."""
        count = len(scores)
        fold = np.zeros(count, int) if fold is None else np.asarray(fold)
        run = predictions.Predictions(
            clip_ids=np.array(clip_ids or [f"c{k}" for k in range(count)]),
            fold=fold,
            folds=tuple(fold_names or [str(k + 1) for k in range(fold.max() + 1)]),
            targets=np.asarray(targets),
            scores=np.asarray(scores, float),
            groups=np.full(count, "") if groups is None else np.asarray(groups),
            target=target,
            probabilities=False,
        )
        classes = [f"class {k}" for k in range(run.scores.shape[1])]
        report = scoring.score_predictions(run, metric, also, classes)
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
                }
            ],
            "dim": 4,
            "probe": "linear",
            "settings": {},
            "steps": ["standardize"],
            "preset": "",
            "fraction": 1.0,
            "seed": 0,
            "protocol": "",
            "target": target,
            "probabilities": False,
            "metric": metric,
            "classes": classes,
            **report,
            "grid": [],
            "solver": {},
            "clips": {"used": count, "of": count, "missing": {}, "missing_count": 0},
            "seconds": {},
            "provenance": [],
            "manifest": "m",
            "versions": {},
            "created": "2026-01-01T00:00:00+00:00",
            "published": [],
            "history": [],
            **others,
        }
        result["folds"] = [
            {
                "fold": name,
                "train": train,
                "test": int((fold == k).sum()),
                "score": report["folds"][k],
                "params": {},
                "at_edge": False,
                "curve": [],
                "selected_on": "",
                "selected_score": None,
                "converged": True,
                "gap": None,
                "iterations": 0,
            }
            for k, name in enumerate(run.folds)
        ]
        facts = {k: str(v) for k, v in result.items()}
        result["run"] = store.run_id({**facts, "number": number})
        path = store.result_path(self.root, result["task"], embedding, result["run"])
        store.save(path, result, run.arrays())
        return path

    def guess(self, embedding, right, fold=None, seed=0, **others):
        """Save a run of two classes that is right for exactly these clips."""
        right = np.asarray(right, bool)
        targets = np.arange(len(right)) % 2
        scores = np.eye(2)[np.where(right, targets, 1 - targets)]
        return self.keep(embedding, scores, targets, fold, seed=seed, **others)


@pytest.fixture(name="store")
def store_(tmp_path):
    return Store(tmp_path / "reports")
