"""Python interface to caches and extractors."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from probekit.cache import embeddings, layout
from probekit.cache.embeddings import Embeddings

if TYPE_CHECKING:
    from probekit.extractors.base import Extractor


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
