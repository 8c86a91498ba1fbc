"""Clustering of class weights, against scipy called directly and a structure that was planted."""

import itertools
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist, squareform

from probekit.analysis import projection
from probekit.analysis.class_weights import ClassWeights, class_weights
from probekit.analysis.clustering import LINKAGES, METRICS
from probekit.analysis.dendrogram import CENTERS, cluster, dendrogram
from probekit.cache import import_export
from probekit.cache import manifests as kept
from probekit.data import manifest as manifests
from probekit.errors import DataError, UnknownNameError
from probekit.probes import linear


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def weights_of(matrix, **others) -> ClassWeights:
    facts = {
        "names": tuple(f"class {k}" for k in range(len(matrix))),
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


def draw(classes=9, dim=14, seed=0):
    return np.random.default_rng(seed).normal(size=(classes, dim)) + 1.5


# ---- the clustering


@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize(
    ("metric", "linkage"),
    [pair for pair in itertools.product(METRICS, LINKAGES) if pair != ("cosine", "ward")],
)
def test_tree_is_that_of_scipy(center, metric, linkage):
    matrix = draw()
    found = cluster(weights_of(matrix), center=center, metric=metric, linkage=linkage)
    rows = {
        "rows": matrix - matrix.mean(axis=1)[:, None],
        "classes": matrix - matrix.mean(axis=0),
        "none": matrix,
    }[center]
    distances = pdist(rows, metric)
    expected = hierarchy.linkage(distances, linkage)
    np.testing.assert_array_equal(np.sort(found.linkage[:, :2]), np.sort(expected[:, :2]))
    np.testing.assert_array_equal(found.linkage[:, 2:], expected[:, 2:])
    assert hierarchy.is_valid_linkage(found.linkage)
    assert found.order == tuple(hierarchy.leaves_list(found.linkage))
    copheneted = hierarchy.cophenet(found.linkage)
    assert found.cophenetic == pytest.approx(np.corrcoef(copheneted, distances)[0, 1])


def test_cosine_distance_of_centred_rows_is_one_minus_correlation():
    matrix = draw(2)
    (step,) = cluster(weights_of(matrix)).linkage
    assert step[2] == pytest.approx(1 - np.corrcoef(matrix)[0, 1])


@pytest.mark.parametrize("linkage", ["average", "complete", "single"])
def test_planted_structure_of_two_levels_is_recovered(linkage):
    rng = np.random.default_rng(1)
    kinds = 3 * rng.normal(size=(3, 40))  # three kinds of two pairs of classes each
    pairs = np.repeat(kinds, 2, axis=0) + 1.5 * rng.normal(size=(6, 40))
    matrix = np.repeat(pairs, 2, axis=0) + 0.4 * rng.normal(size=(12, 40))
    shuffled = rng.permutation(12)
    tree = cluster(weights_of(matrix[shuffled]), linkage=linkage).linkage

    def clusters(count):
        labels = hierarchy.fcluster(tree, count, "maxclust")
        return {frozenset(shuffled[labels == label]) for label in set(labels)}

    assert clusters(3) == {frozenset(range(k, k + 4)) for k in (0, 4, 8)}
    assert clusters(6) == {frozenset((k, k + 1)) for k in range(0, 12, 2)}


def length(apart, order):
    """The sum of distances between neighboring leaves."""
    return sum(apart[a, b] for a, b in itertools.pairwise(order))


def all_orders(tree, node):
    """All orders of the leaves below a node: the halves of each fork may be exchanged."""
    if node <= len(tree):
        return [[node]]
    left, right = (all_orders(tree, int(k)) for k in tree[node - len(tree) - 1, :2])
    return [x + y for a in left for b in right for x, y in ((a, b), (b, a))]


@pytest.mark.parametrize("linkage", ["average", "single"])
@pytest.mark.parametrize("seed", range(8))
def test_leaves_are_in_the_best_order_that_the_tree_allows(seed, linkage):
    classes = 3 + seed % 6
    matrix = draw(classes, seed=seed)
    found = cluster(weights_of(matrix), center="none", linkage=linkage)
    apart = squareform(pdist(matrix, "cosine"))
    orders = all_orders(found.linkage, 2 * classes - 2)
    assert len(orders) == 2 ** (classes - 1)
    assert length(apart, found.order) == pytest.approx(min(length(apart, o) for o in orders))
    assert found.order[0] < found.order[-1]  # of the two mirror images, always the same


def test_order_of_very_many_leaves_is_no_worse_than_scipy_s():
    matrix = draw(250, seed=1)
    found = cluster(weights_of(matrix), center="none")
    distances = pdist(matrix, "cosine")
    theirs = hierarchy.leaves_list(hierarchy.linkage(distances, "average", optimal_ordering=True))
    apart = squareform(distances)
    assert sorted(found.order) == list(range(250))
    assert length(apart, found.order) <= length(apart, list(theirs))


def test_two_classes_and_classes_that_are_equally_far_apart():
    pair = cluster(weights_of(draw(2)))
    assert (len(pair.linkage), sorted(pair.order), pair.cophenetic) == (1, [0, 1], 1.0)
    even = cluster(weights_of(np.eye(4)), center="none", metric="euclidean")
    assert even.cophenetic == 1.0


@pytest.mark.parametrize(
    ("matrix", "choices", "message"),
    [
        (draw(1), {}, "mine: a dendrogram needs at least two classes with training clips"),
        (np.vstack([draw(2, 3), np.zeros(3)]), {"center": "none"}, "row of 'class 2' is zero, and"),
        (np.vstack([draw(2, 3), np.full(3, 0.1)]), {}, "row of 'class 2' is zero once centered"),
        (draw(3, 1), {}, "row of 'class 0' is zero once centered"),
        (draw(3), {"linkage": "ward"}, "ward linkage is defined for euclidean distance only"),
    ],
    ids=["one class", "row of zeros", "constant row", "one dimension", "ward with cosine"],
)
def test_what_cannot_be_clustered_is_refused(matrix, choices, message):
    with pytest.raises(DataError, match=message):
        cluster(weights_of(matrix), **choices)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"center": "row"}, "unknown centring 'row'. Did you mean 'rows'"),
        ({"metric": "cosin"}, "unknown distance 'cosin'. Did you mean 'cosine'"),
        ({"linkage": "averge"}, "unknown linkage 'averge'. Did you mean 'average'"),
    ],
)
def test_unknown_choices_are_answered_with_near_names(choice, message):
    with pytest.raises(UnknownNameError, match=message):
        cluster(weights_of(draw()), **choice)


