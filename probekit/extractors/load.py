"""From the text after ``-e`` to an extractor that is ready to run.

:func:`resolve_spec` determines everything that decides an embedding's value, and its fingerprint,
without building the network; :func:`build_extractor` builds it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probekit import cards
from probekit.cards import ExtractorCard, Params
from probekit.cards.schema import RESAMPLER
from probekit.cards.selector import HEAR, STUDENT_PREFIX, parse_selector
from probekit.errors import ProbekitError
from probekit.extractors import networks
from probekit.extractors.weights.source import (
    WeightsSource,
    required_weights,
    resolve_weights,
)
from probekit.utils.suggest import unknown_name_error

if TYPE_CHECKING:
    import torch

    from probekit.extractors.base import Extractor

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
        What else decides the values. For a module of the HEAR API: its name, its distribution's
        version, the hash of its source, its sizes. For a trained student: what builds it.
    """

    card: ExtractorCard
    params: Params
    streams: tuple[str, ...]
    precision: str
    sources: dict[str, WeightsSource]
    code: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The extractor's name."""
        return self.card.name

    @property
    def identity(self) -> dict[str, Any]:
        """What the fingerprint covers, in plain values.

        The resampler is a field of its own; among the parameters it is listed only if it is not
        the card's default: a card can offer the choice without changing its fingerprint.
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
) -> Spec:
    """Determine an extractor: card, parameters, streams, weights.

    Parameters
    ----------
    text : str
        ``NAME`` or ``NAME:parameter=value,…``; ``stream=`` may be among them. ``hear:MODULE`` for
        a module of the HEAR API, which is imported and loaded. ``runs/ID`` for a student trained
        by probekit.
    weights : dict of str to str, optional
        ``extractor.file`` to a path or ``random:SEED``; from
        :func:`probekit.extractors.weights.source.parse_overrides`.
    streams : sequence of str, optional
        The streams to compute; the card's default stream if not given.
    precision : {"float32", "bf16", "fp16"}
        Arithmetic of the network.
    reports : str or pathlib.Path, optional
        Reports folder in which trained students are searched first.

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
    if selector.name == HEAR:
        from probekit.extractors.adapters import hear_module

        card, sources, code = hear_module.describe_module(selector.params, overrides)
    elif selector.name.startswith(STUDENT_PREFIX):
        from probekit.extractors.students.card import describe_student

        card, sources, code = describe_student(selector.name, overrides, reports)
    else:
        card = cards.load_extractor_card(selector.name)
    params = parse_parameters(card, selector.params)
    requested = list(streams or [selector.stream or card.default_stream])
    for name in requested:
        if name not in card.streams:
            raise unknown_name_error(f"stream of {card.name}", name, card.streams)
    stream_names = tuple(name for name in card.streams if name in requested)
    if sources is None:
        sources = {
            role: resolve_weights(card, role, facts, overrides.get(f"{card.name}.{role}"))
            for role, facts in required_weights(card, params, stream_names).items()
        }
    card = card.with_resampler(params)
    spec = Spec(card, params, stream_names, precision, sources, code)
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

    precision = getattr(torch, PRECISIONS[spec.precision])
    if spec.name == HEAR:
        from probekit.extractors.adapters import hear_module

        extractor: Extractor = hear_module.build_hear_extractor(
            spec.card, spec.params, spec.streams, spec.sources
        )
        extractor.precision = precision
    else:
        extractor = _build_with_weights(spec)
        optimize_for_inference(extractor, precision)
    return extractor.eval().requires_grad_(False).to(device)


def _build_with_weights(spec: Spec) -> "Extractor":
    """Build the extractor of a card and load its weights."""
    from probekit.extractors.base import Extractor
    from probekit.extractors.weights.state_dict import load_state_dict

    network = networks.import_network(spec.card, Extractor)
    code = (spec.code,) if spec.code else ()
    extractor = network.build(spec.card, spec.params, spec.streams, *code)
    states = {
        role: load_state_dict(source, role, extractor.weights_target(role), network.read_weights)
        for role, source in spec.sources.items()
    }
    if states:
        extractor.load_weights(states)
    return extractor


def optimize_for_inference(extractor: "Extractor", precision: "torch.dtype") -> None:
    """Prepare an extractor's network for a precision; changed in place, with keys and shapes kept.

    Kernels of convolutions are laid out channels last, as oneDNN and cuDNN compute: otherwise maps
    are reordered around every layer. For bf16 and fp16, weights of convolutions and linear layers
    are rounded once; autocast would round them again for every batch, to the same numbers. The rest
    of the network (batch norm, recurrent layers) and the layer of its own classifier, whose weights
    the cache keeps, stay float32.
    """
    import torch
    from torch import nn

    extractor.precision = precision
    if extractor.network is None:
        return
    head = extractor.head()
    head_data = head.weight.data_ptr() if head is not None else 0
    for module in extractor.network.modules():
        if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            continue
        if module.weight.data_ptr() == head_data:
            continue
        if isinstance(module, nn.Conv2d):
            weight = module.weight.data.contiguous(memory_format=torch.channels_last)
            module.weight.data = weight
        module.to(precision)


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
    for name in values:
        if name not in card.parameters:
            raise unknown_name_error(f"parameter of {card.name}", name, card.parameters)
    params: Params = {}
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
