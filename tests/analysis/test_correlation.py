"""Correlation with a head: the numbers, the test's level and power, and what is refused."""

import json
import warnings

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from probekit.analysis import class_weights
from probekit.analysis import correlation as correlation_module
from probekit.analysis.class_weights import ClassWeights
from probekit.analysis.correlation import correlation, cosine_correlation
from probekit.cache import head as head_module
from probekit.cache import import_export
from probekit.cache import manifests as kept
from probekit.cache.head import SavedHead
from probekit.data import manifest as manifests
from probekit.errors import DataError, UnknownNameError


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def weights_of(matrix, **others):
    facts = {
        "names": tuple(f"target {k}" for k in range(len(matrix))),
        "task": "mine",
        "embedding": "made",
        "space": "embedding",
        "c": 0.01,
        "clips": 1234,
        "converged": True,
        "fingerprint": "f" * 64,
        "manifest": "m" * 64,
        "provenance": (),
        **others,
    }
    return ClassWeights(matrix=np.asarray(matrix, dtype=float), **facts)


def head_of(matrix, pooling="none"):
    names = tuple(f"source {k}" for k in range(len(matrix)))
    return SavedHead(names, np.asarray(matrix, np.float32), np.zeros(len(matrix)), "last", pooling)


def drawn(seed, shape, scales=None):
    made = np.random.default_rng(seed).normal(size=shape)
    return made if scales is None else (made - 0.5) * scales


# ---- the numbers


@pytest.mark.parametrize("how", class_weights.NORMALIZATIONS)
def test_cosines_are_those_of_the_definition(how):
    targets, sources = drawn(0, (4, 20)) + 1, drawn(1, (7, 20)).astype(np.float32) - 2
    found = cosine_correlation(weights_of(targets), head_of(sources), normalize=how, permutations=9)

    def prepared(rows):
        axis = {"columns": 0, "rows": 1, "none": None}[how]
        if axis is None:
            return rows
        return (rows - rows.mean(axis=axis, keepdims=True)) / rows.std(axis=axis, keepdims=True)

    a, b = prepared(sources.astype(float)), prepared(targets)
    expected = [[np.dot(x, y) / np.sqrt(x @ x * (y @ y)) for y in b] for x in a]
    np.testing.assert_allclose(found.cosine, expected, atol=1e-12)
    if how == "rows":  # then it is Pearson's correlation
        both = np.corrcoef(sources, targets)[:7, 7:]
        np.testing.assert_allclose(found.cosine, both, atol=1e-6)


def test_p_values_are_those_of_permutations_counted_one_by_one():
    one, other = drawn(0, (5, 12)), drawn(1, (6, 12))
    one, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, other))
    cosine, beyond, p = correlation_module.permutation_test(one, other, 49, 3)
    rng = np.random.default_rng(3)
    null = np.array([np.abs(one @ other[:, rng.permutation(12)].T) for _ in range(49)])
    size = np.abs(one @ other.T)
    np.testing.assert_allclose(np.abs(cosine), size)
    for i in range(5):
        for j in range(6):
            reached = (null.max(axis=(1, 2)) >= size[i, j]).sum()
            assert beyond[i, j] == pytest.approx((1 + reached) / 50)
            # bins are 1/65,536 wide: at most a few draws fall into the same one
            exact = (1 + (null >= size[i, j]).sum()) / (1 + null.size)
            assert exact - 1e-12 <= p[i, j] <= exact + 3 / null.size


def test_q_is_the_false_discovery_rate_of_all_pairs():
    weights, head = weights_of(drawn(0, (4, 20))), head_of(drawn(1, (5, 20)))
    found = cosine_correlation(weights, head, permutations=20)
    np.testing.assert_allclose(found.q.ravel(), false_discovery_control(found.p.ravel()))


def test_the_same_seed_gives_the_same_p():
    weights, head = weights_of(drawn(0, (4, 20))), head_of(drawn(1, (5, 20)))
    one, again = (cosine_correlation(weights, head, permutations=20, seed=5) for _ in range(2))
    other = cosine_correlation(weights, head, permutations=20, seed=6)
    assert np.array_equal(one.p, again.p) and np.array_equal(one.p_corrected, again.p_corrected)
    assert not np.array_equal(one.p, other.p)


