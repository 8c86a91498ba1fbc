"""Projections: against scikit-learn called directly, and groups that were planted."""

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA

from probekit.analysis.class_weights import ClassWeights
from probekit.analysis.dendrogram import cluster
from probekit.analysis.projection import project_classes, project_clips
from probekit.cache import import_export
from probekit.cache import manifests as kept
from probekit.data import manifest as manifests
from probekit.errors import DataError, UnknownNameError


def tree_of(matrix, **choices):
    weights = ClassWeights(
        matrix=np.asarray(matrix, float),
        names=tuple(f"class {k}" for k in range(len(matrix))),
        task="mine",
        embedding="made",
        space="embedding",
        c=0.1,
        clips=100,
        converged=True,
        fingerprint="f" * 64,
        manifest="m" * 64,
        provenance=("random weights",),
    )
    return cluster(weights, **choices)


def kinds(count, size, dim=20, seed=0):
    rng = np.random.default_rng(seed)
    return np.repeat(4 * rng.normal(size=(count, dim)), size, axis=0) + rng.normal(
        size=(count * size, dim)
    )


def purity(points, group):
    """How often the nearest point is of the same group."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return float((group[apart.argmin(axis=1)] == group).mean())


# ---- classes


def test_pca_of_classes_is_that_of_scikit_learn():
    matrix = kinds(3, 4)
    found = project_classes(tree_of(matrix, metric="euclidean"), method="pca")
    rows = matrix - matrix.mean(axis=1, keepdims=True)
    expected = PCA(2).fit(rows)
    np.testing.assert_allclose(np.abs(found.points), np.abs(expected.transform(rows)), atol=1e-8)
    for k, share in enumerate(expected.explained_variance_ratio_):
        assert found.axes[k] == f"component {k + 1} ({100 * share:.0f} %)"


def test_tsne_of_classes_keeps_kinds_together_and_colours_them_as_the_tree():
    tree = tree_of(kinds(4, 8), clusters=4)
    found = project_classes(tree)
    assert purity(found.points, np.repeat(np.arange(4), 8)) == 1
    assert np.array_equal(found.group, tree.clusters)
    again = project_classes(tree)
    assert np.array_equal(found.points, again.points)  # by its seed
    assert "perplexity 10.3" in found.caption and found.caption.endswith(" Random weights.")
    assert found.name == "projection-classes-mine-made-clusters-4"
    facts = json.loads(json.dumps(found.facts()))
    assert (facts["method"], facts["seed"], facts["fingerprint"]) == ("tsne", 0, "f" * 64)
    rows = found.rows()
    assert [row["class"] for row in rows] == list(tree.weights.names)
    assert {row["group"] for row in rows} == set(found.groups)


def test_groups_are_named_by_their_classes():
    tree = tree_of(kinds(2, 5), clusters=2)
    found = project_classes(tree, method="pca")
    assert all(name.endswith("and 3 more") for name in found.groups)
    first = found.groups[0].split(", ")[0]
    assert first == tree.weights.names[tree.order[0]]


def test_two_classes_have_a_pca_and_no_tsne():
    tree = tree_of(kinds(2, 1))
    found = project_classes(tree, method="pca")
    assert found.axes == ("component 1 (100 %)", "component 2 (0 %)")
    assert np.ptp(found.points[:, 1]) == pytest.approx(0, abs=1e-12)
    assert project_classes(tree).choices["method"] == "pca"
    with pytest.raises(DataError, match="mine: classes: t-SNE needs at least 4 points, got 2"):
        project_classes(tree, method="tsne")


@pytest.mark.parametrize("perplexity", [0.5, 12])
def test_perplexity_out_of_range_is_refused(perplexity):
    with pytest.raises(DataError, match="must be >= 1 and < 12, the number of points"):
        project_classes(tree_of(kinds(3, 4)), perplexity=perplexity)


def test_unknown_choices_are_answered():
    with pytest.raises(UnknownNameError, match="unknown projection 'umap'"):
        project_classes(tree_of(kinds(3, 4)), method="umap")
    with pytest.raises(UnknownNameError, match="unknown coloring 'colour'"):
        project_clips("mine", "made", color="colour")


# ---- clips


def cached(tmp_path, labels, features, **others):
    rows = [
        {
            "clip_id": f"c{k}",
            "path": f"{k}.wav",
            "labels": label,
            "split": "test" if k % 5 == 4 else "train",
        }
        for k, label in enumerate(labels)
    ]
    clips = manifests.from_rows("mine", rows, **others)
    np.save(tmp_path / "made.npy", features.astype(np.float32))
    import_export.import_arrays(
        "made", clips, [tmp_path / "made.npy"], cache=tmp_path, dataset="mine"
    )
    kept.save_manifest(tmp_path, clips)
    return clips


def test_clips_are_standardized_and_coloured_by_label(tmp_path):
    features = kinds(3, 30) * np.geomspace(0.01, 100, 20)
    labels = [(f"label {k // 30}",) for k in range(90)]
    cached(tmp_path, labels, features)
    found = project_clips("mine", "made", cache=tmp_path, method="pca")
    wide = features.astype(np.float32).astype(float)
    expected = PCA(2).fit_transform((wide - wide.mean(axis=0)) / wide.std(axis=0))
    np.testing.assert_allclose(np.abs(found.points), np.abs(expected), atol=1e-3)
    assert found.groups == ("label 0", "label 1", "label 2")
    assert np.array_equal(found.group, np.repeat(np.arange(3), 30))
    assert found.caption.endswith("Colors: labels. Imported embeddings.")
    tsne = project_clips("mine", "made", cache=tmp_path)
    assert purity(tsne.points, tsne.group) == 1


def test_of_many_clips_some_are_drawn_and_that_is_said(tmp_path):
    cached(tmp_path, [(f"label {k % 3}",) for k in range(90)], kinds(3, 30))
    found = project_clips("mine", "made", cache=tmp_path, method="pca", max_clips=40)
    assert len(found.points) == len(set(found.names)) == 40
    assert "40 clips of 90, drawn at random of mine" in found.caption
    other = project_clips("mine", "made", cache=tmp_path, method="pca", max_clips=40, seed=1)
    assert set(found.names) != set(other.names)


def test_clips_of_several_labels_have_the_rarest(tmp_path):
    labels = [("often",), ("often", "rare"), (), ("often", "rare"), ("often",)] * 4
    cached(tmp_path, labels, kinds(4, 5), target="multi", class_names=["often", "rare"])
    found = project_clips("mine", "made", cache=tmp_path, method="pca")
    assert found.group.tolist() == [0, 1, -1, 1, 0] * 4
    assert "a clip of several has that of its rarest" in found.caption


def test_many_labels_are_coloured_by_cluster(tmp_path):
    labels = [(f"label {k % 30:02d}",) for k in range(150)]
    cached(tmp_path, labels, kinds(3, 1)[np.arange(150) % 3] + kinds(1, 150, seed=1))
    found = project_clips("mine", "made", cache=tmp_path, method="pca")
    assert 2 <= len(found.groups) <= 6
    assert "clusters of the labels by their probe's weights" in found.caption
    plain = project_clips("mine", "made", cache=tmp_path, method="pca", color="label")
    assert len(plain.groups) == 30 and plain.name != found.name


def test_numbers_have_no_colours(tmp_path):
    rows = [(0.1 * k,) for k in range(20)]
    cached(tmp_path, rows, kinds(4, 5), target="regression", class_names=["valence"])
    with pytest.raises(DataError, match="targets are numbers, there are no classes to color by"):
        project_clips("mine", "made", cache=tmp_path)
