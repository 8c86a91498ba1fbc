"""Logistic regressions of the same rows on many sets of labels, accurate enough for a null.

The problem is that of :mod:`.logistic`, for one C. Rows are rotated once into the eigenbasis of
XᵀX. At zero weights the Hessian is there ``1 + C μ λ``: λ is a variance of the rows, μ an
eigenvalue of the classes' covariance. All sets follow nonlinear conjugate gradients preconditioned
with its inverse, as columns of the same two float32 products a step: scores of the directions, and
gradients. Labels without relation to the rows leave probabilities near the classes' shares, so that
few steps are needed. A set starts from zero weights and the best intercepts: solutions for other
labels are no nearer.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from probekit._typing import Array
from probekit.parallel.resources import torch_threads

TOLERANCE = 0.003  # estimated error of each class's weights, relative to their length
MAX_ITER = 150
_COLUMNS = 320  # of one product: sets times classes
_MEMORY = 4e8  # bytes for scores and what is computed from them
_ARRAYS = 8  # of the scores' size
_BLOCK = 4096  # rows in float64 at a time
_RANK = 1e-12  # variance relative to the largest below which a direction is rounding
_SINGLE_THREAD_FLOPS = 5e7  # operations of a product up to which threads cost more than they save
_REFRESH = 25  # steps after which the preconditioner is computed again
_SLOPE = 0.1  # share of the slope that may remain after a line search
_MAX_TRIALS = 10  # of one line search
_NEVER = -1e4  # intercept of a class that a set of labels lacks


class LabelSetSolver:
    """Fits the same rows to any labels.

    Parameters
    ----------
    rows : numpy.ndarray, shape (rows, dim)
        Features as the probe reads them.
    c : float > 0
        Inverse regularization strength, as in scikit-learn.

    Attributes
    ----------
    vectors : torch.Tensor, shape (dim, directions)
        Orthonormal basis of the span of the centered rows.
    variances : torch.Tensor, shape (directions,)
        Sum of squares along each.
    rows : torch.Tensor, shape (rows, directions)
        Rotated rows.
    """

    def __init__(self, rows: Array, c: float) -> None:
        self.c = c
        mean = rows.mean(axis=0, dtype=np.float64)
        centered = torch.as_tensor(np.asarray(rows - mean, np.float32))
        count, dim = centered.shape
        if dim <= count:
            square = torch.zeros(dim, dim, dtype=torch.float64)
            for start in range(0, count, _BLOCK):
                block = centered[start : start + _BLOCK].double()
                square += block.T @ block
        else:
            square = centered.double() @ centered.double().T
        variances, vectors = torch.linalg.eigh(square)
        used = variances > _RANK * variances[-1]
        variances, vectors = variances[used], vectors[:, used]
        if dim > count:
            vectors = centered.double().T @ (vectors / variances.sqrt())
        vectors[(centered == 0).all(dim=0)] = 0  # weights of constant features are rounding
        self.variances, self.vectors = variances.float(), vectors.float()
        self.rows = centered @ self.vectors

    def batch_size(self, width: int) -> int:
        """Return how many sets of ``width`` columns each are best solved together."""
        columns = min(_COLUMNS, _MEMORY / 4 / _ARRAYS / len(self.rows))
        return max(1, int(columns / width))

    def softmax(
        self, labels: Array, classes: int, tolerance: float = TOLERANCE, max_iter: int = MAX_ITER
    ) -> tuple[Array, Array]:
        """Fit one softmax to each set of labels.

        Parameters
        ----------
        labels : numpy.ndarray of int, shape (sets, rows)
            Class numbers; a set may lack classes.
        classes : int
            Number of classes.
        tolerance : float > 0
            Estimated error of each class's weights, relative to their length, at which to stop.
        max_iter : int >= 1
            Steps.

        Returns
        -------
        coef : numpy.ndarray, shape (sets, classes, dim), float32
            Weights on the rows as given; 0 for classes that a set lacks.
        converged : numpy.ndarray of bool, shape (sets,)
            Whether the tolerance was reached.
        """
        one_hot = torch.as_tensor(labels)[:, None] == torch.arange(classes)[:, None]
        return self._solve(one_hot.float(), True, tolerance, max_iter)

    def tags(
        self, labels: Array, tolerance: float = TOLERANCE, max_iter: int = MAX_ITER
    ) -> tuple[Array, Array]:
        """Fit one logistic regression to each tag.

        Parameters
        ----------
        labels : numpy.ndarray, shape (tags, rows)
            0 and 1.
        tolerance : float > 0
            As for :meth:`softmax`.
        max_iter : int >= 1
            As for :meth:`softmax`.

        Returns
        -------
        coef : numpy.ndarray, shape (tags, dim), float32
            0 for a tag that no row has, or all.
        converged : numpy.ndarray of bool, shape (tags,)
            Whether the tolerance was reached.
        """
        targets = torch.as_tensor(np.asarray(labels, np.float32))[:, None]
        coef, converged = self._solve(targets, False, tolerance, max_iter)
        return coef[:, 0], converged

    def _solve(
        self, targets: Tensor, softmax: bool, tolerance: float, max_iter: int
    ) -> tuple[Array, Array]:
        sets, width = targets.shape[:2]
        weights = torch.zeros(sets, width, self.rows.shape[1])
        converged = torch.zeros(sets, dtype=torch.bool)
        with _threads(self.rows, sets * width), torch.no_grad():
            active = torch.arange(sets)
            paths = _start(targets, self.rows.shape[1], softmax)
            for step in range(max_iter):
                done = self._turn(paths, step, tolerance, softmax)
                if done.any():
                    weights[active[done]] = paths.weights[done]
                    converged[active[done]] = True
                    active, paths = active[~done], paths.subset(~done)
                if not len(active):
                    break
                self._move(paths, softmax)
            weights[active] = paths.weights
            coef = (weights.view(-1, weights.shape[-1]) @ self.vectors.T).view(sets, width, -1)
        return coef.numpy(), converged.numpy()

    def _turn(self, paths: "_Paths", step: int, tolerance: float, softmax: bool) -> Tensor:
        """Compute gradients and the next directions; return which sets are done."""
        fitted = paths.fitted
        residuals = paths.probs - paths.targets
        flat = residuals.view(-1, residuals.shape[-1]) @ self.rows
        gradient = paths.weights + self.c * flat.view(paths.weights.shape)
        slope = self.c * residuals.sum(dim=2)
        if softmax:  # what all classes have in common is rounding
            gradient, slope = _center(gradient, fitted), _center(slope, fitted)
        if step % _REFRESH == 0:
            paths.curvature, paths.axes = _class_curvature(paths.probs, softmax)
        down, down_intercept = self._precondition(paths, gradient, slope)
        length = paths.weights.norm(dim=2)
        done = _within(gradient, down, length, fitted, tolerance)
        if bool(done.any()) and step % _REFRESH:
            # where probabilities have moved far from the shares, the first Hessian is too large
            some = torch.nonzero(done)[:, 0]
            fresh = paths.subset(done)
            fresh.curvature, fresh.axes = _class_curvature(fresh.probs, softmax)
            again = self._precondition(fresh, gradient[some], slope[some])
            down[some], down_intercept[some] = again
            paths.curvature[some], paths.axes[some] = fresh.curvature, fresh.axes
            paths.norm[some] = 0  # start again along the gradient
            done[some] = _within(gradient[some], down[some], length[some], fitted[some], tolerance)
        norm = _dot(gradient, down) + (slope * down_intercept).sum(dim=1)
        change = norm - _dot(paths.gradient, down) - (paths.slope * down_intercept).sum(dim=1)
        beta = torch.where(paths.norm > 0, change / paths.norm, 0.0).clamp(min=0)  # Polak, Ribière
        beta = beta if step % _REFRESH else torch.zeros_like(beta)
        direction = beta[:, None, None] * paths.direction - down
        intercept_direction = beta[:, None] * paths.intercept_direction - down_intercept
        along = _dot(gradient, direction) + (slope * intercept_direction).sum(dim=1)
        uphill = along >= 0
        direction[uphill], intercept_direction[uphill] = -down[uphill], -down_intercept[uphill]
        paths.along = torch.where(uphill, -norm, along)
        paths.gradient, paths.slope, paths.norm = gradient, slope, norm
        paths.direction, paths.intercept_direction = direction, intercept_direction
        return done

    def _precondition(
        self, paths: "_Paths", gradient: Tensor, slope: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return gradients by the inverse of the Hessian at equal probabilities in all rows."""
        scale = self.c * paths.curvature[:, :, None]
        count = float(len(self.rows))
        first = (paths.axes.transpose(1, 2) @ gradient) / (1 + scale * self.variances)
        varies = paths.curvature > 1e-9 * paths.curvature.amax(dim=1, keepdim=True)
        second = paths.axes.transpose(1, 2) @ slope[:, :, None]
        second = torch.where(varies[:, :, None], second / (count * scale).clamp(min=1e-30), 0.0)
        mask = paths.fitted
        return (paths.axes @ first) * mask[:, :, None], (paths.axes @ second)[:, :, 0] * mask

    def _move(self, paths: "_Paths", softmax: bool) -> None:
        """Go along the directions to where the objective nearly stops to fall."""
        c = self.c
        flat = paths.direction.view(-1, paths.direction.shape[-1]) @ self.rows.T
        change = flat.view(paths.scores.shape) + paths.intercept_direction[:, :, None]
        square = _dot(paths.direction, paths.direction)
        product = _dot(paths.weights, paths.direction)
        step = torch.zeros_like(square)
        low, high = torch.zeros_like(square), torch.full_like(square, torch.inf)
        along, probs = paths.along, paths.probs
        moving = torch.ones_like(square, dtype=torch.bool)
        for _ in range(_MAX_TRIALS):
            weighted = probs * change
            if softmax:
                curvature = _dot(weighted, change) - (weighted.sum(dim=1) ** 2).sum(dim=1)
            else:
                curvature = _dot(weighted, change * (1 - probs))
            trial = step - along / (square + c * curvature)  # Newton's, inside what is known
            trial = torch.where(trial < high, trial, (low + high) / 2)
            trial = torch.where(trial > low, trial, (low + torch.minimum(high, 2 * low + 1)) / 2)
            step = torch.where(moving & torch.isfinite(trial), trial, step)
            probs = _probabilities(paths.scores + step[:, None, None] * change, softmax)
            along = product + step * square + c * _dot(probs - paths.targets, change)
            low = torch.where(along < 0, torch.maximum(low, step), low)
            high = torch.where(along > 0, torch.minimum(high, step), high)
            moving = along.abs() > _SLOPE * paths.along.abs()
            if not bool(moving.any()):
                break
        paths.scores += step[:, None, None] * change
        paths.weights = paths.weights + step[:, None, None] * paths.direction
        paths.probs = probs


