"""Reading a cache: find the embeddings of an extractor and a dataset, and get arrays by clip id."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.cache import heads, layout, part
from probekit.cache import index as index_module
from probekit.cache.heads import KeptHead
from probekit.cache.index import Index
from probekit.errors import CacheError
from probekit.registry import did_you_mean, unknown
from probekit.selection import Selection, parse

Matrix = npt.NDArray[np.float32]


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
            with part.opened(self.where / name) as file:
                return part.meta(file)
        raise CacheError(f"{self.where}: holds no parts yet")

    @cached_property
    def grids(self) -> dict[str, dict[str, Any]]:
        """Streams that are kept, with kind, dimension and grid."""
        for name in self.index.parts:
            with part.opened(self.where / name) as file:
                return {stream: dict(group.attrs) for stream, group in file["streams"].items()}
        return {}

    @cached_property
    def head(self) -> KeptHead | None:
        """The network's own classifier, or None where it has none."""
        return heads.load(self.where.parent)

    @property
    def default_stream(self) -> str:
        """The extractor's default stream where it is kept, else the only or first one."""
        wanted = self.meta["card"].get("default_stream", "")
        return wanted if wanted in self.grids else next(iter(self.grids))

    def vectors(
        self, clip_ids: Sequence[str], stream: str = "", pool: Sequence[str] = ("mean",)
    ) -> Matrix:
        """Return one vector a clip, in the order asked for.

        Parameters
        ----------
        clip_ids : sequence of str
            Which clips.
        stream : str
            Which stream; the extractor's default one if empty.
        pool : sequence of {"mean", "std", "max"}
            How frames are pooled; several are put side by side. Of no effect on streams that are
            one vector a clip already.

        Returns
        -------
        numpy.ndarray, shape (clips, dim), float32
            Row i belongs to ``clip_ids[i]``.

        Raises
        ------
        CacheError
            If a clip, the stream or the pooling is not in the cache.
        """
        stream = self._stream(stream)
        names = ["clip"] if self.grids[stream]["kind"] == "clip" else list(pool)
        held = self.index.arrays(stream)
        for name in names:
            if name not in held:
                raise unknown(
                    f"pooling of {self.layout.extractor}/{stream}",
                    name,
                    [key for key in held if key != "frames"],
                )
        dim = int(self.grids[stream]["dim"])
        found = np.empty((len(clip_ids), dim * len(names)), np.float32)
        for path, places in self._places(clip_ids):
            with part.opened(path) as file:
                rows = part.rows_of(file, [clip_ids[place] for place in places])
                group = file["streams"][stream]
                for k, name in enumerate(names):
                    found[places, k * dim : (k + 1) * dim] = group[name][:][rows]
        return found

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
            The grid is in :attr:`grids`.

        Raises
        ------
        CacheError
            If the clip is not in the cache, or frames were not kept.
        """
        stream = self._stream(stream)
        if "frames" not in self.index.arrays(stream):
            raise CacheError(
                f"{self.where}: frames of {stream!r} were not kept. Extract again with --frames"
            )
        [(path, _)] = self._places([clip_id])
        with part.opened(path) as file:
            [row] = part.rows_of(file, [clip_id])
            group = file["streams"][stream]
            first, last = group["offset"][row : row + 2]
            return np.asarray(group["frames"][first:last], np.float32)

    def _stream(self, name: str) -> str:
        if not name:
            return self.default_stream
        if name not in self.grids:
            raise unknown(
                f"stream of {self.layout.extractor} in the cache",
                name,
                self.grids,
                f"To add one: probekit extract -e {self.layout.extractor} --streams …",
            )
        return name

    @cached_property
    def _where_is(self) -> dict[str, str]:
        table = self.index.table[~self.index.table["failed"].astype(bool)]
        return dict(zip(table["clip_id"], table["part"], strict=True))

    def _places(self, clip_ids: Sequence[str]) -> list[tuple[Path, list[int]]]:
        """Group clips by part: the part, and their places in the request."""
        lacking = [i for i in clip_ids if i not in self._where_is]
        if lacking:
            why = self.failures.get(lacking[0], "never extracted")
            raise CacheError(
                f"{self.where}: {len(lacking)} of {len(clip_ids)} clips are not in the cache, "
                f"for example {lacking[0]!r} ({why})"
            )
        groups: dict[str, list[int]] = {}
        for place, clip_id in enumerate(clip_ids):
            groups.setdefault(self._where_is[clip_id], []).append(place)
        return [(self.where / name, places) for name, places in sorted(groups.items())]


def entries(cache: Path) -> list[Embeddings]:
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


def find(cache: Path, selection: Selection | str, dataset: str) -> Embeddings:
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
        If none fit, or several do; the message names them.
    """
    if isinstance(selection, str):
        selection = parse(selection)
    everything = entries(cache)
    own = [e for e in everything if e.layout.dataset == dataset]
    named = [e for e in own if e.layout.extractor == selection.name]
    fitting = [e for e in named if _fits(e, selection)]
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


def describe(embeddings: Embeddings) -> str:
    """Say in a few words what sets these embeddings apart: parameters, weights, precision."""
    identity = embeddings.layout.identity
    words = [f"{k}={v}" for k, v in identity.get("params", {}).items()]
    words += [f"{role} {text[:23]}" for role, text in identity.get("weights", {}).items()]
    words += [identity[k] for k in ("precision",) if k in identity]
    return ", ".join(words) or "imported"


def _fits(embeddings: Embeddings, selection: Selection) -> bool:
    settled = embeddings.layout
    params = {k: str(v).lower() for k, v in settled.identity.get("params", {}).items()}
    return settled.fingerprint.startswith(selection.fingerprint) and all(
        params.get(k) == v.lower() for k, v in selection.params.items()
    )
