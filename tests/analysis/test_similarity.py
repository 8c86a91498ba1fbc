"""Similarity of embeddings in a cache."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from probekit.analysis import similarity as similarity_module
from probekit.analysis.similarity import (
    chance_cka,
    chance_overlap,
    k_nearest,
    linear_cka,
    neighbor_overlap,
    similarity,
)
from probekit.cache import import_export
from probekit.cache import manifests as kept_tables
from probekit.data import manifest as manifests
from probekit.errors import DataError, ProbekitError


@pytest.fixture
def cache(tmp_path):
    """Three embeddings of 40 clips; the third lacks some, and is like the first."""
    rng = np.random.default_rng(0)
    rows = [
        {"clip_id": f"c{k:02d}", "path": f"{k}.wav", "labels": (f"{k % 2}",), "split": "train"}
        for k in range(40)
    ]
    clips = manifests.from_rows("mine", rows)
    first, second = rng.normal(size=(40, 6)), rng.normal(size=(40, 9))
    where = tmp_path / "cache"
    for name, array, use in (
        ("first", first, range(40)),
        ("second", second, range(40)),
        ("third", first + 0.1 * rng.normal(size=(40, 6)), range(5, 40)),
    ):
        np.save(tmp_path / "x.npy", array[list(use)].astype("f4"))
        own = clips.subset(list(use))
        import_export.import_arrays(name, own, [tmp_path / "x.npy"], cache=where, dataset="mine")
    kept_tables.save_manifest(where, clips)
    return where, first, second


def test_over_the_clips_that_all_have(cache):
    where, first, second = cache
    found = similarity("mine", ["first", "second", "third"], cache=where)
    assert found.clips == found.common == 35
    assert abs(found.matrix[0, 1] - linear_cka([first[5:], second[5:]])[0, 1]) < 1e-5
    assert found.matrix[0, 2] > 0.95
    # those alike stand side by side
    assert abs(found.order.index(0) - found.order.index(2)) == 1
    best = found.rows()[0]
    assert (best["first"], best["second"], best["cka"]) == ("first", "third", found.matrix[0, 2])
    assert "35 of 40 clips" in found.provenance and "imported embeddings" in found.provenance
    assert "the same 35 clips" in found.caption
    assert [len(e["fingerprints"][0]) for e in found.facts()["embeddings"]] == [64] * 3


@pytest.mark.parametrize("measure", ["cka", "neighbours"])
def test_an_embedding_that_does_not_vary_is_named(cache, tmp_path, measure):
    where, first, _ = cache
    clips = kept_tables.latest_manifest(where, "mine")
    np.save(tmp_path / "x.npy", np.full_like(first, 0.1))
    import_export.import_arrays("const", clips, [tmp_path / "x.npy"], cache=where, dataset="mine")
    with pytest.raises(DataError, match="const: constant over all 40 clips of mine"):
        similarity("mine", ["first", "const"], cache=where, measure=measure)


def test_neighbours_and_choices_have_names_of_their_own(cache):
    where, *_ = cache
    names = set()
    for options in (
        {},
        {"debiased": True},
        {"normalize": "columns"},
        {"measure": "neighbours"},
        {"measure": "neighbours", "k": 5},
        {"max_clips": 20},
        {"max_clips": 20, "seed": 1},
    ):
        found = similarity("mine", ["first", "second"], cache=where, **options)
        assert 0 <= found.matrix[0, 1] < 0.9 or options.get("debiased")
        names.add(found.name)
    assert len(names) == 7
    assert found.clips == 20 and "20 clips drawn at random from 40" in found.caption


def test_debiased_is_asked_for_where_clips_are_few(tmp_path):
    rows = [{"clip_id": f"c{k}", "path": f"{k}.wav", "labels": ("a",)} for k in range(10)]
    clips = manifests.from_rows("mine", rows)
    for k, name in enumerate(("one", "other")):
        np.save(tmp_path / "x.npy", np.random.default_rng(k).normal(size=(10, 30)))
        import_export.import_arrays(
            name, clips, [tmp_path / "x.npy"], cache=tmp_path, dataset="mine"
        )
    kept_tables.save_manifest(tmp_path, clips)
    plain = similarity("mine", ["one", "other"], cache=tmp_path)
    assert any("plain CKA is too high" in text for text in plain.provenance)
    other = similarity("mine", ["one", "other"], cache=tmp_path, debiased=True)
    assert not any("plain CKA" in text for text in other.provenance)
    assert other.matrix[0, 1] < plain.matrix[0, 1]


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["first"], {}, "two or more different embeddings, got first"),
        (["first", "first"], {}, "two or more different"),
        (["first", "other"], {}, "no embeddings of 'other'"),
        (["first", "second"], {"measure": "cca"}, "unknown measure 'cca'"),
        (["first", "second"], {"normalize": "rows"}, "unknown normalization 'rows'"),
        (["first", "second"], {"measure": "neighbours", "k": 40}, "from 1 to 39 for 40 clips"),
    ],
)
def test_what_cannot_be_done_is_said(cache, names, options, message):
    with pytest.raises(ProbekitError, match=message):
        similarity("mine", names, cache=cache[0], **options)


def test_too_few_clips_in_common(tmp_path):
    rows = [{"clip_id": f"c{k}", "path": f"{k}.wav", "labels": ("a",)} for k in range(8)]
    clips = manifests.from_rows("mine", rows)
    for name, use in (("one", [0, 1, 2, 3, 4]), ("other", [3, 4, 5, 6, 7])):
        np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(5, 3)))
        own = clips.subset(use)
        import_export.import_arrays(name, own, [tmp_path / "x.npy"], cache=tmp_path, dataset="mine")
    kept_tables.save_manifest(tmp_path, clips)
    with pytest.raises(
        DataError, match="similarity needs at least 4 clips with all 2 embeddings, got 2"
    ):
        similarity("mine", ["one", "other"], cache=tmp_path)


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
    center = np.eye(len(k)) - 1 / len(k)
    return np.trace(k @ center @ n_l @ center)


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
    with pytest.raises(DataError, match="is constant over all clips"):
        linear_cka([x, np.full((20, 3), 0.1)])
    with pytest.raises(DataError, match="needs at least 4 clips, got 3"):
        linear_cka([x[:3], y[:3]], True)


@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("held", [1 << 24, 1000])
def test_as_scikit_learn_finds_them(k, held, monkeypatch):
    monkeypatch.setattr(similarity_module, "_CHUNK", held)
    rows = np.random.default_rng(0).normal(size=(300, 8)) + 1
    index = NearestNeighbors(n_neighbors=k + 1, metric="cosine", algorithm="brute").fit(rows)
    expected = index.kneighbors(return_distance=True)[1][:, :k]
    found = similarity_module.k_nearest(rows, k)
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))


def test_share_in_common():
    one = np.array([[1, 2], [0, 2], [0, 1], [0, 1]])
    other = np.array([[2, 1], [0, 3], [3, 1], [2, 0]])
    assert similarity_module.neighbor_overlap(one, other) == (2 + 1 + 1 + 1) / 8
    assert similarity_module.neighbor_overlap(one, one) == 1


def test_random_embeddings_agree_by_chance():
    rng = np.random.default_rng(0)
    near = [similarity_module.k_nearest(rng.normal(size=(1000, 16)), 10) for _ in range(2)]
    # 10 / 999, with a standard deviation of about 0.001 over draws
    assert abs(similarity_module.neighbor_overlap(*near) - 0.01) < 0.005


# ---- what chance gives


def grouped(clips, dim, groups, seed):
    """Embeddings that tell groups apart, and share nothing else with those of another seed."""
    rng = np.random.default_rng(seed)
    number = np.arange(clips) % groups
    return rng.normal(size=(groups, dim))[number] + 0.7 * rng.normal(size=(clips, dim))


def exchanged(x, number, rng):
    """Exchange groups of equal size, and clips within them."""
    groups = number.max() + 1
    order = np.argsort(number, kind="stable").reshape(groups, -1)
    shuffled = rng.permuted(order[rng.permutation(groups)], axis=1)
    result = np.empty_like(x)
    result[order] = x[shuffled]
    return result


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("groups", [12, 120])
def test_chance_of_cka_is_the_mean_over_exchanges(groups, debiased):
    x, y = (grouped(120, dim, groups, dim) for dim in (6, 9))
    y[:, :2] += x[:, :2]  # so that they are alike without an exchange
    number = np.arange(120) % groups
    names = np.full(120, "") if groups == 120 else number.astype(str)
    rng = np.random.default_rng(0)
    draws = [linear_cka([x, exchanged(y, number, rng)], debiased)[0, 1] for _ in range(400)]
    chance = chance_cka([x, y], names, debiased)[0, 1]
    error = np.std(draws) / 20  # of the mean
    assert abs(chance - np.mean(draws)) < 4 * error
    if groups == 12:  # the unbiased estimate, too, is beyond 0
        assert chance > 20 * error > 0
    elif debiased:
        assert abs(chance) < TOLERANCE
    assert linear_cka([x, y], debiased)[0, 1] > chance + 20 * error


def test_chance_of_neighbours_is_the_mean_over_exchanges():
    x, y = (grouped(200, dim, 40, dim) for dim in (6, 9))
    number = np.arange(200) % 40
    rng = np.random.default_rng(0)
    near = k_nearest(x, 6)
    others = [k_nearest(exchanged(y, number, rng), 6) for _ in range(60)]
    draws = [neighbor_overlap(near, other) for other in others]
    names = number.astype(str)
    chance = np.mean([chance_overlap(near, other, names) for other in others])
    assert abs(chance - np.mean(draws)) < 4 * np.std(draws) / np.sqrt(60)
    assert chance > 5 * 6 / 199  # of clips without groups
    assert chance_overlap(near, others[0], np.full(200, "")) == pytest.approx(6 / 199)


def test_chance_is_in_caption_and_table(tmp_path):
    rows = [
        {"clip_id": f"c{k}", "path": f"{k}.wav", "labels": ("a",), "group": f"g{k % 10}"}
        for k in range(60)
    ]
    clips = manifests.from_rows("mine", rows)
    for k, name in enumerate(("one", "other")):
        np.save(tmp_path / "x.npy", grouped(60, 8, 10, k))
        import_export.import_arrays(
            name, clips, [tmp_path / "x.npy"], cache=tmp_path, dataset="mine"
        )
    kept_tables.save_manifest(tmp_path, clips)
    for measure in similarity_module.MEASURES:
        found = similarity("mine", ["one", "other"], cache=tmp_path, measure=measure)
        chance = found.chance[0, 1]
        assert chance > 0.05 and abs(found.matrix[0, 1] - chance) < 0.15
        text = f"nothing but the 10 groups of clips in common: {chance:.2g}."
        assert text in found.caption
        assert found.rows()[0]["chance"] == chance and found.facts()["groups"] == 10


def test_a_row_of_zeros_is_nobody_s_neighbour_of_choice():
    rows = np.abs(np.random.default_rng(0).normal(size=(20, 3)))
    rows[4] = 0
    near = similarity_module.k_nearest(rows, 3)
    assert (np.delete(near, 4, axis=0) != 4).all() and 4 not in near[4]


def test_too_many_neighbours_are_refused():
    with pytest.raises(DataError, match="from 1 to 4 for 5 clips, got 5"):
        similarity_module.k_nearest(np.eye(5), 5)
