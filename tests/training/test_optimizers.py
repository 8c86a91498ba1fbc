"""Optimizers of the loop: torch's own numbers, without torch's compiler."""

import json
from copy import deepcopy

import pytest
import torch

from probekit.training.optimizers import OptimizerSet
from probekit.training.schedules import Phase, TrainingRecipe

LOADED = """
import json, sys
import probekit.training.train
import torch
from probekit.training.optimizers import OptimizerSet
from probekit.training.schedules import Phase, TrainingRecipe
weight = torch.nn.Parameter(torch.ones(3))
for kind in ("adam", "sgd"):
    phase = Phase(1, kind, 0.1)
    optimizers = OptimizerSet([[weight]], [], phase, TrainingRecipe("mine", (phase,)))
    optimizers.zero_grad()
    weight.sum().backward()
    torch.amp.GradScaler("cpu", enabled=False).step(optimizers.optimizers[0])
    optimizers.load_state_dict(optimizers.state_dict())
print(json.dumps([name for name in ("torch._dynamo", "scipy.stats") if name in sys.modules]))
"""


def descend(optimizer, parameters, steps):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        for parameter in parameters:
            noise = torch.randn(parameter.shape, generator=generator)
            ((parameter - noise) ** 2).sum().backward()
        optimizer.step()


def make_parameters():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(n, 4, generator=generator)) for n in (2, 3)]


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_steps_are_those_of_torch_to_the_bit(kind):
    phase = Phase(1, kind, 0.05)
    recipe = TrainingRecipe("mine", (phase,), weight_decay=0.01, momentum=0.9)
    ours, theirs = make_parameters(), make_parameters()
    [optimizer] = OptimizerSet([ours], [ours[1]], phase, recipe).optimizers
    groups = [
        {"params": theirs[:1], "weight_decay": 0.01},
        {"params": theirs[1:], "weight_decay": 0.0},
    ]
    if kind == "adam":
        reference = torch.optim.Adam(groups, lr=0.05, eps=recipe.epsilon)
    else:
        reference = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
    descend(optimizer, ours, 3)
    descend(reference, theirs, 3)
    optimizer.load_state_dict(
        deepcopy(reference.state_dict())
    )  # one kind of state: checkpoints stay valid
    descend(optimizer, ours, 4)
    descend(reference, theirs, 4)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not any(parameter.grad_fn for parameter in ours)


def test_training_loads_neither_the_compiler_nor_scipy_stats(cli):
    done = cli(code=LOADED)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
