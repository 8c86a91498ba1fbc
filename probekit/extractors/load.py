"""From the text after ``-e`` to an extractor that is ready to run.

:func:`resolve_spec` determines everything that decides an embedding's value, and its fingerprint,
without building the network; :func:`build_extractor` builds it.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probekit import cards
from probekit.cards import ExtractorCard, Params
from probekit.cards.schema import HOP, RESAMPLER
from probekit.cards.selector import (
    HEAR,
    HF,
    MODEL,
    ONNX,
    REVISION,
    STUDENT_PREFIX,
    parse_selector,
    select_layers,
)
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors import networks
from probekit.extractors.pooling import POOLINGS
from probekit.extractors.weights.source import (
    WeightsSource,
    required_weights,
    resolve_weights,
)
from probekit.extractors.weights.trained_files import describe_trained, with_bundled_roles
from probekit.parallel.resources import tune_malloc
from probekit.utils.suggest import unknown_name_error

if TYPE_CHECKING:
    import torch

    from probekit.extractors.base import Extractor

_ROUNDING = 1e-6  # samples by which a hop may be off: as a decimal number it is rounded
PRECISIONS = {"float32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Spec:
    """An extractor with everything that decides the values it computes.

    Attributes
    ----------
    card : ExtractorCard
        Its facts.
    params : dict
        A value for every parameter of the card.
    streams : tuple of str
        The streams to compute.
    precision : {"float32", "bf16", "fp16"}
        Arithmetic of the network; the front-end is always float32.
    sources : dict of str to WeightsSource
        Source of each weights file.
    code : dict
        What else decides the values. For a user's code: its name and the hash of its source; of
        the HEAR API also its distribution's version and its sizes. For a trained student: what
        builds it. For ``hf:`` and ``onnx:``: hashes of its files, and the library's version.
    file : pathlib.Path or None
        The Python file that the card names, if it names one; the configuration of ``hf:``, the
        file of ``onnx:``.
    """

    card: ExtractorCard
    params: Params
    streams: tuple[str, ...]
    precision: str
    sources: dict[str, WeightsSource]
    code: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None

    @property
    def name(self) -> str:
        """The extractor's name."""
        return self.card.name

    @property
    def model(self) -> str:
        """Name of the model of ``hf:`` and ``onnx:``; empty for other extractors."""
        return str(self.params[MODEL]) if self.name in (HF, ONNX) else ""

    @property
    def label(self) -> str:
        """The extractor's name, with the model of ``hf:`` and ``onnx:``."""
        return f"{self.name}:{self.model}" if self.model else self.name

    @property
    def identity(self) -> dict[str, Any]:
        """What the fingerprint covers, in plain values.

        The resampler is a field of its own; among the parameters it is listed only if it is not
        the card's default: a card can offer the choice without changing its fingerprint. The same
        holds for the hop of windows.
        """
        params = dict(sorted(self.params.items()))
        if RESAMPLER in params and params[RESAMPLER] == self.card.parameters[RESAMPLER].default:
            del params[RESAMPLER]
        return {
            "extractor": self.card.name,
            "version": self.card.version,
            "params": params,
            "weights": {role: source.identity for role, source in sorted(self.sources.items())},
            "sample_rate": self.card.sample_rate,
            "resampler": self.card.resampler,
            "downmix": self.card.downmix,
            "padding": self.card.padding,
            "precision": self.precision,
            **({"module": self.code} if self.code else {}),
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of :attr:`identity`."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def provenance(self) -> list[str]:
        """Notes that must be shown beside every score from these embeddings."""
        notes = [self.card.caveat] if self.card.caveat else []
        seeds = sorted({s.seed for s in self.sources.values() if s.seed is not None})
        if seeds:
            notes.append(f"random weights (seed {', '.join(map(str, seeds))})")
        return notes


def resolve_spec(
    text: str,
    *,
    weights: dict[str, str] | None = None,
    streams: Sequence[str] | None = None,
    precision: str = "float32",
    reports: str | Path | None = None,
    note: Callable[[str], None] | None = None,
) -> Spec:
    """Determine an extractor: card, parameters, streams, weights.

    Parameters
    ----------
    text : str
        ``NAME`` or ``NAME:parameter=value,…``; ``stream=`` may be among them. ``hear:MODULE`` for
        a module of the HEAR API, which is imported and loaded. ``hf:ORG/NAME[@REVISION]`` or
        ``hf:FOLDER`` for a model of transformers, ``onnx:FILE`` for a network in an ONNX file.
        ``runs/ID`` for a student trained by probekit.
    weights : dict of str to str, optional
        ``extractor.file`` to a path or ``random:SEED``; from
        :func:`probekit.extractors.weights.source.parse_overrides`.
    streams : sequence of str, optional
        The streams to compute; the card's default stream if not given.
    precision : {"float32", "bf16", "fp16"}
        Arithmetic of the network.
    reports : str or pathlib.Path, optional
        Reports folder in which trained students are searched first.
    note : callable, optional
        Called before a user's Python file is used, with a sentence that names it.

    Returns
    -------
    Spec
        Its weights files exist and have the card's hashes.

    Raises
    ------
    ProbekitError
        If a name or value is not known, or weights are missing.
    """
    selector = parse_selector(text)
    if precision not in PRECISIONS:
        raise unknown_name_error("precision", precision, PRECISIONS)
    overrides = weights or {}
    sources: dict[str, WeightsSource] | None = None
    code: dict[str, Any] = {}
    file: Path | None = None
    values = selector.params
    if selector.name in (HF, ONNX):
        from probekit.extractors.adapters import hf_model, onnx_model

        describe = {HF: hf_model.describe_model, ONNX: onnx_model.describe_network}
        card, sources, code, file = describe[selector.name](values, overrides)
        values = {key: text for key, text in values.items() if key not in (MODEL, REVISION)}
    elif selector.name == HEAR:
        from probekit.extractors.adapters import hear_module

        card, sources, code = hear_module.describe_module(values, overrides)
    elif selector.name.startswith(STUDENT_PREFIX):
        from probekit.extractors.students.card import describe_student

        card, sources, code = describe_student(selector.name, overrides, reports)
    else:
        card = cards.load_extractor_card(selector.name)
    params = parse_parameters(card, values)
    requested = list(streams or ())
    if selector.layer:
        depths = {name: stream.layer for name, stream in card.streams.items()}
        requested += select_layers(card.name, depths, selector.layer)
    requested = requested or [selector.stream or card.default_stream]
    for name in requested:
        if name not in card.streams:
            raise unknown_name_error(f"stream of {card.name}", name, card.streams)
    stream_names = tuple(name for name in card.streams if name in requested)
    if selector.has_pool:
        _check_pooling(card, selector.pool, stream_names)
    if sources is None:
        required = required_weights(card, params, stream_names)
        chosen = with_bundled_roles(card, overrides, required) if required else overrides
        sources = {
            role: resolve_weights(card, role, facts, chosen.get(f"{card.name}.{role}"))
            for role, facts in required.items()
        }
        card = describe_trained(card, sources)
    card = card.with_parameters(params)
    spec = Spec(card, params, stream_names, precision, sources, code, file)
    if not code:
        spec = _add_code(spec, note)
    if not spec.fingerprint.startswith(selector.fingerprint):
        raise ProbekitError(
            f"{text}: fingerprint of these parameters and weights must begin with "
            f"{selector.fingerprint}, got {spec.fingerprint[:8]}. Leave out the @, or name other "
            "weights"
        )
    return spec


def build_extractor(spec: Spec, device: "torch.device | str" = "cpu") -> "Extractor":
    """Build an extractor and load its weights.

    Parameters
    ----------
    spec : Spec
        From :func:`resolve_spec`.
    device : torch.device or str
        Device to run on.

    Returns
    -------
    Extractor
        In evaluation mode, without gradients.

    Raises
    ------
    WeightsError
        If a weights file does not fit the network.
    CardError
        If the code that the card names cannot be imported.
    """
    import torch

    tune_malloc()
    precision = getattr(torch, PRECISIONS[spec.precision])
    if spec.name == HEAR:
        from probekit.extractors.adapters import hear_module

        extractor: Extractor = hear_module.build_hear_extractor(
            spec.card, spec.params, spec.streams, spec.sources
        )
        extractor.precision = precision
    elif spec.name in (HF, ONNX):
        from probekit.extractors.adapters import hf_model, onnx_model

        assert spec.file is not None
        build = {HF: hf_model.build_hf_extractor, ONNX: onnx_model.build_onnx_extractor}
        extractor = build[spec.name](
            spec.card, spec.params, spec.streams, spec.sources, spec.code, spec.file
        )
        extractor.precision = precision
    else:
        extractor = _build_with_weights(spec)
        optimize_for_inference(extractor, precision)
    return extractor.eval().requires_grad_(False).to(device)


def _add_code(spec: Spec, note: Callable[[str], None] | None) -> Spec:
    """Return the extractor with what identifies a user's code, which is run if it has no weights.

    Parameters that the code brings with it, such as those of a pretrained model of a library, are
    part of its identity.
    """
    code: dict[str, Any] = cards.code_identity(spec.card)
    if not code:
        return spec
    spec = replace(spec, code=code, file=cards.code_file(spec.card))
    if note is not None and spec.file is not None:
        note(f"{spec.name}: uses the code of {spec.file}, SHA-256 {code['source'][:8]}")
    if spec.sources:
        return spec
    from probekit.extractors.adapters.waveform_module import hash_state

    state = hash_state(_build(spec), _build(spec))
    return replace(spec, code={**code, "state": state}) if state else spec


def _build_with_weights(spec: Spec) -> "Extractor":
    """Build the extractor of a card and load its weights."""
    from probekit.extractors.weights.diagnosis import diagnose_mismatch
    from probekit.extractors.weights.state_dict import MismatchError, load_state_dict

    network = networks.import_network(spec.card, spec.file)
    current = cards.code_identity(spec.card, spec.file)
    if any(spec.code.get(key) != value for key, value in current.items()):
        raise cards.module_error(
            spec.card, "its code changed while it was in use; run the same command again"
        )
    extractor = _build(spec)
    states = {
        role: load_state_dict(source, role, extractor.weights_target(role), network.read_weights)
        for role, source in spec.sources.items()
    }
    try:
        if states:
            extractor.load_weights(states)
    except MismatchError as error:
        hints = diagnose_mismatch(error.network, error.state)
        raise WeightsError("\n  ".join([str(error), *hints])) from None
    return extractor


def _build(spec: Spec) -> "Extractor":
    """Build the extractor of a card, with the hop of its parameters."""
    from probekit.extractors.base import WindowedExtractor

    network = networks.import_network(spec.card, spec.file)
    is_student = spec.name.startswith(STUDENT_PREFIX)
    student = (spec.code,) if is_student else ()
    extractor = network.build(spec.card, spec.params, spec.streams, *student)
    hop = spec.card.window_hop
    if hop is None or HOP not in spec.params:
        return extractor
    samples = int(hop * spec.card.sample_rate)
    if isinstance(extractor, WindowedExtractor) and extractor.hop != samples:
        default = None if is_student else cards.load_extractor_card(spec.name).window_hop
        if default not in (None, Fraction(extractor.hop, spec.card.sample_rate)):
            raise ProbekitError(
                f"{spec.name}: cannot change the hop, since its windows are not those of its frames"
            )
        extractor.hop = samples
    return extractor


def optimize_for_inference(extractor: "Extractor", precision: "torch.dtype") -> None:
    """Prepare an extractor's network for a precision; changed in place, with keys and shapes kept.

    Kernels of convolutions are laid out channels last, as oneDNN and cuDNN compute: otherwise maps
    are reordered around every layer. For bf16 and fp16, weights of convolutions and linear layers
    are rounded once; autocast would round them again for every batch, to the same numbers. The rest
    of the network (batch norm, recurrent layers) and the layers of its own classifier, whose
    weights the cache keeps, stay float32.
    """
    import torch
    from torch import nn

    extractor.precision = precision
    if extractor.network is None:
        return
    head = extractor.head()
    layers = [] if head is None else [head.weight, *(head.attention or ())]
    head_data = {layer.data_ptr() for layer in layers}
    for module in extractor.network.modules():
        if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            continue
        if module.weight.data_ptr() in head_data:
            continue
        if isinstance(module, nn.Conv2d):
            # contiguous() would leave kernels of one channel as they are: they count as both
            module.weight.data = module.weight.data.to(memory_format=torch.channels_last)
        module.to(precision)


def _check_pooling(card: ExtractorCard, pool: Sequence[str], streams: Sequence[str]) -> None:
    """Raise if no stream has frames to be pooled, or a pooling does not exist."""
    for name in pool:
        if name not in POOLINGS:
            raise unknown_name_error(f"pooling of {card.name}", name, POOLINGS)
    if all(card.streams[stream].kind == "clip" for stream in streams):
        with_frames = [name for name, stream in card.streams.items() if stream.kind == "frames"]
        hint = f", or name one over time: stream={' or '.join(with_frames)}" if with_frames else ""
        raise ProbekitError(
            f"{card.name}: its stream {streams[0]} is one vector per clip; leave out pool={hint}"
        )


def parse_parameters(card: ExtractorCard, values: dict[str, str]) -> Params:
    """Convert parameters from text to the card's types, and fill in the defaults.

    Parameters
    ----------
    card : ExtractorCard
        The card, with its parameters.
    values : dict of str to str
        Parameters as written by the user.

    Returns
    -------
    dict
        A value for every parameter of the card.

    Raises
    ------
    ProbekitError
        If a parameter is not known, or a value is not valid.
    """
    params: Params = {}
    if HOP in values and HOP not in card.parameters:
        hop = _parse_hop(card, values[HOP])
        if hop != card.window_hop:
            params[HOP] = float(hop)
        values = {name: value for name, value in values.items() if name != HOP}
    for name in values:
        if name not in card.parameters:
            known = [*card.parameters, *([HOP] if card.window_hop else [])]
            raise unknown_name_error(f"parameter of {card.name}", name, known)
    for name, facts in card.parameters.items():
        value: str | int | float | bool = facts.default
        if name in values:
            text, kind = values[name], type(facts.default)
            try:
                value = text in ("true", "1", "yes") if kind is bool else kind(text)
            except ValueError as error:
                raise ProbekitError(
                    f"{card.name}: {name} must be of type {kind.__name__}, got {text!r}"
                ) from error
        if facts.choices and value not in facts.choices:
            raise ProbekitError(
                f"{card.name}: {name} must be one of "
                f"{', '.join(map(str, facts.choices))}, got {value!r}"
            )
        params[name] = value
    return params


def _parse_hop(card: ExtractorCard, text: str) -> Fraction:
    """Return the hop of windows in seconds.

    Raises
    ------
    ProbekitError
        If the extractor has no windows, or the hop is not a whole number of samples from one to
        the length of a window.
    """
    if card.window_hop is None:
        hops = {stream.hop for stream in card.streams.values() if stream.hop}
        frames = "".join(f", with a frame every {float(hop):.3g} s (--frames)" for hop in hops)
        extent = {
            "exact": f"each clip whole{frames}",
            "cropped": f"the first {card.max_seconds or 0:g} s of each clip at once",
            "windowed": "windows that make several frames each",
        }[card.long_audio]
        raise ProbekitError(
            f"{card.name}: hop is a parameter of extractors that read windows, such as vggish and "
            f"openl3; {card.name} reads {extent}. For embeddings of parts of a recording, list the "
            "parts as clips with start and end in a table"
        )
    window = min(stream.window or Fraction(0) for stream in card.streams.values())
    try:
        hop = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise ProbekitError(f"{card.name}: hop must be in seconds, got {text!r}") from error
    if not 0 < hop <= window:
        raise ProbekitError(
            f"{card.name}: hop must be > 0 and at most a window, {float(window):g} s, got {text}"
        )
    samples = hop * card.sample_rate
    nearest = max(1, round(samples))
    if abs(samples - nearest) > _ROUNDING:
        raise ProbekitError(
            f"{card.name}: hop must be a whole number of samples at {card.sample_rate} Hz, got "
            f"{text} s; the nearest is {Fraction(nearest, card.sample_rate)} s, {nearest} samples"
        )
    return Fraction(nearest, card.sample_rate)
