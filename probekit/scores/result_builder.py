"""Builder of results: what runs of probes and of distilled students have in common."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from probekit._typing import Array
from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.metrics import metrics
from probekit.scores import store
from probekit.scores.predictions import Predictions
from probekit.scores.scoring import ScoreReport
from probekit.scores.store import Clips, Fold, Result, Source

_MISSING_SHOWN = 50


class SplitRows(Protocol):
    """Rows of one split; :class:`probekit.tasks.splits.Split` is one."""

    @property
    def name(self) -> str:
        """Name of the fold."""
        ...

    @property
    def train(self) -> Array:
        """Training rows."""
        ...

    @property
    def valid(self) -> Array:
        """Validation rows."""
        ...

    @property
    def test(self) -> Array:
        """Test rows."""
        ...


def join_predictions(
    clips: Manifest,
    targets: Array,
    splits: Sequence[SplitRows],
    scores: Sequence[Array],
    *,
    probabilities: bool,
) -> Predictions:
    """Return the predictions of all folds; ``scores[k]`` are those of ``splits[k].test``."""
    rows = np.concatenate([split.test for split in splits])
    return Predictions(
        clip_ids=clips.column("clip_id")[rows],
        fold=np.concatenate([np.full(len(split.test), k) for k, split in enumerate(splits)]),
        folds=tuple(split.name for split in splits),
        targets=targets[rows],
        scores=np.concatenate(list(scores)),
        groups=clips.column("group")[rows],
        target=clips.target,
        probabilities=probabilities,
    )


def count_clips(splits: Sequence[SplitRows]) -> int:
    """Return how many clips the splits use for training, validation or test."""
    rows = [part for split in splits for part in (split.train, split.valid, split.test)]
    return len(np.unique(np.concatenate(rows)))


def build_result(
    card: TaskCard,
    clips: Manifest,
    all_clips: Manifest,
    splits: Sequence[SplitRows],
    scores: ScoreReport,
    *,
    run: str,
    embedding: str,
    sources: list[Source],
    dim: int,
    probe: str,
    settings: dict[str, Any],
    steps: Sequence[str],
    preset: str,
    fraction: float,
    seed: int,
    protocol: str,
    probabilities: bool,
    folds: list[Fold],
    grid: list[dict[str, Any]],
    solver: dict[str, Any],
    expected: int,
    missing: Mapping[str, str],
    start: float,
    fit_seconds: float,
    provenance: list[str],
    packages: Sequence[str],
    history: list[dict[str, Any]],
) -> Result:
    """Return the result of a run: arguments under the keys of the same names, and what follows.

    ``all_clips`` are the clips of the task, ``clips`` those with features, ``missing`` the others
    with the reason, ``expected`` the number that the task should have. ``start`` is
    :func:`time.perf_counter` at the start of the run, ``fit_seconds`` the duration of the fit, and
    ``packages`` are those whose versions are recorded.
    """
    return Result(
        format=store.FORMAT,
        run=run,
        task=card.name,
        title=card.title,
        embedding=embedding,
        sources=sources,
        dim=dim,
        probe=probe,
        settings=settings,
        steps=list(steps),
        preset=preset,
        fraction=fraction,
        seed=seed,
        protocol=protocol,
        target=clips.target,
        probabilities=probabilities,
        metric=metrics.get_metric(card.metric).name,
        classes=list(clips.class_names),
        score=scores["score"],
        spread=scores["spread"],
        interval=scores["interval"],
        also=scores["also"],
        folds=folds,
        per_class=scores["per_class"],
        per_group=scores["per_group"],
        grid=grid,
        solver=solver,
        clips=Clips(
            used=count_clips(splits) if fraction == 1 else len(clips),
            of=expected,
            missing=dict(list(missing.items())[:_MISSING_SHOWN]),
            missing_count=expected - len(clips),
        ),
        seconds={"fit": fit_seconds, "all": perf_counter() - start},
        provenance=provenance,
        manifest=all_clips.digest(),
        versions={name: version(name) for name in packages},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        published=[score.model_dump() for score in card.published],
        history=history,
    )