@dataclass
class _Paths:
    """Points, directions and preconditioners of sets; the first axis is sets.

    Attributes
    ----------
    weights, gradient, direction : torch.Tensor, shape (sets, classes, directions)
        By coordinates in the eigenbasis.
    slope, intercept_direction : torch.Tensor, shape (sets, classes)
        Gradient and direction of the intercepts.
    scores, probs, targets : torch.Tensor, shape (sets, classes, rows)
        At the weights.
    fitted : torch.Tensor of bool, shape (sets, classes)
        Classes, or tags, that the labels determine.
    norm, along : torch.Tensor, shape (sets,)
        Squared preconditioned norm of the gradient; derivative along the direction.
    curvature, axes : torch.Tensor, shapes (sets, classes) and (sets, classes, classes)
        Eigenvalues and eigenvectors of the classes' covariance.
    """

    weights: Tensor
    gradient: Tensor
    direction: Tensor
    slope: Tensor
    intercept_direction: Tensor
    scores: Tensor
    probs: Tensor
    targets: Tensor
    fitted: Tensor
    norm: Tensor
    along: Tensor
    curvature: Tensor
    axes: Tensor

    def subset(self, sets: Tensor) -> "_Paths":
        """Return the paths of some sets."""
        return _Paths(*(getattr(self, field.name)[sets] for field in fields(self)))


