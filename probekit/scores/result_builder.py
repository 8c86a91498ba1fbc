"""Builder of results: what runs of probes and of distilled students have in common."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from probekit._typing import Array
from probekit.cards import TaskCard
from probekit.data.manifest import Manifest, groups_are_recordings
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.scores import store
from probekit.scores.predictions import Predictions, check_scores
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
    probe: str,
    probabilities: bool,
    own_classes: Sequence[Array | None] = (),
    pieces: Array | None = None,
) -> Predictions:
    """Return the predictions of all folds.

    Parameters
    ----------
    clips : Manifest
        The clips.
    targets : numpy.ndarray
        Their targets.
    splits : sequence of SplitRows
        The folds.
    scores : sequence of numpy.ndarray
        ``scores[k]`` are those of ``splits[k].test``.
    probe : str
        Name of the probe, for messages.
    probabilities : bool
        Whether they are probabilities.
    own_classes : sequence of numpy.ndarray or None, optional
        Predicted classes, in the order of ``scores``, of a probe that predicts them itself.
    pieces : numpy.ndarray of str, shape (clips,), optional
        Piece of each clip, where clips of one piece are scored as one.

    Raises
    ------
    DataError
        If scores are NaN or infinite; names fold and clips.
    """
    ids = clips.column("clip_id")
    for split, of_fold in zip(splits, scores, strict=True):
        try:
            check_scores(of_fold, clips.target, probe, ids[split.test])
        except DataError as error:
            raise DataError(f"{clips.name}, split {split.name!r}: {error}") from error
    rows = np.concatenate([split.test for split in splits])
    joined = np.concatenate(list(scores))
    predicted = [classes for classes in own_classes if classes is not None]
    # stored only where they differ from the highest scores in some clip
    differ = bool(predicted) and (np.concatenate(predicted) != joined.argmax(axis=1)).any()
    return Predictions(
        clip_ids=ids[rows],
        fold=np.concatenate([np.full(len(split.test), k) for k, split in enumerate(splits)]),
        folds=tuple(split.name for split in splits),
        targets=targets[rows],
        scores=joined,
        groups=clips.column("group")[rows],
        target=clips.target,
        probabilities=probabilities,
        own_classes=np.concatenate(predicted).astype(np.int64) if differ else None,
        pieces=None if pieces is None else pieces[rows],
    )


def count_clips(splits: Sequence[SplitRows]) -> int:
    """Return how many clips the splits use for training, validation or test."""
    rows = [part for split in splits for part in (split.train, split.valid, split.test)]
    return len(np.unique(np.concatenate(rows)))


def unknown_label_notes(clips: Manifest, targets: Array) -> list[str]:
    """Note the share of labels that are unknown, and so count neither in fits nor in scores."""
    if not clips.has_unknown_labels:
        return []
    share = 1 - metrics.is_known(targets).mean()
    return [f"{100 * share:.3g} % of the labels are unknown and do not count"]


def torn_group_notes(clips: Manifest, splits: Sequence[SplitRows]) -> list[str]:
    """Note how many groups (artists, recordings) have training and test clips of one split.

    Official folds can do that, and a protocol that does not keep groups whole. Validation clips
    count as training: they select settings. Where the groups are recordings, the notes of
    :mod:`probekit.tasks.leakage` say it.
    """
    if groups_are_recordings(clips):
        return []
    groups = clips.column("group")
    tested: set[str] = set()
    torn: set[str] = set()
    for split in splits:
        test = set(groups[split.test]) - {""}
        tested |= test
        torn |= test & set(groups[np.concatenate([split.train, split.valid])])
    if not torn:
        return []
    return [f"groups with clips in training and in test: {len(torn):,} of {len(tested):,}"]


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
        class_scores=scores["class_scores"],
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
