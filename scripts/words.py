"""Count words in identifiers that say nothing about what is named.

Run ``python scripts/words.py FOLDER [FOLDER …]``: for each folder the number of identifiers, the
share with a vague word in them (per 1,000), and the most frequent of these.
"""

import argparse
import io
import keyword
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

VAGUE = frozenset(
    {
        "asked", "begun", "found", "given", "heard", "here", "kept", "made", "mine", "one", "ours",
        "own", "place", "said", "settled", "theirs", "there", "told", "wanted", "where", "whole",
    }
)  # fmt: skip
"""Parts of identifiers that are counted: participles, adverbs and pronouns in place of nouns."""
TERMS = ("one_hot", "one_vs_rest", "one_class", "one_column")
"""Terms of the field with such a part."""


def identifiers(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every identifier of a Python file with its line, as often as it is written.

    ``np.where`` and ``torch.where`` are functions of other libraries, and left out.
    """
    source = path.read_text(encoding="utf-8", errors="replace")
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        name = token.string
        is_name = token.type == tokenize.NAME and not keyword.iskeyword(name)
        if is_name and (before, name) != (".", "where"):
            yield token.start[0], name
        before = name


def is_vague(name: str) -> bool:
    """Tell whether a part of an identifier, between underscores, is a vague word."""
    text = name.lower()
    for term in TERMS:
        text = text.replace(term, "")
    return not VAGUE.isdisjoint(text.split("_"))


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
        print(  # noqa: T201
            f"{folder}: {total:,} identifiers, {share:.1f} vague per 1,000: {top}"
        )


if __name__ == "__main__":
    main()
