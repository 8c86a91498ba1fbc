"""A results store with runs whose predictions are invented, but whose scores follow from them."""

import json

import numpy as np
import pytest


class StoredRuns:
    """Runs of the task ``mine``, stored as the real ones are."""

    def __init__(self, store):
        self.store = store
        self.root = store.root

    def run(self, embedding, scores, targets, *, source=None, **others):
        """Save a run; ``others`` are keys of the result. Returns its id."""
        path = self.store.keep(embedding, scores, targets, source=source, **others)
        return json.loads(path.read_text())["run"]

    def guess(self, embedding, predicted, targets, classes=0, **others):
        """Save a run that predicts these classes."""
        classes = classes or int(max(np.max(predicted), np.max(targets))) + 1
        return self.run(embedding, np.eye(classes)[np.asarray(predicted)], targets, **others)


@pytest.fixture
def kept(results_store):
    return StoredRuns(results_store)
