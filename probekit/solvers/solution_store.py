"""Solutions on the disk, for the processes of an evaluation that fit the same training clips.

When whole folds are held out inside whole folds, the division of fold A without fold B and that of
fold B without fold A have the same training clips.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probekit._typing import Array
from probekit.solvers.problem import Solution
from probekit.utils.atomic import atomic_write

Point = tuple[Array, Array, list[Solution]]  # mean, scale and solutions for one C


@dataclass(frozen=True)
class SolutionStore:
    """Solutions for the same features and targets.

    Attributes
    ----------
    folder : pathlib.Path
        Folder of the files.
    """

    folder: Path

    def load(self, key: str, c: float) -> Point | None:
        """Return mean, scale and solutions for one C, or None if they are not stored."""
        try:
            with np.load(self._path(key, c), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except FileNotFoundError:
            return None
        solutions = [
            Solution(coef, intercept, c, float(gap), int(n_iter))
            for coef, intercept, gap, n_iter in zip(
                *(arrays[name] for name in ("coef", "intercept", "gap", "n_iter")), strict=True
            )
        ]
        return arrays["mean"], arrays["scale"], solutions

    def save(self, key: str, c: float, point: Point) -> None:
        """Store mean, scale and solutions for one C."""
        mean, scale, solutions = point
        coef, intercept, gap, n_iter = (
            np.array([getattr(solution, name) for solution in solutions])
            for name in ("coef", "intercept", "gap", "n_iter")
        )

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez(
                    file,
                    mean=mean,
                    scale=scale,
                    coef=coef,
                    intercept=intercept,
                    gap=gap,
                    n_iter=n_iter,
                )

        atomic_write(self._path(key, c), write, sync=False)

    def _path(self, key: str, c: float) -> Path:
        return self.folder / f"{key}-{float(c)!r}.npz"


def rows_key(rows: Sequence[int] | Array) -> str:
    """Return a name of a set of training clips, by their row numbers."""
    return hashlib.sha256(np.asarray(rows, np.int64).tobytes()).hexdigest()[:32]
