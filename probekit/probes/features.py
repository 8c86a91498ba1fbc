"""What one run reads: the embeddings of a task's clips, of one extractor or of several joined."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from probekit.cache import heard, store
from probekit.cache.store import Embeddings
from probekit.errors import DataError
from probekit.manifest import Manifest
from probekit.probes.streaming import CachedRows
from probekit.selection import Selection, parse_joined

Array = npt.NDArray[Any]

LARGE = 2e9  # bytes of float32 from which features are not held in memory as a whole


class Source(TypedDict):
    """One embedding that went into a run."""

    extractor: str
    fingerprint: str
    identity: dict[str, Any]  # what the fingerprint covers
    stream: str
    pool: list[str]
    dim: int


@dataclass(frozen=True)
class Features:
    """The embeddings that a run reads.

    Attributes
    ----------
    members : tuple of (Selection, Embeddings)
        Which embeddings, side by side in this order.
    clips : Manifest
        The task's clips that every member has; in the order of the cache where they are
        :attr:`large`, so that each part is read once a pass.
    whole : Manifest
        All clips of the task.
    missing : dict of str to str
        Clips without an embedding, with the reason.
    """

    members: tuple[tuple[Selection, Embeddings], ...]
    clips: Manifest
    whole: Manifest
    missing: dict[str, str]

    @property
    def label(self) -> str:
        """What people call it: names, parameters, streams and poolings, without fingerprints."""
        return "+".join(str(replace(chosen, fingerprint="")) for chosen, _ in self.members)

    @property
    def expected(self) -> int:
        """The number of clips that the task should have."""
        return max(len(self.whole), self.whole.expected or 0)

    @property
    def provenance(self) -> list[str]:
        """What every result must show about data and networks."""
        said = [*self.clips.provenance]
        for _, embeddings in self.members:
            said += embeddings.layout.provenance
        return list(dict.fromkeys(said))

    @property
    def learnt(self) -> list[str]:
        """What trained students among the members have learnt from, as digests; to name a run."""
        return [text for one in self._homes for text in heard.digest(*one)]

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
        said = [text for one in self._homes for text in heard.unknown(*one)]
        return said + [t for one in self._homes for t in heard.notes(*one, dataset, ids)]

    @property
    def _homes(self) -> list[tuple[str, Path]]:
        """Extractors with the folders of their embeddings of all datasets, each once."""
        found = [(e.layout.extractor, e.where.parent) for _, e in self.members]
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
    def large(self) -> bool:
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
                    f"{len(bad)} of {len(ids)} embeddings in {embeddings.where} hold NaN or "
                    f"infinite values, for example that of {ids[bad[0]]!r}"
                )
            blocks.append(block)
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def find(cache: Path, text: str, dataset: str, clips: Manifest) -> Features:
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
    return of([(one, store.find(cache, one, dataset)) for one in chosen], clips)


def of(members: list[tuple[Selection, Embeddings]], clips: Manifest) -> Features:
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
                f"none of the {len(ids)} clips of {clips.name} is in {embeddings.where}; clip ids "
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


def _width(chosen: Selection, embeddings: Embeddings) -> int:
    """Return the number of features of one member."""
    if chosen.stream and chosen.stream not in embeddings.grids:
        raise DataError(
            f"{chosen.name}: no stream {chosen.stream!r} in {embeddings.where}; it holds "
            f"{', '.join(embeddings.grids)}"
        )
    stream = chosen.stream or embeddings.default_stream
    grid = embeddings.grids[stream]
    if grid["kind"] != "clip":
        return int(grid["dim"]) * len(chosen.pool)
    if chosen.pool != ("mean",):  # what no word means
        raise DataError(f"{chosen.name}: its stream {stream} is one vector a clip: leave out pool=")
    return int(grid["dim"])
