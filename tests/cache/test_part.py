from pathlib import Path

import h5py
import numpy as np
import pytest

from probekit.cache import part
from probekit.errors import CacheError

DATA = Path(__file__).parent / "data"


@pytest.fixture
def path(tmp_path, toy):
    part.write_part(tmp_path / "part-00000.h5", toy())
    return tmp_path / "part-00000.h5"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "numbers, failed", [(range(6), [7, 8]), (range(40), []), ([], [3]), ([], []), ([0], [])]
)
def test_what_was_written_is_read(tmp_path, toy, same_part, numbers, failed, dtype):
    content = toy(numbers, failed=failed, dtype=dtype)
    part.write_part(tmp_path / "p.h5", content)
    same_part(part.read_part(tmp_path / "p.h5"), content)
    assert part.verify_part(tmp_path / "p.h5") is None


def test_large_and_odd_attributes_are_read(tmp_path, toy, same_part):
    content = toy(card={"notes": ["ä" * 100_000]}, precision="", weights={"main": None})
    part.write_part(tmp_path / "p.h5", content)
    same_part(part.read_part(tmp_path / "p.h5"), content)


def test_frames_can_be_left_out(path, toy):
    loaded = part.read_part(path, frames=False)
    assert set(loaded.rows["clip-02-ö"].streams["seq"]) == {"mean", "std", "max"}
    assert set(toy().rows["clip-02-ö"].streams["seq"]) == {"mean", "std", "max", "frames"}


def test_the_order_of_writing_does_not_matter(tmp_path, path, toy):
    part.write_part(tmp_path / "q.h5", toy(reversed(range(6))))
    assert (tmp_path / "q.h5").read_bytes() == path.read_bytes()


def flip(path, offset, bit=0):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize(
    "what",
    [
        np.float32([3, 3.125, 3.25]).tobytes(),  # frames
        b"float32",  # an attribute
        "clip-03-ö".encode(),
        "née".encode(),
        b"sha256 of what follows",
        b"probekit embedding cache",
        b"\x89HDF",
    ],
)
def test_a_flipped_bit_is_found_wherever_it_is(path, what):
    offset = path.read_bytes().find(what)
    assert offset >= 0
    flip(path, offset)
    assert "SHA-256 differs" in part.verify_part(path)
    flip(path, offset)
    assert part.verify_part(path) is None


def test_flipped_bits_at_random_places_are_found_and_never_crash(path, toy):
    rng = np.random.default_rng(0)
    size = path.stat().st_size
    offsets = [*rng.integers(512, size=10), *rng.integers(size, size=70)]
    refused = 0
    for offset, bit in zip(offsets, rng.integers(8, size=len(offsets)), strict=True):
        flip(path, offset, bit)
        assert part.verify_part(path) is not None
        try:
            part.read_part(path)
        except CacheError as error:
            assert str(path) in str(error)
            refused += 1
        flip(path, offset, bit)
    assert refused > 5
    assert part.verify_part(path) is None


def test_other_damage_is_found(path):
    content = path.read_bytes()
    for damaged in (content[:-1], content + b"\0", content[:400], b"", content[512:]):
        path.write_bytes(damaged)
        assert part.verify_part(path) is not None
    path.unlink()
    assert "No such file" in part.verify_part(path)


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda path: path.write_bytes(b"not HDF5"), "not readable as HDF5"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: h5py.File(path, "w").close(), "not a part of a probekit cache"),
    ],
)
def test_other_files_are_refused_by_name(path, change, reason):
    change(path)
    with pytest.raises(CacheError, match=reason) as caught:
        part.read_part(path)
    assert str(path) in str(caught.value)


def test_a_later_format_is_refused(path):
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(CacheError, match=r"version 2; this probekit reads up to 1\. Upgrade"):
        part.read_part(path)
    assert "SHA-256" in part.verify_part(path)


def test_rows_are_looked_up_by_id(path):
    with part.open_part(path) as file:
        assert part.read_clip_ids(file) == [f"clip-{n:02d}-ö" for n in range(6)]
        assert part.find_rows(file, ["clip-04-ö", "clip-00-ö"]) == [4, 0]
        assert part.list_arrays(file) == {"seq": ["frames", "max", "mean", "std"], "vec": ["clip"]}
    with (
        pytest.raises(CacheError, match="rewritten without 'clip-07-ö'"),
        part.open_part(path) as file,
    ):
        part.find_rows(file, ["clip-07-ö"])


def test_a_part_of_format_version_1_is_read(toy, same_part):
    stored = DATA / "part-v1.h5"
    assert stored.stat().st_size < 20_000
    assert part.verify_part(stored) is None
    same_part(part.read_part(stored), toy())
