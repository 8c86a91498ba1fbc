import numpy as np
import pandas as pd
import pytest

from probekit.cache import embeddings, index, part, reader
from probekit.errors import CacheError, UnknownNameError


def ids(numbers):
    return [f"clip-{n:02d}-ö" for n in numbers]


def mean(number):
    return number + 0.125 * number + 0.125 * np.arange(3)


@pytest.fixture
def many(tmp_path, put):
    """So many clips that they are looked up all at once."""
    return embeddings.Embeddings(put(tmp_path, range(1500), failed=[2000]))


def test_many_clips_in_any_order(many):
    numbers = np.random.default_rng(0).permutation(1500)
    found = many.vectors(ids(numbers), "vec")
    np.testing.assert_array_equal(found, np.arange(4) - numbers[:, None])
    again = many.vectors(pd.Series(ids(numbers)), "vec")
    np.testing.assert_array_equal(again, found)
    twice = np.concatenate([numbers, numbers])
    np.testing.assert_array_equal(
        many.vectors(np.array(ids(twice)), "vec"), np.arange(4) - twice[:, None]
    )


def test_some_clips_of_many(many):
    numbers = np.random.default_rng(0).permutation(1500)[:40]
    found = many.vectors(ids(numbers), "seq", ["mean"])
    expected = [part.read_part(p).rows for p in sorted(many.folder.glob("*.h5"))]
    rows = {i: row.streams["seq"]["mean"] for own in expected for i, row in own.items()}
    np.testing.assert_array_equal(found, [rows[i] for i in ids(numbers)])


def test_no_clips(many):
    assert many.vectors([], "vec").shape == (0, 4)


def test_one_of_many_that_is_not_there(many):
    numbers = [*range(1200), 2000]
    with pytest.raises(CacheError, match=r"1 of 1201 clips .*'clip-2000-ö' \(née 2000\)"):
        many.vectors(ids(numbers))
    with pytest.raises(CacheError, match=r"1 of 1201 clips .*'x' \(never extracted"):
        many.vectors([*ids(range(1200)), "x"])
    column = pd.Series(["x"], index=[77])
    with pytest.raises(CacheError, match=r"1 of 1 clips .*'x' \(never extracted"):
        many.vectors(column)


def test_numbers_come_as_they_are_stored(tmp_path, put, toy_layout):
    settled = toy_layout(dtype="float16")
    songs = embeddings.Embeddings(put(tmp_path, info=settled, dtype="float16"))
    for dtype, expected in (("stored", "f2"), ("float16", "f2"), ("float32", "f4")):
        found = songs.vectors(ids([3, 7]), dtype=dtype)
        assert found.dtype == expected
        np.testing.assert_array_equal(found, np.float16([mean(3), mean(7)]))
    with pytest.raises(UnknownNameError, match="unknown type of numbers 'float64'"):
        songs.vectors(ids([3]), dtype="float64")


def test_no_part_is_opened_by_hdf5_where_the_index_is_current(many, monkeypatch):
    expected = many.vectors(ids(range(1500)), "vec")
    opened = []
    enter = part.open_part.__enter__

    def watch(self):
        opened.append(self.path.name)
        return enter(self)

    monkeypatch.setattr(part.open_part, "__enter__", watch)
    np.testing.assert_array_equal(many.vectors(ids(range(1500)), "vec"), expected)
    assert opened == []
    first = sorted(many.folder.glob("*.h5"))[0]
    first.touch()  # another time: it may have been written anew
    np.testing.assert_array_equal(many.vectors(ids(range(1500)), "vec"), expected)
    assert opened == [first.name]


def test_places_in_the_file_are_right(many):
    for name, facts in many.index.parts.items():
        content = (many.folder / name).read_bytes()
        with part.open_part(many.folder / name) as file:
            assert set(facts["places"]) == {
                f"seq/{a}" for a in ("frames", "max", "mean", "offset", "std")
            } | {"vec/clip"}
            for key, (begin, kind, shape) in facts["places"].items():
                found = np.frombuffer(content, kind, int(np.prod(shape)), begin)
                np.testing.assert_array_equal(found.reshape(shape), file["streams"][key][:])


def test_an_index_of_before_is_made_anew(many):
    known = index.load_index(many.folder)
    for facts in known.parts.values():
        facts.pop("places")
    index.save_index(many.folder, known)
    assert index.load_saved_index(many.folder).parts == {}
    assert all("places" in facts for facts in index.load_index(many.folder).parts.values())


def test_parts_that_are_damaged_or_gone_are_named(many):
    assert many.index.parts
    _, first, second = sorted(many.folder.glob("*.h5"))[:3]
    first.write_bytes(first.read_bytes()[:700])
    with pytest.raises(CacheError, match="cache repair") as caught:
        many.vectors(ids(range(1500)))
    assert str(first) in str(caught.value)
    second.unlink()
    with pytest.raises(CacheError, match=r"no such file"):
        many.vectors(many.index.table["clip_id"][many.index.table["part"] == second.name][:3])


def test_a_file_that_ends_too_early_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    with (
        reader.open_raw(tmp_path / "a") as file,
        pytest.raises(CacheError, match="shorter than when it was opened"),
    ):
        reader.read_into(file, 2, np.empty(4, np.uint8))