# ---- the test: level and power


def false_alarms(how, scales, times=120):
    """How often something is found between weights that have nothing to do with each other."""
    found = 0
    for k in range(times):
        own = np.exp(np.random.default_rng(1000 + k).normal(0, 0.8, 32)) if scales else None
        weights = weights_of(drawn(2 * k, (8, 32), own))
        head = head_of(drawn(2 * k + 1, (12, 32), own))
        found += cosine_correlation(
            weights, head, normalize=how, permutations=59, seed=k
        ).significant.any()
    return found / times


def test_level_is_kept_where_both_sides_share_the_scales_of_dimensions():
    # 5 % are expected; 0.12 is passed by chance once in a thousand times with 120 draws
    assert false_alarms("columns", scales=True) <= 0.12
    assert false_alarms("columns", scales=False) <= 0.12
    assert false_alarms("rows", scales=False) <= 0.12


def test_other_normalizations_find_what_is_not_there_and_the_caption_says_so():
    assert false_alarms("rows", scales=True, times=30) > 0.5
    weights, head = weights_of(drawn(0, (4, 20))), head_of(drawn(1, (5, 20)))
    for how, warned in (("columns", False), ("rows", True), ("none", True)):
        caption = cosine_correlation(weights, head, normalize=how, permutations=9).caption
        assert ("finds more than there is" in caption) == warned


