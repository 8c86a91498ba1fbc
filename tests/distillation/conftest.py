import hashlib

import numpy as np
import pytest

from probekit.cache import layout, part
from probekit.cards import Protocol, TaskCard
from probekit.extractors.pooling import pool


@pytest.fixture
def songs():
    """A task whose dataset is called songs."""
    return TaskCard(
        name="song-tags",
        title="",
        dataset="songs",
        module="table",
        protocol=Protocol(kind="folds"),
        metric="accuracy",
    )


@pytest.fixture
def teach():
    """Write a teacher's cache: features of clips by their id."""

    def write(
        cache, name, features, grid=None, *, failed=(), frames=True, buckets=3, also=(), streams=(),
        **changes,
    ):  # fmt: skip
        """``features`` are (time, dim) where there is a grid (hop, first centre, window).

        ``also`` names further streams with frames; ``streams`` those that the card has.
        """
        identity = {"extractor": name, "params": {}, "weights": {}, **changes}
        fingerprint = hashlib.sha256(repr(identity).encode()).hexdigest()
        dtype = str(next(iter(features.values())).dtype)
        where = layout.folder(cache, name, fingerprint, "songs")
        settled = layout.Layout(
            name, fingerprint, identity, "songs", buckets, dtype, [f"by {name}"]
        )
        layout.create_or_load_layout(where, settled)
        facts = {
            "extractor": name,
            "fingerprint": fingerprint,
            "identity": identity,
            "card": {"name": name, "default_stream": "e", "streams": {s: {} for s in streams}},
            "weights": {},
            "precision": "float32",
            "dtype": dtype,
            "provenance": {},
        }
        dim = next(iter(features.values())).shape[-1]
        kind = {"kind": "clip", "dim": dim}
        if grid:
            names = ("hop", "first_center", "window")
            kind = {"kind": "frames", "dim": dim, **dict(zip(names, grid, strict=True))}
        kinds = {"e": kind}
        for stream in also:
            kinds[stream] = {"kind": "frames", "dim": dim, "hop": "1/2", "first_center": "1/4",
                             "window": "1/2"}  # fmt: skip
        parts = {}
        own = {"start": np.nan, "end": np.nan, "size": 1, "mtime": 1}
        for clip_id in [*features, *failed]:
            number = layout.bucket(clip_id, buckets)
            content = parts.setdefault(number, part.Part(facts, kinds))
            if clip_id in failed:
                content.failed[clip_id] = {"reason": "broken", **own}
                continue
            values = features[clip_id]
            arrays = {"clip": values}
            if grid:
                arrays = {k: v.astype(dtype) for k, v in pool(values).items()}
                arrays |= {"frames": values} if frames else {}
            made = {"e": arrays}
            for stream in also:
                many = np.repeat(np.atleast_2d(values)[:1], 40, axis=0)
                made[stream] = {k: v.astype(dtype) for k, v in pool(many).items()}
                made[stream]["frames"] = many
            sha256 = hashlib.sha256(clip_id.encode()).hexdigest().encode()
            content.rows[clip_id] = part.Row({**own, "duration": 1.0, "sha256": sha256}, made)
        for number, content in parts.items():
            part.write(where / layout.part_name(number), content)
        return where

    return write
