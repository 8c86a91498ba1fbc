"""Two conveniences of the Python interface: an extractor that is ready, a cache that is open."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from probekit.cache import embeddings, layout
from probekit.cache.embeddings import Embeddings

if TYPE_CHECKING:
    from probekit.extractors.base import Extractor


def open_cache(extractor: str, dataset: str, cache: str | Path | None = None) -> Embeddings:
    """Open the embeddings of an extractor and a dataset.

    Parameters
    ----------
    extractor : str
        As after ``-e``: ``"vggish"``, ``"vggish@1a2b3c4d"``.
    dataset : str
        The dataset's name, for example ``"fsdd"``.
    cache : str or pathlib.Path, optional
        The cache's folder; by default ``PROBEKIT_CACHE``, else ``cache``.

    Returns
    -------
    Embeddings
        ``.clip_ids``, ``.vectors(clip_ids)``, ``.frames(clip_id)``, ``.failures``.

    Raises
    ------
    CacheError
        If there are none, or several that fit.
    """
    return embeddings.find(layout.root(cache), extractor, dataset)


def load_extractor(
    extractor: str,
    *,
    weights: Sequence[str] = (),
    streams: Sequence[str] | None = None,
    device: str = "auto",
    precision: str = "float32",
) -> "Extractor":
    """Build an extractor, to be called with waveforms.

    Parameters
    ----------
    extractor : str
        A name, with parameters where wanted.
    weights : sequence of str
        ``NAME=PATH`` or ``NAME=random:SEED``.
    streams : sequence of str, optional
        Which streams to compute; the default one if not given.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` …
    precision : {"float32", "bf16", "fp16"}
        Arithmetic of the network.

    Returns
    -------
    Extractor
        A torch module: ``extractor([wave, …])`` gives a dict of streams for each waveform.

    Raises
    ------
    ProbekitError
        If something asked for is not known, or weights are missing.
    """
    from probekit.extractors import load
    from probekit.extractors.weights import source
    from probekit.parallel import resources

    given = source.validate_overrides(weights, [extractor])
    spec = load.resolve_spec(extractor, weights=given, streams=streams, precision=precision)
    return load.build(spec, resources.device(device))
