"""Columns of Arrow, against those that pyarrow makes."""

import numpy as np
import pyarrow as pa
import pytest

from probekit.utils.arrow import list_array, number_array, text_array


@pytest.mark.parametrize("texts", [[], [""], ["a", "", "größer 音", "b" * 300, "\n\0"]])
def test_texts(texts):
    array = text_array(texts)
    array.validate(full=True)
    assert array.equals(pa.array(texts, pa.large_string()))


@pytest.mark.parametrize(
    "values", [[], [0.5], [1, -2, 3], [np.nan] * 9, [0.1, np.nan, -np.inf, 1e300] * 5]
)
def test_numbers(values):
    array = number_array(values)
    array.validate(full=True)
    integers = bool(values) and all(isinstance(value, int) for value in values)
    expected = pa.array(values, pa.int64() if integers else pa.float64(), from_pandas=True)
    assert array.equals(expected)


@pytest.mark.parametrize(
    "rows", [[], [()], [("a",), (), ("b", "ö")], [(1.5, np.nan), (2.0,)], [(), (3, 4)]]
)
def test_lists(rows):
    array = list_array(rows)
    array.validate(full=True)
    numeric = any(not isinstance(value, str) for row in rows for value in row)
    inner = pa.array([v for row in rows for v in row], from_pandas=True).type
    expected = pa.array(
        [list(row) for row in rows], pa.list_(inner if numeric else pa.large_string())
    )
    assert array.type == expected.type
    assert repr(array.to_pylist()) == repr(expected.to_pylist()).replace("nan", "None")
