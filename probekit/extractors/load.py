"""From what a user asks for to an extractor that is ready to run.

:func:`specify` settles everything that decides an embedding's value, and its fingerprint, without
building the network; :func:`build` builds it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probekit import cards
from probekit.cards import ExtractorCard, Params
from probekit.errors import ProbekitError
from probekit.extractors import weights as weights_module
from probekit.extractors.weights import Source, parse_overrides
from probekit.registry import unknown
from probekit.selection import HEAR, STUDENT, parse

if TYPE_CHECKING:
    import torch

    from probekit.extractors.base import Extractor

__all__ = ["Spec", "build", "parameters", "parse_overrides", "specify"]

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
    sources: dict[str, Source]
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


def specify(
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
        :func:`probekit.extractors.weights.parse_overrides`.
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
        raise unknown("precision", precision, PRECISIONS)
    overrides = weights or {}
    sources: dict[str, Source] | None = None
    code: dict[str, Any] = {}
    if selection.name == HEAR:
        from probekit.extractors import hear_modules

        card, sources, code = hear_modules.describe(selection.params, overrides)
    elif selection.name.startswith(STUDENT):
        from probekit.extractors import trained

        card, sources, code = trained.describe(selection.name, overrides, reports)
    else:
        card = cards.extractor(selection.name)
    params = parameters(card, selection.params)
    asked = list(streams or ([selection.stream] if selection.stream else [card.default_stream]))
    for name in asked:
        if name not in card.streams:
            raise unknown(f"stream of {card.name}", name, card.streams)
    wanted = tuple(name for name in card.streams if name in asked)
    if sources is None:
        sources = {
            role: weights_module.resolve(card, role, facts, overrides.get(f"{card.name}.{role}"))
            for role, facts in weights_module.needed(card, params, wanted).items()
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
        From :func:`specify`.
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

    from probekit.extractors import fast

    precision = getattr(torch, PRECISIONS[spec.precision])
    if spec.name == HEAR:
        from probekit.extractors import hear_modules

        built: Extractor = hear_modules.build(spec.card, spec.params, spec.streams, spec.sources)
        built.precision = precision
    else:
        built = _with_weights(spec)
        fast.arrange(built, precision)
    return built.eval().requires_grad_(False).to(device)


def _with_weights(spec: Spec) -> "Extractor":
    """Build the network of a card and give it its weights."""
    from probekit.extractors import states

    module = import_module(f"probekit.extractors.networks.{spec.card.module}")
    more = (spec.code,) if spec.code else ()
    extractor: Extractor = module.build(spec.card, spec.params, spec.streams, *more)
    hdf5 = getattr(module, "read_weights", None)
    found = {
        role: states.read(source, role, extractor.part(role), hdf5)
        for role, source in spec.sources.items()
    }
    if found:
        extractor.load_weights(found)
    return extractor


def parameters(card: ExtractorCard, given: dict[str, str]) -> Params:
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
            raise unknown(f"parameter of {card.name}", name, card.parameters)
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
