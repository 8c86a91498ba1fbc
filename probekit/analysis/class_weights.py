"""The one weight matrix of a task: a probe fitted once on all training clips, one C for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.cache import layout
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.probes import features, linear, model_selection, presets, transforms
from probekit.probes.task_clips import resolve_clips
from probekit.tasks import splits
from probekit.tasks.splits import Split
from probekit.utils.suggest import unknown_name_error

KINDS = ("columns", "rows", "none")
SAID = {
    "columns": "each dimension to mean 0 and variance 1 over the classes of each side",
    "rows": "each row to mean 0 and variance 1",
    "none": "no normalization",
}
_MORE = "dimensions of unlike scale count as resemblance: the test finds more than there is."
WARNED = {
    "columns": "",
    "rows": f" With this normalization, {_MORE}",
    "none": f" Without normalization, {_MORE}",
}


def l2_normalize_rows(matrix: Array, names: tuple[str, ...], how: str, what: str) -> Array:
    """Return rows of unit length after mean-variance normalization.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (classes, dim)
        Weights.
    names : tuple of str
        The classes.
    how : {"columns", "rows", "none"}
        Mean 0 and variance 1 of each dimension over the classes, of each row, or nothing.
    what : str
        Whose weights, for errors.

    Returns
    -------
    numpy.ndarray, shape (classes, dim), float64
        Products of two such rows are cosines.

    Raises
    ------
    DataError
        If there is one class only and columns are wanted, or a row is zero.
    """
    rows = np.asarray(matrix, np.float64)
    if how == "columns":
        if len(rows) < 2:
            raise DataError(
                f"{what}: one class cannot be normalized over the classes; use --normalize rows"
            )
        spread = rows.std(axis=0)
        dead = spread <= 1e-9 * np.abs(rows).max(axis=0, initial=0.0)
        rows = np.where(dead, 0.0, (rows - rows.mean(axis=0)) / np.where(dead, 1.0, spread))
    elif how == "rows":
        rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    nothing = length[:, 0] <= 1e-12 * np.abs(matrix).max(initial=0.0)
    if nothing.any():
        raise DataError(
            f"{what}: the weights of {names[int(nothing.argmax())]!r} are zero"
            f"{'' if how == 'none' else ' once normalized'}, and have no direction"
        )
    return rows / length


def has_variance(rows: Array) -> bool:
    """Tell whether any feature varies, but for rounding.

    Parameters
    ----------
    rows : numpy.ndarray, shape (clips, dim)
        Features.

    Returns
    -------
    bool
        False where all rows are the same.
    """
    low, high = rows.min(axis=0), rows.max(axis=0)
    return not (high - low <= 1e-9 * np.maximum(np.abs(low), np.abs(high))).all()


_NAMED = 4  # the most classes that a caption names


def classes_without_weights(
    targets: Array, names: Sequence[str], there: Array
) -> dict[str, tuple[str, ...]]:
    """Return the classes without weights, by the reason.

    Parameters
    ----------
    targets : numpy.ndarray, shape (clips,) of int, or (clips, classes) of 0 and 1
        Labels of the training clips.
    names : sequence of str
        The classes.
    there : numpy.ndarray, shape (classes,), bool
        Which have weights.

    Returns
    -------
    dict of str to tuple of str
        For example ``{"without training clips": ("bell",)}``; empty where all have weights.
    """
    hot = targets if targets.ndim == 2 else targets[:, None] == np.arange(len(names))
    often = hot.sum(axis=0)
    found: dict[str, tuple[str, ...]] = {}
    for k in np.flatnonzero(~there).tolist():
        why = "without weights"
        if often[k] == 0:
            why = "without training clips"
        elif often[k] == len(hot):
            why = "in every training clip"
        found[why] = (*found.get(why, ()), names[k])
    return found


def format_missing_classes(left: Mapping[str, Sequence[str]]) -> str:
    """Name classes that were left out.

    Parameters
    ----------
    left : mapping of str to sequence of str
        From :func:`classes_without_weights`.

    Returns
    -------
    str
        Reasons, each with its classes, the first four of many.
    """
    return "; ".join(
        f"{why}: {', '.join(names[:_NAMED])}"
        + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        for why, names in left.items()
    )


SPACES = ("embedding", "standardized")
STANDARD = ("standardize",)
_STEPS = {"standardize": "standardized", "unit-l2": "put to unit length clip by clip"}


@dataclass(frozen=True)
class ClassWeights:
    """Class weights, and how they came about.

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
        The regularization, one value for all classes.
    clips : int
        Training clips.
    converged : bool
        Whether the solver reached its tolerance.
    fingerprint, manifest : str
        Of the embeddings and the clip table.
    provenance : tuple of str
        What every figure must show.
    chosen : bool
        Whether C was chosen on held-out clips; otherwise it was given.
    steps : tuple of {"standardize", "unit-l2"}
        What was done to features before the probe.
    preset : str
        The paper whose recipe it is; empty for none.
    left_out : dict of str to tuple of str
        Why classes of the task have no weights, and which they are.
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
    chosen: bool = True
    steps: tuple[str, ...] = STANDARD
    preset: str = ""
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def count_text(self) -> str:
        """How many classes of the task they are, for example ``3 of the 4 classes of tags``."""
        missing = sum(map(len, self.left_out.values()))
        of = f"{len(self.names)} of the {len(self.names) + missing}" if missing else len(self.names)
        return f"{'' if missing else 'the '}{of} classes of {self.task}"

    def description(self) -> str:
        """Return what a caption says of the probe.

        Returns
        -------
        str
            Without an article at its beginning and a full stop at its end.
        """
        how = "chosen on held-out training clips" if self.chosen else "given"
        space = "embedding" if self.space == "embedding" else "standardized embedding"
        before = " and ".join(_STEPS[step] for step in self.steps) or "as they are"
        recipe = f" with the recipe of {self.preset}" if self.preset else ""
        return (
            f"one linear probe for {self.count_text} on {self.embedding}{recipe}, fitted once on "
            f"{self.clips:,} training clips (C = {self.c:.3g} for all classes, {how}; "
            f"features {before}, weights on the {space})"
        )

    def filename_choices(self) -> dict[str, tuple[object, object]]:
        """Return what was chosen and what is the default, for the names of files."""
        return {
            "space": (self.space, "embedding"),
            "c": (None if self.chosen else f"{self.c:g}", None),
            "preset": (self.preset, ""),
        }

    def facts(self) -> dict[str, Any]:
        """Return what produced the weights.

        Returns
        -------
        dict
            For the JSON beside a figure.
        """
        return {
            "task": self.task,
            "embedding": self.embedding,
            "fingerprint": self.fingerprint,
            "manifest": self.manifest,
            "c": self.c,
            "c_chosen": self.chosen,
            "space": self.space,
            "steps": list(self.steps),
            "preset": self.preset,
            "classes": len(self.names),
            "classes_left_out": {why: list(names) for why, names in self.left_out.items()},
            "training_clips": self.clips,
            "converged": self.converged,
            "provenance": list(self.provenance),
        }


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
    one that scores best on held-out training clips, as in an evaluation, unless it is given.

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
        Others have no class weights.
    preset : str
        A paper whose recipe to follow (stream, pooling, steps), for example ``"kumar2021"``.

    Returns
    -------
    ClassWeights
        In the order of the task's classes. A class without training clips, or a tag that all of
        them have, is left out; ``left_out`` and the provenance say so.

    Raises
    ------
    ProbekitError
        If the task or the embeddings are not there, there are fewer than two classes, no feature
        varies, or the probe is not a linear one.
    """
    if c is not None and not 0 < c < np.inf:
        raise DataError(f"C = {c:g}: must be above 0 and finite")
    if space not in SPACES:
        raise unknown_name_error("space", space, SPACES)
    extractor, before = apply_preset(extractor, preset, probe)
    where = layout.cache_root(cache)
    card, clips = resolve_clips(task, where, root)
    found = features.find_features(where, extractor, card.dataset, clips)
    present = found.clips
    targets = present.targets()
    if present.target == "regression":
        raise DataError(f"{card.name}: its targets are numbers, there are no classes to compare")
    if card.protocol.kind == "split":
        first = splits.make_splits(card.protocol, present)[0]
        whole = Split("all training clips", first.train, first.valid, first.test)
    else:
        none = np.array([], np.int64)
        whole = Split("all clips", np.arange(len(present)), none, none)
    grid = linear.GRID if c is None else (c,)
    matrix, scale = found.matrix(), None
    fitted = whole.fit_rows(card.protocol)
    if not has_variance(matrix[fitted]):
        raise DataError(
            f"{extractor}: no feature of it varies over the {len(fitted):,} training clips of "
            f"{card.name}; there are no class weights to look at"
        )
    if before != STANDARD:
        transform = transforms.fit_transform(before, matrix[whole.train])
        matrix, scale = transform(matrix), transform.scale if STANDARD[0] in before else 1.0
    one = model_selection.choose(
        matrix,
        targets,
        present,
        whole,
        card.protocol,
        metrics.get_metric(card.metric),
        grid,
        standardize=before == STANDARD,
    ).probe
    assert isinstance(one, linear.FittedLinear)
    scale = one.scaler.scale if scale is None else scale
    there = np.isfinite(one.intercept) & (one.coef != 0).any(axis=1)
    left = classes_without_weights(targets[fitted], present.names, there)
    said = [*found.provenance]
    if len(present) < found.expected:
        said.append(f"{len(present):,} of {found.expected:,} clips")
    if not one.converged:
        said.append("not converged")
    made = ClassWeights(
        matrix=(one.coef / scale if space == "embedding" else one.coef)[there],
        names=tuple(name for name, keep in zip(present.names, there, strict=True) if keep),
        task=card.name,
        embedding=extractor,
        space=space,
        c=one.c,
        clips=len(fitted),
        converged=one.converged,
        fingerprint="+".join(source["fingerprint"] for source in found.sources),
        manifest=clips.digest(),
        provenance=tuple(said),
        chosen=c is None,
        steps=before,
        preset=preset,
        left_out=left,
    )
    if not left:
        return made
    return replace(made, provenance=(*said, f"{made.count_text} ({format_missing_classes(left)})"))


def apply_preset(extractor: str, preset: str, probe: str = "linear") -> tuple[str, tuple[str, ...]]:
    """Return an embedding and what is done to it, as a paper's recipe has them.

    Parameters
    ----------
    extractor : str
        As after ``-e``.
    preset : str
        A paper; empty for none.
    probe : str
        The kind of probe that was asked for.

    Returns
    -------
    extractor : str
        With stream and pooling, where it names none.
    steps : tuple of {"standardize", "unit-l2"}
        What is done before the probe.

    Raises
    ------
    ProbekitError
        If there is no such preset, or a probe has no class weights.
    """
    recipe = presets.load_preset(preset, extractor) if preset else presets.Preset(steps=STANDARD)
    kind = (recipe.probe if preset and probe == "linear" else probe).partition(":")[0]
    if kind != "linear":
        raise DataError(
            f"{f'--preset {preset}: ' if preset else ''}a probe of kind {kind!r} has no linear "
            "class weights. Dendrogram, correlation and projection of classes need them (--probe "
            "linear); confusion, differences and projection of clips do not"
        )
    return (recipe.apply(extractor) if preset else extractor), recipe.steps
