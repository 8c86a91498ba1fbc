"""Write the reference of ``probekit doctor``: numbers of every extractor for a test wave.

Needed when an extractor is added or the version of its card rises::

    python scripts/make_selftest.py [FILE]

Check the diff before you commit it: a number that changed without a new version of its card is a
bug.
"""

import argparse
import json
from pathlib import Path

from probekit import cards
from probekit.extractors import selftest


def write_reference(path: Path) -> None:
    """Run every extractor, large ones as well, and write what it computes."""
    reference = {
        name: {
            "version": cards.load_extractor_card(name).version,
            "streams": selftest.compute_reference(name),
        }
        for name in cards.card_paths("extractors")
    }
    path.write_text(json.dumps(reference, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=selftest.FILE)
    write_reference(parser.parse_args().file)
