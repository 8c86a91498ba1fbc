"""Multi-layer perceptron, trained by Adam: scikit-learn's arithmetic without its checks.

``MLPClassifier.partial_fit`` looks at classes, types and ranges of its input in each epoch, which
takes longer than an epoch of some hundred clips does. Weights, batches and updates here are those
of scikit-learn 1.9 to the last bit (``tests/probes/test_perceptron.py``).
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.special import expit

from probekit._typing import Array

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class Perceptron:
    """A network of linear layers with ReLU between them.

    Parameters
    ----------
    widths : sequence of int
        Of the input, the hidden layers and the output.
    output : {"softmax", "logistic", "identity"}
        Function of the output; the loss is the one that belongs to it.
    rate : float > 0
        Learning rate of Adam.
    decay : float >= 0
        Weight of the L2 penalty, divided by the clips of a batch.
    batch : int >= 1
        Clips a step.
    rng : numpy.random.RandomState
        Of initial weights and batches.
    dtype : numpy.dtype
        Of the weights, float32 or float64.
    """

    def __init__(
        self,
        widths: Sequence[int],
        output: str,
        *,
        rate: float,
        decay: float,
        batch: int,
        rng: np.random.RandomState,
        dtype: np.dtype,
    ) -> None:
        self.output, self.rate, self.decay, self.batch = output, rate, decay, batch
        self.coefs: list[Array] = []
        self.intercepts: list[Array] = []
        for fan_in, fan_out in pairwise(widths):  # Glorot and Bengio (2010)
            bound = np.sqrt(6.0 / (fan_in + fan_out))
            coef = rng.uniform(-bound, bound, (fan_in, fan_out))
            self.coefs.append(coef.astype(dtype, copy=False))
            self.intercepts.append(rng.uniform(-bound, bound, fan_out).astype(dtype, copy=False))
        self._rng, self._steps = rng, 0
        self._moments: list[tuple[Array, Array]] = []
        self._buffers: list[tuple[Array, Array, Array]] = []

    @property
    def parameters(self) -> list[Array]:
        """Weights of all layers, then biases."""
        return [*self.coefs, *self.intercepts]

    def __call__(self, features: Array) -> Array:
        """Return the output, shape (clips, outputs)."""
        return self._forward(features)[-1]

    def weights(self) -> tuple[list[Array], list[Array]]:
        """Return copies of weights and biases of all layers."""
        return [a.copy() for a in self.coefs], [a.copy() for a in self.intercepts]

    def set_weights(self, coefs: list[Array], intercepts: list[Array]) -> None:
        """Take these weights and biases, and end the training: Adam's moments are dropped."""
        self.coefs, self.intercepts = coefs, intercepts
        self._moments, self._buffers, self._steps = [], [], 0

    def train_epoch(self, features: Array, targets: Array, known: Array | None = None) -> None:
        """Take a step for each batch of the clips, in a random order.

        Parameters
        ----------
        features : numpy.ndarray, shape (clips, dim)
            Of the type of the weights.
        targets : numpy.ndarray, shape (clips, outputs)
            Booleans of classes, or numbers.
        known : numpy.ndarray of bool, shape (clips, outputs), optional
            Outputs whose target is known; the others have no loss.

        Raises
        ------
        ValueError
            If weights are not finite any more.
        """
        order = np.arange(len(features))
        self._rng.shuffle(order)
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            self._step(features[rows], targets[rows], None if known is None else known[rows])
        if not all(np.isfinite(p).all() for p in self.parameters):
            raise ValueError("weights are not finite any more: the features may be too large")

    def _forward(self, features: Array) -> list[Array]:
        """Return the input, the hidden layers and the output."""
        layers = [features]
        for k, (coef, intercept) in enumerate(zip(self.coefs, self.intercepts, strict=True)):
            layer = layers[-1] @ coef
            layer += intercept
            if k < len(self.coefs) - 1:
                np.maximum(layer, 0, out=layer)
            layers.append(layer)
        last = layers[-1]
        if self.output == "logistic":
            expit(last, out=last)
        elif self.output == "softmax":
            np.exp(last - last.max(axis=1)[:, np.newaxis], out=last)
            last /= last.sum(axis=1)[:, np.newaxis]
        return layers

    def _step(self, features: Array, targets: Array, known: Array | None) -> None:
        """Take one step of Adam."""
        layers, n = self._forward(features), len(features)
        delta = layers[-1] - targets  # the derivative of each of the losses
        if known is not None:
            delta[~known] = 0
        coef_grads: list[Array] = []
        intercept_grads: list[Array] = []
        for k in reversed(range(len(self.coefs))):
            grad = layers[k].T @ delta
            grad += self.decay * self.coefs[k]
            grad /= n
            coef_grads.insert(0, grad)
            intercept_grads.insert(0, np.sum(delta, axis=0) / n)
            if k:
                delta = delta @ self.coefs[k].T
                delta[layers[k] == 0] = 0
        self._update([*coef_grads, *intercept_grads])

    def _update(self, grads: Sequence[Array]) -> None:
        """Move the parameters by Adam's rule (Kingma and Ba, 2015), in place."""
        if not self._moments:  # of the gradients' type: float64 if the targets are
            self._moments = [(np.zeros_like(g), np.zeros_like(g)) for g in grads]
            self._buffers = [
                (np.empty_like(g), np.empty_like(g), np.empty(g.shape, np.float64)) for g in grads
            ]
        self._steps += 1
        # numpy's float64, so that steps are computed in double precision
        rate = self.rate * np.sqrt(1 - _BETA_2**self._steps) / (1 - _BETA_1**self._steps)
        for parameter, grad, (first, second), (a, b, step) in zip(
            self.parameters, grads, self._moments, self._buffers, strict=True
        ):
            np.multiply(first, _BETA_1, out=first)
            np.multiply(grad, 1 - _BETA_1, out=a)
            np.add(first, a, out=first)
            np.multiply(second, _BETA_2, out=second)
            np.multiply(grad, grad, out=a)
            np.multiply(a, 1 - _BETA_2, out=a)
            np.add(second, a, out=second)
            np.sqrt(second, out=b)
            np.add(b, _EPSILON, out=b)
            np.multiply(first, -rate, out=step)
            np.divide(step, b, out=step)
            np.add(parameter, step, out=parameter, casting="same_kind")
