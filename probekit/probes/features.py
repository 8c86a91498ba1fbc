"""Features of a run: embeddings of a task's clips, of one extractor or of several joined."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.audio.downmix import CANCELLATION
from probekit.audio.segment import TRUNCATED
from probekit.cache import training_clips
from probekit.cache.embeddings import Embeddings, check_card, find_embeddings, find_layers
from probekit.cards.selector import HF, MODEL, ONNX, EmbeddingSelector, layer_names, parse_selectors
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.scores.store import Source

OUT_OF_CORE_BYTES = 2e9  # of float32 features above which they are not loaded as one array


class CachedRows:
    """Embeddings of some clips, as rows of an array that is read on demand.

    Parameters
    ----------
    members : sequence of (Embeddings, str, sequence of str)
        Embeddings to join, with stream (the default one if empty) and poolings.
    clip_ids : sequence of str
        Row i is the embedding of ``clip_ids[i]``. In the order of the cache
        (:attr:`probekit.cache.embeddings.Embeddings.clip_ids`) each part is read once per pass.

    Attributes
    ----------
    shape : tuple of int
        Rows and features.
    """

    def __init__(
        self, members: Sequence[tuple[Embeddings, str, Sequence[str]]], clip_ids: Sequence[str]
    ) -> None:
        self.members = [(embeddings, stream, tuple(pool)) for embeddings, stream, pool in members]
        self.clip_ids = np.asarray(clip_ids, dtype=object)
        self.shape = (len(self.clip_ids), self[:1].shape[1])

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> Array:
        """Return some rows, by slice or by array of row numbers; float32 or float16 as cached."""
        ids = [str(clip_id) for clip_id in self.clip_ids[rows]]
        blocks = [
            embeddings.vectors(ids, stream, pool, "stored")
            for embeddings, stream, pool in self.members
        ]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def member(self, index: int) -> "CachedRows":
        """Return the rows of one of the joined embeddings."""
        return CachedRows([self.members[index]], list(self.clip_ids))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a worker, which opens the caches itself."""
        members = [(embeddings.folder, stream, pool) for embeddings, stream, pool in self.members]
        return {"members": members, "clip_ids": self.clip_ids, "shape": self.shape}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the caches again."""
        self.members = [
            (Embeddings(folder), stream, pool) for folder, stream, pool in state["members"]
        ]
        self.clip_ids, self.shape = state["clip_ids"], state["shape"]


@dataclass(frozen=True)
class Features:
    """Embeddings of a task's clips.

    Attributes
    ----------
    members : tuple of (EmbeddingSelector, Embeddings)
        Embeddings to join, in this order.
    clips : Manifest
        The task's clips with an embedding in every member; in the order of the cache if features
        are :attr:`out_of_core`, so that each part is read once per pass.
    all_clips : Manifest
        All clips of the task.
    missing : dict of str to str
        Clips without an embedding, with the reason.
    layer : {"", "auto", "learned"}
        How the probe uses the members, which are the layers of one network by depth; empty if it
        simply joins them.
    """

    members: tuple[tuple[EmbeddingSelector, Embeddings], ...]
    clips: Manifest
    all_clips: Manifest
    missing: dict[str, str]
    layer: str = ""

    @property
    def label(self) -> str:
        """Display label: names, parameters, streams and poolings, without fingerprints."""
        if self.layer:
            selector, _ = self.members[0]
            return str(replace(selector, fingerprint="", stream="", layer=self.layer))
        return "+".join(str(replace(selector, fingerprint="")) for selector, _ in self.members)

    @property
    def layers(self) -> list[int | str]:
        """Depth of each member where they are :attr:`layer`s, or its stream where depths repeat."""
        _, embeddings = self.members[0]
        streams = tuple(selector.stream for selector, _ in self.members)
        return layer_names(streams, embeddings.layer_depths)

    @property
    def widths(self) -> list[int]:
        """Number of features of each member."""
        return [source["dim"] for source in self.sources]

    @property
    def expected(self) -> int:
        """Number of clips that the task should have."""
        return max(len(self.all_clips), self.all_clips.expected or 0)

    @property
    def provenance(self) -> list[str]:
        """Notes on data and networks to show beside every result."""
        notes = [*self.clips.provenance]
        for _, embeddings in self.members:
            notes += embeddings.layout.provenance
            notes += _describe_recordings(embeddings, self.clips)
        return list(dict.fromkeys(notes))

    @property
    def training_digests(self) -> list[str]:
        """Digests of the training clips of students among the members; part of the run's id."""
        return [
            digest
            for extractor in self._extractor_folders
            for digest in training_clips.record_digest(*extractor)
        ]

    def notes(self, tested: Iterable[str]) -> list[str]:
        """Return which share of the test clips students among the members were trained on.

        Parameters
        ----------
        tested : iterable of str
            Ids of the test clips of all folds.

        Returns
        -------
        list of str
            Notes, including one if it is not known; empty if no member is a trained student.
        """
        ids, dataset = set(tested), self.members[0][1].layout.dataset
        extractors = self._extractor_folders
        notes = [note for e in extractors for note in training_clips.missing_record_notes(*e)]
        return notes + [
            note
            for extractor in extractors
            for note in training_clips.contamination_notes(*extractor, dataset, ids)
        ]

    @property
    def _extractor_folders(self) -> list[tuple[str, Path]]:
        """Distinct extractors with the folders of their embeddings of all datasets."""
        folders = [(e.layout.extractor, e.folder.parent) for _, e in self.members]
        return list(dict.fromkeys(folders))

    @cached_property
    def sources(self) -> list[Source]:
        """The embeddings, as stored in a result."""
        return [
            Source(
                extractor=embeddings.layout.extractor,
                fingerprint=embeddings.layout.fingerprint,
                identity=embeddings.layout.identity,
                stream=selector.stream or embeddings.default_stream,
                pool=list(selector.pool),
                dim=_dim(selector, embeddings),
            )
            for selector, embeddings in self.members
        ]

    @property
    def recording_hashes(self) -> dict[str, str]:
        """SHA-256 of recordings by clip id; empty text for imported clips."""
        return self.members[0][1].index.recording_hashes

    @cached_property
    def digest(self) -> str:
        """SHA-256 over what determines the values; see :func:`digest_features`."""
        embeddings = [member for _, member in self.members]
        return digest_features(embeddings, self.sources, self.clips.clip_ids)

    def check_frames(self, probe: str) -> None:
        """Raise a ProbekitError if a member has one vector a clip, or its frames are not stored."""
        for selector, embeddings in self.members:
            stream = selector.stream or embeddings.default_stream
            if embeddings.stream_info.get(stream, {}).get("kind") == "clip":
                raise DataError(
                    f"{selector.name}: its stream {stream} is one vector per clip, and {probe} "
                    "needs frames; use --probe mlp"
                )
            embeddings.resolve_frame_stream(stream)

    @property
    def out_of_core(self) -> bool:
        """Whether they are better read block by block than all at once."""
        return _is_large(len(self.clips), sum(source["dim"] for source in self.sources))

    def rows(self) -> CachedRows:
        """Return the features as rows that are read from the cache on demand."""
        members = [(embeddings, s.stream, s.pool) for s, embeddings in self.members]
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
            If an embedding holds NaN or infinite values.
        """
        ids = self.clips.clip_ids
        blocks = []
        for selector, embeddings in self.members:
            block = embeddings.vectors(ids, selector.stream, selector.pool)
            bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
            if len(bad):
                raise DataError(
                    f"{len(bad)} of {len(ids)} embeddings in {embeddings.folder} hold NaN or "
                    f"infinite values, for example that of {ids[bad[0]]!r}"
                )
            blocks.append(block)
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


def expand_layers(cache: Path, selectors: str, dataset: str) -> list[str]:
    """Return the selector of each layer of a network for ``layer=all``, by depth; else the same.

    Raises
    ------
    ProbekitError
        If the network has no layers, one is not in the cache, or the network is one of several
        that are joined.
    """
    members = parse_selectors(selectors)
    if not any(member.layer == "all" for member in members):
        return [selectors]
    if len(members) > 1:
        raise _joined_error(selectors)
    [member] = members
    _, streams = find_layers(cache, member, dataset)
    return [str(replace(member, layer="", stream=stream)) for stream in streams]


def _joined_error(selectors: str) -> DataError:
    return DataError(
        f"-e {selectors}: layer=all, auto and learned are for one network alone; join one of its "
        "layers by its depth, such as layer=3"
    )


def find_features(
    cache: Path, selectors: str, dataset: str, clips: Manifest, *, several_layers: bool = False
) -> Features:
    """Find embeddings in the cache, and the clips that all of them have.

    Parameters
    ----------
    cache : pathlib.Path
        Cache root.
    selectors : str
        As after ``-e``; ``A+B`` to join two.
    dataset : str
        Name of the dataset.
    clips : Manifest
        The task's clips.
    several_layers : bool
        Whether the caller can use ``layer=auto`` and ``layer=learned``, whose layers are joined.

    Returns
    -------
    Features
        No array is read yet.

    Raises
    ------
    ProbekitError
        If an embedding is not in the cache, no clip has one, or the extractor's card has another
        dimension.
    """
    members, choice = [], ""
    parsed = parse_selectors(selectors)
    for selector in parsed:
        if not selector.layer:
            embeddings = find_embeddings(cache, selector, dataset)
            members.append((_name_model(selector, embeddings), embeddings))
            continue
        if not selector.layer.isdigit():
            if len(parsed) > 1:
                raise _joined_error(selectors)
            if not several_layers or selector.layer == "all":
                raise DataError(f"-e {selectors}: one layer is needed here, such as layer=3")
            choice = selector.layer
        embeddings, streams = find_layers(cache, selector, dataset)
        selector = _name_model(selector, embeddings)
        members += [(replace(selector, layer="", stream=name), embeddings) for name in streams]
    for embeddings in dict.fromkeys(embeddings for _, embeddings in members):
        check_card(embeddings)
    return replace(load_features(members, clips), layer=choice)


def _name_model(selector: EmbeddingSelector, embeddings: Embeddings) -> EmbeddingSelector:
    """Return a selector with the name of a model of ``hf:`` or ``onnx:``, not the path to it."""
    if selector.name not in (HF, ONNX):
        return selector
    return replace(selector, params={**selector.params, MODEL: embeddings.layout.params[MODEL]})


def load_features(members: list[tuple[EmbeddingSelector, Embeddings]], clips: Manifest) -> Features:
    """Return the features of a task's clips that have an embedding in every member.

    Raises
    ------
    DataError
        If no clip has; shows clip ids of both sides.
    """
    ids = clips.clip_ids
    missing: dict[str, str] = {}
    for _, embeddings in members:
        cached = set(embeddings.clip_ids)
        if not cached & set(ids):
            raise DataError(
                f"none of the {len(ids)} clips of {clips.name} is in {embeddings.folder}: its clip "
                f"ids look like {embeddings.clip_ids[:2]}, the task's like {ids[:2]}"
            )
        failures = embeddings.failures
        for clip_id in ids:
            if clip_id not in cached:
                missing.setdefault(clip_id, failures.get(clip_id, "not extracted"))
        for clip_id in _other_segments(embeddings, clips):
            missing.setdefault(clip_id, "extracted as another segment: extract it again")
    rows = [k for k, clip_id in enumerate(ids) if clip_id not in missing]
    if not rows:
        reason = next(iter(missing.values()))
        raise DataError(
            f"{clips.name}: no clip has all of the {len(members)} embeddings ({ids[0]!r}: {reason})"
        )
    if _is_large(len(rows), sum(_dim(*member) for member in members)):
        cache_rows = members[0][1].find([ids[row] for row in rows])
        present = clips.subset([rows[k] for k in np.argsort(cache_rows, kind="stable")])
    else:
        present = clips if len(rows) == len(ids) else clips.subset(rows)
    return Features(tuple(members), present, clips, missing)


def _other_segments(embeddings: Embeddings, clips: Manifest) -> list[str]:
    """Return the clips whose embedding is that of other seconds of the recording."""
    with_path = np.array([path != "" for path in clips.columns["path"].to_pylist()], bool)
    if not with_path.any():
        return []
    ids, index = clips.clip_ids, embeddings.index
    positions = index.find(ids)
    rows = np.flatnonzero((positions >= 0) & with_path)
    # imported clips have no segment
    rows = rows[(np.array(index.column("size")) >= 0)[positions[rows]]]
    differ = np.zeros(len(rows), bool)
    for name in ("start", "end"):
        requested = clips.times(name)[rows]
        stored = np.array(index.column(name), float)[positions[rows]]
        differ |= (requested != stored) & ~(np.isnan(requested) & np.isnan(stored))
    return [ids[row] for row in rows[differ]]


def _describe_recordings(embeddings: Embeddings, clips: Manifest) -> list[str]:
    """Return how many clips have a recording whose sound is not what it should be."""
    if not embeddings.index.notes:
        return []
    ids = set(clips.clip_ids)
    texts = [texts for clip_id, texts in embeddings.index.notes.items() if clip_id in ids]
    kinds = {"truncated recordings": TRUNCATED, "recordings whose channels cancel": CANCELLATION}
    counts = {
        kind: sum(any(text.startswith(begin) for text in lines) for lines in texts)
        for kind, begin in kinds.items()
    }
    return [f"{count:,} of {len(clips):,} clips: {kind}" for kind, count in counts.items() if count]


def digest_features(
    embeddings: Sequence[Embeddings], sources: Sequence[Source], clip_ids: Sequence[str]
) -> str:
    """Return the SHA-256 over what determines features: fingerprints, streams, recordings' hashes.

    A recording that changes is extracted again under the same fingerprint, with another hash.
    """
    sha = hashlib.sha256()
    for member, source in zip(embeddings, sources, strict=True):
        sha.update(f"{source['fingerprint']} {source['stream']} {source['pool']}\n".encode())
        hashes = member.index.recording_hashes
        for clip_id in clip_ids:
            sha.update(f"{clip_id}\0{hashes[clip_id]}\n".encode())
    return sha.hexdigest()


def _is_large(clips: int, dim: int) -> bool:
    return clips * dim * 4 > OUT_OF_CORE_BYTES


def _dim(selector: EmbeddingSelector, embeddings: Embeddings) -> int:
    """Return the number of features of one member."""
    if selector.stream and selector.stream not in embeddings.stream_info:
        raise DataError(
            f"{selector.name}: no stream {selector.stream!r} in {embeddings.folder}; it holds "
            f"{', '.join(embeddings.stream_info)}. If the extractor has it, add it with "
            f"probekit extract -e {selector}"
        )
    stream = selector.stream or embeddings.default_stream
    grid = embeddings.stream_info[stream]
    if grid["kind"] != "clip":
        return int(grid["dim"]) * len(selector.pool)
    if selector.has_pool or selector.pool != ("mean",):
        raise DataError(
            f"{selector.name}: its stream {stream} is one vector per clip; leave out pool="
        )
    return int(grid["dim"])
