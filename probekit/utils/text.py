"""Short texts for messages."""

from collections.abc import Sequence


def join_names(names: Sequence[str], limit: int) -> str:
    """Return the first ``limit`` names with commas between them, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def summarize_ids(ids: Sequence[str], limit: int = 5) -> str:
    """Return the first ``limit`` ids in quotation marks, and how many more there are."""
    return join_names([repr(clip_id) for clip_id in ids], limit)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
