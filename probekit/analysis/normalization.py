"""Mean-variance normalization of class weights before their cosines (kumar2021, section 5.2)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.errors import DataError

Array = npt.NDArray[Any]
KINDS = ("columns", "rows", "none")
SAID = {
    "columns": "each dimension to mean 0 and variance 1 over the classes of each side",
    "rows": "each row to mean 0 and variance 1",
    "none": "no normalization",
}
_MORE = "dimensions of unlike scale count as resemblance: the test finds more than there is."
WARNED = {
    "columns": "",
    "rows": f" With this normalization, {_MORE}",
    "none": f" Without normalization, {_MORE}",
}


def unit_rows(matrix: Array, names: tuple[str, ...], how: str, what: str) -> Array:
    """Return rows of unit length after mean-variance normalization.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (classes, dim)
        Weights.
    names : tuple of str
        The classes.
    how : {"columns", "rows", "none"}
        Mean 0 and variance 1 of each dimension over the classes, of each row, or nothing.
    what : str
        Whose weights, for errors.

    Returns
    -------
    numpy.ndarray, shape (classes, dim), float64
        Products of two such rows are cosines.

    Raises
    ------
    DataError
        If there is one class only and columns are wanted, or a row is zero.
    """
    rows = np.asarray(matrix, np.float64)
    if how == "columns":
        if len(rows) < 2:
            raise DataError(
                f"{what}: one class cannot be normalized over the classes; use --normalize rows"
            )
        spread = rows.std(axis=0)
        dead = spread <= 1e-9 * np.abs(rows).max(axis=0, initial=0.0)
        rows = np.where(dead, 0.0, (rows - rows.mean(axis=0)) / np.where(dead, 1.0, spread))
    elif how == "rows":
        rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    nothing = length[:, 0] <= 1e-12 * np.abs(matrix).max(initial=0.0)
    if nothing.any():
        raise DataError(
            f"{what}: the weights of {names[int(nothing.argmax())]!r} are zero"
            f"{'' if how == 'none' else ' once normalized'}, and have no direction"
        )
    return rows / length


def varies(rows: Array) -> bool:
    """Tell whether any feature varies, but for rounding.

    Parameters
    ----------
    rows : numpy.ndarray, shape (clips, dim)
        Features.

    Returns
    -------
    bool
        False where all rows are the same.
    """
    low, high = rows.min(axis=0), rows.max(axis=0)
    return not (high - low <= 1e-9 * np.maximum(np.abs(low), np.abs(high))).all()
