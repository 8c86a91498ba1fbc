import io
import zipfile

import numpy as np
import pytest

from probekit.cache import embeddings, import_export, part
from probekit.data import manifest as manifests
from probekit.errors import CacheError, DataError

CLIPS = 150


@pytest.fixture
def clips():
    content_of = [
        {"clip_id": f"/data/{k}.wav", "path": f"{k}.wav", "start": k / 2} for k in range(CLIPS)
    ]
    return manifests.from_rows("songs", content_of)


@pytest.fixture
def arrays(tmp_path):
    def save(*contents):
        paths = [tmp_path / f"layer{k}.npy" for k in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            np.save(path, content)
        return paths

    return save


def bring(clips, paths, cache, **changes):
    options = {"cache": cache, "dataset": "songs", **changes}
    return import_export.import_arrays(options.pop("name", "mine"), clips, paths, **options)


def test_row_i_is_clip_i(tmp_path, clips, arrays):
    left = np.random.default_rng(0).normal(size=(CLIPS, 3))
    right = np.arange(CLIPS)
    imported = bring(clips, arrays(left, right), tmp_path / "cache", note="epoch 12")
    assert sorted(imported.clip_ids) == sorted(clips.clip_ids)
    assert len(imported.index.parts) == 3
    order = clips.clip_ids[::-1]
    vectors = embeddings.find_embeddings(tmp_path / "cache", "mine", "songs").vectors(order)
    expected = np.column_stack([left, right])[::-1].astype(np.float32)
    np.testing.assert_array_equal(vectors, expected)
    assert imported.layout.provenance == ["imported embeddings: epoch 12"]
    assert imported.meta["card"]["note"] == "epoch 12"
    assert [source["file"] for source in imported.layout.identity["imported"]] == [
        "layer0.npy",
        "layer1.npy",
    ]
    assert [part.verify_part(imported.folder / name) for name in imported.index.parts] == [None] * 3


def test_the_same_again_is_the_same_and_other_numbers_are_another(tmp_path, clips, arrays):
    first = bring(clips, arrays(np.ones((CLIPS, 2))), tmp_path / "cache")
    again = bring(clips, arrays(np.ones((CLIPS, 2))), tmp_path / "cache")
    assert again.folder == first.folder
    notes = [  # a note can be added and replaced, and stays if the next import has none
        bring(clips, arrays(np.ones((CLIPS, 2))), tmp_path / "cache", note=note).layout.provenance
        for note in ("", "first", "second", "")
    ]
    assert [text for [text] in notes] == [
        "imported embeddings",
        "imported embeddings: first",
        "imported embeddings: second",
        "imported embeddings: second",
    ]
    bring(clips, arrays(np.zeros((CLIPS, 2))), tmp_path / "cache")
    with pytest.raises(CacheError, match="several embeddings match mine"):
        embeddings.find_embeddings(tmp_path / "cache", "mine", "songs")


def test_half_precision(tmp_path, clips, arrays):
    values = np.linspace(-3, 3, CLIPS)
    imported = bring(clips, arrays(values), tmp_path / "cache", dtype="float16")
    vectors = imported.vectors(clips.clip_ids)[:, 0]
    np.testing.assert_array_equal(vectors, values.astype(np.float16))
    with pytest.raises(DataError, match=r"layer0\.npy: float16 cannot hold all"):
        bring(clips, arrays(values * 1e6), tmp_path / "cache", dtype="float16")


def test_an_archive_of_one_array(tmp_path, clips):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones((CLIPS, 2)))
    assert bring(clips, [path], tmp_path / "cache").stream_info["embedding"]["dim"] == 2
    np.savez(path, x=np.ones((CLIPS, 2)), y=np.ones(2))
    with pytest.raises(DataError, match=r"must contain one array, got 2 \(x, y\)"):
        bring(clips, [path], tmp_path / "cache")


def infinite():
    values = np.ones((CLIPS, 2))
    values[[4, 9], 1] = np.inf
    return values


