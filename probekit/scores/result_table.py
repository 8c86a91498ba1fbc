"""The stored results as a table."""

from pathlib import Path

import pandas as pd

from probekit.metrics.intervals import interval_ends
from probekit.scores import store
from probekit.scores.staleness import find_stale

_COLUMNS = (
    "task", "embedding", "probe", "fraction", "seed", "metric", "score", "low", "high",
    "interval_method", "spread", "clips", "of", "provenance", "created", "run", "stale",
)  # fmt: skip


def results(reports: str | Path | None = None, task: str = "") -> pd.DataFrame:
    """Load the stored results as a table.

    Parameters
    ----------
    reports : str or pathlib.Path, optional
        The reports folder that :func:`probekit.evaluate` and :func:`probekit.distill` wrote to;
        ``PROBEKIT_REPORTS``, else ``reports/out`` by default.
    task : str
        Name of a task, to load its results only.

    Returns
    -------
    pandas.DataFrame
        One row a run, by task, best first; empty if there are no results. Columns: ``task``,
        ``embedding``, ``probe``, ``fraction`` (share of the training labels, from 0 to 1),
        ``seed``, ``metric``, ``score`` (mean over folds), ``low`` and ``high`` (95 % interval; NaN
        where there is none), ``interval_method`` (how it was computed, or why there is none),
        ``spread`` (standard deviation over folds), ``clips`` (clips used), ``of`` (clips of the
        task), ``provenance`` (notes to be shown beside the score), ``created``, ``run`` (id) and
        ``stale`` (why a run does not count any more; empty if it does. Stale runs come last).

    Warns
    -----
    UserWarning
        If results cannot be read, for example of another format version; they are left out.

    See Also
    --------
    probekit.evaluate : Score probes on embeddings.
    probekit.compare : Test whether two runs differ.

    Examples
    --------
    >>> import probekit
    >>> from probekit.tasks.standin.corpus import write_corpus
    >>> _ = write_corpus("corpus", clips=24)
    >>> _ = probekit.extract("melstats", task="synth", root="corpus")
    >>> _ = probekit.evaluate("synth", "melstats", probe="knn")
    >>> table = probekit.results()
    >>> table[["task", "embedding", "probe", "metric", "clips", "provenance"]]
        task embedding probe    metric  clips        provenance
    0  synth  melstats   knn  accuracy     24  synthetic corpus
    """
    runs = store.list_results(reports, task)
    stale = find_stale(runs)
    runs.sort(key=lambda run: (run[1]["task"], run[0] in stale, _rank(run[1])))
    notes = store.shown_notes([result for _, result in runs])
    rows = [
        {
            **{key: r.get(key) for key in _COLUMNS if key in r},
            **dict(zip(("low", "high"), interval_ends(r["interval"]), strict=True)),
            "interval_method": r["interval"]["method"],
            "clips": r["clips"]["used"],
            "of": r["clips"]["of"],
            "provenance": "; ".join(listed),
            "stale": stale.get(path, ""),
        }
        for (path, r), listed in zip(runs, notes, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _rank(result: store.Result) -> float:
    """Return the key that sorts the best score first."""
    return -result["score"] if store.higher_is_better(result) else result["score"]