def _start(targets: Tensor, directions: int, softmax: bool) -> _Paths:
    """Return zero weights, with the best intercepts."""
    sets, width, count = targets.shape
    share = targets.mean(dim=2)
    fitted = (share > 0) & (share < 1)
    best = share.log() if softmax else torch.logit(share)
    intercepts = torch.where(fitted, best, _NEVER)
    scores = intercepts[:, :, None].expand(-1, -1, count).contiguous()
    weights, slope = torch.zeros(sets, width, directions), torch.zeros(sets, width)
    return _Paths(
        weights=weights,
        gradient=weights,
        direction=weights,
        slope=slope,
        intercept_direction=slope,
        scores=scores,
        probs=_probabilities(scores, softmax),
        targets=targets,
        fitted=fitted,
        norm=torch.zeros(sets),
        along=torch.zeros(sets),
        curvature=slope,
        axes=torch.zeros(sets, width, width),
    )


def _probabilities(scores: Tensor, softmax: bool) -> Tensor:
    return torch.softmax(scores, dim=1) if softmax else torch.sigmoid(scores)


def _class_curvature(probs: Tensor, softmax: bool) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors of the classes' covariance, the mean over rows."""
    if not softmax:
        return (probs * (1 - probs)).mean(dim=2), torch.ones(len(probs), 1, 1)
    together = probs @ probs.transpose(1, 2) / probs.shape[2]
    covariance = torch.diag_embed(probs.mean(dim=2)) - together
    values, vectors = torch.linalg.eigh(covariance)
    return values.clamp(min=0), vectors


def _within(
    gradient: Tensor, down: Tensor, length: Tensor, fitted: Tensor, tolerance: float
) -> Tensor:
    """Tell where each class's error, estimated from gradient and Hessian, is small."""
    error = (gradient * down).sum(dim=2).clamp(min=0).sqrt()
    return ((error <= tolerance * length) | ~fitted).all(dim=1)


def _center(values: Tensor, fitted: Tensor) -> Tensor:
    """Subtract the mean over the classes that are fitted."""
    mask = fitted.to(values.dtype).view(*fitted.shape, *[1] * (values.dim() - 2))
    mean = (values * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
    return (values - mean) * mask


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2))


def _threads(rows: Tensor, columns: int) -> AbstractContextManager[None]:
    """Use one thread for small problems, where synchronization costs more than it saves."""
    return torch_threads(single=2.0 * rows.numel() * columns < _SINGLE_THREAD_FLOPS)
