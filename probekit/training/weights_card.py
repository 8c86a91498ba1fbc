"""The card of a network that was trained from weak labels: data, counts, sampler, seed, scores."""

from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.extractors.students.base import Student
from probekit.extractors.weights.trained_files import write_trained
from probekit.metrics import metrics
from probekit.tasks.splits import Split
from probekit.training.run_config import RunConfig
from probekit.training.state import TrainingHistory

_METRICS = {"mAP": "pr-auc", "mAUC": "roc-auc", "d_prime": "d-prime"}
TITLES = {"talnet": "TALNet", "weanet": "WEANet"}


def describe_training(
    config: RunConfig, split: Split, history: TrainingHistory, scores: Array
) -> dict[str, Any]:
    """Return the card of a trained network as plain values.

    Parameters
    ----------
    config : RunConfig
        The run.
    split : Split
        Its fold.
    history : TrainingHistory
        Scores of every epoch.
    scores : numpy.ndarray, shape (test clips, classes)
        Scores of the test clips.

    Returns
    -------
    dict
        Among others ``note``, which must stand wherever there are numbers of this network.
    """
    task, recipe = config.task, config.recipe
    network = task.network.partition(":")[0]
    targets = task.targets[split.test]
    values = {
        key: metrics.get_metric(name).score(targets, scores) for key, name in _METRICS.items()
    }
    counts = (task.targets[split.train] > 0.5).sum(0)
    best = history.epochs[history.best_epoch - 1] if history.best_epoch else {}
    title = TITLES.get(network, network)
    sampler = "one clip of each class in turn" if recipe.sampler == "rounds" else "each clip once"
    scored = int((np.nansum(targets, axis=0) > 0).sum())
    classes = "" if scored == targets.shape[1] else f" ({scored:,} of {targets.shape[1]:,} classes)"
    note = (
        f"our training of {title}, mAP {values['mAP']:.3f} on {len(split.test):,} clips of "
        f"{task.card.name}{classes}, trained on {len(split.train):,} (recipe {recipe.name}, seed "
        f"{config.seed})"
    )
    own = [*config.training_notes, *config.persistent_notes([history])]
    return {
        "note": "; ".join([note, *own]),
        "network": network,
        "student": task.network,
        "task": task.card.name,
        "dataset": task.card.dataset,
        "classes": list(task.clips.class_names),
        "clips": {
            "listed": max(task.n_expected_clips, len(task.all_clips) + len(task.all_clips.absent)),
            "with_audio": len(task.clips),
            "trained": len(split.train),
            "validated": len(split.valid),
            "scored": len(split.test),
        },
        "class_counts": [int(count) for count in counts],
        "unscored": config.unscored_class_notes(),
        "sampler": sampler,
        "recipe": recipe.facts(),
        "seed": config.seed,
        "epoch": history.best_epoch,
        "epochs": len(history.epochs),
        "valid_score": best.get("valid_score"),
        "scores": {key: _finite(value) for key, value in values.items()},
        "run": config.id,
    }


def save_official_weights(folder: Path, student: Student, facts: dict[str, Any]) -> Path | None:
    """Write the weights as the extractor of the same name takes them, if it can.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the run.
    student : Student
        The trained network.
    facts : dict
        From :func:`describe_training`.

    Returns
    -------
    pathlib.Path or None
        The file; None for a network of another size or pooling.
    """
    official = student.official_weights()
    if official is None:
        return None
    name, state, bundles = official
    path = folder / name
    write_trained(path, state, {**facts, "bundles": list(bundles)})
    return path


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
