import shutil

import numpy as np
import pytest
import torch

from probekit import extract
from probekit.cache import embeddings, layout, part


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # clips are tiny; threads would only wait for each other


@pytest.fixture
def small_parts(monkeypatch):
    """Cut even 24 clips into 6 parts."""
    monkeypatch.setattr(layout, "_MIN_PART_CLIPS", 4)


@pytest.fixture
def audio(corpus, tmp_path):
    """A copy of the corpus, to be changed."""
    return shutil.copytree(corpus, tmp_path / "tiny")


class Content:
    """All that the parts of one folder hold, and nothing twice."""

    def __init__(self, folder):
        self.rows, self.failed, self.metas = {}, {}, []
        for path in sorted(folder.glob("part-*.h5")):
            assert part.verify_part(path) is None
            content = part.read_part(path)
            for clip_id in (*content.rows, *content.failed):
                assert clip_id not in self.rows
                assert clip_id not in self.failed
                buckets = layout.load_layout(folder).buckets
                assert path.name == layout.part_name(layout.assign_bucket(clip_id, buckets))
            self.rows |= content.rows
            self.failed |= {clip_id: facts["reason"] for clip_id, facts in content.failed.items()}
            self.metas.append(content.meta)

    def __eq__(self, other):
        assert self.rows.keys() == other.rows.keys()
        assert self.failed == other.failed
        for clip_id, row in self.rows.items():
            np.testing.assert_equal(row.source, other.rows[clip_id].source)
            assert row.streams.keys() == other.rows[clip_id].streams.keys()
            for stream, arrays in row.streams.items():
                other_arrays = other.rows[clip_id].streams[stream]
                assert arrays.keys() == other_arrays.keys()
                for key, array in arrays.items():
                    scale = np.abs(array).max() + 1e-12
                    np.testing.assert_allclose(array / scale, other_arrays[key] / scale, atol=1e-5)
        return True


@pytest.fixture(scope="session")
def content():
    """Read ``content(cache, "melstats", "tiny")``."""
    return lambda cache, name, dataset="tiny": Content(
        embeddings.find_embeddings(cache, name, dataset).folder
    )


@pytest.fixture(scope="session")
def uninterrupted(corpus, tmp_path_factory, content):
    """What an extraction of the corpus with melstats in one process makes, in 6 parts."""
    cache = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "_MIN_PART_CLIPS", 4)
        extract("melstats", audio=corpus, cache=cache)
    return content(cache, "melstats")


@pytest.fixture
def files():
    """All files below a folder, with their bytes and times."""
    return lambda folder: {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }
