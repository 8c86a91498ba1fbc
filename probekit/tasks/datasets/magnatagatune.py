"""MagnaTagATune: 25,863 clips of 29 s in 16 folders, with tags that players of a game agreed on."""

import csv
from pathlib import Path

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.data.readers import check_spreadsheet_ids
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import read_table, to_manifest
from probekit.tasks.standin.writer import StandInWriter

OPTIONS = ("tagged_only",)
_TAGS, _INFO = "annotations_final.csv", "clip_info_final.csv"
_SPLITS = {**dict.fromkeys("0123456789ab", "train"), "c": "valid", **dict.fromkeys("def", "test")}
_INFO_COLUMNS = (
    *("clip_id", "track_number", "title", "artist", "album", "url"),
    *("segmentStart", "segmentEnd", "original_url", "mp3_path"),
)
# columns of the official file beside the fifty most frequent tags
_OTHERS = """
    acoustic, acoustic guitar, airy, arabic, banjo, baroque, bass, bells, birds, blues, bongos,
    calm, celtic, chant, chanting, chimes, chorus, clapping, clarinet, clasical, classical
    guitar, dark, deep, different, disco, drone, drum, duet, eastern, echo, eerie, electric,
    electric guitar, electro, electronica, english, fast beat, female opera, female singer,
    female singing, female vocals, fiddle, flutes, folk, foreign, funk, funky, girl, guitars,
    happy, hard, hard rock, harpsicord, heavy, heavy metal, hip hop, horn, horns, house, india,
    industrial, instrumental, irish, jazz, jazzy, jungle, keyboard, light, lol, low, lute, male
    opera, male singer, male vocals, man singing, medieval, mellow, men, middle eastern, modern,
    monks, no beat, no drums, no flute, no guitar, no piano, no singer, no singing, no strings,
    no violin, no voices, noise, not classical, not english, not opera, not rock, oboe, old,
    operatic, orchestra, orchestral, organ, oriental, percussion, piano solo, plucking, punk,
    quick, rap, reggae, repetitive, sad, sax, scary, silence, singer, soft rock, soprano, space,
    spacey, spanish, strange, string, synthesizer, talking, trance, tribal, trumpet, upbeat,
    viola, violins, voices, water, wind, woman singing, women, woodwind, world
"""


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the annotated clips, split by their folder; a group is one artist.

    The tags are looked up by their names: three pairs of the fifty are equally frequent, so their
    order differs between lists. The option ``tagged_only`` leaves out the clips that have none of
    the card's tags. Corrupt recordings (the card's ``known_bad``) are never among the clips.
    """
    assert card.labels is not None
    table = locate(root, _TAGS, card=card)
    info = locate(root, _INFO, card=card)
    folder = _audio_folder(table.parent)
    artists = {
        row["clip_id"]: row["artist"]
        for row in read_table(info, ("clip_id", "artist"), delimiter="\t")
    }
    annotations = read_table(table, ("clip_id", *card.labels, "mp3_path"), delimiter="\t")
    check_spreadsheet_ids(table, (row["clip_id"] for row in annotations))
    clips = []
    for row in annotations:
        clip_id, path = row["clip_id"], row["mp3_path"]
        if clip_id in card.known_bad:
            continue
        tags = tuple(tag for tag in card.labels if _is_set(table, row, tag))
        if card.options.get("tagged_only", False) and not tags:
            continue
        if path[1:2] != "/" or path[0] not in _SPLITS:
            raise DataError(
                f"{table}: clip {clip_id}: mp3_path must be in a folder 0-9 or a-f, got {path!r}"
            )
        if clip_id not in artists:
            raise DataError(
                f"{info}: no row for clip {clip_id} of {_TAGS}, so its artist is not known: get "
                "the original files again"
            )
        clips.append(
            {
                "clip_id": clip_id,
                "path": folder + path,
                "split": _SPLITS[path[0]],
                "group": artists[clip_id],
                "labels": tags,
            }
        )
    return to_manifest(card, clips, root, table, target="multi")


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write the layout: both tables with tabs and quotes, and the 16 folders.

    As in the dataset, some clips have no tag, some rows of the clips' table no recording, one
    recording that the card calls corrupt is empty, and one artist is in two splits.
    """
    assert card.labels is not None
    n_tags = min(len(card.labels), max(3, writer.clips // 12))
    others = [" ".join(tag.split()) for tag in _OTHERS.split(",")]
    columns = sorted([*card.labels, *others])
    annotated, info = [], []
    for k in range(writer.clips):
        folder, number = f"{k % 16:x}", k // 16
        artist = "Crossing Artist" if k in (11, 12) else f"Artist {folder}{number // 3}"
        tags = {card.labels[(k + number) % n_tags]}
        if writer.rng.random() < 0.3:
            tags.add(card.labels[int(writer.rng.integers(n_tags))])
        if k % 24 == 20:
            tags = set()
        name = artist.lower().replace(" ", "_")
        path = f"{folder}/{name}-some_album-{number + 1:02d}-some_title-30-59.mp3"
        clip_id = str(2 + 4 * k)
        writer.write_audio(path, sorted(map(card.labels.index, tags)), seconds=1.5, sr=16000)
        annotated.append([clip_id, *(int(tag in tags) for tag in columns), path])
        info.append(_info_row(clip_id, artist, number + 1, path))
    bad = next(iter(card.known_bad))
    path = "6/corrupt_artist-some_album-01-some_title-117-146.mp3"
    writer.write_text(path, "")
    annotated.append([bad, *(int(tag == card.labels[0]) for tag in columns), path])
    info += [_info_row(bad, "Corrupt Artist", 1, path), _info_row("215", "Artist 00", 1, "")]
    quoted = csv.QUOTE_ALL
    header = ["clip_id", *columns, "mp3_path"]
    writer.write_table(_TAGS, annotated, header=header, delimiter="\t", quoting=quoted)
    writer.write_table(_INFO, info, header=_INFO_COLUMNS, delimiter="\t", quoting=quoted)


def _audio_folder(root: Path) -> str:
    """Return where the 16 folders are: beside the tables, or in a folder ``mp3``."""
    in_mp3 = not (root / "0").is_dir() and (root / "mp3" / "0").is_dir()
    return "mp3/" if in_mp3 else ""


def _is_set(table: Path, row: dict[str, str], tag: str) -> bool:
    """Tell whether a clip has a tag."""
    if row[tag] not in ("0", "1"):
        raise DataError(
            f"{table}: clip {row['clip_id']}, column {tag!r} must be 0 or 1, got {row[tag]!r}"
        )
    return row[tag] == "1"


def _info_row(clip_id: str, artist: str, track: int, path: str) -> list[object]:
    """Return a row of the clips' table."""
    url = "http://www.magnatune.com/artists/albums/some-album/"
    return [clip_id, track, "Some Title", artist, "Some Album", url, 30, 59, "", path]
