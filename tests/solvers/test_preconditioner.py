"""Blocks of the preconditioner are inverse Hessians, which folds of the same rows share."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from probekit.solvers import preconditioner as module
from probekit.solvers.newton import Newton
from probekit.solvers.objective import Objective
from probekit.solvers.row_blocks import StandardizedRows

CLIPS, DIM, CLASSES, C = 600, 24, 3, 10.0


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Compute blocks at the first direction."""
    monkeypatch.setattr(module, "_MIN_STEPS", 0)


def draw(folds, *, without=None):
    """Return Newton's method for folds, of which ``without`` has no clip of the last class."""
    rng = np.random.default_rng(0)
    labels = np.arange(CLIPS) % CLASSES
    x = (rng.standard_normal((CLIPS, DIM)) + np.eye(DIM)[labels]).astype(np.float32)
    masks = np.stack([np.arange(CLIPS) // CLASSES % max(folds, 2) != k for k in range(folds)])
    if without is not None:
        masks[without] &= labels != CLASSES - 1
    objective = Objective(StandardizedRows(x, masks), labels, range(folds), classes=CLASSES)
    return Newton(objective, CLIPS, 1e9)


def refresh(newton, weights, *, alone=(), c=None):
    """Compute blocks at some weights; return the weights of the rows."""
    count = len(newton.objective)
    groups, intercepts = torch.arange(count), torch.zeros(count, CLASSES, dtype=torch.float64)
    state = newton._hessian_state(groups, weights, intercepts, torch.float64)
    row_weight = state.row_weight()
    newton.preconditioner.steps_since[:] = 10**6
    newton.preconditioner.refresh(
        groups,
        groups,
        row_weight,
        torch.full((count,), C, dtype=torch.float64) if c is None else c,
        torch.tensor([k in alone for k in range(count)]),
    )
    return row_weight


def some_weights(count):
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(1, CLASSES, DIM, generator=generator, dtype=torch.float64)
    return 0.3 * shared.expand(count, -1, -1).clone()


def test_block_is_the_inverse_of_the_hessian_of_a_class():
    newton = draw(1)
    weights = some_weights(1)
    refresh(newton, weights)
    rows = newton.basis.rows.double().numpy()
    coordinates = newton.basis.to_coordinates(weights, torch.zeros(1, dtype=int), newton.ratio)
    scores = rows @ coordinates[0].numpy().T
    shift = newton.objective.rows.shift[0].numpy()
    scores += ((newton.basis.center.numpy() - shift) * weights[0].numpy()).sum(axis=1)
    probs = softmax(scores, axis=1)
    for number, inverse in enumerate(newton.preconditioner.inverses[0].double().numpy()):
        weight = newton.masks[0].numpy() * probs[:, number] * (1 - probs[:, number])
        centered = rows - weight @ rows / weight.sum()
        hessian = np.eye(len(inverse)) + C * (centered * weight[:, None]).T @ centered
        # the ridge of the block, 1e-6 of its diagonal, and float32 products
        np.testing.assert_allclose(inverse @ hessian, np.eye(len(hessian)), atol=2e-4)


def test_folds_share_the_block_of_their_mean_row_weights():
    newton = draw(4)
    row_weight = refresh(newton, some_weights(4))
    inverses = newton.preconditioner.inverses
    assert all(inverses[group] is inverses[0] for group in range(4))
    single = draw(4)
    single.preconditioner.steps_since[:] = 10**6
    mean = row_weight.mean(dim=0, keepdim=True)
    first = torch.zeros(1, dtype=torch.int64)
    squares = single.basis.penalty.squares
    squares[:] = squares.mean(dim=0)
    single.preconditioner.refresh(
        first, first, mean, torch.full((1,), C, dtype=torch.float64), torch.tensor([False])
    )
    torch.testing.assert_close(inverses[0], single.preconditioner.inverses[0])


def test_folds_without_a_class_at_another_c_or_alone_have_blocks_of_their_own():
    newton = draw(4, without=3)
    refresh(newton, some_weights(4))
    inverses = newton.preconditioner.inverses
    assert inverses[0] is inverses[1] is inverses[2] and inverses[3] is not inverses[0]
    refresh(newton, some_weights(4), alone=[1])
    assert inverses[0] is inverses[2] and inverses[1] is not inverses[0]
    refresh(newton, some_weights(4), c=torch.tensor([1.0, 1.0, 10.0, 1.0], dtype=torch.float64))
    assert inverses[0] is inverses[1] and inverses[2] is not inverses[0]


def test_shared_blocks_cost_each_fold_its_part():
    newton = draw(4)
    refresh(newton, some_weights(4))
    shared = int(newton.preconditioner.cost[0])
    refresh(newton, some_weights(4), alone=range(4))
    alone = int(newton.preconditioner.cost[0])
    assert alone // 4 <= shared < alone


@pytest.mark.parametrize("left", [[0, 1, 2, 3], [2], [0, 3], [3]])
def test_operator_applies_each_group_s_block_to_those_that_are_left(left):
    newton = draw(4, without=3)
    row_weight = refresh(newton, some_weights(4), alone=[1])
    groups = torch.arange(4)
    present = newton.objective.present
    apply = newton.preconditioner.operator(
        groups, groups, row_weight, torch.full((4,), C, dtype=torch.float64), present, softmax=False
    )
    active = torch.tensor(left)
    residual = torch.randn(
        len(left), CLASSES, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    result = apply(residual, active)
    for k, group in enumerate(left):
        inverse = newton.preconditioner.inverses[group]
        size = inverse.shape[-1]
        for number in range(CLASSES):
            expected = residual[k, number, :size].float() @ inverse[number]
            torch.testing.assert_close(
                result[k, number, :size].float(), expected, rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_penalty_is_that_of_weights_on_each_fold_s_scales(dtype):
    newton = draw(4)
    penalty, vectors = newton.basis.penalty, newton.basis.vectors
    squares = penalty.squares * torch.linspace(0.5, 2, DIM, dtype=torch.float64)
    penalty = type(penalty)(squares.sqrt(), vectors)
    folds = torch.tensor([2, 0, 2])
    dense = vectors.T @ (squares[:, :, None] * vectors)
    point = torch.randn(3, CLASSES, DIM, generator=torch.Generator().manual_seed(0), dtype=dtype)
    # vectors are rounded to float32
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(
        penalty.hvp(point, folds).double(), point.double() @ dense[folds], **close
    )
    torch.testing.assert_close(penalty.diagonal, dense.diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(
        penalty.block(folds, 7).double(), dense[folds, :7, :7].mean(dim=0), **close
    )


def test_penalty_of_equal_scales_is_the_identity():
    penalty = draw(1).basis.penalty
    point, folds = torch.randn(1, CLASSES, DIM), torch.tensor([0])
    assert torch.equal(penalty.hvp(point, folds), point)
    assert torch.equal(penalty.block(folds, 7), torch.eye(7)) and bool(
        (penalty.diagonal == 1).all()
    )
