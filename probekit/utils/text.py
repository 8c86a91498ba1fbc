"""Short texts for messages."""

from collections.abc import Sequence


def summarize_ids(ids: Sequence[str], limit: int = 5) -> str:
    """Return the first ``limit`` ids in quotation marks, and how many more there are."""
    text = ", ".join(repr(clip_id) for clip_id in ids[:limit])
    return text + (f" and {len(ids) - limit} more" if len(ids) > limit else "")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
