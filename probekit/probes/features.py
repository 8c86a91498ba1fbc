"""What one run reads: the embeddings of a task's clips, of one extractor or of several joined."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.cache import embeddings as embeddings_module
from probekit.cache import training_clips
from probekit.cache.embeddings import Embeddings
from probekit.cards.selector import EmbeddingSelector, parse_joined
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.scores.store import Source


class CachedRows:
    """The embeddings of some clips, as rows of an array that is never whole in memory.

    Parameters
    ----------
    members : sequence of (Embeddings, str, sequence of str)
        From the cache, side by side: embeddings, stream (the default one if empty) and poolings.
    clip_ids : sequence of str
        Row i is the embedding of ``clip_ids[i]``. In the order of the cache
        (:attr:`probekit.cache.embeddings.Embeddings.clip_ids`) each part is read once a pass.

    Attributes
    ----------
    shape : tuple of int
        Rows and features.
    """

    def __init__(
        self, members: Sequence[tuple[Embeddings, str, Sequence[str]]], clip_ids: Sequence[str]
    ) -> None:
        self.members = [(one, stream, tuple(pool)) for one, stream, pool in members]
        self.clip_ids = np.asarray(clip_ids, dtype=object)
        self.shape = (len(self.clip_ids), self._read(slice(0, 1)).shape[1])

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> Array:
        """Return some rows, of the cache's type.

        Parameters
        ----------
        rows : slice or numpy.ndarray of int
            Which.

        Returns
        -------
        numpy.ndarray, shape (some, dim)
            float32 or float16.
        """
        return self._read(rows)

    def _read(self, rows: Any) -> Array:
        ids = [str(one) for one in self.clip_ids[rows]]
        blocks = [one.vectors(ids, stream, pool, "stored") for one, stream, pool in self.members]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels to a worker, which opens the caches itself."""
        members = [(one.folder, stream, pool) for one, stream, pool in self.members]
        return {"members": members, "clip_ids": self.clip_ids, "shape": self.shape}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the caches again."""
        self.members = [(Embeddings(w), stream, pool) for w, stream, pool in state["members"]]
        self.clip_ids, self.shape = state["clip_ids"], state["shape"]


LARGE = 2e9  # bytes of float32 from which features are not held in memory as a whole


@dataclass(frozen=True)
class Features:
    """The embeddings that a run reads.

    Attributes
    ----------
    members : tuple of (Selection, Embeddings)
        Which embeddings, side by side in this order.
    clips : Manifest
        The task's clips that every member has; in the order of the cache where they are
        :attr:`out_of_core`, so that each part is read once a pass.
    whole : Manifest
        All clips of the task.
    missing : dict of str to str
        Clips without an embedding, with the reason.
    """

    members: tuple[tuple[EmbeddingSelector, Embeddings], ...]
    clips: Manifest
    all_clips: Manifest
    missing: dict[str, str]

    @property
    def label(self) -> str:
        """What people call it: names, parameters, streams and poolings, without fingerprints."""
        return "+".join(str(replace(chosen, fingerprint="")) for chosen, _ in self.members)

    @property
    def expected(self) -> int:
        """The number of clips that the task should have."""
        return max(len(self.all_clips), self.all_clips.expected or 0)

    @property
    def provenance(self) -> list[str]:
        """What every result must show about data and networks."""
        said = [*self.clips.provenance]
        for _, embeddings in self.members:
            said += embeddings.layout.provenance
        return list(dict.fromkeys(said))

    @property
    def training_digests(self) -> list[str]:
        """What trained students among the members have learnt from, as digests; to name a run."""
        return [text for one in self._homes for text in training_clips.record_digest(*one)]

    def notes(self, tested: Iterable[str]) -> list[str]:
        """Say which share of the test clips trained students among the members have learnt from.

        Parameters
        ----------
        tested : iterable of str
            Ids of the test clips, of all folds together.

        Returns
        -------
        list of str
            In words; also where that is not known. None where no member is a trained student.
        """
        ids, dataset = set(tested), self.members[0][1].layout.dataset
        said = [text for one in self._homes for text in training_clips.missing_record_notes(*one)]
        return said + [
            t for one in self._homes for t in training_clips.contamination_notes(*one, dataset, ids)
        ]

    @property
    def _homes(self) -> list[tuple[str, Path]]:
        """Extractors with the folders of their embeddings of all datasets, each once."""
        found = [(e.layout.extractor, e.folder.parent) for _, e in self.members]
        return list(dict.fromkeys(found))

    @cached_property
    def sources(self) -> list[Source]:
        """What is kept of each member in a result."""
        return [
            Source(
                extractor=embeddings.layout.extractor,
                fingerprint=embeddings.layout.fingerprint,
                identity=embeddings.layout.identity,
                stream=chosen.stream or embeddings.default_stream,
                pool=list(chosen.pool),
                dim=_width(chosen, embeddings),
            )
            for chosen, embeddings in self.members
        ]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over what decides the values: fingerprints, streams, and each clip's recording.

        A recording that changes is embedded again under the same fingerprint; its hash tells.
        """
        sha = hashlib.sha256()
        for (_, embeddings), source in zip(self.members, self.sources, strict=True):
            sha.update(f"{source['fingerprint']} {source['stream']} {source['pool']}\n".encode())
            table = embeddings.index.table
            own = dict(zip(table["clip_id"], table["sha256"], strict=True))
            for clip_id in self.clips.clip_ids:
                sha.update(f"{clip_id}\0{own[clip_id]}\n".encode())
        return sha.hexdigest()

    @property
    def out_of_core(self) -> bool:
        """Whether they are better read block by block than all at once."""
        return _large(len(self.clips), sum(source["dim"] for source in self.sources))

    def rows(self) -> CachedRows:
        """Return the features as rows that are read from the cache when they are asked for."""
        members = [(embeddings, chosen.stream, chosen.pool) for chosen, embeddings in self.members]
        return CachedRows(members, self.clips.clip_ids)

    def matrix(self) -> Array:
        """Return the features.

        Returns
        -------
        numpy.ndarray, shape (clips, dim), float32
            Row i belongs to clip i of :attr:`clips`.

        Raises
        ------
        DataError
            If one holds NaN or infinite values.
        """
        ids = self.clips.clip_ids
        blocks = []
        for chosen, embeddings in self.members:
            block = embeddings.vectors(ids, chosen.stream, chosen.pool)
            bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
            if len(bad):
                raise DataError(
                    f"{len(bad)} of {len(ids)} embeddings in {embeddings.folder} hold NaN or "
                    f"infinite values, for example that of {ids[bad[0]]!r}"
                )
            blocks.append(block)
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def find_features(cache: Path, text: str, dataset: str, clips: Manifest) -> Features:
    """Find the embeddings that a user means, and the clips that all of them have.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.
    text : str
        As after ``-e``; ``A+B`` for two side by side.
    dataset : str
        Whose clips.
    clips : Manifest
        The task's clips.

    Returns
    -------
    Features
        What a run on them reads; no array is read yet.

    Raises
    ------
    ProbekitError
        If an embedding is not in the cache, or none of the clips has one.
    """
    chosen = parse_joined(text)
    return load_features(
        [(one, embeddings_module.find_embeddings(cache, one, dataset)) for one in chosen], clips
    )