def test_caption_says_how_the_figure_was_made():
    found = cluster(
        weights_of(draw(), provenance=("VGGish on stand-in data", "not converged")),
        center="classes",
        metric="euclidean",
        linkage="ward",
    )
    for said in (
        "9 classes of mine on made",
        "1,234 training clips",
        "C = 0.01",
        "weights on the embedding)",
        "The mean row subtracted",
        "euclidean distance",
        "ward linkage",
        "optimal leaf order",
        f"cophenetic correlation {found.cophenetic:.2f}",
        "cut into 3 clusters",
        "kumar2021 does not state C",
    ):
        assert said in found.caption
    assert found.caption.endswith(" VGGish on stand-in data; not converged.")
    assert cluster(weights_of(draw())).caption.endswith("number of clusters.")


def test_choices_are_in_the_names_of_the_files():
    assert cluster(weights_of(draw())).name == "dendrogram-mine-made"
    found = cluster(weights_of(draw(), c_selected=False), metric="euclidean", clusters=4)
    assert found.name == "dendrogram-mine-made-metric-euclidean-clusters-4-c-0.01"
    long = cluster(weights_of(draw(), embedding="+".join(f"extractor{k}" for k in range(40))))
    other = cluster(weights_of(draw(), embedding="+".join(f"extractor{k}" for k in range(41))))
    assert len(long.name) <= 120 and long.name != other.name


