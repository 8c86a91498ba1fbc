"""From what a user asks for to an extractor that is ready to run.

:func:`resolve_spec` settles everything that decides an embedding's value, and its fingerprint, without
building the network; :func:`build` builds it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from probekit import cards
from probekit.cards import ExtractorCard, Params
from probekit.cards.selector import HEAR, STUDENT, parse
from probekit.errors import ProbekitError
from probekit.extractors import networks
from probekit.extractors.base import Extractor
from probekit.extractors.weights import source as weights_module
from probekit.extractors.weights.source import WeightsSource, parse_overrides
from probekit.utils.suggest import unknown_name_error

if TYPE_CHECKING:
    import torch

    from probekit.extractors.base import Extractor

_PRODUCTS = (nn.Conv1d, nn.Conv2d, nn.Linear)


def optimize_for_inference(extractor: Extractor, precision: torch.dtype) -> None:
    """Make an extractor ready for a precision.

    Kernels of convolutions are laid out channels last, which is what oneDNN and cuDNN compute with:
    otherwise maps are reordered around every layer. For bf16 and fp16, weights of convolutions and
    linear layers are rounded once; autocast would round them again for every batch, to the same
    numbers. The rest of the network (batch norm, recurrent layers) and the layer of the network's
    own classifier, whose weights the cache keeps, stay float32.

    Parameters
    ----------
    extractor : Extractor
        With its weights. Changed in place; its state dict keeps keys and shapes.
    precision : torch.dtype
        Arithmetic of the network: float32, bfloat16 or float16.
    """
    extractor.precision = precision
    if extractor.network is None:
        return
    head = extractor.head()
    kept = head.weight.data_ptr() if head is not None else 0
    for module in extractor.network.modules():
        if not isinstance(module, _PRODUCTS) or module.weight.data_ptr() == kept:
            continue
        if isinstance(module, nn.Conv2d):
            last = module.weight.data.contiguous(memory_format=torch.channels_last)
            module.weight.data = last
        module.to(precision)


__all__ = ["Spec", "build", "parse_overrides", "parse_parameters", "resolve_spec"]

PRECISIONS = {"float32": "float32", "bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Spec:
    """An extractor with everything settled that decides the values it computes.

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
    sources : dict of str to Source
        Where each weights file comes from.
    code : dict
        What else decides the values. Where the network is somebody else's Python module: its name,
        its distribution's version, the hash of its source, its sizes. Of a trained student: what
        builds it.
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
        """What the fingerprint covers, in plain values."""
        return {
            "extractor": self.card.name,
            "version": self.card.version,
            "params": dict(sorted(self.params.items())),
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
        """What every number from these embeddings must show."""
        said = [self.card.caveat] if self.card.caveat else []
        seeds = sorted({s.seed for s in self.sources.values() if s.seed is not None})
        if seeds:
            said.append(f"random weights (seed {', '.join(map(str, seeds))})")
        return said


def resolve_spec(
    text: str,
    *,
    weights: dict[str, str] | None = None,
    streams: Sequence[str] | None = None,
    precision: str = "float32",
    reports: str | Path | None = None,
) -> Spec:
    """Settle an extractor: card, parameters, streams, weights.

    Parameters
    ----------
    text : str
        ``NAME`` or ``NAME:parameter=value,…``; ``stream=`` may be among them. ``hear:MODULE`` for
        a module of the HEAR API, which is imported and loaded. ``runs/ID`` for a student that was
        trained here.
    weights : dict of str to str, optional
        ``extractor.file`` to a path or ``random:SEED``; from
        :func:`probekit.extractors.weights.source.parse_overrides`.
    streams : sequence of str, optional
        The streams to compute; the card's default stream where not given.
    precision : {"float32", "bf16", "fp16"}
        Arithmetic of the network.
    reports : str or pathlib.Path, optional
        A folder of reports in which trained students are looked for first.

    Returns
    -------
    Spec
        Weights files exist and have the right hash.

    Raises
    ------
    ProbekitError
        If a name or value is not known, or weights are missing.
    """
    selection = parse(text)
    if precision not in PRECISIONS:
        raise unknown_name_error("precision", precision, PRECISIONS)
    overrides = weights or {}
    sources: dict[str, WeightsSource] | None = None
    code: dict[str, Any] = {}
    if selection.name == HEAR:
        from probekit.extractors.adapters import hear_module

        card, sources, code = hear_module.describe_module(selection.params, overrides)
    elif selection.name.startswith(STUDENT):
        from probekit.extractors.students import card as card_module

        card, sources, code = card_module.describe_student(selection.name, overrides, reports)
    else:
        card = cards.load_extractor_card(selection.name)
    params = parse_parameters(card, selection.params)
    asked = list(streams or ([selection.stream] if selection.stream else [card.default_stream]))
    for name in asked:
        if name not in card.streams:
            raise unknown_name_error(f"stream of {card.name}", name, card.streams)
    wanted = tuple(name for name in card.streams if name in asked)
    if sources is None:
        sources = {
            role: weights_module.resolve_weights(card, role, facts, overrides.get(f"{card.name}.{role}"))
            for role, facts in weights_module.required_weights(card, params, wanted).items()
        }
    spec = Spec(card, params, wanted, precision, sources, code)
    if not spec.fingerprint.startswith(selection.fingerprint):
        raise ProbekitError(
            f"{text}: these parameters and weights give fingerprint {spec.fingerprint[:8]}, not "
            f"{selection.fingerprint}. Leave out the @, or name other weights"
        )
    return spec


def build(spec: Spec, device: "torch.device | str" = "cpu") -> "Extractor":
    """Build an extractor and give it its weights.

    Parameters
    ----------
    spec : Spec
        From :func:`resolve_spec`.
    device : torch.device or str
        Where it shall run.

    Returns
    -------
    Extractor
        In evaluation mode, without gradients.

    Raises
    ------
    WeightsError
        If a weights file does not fit the network.
    """
    import torch

    precision = getattr(torch, PRECISIONS[spec.precision])
    if spec.name == HEAR:
        from probekit.extractors.adapters import hear_module

        built: Extractor = hear_module.build(spec.card, spec.params, spec.streams, spec.sources)
        built.precision = precision
    else:
        built = _with_weights(spec)
        optimize_for_inference(built, precision)
    return built.eval().requires_grad_(False).to(device)


def _with_weights(spec: Spec) -> "Extractor":
    """Build the network of a card and give it its weights."""
    from probekit.extractors.weights import state_dict

    module = networks.import_network(spec.card)
    more = (spec.code,) if spec.code else ()
    extractor: Extractor = module.build(spec.card, spec.params, spec.streams, *more)
    hdf5 = getattr(module, "read_weights", None)
    found = {
        role: state_dict.load_state_dict(source, role, extractor.weights_target(role), hdf5)
        for role, source in spec.sources.items()
    }
    if found:
        extractor.load_weights(found)
    return extractor


def parse_parameters(card: ExtractorCard, given: dict[str, str]) -> Params:
    """Fill in defaults, and turn what the user wrote into values of the card's kinds.

    Parameters
    ----------
    card : ExtractorCard
        Says which parameters there are.
    given : dict of str to str
        What the user wrote.

    Returns
    -------
    dict
        A value for every parameter.

    Raises
    ------
    ProbekitError
        If a parameter is not known, or a value is not one that it takes.
    """
    for name in given:
        if name not in card.parameters:
            raise unknown_name_error(f"parameter of {card.name}", name, card.parameters)
    params: Params = {}
    for name, facts in card.parameters.items():
        value: str | int | float | bool = facts.default
        if name in given:
            kind = type(facts.default)
            try:
                value = given[name] in ("true", "1", "yes") if kind is bool else kind(given[name])
            except ValueError as error:
                raise ProbekitError(
                    f"{card.name}: {name}={given[name]!r} is not of type {kind.__name__}"
                ) from error
        if facts.choices and value not in facts.choices:
            raise ProbekitError(
                f"{card.name}: {name}={value!r} is not one of "
                f"{', '.join(str(choice) for choice in facts.choices)}"
            )
        params[name] = value
    return params
