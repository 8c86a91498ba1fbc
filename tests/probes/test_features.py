from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from probekit.cache import import_export
from probekit.cache.index import Index
from probekit.cards.selector import EmbeddingSelector, parse_selector
from probekit.data import manifest as manifests
from probekit.errors import CacheError, DataError
from probekit.probes import features


def clips_of(ids, **others):
    rows = [{"clip_id": i, "path": "", "labels": ("a",)} for i in ids]
    return manifests.from_rows("mine", rows, **others)


@pytest.fixture
def place(tmp_path):
    def keep(name, ids, values):
        np.save(tmp_path / "x.npy", values)
        return import_export.import_arrays(
            name, clips_of(ids), [tmp_path / "x.npy"], cache=tmp_path / "cache", dataset="mine"
        )

    return SimpleNamespace(cache=tmp_path / "cache", keep=keep)


def numbers(ids, dim, seed):
    rng = np.random.default_rng(seed)
    return {i: rng.normal(size=dim).astype(np.float32) for i in ids}


ONE, OTHER = [f"c{k}" for k in range(12)], [f"c{k}" for k in (11, 3, 5, 2, 20)]


@pytest.fixture
def two(place):
    a, b = numbers(ONE, 3, 0), numbers(OTHER, 2, 1)
    place.keep("a", ONE, np.stack(list(a.values())))
    place.keep("b", OTHER, np.stack(list(b.values())))
    return place, a, b


def test_two_embeddings_stand_side_by_side_over_the_clips_that_both_have(two):
    place, a, b = two
    found = features.find_features(place.cache, "a+b", "mine", clips_of([*ONE[::-1], "c20", "c30"]))
    assert found.clips.clip_ids == ["c11", "c5", "c3", "c2"]  # in the task's order
    expected = [np.concatenate([a[i], b[i]]) for i in found.clips.clip_ids]
    assert np.array_equal(found.matrix(), expected)
    assert found.matrix().dtype == np.float32
    assert (found.label, found.expected) == ("a+b", 14)
    assert found.missing == dict.fromkeys(
        [*(i for i in ONE[::-1] if i not in OTHER), "c20", "c30"], "not extracted"
    )
    assert [(s["extractor"], s["dim"], s["stream"]) for s in found.sources] == [
        ("a", 3, "embedding"),
        ("b", 2, "embedding"),
    ]
    assert found.provenance == ["imported embeddings"]


def test_the_order_of_the_two_is_the_users(two):
    place, *_ = two
    one, other = (
        features.find_features(place.cache, text, "mine", clips_of(ONE)) for text in ("a+b", "b+a")
    )
    assert np.array_equal(one.matrix(), np.roll(other.matrix(), 3, axis=1))
    assert one.digest != other.digest


def test_no_clip_in_common_is_said(two):
    place, *_ = two
    with pytest.raises(DataError, match="no clip has all of the 2 embeddings"):
        features.find_features(place.cache, "a+b", "mine", clips_of(["c0", "c20"]))
    with pytest.raises(DataError, match=r"none of the 1 clips .*ids look like .*'other'"):
        features.find_features(place.cache, "a+b", "mine", clips_of(["other"]))


def test_two_caches_of_one_name_are_never_mixed(two):
    place, *_ = two
    place.keep("a", ONE, np.ones((12, 3)))
    with pytest.raises(CacheError, match=r"a@[0-9a-f]{8}"):
        features.find_features(place.cache, "a", "mine", clips_of(ONE))
    with pytest.raises(CacheError, match=r"a@[0-9a-f]{8}"):
        features.find_features(place.cache, "b+a", "mine", clips_of(ONE))


def fake(ids, failures=(), values=None, name="a"):
    """Embeddings as far as features look at them."""
    table = pd.DataFrame({"clip_id": ids, "sha256": [f"hash of {i}" for i in ids]})
    return (
        EmbeddingSelector(name),
        SimpleNamespace(
            clip_ids=list(ids),
            failures=dict(failures),
            folder=f"cache/{name}",
            layout=SimpleNamespace(
                extractor=name, fingerprint="f" * 64, identity={}, provenance=["random weights"]
            ),
            default_stream="s",
            stream_info={name: {"dim": 2, "kind": "frames"} for name in "st"},
            index=Index(table, {}),
            vectors=lambda ids, *_: np.zeros((len(ids), 2)) if values is None else values,
        ),
    )


def test_missing_clips_keep_their_reason():
    clips = clips_of(["c0", "c1", "c2", "c3"])
    found = features.load_features(
        [
            fake(["c0", "c1", "c3"], {"c2": "too long"}),
            fake(["c0", "c2"], {"c1": "empty"}, name="b"),
        ],
        clips,
    )
    assert found.clips.clip_ids == ["c0"]
    assert found.missing == {"c2": "too long", "c1": "empty", "c3": "not extracted"}


def test_the_task_says_how_many_clips_there_should_be():
    found = features.load_features(
        [fake(["c0"])], clips_of(["c0", "c1"], expected=5, provenance=["stand-in"])
    )
    assert found.expected == 5
    assert found.provenance == ["stand-in", "random weights"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_named(value):
    values = np.zeros((3, 2))
    values[1, 1] = value
    found = features.load_features(
        [fake(["c0", "c1", "c2"], values=values)], clips_of(["c0", "c1", "c2"])
    )
    with pytest.raises(DataError, match=r"1 of 3 embeddings in cache/a hold NaN or inf.*'c1'"):
        found.matrix()


def test_digest_knows_recordings_streams_and_poolings():
    clips = clips_of(["c0", "c1"])
    chosen, embeddings = fake(["c0", "c1", "c2"])
    plain = features.load_features([(chosen, embeddings)], clips)
    assert (
        plain.digest == features.load_features([fake(["c0", "c1"])], clips).digest
    )  # c2 is not the task's
    embeddings.index.table.loc[2, "sha256"] = "changed"
    assert plain.digest == features.load_features([(chosen, embeddings)], clips).digest
    embeddings.index.table.loc[1, "sha256"] = "changed"
    others = {
        features.load_features([(one, embeddings)], clips).digest
        for one in (
            chosen,
            EmbeddingSelector("a", stream="t"),
            EmbeddingSelector("a", pool=("max",)),
        )
    }
    assert len({plain.digest, *others}) == 4


def test_a_stream_that_is_not_there_names_those_that_are():
    with pytest.raises(
        DataError, match=r"a: no stream 'deep' in cache/a; it holds s, t\. .* -e a:stream=deep"
    ):
        features.load_features(
            [(EmbeddingSelector("a", stream="deep"), fake(["c0"])[1])], clips_of(["c0"])
        )


def test_pooled_frames_are_as_wide_as_their_poolings():
    chosen = EmbeddingSelector("a", pool=("mean", "max"))
    found = features.load_features([(chosen, fake(["c0"])[1])], clips_of(["c0"]))
    assert found.sources[0]["dim"] == 4
    assert found.label == "a:pool=mean+max"


@pytest.mark.parametrize("text", ["a:pool=mean", "a:pool=max", "a:pool=mean+std"])
def test_a_pooling_of_what_has_no_frames_is_refused(text):
    selector, (_, embeddings) = parse_selector(text), fake(["c0"])
    embeddings.stream_info = {"s": {"kind": "clip", "dim": 2}}
    with pytest.raises(DataError, match="its stream s is one vector per clip; leave out pool="):
        features.load_features([(selector, embeddings)], clips_of(["c0"]))
    plain = features.load_features([(parse_selector("a"), embeddings)], clips_of(["c0"]))
    assert plain.sources[0]["dim"] == 2
