"""Networks of the extractors: a module each, or a user's file or class."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from probekit.cards import ExtractorCard, import_card_module, module_error

if TYPE_CHECKING:
    from torch import Tensor

    from probekit.extractors.base import Extractor

_STUDENT = "student"  # module of trained students, in their generated cards


class Network(NamedTuple):
    """The code that a card's ``module`` names."""

    build: "Callable[..., Extractor]"
    """Builds the extractor from card, params and stream names."""
    read_weights: "Callable[[Path], dict[str, Tensor]] | None"
    """Reads files of weights that are not torch's; None if there are none."""


def import_network(card: ExtractorCard, file: Path | None = None) -> Network:
    """Import the network of a card.

    Parameters
    ----------
    card : ExtractorCard
        Its ``module`` is the name of a module in :mod:`probekit.extractors.networks`, or
        ``package.module`` or ``FILE.py`` of a user with a function
        ``build(card, params, streams)``. With ``:Class`` appended it is a subclass of
        :class:`~probekit.extractors.base.Extractor`, built as ``Class(card, params, streams)``, or
        of :class:`torch.nn.Module`, built with the card's parameters.
    file : pathlib.Path, optional
        The Python file, if ``module`` names one; searched beside the card if not given.

    Returns
    -------
    Network
        Its functions ``build`` and, if it has one, ``read_weights``.

    Raises
    ------
    CardError
        If the code cannot be imported or lacks the function or class; names the card.
    """
    name, colon, attribute = card.module.partition(":")
    if card.module == _STUDENT:
        source: Any = import_module("probekit.extractors.students.extractor")
    else:
        source = import_card_module(card, __name__, file)
    if colon:
        return _network_of_class(card, source, attribute)
    build = getattr(source, "build", None)
    if not callable(build):
        raise module_error(
            card, f"{name} has no function build(card, params, streams); or write {name}:Class"
        )
    return Network(build, getattr(source, "read_weights", None))


def _network_of_class(card: ExtractorCard, module: Any, attribute: str) -> Network:
    """Return the network of a class: an extractor, or a torch module."""
    from torch import nn

    from probekit.extractors.adapters.waveform_module import build_waveform_module
    from probekit.extractors.base import Extractor

    name = card.module.partition(":")[0]
    if not hasattr(module, attribute):
        raise module_error(card, f"{name} has no class {attribute!r}")
    cls = getattr(module, attribute)
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise module_error(
            card,
            f"{attribute} must be a subclass of torch.nn.Module or "
            "probekit.extractors.base.Extractor",
        )
    read_weights = getattr(cls, "read_weights", None)
    if issubclass(cls, Extractor):
        return Network(cls, read_weights)
    return Network(partial(build_waveform_module, cls), read_weights)
