"""Sequential self-teaching: networks of one shape, each taught by labels and by the one before it.

That is the idea of WEANet's training (Kumar and Ithapu, 2020), whose rule, shares and number of
stages are not known here; what is done is ours: stage 0 learns the labels, each further one
``share * labels + (1 - share) * outputs`` of the stage before it, from new random weights, and it
ends where the score on validation clips does not rise.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from probekit.errors import ProbekitError
from probekit.extractors.students.card import read_student_card
from probekit.extractors.students.extractor import student_from_card
from probekit.metrics import metrics
from probekit.scores.store import Result
from probekit.targets.target_file import Targets, write_targets
from probekit.training import dataloader, trainer
from probekit.training.runner import Runner
from probekit.training.state import TrainingJob
from probekit.training.train_config import TrainConfig
from probekit.training.weak_labels import WeakLabels, read_soft_labels

OUTPUTS = "outputs.h5"
"""Target file of a network's outputs for its training clips, in the folder of its run."""
_LEAST = 1e-6  # outputs are no zero vectors


def check_stages(stages: int, share: float, objective: str) -> None:
    """Raise a ProbekitError if options of self-teaching are out of range or without effect."""
    if stages < 1:
        raise ProbekitError(f"--stages must be >= 1, got {stages}")
    if not 0 <= share < 1:
        raise ProbekitError(f"--label-share must be from 0 to below 1, got {share:g}")
    if stages > 1 and objective != "weak-labels":
        raise ProbekitError(f"--stages is for --objective weak-labels, not {objective}")


def run_stages(
    runner: Runner,
    config: TrainConfig,
    stages: int,
    share: float,
    note: Callable[[str], None] | None = None,
) -> list[Result]:
    """Train networks one after the other, and return their results, the best one last.

    Parameters
    ----------
    runner : Runner
        Trains and stores a run; finished ones are read.
    config : TrainConfig
        The first network's.
    stages : int >= 1
        Number of further networks, at most, and the first one.
    share : float, 0 <= share < 1
        Share of the labels in what further networks learn.
    note : callable, optional
        Called with a sentence where the stages end early.
    """
    if stages > 1 and len(config.splits) > 1:
        raise ProbekitError(
            f"--stages needs a task with one split, and {config.task.card.name} has "
            f"{len(config.splits)} folds; train on one of them (--folds)"
        )
    results = [runner.run(config)]
    current = config
    better = metrics.get_metric(config.task.card.metric).higher_is_better
    for stage in range(1, stages):
        path = write_outputs(current, runner.reports)
        soft = read_soft_labels(path, current.task.all_clips, share, stage)
        current = replace(config, soft_labels=soft)
        result = runner.run(current)
        before, after = (_valid_score(r) for r in (results[-1], result))
        rises = after > before if better else after < before
        if not rises:
            if note is not None:
                note(
                    f"stage {stage} does not raise the score on validation clips ({before:.4f} to "
                    f"{after:.4f}): the stages end, and stage {stage - 1} is used"
                )
            return [result, *results] if stage == 1 else [*results[:-1], result, results[-1]]
        results.append(result)
    return results


def write_outputs(config: TrainConfig, reports: Path) -> Path:
    """Write a finished run's outputs for its training clips, whole and clean, as a target file."""
    [folder] = config.student_folders(reports)
    path = folder / OUTPUTS
    if path.exists():
        return path
    task, split = config.task, config.splits[0]
    facts = read_student_card(folder)
    student = student_from_card(facts)
    state = torch.load(folder / facts.weights.file, map_location="cpu", weights_only=True)
    student.load_state_dict(state)
    job = TrainingJob(
        objective=WeakLabels(student),
        streams={},
        recipe=config.recipe,
        metric=metrics.get_metric(task.card.metric),
        target="multi",
        n_classes=len(task.clips.class_names),
        valid=None,
        select="last",
        seed=config.seed,
    )
    rows = task.audio_rows[split.train]
    chunks = dataloader.evaluation_batches(
        task.audio,
        None,
        rows,
        task.crop_length,
        config.recipe.batch_size,
        config.recipe.chunk_policy,
    )
    options = config.trainer
    scores = trainer.predict(job, chunks, rows, device=options.device, precision=options.precision)
    targets = Targets(
        clip_ids=np.array(task.clips.clip_ids)[split.train],
        values=scores.clip(_LEAST, 1).astype(np.float32),
        names=tuple(task.clips.class_names),
        provenance={"outputs of": config.label, "run": config.id},
    )
    write_targets(path, targets)
    return path


def _valid_score(result: Result) -> float:
    score = result["folds"][0]["selected_score"]
    return float("nan") if score is None else float(score)
