import numpy as np
import pytest

from probekit.cache import layout, part

FINGERPRINT = "f" * 64
IDENTITY = {"extractor": "toy", "version": 1, "params": {"size": 3}, "precision": "float32"}


def row(number, dtype="float32", frames=True):
    """One clip with a stream over time and one without; every value says where it belongs."""
    time = np.arange(number + 1)[:, None]
    values = (number + 0.25 * time + 0.125 * np.arange(3)).astype(dtype)
    arrays = {
        "mean": values.mean(0, dtype=dtype),
        "std": values.std(0, dtype=dtype),
        "max": values.max(0),
    }
    if frames:
        arrays["frames"] = values
    source = {
        "start": np.nan if number % 2 else 0.5 * number,
        "end": np.nan if number % 2 else 9.0,
        "duration": 1.0 + number,
        "size": 1000 + number,
        "mtime": 10**18 + number,
        "sha256": f"{number:064x}".encode(),
    }
    return part.Row(source, {"seq": arrays, "vec": {"clip": np.arange(4, dtype=dtype) - number}})


def toy_part(numbers=range(6), *, failed=(7,), dtype="float32", frames=True, **meta):
    """A part of an extractor that does not exist."""
    grids = {
        "seq": {"kind": "frames", "dim": 3, "hop": "24/25", "first_center": "0", "window": "1/2"},
        "vec": {"kind": "clip", "dim": 4},
    }
    facts = {
        "extractor": "toy",
        "fingerprint": FINGERPRINT,
        "identity": IDENTITY,
        "card": {"name": "toy", "default_stream": "seq"},
        "weights": {},
        "precision": "float32",
        "dtype": dtype,
        "provenance": {"device": "cpu"},
        **meta,
    }
    return part.Part(
        facts,
        grids,
        {f"clip-{n:02d}-ö": row(n, dtype, frames) for n in numbers},
        {
            f"clip-{n:02d}-ö": {
                "reason": f"née {n}",
                "start": np.nan,
                "end": 2.0,
                "size": n,
                "mtime": n,
            }
            for n in failed
        },
    )


def make_layout(dataset="songs", buckets=4, **changes):
    facts = {
        "extractor": "toy",
        "fingerprint": FINGERPRINT,
        "identity": IDENTITY,
        "dataset": dataset,
        "buckets": buckets,
        "dtype": "float32",
        "provenance": [],
        **changes,
    }
    return layout.Layout(**facts)


@pytest.fixture
def toy():
    return toy_part


@pytest.fixture
def toy_layout():
    return make_layout


@pytest.fixture
def put():
    """Write clips into a folder of a cache, each into the part that it belongs to."""

    def write(cache, numbers=range(12), failed=(), *, info=None, **kind):
        info = info or make_layout()
        folder = layout.dataset_folder(cache, info.extractor, info.fingerprint, info.dataset)
        info = layout.create_or_load_layout(folder, info)
        groups = {}
        for number in (*numbers, *failed):
            name = layout.part_name(layout.assign_bucket(f"clip-{number:02d}-ö", info.buckets))
            groups.setdefault(name, []).append(number)
        for name, members in groups.items():
            good, bad = [n for n in members if n in numbers], [n for n in members if n in failed]
            content = toy_part(
                good, failed=bad, fingerprint=info.fingerprint, identity=info.identity, **kind
            )
            part.write_part(folder / name, content)
        return folder

    return write


@pytest.fixture
def same_part():
    """Assert that two parts hold the same, to the last bit."""

    def check(actual, expected):
        assert {k: v for k, v in actual.meta.items() if k not in ("format", "version")} == (
            expected.meta
        )
        assert actual.grids == expected.grids
        assert actual.failed.keys() == expected.failed.keys()
        for clip_id, facts in expected.failed.items():
            np.testing.assert_equal(actual.failed[clip_id], facts)
        assert list(actual.rows) == sorted(expected.rows)
        for clip_id, row in expected.rows.items():
            np.testing.assert_equal(actual.rows[clip_id].source, row.source)
            assert actual.rows[clip_id].streams.keys() == row.streams.keys()
            for stream, arrays in row.streams.items():
                assert actual.rows[clip_id].streams[stream].keys() == arrays.keys()
                for key, array in arrays.items():
                    stored = actual.rows[clip_id].streams[stream][key]
                    assert stored.dtype == array.dtype
                    np.testing.assert_array_equal(stored, array)

    return check
