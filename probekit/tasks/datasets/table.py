"""A user's own CSV as a dataset: the card's option ``csv`` says which.

Its option ``extra`` lists columns that are not used.
"""

from dataclasses import replace
from pathlib import Path

from probekit.cards import TaskCard
from probekit.data import readers
from probekit.data.manifest import Manifest
from probekit.errors import CardError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import check_label

OPTIONS = ("csv", "extra")


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the clips of a card whose option ``csv`` names a table inside ``root``."""
    if "csv" not in card.options:
        raise CardError(f"{card.name}: a task of module 'table' needs options: {{csv: FILE}}")
    table = locate(root, str(card.options["csv"]), card=card)
    extra = [str(name) for name in card.options.get("extra", ())]
    manifest = readers.from_csv(
        table, root=root, name=card.dataset, extra=extra, labels=card.labels or ()
    )
    names = manifest.class_names
    if card.labels is not None and manifest.target in ("single", "multi"):
        for label in names:
            check_label(card, label, table)
        names = tuple(card.labels)
    return replace(manifest, class_names=names, expected=card.counts.get("clips"))
