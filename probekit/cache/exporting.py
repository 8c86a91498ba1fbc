"""Embeddings for other programs: NumPy's .npz, or a table (Parquet)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from probekit.cache import commit
from probekit.cache.embeddings import Embeddings
from probekit.errors import CacheError

SUFFIXES = (".npz", ".parquet")
_ROWS = 4096  # of a row group: a few MB


def export(
    embeddings: Embeddings, path: Path, *, stream: str = "", pool: Sequence[str] = ("mean",)
) -> int:
    """Write one vector a clip, in the order of the clip ids.

    Both formats hold ``clip_id`` and ``embedding`` (float32). A ``.npz`` has them as arrays of
    shapes (clips,) and (clips, dim), and ``about`` as JSON text; it is read without pickle. A
    ``.parquet`` has them as columns, the embedding as a list of fixed size, and what it is as JSON
    under the key ``probekit`` of its metadata.

    Parameters
    ----------
    embeddings : Embeddings
        What to export.
    path : pathlib.Path
        Ends in ``.npz`` or ``.parquet``; an older file is replaced.
    stream : str
        Which stream; the extractor's default one if empty.
    pool : sequence of {"mean", "std", "max"}
        How frames are pooled; several are put side by side. Of streams that are one vector a clip,
        nothing is pooled.

    Returns
    -------
    int
        How many clips were written; those that failed are not.

    Raises
    ------
    CacheError
        If the suffix is another, there is nothing to export or to pool, or the file cannot be
        written.
    """
    if path.suffix not in SUFFIXES:
        raise CacheError(f"{path}: name a file that ends in {' or '.join(SUFFIXES)}")
    ids = sorted(embeddings.clip_ids)
    if not ids:
        raise CacheError(f"{embeddings.where}: holds no embeddings")
    settled = embeddings.layout
    stream = stream or embeddings.default_stream
    frames = embeddings.grids.get(stream, {}).get("kind") != "clip"
    if not frames and tuple(pool) != ("mean",):  # what no word means
        raise CacheError(
            f"{settled.extractor}: its stream {stream} is one vector a clip: leave out the pooling"
        )
    about = {
        "extractor": settled.extractor,
        "fingerprint": settled.fingerprint,
        "identity": settled.identity,
        "dataset": settled.dataset,
        "stream": stream,
        "pool": list(pool) if frames else [],
        "note": settled.provenance,
        "failed": len(embeddings.failures),
    }
    vectors = embeddings.vectors(ids, stream, pool)
    write = _parquet if path.suffix == ".parquet" else _npz
    try:
        commit.commit(path, lambda aside: write(aside, ids, vectors, json.dumps(about)))
    except OSError as error:
        raise CacheError(f"{path}: cannot be written ({error.strerror or error})") from error
    return len(ids)


def _npz(path: Path, ids: list[str], vectors: npt.NDArray[Any], about: str) -> None:
    with path.open("wb") as stream:
        np.savez(stream, clip_id=np.array(ids), embedding=vectors, about=np.array(about))


def _parquet(path: Path, ids: list[str], vectors: npt.NDArray[Any], about: str) -> None:
    dim = vectors.shape[1]
    schema = pa.schema(
        {"clip_id": pa.string(), "embedding": pa.list_(pa.float32(), dim)},
        metadata={"probekit": about},
    )
    with pq.ParquetWriter(path, schema) as writer:
        for begin in range(0, len(ids), _ROWS):
            rows = vectors[begin : begin + _ROWS]
            lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), dim)
            columns = [pa.array(ids[begin : begin + _ROWS], pa.string()), lists]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
