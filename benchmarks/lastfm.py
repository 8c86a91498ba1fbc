"""Factors of real play counts: held-out cells, stability over seeds, neighbors, tags.

``python -m benchmarks.lastfm DATA [--implicit PYTHON]``, where ``DATA`` is hetrec2011-lastfm-2k
(1,892 users, 17,632 artists, 92,834 play counts, tags), and ``PYTHON`` an interpreter that has
``implicit``.
"""

import argparse
import re
import subprocess
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse

import probekit
from benchmarks.timing import table
from probekit.cache.import_export import import_arrays
from probekit.data import readers
from probekit.targets import als, ranking
from probekit.targets.logs import ListeningLogs, read_logs

SEEDS, LAMBDAS, FACTORS, NEAREST, TAGS = (0, 1, 2), (0.1, 1.0, 10.0, 100.0), 40, 10, 20
_IMPLICIT = """
import sys, numpy, scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares
counts = scipy.sparse.load_npz(sys.argv[1])
model = AlternatingLeastSquares(factors=int(sys.argv[2]), random_state=int(sys.argv[3]))
model.fit(counts, show_progress=False)
numpy.savez(sys.argv[4], users=model.user_factors, items=model.item_factors)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--implicit", default="", metavar="PYTHON")
    arguments = parser.parse_args()
    logs = read_logs(arguments.data / "user_artists.dat").without_rare(5, 5)
    print(f"{len(logs.users):,} users, {len(logs.items):,} artists, {logs.counts.nnz:,} counts\n")
    held_out_cells(logs, arguments.implicit)
    factors = stability(logs)
    names = pd.read_csv(arguments.data / "artists.dat", sep="\t", dtype=str).set_index("id")["name"]
    nearest_artists(logs, factors[100.0, 0], names)
    tags(logs, factors, names, arguments.data)


def fit(counts: scipy.sparse.csr_matrix, regularization: float, seed: int) -> als.Factors:
    """Return balanced factors."""
    added = als.confidence(counts)
    return als.balance(als.factorize(added, FACTORS, regularization, seed=seed))


def held_out_cells(logs: ListeningLogs, interpreter: str) -> None:
    """Print nDCG@100 of a tenth of each user's artists."""
    seen, held_out = ranking.hold_out_cells(logs.counts, seed=0)

    def score(function: ranking.ScoreItems) -> np.ndarray:
        return ranking.ndcg(held_out, function, seen)

    popularity = score(ranking.constant_scores(seen.getnnz(axis=0)))
    rows: list[tuple[object, ...]] = [
        ("order", "nDCG@100 by seed", "mean", "over popularity, 95 %")
    ]

    def add(name: str, values: list[np.ndarray]) -> None:
        difference = np.mean(values, axis=0) - popularity
        error = 1.96 * difference.std(ddof=1) / np.sqrt(len(difference))
        seeds = ", ".join(f"{value.mean():.4f}" for value in values)
        mean = np.mean([value.mean() for value in values])
        interval = f"+{difference.mean():.4f} ± {error:.4f}" if values[0] is not popularity else ""
        rows.append((name, seeds, f"{mean:.4f}", interval))

    add("popularity", [popularity])
    for regularization in LAMBDAS:
        fits = [fit(seen, regularization, seed) for seed in SEEDS]
        values = [score(ranking.factor_scores(f.users, f.items)) for f in fits]
        add(f"lambda {regularization:g}", values)
    if interpreter:
        values = [score(_run_implicit(interpreter, seen, seed)) for seed in SEEDS]
        add("implicit 0.7.3, called plainly", values)
    table(f"Held-out cells of {len(popularity):,} users", rows)


def _run_implicit(
    interpreter: str, counts: scipy.sparse.csr_matrix, seed: int
) -> ranking.ScoreItems:
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder) / "counts.npz", Path(folder) / "factors.npz"
        scipy.sparse.save_npz(inputs, counts)
        command = [interpreter, "-c", _IMPLICIT, inputs, str(FACTORS), str(seed), outputs]
        subprocess.run(command, check=True)
        with np.load(outputs) as file:
            return ranking.factor_scores(file["users"], file["items"])


def _neighbors(items: np.ndarray, count: int) -> np.ndarray:
    """Return the nearest rows of each row by cosine, nearest first."""
    unit = items / np.linalg.norm(items, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1)[:, :count]


