"""Clips of a task with the targets of a file instead of labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from probekit.cards import Protocol, TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError, ProbekitError
from probekit.scores.predictions import Predictions
from probekit.targets.estimates import score_estimates
from probekit.targets.song_factors import draw_split
from probekit.targets.target_file import Targets, read_targets
from probekit.tasks.standin.writer import is_standin
from probekit.tasks.task import STAND_IN
from probekit.utils.suggest import unknown_name_error
from probekit.utils.text import dataset_name

LOSSES = {"mse": "regression", "cosine": "cosine", "cross-entropy": "distribution"}
"""What is minimized, as after ``--loss``, and what the training loop calls it."""


@dataclass(frozen=True)
class TargetClips:
    """A task whose clips have targets of a file.

    Attributes
    ----------
    card : TaskCard
        The task's, with the targets as numbers to predict.
    clips : Manifest
        Clips that have a target.
    targets : Targets
        Their targets, and perhaps those of other clips.
    loss : {"mse", "cosine", "cross-entropy"}
        What is minimized.
    file : str
        Name of the file.
    notes : tuple of str
        What must be shown with every score.
    """

    card: TaskCard
    clips: Manifest
    targets: Targets
    loss: str
    file: str
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return plain values of all that is used."""
        return {"digest": self.targets.digest(), "loss": self.loss}

    def evaluate(self, predictions: Predictions) -> list[dict[str, Any]]:
        """Return the scores of predictions with their bounds."""
        scores = score_estimates(self.targets, list(predictions.clip_ids), predictions.scores)
        return [score.as_dict() for score in scores]


def with_targets(
    card: TaskCard,
    clips: Manifest,
    file: str | Path,
    *,
    loss: str = "",
    unit_length: bool = False,
    seed: int = 0,
) -> TargetClips:
    """Return a task with the targets of a file instead of its labels.

    The split is that of the file; else the task's official split or folds; else one is drawn,
    76.5 % for training, 8.5 % for validation and 15 % for test, with groups kept together.

    Parameters
    ----------
    card : TaskCard
        The task's facts.
    clips : Manifest
        Its clips, whose labels are not read.
    file : str or pathlib.Path
        As for :func:`probekit.targets.target_file.read_targets`.
    loss : {"", "mse", "cosine", "cross-entropy"}
        By default ``mse`` for vectors, ``cross-entropy`` for distributions.
    unit_length : bool
        Whether vectors are divided by their lengths.
    seed : int >= 0
        Of a split that is drawn.

    Raises
    ------
    ProbekitError
        If the file cannot be read, is of other clips, or does not suit the loss.
    """
    path = Path(file)
    targets = read_targets(path)
    loss = _check_loss(loss, targets, path)
    if unit_length:
        if targets.kind != "vectors" or targets.dim < 2:
            raise ProbekitError(f"--unit-length is for vectors, and {path} has none; leave it out")
        targets = targets.unit_length()
    hint = ". Targets of another dataset? Name clips of items with --items"
    matches = targets.match(clips.clip_ids, card.dataset, str(path), hint)
    rows = np.flatnonzero(matches >= 0)
    order = matches[rows]
    names = targets.names or tuple(f"target {k + 1}" for k in range(targets.dim))
    table = clips.subset(rows).table.copy()
    table["labels"] = [tuple(map(float, row)) for row in targets.values[order]]
    if targets.groups is not None:
        groups = targets.groups[order]
        table["group"] = np.where(groups == "", table["group"].to_numpy(str), groups)
    protocol, notes = _choose_split(card, table, targets, order, seed)
    name = dataset_name(f"{card.name} {path.stem}")
    manifest = replace(
        clips.with_table(table),
        name=name,
        target="regression",
        class_names=names,
        expected=None,
    )
    if len(rows) < len(clips):
        notes.append(f"{len(rows):,} of {len(clips):,} clips have a target")
    if len(rows) < len(targets):
        notes.append(f"{len(targets) - len(rows):,} of {len(targets):,} targets have no clip")
    is_invented = is_standin(clips.root) and STAND_IN not in clips.provenance
    changes = {
        "name": name,
        "title": f"{card.title}: targets of {path.name}",
        "target": "regression",
        "labels": list(names),
        "protocol": protocol,
        "metric": "r2-weighted",
        "also": [],
        "counts": {},
        "published": [],
    }
    return TargetClips(
        card.model_copy(update=changes),
        manifest,
        targets,
        loss,
        path.name,
        (*[STAND_IN] * is_invented, describe_targets(targets, path), *notes),
    )


