"""Logs with planted taste groups."""

import numpy as np
import pytest

USERS, SONGS, GROUPS = 120, 90, 3


@pytest.fixture(scope="session")
def plays():
    """Lines of user, song and count; users play songs of their own group most."""
    rng = np.random.default_rng(0)
    return [
        f"u{u}\ts{s}\t{rng.integers(1, 9)}"
        for u in range(USERS)
        for s in range(SONGS)
        if rng.random() < (0.5 if u % GROUPS == s % GROUPS else 0.05)
    ]


@pytest.fixture
def logs(tmp_path, plays):
    path = tmp_path / "plays.tsv"
    path.write_text("\n".join(plays) + "\n")
    return path


@pytest.fixture
def items(tmp_path):
    """Each song is a clip; two songs an artist; a song that nobody plays."""
    rows = [f"s{s},c{s},artist {s // 2}" for s in range(SONGS)]
    path = tmp_path / "items.csv"
    path.write_text("\n".join(["item,clip,artist", *rows, "unplayed,c999,artist 999"]))
    return path
