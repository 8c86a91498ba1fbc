import numpy as np

from probekit.solvers.problem import Solution
from probekit.solvers.solution_store import SolutionStore, rows_key


def test_what_is_loaded_is_what_was_saved(tmp_path):
    rng = np.random.default_rng(0)
    store, key = SolutionStore(tmp_path), rows_key([3, 5, 8])
    tags = [Solution(rng.normal(size=(1, 4)), rng.normal(size=1), 0.1, 1e-7, k) for k in range(2)]
    store.save(key, 0.1, (np.arange(4.0), np.ones(4), tags))
    mean, scale, loaded = store.load(key, 0.1)
    np.testing.assert_array_equal([mean, scale], [np.arange(4.0), np.ones(4)])
    for solution, tag in zip(loaded, tags, strict=True):
        np.testing.assert_array_equal(solution.coef, tag.coef)
        np.testing.assert_array_equal(solution.intercept, tag.intercept)
        assert (solution.c, solution.gap, solution.n_iter) == (0.1, 1e-7, tag.n_iter)
    assert store.load(key, 1.0) is None and store.load(rows_key([3, 5]), 0.1) is None
