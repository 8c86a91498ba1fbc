"""OpenMIC-2018: 20,000 excerpts of music, each judged for a few of 20 instruments."""

from collections import defaultdict
from pathlib import Path

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import check_label, read_table, to_manifest
from probekit.tasks.standin.writer import StandInWriter

OPTIONS = ("threshold",)
_LABELS = "openmic-2018-aggregated-labels.csv"
_INFO = "openmic-2018-metadata.csv"
_SPLITS = {
    side: (f"partitions/split01_{side}.csv", f"partitions/{side}01.txt")
    for side in ("train", "test")
}
_PLAYING = 4  # instruments of the stand-in


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the excerpts; the instruments that nobody judged are unknown. A group is one artist.

    A clip has an instrument if the relevance is at least the option ``threshold``.
    """
    assert card.labels is not None
    table = locate(root, _LABELS, card=card)
    info = locate(root, _INFO, card=card)
    sides: dict[str, str] = {}
    for side, names in _SPLITS.items():
        path = locate(root, *names, card=card)
        for row in read_table(path, ("sample_key",), header=False):
            if sides.setdefault(row["sample_key"], side) != side:
                raise DataError(
                    f"{path}: excerpt {row['sample_key']} is in the other part, too. Get the "
                    "original lists again"
                )
    artists = {
        row["sample_key"]: row["artist_id"] for row in read_table(info, ("sample_key", "artist_id"))
    }
    judged: dict[str, dict[str, float]] = defaultdict(dict)
    for row in read_table(table, ("sample_key", "instrument", "relevance")):
        key = row["sample_key"]
        name = check_label(card, row["instrument"].replace(" ", "_"), table, key)
        judged[key][name] = _relevance(table, row)
    threshold = float(card.options.get("threshold", 0.5))
    clips = []
    for key, relevance in judged.items():
        for path, known in ((info, artists), (table.parent / "partitions", sides)):
            if key not in known:
                raise DataError(f"{path}: excerpt {key} of {_LABELS} is not there: get it again")
        clips.append(
            {
                "clip_id": key,
                "path": f"audio/{key[:3]}/{key}.ogg",
                "split": sides[key],
                "group": artists[key],
                "labels": tuple(n for n in card.labels if relevance.get(n, 0.0) >= threshold),
                "unknown": tuple(name for name in card.labels if name not in relevance),
            }
        )
    return to_manifest(card, clips, root, table, target="multi")


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write the layout: four instruments play, one or two an excerpt of 0.5 s.

    Of each excerpt, one of the four that does not play and one of the others are judged, too.
    """
    assert card.labels is not None
    playing, silent = card.labels[:_PLAYING], card.labels[_PLAYING:]
    labels: list[tuple[object, ...]] = []
    info, sides = [], defaultdict(list)
    for k in range(max(writer.clips, 12 * _PLAYING)):
        number, first = divmod(k, _PLAYING)
        key = f"{k // 2:06d}_{3840 * (k % 2)}"
        present = [first, (first + 1) % _PLAYING][: 1 + number % 2]
        absent = (first + 2) % _PLAYING
        writer.write_audio(f"audio/{key[:3]}/{key}.ogg", present, seconds=0.5, sr=16000)
        labels += [(key, playing[index], 0.9, 3) for index in present]
        labels += [(key, playing[absent], 0.1, 3), (key, silent[k % len(silent)], 0.0, 3)]
        side = "test" if number % 4 == 3 else "train"
        sides[side].append([key])
        info.append((k // 2, f"{side}-{k // 6}", "Some Artist", key, 3.84 * (k % 2)))
    header = ("sample_key", "instrument", "relevance", "num_responses")
    writer.write_table(_LABELS, labels, header=header)
    columns = ("track_id", "artist_id", "artist_name", "sample_key", "start_time")
    writer.write_table(_INFO, info, header=columns)
    for side, (name, _) in _SPLITS.items():
        writer.write_table(name, sides[side])


def _relevance(table: Path, row: dict[str, str]) -> float:
    """Return how many raters, weighted, say that a clip has an instrument: from 0 to 1."""
    try:
        value = float(row["relevance"])
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise DataError(
            f"{table}: excerpt {row['sample_key']}: relevance must be from 0 to 1, got "
            f"{row['relevance']!r}"
        )
    return value
