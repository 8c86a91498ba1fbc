"""Networks of the extractors: a module each, or a class of another package."""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from probekit.cards import ExtractorCard
from probekit.errors import CardError
from probekit.utils.suggest import did_you_mean

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


def import_network(card: ExtractorCard) -> Network:
    """Import the network of a card.

    Parameters
    ----------
    card : ExtractorCard
        Its ``module`` is the name of a module in :mod:`probekit.extractors.networks`;
        ``package.module`` for a module of another package with a function
        ``build(card, params, streams)``; or ``package.module:Class`` for a subclass of
        :class:`~probekit.extractors.base.Extractor`, built as ``Class(card, params, streams)``.

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
    if name.isidentifier() and not colon:
        source = _import_builtin(card)
    else:
        source = _import(card, name)
        if colon:
            source = _get_class(card, source, attribute)
            return Network(source, getattr(source, "read_weights", None))
    build = getattr(source, "build", None)
    if not callable(build):
        raise _card_error(card, f"{name} has no function build(card, params, streams)")
    return Network(build, getattr(source, "read_weights", None))


def _import_builtin(card: ExtractorCard) -> Any:
    """Import a module of probekit by its short name."""
    if card.module == _STUDENT:
        return import_module("probekit.extractors.students.extractor")
    known = [info.name for info in pkgutil.iter_modules(__path__)]
    if card.module not in known:
        raise _card_error(
            card,
            f"not a network of probekit.{did_you_mean(card.module, known)} Known: "
            f"{', '.join(sorted(known))}. For code of another package write package.module:Class",
        )
    return import_module(f"{__name__}.{card.module}")


def _import(card: ExtractorCard, name: str) -> Any:
    """Import a module of another package."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            reason = f"no module named {error.name!r}. Install its package, or set PYTHONPATH"
        else:
            reason = f"{name} needs {error.name!r}, which is not installed"
        raise _card_error(card, reason) from error
    except Exception as error:  # code of another package can raise anything
        raise _card_error(
            card, f"{name} cannot be imported ({type(error).__name__}: {error})"
        ) from error


def _get_class(card: ExtractorCard, module: Any, attribute: str) -> "type[Extractor]":
    """Return a subclass of Extractor from a module."""
    from probekit.extractors.base import Extractor

    if not hasattr(module, attribute):
        raise _card_error(card, f"{module.__name__} has no class {attribute!r}")
    cls = getattr(module, attribute)
    if not (isinstance(cls, type) and issubclass(cls, Extractor)):
        raise _card_error(
            card, f"{attribute} must be a subclass of probekit.extractors.base.Extractor"
        )
    return cls


def _card_error(card: ExtractorCard, reason: str) -> CardError:
    return CardError(f"extractor {card.name}: module {card.module!r} of its card: {reason}")
