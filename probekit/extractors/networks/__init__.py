"""Networks of the extractors, one module each, named as in their cards."""

from importlib import import_module
from types import ModuleType

from probekit.cards import ExtractorCard


def import_network(card: ExtractorCard) -> ModuleType:
    """Import the module that builds a card's network.

    Parameters
    ----------
    card : ExtractorCard
        Its ``module`` is a name in :mod:`probekit.extractors.networks`, or ``student``.
    """
    if card.module == "student":
        return import_module("probekit.extractors.students.extractor")
    return import_module(f"probekit.extractors.networks.{card.module}")
