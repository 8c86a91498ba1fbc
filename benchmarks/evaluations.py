"""Whole evaluations by the linear probe, against scikit-learn as its users write it.

Both sides standardize on training clips, select among the same twelve C inside the training clips
and score the test clips, with all cores of the machine. scikit-learn's is ``GridSearchCV`` over
``StandardScaler`` and ``LogisticRegression`` with its own tolerance and 1,000 iterations; it is
measured on a sample of the inner divisions (or tags) and scaled, as the table says. The folds of
inner divisions are the same on both sides.

``python -m benchmarks.evaluations [NAME …]`` runs some of the cases. ``PROBEKIT_CHOI2017=DIR``
names the folder with the embeddings of Choi et al. (2017); without it features are drawn.
"""

import atexit
import os
import resource
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.probes import audioset, features, tagged
from benchmarks.timing import table
from probekit.cards import Protocol
from probekit.data import manifest as manifests
from probekit.metrics import metrics
from probekit.parallel import resources
from probekit.probes import linear, subsampled_linear
from probekit.probes.base import FitContext
from probekit.tasks import splits

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """Clips to evaluate: features, labels, and folds or a split."""

    title: str
    features: Array
    targets: Array
    folds: Array  # numbers of folds, or "train", "valid", "test"
    probe: linear.Linear = field(default_factory=linear.Linear)
    compared: bool = True  # whether scikit-learn is run


def single(title: str, clips: int, dim: int, classes: int, folds: int, decay: float = 4.0) -> Case:
    """Return clips of one label each whose classes are linear in the features, and noisy."""
    rng = np.random.default_rng(1)
    x = features(rng, clips, dim, decay)
    scores = x @ rng.standard_normal((dim, classes))
    scores = 2 * scores / scores.std(axis=0) + rng.gumbel(size=scores.shape)
    return Case(title, x, scores.argmax(axis=1), rng.permutation(clips) % folds)


def choi(name: str, table_name: str, folds: Callable[[pd.DataFrame], Array], like: Case) -> Case:
    """Return real embeddings where they are at hand, or ``like``."""
    place = os.environ.get("PROBEKIT_CHOI2017")
    if not place:
        return replace(like, title=f"{like.title}, drawn")
    clips = pd.read_csv(Path(place) / f"{table_name}.csv")
    x = np.concatenate(
        [np.load(Path(place) / f"{table_name}_layer_{k}.npy") for k in range(5)], axis=1
    )
    labels = clips["label"].to_numpy()
    return Case(f"{name}, choi2017", x.astype(np.float32), labels, folds(clips))


def urbansound() -> Case:
    like = single("UrbanSound8K, 8,732 × 160", 8732, 160, 10, 10)
    return choi(
        "UrbanSound8K, 8,732 × 160", "urbansound", lambda clips: clips["fold"].to_numpy() - 1, like
    )


def urbansound_random_features() -> Case:
    """Return UrbanSound8K with 2,048 rectified random projections of its embeddings."""
    case = urbansound()
    rng = np.random.default_rng(2)
    standardized = (case.features - case.features.mean(axis=0)) / case.features.std(axis=0)
    dim = standardized.shape[1]
    weights = rng.standard_normal((dim, 2048)) / dim**0.5
    features = np.maximum(standardized @ weights + rng.standard_normal(2048), 0)
    title = f"{case.title}, as 2,048 random features"
    return replace(case, title=title, features=features.astype(np.float32))


def gtzan() -> Case:
    like = single("GTZAN, 1,000 × 160", 1000, 160, 10, 10)
    return choi(
        "GTZAN, 1,000 × 160",
        "gtzan_genre",
        lambda clips: np.random.default_rng(0).permutation(len(clips)) % 10,
        like,
    )


def magnatagatune() -> Case:
    rng = np.random.default_rng(0)
    x = features(rng, 25863, 1024)
    split = np.where(np.arange(25863) < 18706, "train", "valid")
    split[18706 + 1825 :] = "test"
    return Case("MagnaTagATune's size, 18,706 × 1,024 × 50 tags", x, tagged(rng, x, 50), split)


def audioset_tenth() -> Case:
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    x, hot = audioset(folder.name, 210_000)
    split = np.where(np.arange(len(x)) < 204_000, "train", "valid")
    split[207_000:] = "test"
    title = "AudioSet's size, a tenth: 204,000 × 1,024 × 527 tags, `linear:subsample=10000`"
    probe = subsampled_linear.SubsampledLinear(clips=10_000)
    return Case(title, x, hot, split, probe, compared=False)


CASES: dict[str, Callable[[], Case]] = {
    "urbansound8k": urbansound,
    "gtzan": gtzan,
    "extended-ballroom": lambda: single("Extended Ballroom's size, 4,180 × 160", 4180, 160, 13, 10),
    "magnatagatune": magnatagatune,
    "fsdd": lambda: single("fsdd's size, 3,000 × 6,144", 3000, 6144, 10, 6),
    "urbansound8k-wide": lambda: single("UrbanSound8K's size, 8,732 × 2,048", 8732, 2048, 10, 10),
    "urbansound8k-random-features": urbansound_random_features,
    "audioset-tenth": audioset_tenth,
}


