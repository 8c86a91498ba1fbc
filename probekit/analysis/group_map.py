"""Map of groups by their topics, and tables of topics: what artist group factors consist of."""

import numpy as np

from probekit.analysis.base import filename_stem
from probekit.analysis.projection import Projection
from probekit.targets.artist_groups import ArtistGroups, most_likely_words, typical_groups

_WORDS, _GROUPS = 20, 20  # in the table of topics


def map_groups(groups: ArtistGroups) -> Projection:
    """Place groups in a plane by their topics, colored by the largest one.

    The plane is that of the first two principal components of the square roots of proportions,
    whose distances are Hellinger's.
    """
    roots = np.sqrt(groups.proportions)
    centered = roots - roots.mean(0)
    left, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    points = np.zeros((len(roots), 2))
    points[:, : min(2, left.shape[1])] = (left * sizes)[:, :2]
    facts = groups.targets.provenance
    largest = groups.proportions.argmax(1)
    topics = sorted(set(largest.tolist()))
    return Projection(
        kind="classes",
        points=points,
        names=groups.group_names,
        group=np.searchsorted(topics, largest),
        groups=tuple(f"topic {topic + 1}" for topic in topics),
        axes=("first component", "second component"),
        color_text="Colors are the topics of the largest proportion",
        origin={"targets": facts},
        choices={"method": "pca"},
        title=f"the topics of {len(groups.group_names):,} groups of {facts['task']}",
        provenance=groups.notes,
        name=filename_stem("group-map", facts["task"], str(facts["features"]["from"])),
    )


def tabulate_topics(groups: ArtistGroups) -> list[dict[str, object]]:
    """Return a row for each topic: share, most likely words, and typical groups."""
    return [
        {
            "topic": topic + 1,
            "share": float(groups.proportions[:, topic].mean()),
            "words": "; ".join(f"{w} {p:.3f}" for w, p in most_likely_words(groups, topic, _WORDS)),
            "groups": "; ".join(f"{g} {p:.3f}" for g, p in typical_groups(groups, topic, _GROUPS)),
        }
        for topic in range(groups.proportions.shape[1])
    ]


def tabulate_groups(groups: ArtistGroups) -> list[dict[str, object]]:
    """Return a row for each group: clips and proportions of the topics."""
    return [
        {
            "group": name,
            "clips": int(count),
            **{f"topic {k + 1}": float(share) for k, share in enumerate(shares)},
        }
        for name, count, shares in zip(
            groups.group_names, groups.clip_counts, groups.proportions, strict=True
        )
    ]
