"""Diagnosis of weights that do not fit a network, from the names of their tensors.

The networks of all cards are built for comparison, without initialization, in about 0.2 s.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from probekit import cards
from probekit.extractors import networks

MIN_SIMILARITY = 0.5  # Jaccard similarity of two sets of names
_WRAPPERS = ("state_dict", "model")  # keys under which training scripts save a state dict
_PARALLEL = "module."  # prefix of torch.nn.DataParallel


def diagnose_mismatch(network: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """Return hints, a line each, on why the content of a file does not fit a network."""
    hints = []
    for name in _WRAPPERS:
        inner = state.get(name)
        if isinstance(inner, Mapping):
            hints.append(f"its tensors are under {name!r}: save that entry as a separate file")
            state = inner
            break
    keys = {str(key) for key in state}
    if 2 * sum(key.startswith(_PARALLEL) for key in keys) > len(keys):
        hints.append(
            f"its names begin with {_PARALLEL!r}, as from DataParallel: save "
            "model.module.state_dict()"
        )
        keys = {key.removeprefix(_PARALLEL) for key in keys}
    if _jaccard(keys, set(network.state_dict())) <= MIN_SIMILARITY:
        names = identify_network(keys)
        if names:
            hints.append(f"it looks like weights of {' or '.join(names)}")
    return hints


def identify_network(keys: set[str]) -> list[str]:
    """Return the extractors whose networks have nearly these keys in their state dicts."""
    if not keys:
        return []
    similarity = {name: _jaccard(keys, known) for name, known in _network_keys()}
    best = max(similarity.values(), default=0.0)
    return [name for name, value in similarity.items() if value == best > MIN_SIMILARITY]


def _jaccard(a: set[str], b: set[str]) -> float:
    """Return the size of the intersection over that of the union."""
    return len(a & b) / max(1, len(a | b))


def _network_keys() -> Iterator[tuple[str, set[str]]]:
    """Yield each of probekit's extractors with the keys of its network's state dict."""
    for name in cards.card_paths("extractors"):
        with suppress(Exception):  # a faulty card must not hide the actual error
            card = cards.load_extractor_card(name)
            if cards.code_identity(card):
                continue  # code of a user runs only if it was named
            module = networks.import_network(card)
            params = {key: facts.default for key, facts in card.parameters.items()}
            with _NoInitialization():
                network = module.build(card, params, (card.default_stream,)).network
            if network is not None:
                yield name, set(network.state_dict())


class _NoInitialization(TorchFunctionMode):
    """Context in which networks are built with uninitialized memory."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the function, unless it belongs to ``torch.nn.init``."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
