"""Correlation with a head: the numbers, the test's level and power, and what is refused."""

import json
import warnings

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from probekit.analysis import class_weights
from probekit.analysis.class_weights import ClassWeights, TrainingClips
from probekit.analysis.correlation import correlation, cosine_correlation, p_values
from probekit.analysis.label_permutation import PermutedProbe
from probekit.cache import head as head_module
from probekit.cache import import_export
from probekit.cache import manifests as kept
from probekit.cache.head import SavedHead
from probekit.data import manifest as manifests
from probekit.errors import DataError, UnknownNameError
from probekit.probes.linear import fit_paths


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


def drawn(seed, shape):
    return np.random.default_rng(seed).normal(size=shape)


def training_of(matrix, clips=90, groups=None):
    """Clips of random embeddings and labels, as if weights of the matrix had been fitted to them.

    Tests of cosines need no more; those of level and power fit.
    """
    classes, dim = np.shape(matrix)
    return TrainingClips(
        features=drawn(100, (clips, dim)).astype(np.float32),
        targets=np.arange(clips) % max(2, classes),
        groups=np.full(clips, "") if groups is None else groups,
        coef=np.asarray(matrix, float),
        scale=1.0,
        has_weights=np.ones(classes, bool),
        c=0.01,
    )


def compare(targets, sources, groups=None, **choices):
    training = training_of(targets, groups=groups)
    return cosine_correlation(weights_of(targets), training, head_of(sources), **choices)


# ---- the numbers


@pytest.mark.parametrize("how", class_weights.NORMALIZATIONS)
def test_cosines_are_those_of_the_definition(how):
    targets, sources = drawn(0, (4, 20)) + 1, drawn(1, (7, 20)).astype(np.float32) - 2
    found = compare(targets, sources, normalize=how, permutations=9)

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


def test_p_values_are_those_of_draws_counted_one_by_one():
    rng = np.random.default_rng(0)
    null = np.abs(rng.normal(size=(49, 5, 6))).astype(np.float32) * [1, 2, 3, 1, 1, 1]
    cosine = rng.normal(size=(5, 6)) * 2
    for slack in (0, 0.1):
        corrected, p = p_values(cosine, null, slack)
        spread = np.sqrt((null.astype(float) ** 2).mean(axis=0))
        for i, j in np.ndindex(5, 6):
            size = np.abs(cosine[i, j]) - slack
            reached = (null.max(axis=(1, 2)) >= size).sum()
            assert corrected[i, j] == pytest.approx((1 + reached) / 50)
            # bins are small: at most a few draws fall into the same one
            exact = (1 + (null / spread >= size / spread[i, j]).sum()) / (1 + null.size)
            assert exact - 1e-12 <= p[i, j] <= exact + 4 / null.size


def test_p_is_the_larger_of_both_tests():
    targets, sources = drawn(0, (4, 20)), drawn(1, (5, 20))
    found = compare(targets, sources, permutations=20)
    np.testing.assert_array_equal(found.p_corrected, np.maximum(found.p_labels, found.p_signs))
    np.testing.assert_allclose(found.q.ravel(), false_discovery_control(found.p.ravel()))
    probe = PermutedProbe(training_of(targets))

    def unit(rows):
        rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    p = []
    for weights in (probe.refits(20, 0), probe.flips(20, 0)):
        largest = np.array([np.abs(unit(sources) @ unit(rows).T).max() for rows in weights])
        reached = (largest[:, None, None] >= np.abs(found.cosine)).sum(axis=0)
        p.append((1 + reached) / 21)
    # values within the error of a refit count as reached
    assert (found.p_labels >= p[0]).all() and (found.p_labels - p[0]).max() <= 1 / 21 + 1e-9
    np.testing.assert_allclose(found.p_signs, p[1])


