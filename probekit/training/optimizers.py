"""Optimizers of a training: one, or one for each target of several."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from probekit.training.schedules import Phase, TrainingRecipe

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
        return torch.optim.Adam(
            groups, lr=phase.lr, weight_decay=recipe.weight_decay, eps=recipe.epsilon
        )
    return torch.optim.SGD(
        groups,
        lr=phase.lr,
        momentum=recipe.momentum,
        nesterov=True,
        weight_decay=recipe.weight_decay,
    )
