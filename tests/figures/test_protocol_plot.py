"""The dot plot of an audit."""

from itertools import combinations
from types import SimpleNamespace

import overlap
import pytest

from probekit.analysis.audit import Audit, ProtocolScores
from probekit.figures.protocol_plot import draw_audit
from probekit.probes.evaluation_protocols import PROTOCOLS, TASK


def made(count, names=None, provenance=()):
    """An audit of embeddings that all protocols score the lower, the further down they are."""
    names = names or [f"embedding {k}" for k in range(count)]

    def scores(offset, turn=False):
        groups = []
        for k in range(count):
            score = 0.9 - 0.04 * (count - k if turn else k) - offset
            result = {"metric": "accuracy", "seconds": {"fit": 1.0}}
            groups.append(
                SimpleNamespace(
                    label=names[k],
                    score=score,
                    interval=(score - 0.03, score + 0.03) if k else (float("nan"),) * 2,
                    results=(result,),
                    provenance=list(provenance),
                )
            )
        pairs = [
            SimpleNamespace(difference=a.score - b.score, adjusted=0.01, verdict="first")
            for a, b in combinations(groups, 2)
        ]
        shifts = [SimpleNamespace(difference=-offset)] * count
        return {"groups": tuple(groups), "comparisons": tuple(pairs), "shifts": tuple(shifts)}

    protocols = [ProtocolScores(TASK, "task's own", "", "own", **scores(0))]
    for number, each in enumerate(PROTOCOLS.values(), 1):
        protocols.append(
            ProtocolScores(each.name, each.title, each.source, "", **scores(0.02 * number))
        )
    return Audit("mine", "Mine", "accuracy", tuple(names), tuple(protocols))


@pytest.mark.parametrize("count", [1, 2, pytest.param(5, marks=pytest.mark.slow), 14])
def test_an_audit_can_be_read(count):
    figure = draw_audit(made(count))
    assert overlap.problems(figure) == []
    texts = overlap.texts(figure)
    assert {"task's own", "MTEB, 5 shuffled folds", "labels: 8 a class, C = 1"} <= set(texts)
    assert ("turned" in texts) == (count > 1)


def test_long_names_and_notes():
    names = [
        f"{'openl3:content=music,input=mel256,size=512,pool=mean+std' * 2} {k}" for k in range(3)
    ]
    assert overlap.problems(draw_audit(made(3, names, ["random weights"]), 3.5)) == []


def test_points_are_the_scores_of_the_embeddings():
    audit = made(2)
    axes = draw_audit(audit).axes[0]
    points = [line for line in axes.lines if line.get_marker() in ("o", "s")]
    expected = [group.score for protocol in audit.protocols for group in protocol.groups]
    assert [float(line.get_xdata()[0]) for line in points] == expected
