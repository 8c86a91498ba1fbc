"""Optimizers of a training: one, or one for each target of several."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from probekit.training.schedules import Phase, Plateau, TrainingRecipe

_SETS = "sets"


class OptimizerSet:
    """Optimizers of overlapping sets of parameters, of which each step uses one.

    Weights that several of them share have moments of their own in each.

    Parameters
    ----------
    sets : sequence of sequence of torch.nn.Parameter
        Parameters of each optimizer.
    plain : collection of torch.nn.Parameter
        Parameters without weight decay.
    phase : Phase
        Kind of optimizer, and learning rate.
    recipe : TrainingRecipe
        Its constants.
    """

    def __init__(
        self,
        sets: Sequence[Sequence[nn.Parameter]],
        plain: Sequence[nn.Parameter],
        phase: Phase,
        recipe: TrainingRecipe,
    ) -> None:
        without = {id(parameter) for parameter in plain}
        self.optimizers = [_make_optimizer(each, without, phase, recipe) for each in sets]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Groups of all optimizers."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def zero_grad(self) -> None:
        """Remove all gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return the state; that of the optimizer if there is one."""
        states = [optimizer.state_dict() for optimizer in self.optimizers]
        return states[0] if len(states) == 1 else {_SETS: states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        states = state.get(_SETS, [state])
        for optimizer, each in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(each)


def plateau_factor(plateau: Plateau, scores: Sequence[float | None], *, rises: bool) -> float:
    """Return the factor of the learning rate after some epochs, by torch's own scheduler.

    It follows from the scores of all epochs of the phase, so that a resumed run has the same.

    Parameters
    ----------
    plateau : Plateau
        Factor and patience.
    scores : sequence of float or None
        Validation metric of each epoch; None, where it is undefined, is worse than any.
    rises : bool
        Whether higher is better.
    """
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        "max" if rises else "min",
        factor=plateau.factor,
        patience=plateau.patience,
    )
    worst = float("-inf" if rises else "inf")
    for score in scores:
        scheduler.step(worst if score is None else score)
    return float(optimizer.param_groups[0]["lr"])


def _make_optimizer(
    parameters: Sequence[nn.Parameter], without: set[int], phase: Phase, recipe: TrainingRecipe
) -> torch.optim.Optimizer:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups: Any = trained
    if without:
        groups = [
            {"params": [p for p in trained if id(p) not in without]},
            {"params": [p for p in trained if id(p) in without], "weight_decay": 0.0},
        ]
    if phase.optimizer == "adam":
        return _uncompiled(torch.optim.Adam)(
            groups,
            lr=phase.lr,
            weight_decay=recipe.weight_decay,
            eps=recipe.epsilon,
            amsgrad=recipe.amsgrad,
        )
    return _uncompiled(torch.optim.SGD)(
        groups,
        lr=phase.lr,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )


def _uncompiled(kind: type[torch.optim.Optimizer]) -> Any:
    """Return a kind of optimizer without the wrappers that keep its methods out of torch.compile.

    At their first call they import torch's compiler, which takes a second, and is not used here.
    """
    methods = {
        name: inspect.unwrap(getattr(kind, name))
        for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    }
    # what wraps the step turns off gradients as well
    step = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), {**methods, "step": step})