@pytest.mark.parametrize(
    "content, reason",
    [
        (np.ones((CLIPS - 1, 2)), rf"one row for each of the {CLIPS} clips, got shape \(149, 2\)"),
        (np.ones((CLIPS, 2, 2)), r"shape \(150, 2, 2\)"),
        (np.float64(3), r"shape \(\)"),
        (infinite(), r"2 rows have NaN or infinite values, the first is row 4"),
        (np.array(["a"] * CLIPS), "must contain real numbers, got <U1"),
        (np.ones(CLIPS, bool), "must contain real numbers, got bool"),
        (np.ones(CLIPS) * 1j, "must contain real numbers, got complex128"),
        (np.ones((CLIPS, 0)), r"has no columns, its shape is \(150, 0\)"),
        (np.ones(CLIPS) * 1e300, "float32 cannot hold all of its values"),
        (1e8 + np.arange(CLIPS) * 1e-2, "1 of 1 columns differ between clips by less than float32"),
        (1e-60 * np.arange(CLIPS), "1 of 1 columns differ between clips by less than float32"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, clips, arrays, content, reason):
    paths = arrays(content)
    with pytest.raises(DataError, match=reason) as caught:
        bring(clips, paths, tmp_path / "cache")
    assert str(paths[0]) in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_float64_is_imported_where_float32_can_hold_its_differences(tmp_path, clips, arrays):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(CLIPS, 100)) * np.logspace(-6, 6, 100)
    values[:, 0] = 5.0  # constant
    values[:, 1] = 0.1 + 1e-17 * rng.normal(size=CLIPS)  # but for rounding in float64
    imported = bring(clips, arrays(values), tmp_path / "cache")
    stored = imported.vectors(clips.clip_ids)
    # float32 has 24 bits: half a unit in the last place of numbers up to 4 standard deviations
    assert (np.abs(stored - values).max(axis=0)[2:] <= 2**-22 * values.std(axis=0)[2:]).all()


def npy_with_shape(shape):
    stream = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + bytes(80)


def test_header_that_declares_more_than_the_file_has_is_named_before_memory_is_taken(
    tmp_path, clips
):
    content = npy_with_shape((CLIPS, 10**12))
    (tmp_path / "huge.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("x.npy", content)
    for name in ("huge.npy", "huge.npz"):
        with pytest.raises(DataError, match=rf"{name}.*takes 1,200,000,000,000,000 bytes"):
            bring(clips, [tmp_path / name], tmp_path / "cache")


@pytest.mark.parametrize("name", ["a/b", "..", " ", "x.csv", "a:b", "nul"])
def test_dataset_that_could_not_be_evaluated_is_refused(tmp_path, clips, arrays, name):
    with pytest.raises(CacheError, match="dataset must be a name that a folder can have"):
        import_export.import_arrays(
            "mine", clips, arrays(np.ones((CLIPS, 2))), cache=tmp_path / "cache", dataset=name
        )
    assert not (tmp_path / "cache").exists()


def test_files_that_are_no_arrays_are_named(tmp_path, clips):
    archive = tmp_path / "whole.npz"
    np.savez_compressed(archive, x=np.random.default_rng(0).normal(size=(CLIPS, 50)))
    content = archive.read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 0xFF
    np.save(tmp_path / "object.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.save(tmp_path / "cut.npy", np.ones(CLIPS))
    cut = (tmp_path / "cut.npy").read_bytes()[:-9]
    files = {
        "text.npy": b"1,2,3",
        "empty.npy": b"",
        "cut.npz": content[:-30],
        "cut.npy": cut,
        "damaged.npz": bytes(damaged),
    }
    for name, content_of in files.items():
        (tmp_path / name).write_bytes(content_of)
    for name in (*files, "object.npy", "."):
        with pytest.raises(
            DataError,
            match=r"must be an \.npy or \.npz file of numbers, and cannot be read|no such file",
        ):
            bring(clips, [tmp_path / name], tmp_path / "cache")
    with pytest.raises(DataError, match="no such file"):
        bring(clips, [tmp_path / "gone.npy"], tmp_path / "cache")


@pytest.mark.parametrize("name", ["Mine", "a b", "../a", "", "é"])
def test_names_are_checked(tmp_path, clips, arrays, name):
    with pytest.raises(CacheError, match="lower case letters, digits, dots and dashes"):
        bring(clips, arrays(np.ones(CLIPS)), tmp_path / "cache", name=name)


def test_datasets_stay_inside_the_cache(tmp_path, clips, arrays):
    with pytest.raises(CacheError, match="dataset must be a name that a folder can have"):
        bring(clips, arrays(np.ones(CLIPS)), tmp_path / "cache", dataset="../../elsewhere")
    assert not (tmp_path / "elsewhere").exists()
