import json
import shutil
import sys

import h5py
import numpy as np
import pytest

from probekit.cache import embeddings, merge, pack, part, texts
from probekit.cache import head as head_module
from probekit.errors import CacheError


def ids(numbers):
    return [f"clip-{n:02d}-ö" for n in numbers]


@pytest.fixture
def songs(tmp_path, put, toy_layout):
    info = toy_layout(provenance=["random weights (seed 0)"])
    return embeddings.Embeddings(put(tmp_path, range(20), failed=[30, 31], info=info))


def test_a_packed_file_is_read_with_h5py_alone(tmp_path, songs):
    path = pack.pack_embeddings(songs, tmp_path / "songs.h5")
    with h5py.File(path) as file:
        loaded = [raw.decode() for raw in file["clip_id"]]
        vectors = file["streams/vec/clip"][:]
        means = file["streams/seq/mean"][:]
        offset = file["streams/seq/offset"][:]
        frames = file["streams/seq/frames"][:]
        assert json.loads(file.attrs["note"]) == ["random weights (seed 0)"]
        assert file.attrs["dataset"] == "songs"
        assert sorted(raw.decode() for raw in file["failed_id"]) == ids([30, 31])
    assert sorted(loaded) == ids(range(20))
    numbers = np.array([int(clip_id[5:7]) for clip_id in loaded])
    np.testing.assert_array_equal(vectors, np.arange(4) - numbers[:, None])
    np.testing.assert_array_equal(means, songs.vectors(loaded))
    for row, clip_id in enumerate(loaded):
        np.testing.assert_array_equal(frames[offset[row] : offset[row + 1]], songs.frames(clip_id))


def test_a_packed_file_is_a_part_of_all_clips(tmp_path, songs, toy, same_part):
    path = pack.pack_embeddings(songs, tmp_path / "songs.h5")
    assert part.verify_part(path) is None
    loaded = part.read_part(path)
    assert {loaded.meta.pop(key) is not None for key in pack.PACK_ATTRIBUTES} == {True}
    loaded.rows = dict(sorted(loaded.rows.items()))
    same_part(loaded, toy(range(20), failed=[30, 31]))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "SHA-256" in part.verify_part(path)


def test_what_only_some_parts_hold_is_left_out(tmp_path, put, toy):
    folder = put(tmp_path, range(20))
    path = min(folder.glob("*.h5"))
    remaining = [int(i[5:7]) for i in part.read_part(path).rows]
    part.write_part(path, toy(remaining, failed=[], frames=False))
    packed = part.read_part(pack.pack_embeddings(embeddings.Embeddings(folder), tmp_path / "p.h5"))
    assert set(packed.rows[ids([3])[0]].streams["seq"]) == {"mean", "std", "max"}


def test_a_part_of_failures_is_packed_too(tmp_path, put, toy):
    folder = put(tmp_path, range(4))
    part.write_part(folder / "part-00099.h5", toy([], failed=[90]))
    packed = part.read_part(pack.pack_embeddings(embeddings.Embeddings(folder), tmp_path / "p.h5"))
    assert (len(packed.rows), list(packed.failed)) == (4, ids([90]))


def test_the_head_is_packed(tmp_path, songs):
    head = head_module.SavedHead(
        ("ä", "b"), np.ones((2, 4), "f4"), np.zeros(2, "f4"), "vec", "attention",
        (np.full((2, 4), 3, "f4"), np.arange(2, dtype="f4")),
    )  # fmt: skip
    head_module.save_head(songs.folder.parent, head)
    path = pack.pack_embeddings(embeddings.Embeddings(songs.folder), tmp_path / "p.h5")
    packed = head_module.read_packed_head(path)
    assert packed.classes == ("ä", "b")
    for ours, expected in zip(packed.attention, head.attention, strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert head_module.read_packed_head(pack.pack_embeddings(songs, tmp_path / "q.h5")) is not None


def test_texts_are_packed_and_merged(tmp_path, songs):
    vectors = np.random.default_rng(0).standard_normal((2, 4)).astype("f4")
    saved = texts.SavedTexts(("a dog", "ä cat"), vectors, 12.5, "vec")
    assert texts.read_packed_texts(pack.pack_embeddings(songs, tmp_path / "no.h5")) is None
    texts.add_texts(songs.folder.parent, saved)
    path = pack.pack_embeddings(songs, tmp_path / "p.h5")
    assert part.verify_part(path) is None
    assert texts.read_packed_texts(path).digest == saved.digest
    [done] = merge.merge_caches([path], tmp_path / "colleague")
    assert texts.load_texts(done.folder.parent).digest == saved.digest


def test_damaged_parts_are_not_packed(tmp_path, songs):
    path = min(songs.folder.glob("*.h5"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CacheError, match="SHA-256") as caught:
        pack.pack_embeddings(songs, tmp_path / "p.h5")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "p.h5").exists()


def test_parts_that_change_meanwhile_are_noticed(tmp_path, songs, put):
    assert songs.index.parts
    for path in songs.folder.glob("*.h5"):
        path.touch()
    with pytest.raises(CacheError, match="rewritten during packing"):
        pack.pack_embeddings(songs, tmp_path / "p.h5")


def test_nothing_to_pack(tmp_path, put):
    with pytest.raises(CacheError, match="contains no embeddings"):
        pack.pack_embeddings(embeddings.Embeddings(put(tmp_path, [])), tmp_path / "p.h5")


def test_a_disk_without_room_is_said_before(tmp_path, songs, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(CacheError, match="GB are needed"):
        pack.pack_embeddings(songs, tmp_path / "p.h5")


FULL = """
import resource, sys
from pathlib import Path
from probekit.cache import pack, embeddings
from probekit.errors import CacheError

songs = embeddings.Embeddings(Path(sys.argv[1]))
assert songs.stream_info and songs.meta and songs.index
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    pack.pack_embeddings(songs, Path(sys.argv[2]))
except CacheError as error:
    sys.exit(str(error))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize(
    "limit",
    [pytest.param(0, marks=pytest.mark.slow), 4000, pytest.param(500_000, marks=pytest.mark.slow)],
)
def test_a_disk_that_is_really_full_is_an_error_and_no_crash(tmp_path, songs, cli, limit):
    assert songs.index.parts
    out = tmp_path / "out"
    out.mkdir()
    (out / "p.h5").write_bytes(b"older")
    done = cli(songs.folder, out / "p.h5", limit, code=FULL)
    assert done.returncode == 1, done
    assert "p.h5: cannot be written" in done.stderr
    assert (out / "p.h5").read_bytes() == b"older"
    assert list(out.iterdir()) == [out / "p.h5"]
