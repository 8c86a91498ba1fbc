"""Count words in identifiers that say nothing about what is named.

Run ``python scripts/words.py FOLDER [FOLDER …]``: for each folder the number of identifiers, of those
with a vague word in them, their share per 1,000, and the most frequent ones.
"""

import argparse
import io
import keyword
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

VAGUE = frozenset(
    "found one own said where there here kept given heard wanted whole place settled asked told "
    "made begun theirs ours mine".split()
)
"""Parts of identifiers that are counted: participles, adverbs and pronouns in place of nouns."""


def identifiers(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every identifier of a Python file with its line, as often as it is written."""
    source = path.read_text(encoding="utf-8", errors="replace")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
            yield token.start[0], token.string


def is_vague(name: str) -> bool:
    """Tell whether a part of an identifier, between underscores, is a vague word."""
    return not VAGUE.isdisjoint(name.lower().split("_"))


def count(folder: Path) -> tuple[int, Counter[str]]:
    """Return the number of identifiers below a folder, and how often each vague one occurs."""
    total, vague = 0, Counter[str]()
    for path in sorted(folder.rglob("*.py")):
        for _, name in identifiers(path):
            total += 1
            if is_vague(name):
                vague[name] += 1
    return total, vague


def main() -> None:
    """Print one line a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path)
    for folder in parser.parse_args().folder:
        total, vague = count(folder)
        share = 1000 * vague.total() / max(1, total)
        top = ", ".join(f"{name} {number}" for name, number in vague.most_common(8))
        print(f"{folder}: {total:,} identifiers, {share:.1f} vague per 1,000: {top}")


if __name__ == "__main__":
    main()
