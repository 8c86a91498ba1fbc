"""Several targets for one network: target files, and the objective that draws among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from probekit._typing import Array
from probekit.data.manifest import Manifest
from probekit.errors import DataError, ProbekitError
from probekit.extractors.students import zoo
from probekit.extractors.students.base import Student
from probekit.targets.target_file import read_targets
from probekit.tasks.splits import Split
from probekit.training import losses
from probekit.training.dataloader import Batch
from probekit.training.objectives import LABELED, Objective
from probekit.training.target_clips import describe_targets
from probekit.utils.text import summarize_ids

Draw = Literal["epoch", "step"]
DRAWS: tuple[Draw, ...] = ("epoch", "step")
_DRAW_SEED = 2  # apart from the seeds of batches
_LOSSES = {"vectors": "regression", "distributions": "distribution"}


@dataclass(frozen=True)
class FurtherTargets:
    """Targets of a file beside those that a network is scored by.

    Attributes
    ----------
    name : str
        Name of the file, without folder and suffix; that of its loss in the history.
    loss : {"regression", "distribution"}
        As for :func:`probekit.training.losses.task_loss`.
    values : numpy.ndarray, shape (clips, dim), float32
        By rows of the task's clips; 0 without a target.
    has_target : numpy.ndarray of bool, shape (clips,)
        Which of them have one.
    trained : frozenset of str
        Clips that the targets were made of, by the file's split; empty if it has none.
    uses_all_clips : bool
        Whether the targets say that they were made of test clips, too.
    digest : str
        SHA-256 of the content.
    note : str
        What the targets were made of.
    """

    name: str
    loss: str
    values: Array
    has_target: Array
    trained: frozenset[str]
    uses_all_clips: bool
    digest: str
    note: str

    @property
    def stream(self) -> str:
        """Name of the stream of batches."""
        return f"target {self.name}"

    def facts(self) -> dict[str, Any]:
        """Return plain values of what is used."""
        return {"name": self.name, "digest": self.digest, "loss": self.loss}

    def train_rows(self, clips: Manifest, split: Split) -> Array:
        """Return the training clips of a split that have a target.

        Raises
        ------
        DataError
            If there are fewer than two, or test clips of the split are training clips of the file.
        """
        ids = np.array(clips.clip_ids)
        shared = [str(clip_id) for clip_id in ids[split.test] if clip_id in self.trained]
        if shared and not self.uses_all_clips:
            raise DataError(
                f"targets {self.name} are those of another split: {len(shared):,} of "
                f"{len(split.test):,} test clips of {clips.name}, split {split.name!r}, are their "
                f"training clips: {summarize_ids(shared, 3)}. Make targets for this split, or "
                "train on their fold alone (--folds)"
            )
        rows = split.train[self.has_target[split.train]]
        if len(rows) < 2:
            raise DataError(
                f"targets {self.name}: {len(rows)} of {len(split.train):,} training clips of "
                f"{clips.name}, split {split.name!r}, have a target"
            )
        return np.asarray(rows)


def read_further_targets(files: Sequence[str | Path], clips: Manifest) -> list[FurtherTargets]:
    """Read target files for a task's clips.

    Parameters
    ----------
    files : sequence of str or pathlib.Path
        As for :func:`probekit.targets.target_file.read_targets`.
    clips : Manifest
        The task's clips.

    Raises
    ------
    ProbekitError
        If a file cannot be read or has no target of these clips, or two have one name.
    """
    result: list[FurtherTargets] = []
    for file in files:
        path, targets = Path(file), read_targets(file)
        if path.stem in [other.name for other in result]:
            raise ProbekitError(f"--also {path}: there are two files {path.stem!r}; rename one")
        rows = targets.match(clips.clip_ids, clips.name, str(path))
        values = np.where(rows[:, None] >= 0, targets.values[rows], 0).astype(np.float32)
        is_trained = targets.split == "train" if targets.split is not None else ()
        result.append(
            FurtherTargets(
                name=path.stem,
                loss=_LOSSES[targets.kind],
                values=values,
                has_target=rows >= 0,
                trained=frozenset(map(str, targets.clip_ids[np.flatnonzero(is_trained)])),
                uses_all_clips=targets.provenance.get("clips") == "all",
                digest=targets.digest(),
                note=describe_targets(targets, path),
            )
        )
    return result


def with_branches(network: str, targets: int) -> str:
    """Return a network with a branch for each target, if it has branches; else as it is."""
    if network.partition(":")[0] != "artist-net":
        return network
    return zoo.build_student(network, 1, branches=targets).spec


class MultiTarget(Objective):
    """The loss of one of several targets in each step, drawn at random.

    What a network shares between targets is up to it: the first convolution of ``artist-net``, the
    whole encoder of others. Each target has an optimizer of its own, also for what is shared.

    Parameters
    ----------
    student : Student
        The network; its own decoder is that of the first target.
    target : str
        Kind of the first target; see :func:`probekit.training.losses.task_loss`.
    further : sequence of FurtherTargets
        The other ones.
    draw : {"epoch", "step"}
        How often the target is drawn.
    """

    def __init__(
        self, student: Student, target: str, further: Sequence[FurtherTargets], draw: Draw = "epoch"
    ) -> None:
        super().__init__()
        self.student = student
        self.kinds = [target, *(each.loss for each in further)]
        self.names = ["loss", *(each.name for each in further)]
        self.stream_names = [LABELED, *(each.stream for each in further)]
        self.draw = draw
        self.heads = nn.ModuleList(student.branch_decoder(each.values.shape[1]) for each in further)

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Return ``loss`` for the first target, else a term with the target's name."""
        [(stream, batch)] = batches.items()
        index = self.stream_names.index(stream)
        assert batch.targets is not None
        embedding = self.student.encode_branch(batch.waves, index)
        head = self.heads[index - 1] if index else self.student.decode
        logits = head(embedding)
        self.logits = None if index else logits.detach()
        loss = losses.task_loss(logits, batch.targets, self.kinds[index])
        if self.draw == "epoch":
            return {self.names[index]: loss}
        return {name: loss if k == index else 0 * loss for k, name in enumerate(self.names)}

    def predict(self, batch: Batch) -> Tensor:
        """Return the logits of a batch for the first target, shape (batch, classes)."""
        logits: Tensor = self.student.decode(self.student.encode_branch(batch.waves, 0))
        return logits

    def parameter_sets(self) -> list[list[nn.Parameter]]:
        """Return the parameters that the loss of each target depends on."""
        sets = [self.student.branch_parameters(k) for k in range(len(self.names))]
        return [
            sets[0],
            *([*a, *b.parameters()] for a, b in zip(sets[1:], self.heads, strict=True)),
        ]

    def streams_of_epoch(self, names: Sequence[str], seed: int, epoch: int) -> list[str]:
        """Return the stream of the target that is drawn for an epoch; all if drawn by step."""
        if self.draw == "step":
            return list(names)
        return [self._choose(names, seed, epoch)]

    def streams_of_step(self, names: Sequence[str], seed: int, epoch: int, step: int) -> list[str]:
        """Return the stream of the target that is drawn for a step."""
        return list(names) if self.draw == "epoch" else [self._choose(names, seed, epoch, step)]

    def optimizer_of(self, names: Sequence[str]) -> int:
        """Return the target of a step by the stream that it reads."""
        return self.stream_names.index(names[0])

    def _choose(self, names: Sequence[str], *numbers: int) -> str:
        rng = np.random.default_rng([*numbers, _DRAW_SEED])
        return names[int(rng.integers(len(names)))]


def check_draw(draw: str, further: Sequence[Any]) -> None:
    """Raise a ProbekitError if it is unknown how often targets are drawn, or there is one only."""
    if draw not in DRAWS:
        raise ProbekitError(f"--draw must be epoch or step, got {draw!r}")
    if draw != "epoch" and not further:
        raise ProbekitError("--draw is for several targets (--also); leave it out")
