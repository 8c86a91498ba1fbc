"""What identifiers, modules and files are called."""

import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "probekit"
sys.path.insert(0, str(ROOT / "scripts"))

import words  # noqa: E402

REPEATED = {"__init__", "__main__", "base"}
NOUNS = {"clustering", "hashing", "locking", "pooling", "ranking", "recording", "scoring", "typing"}
ADVERBS = {"ahead", "alike", "alone", "apart", "aside", "beside", "fewer", "there", "where"}
LIMIT = 2.0  # vague identifiers per 1,000; librosa has 1.2 by the same count


def modules():
    return sorted(p for p in PACKAGE.rglob("*.py") if p.stem not in REPEATED)


def test_no_two_modules_have_one_name():
    """But for twins of the command line: ``cli/extract.py`` calls ``extraction/extract.py``."""
    inner = [p for p in modules() if p.parent.name != "cli"]
    repeated = [name for name, count in Counter(p.stem for p in inner).items() if count > 1]
    assert repeated == []


def test_modules_are_nouns():
    last = {p.stem.split("_")[-1] for p in modules()}
    participles = {word for word in last if word.endswith(("ed", "ing"))} - NOUNS
    assert sorted(participles) == []
    assert sorted(last & ADVERBS) == []


def test_identifiers_say_what_they_name():
    total, vague = words.count(PACKAGE)
    assert 1000 * vague.total() / total < LIMIT, vague.most_common(20)


@pytest.mark.parametrize(
    ("name", "vague"),
    [("found", True), ("found_clips", True), ("own_head", True), ("foundation", False),
     ("owner", False), ("manifest", False)],
)  # fmt: skip
def test_vague_words_are_parts_of_identifiers(name, vague):
    assert words.is_vague(name) is vague


def test_strings_and_keywords_are_no_identifiers(tmp_path):
    (tmp_path / "a.py").write_text('"""found"""\nfor x in "found":  # found\n    found = x\n')
    total, vague = words.count(tmp_path)
    assert (total, dict(vague)) == (3, {"found": 1})