def stability(logs: ListeningLogs) -> dict[tuple[float, int], als.Factors]:
    """Print how many of the nearest artists two seeds share; return all factors."""
    well_known = logs.counts.getnnz(axis=0) >= 50
    rows: list[tuple[object, ...]] = [
        ("lambda", f"shared of {NEAREST} nearest", "of artists with 50 listeners", "sweeps")
    ]
    factors = {}
    for regularization in LAMBDAS:
        for seed in SEEDS:
            factors[regularization, seed] = fit(logs.counts, regularization, seed)
        near = [_neighbors(factors[regularization, seed].items, NEAREST) for seed in SEEDS]
        shared = np.mean(
            [
                [len(set(a) & set(b)) / NEAREST for a, b in zip(*pair, strict=True)]
                for pair in combinations(near, 2)
            ],
            axis=0,
        )
        sweeps = [len(factors[regularization, seed].losses) for seed in SEEDS]
        rows.append(
            (
                f"{regularization:g}",
                f"{shared.mean():.2f}",
                f"{shared[well_known].mean():.2f}",
                sweeps,
            )
        )
    table(f"Stability over {len(SEEDS)} seeds, {well_known.sum()} artists with 50 listeners", rows)
    return factors


def nearest_artists(logs: ListeningLogs, factors: als.Factors, names: pd.Series) -> None:
    """Print the 20 nearest artists of the ten with the most listeners."""
    labels = names.reindex(logs.items).to_numpy(str)
    near = _neighbors(factors.items, 20)
    most = np.argsort(-logs.counts.getnnz(axis=0))[:10]
    rows = [("artist", "nearest"), *((labels[k], ", ".join(labels[near[k]])) for k in most)]
    table("The 20 nearest of the ten artists with the most listeners, lambda 100, seed 0", rows)


def _group(name: str) -> str:
    """Return what spellings and guests of an artist share."""
    text = re.split(r"\s+(?:feat|ft|featuring|vs|with|&|and|y|e)\b\.?|[,;/]", name.lower())[0]
    return re.sub(r"[^\w]", "", re.sub(r"^the\s+", "", text)) or name


def tags(
    logs: ListeningLogs,
    factors: dict[tuple[float, int], als.Factors],
    names: pd.Series,
    data: Path,
) -> None:
    """Print a linear probe from factors to tags, beside one of popularity alone."""
    given = pd.read_csv(data / "user_taggedartists.dat", sep="\t", dtype=str)
    words = pd.read_csv(data / "tags.dat", sep="\t", dtype=str, encoding="latin-1")
    given["tag"] = given["tagID"].map(words.set_index("tagID")["tagValue"])
    users = given.groupby(["artistID", "tag"])["userID"].nunique()
    users = users[users >= 2].reset_index()  # one user's tag may be a slip
    users = users[users["artistID"].isin(logs.items)]
    common = users["tag"].value_counts().index[:TAGS]
    labels = users[users["tag"].isin(common)].groupby("artistID")["tag"].agg(";".join)
    place = {item: row for row, item in enumerate(logs.items)}
    rows = [place[item] for item in labels.index]
    clips = pd.DataFrame(
        {
            "clip_id": [f"artist-{item}" for item in labels.index],
            "labels": labels.to_numpy(),
            "group": [_group(str(names[item])) for item in labels.index],
        }
    )
    results: list[tuple[object, ...]] = [
        ("embedding", "numbers", "PR-AUC (macro)", "95 % interval")
    ]
    with tempfile.TemporaryDirectory() as folder:
        manifest, cache = Path(folder) / "tags.csv", Path(folder) / "cache"
        clips.to_csv(manifest, index=False)
        read = readers.from_csv(manifest, name="tags", need_path=False)
        listeners, plays = logs.counts.getnnz(axis=0), np.asarray(logs.counts.sum(0)).ravel()
        features = {"popularity": np.log(np.column_stack([listeners, plays]))}
        features |= {
            f"lambda-{value:g}-seed-{seed}": f.items
            / np.linalg.norm(f.items, axis=1, keepdims=True)
            for (value, seed), f in factors.items()
            if value == 100 or not seed
        }
        for name, matrix in features.items():
            np.save(Path(folder) / f"{name}.npy", matrix[rows])
            arrays = [Path(folder) / f"{name}.npy"]
            import_arrays(name, read, arrays, cache=cache, dataset="tags")
            [run] = probekit.evaluate(
                str(manifest), [name], cache=cache, reports=Path(folder) / "reports"
            )
            interval = f"{run['interval']['low']:.3f} – {run['interval']['high']:.3f}"
            results.append((name, matrix.shape[1], f"{run['score']:.3f}", interval))
        chance = clips["labels"].str.split(";").map(len).sum() / (len(clips) * len(common))
    groups = clips["group"].nunique()
    table(
        f"{TAGS} tags of {len(clips):,} artists in {groups:,} groups, chance {chance:.3f}; "
        f"tags: {', '.join(common)}",
        results,
    )


if __name__ == "__main__":
    main()
