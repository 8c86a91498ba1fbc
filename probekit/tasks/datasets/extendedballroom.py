"""Extended Ballroom: 4,180 excerpts of 30 s in 13 dances, of which many are alike."""

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import check_label, to_manifest
from probekit.tasks.standin.writer import StandInWriter
from probekit.utils.text import summarize_ids

OPTIONS = ()
_SONGS = "extendedballroom_v1.1.xml"
_LINKS = ("version", "exact", "time", "karaoke")  # children that name another song's id


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the excerpts; a group is the songs that are joined by links.

    A link says that a song is another version, an exact or time-stretched duplicate or the karaoke
    version of another one. A group is named after the lowest id in it; songs without links have
    none.
    """
    table = locate(root, _SONGS, card=card)
    songs: dict[str, str] = {}
    links = []
    for dance in _parse(table):
        check_label(card, dance.tag, table)
        for song in dance:
            number = song.get("id", "")
            if not number:
                raise DataError(f"{table}: a <{song.tag}> without an id in <{dance.tag}>")
            if number in songs:
                raise DataError(f"{table}: song {number} is listed twice")
            songs[number] = dance.tag
            links += [(number, _linked_song(table, number, child)) for child in song]
    unlisted = sorted({other for _, other in links} - set(songs))
    if unlisted:
        raise DataError(
            f"{table}: links to songs that it does not list: {summarize_ids(unlisted)}. It is "
            "incomplete: get the original file again"
        )
    groups = _join(links)
    clips = [
        {
            "clip_id": number,
            "path": f"{dance}/{number}.mp3",
            "group": groups.get(number, ""),
            "labels": (dance,),
        }
        for number, dance in songs.items()
    ]
    return to_manifest(card, clips, root, table)


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write the layout: the songs' file with links between some, and a folder for each dance."""
    assert card.labels is not None
    n_dances = min(len(card.labels), max(2, writer.clips // 16))  # each is in ten folds
    lines = ["<ballroom>"]
    for label, dance in enumerate(card.labels):
        lines.append(f"  <{dance}>")
        numbers = [100601 + k for k in range(label, writer.clips, n_dances) if label < n_dances]
        for k, number in enumerate(numbers):
            writer.write_audio(f"{dance}/{number}.mp3", [label], seconds=1.5, sr=22050)
            facts = {
                "album": "Ballroom Magic",
                "artist": f"Artist {k} & Friends",
                "bpm": str(84 + label),
                "id": str(number),
                "title": f"Song {number}",
                "hash": f"{number:032x}",
            }
            song = " ".join(f"{name}={quoteattr(text)}" for name, text in facts.items())
            if k % 5 == 1:  # one in five repeats the song before it
                link = _LINKS[k // 5 % len(_LINKS)]
                voiced = ' voiced="yes"' if link == "karaoke" else ""
                child = f'<{link} id="{numbers[k - 1]}"{voiced}/>'
                lines.append(f"    <song {song}>\n    \t{child}\n    </song>")
            else:
                lines.append(f"    <song {song}/>")
        lines.append(f"  </{dance}>")
    writer.write_text(_SONGS, "\n".join([*lines, "  </ballroom>", ""]))


def _parse(table: Path) -> ElementTree.Element:
    """Return the root of the songs' file."""
    try:
        ballroom = ElementTree.parse(table).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"{table}: not XML: {error}; get the original file again") from error
    except OSError as error:
        raise DataError(f"{table}: cannot be read: {error.strerror}") from error
    if ballroom.tag != "ballroom":
        raise DataError(f"{table}: its root is <{ballroom.tag}>; expected <ballroom>")
    return ballroom


def _linked_song(table: Path, number: str, link: ElementTree.Element) -> str:
    """Return the id that a song is linked to."""
    if link.tag not in _LINKS or not link.get("id"):
        raise DataError(
            f"{table}: song {number} has a <{link.tag}>; expected {', '.join(_LINKS)}, with an id"
        )
    return str(link.get("id"))


def _join(links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the lowest id that each linked id is joined with, over any number of links."""
    leader: dict[str, str] = {}

    def find(song: str) -> str:
        while leader.setdefault(song, song) != song:
            leader[song] = leader[leader[song]]  # halve the path
            song = leader[song]
        return song

    for pair in links:
        low, high = sorted(map(find, pair))
        leader[high] = low
    return {song: find(song) for song in leader}
