"""How a student is trained: phases of an optimizer, which epoch is kept, and when to stop.

``default`` is probekit's own: one Adam phase, chunks that cover every clip, the epoch that is best
by the task's own metric on validation clips, and a stop once that has not improved for a while.
``won`` is the published recipe of the harmonic CNN, which hung2022 takes over.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any, Literal

from probekit.errors import ProbekitError
from probekit.utils.suggest import unknown_name_error

Optimizer = Literal["adam", "sgd"]
NAMES = ("default", "won")
_F1 = "f1-samples"  # the metric that Won et al. choose by on DCASE2017
_WITHOUT_CHOICE = 10  # epochs before F1 counts


@dataclass(frozen=True)
class Phase:
    """Epochs with one optimizer at one rate.

    Attributes
    ----------
    epochs : int >= 1
        How many.
    optimizer : {"adam", "sgd"}
        SGD has Nesterov momentum.
    lr : float > 0
        Learning rate.
    fresh : bool
        Whether the optimizer is a new one; otherwise the one before goes on at the new rate, with
        its momentum.
    """

    epochs: int
    optimizer: Optimizer
    lr: float
    fresh: bool = True


@dataclass(frozen=True)
class TrainingRecipe:
    """A way to train a student.

    Attributes
    ----------
    name : str
        As after ``--recipe``.
    phases : tuple of Phase
        One after the other; each but the first begins with the best weights so far.
    batch : int >= 1
        Clips a step.
    weight_decay : float >= 0
        L2, added to the gradient, in every phase.
    momentum : float
        Of SGD.
    select : {"metric", "loss"}
        Which epoch is kept: the best by the task's metric on validation clips, or by the mean loss
        of their chunks.
    ties : {"first", "loss"}
        Of epochs that are equally good by the metric, the first is kept, or that with the lowest
        validation loss: with few validation clips many are equal.
    unchosen : int >= 0
        That many epochs come before the first that may be kept.
    ceiling : float or None
        A validation loss that is not below it is never kept.
    chunks : {"cover", "won"}
        Where scores of a clip come from: evenly spread chunks that cover it, or 16 that begin at
        ``i * (length - crop) // 16``, so that its end is not reached.
    patience : int or None
        Training stops after that many epochs without a better one; None for never.
    """

    name: str
    phases: tuple[Phase, ...]
    batch: int = 16
    weight_decay: float = 1e-4
    momentum: float = 0.9
    select: Literal["metric", "loss"] = "metric"
    ties: Literal["first", "loss"] = "first"
    unchosen: int = 0
    ceiling: float | None = None
    chunks: Literal["cover", "won"] = "cover"
    patience: int | None = None

    @property
    def epochs(self) -> int:
        """Epochs in all, where nothing stops earlier."""
        return sum(phase.epochs for phase in self.phases)

    def phase_at(self, epoch: int) -> int:
        """Return the number of the phase that an epoch (from 0) belongs to."""
        ends = accumulate(phase.epochs for phase in self.phases)
        return next(k for k, end in enumerate(ends) if epoch < end)

    def is_phase_start(self, epoch: int) -> bool:
        """Tell whether a later phase than the first begins with an epoch (from 0)."""
        return epoch > 0 and self.phase_at(epoch) != self.phase_at(epoch - 1)

    def facts(self) -> dict[str, Any]:
        """Return all of it in plain values: it names the run."""
        return asdict(self)


def get(
    name: str,
    metric: str,
    *,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
) -> TrainingRecipe:
    """Return a recipe for a task.

    ``won`` follows the published code of Won et al. for MagnaTagATune: batches of 16 random crops;
    80 epochs of Adam at 1e-4, then, each from the best weights so far, 20 of SGD (Nesterov momentum
    0.9) at 1e-3, 20 at 1e-4 and 80 at 1e-5 with the same optimizer; weight decay 1e-4; the best
    epoch has the lowest mean validation loss, if below 1; 16 chunks a clip that do not reach its
    end; no early stop. For tasks scored by the mean F1 of clips (DCASE2017) the best epoch has the
    highest F1, from the eleventh on. hung2022 takes both over; that its phases are the same for
    DCASE2017 is not established.

    Parameters
    ----------
    name : {"default", "won"}
        Which.
    metric : str
        The task's.
    epochs : int >= 1, optional
        Other than the recipe's; the phases keep their shares, and each at least one epoch.
    batch : int >= 1, optional
        Another size of a batch.
    lr : float > 0, optional
        Another rate for the first phase; the others keep their ratio to it.

    Returns
    -------
    Recipe
        Ready to train by.

    Raises
    ------
    ProbekitError
        If there is no such recipe, or a number is out of range.
    """
    if name not in NAMES:
        raise unknown_name_error("recipe", name, NAMES)
    made = _won2020(metric) if name == "won" else _default()
    if epochs is not None:
        if epochs < len(made.phases):
            raise ProbekitError(
                f"--epochs {epochs}: at least {len(made.phases)}, one for each phase of {name!r}"
            )
        made = replace(
            made,
            unchosen=min(made.unchosen * epochs // made.epochs, epochs - 1),
            phases=_split_epochs(made.phases, epochs),
        )
    if batch is not None:
        if batch < 2:  # pairs within a batch, and batch normalization, need two
            raise ProbekitError(f"--batch {batch}: at least 2")
        made = replace(made, batch=batch)
    if lr is not None:
        if not lr > 0:
            raise ProbekitError(f"--lr {lr:g}: above 0")
        ratio = lr / made.phases[0].lr
        made = replace(made, phases=tuple(replace(p, lr=p.lr * ratio) for p in made.phases))
    return made


def changes(recipe: TrainingRecipe, metric: str) -> list[str]:
    """Say what differs from the recipe ``default`` of a task.

    Parameters
    ----------
    recipe : Recipe
        From :func:`get`.
    metric : str
        The task's.

    Returns
    -------
    list of str
        The recipe's name, and the numbers that are other than its own; empty for ``default`` as it
        is.
    """
    own = get(recipe.name, metric)
    said = [f"recipe {recipe.name}"] * (recipe.name != "default")
    if recipe.epochs != own.epochs:
        said.append(f"{recipe.epochs} epoch{'s' * (recipe.epochs != 1)}")
    if recipe.batch != own.batch:
        said.append(f"batch {recipe.batch}")
    if recipe.phases[0].lr != own.phases[0].lr:
        said.append(f"lr {recipe.phases[0].lr:g}")
    return said


def _default() -> TrainingRecipe:
    return TrainingRecipe("default", (Phase(200, "adam", 1e-3),), ties="loss", patience=20)


def _won2020(metric: str) -> TrainingRecipe:
    phases = (
        Phase(80, "adam", 1e-4),
        Phase(20, "sgd", 1e-3),
        Phase(20, "sgd", 1e-4, fresh=False),
        Phase(80, "sgd", 1e-5, fresh=False),
    )
    if metric.partition("@")[0] == _F1:
        return TrainingRecipe(
            "won", phases, select="metric", unchosen=_WITHOUT_CHOICE, chunks="won"
        )
    return TrainingRecipe("won", phases, select="loss", ceiling=1.0, chunks="won")


def _split_epochs(phases: Sequence[Phase], epochs: int) -> tuple[Phase, ...]:
    """Give phases their share of another number of epochs, each at least one."""
    whole = sum(phase.epochs for phase in phases)
    counts = [max(1, epochs * phase.epochs // whole) for phase in phases]
    counts[0] += max(0, epochs - sum(counts))
    while sum(counts) > epochs:  # the longest gives way to those that would have none
        counts[counts.index(max(counts))] -= 1
    return tuple(replace(p, epochs=n) for p, n in zip(phases, counts, strict=True))