def test_clusters_are_those_of_scipy_numbered_along_the_figure():
    found = cluster(weights_of(draw(30)), clusters=5)
    theirs = hierarchy.fcluster(found.linkage, 5, "maxclust")
    assert len(set(zip(found.clusters, theirs, strict=True))) == 5  # the same division
    seen = list(dict.fromkeys(found.clusters[list(found.order)]))
    assert seen == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="--clusters must be >= 1, got 0"):
        cluster(weights_of(draw()), clusters=0)


def test_families_are_the_largest_subtrees_within_the_size():
    found = cluster(weights_of(draw(40)), linkage="average")
    place = {leaf: k for k, leaf in enumerate(found.order)}
    families = found.tree.clusters_up_to(5)
    below = {k: {k} for k in range(40)}
    for step, (left, right, *_) in enumerate(found.linkage):
        below[40 + step] = below[int(left)] | below[int(right)]
    nodes = {frozenset(own) for own in below.values()}
    fitting = {own for own in nodes if 2 <= len(own) <= 5}
    largest = {own for own in fitting if not any(own < other for other in fitting)}
    assert {frozenset(leaves) for _, leaves in families} == largest
    starts = [place[leaves[0]] for _, leaves in families]
    assert starts == sorted(starts)
    for height, leaves in families:
        assert [place[k] for k in leaves] == list(range(place[leaves[0]], place[leaves[-1]] + 1))
        assert height in found.linkage[:, 2]


