"""Similarity of embeddings in a cache."""

import numpy as np
import pytest

from probekit.analysis.similarity import linear_cka, similarity
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
    with pytest.raises(DataError, match="const: the same for all 40 clips of mine"):
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
        {"most": 20},
        {"most": 20, "seed": 1},
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
        (["first"], {}, "two or more different embeddings; given: first"),
        (["first", "first"], {}, "two or more different"),
        (["first", "other"], {}, "no embeddings of 'other'"),
        (["first", "second"], {"measure": "cca"}, "unknown measure 'cca'"),
        (["first", "second"], {"normalize": "rows"}, "unknown normalization 'rows'"),
        (["first", "second"], {"measure": "neighbours", "k": 40}, "from 1 to 39 of 40 clips"),
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
    with pytest.raises(DataError, match="2 clips have all 2 embeddings; similarity needs 4"):
        similarity("mine", ["one", "other"], cache=tmp_path)
