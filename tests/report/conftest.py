"""A results store with runs whose predictions are known, kept as the real ones are."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from probekit.cache import manifests
from probekit.data import manifest
from probekit.report import html
from probekit.scores import groups, scoring
from probekit.scores import store as store_module
from probekit.scores.predictions import Predictions

NASTY = '<script>document.title = "broken"</script>'


class Store:
    """Runs of tasks, and the page of them."""

    def __init__(self, folder: Path) -> None:
        self.reports = folder / "reports"
        self.cache = folder / "cache"
        self.tables = {}

    def clips(self, task, targets, names, *, target="single", root=None, folds=1):
        """Keep a clip table and return it."""
        rows = []
        for k, own in enumerate(np.asarray(targets)):
            if target == "single":
                labels = [names[own]]
            elif target == "multi":
                labels = [names[j] for j in np.flatnonzero(own)]
            else:
                labels = [float(v) for v in own]
            rows.append(
                {
                    "clip_id": f"{task}-{k:03d}",
                    "path": f"{k:03d}.wav",
                    "fold": str(k % folds),
                    "labels": labels,
                }
            )
        made = manifest.from_rows(task, rows, root=root, target=target, class_names=names)
        manifests.save_manifest(self.cache, made)
        self.tables[task] = made
        return made

    def run(
        self, task, embedding, scores, *, metric="accuracy", seed=0, fraction=1.0, also=(), **others
    ):
        """Keep a run that gave its clips these scores."""
        clips = self.tables[task]
        names = clips.class_names
        fold = clips.column("fold")
        folds = tuple(sorted(set(fold)))
        found = Predictions(
            clip_ids=clips.column("clip_id"),
            fold=np.array([folds.index(name) for name in fold]),
            folds=folds,
            targets=clips.targets(),
            scores=np.asarray(scores, np.float64),
            groups=clips.column("group"),
            target=clips.target,
            probabilities=True,
        )
        known = scoring.score_predictions(found, metric, also, names)
        own = known.pop("folds")
        run = store_module.run_id(
            {"of": [task, embedding, seed, fraction, sorted(map(str, others))]}
        )
        result = {
            "format": store_module.FORMAT,
            "run": run,
            "task": task,
            "title": f"Sounds of {task}",
            "embedding": embedding,
            "sources": [
                {
                    "extractor": embedding,
                    "fingerprint": store_module.run_id({"name": embedding}),
                    "identity": {},
                    "stream": "clip",
                    "pool": ["mean"],
                    "dim": 8,
                }
            ],
            "dim": 8,
            "probe": "linear",
            "settings": {},
            "steps": ["standardize"],
            "preset": "",
            "fraction": fraction,
            "seed": seed,
            "protocol": "folds of mine; settings chosen inside",
            "target": clips.target,
            "probabilities": True,
            "metric": metric,
            "classes": list(names),
            **known,
            "folds": [
                {
                    "fold": name,
                    "train": 10,
                    "test": int((fold == name).sum()),
                    "score": score,
                    "params": {"C": 1.0},
                    "at_edge": False,
                    "curve": [score],
                    "selected_on": "others",
                    "selected_score": score,
                    "converged": True,
                    "gap": 1e-7,
                    "iterations": 5,
                }
                for name, score in zip(folds, own, strict=True)
            ],
            "grid": [{"C": 1.0}],
            "solver": {
                "name": "probekit",
                "tolerance": 1e-5,
                "fits": 12,
                "unconverged": 0,
                "unconverged_final": 0,
            },
            "clips": {"used": len(clips), "of": len(clips), "missing": {}, "missing_count": 0},
            "seconds": {"fit": 0.5, "all": 0.6},
            "provenance": [],
            "manifest": clips.digest(),
            "versions": {"probekit": "0.1.0"},
            "created": "2026-01-02T03:04:05+00:00",
            "published": [],
            "history": [],
            **others,
        }
        path = store_module.result_path(self.reports, task, embedding, run)
        store_module.save(path, result, found.arrays())
        return result

    def entries(self):
        tasks = dict.fromkeys(r["task"] for _, r in store_module.list_results(self.reports))
        return [one for task in tasks for one in groups.load_groups(task, self.reports)]

    def write(self, name="index.html", **options):
        """Write the page of all runs."""
        options = {"cache": self.cache, "figures": self.reports / "figures", **options}
        return html.write_page(self.reports / name, self.entries(), **options)

    def text(self, **options):
        return self.write(**options).path.read_text(encoding="utf-8")

    def data_of(self, text):
        """Return what the page's script reads."""
        return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])

    def data(self, path):
        return self.data_of(path.read_text(encoding="utf-8"))


def guesses(targets, classes, wrong, seed=0):
    """Scores that are right but for some clips, which get the next class."""
    rng = np.random.default_rng(seed)
    given = np.array(targets)
    given[wrong] = (given[wrong] + 1) % classes
    scores = rng.uniform(0, 0.2, (len(given), classes))
    scores[np.arange(len(given)), given] += rng.uniform(1, 2, len(given))
    return scores / scores.sum(axis=1, keepdims=True)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def small(store):
    """Forty clips of four classes, and two runs: 30 and 20 of them right."""
    targets = np.arange(40) % 4
    store.clips("birds", targets, ["finch", "crow", NASTY, "雀"], folds=2)
    store.run("birds", "good", guesses(targets, 4, slice(0, 10)))
    store.run("birds", "poor", guesses(targets, 4, slice(0, 20), 1), provenance=["random weights"])
    return store