# ---- the weights


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A task of a split with refit, features of unlike scales, in a cache."""
    root = tmp_path_factory.mktemp("weights")
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
    features = rng.normal(size=(3, 5))[clips.targets()] + rng.normal(size=(96, 5))
    features = (features * [1, 10, 0.1, 100, 1]).astype(np.float32)
    np.save(root / "made.npy", features)
    import_export.import_arrays(
        "made", clips, [root / "made.npy"], cache=root / "cache", dataset="mine"
    )
    kept.save_manifest(root / "cache", clips)
    return root, clips, features


def test_weights_are_of_one_probe_on_all_training_clips(made):
    root, clips, features = made
    found = class_weights("mine", "made", cache=root / "cache", c=0.1)
    rows = np.flatnonzero(clips.column("split") != "test")
    [(probe,)] = linear.fit_paths(features, clips.targets(), [rows], "single", 3, (0.1,))
    expected = probe.coef / features[rows].astype(float).std(axis=0)
    assert np.abs(found.matrix - expected).max() < 5e-3 * np.abs(expected).max()
    assert (found.clips, found.c, found.names) == (72, 0.1, ("class 0", "class 1", "class 2"))
    assert found.provenance == ("imported embeddings",)
    plain = class_weights("mine", "made", cache=root / "cache", c=0.1, space="standardized")
    assert np.abs(plain.matrix - probe.coef).max() < 5e-3 * np.abs(probe.coef).max()


def test_weights_on_the_embedding_give_the_same_scores_on_it(made):
    root, clips, features = made
    found = class_weights("mine", "made", cache=root / "cache", c=1.0)
    rows = np.flatnonzero(clips.column("split") != "test")
    [(probe,)] = linear.fit_paths(features, clips.targets(), [rows], "single", 3, (1.0,))
    ours = features @ found.matrix.T
    theirs = probe.scores(features)
    # but for one constant a class
    np.testing.assert_allclose(ours - ours.mean(axis=0), theirs - theirs.mean(axis=0), atol=0.05)


def test_c_is_chosen_as_in_an_evaluation(made):
    root, _, _ = made
    assert class_weights("mine", "made", cache=root / "cache").c in linear.GRID


def test_test_clips_have_no_part_in_the_weights(made, tmp_path):
    root, clips, features = made
    others = np.where((clips.column("split") == "test")[:, None], 1e6, features)
    np.save(tmp_path / "made.npy", others)
    import_export.import_arrays(
        "made", clips, [tmp_path / "made.npy"], cache=tmp_path, dataset="mine"
    )
    kept.save_manifest(tmp_path, clips)
    one, other = (
        class_weights("mine", "made", cache=cache) for cache in (root / "cache", tmp_path)
    )
    assert np.array_equal(one.matrix, other.matrix)
    assert one.c == other.c


def test_missing_clips_and_classes_without_weights_are_said(made, tmp_path):
    _, clips, features = made
    np.save(tmp_path / "made.npy", features[:90])
    import_export.import_arrays(
        "made", clips.subset(range(90)), [tmp_path / "made.npy"], cache=tmp_path, dataset="mine"
    )
    kept.save_manifest(
        tmp_path, replace(clips, expected=100, class_names=(*clips.class_names, "never"))
    )
    found = dendrogram("mine", "made", cache=tmp_path, c=0.1)
    assert found.weights.names == ("class 0", "class 1", "class 2")
    assert "90 of 100 clips" in found.weights.provenance
    assert "one linear probe for 3 of the 4 classes of mine on made" in found.caption
    said = "3 of the 4 classes of mine (without training clips: never)"
    assert found.weights.provenance[-1] == said == found.facts()["provenance"][-1]
    assert found.facts()["classes_left_out"] == {"without training clips": ["never"]}
    assert found.caption.endswith(f"Imported embeddings; 90 of 100 clips; {said}.")


def test_tags_that_no_or_every_training_clip_has_are_said(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {
            "clip_id": f"c{k}",
            "path": f"{k}.wav",
            "labels": ("all", "ab"[k % 2], *(("c",) if k >= 40 else ())),
            "split": "test" if k >= 40 else "train",
        }
        for k in range(60)
    ]
    clips = manifests.from_rows("tags", rows, target="multi")
    np.save(tmp_path / "made.npy", rng.normal(size=(60, 5)) + np.arange(60)[:, None] % 2)
    import_export.import_arrays(
        "made", clips, [tmp_path / "made.npy"], cache=tmp_path, dataset="tags"
    )
    kept.save_manifest(tmp_path, clips)
    found = dendrogram("tags", "made", cache=tmp_path, c=0.1)
    assert found.weights.names == ("a", "b")
    said = "2 of the 4 classes of tags (in every training clip: all; without training clips: c)"
    assert said in found.weights.provenance and said in found.caption
    assert found.facts()["classes_left_out"] == {
        "in every training clip": ["all"],
        "without training clips": ["c"],
    }
    assert (
        "one linear probe for 2 of the 4 classes of tags"
        in projection.project_classes(found, method="pca").caption
    )


def test_features_that_do_not_vary_are_named(made, tmp_path):
    _, clips, features = made
    same = np.where(clips.column("split")[:, None] == "test", features, features[0])
    np.save(tmp_path / "same.npy", same)
    import_export.import_arrays(
        "same", clips, [tmp_path / "same.npy"], cache=tmp_path, dataset="mine"
    )
    kept.save_manifest(tmp_path, clips)
    said = "same: all features are constant over the 72 training clips of mine"
    with pytest.raises(DataError, match=said):
        dendrogram("mine", "same", cache=tmp_path)


def test_without_refit_the_validation_clips_are_not_counted(made):
    root, clips, _ = made
    clips.write(root / "mine.csv")
    (root / "mine.yaml").write_text(
        json.dumps(
            {
                "name": "mine",
                "title": "T",
                "dataset": "mine",
                "module": "table",
                "options": {"csv": "mine.csv"},
                "metric": "accuracy",
                "protocol": {"kind": "split", "refit": False},
            }
        )
    )
    found = class_weights(str(root / "mine.yaml"), "made", cache=root / "cache", root=root, c=0.1)
    assert found.clips == 48


def test_numbers_have_no_classes(made, tmp_path):
    _, clips, features = made
    rows = [{**row, "labels": (0.5,)} for row in clips.table.to_dict("records")]
    np.save(tmp_path / "made.npy", features)
    numbers = manifests.from_rows("mine", rows, target="regression", class_names=["valence"])
    import_export.import_arrays(
        "made", numbers, [tmp_path / "made.npy"], cache=tmp_path, dataset="mine"
    )
    kept.save_manifest(tmp_path, numbers)
    with pytest.raises(DataError, match="targets are numbers, there are no classes"):
        class_weights("mine", "made", cache=tmp_path)
