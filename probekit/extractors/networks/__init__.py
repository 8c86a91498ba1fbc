"""Networks of the extractors: a module each, or a class of another package."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from probekit.cards import ExtractorCard, card_module_error, import_card_module

if TYPE_CHECKING:
    from torch import Tensor

    from probekit.extractors.base import Extractor

_STUDENT = "student"  # module of trained students, in their generated cards


class Network(NamedTuple):
    """The code that a card's ``module`` names."""

    build: "Callable[..., Extractor]"
    """Builds the extractor from card, params and stream names."""
    read_weights: "Callable[[Path], dict[str, Tensor]] | None"
    """Reads HDF5 weights files; None if there are none."""


def import_network(card: ExtractorCard, base: type = object) -> Network:
    """Import the network of a card.

    Parameters
    ----------
    card : ExtractorCard
        Its ``module`` is the name of a module in :mod:`probekit.extractors.networks`;
        ``package.module`` for a module of another package with a function
        ``build(card, params, streams)``; or ``package.module:Class`` for a subclass of
        :class:`~probekit.extractors.base.Extractor`, built as ``Class(card, params, streams)``.
    base : type
        Class that ``Class`` must be a subclass of.

    Returns
    -------
    Network
        Its functions ``build`` and, if it has one, ``read_weights``.

    Raises
    ------
    CardError
        If the module cannot be imported or lacks the function or class; names the card.
    """
    name, colon, attribute = card.module.partition(":")
    if card.module == _STUDENT:
        source: Any = import_module("probekit.extractors.students.extractor")
    else:
        source = import_card_module(card, name, __name__)
    if colon:
        source = _get_class(card, source, attribute, base)
        return Network(source, getattr(source, "read_weights", None))
    build = getattr(source, "build", None)
    if not callable(build):
        raise card_module_error(card, f"{name} has no function build(card, params, streams)")
    return Network(build, getattr(source, "read_weights", None))


def _get_class(card: ExtractorCard, module: Any, attribute: str, base: type) -> type:
    """Return a subclass of ``base`` from a module."""
    if not hasattr(module, attribute):
        raise card_module_error(card, f"{module.__name__} has no class {attribute!r}")
    cls = getattr(module, attribute)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise card_module_error(
            card, f"{attribute} must be a subclass of {base.__module__}.{base.__qualname__}"
        )
    return cls
