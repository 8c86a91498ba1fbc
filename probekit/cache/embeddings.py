"""Embeddings of one extractor and dataset: arrays by clip id; and finding them by selector."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit import cards
from probekit._typing import Array
from probekit.cache import part, reader
from probekit.cache.crops import Crops
from probekit.cache.head import SavedHead, load_head
from probekit.cache.index import Index, load_index
from probekit.cache.integrity import check_dims
from probekit.cache.layout import LAYOUT_FILE, Layout, load_layout
from probekit.cards.schema import HOP, RESAMPLER
from probekit.cards.selector import (
    CACHE_KEYS,
    HF,
    MODEL,
    ONNX,
    REVISION,
    EmbeddingSelector,
    layer_names,
    parse_selector,
    select_layers,
)
from probekit.errors import CacheError, CardError, ProbekitError
from probekit.utils.hashing import sha256
from probekit.utils.suggest import did_you_mean, unknown_name_error

__all__ = [
    "Embeddings",
    "check_card",
    "describe_embeddings",
    "find_embeddings",
    "find_layers",
    "is_outdated",
    "list_embeddings",
    "matches_selector",
]


class Embeddings:
    """Embeddings of one extractor and dataset, read by clip id.

    Usually opened by :func:`probekit.open_cache`.

    Parameters
    ----------
    folder : pathlib.Path
        The folder ``<extractor>-<fingerprint>/<dataset>`` of a cache.

    Attributes
    ----------
    folder : pathlib.Path
        The same.
    layout : Layout
        Extractor, fingerprint, dataset, storage type, provenance.

    Raises
    ------
    CacheError
        If the folder is not one of a cache.

    See Also
    --------
    probekit.open_cache : Find embeddings by extractor and dataset.
    probekit.extract : Compute embeddings.

    Examples
    --------
    >>> from pathlib import Path
    >>> import soundfile
    >>> import probekit
    >>> from probekit.tasks.standin.sounds import synthesize
    >>> Path("sounds").mkdir()
    >>> for label in ("bird", "rain"):
    ...     wave = synthesize(label, seed=0, seconds=1.0, sr=16000)
    ...     soundfile.write(f"sounds/{label}.wav", wave, 16000)
    >>> _ = probekit.extract("mfcc", audio="sounds")
    >>> embeddings = probekit.open_cache("mfcc", "sounds")
    >>> embeddings.clip_ids
    ['bird', 'rain']
    >>> embeddings.vectors(["rain", "bird"], pool=("mean", "std")).shape
    (2, 40)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = load_layout(folder)

    def __repr__(self) -> str:
        """Return extractor, dataset, numbers of clips and failures, and streams with dimensions."""
        words = [f"{self.layout.extractor}@{self.layout.fingerprint[:8]}"]
        words.append(f"{self.layout.dataset!r}")
        with suppress(CacheError, OSError):  # of a damaged cache what is known
            words.append(f"{len(self.clip_ids):,} clips")
            words += [f"{len(self.failures):,} failed"] * bool(self.failures)
            words += [f"{name}: {info['dim']:,}" for name, info in self.stream_info.items()]
        return f"Embeddings({', '.join(words)})"

    @cached_property
    def index(self) -> Index:
        """Index of the clips: in which part each one is."""
        return load_index(self.folder)

    @property
    def clip_ids(self) -> list[str]:
        """Ids of the clips that have embeddings."""
        ids, failed = (self.index.column(name) for name in ("clip_id", "failed"))
        return [clip_id for clip_id, missing in zip(ids, failed, strict=True) if not missing]

    @property
    def failures(self) -> dict[str, str]:
        """Ids of the clips that could not be embedded, with the reason."""
        columns = (self.index.column(name) for name in ("clip_id", "reason", "failed"))
        return {clip_id: reason for clip_id, reason, failed in zip(*columns, strict=True) if failed}

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Attributes of the first part: card, weights, precision, provenance of the machine."""
        for name in self.index.parts:
            with part.open_part(self.folder / name) as file:
                return part.read_meta(file)
        raise CacheError(f"{self.folder}: no parts in this folder")

    @cached_property
    def stream_info(self) -> dict[str, dict[str, Any]]:
        """Stored streams: name to kind, dimension and frame grid."""
        for name in self.index.parts:
            with part.open_part(self.folder / name) as file:
                return {stream: dict(group.attrs) for stream, group in file["streams"].items()}
        return {}

    @cached_property
    def head(self) -> SavedHead | None:
        """The network's own classifier, or None if it has none."""
        return load_head(self.folder.parent)

    @cached_property
    def layer_depths(self) -> dict[str, int | None]:
        """Streams of the extractor's card, stored or not, with their depth if they are layers."""
        streams = self.meta["card"].get("streams", {})
        depths = {name: facts.get("layer") for name, facts in streams.items()}
        return depths or dict.fromkeys(self.stream_info)

    @property
    def default_stream(self) -> str:
        """The extractor's default stream if it is stored, else the only or first one."""
        default = self.meta["card"].get("default_stream", "")
        return default if default in self.stream_info else next(iter(self.stream_info))

    def vectors(
        self,
        clip_ids: Sequence[str],
        stream: str = "",
        pool: Sequence[str] = ("mean",),
        dtype: str = "float32",
    ) -> Array:
        """Return one vector a clip.

        Parameters
        ----------
        clip_ids : sequence of str
            A list, or a column of a table.
        stream : str
            A stored stream; the extractor's default one if empty.
        pool : sequence of {"mean", "std", "max"}
            How frames are pooled; several are concatenated. Ignored for streams of kind ``clip``.
        dtype : {"float32", "float16", "stored"}
            Type of the numbers; ``stored`` is that of the cache, which costs no conversion.

        Returns
        -------
        numpy.ndarray, shape (clips, dim · len(pool))
            Row i belongs to ``clip_ids[i]``.

        Raises
        ------
        CacheError
            If a clip, the stream or the pooling is not in the cache.
        """
        stream = self._resolve_stream(stream)
        names = ["clip"] if self.stream_info[stream]["kind"] == "clip" else list(pool)
        stored = self.index.arrays(stream)
        for name in names:
            if name not in stored:
                raise unknown_name_error(
                    f"pooling of {self.layout.extractor}/{stream}",
                    name,
                    [key for key in stored if key != "frames"],
                )
        dim = int(self.stream_info[stream]["dim"])
        positions = self.find(clip_ids)
        matrix = np.empty((len(positions), dim * len(names)), self._resolve_dtype(dtype))
        reader.read_vectors(matrix, self.folder, self.index, positions, stream, names)
        return matrix

    def frames(self, clip_id: str, stream: str = "") -> Array:
        """Return a clip's frames.

        Parameters
        ----------
        clip_id : str
            Id of the clip.
        stream : str
            A stored stream; the extractor's default one if empty.

        Returns
        -------
        numpy.ndarray, shape (time, dim), float32
            Their grid is in :attr:`stream_info`.

        Raises
        ------
        CacheError
            If the clip is not in the cache, or frames were not stored.
        """
        with self._open_frames(clip_id, self.resolve_frame_stream(stream)) as (frames, rows):
            return np.asarray(frames[rows], np.float32)

    def times(self, clip_id: str, stream: str = "") -> Array:
        """Return the times of a clip's frames.

        Parameters
        ----------
        clip_id : str
            Id of the clip.
        stream : str
            A stored stream; the extractor's default one if empty.

        Returns
        -------
        numpy.ndarray, shape (time,), float64
            The center of each frame, in seconds from the start of the clip. Frame ``k`` depends on
            ``window`` seconds around it; :attr:`stream_info` has ``hop`` and ``window``.

        Raises
        ------
        CacheError
            If the clip is not in the cache, or frames were not stored.

        See Also
        --------
        frames : The frames themselves.
        """
        stream = self.resolve_frame_stream(stream)
        with self._open_frames(clip_id, stream) as (_, rows):
            count = rows.stop - rows.start
        grid = self.stream_info[stream]
        first_center, hop = Fraction(grid["first_center"]), Fraction(grid["hop"])
        return np.array([float(first_center + k * hop) for k in range(count)])

    @contextmanager
    def _open_frames(self, clip_id: str, stream: str) -> Iterator[tuple[Any, slice]]:
        """Open the part that has a clip; yield its frames of all clips, and the clip's rows."""
        [position] = self.find([clip_id])
        codes, names = self.index.part_codes
        with part.open_part(self.folder / names[codes[position]]) as file:
            [row] = part.find_rows(file, [clip_id])
            group = file["streams"][stream]
            first, last = group["offset"][row : row + 2]
            yield group["frames"], slice(int(first), int(last))

    def crops(
        self, clip_ids: Sequence[str], seconds: float, stream: str = "", dtype: str = "float32"
    ) -> Crops:
        """Return a reader of segments of frames, for training.

        Parameters
        ----------
        clip_ids : sequence of str
            The clips; batches refer to them by their position in this list.
        seconds : float > 0
            Length of a segment.
        stream : str
            A stored stream; the extractor's default one if empty.
        dtype : {"float32", "float16", "stored"}
            Type of the numbers.

        Returns
        -------
        Crops
            Can be pickled for other processes.

        Raises
        ------
        CacheError
            If a clip is not in the cache, or frames were not stored.
        """
        stream = self.resolve_frame_stream(stream)
        positions = self.find(clip_ids)
        grid, kind = self.stream_info[stream], self._resolve_dtype(dtype)
        return Crops(self.folder, self.index, positions, stream, grid, seconds, kind)

    def find(self, clip_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the positions of clips in the index.

        Parameters
        ----------
        clip_ids : sequence of str
            Ids of the clips.

        Returns
        -------
        numpy.ndarray, shape (clips,)
            Row numbers of ``index.table``.

        Raises
        ------
        CacheError
            If a clip has no embedding, with the number of such clips and the reason of the first.
        """
        positions = self.index.find(clip_ids)
        missing = positions < 0
        if len(positions):
            missing |= self.index.failed[positions] if len(self.index) else True
        if missing.any():
            first = str(np.asarray(clip_ids, object)[missing.argmax()])
            reason = self.failures.get(first, "never extracted")
            raise CacheError(
                f"{self.folder}: {missing.sum()} of {len(positions)} clips are not in the cache, "
                f"for example {first!r} ({reason})"
            )
        return positions

    def _resolve_dtype(self, name: str) -> str:
        dtypes = {"float32": "float32", "float16": "float16", "stored": self.layout.dtype}
        if name not in dtypes:
            raise unknown_name_error("type of numbers", name, dtypes)
        return dtypes[name]

    def resolve_frame_stream(self, name: str) -> str:
        """Return the stream of a name, the default one if empty.

        Raises
        ------
        CacheError
            If it is not stored, or its frames are not.
        """
        stream = self._resolve_stream(name)
        if "frames" not in self.index.arrays(stream):
            raise CacheError(
                f"{self.folder}: frames of {stream!r} are not in the cache. To add them: "
                f"probekit extract -e {self.layout.extractor} --frames …"
            )
        return stream

    def _resolve_stream(self, name: str) -> str:
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


def list_embeddings(cache: Path) -> list[Embeddings]:
    """Return all embeddings in a cache, sorted by extractor and dataset."""
    return [Embeddings(path.parent) for path in sorted(cache.glob(f"*/*/{LAYOUT_FILE}"))]


def find_embeddings(cache: Path, selector: EmbeddingSelector | str, dataset: str) -> Embeddings:
    """Return the only embeddings of a dataset that match a selector.

    Parameters
    ----------
    cache : pathlib.Path
        The cache root.
    selector : EmbeddingSelector or str
        Name, and if there are several, fingerprint or parameters; without ``layer=``, which
        :func:`find_layers` resolves.
    dataset : str
        Name of the dataset.

    Returns
    -------
    Embeddings
        The match.

    Raises
    ------
    CacheError
        If none or several match, with their names; if a parameter is unknown, or ``layer=`` is not
        possible here.
    """
    if isinstance(selector, str):
        selector = parse_selector(selector)
    if selector.layer:
        raise _no_layer_here(cache, selector, dataset)
    entries = list_embeddings(cache)
    of_dataset = [e for e in entries if e.layout.dataset == dataset]
    named = [e for e in of_dataset if e.layout.extractor == selector.name]
    fitting = [e for e in named if matches_selector(e, selector)]
    current = [e for e in fitting if not is_outdated(e)]
    if fitting and not current:
        warnings.warn(
            f"{selector.name}: the code of its card has changed since its embeddings for {dataset} "
            f"were computed. Compute them again: probekit extract -e {selector.name} …",
            stacklevel=2,
        )
    fitting = _prefer_default_hop(current or fitting, selector)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        lines = "\n".join(
            f"  -e {e.layout.extractor}@{e.layout.fingerprint[:8]}   {describe_embeddings(e)}"
            for e in fitting
        )
        raise CacheError(
            f"{cache}: several embeddings match {selector} for {dataset}; choose one:\n{lines}"
        )
    if named:
        _check_parameters(selector, named)
        lines = "\n".join(f"  {e.folder.parent.name}   {describe_embeddings(e)}" for e in named)
        model = selector.params.get(MODEL, "")
        changed = model and any(_is_named(e.layout, model) for e in named)
        hint = f"\nThe files of {model} are not those that were embedded. Extract again"
        raise CacheError(
            f"{cache}: no {selector} for {dataset}, only:\n{lines}{hint if changed else ''}"
        )
    extractors = sorted({e.layout.extractor for e in of_dataset})
    datasets = sorted({e.layout.dataset for e in entries if e.layout.extractor == selector.name})
    hint = f" Available: {', '.join(extractors)}." if extractors else ""
    hint += f" {selector.name} is available for: {', '.join(datasets)}." if datasets else ""
    hint += did_you_mean(selector.name, extractors) or did_you_mean(dataset, datasets)
    raise CacheError(
        f"{cache}: no embeddings of {selector.name!r} for {dataset!r}.{hint} "
        f"Compute them with: probekit extract -e {selector.name} …"
    )


def find_layers(
    cache: Path, selector: EmbeddingSelector, dataset: str
) -> tuple[Embeddings, tuple[str, ...]]:
    """Return the embeddings that a selector with ``layer=`` matches, and the streams it means.

    Parameters
    ----------
    cache : pathlib.Path
        The cache root.
    selector : EmbeddingSelector
        With ``layer``.
    dataset : str
        Name of the dataset.

    Returns
    -------
    Embeddings
        As of :func:`find_embeddings`.
    tuple of str
        Stored streams: one of a depth, else all layers by depth.

    Raises
    ------
    ProbekitError
        As of :func:`find_embeddings`; if the network has no such layer, or it is not in the cache.
    """
    embeddings = find_embeddings(cache, replace(selector, layer=""), dataset)
    whole = f"{replace(selector, fingerprint='', layer='', pool=('mean',))}"
    whole += ("," if ":" in whole else ":") + "layer=all"
    advice = f"Extract the layers with: probekit extract -e {whole} …"
    try:
        streams = select_layers(selector.name, embeddings.layer_depths, selector.layer)
    except ProbekitError as error:
        name = selector.name
        is_current = name not in cards.card_paths("extractors") or not any(
            stream.layer is not None for stream in cards.load_extractor_card(name).streams.values()
        )
        if is_current or any(depth is not None for depth in embeddings.layer_depths.values()):
            raise
        raise CacheError(
            f"{embeddings.folder}: {name} was extracted before its card stated layers. {advice}"
        ) from error
    missing = [name for name in streams if name not in embeddings.stream_info]
    if missing:
        names = layer_names(streams, embeddings.layer_depths)
        absent = [str(n) for n, s in zip(names, streams, strict=True) if s in missing]
        raise CacheError(
            f"{embeddings.folder}: layer {', '.join(absent)} of {selector.name} is not in the "
            f"cache (streams {', '.join(embeddings.stream_info)} are). {advice}"
        )
    return embeddings, streams


def _no_layer_here(cache: Path, selector: EmbeddingSelector, dataset: str) -> ProbekitError:
    """Return the error that one stream is needed, with the name of the layer's stream."""
    hint = "evaluate and analyze layers take layer=; here write stream=NAME"
    if selector.layer.isdigit():
        _, (stream,) = find_layers(cache, selector, dataset)
        hint = f"write {replace(selector, layer='', stream=stream)}"
    return CacheError(f"{selector}: one stream is needed here; {hint}")


def _check_parameters(selector: EmbeddingSelector, named: list[Embeddings]) -> None:
    """Raise if a parameter is none of the extractor's, in the cache or in its card."""
    known = {key for e in named for key in e.layout.identity.get("params", {})}
    known |= {MODEL, REVISION} if selector.name == HF else set()
    if selector.name in cards.card_paths("extractors"):
        card = cards.load_extractor_card(selector.name)
        known |= {*card.parameters, *([HOP] if card.window_hop else [])}
    for key in sorted(selector.params.keys() - known):
        kind = f"parameter of {selector.name}"
        raise CacheError(str(unknown_name_error(kind, key, {*known, *CACHE_KEYS})))


def is_outdated(embeddings: Embeddings) -> bool:
    """Return whether the code that a user's card names has changed since; False if unknown."""
    code, name = embeddings.layout.identity.get("module"), embeddings.layout.extractor
    if not isinstance(code, dict) or name not in cards.card_paths("extractors"):
        return False
    try:
        current = cards.code_identity(cards.load_extractor_card(name))
    except CardError:
        return False
    return any(code.get(key) != value for key, value in current.items())


def check_card(embeddings: Embeddings) -> None:
    """Raise a CardError if the extractor's card has other dimensions than it had.

    Embeddings of another version of the card, or of other code, are not compared.
    """
    layout = embeddings.layout
    if layout.extractor not in cards.card_paths("extractors") or is_outdated(embeddings):
        return
    try:
        card = cards.load_extractor_card(layout.extractor)
    except CardError:  # what is stored needs no card
        return
    if layout.identity.get("version") == card.version:
        check_dims(embeddings.folder, card, embeddings.index)


def _prefer_default_hop(fitting: list[Embeddings], selector: EmbeddingSelector) -> list[Embeddings]:
    """Return those of the extractor's own hop of windows, if the selector names none."""
    if HOP in selector.params or not any(_default_hop(e) for e in fitting):
        return fitting
    return [e for e in fitting if HOP not in e.layout.identity.get("params", {})] or fitting


def describe_embeddings(embeddings: Embeddings) -> str:
    """Return what distinguishes embeddings: parameters, weights, precision, a user's code."""
    identity = embeddings.layout.identity
    words = [f"{k}={v}" for k, v in identity.get("params", {}).items()]
    words += [f"{role} {text[:23]}" for role, text in identity.get("weights", {}).items()]
    words += [identity[k] for k in ("precision",) if k in identity]
    code = identity.get("module")
    if isinstance(code, dict) and "transformers" in code:
        words.append(f"transformers {code['transformers']}")
    if isinstance(code, dict) and code.get("source"):
        words.append(f"code {code['source'][:8]}")
    return ", ".join(words) or "imported"


def matches_selector(embeddings: Embeddings, selector: EmbeddingSelector) -> bool:
    """Return whether an extractor's embeddings match a selector's fingerprint and parameters.

    The default resampler is a field of the identity, and the default hop of windows one of the
    card, not one of the parameters.
    """
    layout = embeddings.layout
    params = {RESAMPLER: layout.identity.get(RESAMPLER), HOP: _default_hop(embeddings)}
    stored = {key: str(value).lower() for key, value in {**params, **layout.params}.items()}
    requested = dict(selector.params)
    if selector.name in (HF, ONNX) and not _is_model(layout, requested.pop(MODEL, "")):
        return False
    return layout.fingerprint.startswith(selector.fingerprint) and all(
        _same_value(stored.get(key), value.lower()) for key, value in requested.items()
    )


def _is_model(layout: Layout, model: str) -> bool:
    """Return whether embeddings are those of a model: its name on the hub, or a path to it.

    Where the path exists, its files must be those that were embedded.
    """
    path = Path(model).expanduser()
    return not model or (_is_named(layout, model) and _is_unchanged(layout, path))


def _is_named(layout: Layout, model: str) -> bool:
    """Return whether a model has a name; paths go by their last part, since models may move."""
    path = Path(model).expanduser()
    return layout.params.get(MODEL, "") in (model, path.name, path.resolve().name)


def _is_unchanged(layout: Layout, path: Path) -> bool:
    """Return whether a file, or a folder's configuration and weights, are those embedded."""
    code, weights = layout.identity.get("module", {}), layout.identity.get("weights", {})
    embedded = {
        path: weights.get("main", "") if path.suffix else "",
        path / "config.json": f"sha256:{code.get('config', '')}",
        path / "model.safetensors": weights.get("main", ""),
    }
    return all(
        f"sha256:{_hash(file)}" == digest
        for file, digest in embedded.items()
        if digest.startswith("sha256:") and file.is_file()
    )


@lru_cache(maxsize=64)
def _hash_once(path: Path, size: int, mtime_ns: int) -> str:
    return sha256(path)


def _hash(path: Path) -> str:
    """Return the SHA-256 of a file, computed once as long as it does not change."""
    stat = path.stat()
    return _hash_once(path, stat.st_size, stat.st_mtime_ns)


def _default_hop(embeddings: Embeddings) -> float | None:
    """Return the hop in seconds of windowed embeddings whose parameters do not list it."""
    name = embeddings.layout.extractor
    if name not in cards.card_paths("extractors"):
        return None
    hop = cards.load_extractor_card(name).window_hop
    return None if hop is None else float(hop)


def _same_value(stored: str | None, value: str) -> bool:
    """Tell whether two texts are the same value, numbers by their amount."""
    if stored is None or stored == value:
        return stored == value
    try:
        return Fraction(stored) == Fraction(value) or float(stored) == float(Fraction(value))
    except (ValueError, ZeroDivisionError):
        return False
