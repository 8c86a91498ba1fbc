"""Any module of the HEAR API as an extractor: ``-e hear:MODULE``.

A module's facts, which for other extractors stand on a card, are learnt by loading it and embedding
two seconds of noise. What it returns is checked against the API each time
(:mod:`probekit.extractors.adapters.hear_protocol`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
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
from probekit.extractors.base import Extractor, Outputs
from probekit.extractors.weights.source import WeightsSource
from probekit.utils.hashing import sha256


def describe_module(
    params: Mapping[str, str], overrides: Mapping[str, str]
) -> tuple[ExtractorCard, dict[str, WeightsSource], dict[str, Any]]:
    """Settle what can be known of a module: the counterpart of reading a card.

    The module is imported and its model loaded twice: two models must embed the same noise alike,
    or else the weights are random and no number could be computed again.

    Parameters
    ----------
    params : mapping of str to str
        ``module``: its import name.
    overrides : mapping of str to str
        The path of its weights, if any, under ``hear:MODULE``.

    Returns
    -------
    card : ExtractorCard
        With the streams ``scene`` and, if it tells timestamps, ``timestamps``.
    sources : dict of str to Source
        The weights file, if one was named.
    code : dict
        What else decides the values: module, version of its distribution, hash of its source,
        sizes of its embeddings.

    Raises
    ------
    ProbekitError
        If the module cannot be imported, or does not keep to the API; says in what.
    WeightsError
        If the weights file does not exist.
    """
    if "module" not in params:
        raise ProbekitError(f"{HEAR}: name the module, {HEAR}:some.module")
    name = params["module"]
    sources = _sources(name, overrides)
    path = sources["main"].path if sources else None
    library = HearLibrary(name)
    model = library.load(path)
    again = library.load(path)
    with torch.inference_mode():
        noise = _test_signal(1, 2 * library.rate(model))
        scenes = [library.scene(own, noise) for own in (model, again)]
        card = _card(library, model, noise)
    if not all(scene.isfinite().all() for scene in scenes):
        raise library.make_error("its embedding of noise is not finite")
    if not _allclose(*scenes):
        raise library.make_error(
            "embeds the same sound differently each time it is loaded: its weights are random, or "
            f"it draws at random. Name its weights: --weights {HEAR}:{name}=PATH"
        )
    code = {
        "name": name,
        "distribution": _distribution(name),
        "source": _source_hash(name),
        **{f"{kind}_embedding_size": library.size(model, kind) for kind in ("scene", "timestamp")},
    }
    return card, sources, code


def build(
    card: ExtractorCard, params: Params, streams: Sequence[str], sources: Mapping[str, WeightsSource]
) -> "HearModule":
    """Return the extractor, with its weights.

    Parameters
    ----------
    card : ExtractorCard
        From :func:`describe`.
    params : dict
        ``module``: its import name.
    streams : sequence of str
        Of ``scene``, ``timestamps``.
    sources : mapping of str to Source
        From :func:`describe`.

    Returns
    -------
    HearModule
        Clips of equal length go through the module together, unless that changes what it says.
    """
    library = HearLibrary(str(params["module"]))
    path = sources["main"].path if "main" in sources else None
    return HearModule(card, params, streams, library, library.load(path))


class HearModule(Extractor):
    """A module of the HEAR API on whole clips; only clips of equal length share a batch.

    Parameters
    ----------
    card : ExtractorCard
        What :func:`describe` found.
    params : dict
        ``module``: its import name.
    streams : sequence of str
        The streams to compute.
    library : Library
        The module's functions.
    model : object
        What its ``load_model`` returned.
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

    def split(self, wave: Tensor) -> Tensor:
        """Return the whole clip as one piece."""
        return wave[None]

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return the waveforms as they are: the module has its own front-end."""
        return pieces

    def embed(self, features: Tensor) -> Outputs:
        """Call the module."""
        library, model = self._parts
        found = {}
        if "scene" in self.stream_names:
            found["scene"] = library.scene(model, features)
        if "timestamps" in self.stream_names:
            frames, times = library.timestamps(model, features)
            _check_grid(library, times, self.card.streams["timestamps"])
            found["timestamps"] = frames
        return found


def _sources(name: str, overrides: Mapping[str, str]) -> dict[str, WeightsSource]:
    """Return the weights file that the user named for a module."""
    if f"{HEAR}.main" in overrides:
        raise WeightsError(f"--weights {HEAR}=…: name the module, --weights {HEAR}:{name}=PATH")
    given = overrides.get(f"{HEAR}:{name}") or overrides.get(f"{HEAR}:{name}.main")
    if not given:
        return {}
    path = Path(given)
    if not path.is_file():
        raise WeightsError(f"--weights {HEAR}:{name}={given}: no such file")
    return {"main": WeightsSource(path=path, sha256=sha256(path))}


def _card(library: HearLibrary, model: Any, noise: Tensor) -> ExtractorCard:
    """Write down what a module says of itself."""
    scene = Stream(dim=library.size(model, "scene"), kind="clip",
                   description="get_scene_embeddings")  # fmt: skip
    streams = {"scene": scene}
    _, times = library.timestamps(model, noise)
    if times.shape[1] > 1:
        hop, first = _grid(times[0], library.rate(model))
        streams["timestamps"] = Stream(
            dim=library.size(model, "timestamp"), kind="frames", hop=hop, first_center=first,
            window=hop, description="get_timestamp_embeddings; the window, not told, is put as hop",
        )  # fmt: skip
    return ExtractorCard(
        name=HEAR,
        title=f"{library.name}, a module of the HEAR API",
        version=1,
        module="hear_modules",
        sample_rate=library.rate(model),
        padding="none; the module sees the whole clip",
        long_audio="exact",
        default_stream="scene",
        streams=streams,
        parameters={"module": Parameter(default=library.name)},
        notes=["Weights that the module finds by itself are not part of the fingerprint."],
    )


def _grid(times: Tensor, rate: int) -> tuple[Fraction, Fraction]:
    """Return hop and first centre in seconds, of a whole number of samples where that fits."""
    steps = times.diff()
    regular = bool(steps.max() - steps.min() <= 2 * EXACT_MS)
    slack = EXACT_MS if regular else TOLERANCE_MS / len(steps)  # rounded to whole ms
    span = float(times[-1] - times[0])
    return (
        _seconds(span / len(steps), rate, slack),
        _seconds(float(times[0]), rate, EXACT_MS if regular else TOLERANCE_MS),
    )


def _seconds(milliseconds: float, rate: int, slack: float) -> Fraction:
    samples = Fraction(round(milliseconds * rate / 1000), rate)
    whole = Fraction(round(milliseconds), 1000)
    if abs(milliseconds - round(milliseconds)) <= EXACT_MS:
        return whole
    if abs(float(samples) * 1000 - milliseconds) <= slack:
        return samples
    return Fraction(milliseconds / 1000).limit_denominator(10**6)


def _check_grid(library: HearLibrary, times: Tensor, stream: Stream) -> None:
    """Refuse timestamps that lie elsewhere than those of the noise that was tried first."""
    assert stream.hop is not None and stream.first_center is not None
    if times.shape[1] < 2:
        return
    hop, first = 1000 * float(stream.hop), 1000 * float(stream.first_center)
    hops = times.diff(dim=1)
    if max((hops - hop).abs().max(), (times[:, 0] - first).abs().max()) > TOLERANCE_MS:
        raise library.make_error(
            "get_timestamp_embeddings places frames differently in clips of different lengths: "
            f"every {hop:.2f} ms from {first:.2f} ms on in one, every {hops.mean():.2f} ms from "
            f"{times[0, 0]:.2f} ms on in another; use its stream scene"
        )


def _test_signal(clips: int, samples: int) -> Tensor:
    """Return noise; clip i is always the same, and louder than those before it."""
    sources = [torch.Generator().manual_seed(i) for i in range(clips)]
    rows = [torch.rand(samples, generator=source) - 0.5 for source in sources]
    return torch.stack([row * (1 + i) for i, row in enumerate(rows)])


def _allclose(one: Tensor, other: Tensor) -> bool:
    """Tell whether two embeddings are the same up to rounding."""
    return torch.allclose(one, other, rtol=1e-3, atol=1e-5 * float(one.abs().max()))


def _distribution(name: str) -> str:
    """Return name and version of the distribution that a module comes from, if it is installed."""
    found = metadata.packages_distributions().get(name.partition(".")[0], [])
    return ", ".join(sorted({f"{own} {metadata.version(own)}" for own in found}))


def _source_hash(name: str) -> str:
    """Return a SHA-256 over the module's file, or over all files of the package it belongs to."""
    root: Path | None = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):  # folders without __init__ do not count as packages
        found = find_spec(".".join(parts[:depth]))
        if found is not None and found.has_location and found.origin:
            root = Path(found.origin)
            break
    if root is None or not root.is_file():
        return ""
    files = sorted(root.parent.rglob("*.py")) if root.name == "__init__.py" else [root]
    lines = [f"{file.relative_to(root.parent).as_posix()} {sha256(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
