"""Tests of runs against the best one, kept beside the results: a page of old runs is quick."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from probekit.cache import commit
from probekit.errors import DataError
from probekit.probes import comparison
from probekit.probes.comparison import Comparison
from probekit.probes.entry import Entry
from probekit.probes.statistics import RULES

_TOGETHER = 2  # tests; each takes some hundred MB where there are many classes


def against(best: Entry, others: Sequence[Entry]) -> list[Comparison | str]:
    """Test runs against the best one.

    Parameters
    ----------
    best : Entry
        The best.
    others : sequence of Entry
        Of the same task.

    Returns
    -------
    list of Comparison or str
        The best against each, p-values not adjusted; or why two cannot be compared. What was
        tested before is read from ``<reports>/comparisons/<task>.json``.
    """
    folder = best.paths[0].parent
    path = folder.parent.parent / "comparisons" / f"{folder.name}.json"
    kept = _read(path)
    keys = [_key(best, other) for other in others]
    with ThreadPoolExecutor(_TOGETHER) as pool:  # numpy leaves Python's lock alone meanwhile
        pairs = zip(keys, others, strict=True)
        found = list(pool.map(lambda pair: kept.get(pair[0]) or _tested(best, pair[1]), pairs))
    new = {k: one for k, one in zip(keys, found, strict=True) if isinstance(one, dict)}
    if not new.keys() <= kept.keys():
        with suppress(OSError):  # of a store that cannot be written, tests are made anew
            path.parent.mkdir(parents=True, exist_ok=True)
            commit.commit_text(path, json.dumps({**kept, **new}, indent=1, ensure_ascii=False))
    return [
        one
        if isinstance(one, str)
        else Comparison(**{**one, "first": best.label, "second": other.label})
        for one, other in zip(found, others, strict=True)
    ]


def _tested(best: Entry, other: Entry) -> dict[str, Any] | str:
    """Return a test, or why two cannot be compared."""
    try:
        return asdict(comparison.among([best, other])[0])
    except DataError as error:
        return str(error)


def _key(best: Entry, other: Entry) -> str:
    """Return the name of a test: SHA-256 of the runs, when they were made, and how it is done."""
    runs = [[[r["run"], r["created"], r["metric"]] for r in e.results] for e in (best, other)]
    how = [version("probekit"), RULES]
    return hashlib.sha256(json.dumps([runs, how]).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """Return the tests that are kept; none where the file is not what it should be."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        fields = set(Comparison.__dataclass_fields__)
        return {key: one for key, one in kept.items() if set(one) == fields}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
