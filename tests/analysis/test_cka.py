"""Linear CKA against its definition by Gram matrices."""

import numpy as np
import pytest

from probekit.analysis.similarity import linear_cka
from probekit.errors import DataError

# products are rounded to float32, sums are not
TOLERANCE = 1e-5


def pair(clips, one, other, common=5, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(clips, common))
    return [
        shared @ rng.normal(size=(common, dim)) + rng.normal(size=(clips, dim)) + 3 * k
        for k, dim in enumerate((one, other), 1)
    ]


def hsic(k, n_l):
    """tr(K H L H) with H = I - 1/n (Gretton et al., 2005), without its constant."""
    centre = np.eye(len(k)) - 1 / len(k)
    return np.trace(k @ centre @ n_l @ centre)


def unbiased(k, n_l):
    """The unbiased estimate as Song et al. (2012) write it, without its constant."""
    n = len(k)
    k, n_l = k - np.diag(np.diag(k)), n_l - np.diag(np.diag(n_l))
    one = np.ones(n)
    return (
        np.trace(k @ n_l)
        + (one @ k @ one) * (one @ n_l @ one) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (one @ k @ n_l @ one)
    )


@pytest.mark.parametrize(("debiased", "estimate"), [(False, hsic), (True, unbiased)])
@pytest.mark.parametrize("dims", [(3, 7), (40, 200), (1, 1), (1100, 1030)])
def test_as_defined(debiased, estimate, dims):
    x, y = pair(60, *dims)
    k, n_l = x @ x.T, y @ y.T
    expected = estimate(k, n_l) / np.sqrt(estimate(k, k) * estimate(n_l, n_l))
    found = linear_cka([x, y], debiased)
    assert abs(found[0, 1] - expected) < TOLERANCE
    assert found[0, 1] == found[1, 0] and (found.diagonal() == 1).all()


@pytest.mark.parametrize("debiased", [False, True])
def test_rotation_scale_and_place_do_not_matter_but_stretching_does(debiased):
    x, y = pair(80, 12, 30)
    rng = np.random.default_rng(1)
    turned = x @ np.linalg.qr(rng.normal(size=(12, 12)))[0]
    found = linear_cka(
        [x, y, 1e4 * turned - 1e4, 1e-6 * y, x @ rng.normal(size=(12, 12))], debiased
    )
    assert abs(found[0, 2] - 1) < TOLERANCE and abs(found[1, 3] - 1) < TOLERANCE
    assert abs(found[0, 1] - found[2, 3]) < TOLERANCE
    assert found[0, 4] < 0.99


def test_few_clips_of_many_dimensions_need_the_unbiased_estimate():
    x, y = np.random.default_rng(9).normal(size=(2, 50, 500))
    assert linear_cka([x, y])[0, 1] > 0.6  # though they have nothing in common
    assert abs(linear_cka([x, y], True)[0, 1]) < 0.1


def test_large_numbers_in_float32_do_not_lose_it():
    x, y = pair(500, 20, 30)
    expected = linear_cka([x, y])[0, 1]
    found = linear_cka([(1e15 * x).astype("f4"), (1e-15 * y).astype("f4")])[0, 1]
    assert abs(found - expected) < TOLERANCE


def test_what_has_no_similarity_is_said():
    x, y = pair(20, 3, 3)
    with pytest.raises(DataError, match="the same for all clips"):
        linear_cka([x, np.full((20, 3), 0.1)])
    with pytest.raises(DataError, match="needs 4 clips"):
        linear_cka([x[:3], y[:3]], True)