def _check_loss(loss: str, targets: Targets, path: Path) -> str:
    if not loss:
        return "mse" if targets.kind == "vectors" else "cross-entropy"
    if loss not in LOSSES:
        raise unknown_name_error("loss", loss, LOSSES)
    if loss == "cross-entropy" and targets.kind != "distributions":
        raise ProbekitError(
            f"--loss cross-entropy needs distributions, and the rows of {path} are none: they must "
            "be at least 0 and have the sum 1"
        )
    if loss == "cosine" and targets.dim < 2:
        raise ProbekitError(f"--loss cosine needs vectors, and {path} has one number a clip")
    return loss


def _choose_split(
    card: TaskCard, table: Any, targets: Targets, order: Any, seed: int
) -> tuple[Protocol, list[str]]:
    """Return the protocol, and write its split into the table."""
    if targets.split is not None:
        table["split"], table["fold"] = targets.split[order], ""
        has_valid = bool((targets.split == "valid").any())
        return _fixed("the split of the target file", table, card, has_valid=has_valid), []
    if card.protocol.kind in ("split", "folds"):
        return card.protocol, []
    groups = table["group"].to_numpy(str)
    table["split"], table["fold"] = draw_split(groups, np.ones(len(table), bool), seed=seed), ""
    notes = [] if (groups != "").any() else ["split drawn without groups: none are known"]
    return _fixed(
        "76.5 % training, 8.5 % validation, 15 % test, groups together", table, card
    ), notes


def _fixed(description: str, table: Any, card: TaskCard, *, has_valid: bool = True) -> Protocol:
    """Return the protocol of a fixed split; DataError if a part of it has no clips.

    Without validation clips in the file, some are held out of the training clips where a recipe
    needs them.
    """
    needed = ("train", "valid", "test") if has_valid else ("train", "test")
    empty = [name for name in needed if not (table["split"] == name).any()]
    if empty:
        raise DataError(
            f"{card.name}: no {' and no '.join(empty)} clips with a target in {description}. It "
            "needs more clips with targets, or a file made with another --split"
        )
    return Protocol(kind="split", refit=False, description=description)


def describe_targets(targets: Targets, path: Path) -> str:
    """Return a line on what targets were made of."""
    facts = targets.provenance
    if facts.get("method") == "artist groups":
        return _describe_artist_groups(facts, path)
    if facts.get("kind") != "cf":
        return f"targets {path.name}"
    logs = facts["logs"]
    kind = f"{STAND_IN} " if facts.get("stand_in") else ""
    return (
        f"targets {path.name}: {facts['factors']} factors of {kind}{logs['file']} "
        f"({logs['sha256'][:8]}), lambda {facts['regularization']:g}, seed {facts['seed']}"
    )


def _describe_artist_groups(facts: dict[str, Any], path: Path) -> str:
    """Return a line on the groups that targets were made of."""
    clips = " of all clips, test clips too" if facts["clips"] == "all" else ""
    return (
        f"targets {path.name}: {facts['topics']} topics of {facts['groups']:,} groups "
        f"({facts['group_column']}){clips}, from {facts['features']['from']}, seed {facts['seed']}"
    )


def check_alone(options: Sequence[tuple[str, bool]], name: str = "--targets") -> None:
    """Raise a ProbekitError if an option that does not go with that of a name is set."""
    for option, is_set in options:
        if is_set:
            raise ProbekitError(f"{name} does not go with {option}; leave one of them out")
