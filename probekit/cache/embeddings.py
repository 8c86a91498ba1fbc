"""One extractor's embeddings of one dataset: arrays by clip id."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit import cards
from probekit.cache import head, layout, part, reader
from probekit.cache import index as index_module
from probekit.cache.crops import Crops
from probekit.cache.head import SavedHead
from probekit.cache.index import Index
from probekit.cards.selector import CHOICES, EmbeddingSelector, parse
from probekit.errors import CacheError
from probekit.utils.suggest import did_you_mean, unknown_name_error

Matrix = npt.NDArray[Any]


class Embeddings:
    """One extractor's embeddings of one dataset, read by clip id.

    Parameters
    ----------
    where : pathlib.Path
        The folder ``<extractor>-<fingerprint>/<dataset>``.

    Attributes
    ----------
    layout : Layout
        Extractor, fingerprint, dataset, storage type, provenance.

    Raises
    ------
    CacheError
        If the folder is not one of a cache.
    """

    def __init__(self, where: Path) -> None:
        self.where = where
        self.layout = layout.load(where)

    @cached_property
    def index(self) -> Index:
        """Which clip is in which part."""
        return index_module.load(self.where)

    @property
    def clip_ids(self) -> list[str]:
        """Ids of the clips that have embeddings."""
        table = self.index.table
        return list(table["clip_id"][~table["failed"].astype(bool)])

    @property
    def failures(self) -> dict[str, str]:
        """Ids of the clips that could not be embedded, with the reason."""
        table = self.index.table[self.index.table["failed"].astype(bool)]
        return dict(zip(table["clip_id"], table["reason"], strict=True))

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Attributes of the first part: card, weights, precision, provenance of the machine."""
        for name in self.index.parts:
            with part.open_part(self.where / name) as file:
                return part.meta(file)
        raise CacheError(f"{self.where}: holds no parts yet")

    @cached_property
    def stream_info(self) -> dict[str, dict[str, Any]]:
        """Streams that are kept, with kind, dimension and grid."""
        for name in self.index.parts:
            with part.open_part(self.where / name) as file:
                return {stream: dict(group.attrs) for stream, group in file["streams"].items()}
        return {}

    @cached_property
    def head(self) -> SavedHead | None:
        """The network's own classifier, or None where it has none."""
        return head.load(self.where.parent)

    @property
    def default_stream(self) -> str:
        """The extractor's default stream where it is kept, else the only or first one."""
        wanted = self.meta["card"].get("default_stream", "")
        return wanted if wanted in self.stream_info else next(iter(self.stream_info))

    def vectors(
        self,
        clip_ids: Sequence[str],
        stream: str = "",
        pool: Sequence[str] = ("mean",),
        dtype: str = "float32",
    ) -> Matrix:
        """Return one vector a clip, in the order asked for.

        Parameters
        ----------
        clip_ids : sequence of str
            Which clips; a column of a table will do.
        stream : str
            Which stream; the extractor's default one if empty.
        pool : sequence of {"mean", "std", "max"}
            How frames are pooled; several are put side by side. Of no effect on streams that are
            one vector a clip already.
        dtype : {"float32", "float16", "stored"}
            Type of the numbers; ``stored`` is that of the cache, which costs no conversion.

        Returns
        -------
        numpy.ndarray, shape (clips, dim)
            Row i belongs to ``clip_ids[i]``.

        Raises
        ------
        CacheError
            If a clip, the stream or the pooling is not in the cache.
        """
        stream = self._stream(stream)
        names = ["clip"] if self.stream_info[stream]["kind"] == "clip" else list(pool)
        held = self.index.arrays(stream)
        for name in names:
            if name not in held:
                raise unknown_name_error(
                    f"pooling of {self.layout.extractor}/{stream}",
                    name,
                    [key for key in held if key != "frames"],
                )
        dim = int(self.stream_info[stream]["dim"])
        rows = self.find(clip_ids)
        matrix = np.empty((len(rows), dim * len(names)), self._type(dtype))
        reader.read_vectors(matrix, self.where, self.index, rows, stream, names)
        return matrix

    def frames(self, clip_id: str, stream: str = "") -> Matrix:
        """Return a clip's frames.

        Parameters
        ----------
        clip_id : str
            Which clip.
        stream : str
            Which stream; the extractor's default one if empty.

        Returns
        -------
        numpy.ndarray, shape (time, dim), float32
            The grid is in :attr:`stream_info`.

        Raises
        ------
        CacheError
            If the clip is not in the cache, or frames were not kept.
        """
        stream = self._stream_of_frames(stream)
        [row] = self.find([clip_id])
        codes, names = self.index.part_codes
        with part.open_part(self.where / names[codes[row]]) as file:
            [own] = part.rows_of(file, [clip_id])
            group = file["streams"][stream]
            first, last = group["offset"][own : own + 2]
            return np.asarray(group["frames"][first:last], np.float32)

    def crops(
        self, clip_ids: Sequence[str], seconds: float, stream: str = "", dtype: str = "float32"
    ) -> Crops:
        """Return a reader of stretches of frames, for training.

        Parameters
        ----------
        clip_ids : sequence of str
            Which clips; batches name them by their place in this list.
        seconds : float > 0
            Length of a stretch.
        stream : str
            Which stream; the extractor's default one if empty.
        dtype : {"float32", "float16", "stored"}
            Type of the numbers.

        Returns
        -------
        Crops
            Can be handed to other processes.

        Raises
        ------
        CacheError
            If a clip is not in the cache, or frames were not kept.
        """
        stream = self._stream_of_frames(stream)
        rows = self.find(clip_ids)
        kind = self._type(dtype)
        return Crops(self.where, self.index, rows, stream, self.stream_info[stream], seconds, kind)

    def find(self, clip_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return where clips stand in the index.

        Parameters
        ----------
        clip_ids : sequence of str
            Which clips.

        Returns
        -------
        numpy.ndarray, shape (clips,)
            Numbers of rows of ``index.table``.

        Raises
        ------
        CacheError
            If a clip has no embedding; says how many have none, and why the first one has none.
        """
        rows = self.index.find(clip_ids)
        lacking = rows < 0
        if len(rows):
            lacking |= self.index.failed[rows] if len(self.index.table) else True
        if lacking.any():
            first = str(np.asarray(clip_ids, object)[lacking.argmax()])
            why = self.failures.get(first, "never extracted")
            raise CacheError(
                f"{self.where}: {lacking.sum()} of {len(rows)} clips are not in the cache, "
                f"for example {first!r} ({why})"
            )
        return rows

    def _type(self, name: str) -> str:
        kinds = {"float32": "float32", "float16": "float16", "stored": self.layout.dtype}
        if name not in kinds:
            raise unknown_name_error("type of numbers", name, kinds)
        return kinds[name]

    def _stream_of_frames(self, name: str) -> str:
        """Return the stream of a name; one of which frames are kept."""
        stream = self._stream(name)
        if "frames" not in self.index.arrays(stream):
            raise CacheError(
                f"{self.where}: frames of {stream!r} were not kept. Extract again with --frames"
            )
        return stream

    def _stream(self, name: str) -> str:
        if not name:
            return self.default_stream
        if name not in self.stream_info:
            raise unknown_name_error(
                f"stream of {self.layout.extractor} in the cache",
                name,
                self.stream_info,
                f"To add one: probekit extract -e {self.layout.extractor} --streams …",
            )
        return name


__all__ = ["Embeddings", "describe", "find", "list_embeddings", "matches"]


def list_embeddings(cache: Path) -> list[Embeddings]:
    """Return all embeddings in a cache, sorted by extractor and dataset.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.

    Returns
    -------
    list of Embeddings
        One for each extractor, fingerprint and dataset.
    """
    return [Embeddings(path.parent) for path in sorted(cache.glob("*/*/dataset.json"))]


def find(cache: Path, selection: EmbeddingSelector | str, dataset: str) -> Embeddings:
    """Find the embeddings that a user means.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.
    selection : Selection or str
        Name, and where there are several, fingerprint or parameters.
    dataset : str
        Whose clips.

    Returns
    -------
    Embeddings
        The only ones that fit.

    Raises
    ------
    CacheError
        If none fit, or several do; the message names them. If there is no such parameter.
    """
    if isinstance(selection, str):
        selection = parse(selection)
    everything = list_embeddings(cache)
    own = [e for e in everything if e.layout.dataset == dataset]
    named = [e for e in own if e.layout.extractor == selection.name]
    fitting = [e for e in named if matches(e, selection)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        listed = "\n".join(
            f"  -e {e.layout.extractor}@{e.layout.fingerprint[:8]}   {describe(e)}" for e in fitting
        )
        raise CacheError(
            f"{cache}: several embeddings called {selection} for {dataset}; say which:\n{listed}"
        )
    if named:
        _check_unknown(selection, named)
        listed = "\n".join(f"  {e.where.parent.name}   {describe(e)}" for e in named)
        raise CacheError(f"{cache}: no {selection} for {dataset}, only:\n{listed}")
    others = sorted({e.layout.extractor for e in own})
    same = [e for e in everything if e.layout.extractor == selection.name]
    elsewhere = sorted({e.layout.dataset for e in same})
    hint = f" There is: {', '.join(others)}." if others else ""
    hint += f" {selection.name} is there for: {', '.join(elsewhere)}." if elsewhere else ""
    hint += did_you_mean(selection.name, others) or did_you_mean(dataset, elsewhere)
    raise CacheError(
        f"{cache}: no embeddings of {selection.name!r} for {dataset!r}.{hint} "
        f"Make them with: probekit extract -e {selection.name} …"
    )


def _check_unknown(selection: EmbeddingSelector, named: list[Embeddings]) -> None:
    """Raise if a parameter is none of the extractor's, then or now."""
    known = {key for e in named for key in e.layout.identity.get("params", {})}
    if selection.name in cards.card_paths("extractors"):
        known |= set(cards.load_extractor_card(selection.name).parameters)
    for key in sorted(selection.params.keys() - known):
        what = f"parameter of {selection.name}"
        raise CacheError(str(unknown_name_error(what, key, {*known, *CHOICES})))


def describe(embeddings: Embeddings) -> str:
    """Say in a few words what sets these embeddings apart: parameters, weights, precision."""
    identity = embeddings.layout.identity
    words = [f"{k}={v}" for k, v in identity.get("params", {}).items()]
    words += [f"{role} {text[:23]}" for role, text in identity.get("weights", {}).items()]
    words += [identity[k] for k in ("precision",) if k in identity]
    return ", ".join(words) or "imported"


def matches(embeddings: Embeddings, selection: EmbeddingSelector) -> bool:
    """Tell whether embeddings have the fingerprint and the parameters that a user means.

    Parameters
    ----------
    embeddings : Embeddings
        Of the extractor that the user names.
    selection : Selection
        What the user wrote.

    Returns
    -------
    bool
        Parameters that the user does not name may be any.
    """
    settled = embeddings.layout
    params = {k: str(v).lower() for k, v in settled.identity.get("params", {}).items()}
    return settled.fingerprint.startswith(selection.fingerprint) and all(
        params.get(k) == v.lower() for k, v in selection.params.items()
    )
