"""The linear probe's solver against scikit-learn, at the same certified gap."""

import warnings
from time import perf_counter

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.timing import table
from probekit import runtime
from probekit.probes import linear, solver


def main() -> None:
    with runtime.single_threaded():
        for clips, dim, classes in ((900, 160, 10), (2500, 336, 10), (7000, 160, 10)):
            _compare(clips, dim, classes)


def _compare(clips: int, dim: int, classes: int) -> None:
    """Time one path of twelve C on features as ill-conditioned as embeddings are."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((dim, dim)) * np.logspace(0, -2.5, dim)[:, None]
    x = rng.standard_normal((clips, dim)) @ mixing
    scores = x @ rng.standard_normal((dim, classes)) / np.sqrt((x**2).sum(axis=1).mean())
    y = (3 * scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    x = linear.scaler(x)(x)
    hot = np.eye(classes)[y]
    begin = perf_counter()
    ours = solver.solve_path(x, hot, linear.GRID, independent=False)
    own = perf_counter() - begin
    model = LogisticRegression(tol=1e-8, max_iter=3000, warm_start=True)
    rows: list[tuple[object, ...]] = [
        ("C", "our steps", "our proven gap", "its steps", "its gap against ours", "its seconds")
    ]
    theirs = 0.0
    for one in ours:
        begin = perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it stopped is in its steps
            model.set_params(C=one.c).fit(x, y)
        took = perf_counter() - begin
        theirs += took
        own_value = _objective(x, hot, one.coef, one.intercept, one.c)
        gap = _objective(x, hot, model.coef_, model.intercept_, one.c) / own_value - 1
        rows.append(
            (
                f"{one.c:.0e}",
                one.steps,
                f"{one.gap:.0e}",
                int(model.n_iter_.max()),
                f"{gap:+.0e}",
                f"{took:.2f}",
            )
        )
    table(
        f"{clips:,} clips × {dim} × {classes} classes, twelve C, one thread: probekit "
        f"{own:.1f} s, scikit-learn (lbfgs, tol 1e-8, at most 3,000 steps) {theirs:.1f} s",
        rows,
    )


def _objective(x: np.ndarray, hot: np.ndarray, w: np.ndarray, b: np.ndarray, c: float) -> float:
    scores = x @ w.T + b
    top = scores.max(axis=1)
    total = np.log(np.exp(scores - top[:, None]).sum(axis=1)) + top
    return float(0.5 * (w**2).sum() + c * (total - (scores * hot).sum(axis=1)).sum())
