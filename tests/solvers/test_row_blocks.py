"""Rows that are read from a file or the cache block by block, here and by a cluster's workers."""

import warnings

import numpy as np
import pytest

from probekit.cache import import_export
from probekit.data import manifest as manifests
from probekit.probes import linear
from probekit.probes.features import CachedRows
from probekit.solvers import multi_fold, problem, row_blocks

GRID = (1e-3, 1.0, 100.0)


def draw(clips=300, dim=8, tags=3):
    rng = np.random.default_rng(0)
    x = (1 + rng.normal(size=(clips, dim)) * np.logspace(0, -1, dim)).astype(np.float16)
    hot = x.astype(float) @ rng.normal(size=(dim, tags)) + rng.normal(size=(clips, tags)) > 0.5
    return x, hot.astype(np.int8)


@pytest.fixture
def file(tmp_path):
    x, hot = draw()
    written = np.memmap(tmp_path / "x.f16", np.float16, "w+", shape=x.shape)
    written[:] = x
    written.flush()
    return np.memmap(tmp_path / "x.f16", np.float16, "r", shape=x.shape), x, hot


def fit_path(features, targets, target, classes, grid, solver="probekit"):
    """Fit all rows."""
    rows = np.arange(len(features))
    return linear.fit_paths(features, targets, [rows], target, classes, grid, solver)[0]


def alike(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.coef, b.coef, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(a.intercept, b.intercept, rtol=1e-6, atol=1e-9)


def test_file_of_half_precision_is_as_memory(file, monkeypatch):
    on_disk, x, hot = file
    divisions = [np.arange(250), np.arange(50, 300)]
    whole = linear.fit_paths(x.astype(np.float32), hot, divisions, "multi", 3, GRID)
    monkeypatch.setattr(row_blocks, "_BLOCK_BYTES", 1.0)  # the smallest blocks
    monkeypatch.setattr(row_blocks, "_CACHE_BYTES", 0.0)
    for one, other in zip(
        whole, linear.fit_paths(on_disk, hot, divisions, "multi", 3, GRID), strict=True
    ):
        alike(one, other)


def test_rows_in_no_division_are_not_read(file):
    _, x, hot = file
    spoilt = x.copy()
    spoilt[250:] = np.nan
    read = []

    class Spy:
        shape = x.shape

        def __len__(self):
            return len(x)

        def __getitem__(self, places):
            read.append(np.arange(len(x))[places])
            return spoilt[places]

    found = linear.fit_paths(Spy(), hot, [np.arange(250)], "multi", 3, GRID)
    assert max(one.max() for one in read) == 249
    alike(found[0], fit_path(x[:250], hot[:250], "multi", 3, GRID))


@pytest.fixture
def cached(tmp_path):
    x, hot = draw()
    ids = [f"clip{k}" for k in range(len(x))]
    np.save(tmp_path / "x.npy", x)
    clips = manifests.from_rows("mine", [{"clip_id": i, "path": "", "labels": ("a",)} for i in ids])
    found = import_export.import_arrays(
        "mine",
        clips,
        [tmp_path / "x.npy"],
        cache=tmp_path / "cache",
        dataset="mine",
        dtype="float16",
    )
    return found, ids, hot


def test_cache_is_read_block_by_block(cached):
    embeddings, ids, hot = cached
    order = embeddings.clip_ids
    places = [ids.index(i) for i in order]
    source = CachedRows([(embeddings, "", ("mean",))], order)
    assert source.shape == (300, 8)
    whole = embeddings.vectors(order)
    np.testing.assert_array_equal(source[10:20], whole[10:20])
    np.testing.assert_array_equal(source[np.array([5, 3])], whole[[5, 3]])
    found = linear.fit_paths(source, hot[places], [np.arange(300)], "multi", 3, GRID)
    alike(found[0], fit_path(whole, hot[places], "multi", 3, GRID))


@pytest.mark.slow
def test_workers_of_a_cluster_read_and_add_up(cached):
    distributed = pytest.importorskip("distributed")
    embeddings, ids, hot = cached
    order = embeddings.clip_ids
    places = [ids.index(i) for i in order]
    source = CachedRows([(embeddings, "", ("mean",))], order)
    alone = linear.fit_paths(source, hot[places], [np.arange(300)], "multi", 3, GRID)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL"
            ) as local,
            distributed.Client(local) as client,
        ):
            spread = linear.fit_paths(
                source, hot[places], [np.arange(300)], "multi", 3, GRID, client=client
            )
    alike(alone[0], spread[0])


def test_half_precision_is_wide_before_it_is_squared():
    """float16 ends at 65,504: sums of it must not."""
    x = np.full((100, 2), 300.0, np.float16)
    x[::2] = -300
    own = row_blocks.StandardizedRows(x, np.ones((1, 100), bool))
    np.testing.assert_allclose(own.scale, [[300, 300]])
    wanted = problem.make_problem(np.arange(100) % 2, "single", 2)
    [(_, scale, path)] = multi_fold.solve_folds(
        x,
        np.arange(100) % 2,
        np.ones((1, 100), bool),
        [wanted],
        [1.0],
        standardize=True,
        device="cpu",
    )
    np.testing.assert_allclose(scale, [300, 300])
    assert np.isfinite(path[0][0].coef).all()


def test_unit_that_is_silent_in_a_fold_is_constant_there():
    """Its deviation from sums of squares is rounding, far above a share of its own values."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((900, 8)), 0).astype(np.float32)
    x[:, 3] = 0
    x[:2, 3] = [0.01, 0.02]
    masks = np.stack([np.arange(900) % 3 != k for k in range(3)])
    masks[2, :2] = False
    rows = row_blocks.StandardizedRows(x, masks)
    assert rows.constant[:, 3].tolist() == [False, False, True] and rows.constant.sum() == 1
    assert rows.scale[2, 3] == 1 and rows.shared_scale_ok
