"""Values that JSON has."""

import math
from typing import Any


def replace_nonfinite(value: Any) -> Any:
    """Return a value with None for NaN and infinity, in lists and dicts as well."""
    if isinstance(value, dict):
        return {key: replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