def test_planted_pairs_are_found_and_lead_the_table():
    targets, sources = drawn(0, (10, 256)), drawn(1, (40, 256))
    planted = {(3, 2): 0.9, (17, 5): -0.9, (30, 9): 0.9}
    for (source, target), strength in planted.items():
        sources[source] += 1.5 * strength * targets[target]
    found = cosine_correlation(weights_of(targets), head_of(sources))
    assert {(int(s), int(t)) for s, t in np.argwhere(found.significant)} == set(planted)
    rows = found.rows()
    assert len(rows) == 400
    assert {(row["source"], row["target"]) for row in rows[:3]} == {
        (f"source {s}", f"target {t}") for s, t in planted
    }
    assert [row["beyond_chance"] for row in rows].count(True) == 3
    assert min(row["cosine"] for row in rows[:3]) < -0.5
    sizes = [abs(row["cosine"]) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert "3 of 400 pairs beyond chance" in found.caption


def test_rows_and_columns_stand_beside_what_they_resemble():
    kinds = 3 * drawn(0, (3, 64))
    shuffled = np.random.default_rng(1).permutation(np.repeat(np.arange(3), 5))
    targets, sources = (kinds[shuffled] + drawn(k, (15, 64)) for k in (2, 3))
    found = cosine_correlation(weights_of(targets), head_of(sources), permutations=9)
    for order in (found.source_order, found.target_order):
        runs = np.diff(shuffled[list(order)]) != 0
        assert runs.sum() == 2  # three kinds, each in one piece


def test_700_by_527_classes_are_feasible():
    from time import process_time

    weights, head = weights_of(drawn(0, (700, 1024))), head_of(drawn(1, (527, 1024)))
    start = process_time()
    found = cosine_correlation(weights, head, permutations=20)
    seconds = process_time() - start
    assert not found.significant.any()
    assert seconds < 15  # of which the orders of rows and columns take most


# ---- what is refused


@pytest.mark.parametrize(
    ("targets", "sources", "choices", "message"),
    [
        (
            drawn(0, (1, 9)),
            drawn(1, (5, 9)),
            {},
            "mine: --normalize columns needs at least two classes",
        ),
        (
            drawn(0, (3, 9)),
            drawn(1, (1, 9)),
            {},
            "the head: --normalize columns needs at least two classes",
        ),
        (drawn(0, (3, 9)), drawn(1, (5, 8)), {}, "the probe reads 9 numbers, the head 8"),
        (np.ones((3, 9)), drawn(1, (5, 9)), {}, "weights of 'target 0' are zero once normalized"),
        (drawn(0, (3, 9)), np.zeros((5, 9)), {"normalize": "none"}, "weights of 'source 0' are"),
    ],
)
def test_what_has_no_direction_is_refused(targets, sources, choices, message):
    with pytest.raises(DataError, match=message):
        cosine_correlation(weights_of(targets), head_of(sources), permutations=9, **choices)


def test_one_and_two_classes():
    one = cosine_correlation(
        weights_of(drawn(0, (1, 9))), head_of(drawn(1, (5, 9))), normalize="rows", permutations=9
    )
    assert one.cosine.shape == (5, 1) and one.target_order == (0,)
    row = drawn(0, (1, 9))
    two = cosine_correlation(
        weights_of(np.vstack([row, -row])), head_of(drawn(1, (5, 9))), permutations=9
    )
    np.testing.assert_allclose(two.cosine[:, 0], -two.cosine[:, 1])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A task with an embedding of two streams in a cache, without a head."""
    root = tmp_path_factory.mktemp("correlation")
    rng = np.random.default_rng(0)
    split = ["train", "train", "valid", "test"]
    rows = [
        {
            "clip_id": f"c{k}",
            "path": f"{k}.wav",
            "labels": (f"class {k % 3}",),
            "split": split[k // 3 % 4],
        }
        for k in range(96)
    ]
    clips = manifests.from_rows("mine", rows)
    features = rng.normal(size=(3, 12))[clips.targets()] + rng.normal(size=(96, 12))
    np.save(root / "made.npy", features.astype(np.float32))
    arrays = [root / "made.npy"]
    import_export.import_arrays("made", clips, arrays, cache=root / "cache", dataset="mine")
    kept.save_manifest(root / "cache", clips)
    (folder,) = (root / "cache").glob("made-*")
    return root / "cache", folder


def test_an_embedding_without_a_head_is_an_error_that_says_so(made):
    cache, _ = made
    with pytest.raises(DataError, match=r"made: no head found in .*not made by extraction"):
        correlation("mine", "made", cache=cache)


def test_a_head_of_another_stream_is_an_error_that_says_so(made):
    cache, folder = made
    head_module.save_head(
        folder, SavedHead(("a", "b"), np.eye(2, 12), np.zeros(2), "deeper", "none")
    )
    try:
        with pytest.raises(DataError, match=r"reads the stream .*, the network's head 'deeper'"):
            correlation("mine", "made", cache=cache)
    finally:
        (folder / head_module.HEAD_FILE).unlink()


def test_a_head_of_the_same_stream_is_compared(made):
    cache, folder = made
    from probekit.cache import embeddings

    stream = embeddings.find_embeddings(cache, "made", "mine").default_stream
    head = SavedHead(("a", "b", "c"), drawn(5, (3, 12)), np.zeros(3), stream, "lin")
    head_module.save_head(folder, head)
    try:
        found = correlation("mine", "made", cache=cache, permutations=19)
    finally:
        (folder / head_module.HEAD_FILE).unlink()
    assert found.cosine.shape == (3, 3)
    assert found.weights.space == "embedding"
    assert "which acts on frames" in found.caption
    assert found.caption.endswith("Imported embeddings.")
    assert json.loads(json.dumps(found.facts()))["head_stream"] == stream
    assert found.name == "correlation-mine-made-permutations-19"


@pytest.mark.parametrize(
    ("extractor", "choices", "error", "message"),
    [
        ("made+other", {}, DataError, "must be one extractor, to compare with its head"),
        ("made:pool=mean+std", {}, DataError, "use pool=mean, or pool=max"),
        ("made", {"normalize": "row"}, UnknownNameError, "unknown normalization 'row'"),
        ("made", {"linkage": "ward"}, DataError, "ward linkage"),
        ("made", {"probe": "mlp"}, DataError, "'mlp' has no linear class weights"),
    ],
)
def test_choices_that_make_no_sense_are_refused(made, extractor, choices, error, message):
    with pytest.raises(error, match=message):
        correlation("mine", extractor, cache=made[0], **choices)
