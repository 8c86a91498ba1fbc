"""Any module of the HEAR API as an extractor: ``-e hear:MODULE``.

Its card is made by loading the module and embedding two seconds of noise. Results are checked
against the API in each call (:mod:`probekit.extractors.adapters.hear_protocol`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Parameter, Params, Stream
from probekit.cards.selector import HEAR
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors.adapters.hear_protocol import EXACT_MS, TOLERANCE_MS, HearLibrary
from probekit.extractors.base import Outputs, WholeClipExtractor
from probekit.extractors.weights.source import WeightsSource
from probekit.utils.hashing import sha256


def describe_module(
    params: Mapping[str, str], overrides: Mapping[str, str]
) -> tuple[ExtractorCard, dict[str, WeightsSource], dict[str, Any]]:
    """Make the card of a module by loading it.

    The model is loaded twice: two models must embed the same noise alike, or else the weights are
    random and no number could be computed again.

    Parameters
    ----------
    params : mapping of str to str
        ``module``: its import name.
    overrides : mapping of str to str
        The path of its weights, if any, under ``hear:MODULE``.

    Returns
    -------
    card : ExtractorCard
        With the streams ``scene`` and, if it has more than one timestamp, ``timestamps``.
    sources : dict of str to WeightsSource
        The weights file, if one was named.
    code : dict
        What else decides the values: module, version of its distribution, hash of its source,
        sizes of its embeddings.

    Raises
    ------
    ProbekitError
        If the module cannot be imported, or violates the API.
    WeightsError
        If the weights file does not exist.
    """
    if "module" not in params:
        raise ProbekitError(f"{HEAR}: module missing. Write {HEAR}:some.module")
    name = params["module"]
    sources = _sources(name, overrides)
    path = sources["main"].path if sources else None
    library = HearLibrary(name)
    model = library.load(path)
    again = library.load(path)
    with torch.inference_mode():
        noise = _test_signal(1, 2 * library.sample_rate(model))
        scenes = [library.scene(instance, noise) for instance in (model, again)]
        card = _make_card(library, model, noise)
    if not all(scene.isfinite().all() for scene in scenes):
        raise library.make_error("its embedding of noise is not finite")
    if not _allclose(*scenes):
        raise library.make_error(
            "embeds the same sound differently each time it is loaded: its weights or its "
            f"computations are random. Name its weights: --weights {HEAR}:{name}=PATH"
        )
    code = {
        "name": name,
        "distribution": _distribution(name),
        "source": _source_hash(name),
        **{f"{kind}_embedding_size": library.size(model, kind) for kind in ("scene", "timestamp")},
    }
    return card, sources, code


def build_hear_extractor(
    card: ExtractorCard,
    params: Params,
    streams: Sequence[str],
    sources: Mapping[str, WeightsSource],
) -> "HearModule":
    """Build the extractor of :func:`describe_module`, with its weights."""
    library = HearLibrary(str(params["module"]))
    path = sources["main"].path if "main" in sources else None
    return HearModule(card, params, streams, library, library.load(path))


class HearModule(WholeClipExtractor):
    """A module of the HEAR API on whole clips; only clips of equal length share a batch.

    Parameters
    ----------
    card : ExtractorCard
        From :func:`describe_module`.
    params : dict
        ``module``: its import name.
    streams : sequence of str
        The streams to compute.
    library : HearLibrary
        The module's functions.
    model : object
        From its ``load_model``.
    """

    def __init__(
        self,
        card: ExtractorCard,
        params: Params,
        streams: Sequence[str],
        library: HearLibrary,
        model: Any,
    ) -> None:
        super().__init__(card, params, streams)
        self.network = model if isinstance(model, nn.Module) else None
        self._parts = (library, model)  # a tuple: the model is not to be registered twice
        with torch.inference_mode():
            noise = _test_signal(2, card.sample_rate)
            alone, together = (library.scene(model, clips)[:1] for clips in (noise[:1], noise))
        self.batch_pieces = 16 if _allclose(alone, together) else 1

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return the waveforms unchanged: the module has its own front-end."""
        return pieces

    def embed(self, features: Tensor) -> Outputs:
        """Call the module."""
        library, model = self._parts
        outputs = {}
        if "scene" in self.stream_names:
            outputs["scene"] = library.scene(model, features)
        if "timestamps" in self.stream_names:
            frames, times = library.timestamps(model, features)
            _check_grid(library, times, self.card.streams["timestamps"])
            outputs["timestamps"] = frames
        return outputs


def _sources(name: str, overrides: Mapping[str, str]) -> dict[str, WeightsSource]:
    """Return the weights file of a module in ``--weights``."""
    if f"{HEAR}.main" in overrides:
        raise WeightsError(f"--weights {HEAR}=…: write --weights {HEAR}:{name}=PATH")
    override = overrides.get(f"{HEAR}:{name}") or overrides.get(f"{HEAR}:{name}.main")
    if not override:
        return {}
    path = Path(override)
    if not path.is_file():
        raise WeightsError(f"--weights {HEAR}:{name}={override}: file not found")
    return {"main": WeightsSource(path=path, sha256=sha256(path))}


