"""Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers."""

import re
from pathlib import Path

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.datasets._files import locate
from probekit.tasks.datasets._tables import check_label, to_manifest
from probekit.tasks.standin.writer import StandInWriter

OPTIONS = ("label",)
NEEDED = ("label",)
_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<index>\d+)\.wav")


def load(card: TaskCard, root: Path | None) -> Manifest:
    """Return the recordings, labeled by the option ``label``: ``digit`` or ``speaker``.

    The official split is by the recording's index: 0 to 4 test, the others train. Folds and
    groups are speakers.
    """
    folder = locate(root, "recordings", card=card)
    label = card.options["label"]
    rows = []
    for path in sorted(folder.glob("*.wav")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise DataError(f"{path}: file names are DIGIT_SPEAKER_INDEX.wav")
        rows.append(
            {
                "clip_id": path.stem,
                "path": f"{folder.name}/{path.name}",
                "split": "test" if int(match["index"]) < 5 else "train",
                "fold": match["speaker"] if label == "digit" else "",
                "group": match["speaker"] if label == "digit" else "",
                "labels": (check_label(card, match[label], folder, path.name),),
            }
        )
    return to_manifest(card, rows, root, folder)


def make_standin(card: TaskCard, writer: StandInWriter) -> None:
    """Write recordings that depend on digit and speaker; half of the indices are test."""
    speakers = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    per_speaker = max(writer.clips // len(speakers), 8)
    digits = max(2, min(10, per_speaker // 4))
    for voice, speaker in enumerate(speakers):
        for k in range(per_speaker):
            digit, index = k % digits, (k // digits * 3) % 10 + k // digits // 10 * 10
            name = f"recordings/{digit}_{speaker}_{index}.wav"
            writer.write_audio(name, [digit, 10 + voice], seconds=0.4, sr=8000)
