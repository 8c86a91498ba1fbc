"""Class weights of a task: rows of one linear probe fitted on all training clips."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.cache import layout
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.metrics.metrics import one_hot
from probekit.probes import features as probe_features
from probekit.probes.base import FitContext
from probekit.probes.linear import GRID, FittedLinear, Linear
from probekit.probes.presets import apply_preset
from probekit.probes.transforms import STANDARD, Pipeline
from probekit.solvers.scaler import ROUNDING, standardize
from probekit.tasks import splits
from probekit.tasks.splits import Split
from probekit.tasks.task_clips import resolve_clips
from probekit.utils.suggest import unknown_name_error
from probekit.utils.text import join_names

SPACES = ("embedding", "standardized")
NORMALIZATIONS = ("columns", "rows", "none")
NORMALIZATION_TEXT = {
    "columns": "each dimension to mean 0 and variance 1 over the classes of each side",
    "rows": "each row to mean 0 and variance 1",
    "none": "no normalization",
}
_STEP_TEXT = {"standardize": "standardized", "unit-l2": "scaled to unit length clip by clip"}
_MAX_NAMES = 4  # classes that a caption names


@dataclass(frozen=True)
class ClassWeights:
    """Class weights of a linear probe, and how it was fitted.

    Attributes
    ----------
    matrix : numpy.ndarray, shape (classes, dim)
        Rows of the linear probe, by default mapped back through the standardization.
    names : tuple of str
        The classes.
    task, embedding : str
        What was probed.
    space : {"embedding", "standardized"}
        What the rows act on.
    c : float
        Inverse regularization strength, one value for all classes.
    clips : int
        Training clips.
    converged : bool
        Whether the solver reached its tolerance.
    fingerprint, manifest : str
        Of the embeddings and the clip table.
    provenance : tuple of str
        Notes that every figure must show.
    c_selected : bool
        Whether C was selected on held-out clips, not set by the user.
    steps : tuple of {"standardize", "unit-l2"}
        Transforms of the features.
    preset : str
        The paper whose settings are used; empty for none.
    left_out : dict of str to tuple of str
        Classes of the task without weights, by reason.
    """

    matrix: Array
    names: tuple[str, ...]
    task: str
    embedding: str
    space: str
    c: float
    clips: int
    converged: bool
    fingerprint: str
    manifest: str
    provenance: tuple[str, ...]
    c_selected: bool = True
    steps: tuple[str, ...] = STANDARD
    preset: str = ""
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def count_text(self) -> str:
        """Number of classes in words, for example ``3 of the 4 classes of tags``."""
        missing = sum(map(len, self.left_out.values()))
        count = len(self.names)
        of = f"{count} of the {count + missing}" if missing else f"the {count}"
        return f"{of} classes of {self.task}"

    def description(self) -> str:
        """Return the probe in words, for a caption, without article and full stop."""
        how = "chosen on held-out training clips" if self.c_selected else "given"
        space = "embedding" if self.space == "embedding" else "standardized embedding"
        steps = " and ".join(_STEP_TEXT[step] for step in self.steps) or "as they are"
        preset = f" with the recipe of {self.preset}" if self.preset else ""
        return (
            f"one linear probe for {self.count_text} on {self.embedding}{preset}, fitted once on "
            f"{self.clips:,} training clips (C = {self.c:.3g} for all classes, {how}; "
            f"features {steps}, weights on the {space})"
        )

    def filename_choices(self) -> dict[str, tuple[object, object]]:
        """Return choices with their defaults; see :func:`probekit.analysis.base.filename_stem`."""
        return {
            "space": (self.space, "embedding"),
            "c": (None if self.c_selected else f"{self.c:g}", None),
            "preset": (self.preset, ""),
        }

    def facts(self) -> dict[str, Any]:
        """Return task, embedding and probe for the JSON beside a figure."""
        return {
            "task": self.task,
            "embedding": self.embedding,
            "fingerprint": self.fingerprint,
            "manifest": self.manifest,
            "c": self.c,
            "c_chosen": self.c_selected,
            "space": self.space,
            "steps": list(self.steps),
            "preset": self.preset,
            "classes": len(self.names),
            "classes_left_out": {why: list(names) for why, names in self.left_out.items()},
            "training_clips": self.clips,
            "converged": self.converged,
            "provenance": list(self.provenance),
        }


@dataclass(frozen=True)
class TrainingClips:
    """What a linear probe was fitted to, to fit it again.

    Attributes
    ----------
    features : numpy.ndarray, shape (clips, dim)
        As the solver reads them: after the probe's steps.
    targets : numpy.ndarray
        Class numbers, shape (clips,), or 0 and 1, shape (clips, classes).
    groups : numpy.ndarray of str, shape (clips,)
        Empty text for a clip of its own.
    coef : numpy.ndarray, shape (classes with weights, dim)
        Weights on ``features``.
    scale : numpy.ndarray, shape (dim,), or float
        By which ``coef`` is divided to give :attr:`ClassWeights.matrix`.
    has_weights : numpy.ndarray of bool, shape (classes,)
        Classes of the task that are fitted.
    c : float
        Inverse regularization strength.
    """

    features: Array
    targets: Array
    groups: Array
    coef: Array
    scale: Array | float
    has_weights: Array
    c: float


def class_weights(
    task: str,
    extractor: str,
    *,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    c: float | None = None,
    space: str = "embedding",
    probe: str = "linear",
    preset: str = "",
) -> ClassWeights:
    """Fit a linear probe on all training clips of a task and return its class weights.

    For a fixed split these are the training and validation clips; with folds, all clips. C is the
    one that scores best on held-out training clips, as in an evaluation, unless it is set.

    Parameters
    ----------
    task, extractor : str
        As for :func:`probekit.evaluate`.
    cache, root : str or pathlib.Path, optional
        As for :func:`probekit.evaluate`.
    c : float > 0, optional
        Use this C.
    space : {"embedding", "standardized"}
        Whether rows act on the embedding as it is, or on standardized features. A head's weights
        can be compared in the first only; features of unlike scales, as statistics are, compare
        better in the second.
    probe : {"linear"}
        Other probes have no class weights.
    preset : str
        A paper whose stream, pooling and steps to use, for example ``"kumar2021"``.

    Returns
    -------
    ClassWeights
        In the order of the task's classes. A class without training clips, or a tag that all of
        them have, is left out; ``left_out`` and the provenance say so.

    Raises
    ------
    ProbekitError
        If the task or the embeddings are missing, there are fewer than two classes, no feature
        varies, or the probe is not linear.
    """
    return _fit(task, extractor, cache, root, c, space, probe, preset)[0]


def fit_class_weights(
    task: str,
    extractor: str,
    *,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    c: float | None = None,
    space: str = "embedding",
    probe: str = "linear",
    preset: str = "",
) -> tuple[ClassWeights, TrainingClips]:
    """Return class weights with what they were fitted to; see :func:`class_weights`."""
    weights, training = _fit(task, extractor, cache, root, c, space, probe, preset)
    clips = training()
    if np.isnan(clips.targets).any():
        raise DataError(
            f"{task}: some labels are unknown, so labels cannot be permuted among clips; the tests "
            "that need this are not available"
        )
    return weights, clips


def _fit(
    task: str,
    extractor: str,
    cache: str | Path | None,
    root: str | Path | None,
    c: float | None,
    space: str,
    probe: str,
    preset: str,
) -> tuple[ClassWeights, Callable[[], TrainingClips]]:
    """Return class weights, and a function that returns what they were fitted to."""
    if c is not None and not 0 < c < np.inf:
        raise DataError(f"C must be > 0 and finite, got {c:g}")
    if space not in SPACES:
        raise unknown_name_error("space", space, SPACES)
    extractor, steps = apply_linear_preset(extractor, preset, probe)
    cache_root = layout.cache_root(cache)
    card, all_clips = resolve_clips(task, cache_root, root)
    features = probe_features.find_features(cache_root, extractor, card.dataset, all_clips)
    clips = features.clips
    targets = clips.targets()
    if clips.target == "regression":
        raise DataError(f"{card.name}: its targets are numbers, there are no classes to compare")
    if card.protocol.kind == "split":
        first = splits.make_splits(card.protocol, clips)[0]
        split = Split("all training clips", first.train, first.valid, first.test)
    else:
        none = np.array([], np.int64)
        split = Split("all clips", np.arange(len(clips)), none, none)
    matrix, fit_rows = features.matrix(), split.fit_rows(card.protocol)
    if not has_variance(matrix[fit_rows]):
        raise DataError(
            f"{extractor}: all features are constant over the {len(fit_rows):,} training clips of "
            f"{card.name}; there are no class weights"
        )
    context = FitContext(
        features=matrix,
        targets=targets,
        clips=clips,
        splits=[split],
        protocol=card.protocol,
        metric=metrics.get_metric(card.metric),
        steps=steps,
    )
    [model] = Linear(grid=GRID if c is None else (c,)).choose_all(context)
    linear, scale, transform = model.probe, None, None
    if isinstance(linear, Pipeline):
        scale = linear.transform.scale if "standardize" in steps else 1.0
        transform, linear = linear.transform, linear.probe
    assert isinstance(linear, FittedLinear)
    scale = linear.scaler.scale if scale is None else scale
    scale = scale if space == "embedding" else 1.0
    has_weights = np.isfinite(linear.intercept) & (linear.coef != 0).any(axis=1)
    left_out = classes_without_weights(targets[fit_rows], clips.class_names, has_weights)
    notes = [*features.provenance]
    if len(clips) < features.expected:
        notes.append(f"{len(clips):,} of {features.expected:,} clips")
    if not linear.converged:
        notes.append("not converged")
    weights = ClassWeights(
        matrix=(linear.coef / scale)[has_weights],
        names=tuple(name for name, has in zip(clips.class_names, has_weights, strict=True) if has),
        task=card.name,
        embedding=extractor,
        space=space,
        c=linear.c,
        clips=len(fit_rows),
        converged=linear.converged,
        fingerprint="+".join(source["fingerprint"] for source in features.sources),
        manifest=all_clips.digest(),
        provenance=tuple(notes),
        c_selected=c is None,
        steps=steps,
        preset=preset,
        left_out=left_out,
    )
    if left_out:
        notes.append(f"{weights.count_text} ({format_missing_classes(left_out)})")

    def training() -> TrainingClips:
        rows = matrix[fit_rows]
        rows = linear.scaler(transform(rows) if transform else rows)
        rows[:, (linear.coef == 0).all(axis=0)] = 0.0  # constant up to rounding
        return TrainingClips(
            features=np.asarray(rows, np.float32),
            targets=targets[fit_rows],
            groups=clips.column("group")[fit_rows],
            coef=linear.coef[has_weights],
            scale=scale,
            has_weights=has_weights,
            c=linear.c,
        )

    return replace(weights, provenance=tuple(notes)), training


def apply_linear_preset(
    extractor: str, preset: str, probe: str = "linear"
) -> tuple[str, tuple[str, ...]]:
    """Return the embedding and the steps of a preset; DataError if its probe is not linear."""
    extractor, settings = apply_preset(preset, extractor)
    kind = (settings.probe if preset and probe == "linear" else probe).partition(":")[0]
    if kind != "linear":
        raise DataError(
            f"{f'--preset {preset}: ' if preset else ''}a probe of kind {kind!r} has no linear "
            "class weights. Dendrogram, correlation and projection of classes need them (--probe "
            "linear); confusion, differences and projection of clips do not"
        )
    return extractor, settings.steps


def classes_without_weights(
    targets: Array, names: Sequence[str], has_weights: Array
) -> dict[str, tuple[str, ...]]:
    """Return the classes without weights, by reason.

    Parameters
    ----------
    targets : numpy.ndarray, shape (clips,) of int, or (clips, classes) of 0 and 1
        Labels of the training clips.
    names : sequence of str
        The classes.
    has_weights : numpy.ndarray, shape (classes,), bool
        Which classes have weights.

    Returns
    -------
    dict of str to tuple of str
        For example ``{"without training clips": ("bell",)}``; empty if all classes have weights.
    """
    counts = one_hot(targets, len(names)).sum(axis=0)
    left_out: dict[str, tuple[str, ...]] = {}
    for k in np.flatnonzero(~has_weights).tolist():
        reason = "without weights"
        if counts[k] == 0:
            reason = "without training clips"
        elif counts[k] == len(targets):
            reason = "in every training clip"
        left_out[reason] = (*left_out.get(reason, ()), names[k])
    return left_out


def format_missing_classes(left_out: Mapping[str, Sequence[str]]) -> str:
    """Return the reasons of :func:`classes_without_weights`, each with up to four classes."""
    return "; ".join(
        f"{reason}: {join_names(names, _MAX_NAMES)}" for reason, names in left_out.items()
    )


def l2_normalize_rows(matrix: Array, names: tuple[str, ...], normalize: str, owner: str) -> Array:
    """Return rows of unit length after mean-variance normalization; their products are cosines.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (classes, dim)
        Weights.
    names : tuple of str
        The classes, for errors.
    normalize : {"columns", "rows", "none"}
        Mean 0 and variance 1 of each dimension over the classes, of each row, or nothing.
    owner : str
        Whose weights, for errors.

    Returns
    -------
    numpy.ndarray, shape (classes, dim), float64
        Normalized rows.

    Raises
    ------
    DataError
        If there is only one class to normalize columns over, or a row is zero.
    """
    if normalize == "columns" and len(matrix) < 2:
        raise DataError(
            f"{owner}: --normalize columns needs at least two classes, got 1; use --normalize rows"
        )
    rows = _normalize(matrix, normalize)
    zero = _without_direction(rows, matrix)
    if zero.any():
        raise DataError(
            f"{owner}: the weights of {names[int(zero.argmax())]!r} are zero"
            f"{'' if normalize == 'none' else ' once normalized'}, and have no direction"
        )
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def unit_rows(matrix: Array, normalize: str) -> Array:
    """Return what :func:`l2_normalize_rows` does, with zeros for rows without direction.

    Rows of zeros, classes without weights, do not count in the normalization.
    """
    present = (matrix != 0).any(axis=1)
    rows = np.zeros(matrix.shape)
    rows[present] = _normalize(matrix[present], normalize)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    zero = _without_direction(rows, matrix)[:, None]
    return np.where(zero, 0.0, rows / np.where(zero, 1.0, length))


def _normalize(matrix: Array, normalize: str) -> Array:
    rows = np.asarray(matrix, np.float64)
    if normalize == "columns":
        return standardize(rows) if len(rows) else rows
    return rows - rows.mean(axis=1, keepdims=True) if normalize == "rows" else rows


def _without_direction(rows: Array, matrix: Array) -> Array:
    """Tell which rows are zero once normalized, up to rounding."""
    return np.linalg.norm(rows, axis=1) <= 1e-12 * np.abs(matrix).max(initial=0.0)


def has_variance(rows: Array) -> bool:
    """Tell whether any feature (column) varies by more than rounding."""
    low, high = rows.min(axis=0), rows.max(axis=0)
    return not (high - low <= ROUNDING * np.maximum(np.abs(low), np.abs(high))).all()
