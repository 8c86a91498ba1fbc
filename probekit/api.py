"""Python interface to tasks, caches and extractors."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from probekit._typing import Array
from probekit.cache import embeddings, layout, manifests
from probekit.cache.embeddings import Embeddings
from probekit.data.manifest import Manifest
from probekit.errors import DataError, with_argument_names
from probekit.tasks.task import Task
from probekit.tasks.task_clips import resolve_clips, resolve_task
from probekit.utils.text import summarize_ids

if TYPE_CHECKING:
    from probekit.extractors.base import Extractor


class _Task(Task):
    """A task whose errors name arguments of its methods."""

    manifest = with_argument_names(Task.manifest)
    write_standin = with_argument_names(Task.write_standin)


class _XY(NamedTuple):
    X: Array
    y: Array
    groups: Array


class LabeledVectors(_XY):
    """Vectors, targets and groups, to be unpacked as ``X, y, groups``.

    Attributes
    ----------
    X : numpy.ndarray, shape (clips, dim), float32
        One vector a clip.
    y : numpy.ndarray
        Their targets; see :meth:`probekit.Manifest.targets`.
    groups : numpy.ndarray of str, shape (clips,)
        Group of each clip; its own id where it has none.
    clips : Manifest
        The clips of the rows: ids, class names, splits, folds.
    missing : dict of str to str
        Clips of the task without an embedding, with the reason.
    """

    clips: Manifest
    missing: dict[str, str]


def load_task(text: str | Path, cache: str | Path | None = None) -> Task:
    r"""Return the task of a name, a card, a CSV file, a folder, or an extracted dataset.

    Parameters
    ----------
    text : str or pathlib.Path
        What ``probekit evaluate --task`` takes: a task's name; a path that ends in ``.yaml`` (a
        card), ``.csv`` or ``.tsv`` (clips and labels); a folder of recordings, one sub-folder for
        each label; the name of a dataset in the cache.
    cache : str or pathlib.Path, optional
        The cache root; by default ``PROBEKIT_CACHE``, else ``cache``.

    Returns
    -------
    Task
        Its ``card`` has the facts, its ``manifest()`` the clips: without a folder those that were
        extracted last.

    Raises
    ------
    ProbekitError
        If the name is not known, or the file is not valid.

    See Also
    --------
    load_xy : Vectors and targets of a task.
    probekit.extract : Extract embeddings of a task's clips.

    Examples
    --------
    >>> import probekit
    >>> probekit.load_task("esc50")
    Task('esc50', metric='accuracy', protocol='5 official folds')

    A table of one's own is a task as well:

    >>> from pathlib import Path
    >>> table = Path("birds.csv")
    >>> _ = table.write_text("clip_id,path,label\na,a.wav,wren\nb,b.wav,robin\n")
    >>> probekit.load_task("birds.csv").manifest().class_names
    ('robin', 'wren')
    """
    root = layout.cache_root(cache)
    task = resolve_task(str(text), root)
    saved_clips = None if task.is_user_data else partial(manifests.latest_manifest, root, task.name)
    return _Task(task.card, task.list_clips, task.source, saved_clips)


def load_xy(
    task: str | Path,
    extractor: str,
    *,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    strict: bool = False,
) -> LabeledVectors:
    """Load vectors, targets and groups of a task, as scikit-learn takes them.

    Parameters
    ----------
    task : str or pathlib.Path
        As for :func:`load_task`.
    extractor : str
        An embedding in the cache: ``"vggish"``, ``"vggish:stream=prerelu,pool=mean+std"``;
        ``"vggish+melstats"`` joins two.
    cache : str or pathlib.Path, optional
        The cache root; by default ``PROBEKIT_CACHE``, else ``cache``.
    root : str or pathlib.Path, optional
        The dataset's folder, if its manifest is not in the cache.
    strict : bool
        Whether a clip without an embedding is an error; by default it is left out, with a warning.

    Returns
    -------
    LabeledVectors
        ``X, y, groups``, row for row; its ``clips`` has ids, splits and folds of the rows, its
        ``missing`` the clips that are left out.

    Raises
    ------
    ProbekitError
        If the task or the embedding is not found, the clips have no labels, or with ``strict`` a
        clip has no embedding.

    Warns
    -----
    UserWarning
        If clips of the task have no embedding: how many, and why the first has none.

    See Also
    --------
    probekit.evaluate : Score probes under the task's own protocol.
    open_cache : Vectors and frames of any clips.

    Examples
    --------
    >>> import probekit
    >>> from probekit.tasks.standin.corpus import write_corpus
    >>> _ = write_corpus("corpus", clips=24)
    >>> _ = probekit.extract("melstats", task="synth", root="corpus")
    >>> data = probekit.load_xy("synth", "melstats")
    >>> X, y, groups = data
    >>> X.shape, y.shape, groups.shape
    ((24, 336), (24,), (24,))
    >>> sorted(set(data.clips.column("fold").tolist()))
    ['1', '2', '3', '4', '5']
    """
    from probekit.probes.features import find_features

    folder = layout.cache_root(cache)
    card, clips = resolve_clips(str(task), folder, root)
    features = find_features(folder, extractor, card.dataset, clips)
    if features.missing:
        first, reason = next(iter(features.missing.items()))
        text = (
            f"{card.name}: {len(features.missing):,} of {len(clips):,} clips have no embedding "
            f"{extractor}, for example {summarize_ids([first])} ({reason})"
        )
        if strict:
            raise DataError(text)
        warnings.warn(
            f"{text}; they are left out", stacklevel=3
        )  # of whoever calls probekit.load_xy
    groups, ids = features.clips.column("group"), features.clips.column("clip_id")
    data = LabeledVectors(
        features.matrix(), features.clips.targets(), np.where(groups != "", groups, ids)
    )
    data.clips, data.missing = features.clips, features.missing
    return data


def open_cache(extractor: str, dataset: str, cache: str | Path | None = None) -> Embeddings:
    """Open the cached embeddings of a dataset by an extractor.

    Parameters
    ----------
    extractor : str
        A selector as after ``-e``: ``"vggish"``, ``"vggish@1a2b3c4d"``.
    dataset : str
        Name of the dataset, for example ``"fsdd"``.
    cache : str or pathlib.Path, optional
        The cache root; by default ``PROBEKIT_CACHE``, else ``cache``.

    Returns
    -------
    Embeddings
        Vectors and frames by clip id: ``.clip_ids``, ``.vectors(clip_ids)``, ``.frames(clip_id)``,
        ``.failures``.

    Raises
    ------
    CacheError
        If no embeddings match, or several do.

    See Also
    --------
    probekit.extract : Fill a cache.
    load_extractor : Compute embeddings without a cache.

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
    >>> _ = probekit.extract("melstats", audio="sounds")
    >>> embeddings = probekit.open_cache("melstats", "sounds")
    >>> embeddings.vectors(["bird", "rain"]).shape
    (2, 336)
    """
    return embeddings.find_embeddings(layout.cache_root(cache), extractor, dataset)


def load_extractor(
    extractor: str,
    *,
    weights: Sequence[str] = (),
    streams: Sequence[str] | None = None,
    device: str = "auto",
    precision: str = "float32",
) -> "Extractor":
    """Build an extractor that computes embeddings of waveforms.

    Parameters
    ----------
    extractor : str
        A name, optionally with parameters: ``"openl3:content=music,size=512"``.
    weights : sequence of str
        ``NAME=PATH`` or ``NAME=random:SEED`` for weights that are not those of the card.
    streams : sequence of str, optional
        Names of the streams to compute; by default the card's default stream.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
    precision : {"float32", "bf16", "fp16"}
        Arithmetic of the network.

    Returns
    -------
    Extractor
        A torch module. Called with mono waveforms (tensors of shape (samples,), float32, at its
        ``card.sample_rate``) it returns for each a dict of streams: frames of shape (frames, dim),
        or one vector of shape (dim,).

    Raises
    ------
    ProbekitError
        If a name is unknown, or weights are missing.

    See Also
    --------
    probekit.extract : Compute the embeddings of a dataset and store them.
    probekit.audio.load : Load a recording at a sample rate.

    Examples
    --------
    >>> import torch
    >>> import probekit
    >>> extractor = probekit.load_extractor("mfcc", device="cpu")
    >>> [streams] = extractor([torch.zeros(extractor.card.sample_rate)])
    >>> {name: tuple(frames.shape) for name, frames in streams.items()}
    {'mfcc': (44, 20)}
    """
    from probekit.extractors import load
    from probekit.extractors.weights.source import validate_overrides
    from probekit.parallel.resources import resolve_device

    overrides = validate_overrides(weights, [extractor])
    spec = load.resolve_spec(extractor, weights=overrides, streams=streams, precision=precision)
    return load.build_extractor(spec, resolve_device(device))
