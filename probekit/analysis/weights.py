"""The one weight matrix of a task: a probe fitted once on all training clips, one C for all."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.analysis import normalization, unfitted
from probekit.cache import layout
from probekit.errors import DataError
from probekit.probes import features, linear, recipes, selection, steps
from probekit.probes.inputs import clips_of
from probekit.registry import unknown
from probekit.tasks import metrics, splits
from probekit.tasks.splits import Split

Array = npt.NDArray[Any]
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
    def counted(self) -> str:
        """How many classes of the task they are, for example ``3 of the 4 classes of tags``."""
        missing = sum(map(len, self.left_out.values()))
        of = f"{len(self.names)} of the {len(self.names) + missing}" if missing else len(self.names)
        return f"{'' if missing else 'the '}{of} classes of {self.task}"

    def described(self) -> str:
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
            f"one linear probe for {self.counted} on {self.embedding}{recipe}, fitted once on "
            f"{self.clips:,} training clips (C = {self.c:.3g} for all classes, {how}; "
            f"features {before}, weights on the {space})"
        )

    def choices(self) -> dict[str, tuple[object, object]]:
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
        raise unknown("space", space, SPACES)
    extractor, before = followed(extractor, preset, probe)
    where = layout.root(cache)
    card, clips = clips_of(task, where, root)
    found = features.find(where, extractor, card.dataset, clips)
    present = found.clips
    targets = present.targets()
    if present.target == "regression":
        raise DataError(f"{card.name}: its targets are numbers, there are no classes to compare")
    if card.protocol.kind == "split":
        first = splits.make(card.protocol, present)[0]
        whole = Split("all training clips", first.train, first.valid, first.test)
    else:
        none = np.array([], np.int64)
        whole = Split("all clips", np.arange(len(present)), none, none)
    grid = linear.GRID if c is None else (c,)
    matrix, scale = found.matrix(), None
    fitted = whole.fitted(card.protocol)
    if not normalization.varies(matrix[fitted]):
        raise DataError(
            f"{extractor}: no feature of it varies over the {len(fitted):,} training clips of "
            f"{card.name}; there are no class weights to look at"
        )
    if before != STANDARD:
        transform = steps.fit(before, matrix[whole.train])
        matrix, scale = transform(matrix), transform.scale if STANDARD[0] in before else 1.0
    one = selection.choose(
        matrix,
        targets,
        present,
        whole,
        card.protocol,
        metrics.get(card.metric),
        grid,
        standardize=before == STANDARD,
    ).probe
    assert isinstance(one, linear.Probe)
    scale = one.scaler.scale if scale is None else scale
    there = np.isfinite(one.intercept) & (one.coef != 0).any(axis=1)
    left = unfitted.classes(targets[fitted], present.names, there)
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
    return replace(made, provenance=(*said, f"{made.counted} ({unfitted.listed(left)})"))


def followed(extractor: str, preset: str, probe: str = "linear") -> tuple[str, tuple[str, ...]]:
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
    recipe = recipes.of(preset, extractor) if preset else recipes.Recipe(steps=STANDARD)
    kind = (recipe.probe if preset and probe == "linear" else probe).partition(":")[0]
    if kind != "linear":
        raise DataError(
            f"{f'--preset {preset}: ' if preset else ''}a probe of kind {kind!r} has no linear "
            "class weights. Dendrogram, correlation and projection of classes need them (--probe "
            "linear); confusion, differences and projection of clips do not"
        )
    return (recipe.applied(extractor) if preset else extractor), recipe.steps