def _make_card(library: HearLibrary, model: Any, noise: Tensor) -> ExtractorCard:
    """Make a card from what a loaded module returns."""
    scene = Stream(
        dim=library.size(model, "scene"), kind="clip", description="get_scene_embeddings"
    )
    streams = {"scene": scene}
    _, times = library.timestamps(model, noise)
    if times.shape[1] > 1:
        hop, first = _grid(times[0], library.sample_rate(model))
        streams["timestamps"] = Stream(
            dim=library.size(model, "timestamp"),
            kind="frames",
            hop=hop,
            first_center=first,
            window=hop,
            description="get_timestamp_embeddings; window unknown, recorded as the hop",
        )
    return ExtractorCard(
        name=HEAR,
        title=f"{library.name}, a module of the HEAR API",
        version=1,
        module="hear_modules",
        sample_rate=library.sample_rate(model),
        padding="none; the module sees the whole clip",
        long_audio="exact",
        default_stream="scene",
        streams=streams,
        parameters={"module": Parameter(default=library.name)},
        notes=["Weights that the module finds by itself are not part of the fingerprint."],
    )


def _grid(times: Tensor, sr: int) -> tuple[Fraction, Fraction]:
    """Return hop and first center in seconds, as whole numbers of samples if these fit."""
    steps = times.diff()
    regular = bool(steps.max() - steps.min() <= 2 * EXACT_MS)
    tolerance = EXACT_MS if regular else TOLERANCE_MS / len(steps)  # rounded to whole ms
    span = float(times[-1] - times[0])
    return (
        _to_seconds(span / len(steps), sr, tolerance),
        _to_seconds(float(times[0]), sr, EXACT_MS if regular else TOLERANCE_MS),
    )


def _to_seconds(milliseconds: float, sr: int, tolerance: float) -> Fraction:
    if abs(milliseconds - round(milliseconds)) <= EXACT_MS:
        return Fraction(round(milliseconds), 1000)
    samples = Fraction(round(milliseconds * sr / 1000), sr)
    if abs(float(samples) * 1000 - milliseconds) <= tolerance:
        return samples
    return Fraction(milliseconds / 1000).limit_denominator(10**6)


def _check_grid(library: HearLibrary, times: Tensor, stream: Stream) -> None:
    """Raise an error if timestamps do not fit the grid in the card."""
    assert stream.hop is not None and stream.first_center is not None
    if times.shape[1] < 2:
        return
    hop, first = 1000 * float(stream.hop), 1000 * float(stream.first_center)
    hops = times.diff(dim=1)
    if max((hops - hop).abs().max(), (times[:, 0] - first).abs().max()) > TOLERANCE_MS:
        raise library.make_error(
            "get_timestamp_embeddings must have the same frame grid in clips of all lengths, got "
            f"every {hop:.2f} ms from {first:.2f} ms in one, every {hops.mean():.2f} ms from "
            f"{times[0, 0]:.2f} ms in another; use its stream scene"
        )


def _test_signal(clips: int, samples: int) -> Tensor:
    """Return noise; clip i is always the same, and louder than the one before."""
    generators = [torch.Generator().manual_seed(i) for i in range(clips)]
    rows = [torch.rand(samples, generator=generator) - 0.5 for generator in generators]
    return torch.stack([row * (1 + i) for i, row in enumerate(rows)])


def _allclose(a: Tensor, b: Tensor) -> bool:
    """Tell whether two embeddings are equal up to rounding."""
    return torch.allclose(a, b, rtol=1e-3, atol=1e-5 * float(a.abs().max()))


def _distribution(name: str) -> str:
    """Return name and version of a module's distribution; empty if it is not installed."""
    distributions = _packages().get(name.partition(".")[0], [])
    return ", ".join(sorted({f"{dist} {metadata.version(dist)}" for dist in distributions}))


@cache
def _packages() -> Mapping[str, list[str]]:
    """Return the distributions of each top-level module; reading all of them takes a second."""
    return metadata.packages_distributions()


def _source_hash(name: str) -> str:
    """Return a SHA-256 over the module's file, or over all Python files of its package."""
    root: Path | None = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):  # folders without __init__ do not count as packages
        spec = find_spec(".".join(parts[:depth]))
        if spec is not None and spec.has_location and spec.origin:
            root = Path(spec.origin)
            break
    if root is None or not root.is_file():
        return ""
    files = sorted(root.parent.rglob("*.py")) if root.name == "__init__.py" else [root]
    lines = [f"{file.relative_to(root.parent).as_posix()} {sha256(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
