"""Runs one after the other: what is finished is not trained again, what was interrupted goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from probekit.errors import ProbekitError
from probekit.parallel import resources
from probekit.scores import staleness, store
from probekit.scores.store import Result
from probekit.tasks import subsample
from probekit.training import folds, run_folder
from probekit.training.run_config import RunConfig
from probekit.training.state import CHECKPOINT
from probekit.utils.suggest import unknown_name_error

Progress = Callable[[str, int, int, str], None]
"""Called with what is counted, how much is done, of how much, and a note."""

PRECISIONS = ("32", "bf16-mixed", "16-mixed")
_IDENTITY = ("distill", "train", "task", "method", "fraction", "seed", "fold")
"""Facts in which an interrupted run agrees with one that may have been meant to resume it."""


def check_options(
    seeds: int, fractions: Sequence[float], device: str, devices: int, precision: str
) -> None:
    """Raise a ProbekitError if an option of a training is out of range or unknown."""
    if seeds < 1:
        raise ProbekitError(f"--seeds must be >= 1, got {seeds}")
    if devices < 1:
        raise ProbekitError(f"--devices must be >= 1, got {devices}")
    if precision not in PRECISIONS:
        raise unknown_name_error("precision", precision, PRECISIONS)
    resources.resolve_device(device)
    for fraction in fractions:
        subsample.check_fraction(fraction)


@dataclass
class Runner:
    """Trains the runs that are not finished, one after the other."""

    reports: Path
    again: bool
    progress: Progress | None
    warn: Callable[[str], None] | None
    has_warned: bool = False  # of a similar interrupted run

    def run_all(self, configs: Sequence[RunConfig]) -> list[Result]:
        """Return the results of runs, in their order; runs of the same settings are one."""
        results: dict[str, Result] = {}
        for config in configs:
            if config.id not in results:
                results[config.id] = self.run(config)
        return [results[config.id] for config in configs]

    def run(self, config: RunConfig) -> Result:
        """Return the result of a run; train first if there is none."""
        paths = config.result_paths(self.reports)
        if self.again or not paths:
            folder = config.student_folders(self.reports)[0]
            self._warn_of_similar_run(config, folder)
            with run_folder.exclusive_lock(folder):
                self._train(config)
            paths = [config.path(self.reports)]
        else:
            task = config.task
            staleness.note_clip_table(self.reports, task.card.name, task.all_clips.digest())
        result = store.load(paths[0])
        if result["embedding"] != config.label and self.warn:
            self.warn(
                f"run {config.id[:12]} already exists, and keeps its name {result['embedding']!r}"
            )
        return result

    def _warn_of_similar_run(self, config: RunConfig, folder: Path) -> None:
        if not self.warn or self.again or self.has_warned:
            return
        facts = {**config.facts, "fold": config.splits[0].name}
        text = run_folder.find_similar_interrupted_run(folder, facts, _IDENTITY)
        if text:
            self.has_warned = True
            self.warn(text)

    def _train(self, config: RunConfig) -> None:
        """Train a run and store its result; a result of the same run with another label goes."""
        share = "" if config.fraction == 1 else f", {100 * config.fraction:g} % of the labels"
        label = f"{config.label}{share}, seed {config.seed}"
        unseen = config.untrained_classes()
        if unseen and self.warn:
            self.warn(
                f"{label}: classes with no training clips, which the student cannot learn: "
                f"{', '.join(unseen)}"
            )
        if self.warn:
            for note in config.unscored_class_notes():
                self.warn(f"{label}: {note}")
        folders = config.student_folders(self.reports)
        for folder in folders if self.again else ():
            run_folder.clear(folder)

        def on_epoch_end(fold_name: str, done: int, total: int, note: str) -> None:
            if self.progress:
                line = label if len(config.splits) == 1 else f"{label}, fold {fold_name}"
                self.progress(line, done, total, note)

        result, arrays = folds.run_folds(config, self.reports, on_epoch_end)
        path = config.path(self.reports)
        store.save(path, result, arrays)
        for other in config.result_paths(self.reports):
            if other != path:
                other.unlink()
                other.with_suffix(".h5").unlink()
        for folder in folders:
            run_folder.clean_up(folder, [CHECKPOINT])
