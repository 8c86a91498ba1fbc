"""Nearest neighbours against scikit-learn's."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from probekit.analysis import similarity
from probekit.errors import DataError


@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("held", [1 << 24, 1000])
def test_as_scikit_learn_finds_them(k, held, monkeypatch):
    monkeypatch.setattr(similarity, "_HELD", held)
    rows = np.random.default_rng(0).normal(size=(300, 8)) + 1
    index = NearestNeighbors(n_neighbors=k + 1, metric="cosine", algorithm="brute").fit(rows)
    expected = index.kneighbors(return_distance=True)[1][:, :k]
    found = similarity.k_nearest(rows, k)
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))


def test_share_in_common():
    one = np.array([[1, 2], [0, 2], [0, 1], [0, 1]])
    other = np.array([[2, 1], [0, 3], [3, 1], [2, 0]])
    assert similarity.neighbor_overlap(one, other) == (2 + 1 + 1 + 1) / 8
    assert similarity.neighbor_overlap(one, one) == 1


def test_random_embeddings_agree_by_chance():
    rng = np.random.default_rng(0)
    near = [similarity.k_nearest(rng.normal(size=(1000, 16)), 10) for _ in range(2)]
    # 10 / 999, with a standard deviation of about 0.001 over draws
    assert abs(similarity.neighbor_overlap(*near) - 0.01) < 0.005


def test_a_row_of_zeros_is_nobody_s_neighbour_of_choice():
    rows = np.abs(np.random.default_rng(0).normal(size=(20, 3)))
    rows[4] = 0
    near = similarity.k_nearest(rows, 3)
    assert (np.delete(near, 4, axis=0) != 4).all() and 4 not in near[4]


def test_too_many_neighbours_are_refused():
    with pytest.raises(DataError, match="from 1 to 4 of 5 clips"):
        similarity.k_nearest(np.eye(5), 5)
