"""Whose weights a file may hold: a hint for where they do not fit a network.

Only names are compared. The networks of all cards are built for that without being given values,
which takes about 0.2 s.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from probekit import cards
from probekit.extractors import networks

ALIKE = 0.5  # so many of the names in either must be in both
_INSIDE = ("state_dict", "model")  # where training scripts put the state dict
_PARALLEL = "module."  # what torch.nn.DataParallel puts before every name


def diagnose_mismatch(network: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """Say what may be wrong with weights that do not fit.

    Parameters
    ----------
    network : torch.nn.Module
        What they were meant for.
    state : mapping of str to object
        What the file holds.

    Returns
    -------
    list of str
        A line each; empty where there is nothing to say.
    """
    found = []
    for name in _INSIDE:
        inner = state.get(name)
        if isinstance(inner, Mapping):
            found.append(f"its tensors lie under {name!r}: save that entry as a file of its own")
            state = inner
            break
    keys = {str(key) for key in state}
    if 2 * sum(key.startswith(_PARALLEL) for key in keys) > len(keys):
        found.append(
            f"its names begin with {_PARALLEL!r}, as DataParallel has them: save "
            "model.module.state_dict()"
        )
        keys = {key.removeprefix(_PARALLEL) for key in keys}
    if _jaccard(keys, set(network.state_dict())) <= ALIKE:
        names = identify_network(keys)
        if names:
            found.append(f"it looks like weights of {' or '.join(names)}")
    return found


def identify_network(keys: set[str]) -> list[str]:
    """Return the extractors whose networks have nearly these names of tensors.

    Parameters
    ----------
    keys : set of str
        Of a state dict.

    Returns
    -------
    list of str
        Usually one or none; several where their networks have the same names.
    """
    if not keys:
        return []
    likeness = {name: _jaccard(keys, own) for name, own in _networks()}
    best = max(likeness.values(), default=0.0)
    return [name for name, value in likeness.items() if value == best > ALIKE]


def _jaccard(one: set[str], other: set[str]) -> float:
    """Return how many of the names in either are in both (Jaccard, 1901)."""
    return len(one & other) / max(1, len(one | other))


def _networks() -> Iterator[tuple[str, set[str]]]:
    """Yield each extractor with the names of its network's tensors."""
    for name in cards.card_paths("extractors"):
        with suppress(Exception):  # whatever is wrong with some card, this is about another one
            card = cards.load_extractor_card(name)
            module = networks.import_network(card)
            params = {key: facts.default for key, facts in card.parameters.items()}
            with _NoValues():
                network = module.build(card, params, (card.default_stream,)).network
            if network is not None:
                yield name, set(network.state_dict())


class _NoValues(TorchFunctionMode):
    """Networks built in this context have memory that nobody has written to."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Do what is asked for, but for the functions of ``torch.nn.init``."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
