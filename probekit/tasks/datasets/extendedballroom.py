"""Extended Ballroom: 4,180 excerpts of 30 s in 13 dances, of which many are alike."""

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from probekit.cards import TaskCard
from probekit.data import manifest as manifests
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets._tables import locate
from probekit.tasks.standin.writer import StandInWriter
from probekit.tasks.task import check_labels
from probekit.utils.text import summarize_ids

_SONGS = "extendedballroom_v1.1.xml"
_ALIKE = ("version", "exact", "time", "karaoke")  # children that name another song's id


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the excerpts; a group is the songs that are joined by links of likeness.

    A link says that a song is another version, an exact or time-stretched duplicate or the karaoke
    version of another one. A group is named after the lowest id in it; songs without links have
    none.
    """
    table = locate(root, _SONGS, card=card)
    songs: dict[str, str] = {}
    links = []
    for dance in _parse(table):
        check_labels(card, dance.tag, table)
        for song in dance:
            number = song.get("id", "")
            if not number:
                raise DataError(f"{table}: a <{song.tag}> without an id in <{dance.tag}>")
            if number in songs:
                raise DataError(f"{table}: song {number} is listed twice")
            songs[number] = dance.tag
            links += [(number, _other(table, number, child)) for child in song]
    strange = sorted({other for _, other in links} - set(songs))
    if strange:
        raise DataError(
            f"{table}: links to songs that it does not list: {summarize_ids(strange)}. It is not "
            "the whole file"
        )
    group = _joined(links)
    clips = [
        {
            "clip_id": number,
            "path": f"{dance}/{number}.mp3",
            "group": group.get(number, ""),
            "labels": (dance,),
        }
        for number, dance in songs.items()
    ]
    return manifests.from_rows(
        card.dataset,
        clips,
        root=root,
        names=card.labels,
        expected=card.counts.get("clips"),
        source=table,
    )


def make_standin(card: TaskCard, stage: StandInWriter) -> None:
    """Write the layout: the songs' file with links between some, and a folder for each dance."""
    assert card.labels is not None
    few = min(len(card.labels), max(2, stage.clips // 16))  # ten folds need clips of each dance
    lines = ["<ballroom>"]
    for place, dance in enumerate(card.labels):
        lines.append(f"  <{dance}>")
        numbers = [100601 + k for k in range(place, stage.clips, few)] if place < few else []
        for k, number in enumerate(numbers):
            stage.write_audio(f"{dance}/{number}.mp3", [place], seconds=1.5, rate=22050)
            facts = {
                "album": "Ballroom Magic",
                "artist": f"Artist {k} & Friends",
                "bpm": str(84 + place),
                "id": str(number),
                "title": f"Song {number}",
                "hash": f"{number:032x}",
            }
            song = " ".join(f"{name}={quoteattr(text)}" for name, text in facts.items())
            if k % 5 == 1:  # one in five repeats the song before it
                link = _ALIKE[k // 5 % len(_ALIKE)]
                voiced = ' voiced="yes"' if link == "karaoke" else ""
                child = f'<{link} id="{numbers[k - 1]}"{voiced}/>'
                lines.append(f"    <song {song}>\n    \t{child}\n    </song>")
            else:
                lines.append(f"    <song {song}/>")
        lines.append(f"  </{dance}>")
    stage.text(_SONGS, "\n".join([*lines, "  </ballroom>", ""]))


def _parse(table: Path) -> ElementTree.Element:
    """Return the root of the songs' file."""
    try:
        found = ElementTree.parse(table).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"{table}: not XML: {error}; get the original file again") from error
    except OSError as error:
        raise DataError(f"{table}: cannot be read: {error.strerror}") from error
    if found.tag != "ballroom":
        raise DataError(f"{table}: its root is <{found.tag}>; expected <ballroom>")
    return found


def _other(table: Path, number: str, link: ElementTree.Element) -> str:
    """Return the id that a song is linked to."""
    if link.tag not in _ALIKE or not link.get("id"):
        raise DataError(
            f"{table}: song {number} has a <{link.tag}>; expected are {', '.join(_ALIKE)}, with an "
            "id"
        )
    return str(link.get("id"))


def _joined(links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the lowest id that each linked id is joined with, over any number of links."""
    leader: dict[str, str] = {}

    def find(one: str) -> str:
        while leader.setdefault(one, one) != one:
            leader[one] = leader[leader[one]]  # halve the path
            one = leader[one]
        return one

    for pair in links:
        low, high = sorted(map(find, pair))
        leader[high] = low
    return {one: find(one) for one in leader}