def main(names: tuple[str, ...] = tuple(CASES)) -> None:
    head = (
        "evaluation",
        "score",
        "probekit",
        "peak memory of a process",
        "scikit-learn, scaled",
        "ratio",
        "its score on the sample",
    )
    rows: list[tuple[object, ...]] = [head]
    for name in names:
        case = CASES[name]()
        score, seconds, peak = ours(case)
        measured = (case.title, f"{score:.3f}", f"{seconds:.1f} s", f"{peak / 1e9:.2f} GB")
        peer: tuple[str, str, str] = ("not run", "", "")
        if case.compared:
            theirs, its_score = reference(case)
            peer = (f"{theirs:.0f} s", f"{theirs / seconds:.1f}", its_score)
        rows.append((*measured, *peer))
        print(rows[-1], file=sys.stderr, flush=True)
    table(f"Whole evaluations, 12 C, nested, {resources.cpu_count()} cores", rows)


def context(case: Case) -> FitContext:
    """Return the job that ``probekit evaluate`` makes of these clips."""
    many = case.targets.ndim > 1
    official = case.folds.dtype.kind == "U"
    labels = [
        tuple(f"tag {tag}" for tag in np.flatnonzero(row)) if many else (f"class {row}",)
        for row in case.targets
    ]
    clips = [
        {
            "clip_id": f"c{k}",
            "path": f"{k}.wav",
            "labels": labels[k],
            "split": str(case.folds[k]) if official else "",
            "fold": "" if official else f"{case.folds[k]:02d}",
        }
        for k in range(len(labels))
    ]
    names = [f"tag {k}" for k in range(case.targets.shape[1])] if many else None
    clip_table = manifests.from_rows(
        "bench", clips, target="multi" if many else "single", class_names=names
    )
    rule = Protocol(kind="split" if official else "folds", inner_folds=5)
    return FitContext(
        features=case.features,
        targets=clip_table.targets(),
        clips=clip_table,
        splits=splits.make_splits(rule, clip_table),
        protocol=rule,
        metric=metrics.get_metric("roc-auc" if many else "accuracy"),
        jobs=1 if official else resources.cpu_count(),
    )


def ours(case: Case) -> tuple[float, float, int]:
    """Return score, seconds and peak memory of a process of probekit's evaluation."""
    job = context(case)
    begin = perf_counter()
    models = case.probe.choose_all(job)
    scores = []
    for model, split in zip(models, job.splits, strict=True):
        outputs = metrics.prepare_scores(
            job.metric,
            model.probe.scores(job.features[split.test]),
            job.clips.target,
            probabilities=False,
            predicted=None,
        )
        scores.append(job.metric.score(job.targets[split.test], outputs))
        assert model.unconverged == 0, "a fit is not certified"
    seconds = perf_counter() - begin
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(kind).ru_maxrss * 1024 for kind in kinds)
    return float(np.mean(scores)), seconds, peak


def reference(case: Case) -> tuple[float, str]:
    """Return the seconds that scikit-learn takes, scaled from a sample, and its score there."""
    if case.targets.ndim > 1:
        return _reference_tags(case)
    outer = case.folds != 0
    x, y, groups = case.features[outer], case.targets[outer], case.folds[outer]
    inner = list(GroupKFold(5).split(x, y, groups))
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        {"logisticregression__C": list(linear.GRID)},
        cv=inner[:1],
        n_jobs=resources.cpu_count(),
        refit=False,
    )
    sample = np.random.default_rng(0).permutation(len(x))[:100]
    tiny = clone(search).set_params(cv=2, param_grid={"logisticregression__C": [1e-5, 1e-4]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tiny.fit(x[sample], y[sample])  # starts processes, which load scikit-learn
        begin = perf_counter()
        search.fit(x, y)
    seconds = (perf_counter() - begin) * len(inner) * len(np.unique(case.folds))
    return seconds, f"{search.best_score_:.3f} at C = {search.best_params_.popitem()[1]:g}"


def _reference_tags(case: Case, sample: int = 4) -> tuple[float, str]:
    train, valid = case.folds == "train", case.folds == "valid"
    chosen = np.linspace(0, case.targets.shape[1] - 1, sample).astype(int)
    begin = perf_counter()
    scaler = StandardScaler().fit(case.features[train])
    x, held = scaler.transform(case.features[train]), scaler.transform(case.features[valid])
    scores = Parallel(n_jobs=resources.cpu_count())(
        delayed(_fit_tag)(x, case.targets[train, tag], held, case.targets[valid, tag], c)
        for tag in chosen
        for c in linear.GRID
    )
    seconds = (perf_counter() - begin) * case.targets.shape[1] / sample
    means = np.reshape(scores, (sample, -1)).mean(axis=0)
    return seconds, f"{means.max():.3f} at C = {linear.GRID[int(means.argmax())]:g}"


def _fit_tag(x: Array, y: Array, held: Array, held_y: Array, c: float) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=c, max_iter=1000).fit(x, y)
    return float(roc_auc_score(held_y, model.decision_function(held)))


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or tuple(CASES))