def test_the_same_seed_gives_the_same_p():
    pair = drawn(0, (4, 20)), drawn(1, (5, 20))
    one, again, other = (compare(*pair, permutations=20, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(one.p, again.p) and np.array_equal(one.p_corrected, again.p_corrected)
    assert not np.array_equal(one.p, other.p)


# ---- the test: level and power


def embeddings(seed, clips=120, dim=24, groups=0):
    """Embeddings as real ones are: correlated dimensions, and clips of a group alike."""
    rng = np.random.default_rng(seed)
    # what differs between groups is not what differs within
    within, between = rng.normal(size=(2, dim, dim)) * np.logspace(0, -1.5, dim)[:, None]
    x = rng.normal(size=(clips, dim)) @ within
    if groups:
        x += rng.normal(size=(groups, dim))[np.arange(clips) % groups] @ between / 2
    return x


def fit(x, labels, c, groups=None):
    scale = x.std(axis=0)
    x = ((x - x.mean(axis=0)) / scale).astype(np.float32)
    classes = int(labels.max()) + 1
    [[probe]] = fit_paths(x, labels, [np.arange(len(x))], "single", classes, [c], standardize=False)
    groups = np.full(len(x), "") if groups is None else groups.astype(str)
    training = TrainingClips(x, labels, groups, probe.coef, scale, np.ones(classes, bool), c)
    return weights_of(probe.coef / scale), training


def strong_directions(x, classes, rng):
    """Labels that depend on the strong directions of an embedding, at random otherwise."""
    scores = x @ x.T @ x @ rng.normal(size=(x.shape[1], classes))
    return (2 * scores / scores.std(axis=0) + rng.gumbel(size=scores.shape)).argmax(axis=1)


def alarms(case, times=30, permutations=19):
    """Count simulations with any pair beyond chance between tasks that are unrelated.

    Returns those of the test, and of its two parts alone.
    """
    counts = np.zeros(3, int)
    for k in range(times):
        rng = np.random.default_rng(k)
        x, groups = embeddings(k, groups=12 if "groups" in case else 0), np.arange(120) % 12
        if case == "strong":
            labels, others = (strong_directions(x, n, rng) for n in (4, 6))
        elif case == "random":
            labels, others = (rng.permutation(np.arange(120) % n) for n in (4, 6))
        else:
            labels, others = (rng.permutation(np.arange(12) % n)[groups] for n in (4, 6))
        weights, training = fit(x, labels, 0.01, groups if case == "groups" else None)
        sources = fit(x, others, 0.01)[0].matrix
        found = cosine_correlation(
            weights, training, head_of(sources), permutations=permutations, seed=k
        )
        for i, p in enumerate((found.p_corrected, found.p_labels, found.p_signs)):
            counts[i] += (p <= 0.05).any()
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("case", ["random", "groups", "strong"])
def test_level_is_kept_between_unrelated_tasks(case):
    # of 30 at 5 %, more than 6 occur by chance once in a thousand times
    both, labels, signs = alarms(case)
    assert both <= 6
    if case == "strong":  # labels alone would not do: tasks share what is strong
        assert labels > 15 and signs <= 6


@pytest.mark.slow
def test_clips_of_groups_permuted_one_by_one_would_find_too_much():
    assert alarms("unknown groups")[1] > 9  # of 30


def test_classes_of_the_same_task_are_found():
    rng = np.random.default_rng(0)
    x = embeddings(0, clips=800, dim=60)
    scores = x / x.std(axis=0) @ rng.normal(size=(60, 8))
    labels = (scores / scores.std(axis=0) + 0.3 * rng.gumbel(size=(800, 8))).argmax(axis=1)
    weights, training = fit(x[::2], labels[::2], 0.1)
    head = head_of(fit(x[1::2], labels[1::2], 0.1)[0].matrix)
    found = cosine_correlation(weights, training, head, permutations=99)
    diagonal = np.eye(8, dtype=bool)
    assert found.significant[diagonal].sum() >= 4
    assert found.significant[~diagonal].sum() == 0


def test_planted_pairs_are_found_and_lead_the_table():
    targets, sources = drawn(0, (10, 256)), drawn(1, (40, 256))
    planted = {(3, 2): 0.9, (17, 5): -0.9, (30, 9): 0.9}
    for (source, target), strength in planted.items():
        sources[source] += 1.5 * strength * targets[target]
    found = compare(targets, sources, permutations=99)
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


def test_groups_are_exchanged_and_too_few_of_them_are_reported():
    targets, sources = drawn(0, (3, 20)), drawn(1, (5, 20))
    clips = np.arange(90)
    found = compare(targets, sources, groups=(clips % 30).astype(str), permutations=19)
    assert (found.unit_name, found.units, found.testable) == ("groups", 30, True)
    assert "19 permutations of the labels of 30 groups" in found.caption
    assert found.facts()["permuted_units"] == 30
    # three groups of one class each: all arrangements are the same up to names
    found = compare(targets, sources, groups=(clips % 3).astype(str), permutations=19)
    assert found.repeats == 19 and not found.testable
    assert (found.p_labels >= 1).all() or found.p_labels[np.abs(found.cosine).argmax()].min() > 0.05
    assert "The 3 groups have too few different arrangements" in found.caption


def test_rows_and_columns_stand_beside_what_they_resemble():
    kinds = 3 * drawn(0, (3, 64))
    shuffled = np.random.default_rng(1).permutation(np.repeat(np.arange(3), 5))
    targets, sources = (kinds[shuffled] + drawn(k, (15, 64)) for k in (2, 3))
    found = compare(targets, sources, permutations=9)
    for order in (found.source_order, found.target_order):
        runs = np.diff(shuffled[list(order)]) != 0
        assert runs.sum() == 2  # three kinds, each in one piece


def test_120_by_527_classes_are_feasible():
    targets, sources = drawn(0, (120, 256)), drawn(1, (527, 256))
    weights, training = weights_of(targets), training_of(targets, clips=480)
    found = cosine_correlation(weights, training, head_of(sources), permutations=9)
    assert not found.significant.any()


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
        compare(targets, sources, permutations=9, **choices)


def test_one_and_two_classes():
    one = compare(drawn(0, (1, 9)), drawn(1, (5, 9)), normalize="rows", permutations=9)
    assert one.cosine.shape == (5, 1) and one.target_order == (0,)
    row = drawn(0, (1, 9))
    two = compare(np.vstack([row, -row]), drawn(1, (5, 9)), permutations=9)
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