def load_features(members: list[tuple[EmbeddingSelector, Embeddings]], clips: Manifest) -> Features:
    """Return the features of some embeddings for a task's clips.

    Parameters
    ----------
    members : list of (Selection, Embeddings)
        Side by side in this order.
    clips : Manifest
        The task's clips.

    Returns
    -------
    Features
        With the clips that every member has.

    Raises
    ------
    DataError
        If no clip has an embedding in every member; shows both kinds of ids.
    """
    ids = clips.clip_ids
    missing: dict[str, str] = {}
    for _, embeddings in members:
        there = set(embeddings.clip_ids)
        if not there & set(ids):
            raise DataError(
                f"none of the {len(ids)} clips of {clips.name} is in {embeddings.folder}; clip ids "
                f"there look like {embeddings.clip_ids[:2]}, the task's like {ids[:2]}"
            )
        failures = embeddings.failures
        for clip_id in ids:
            if clip_id not in there:
                missing.setdefault(clip_id, failures.get(clip_id, "not extracted"))
    rows = [k for k, clip_id in enumerate(ids) if clip_id not in missing]
    if not rows:
        raise DataError(f"{clips.name}: no clip has all of the {len(members)} embeddings")
    if _large(len(rows), sum(_width(*member) for member in members)):
        places = members[0][1].find([ids[row] for row in rows])
        present = clips.subset([rows[k] for k in np.argsort(places, kind="stable")])
    else:
        present = clips if len(rows) == len(ids) else clips.subset(rows)
    return Features(tuple(members), present, clips, missing)


def _large(clips: int, dim: int) -> bool:
    return clips * dim * 4 > LARGE


def _width(chosen: EmbeddingSelector, embeddings: Embeddings) -> int:
    """Return the number of features of one member."""
    if chosen.stream and chosen.stream not in embeddings.stream_info:
        raise DataError(
            f"{chosen.name}: no stream {chosen.stream!r} in {embeddings.folder}; it holds "
            f"{', '.join(embeddings.stream_info)}"
        )
    stream = chosen.stream or embeddings.default_stream
    grid = embeddings.stream_info[stream]
    if grid["kind"] != "clip":
        return int(grid["dim"]) * len(chosen.pool)
    if chosen.pool != ("mean",):  # what no word means
        raise DataError(f"{chosen.name}: its stream {stream} is one vector a clip: leave out pool=")
    return int(grid["dim"])
