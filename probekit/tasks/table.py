"""A user's own CSV as a dataset: the card's option ``csv`` says which."""

from dataclasses import replace
from pathlib import Path

from probekit import listing
from probekit.cards import TaskCard
from probekit.errors import CardError
from probekit.manifest import Manifest
from probekit.tasks import reading
from probekit.tasks.base import check_labels


def build(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of a card whose option ``csv`` names a table inside ``root``."""
    if "csv" not in card.options:
        raise CardError(f"{card.name}: a task of module 'table' needs options: {{csv: FILE}}")
    table = reading.inside(root, str(card.options["csv"]), card=card)
    found = listing.from_csv(table, root=root, name=card.dataset)
    if card.labels is None or found.target not in ("single", "multi"):
        return replace(found, expected=card.counts.get("clips"))
    for label in found.names:
        check_labels(card, label, table)
    return replace(found, names=tuple(card.labels), expected=card.counts.get("clips"))
