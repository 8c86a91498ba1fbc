"""Several targets: what a drawn target changes, an Adam for each, resume, and mistakes."""

import numpy as np
import pytest
import torch

from probekit.errors import DataError, ProbekitError
from probekit.extractors import load
from probekit.extractors.students import zoo
from probekit.targets.target_file import Targets, write_targets
from probekit.training import losses, trainer
from probekit.training.dataloader import Batch
from probekit.training.multi_target import FurtherTargets, MultiTarget
from probekit.training.objectives import LABELED
from probekit.training.optimizers import OptimizerSet
from probekit.training.schedules import Phase, TrainingRecipe, get_recipe, per_target
from probekit.training.train import train

torch.set_num_threads(1)
SMALL = "artist-net:width=16"
SAMPLES = 16 * 1024


def further(name="m", dim=40, clips=4):
    values = np.random.default_rng(0).dirichlet(np.ones(dim), clips).astype(np.float32)
    every = np.ones(clips, bool)
    return FurtherTargets(name, "distribution", values, every, frozenset(), False, name, name)


def make_objective(network="artist-net:width=16,branches=3", draw="epoch", classes=5):
    torch.manual_seed(0)
    student = zoo.build_student(network, classes)
    return MultiTarget(student, "single", [further("m"), further("d")], draw)


def batch(index, dim=40):
    targets = torch.arange(4) if index == 0 else torch.as_tensor(further(dim=dim).values)
    return Batch(0.1 * torch.randn(4, SAMPLES), torch.arange(4), targets)


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize(("targets", "expected"), [(2, 1_137_880), (5, 2_853_328)])
def test_parameters_of_the_authors_networks(targets, expected):
    student = zoo.build_student(f"artist-net:branches={targets}", 16)
    objective = MultiTarget(student, "single", [further(str(k)) for k in range(targets - 1)])
    assert sum(p.numel() for p in objective.parameters()) == expected


def test_a_target_changes_its_branch_and_the_shared_convolution():
    objective = make_objective().train()
    before = state_of(objective)
    optimizer = OptimizerSet(objective.parameter_sets(), [], Phase(1, "adam", 1e-3), recipe())
    terms = objective({"target m": batch(1)})
    assert list(terms) == ["m"]
    optimizer.zero_grad()
    terms["m"].backward()
    index = objective.optimizer_of(["target m"])
    optimizer.optimizers[index].step()
    changed = {k for k, v in objective.state_dict().items() if not torch.equal(v, before[k])}
    owners = {".".join(name.split(".")[:4]) for name in changed}
    assert all(
        name.startswith(("student.network.shared", "student.network.branches.1", "heads.0"))
        for name in changed
    ), owners  # statistics of batch normalization as well
    assert any(name.startswith("student.network.shared") for name in changed)
    assert any("running_mean" in name for name in changed)


def recipe(**options):
    return TrainingRecipe("test", (Phase(1, "adam", 1e-3),), weight_decay=0.01, **options)


def test_each_target_has_an_adam_with_moments_of_its_own():
    """Steps a, b, a of two Adams on one shared weight, against the formula in float64."""
    shared = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    own = [torch.nn.Parameter(torch.tensor([0.0], dtype=torch.float64)) for _ in range(2)]
    sets = [[shared, own[0]], [shared, own[1]]]
    optimizer = OptimizerSet(sets, [], Phase(1, "adam", 0.1), recipe())
    value, moments = 1.0, [[0.0, 0.0, 0], [0.0, 0.0, 0]]
    for index, gradient in ((0, 0.5), (1, -2.0), (0, 1.5)):
        optimizer.zero_grad()
        (gradient * shared).sum().backward()
        optimizer.optimizers[index].step()
        first, second, steps = moments[index]
        g = gradient + 0.01 * value
        first, second, steps = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g, steps + 1
        moments[index] = [first, second, steps]
        root = np.sqrt(second / (1 - 0.999**steps)) + 1e-8
        value -= 0.1 * first / (1 - 0.9**steps) / root
        assert shared.item() == pytest.approx(value, rel=1e-12)


def test_biases_have_no_decay_in_kim2018():
    layer = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    chosen = get_recipe("kim2018", "accuracy")
    assert (chosen.epochs, chosen.batch_size, chosen.select) == (200, 64, "last")
    assert per_target(chosen, 5).epochs == 1000  # as the paper has it
    optimizer = OptimizerSet(
        [list(layer.parameters())], trainer._list_biases(layer), chosen.phases[0], chosen
    )
    decays = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    names = {name: decays[id(p)] for name, p in layer.named_parameters()}
    assert names == {"0.weight": 2e-5, "0.bias": 0.0, "1.weight": 2e-5, "1.bias": 0.0}


def test_draws_have_equal_shares_and_follow_from_seed_and_epoch():
    objective = make_objective()
    names = objective.stream_names
    drawn = [objective.streams_of_epoch(names, 0, epoch) for epoch in range(3000)]
    shares = [sum(each == [name] for each in drawn) / 3000 for name in names]
    # three standard errors of a third of 3,000
    assert shares == pytest.approx([1 / 3] * 3, abs=3 * np.sqrt(2 / 9 / 3000))
    assert drawn[:50] == [objective.streams_of_epoch(names, 0, epoch) for epoch in range(50)]
    assert drawn[:50] != [objective.streams_of_epoch(names, 1, epoch) for epoch in range(50)]
    by_step = make_objective(draw="step")
    assert by_step.streams_of_epoch(names, 0, 3) == names
    steps = [by_step.streams_of_step(names, 0, 3, step)[0] for step in range(60)]
    assert set(steps) == set(names)
    terms = by_step({"target d": batch(1)})
    assert list(terms) == ["loss", "m", "d"] and terms["d"] > 0 == terms["loss"]


def test_losses_are_those_of_the_targets():
    objective = make_objective().eval()
    for index, name in enumerate(objective.names):
        each = batch(index)
        [(term, loss)] = objective({objective.stream_names[index]: each}).items()
        assert term == name
        embedding = objective.student.encode(each.waves)[:, 0, 16 * index : 16 * (index + 1)]
        head = objective.heads[index - 1] if index else objective.student.decode
        logits = head(embedding[:, None])
        if index:
            expected = -(each.targets * logits.log_softmax(1)).sum(1).mean()
        else:
            expected = losses.task_loss(logits, each.targets, "single")
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(objective.predict(each), objective.student(each.waves))


def test_other_networks_share_the_encoder():
    objective = make_objective("short-chunk:width=2")
    sets = [{id(p) for p in each} for each in objective.parameter_sets()]
    assert len(sets[1] & sets[2]) > 10 and not sets[1] & {
        id(p) for p in objective.heads[1].parameters()
    }
    assert objective({"target m": batch(1)})["m"] > 0


# ---- whole runs


@pytest.fixture(scope="module")
def workspace(corpus, tmp_path_factory):
    base = tmp_path_factory.mktemp("several")
    paths = sorted(corpus.rglob("*.*"))[:12]
    rows, split = ["clip_id,path,label,split"], []
    for k, path in enumerate(paths):
        split.append("test" if k % 3 == 2 else "train")
        rows.append(f"{path.stem},{path.relative_to(corpus).as_posix()},{'ab'[k % 2]},{split[-1]}")
    (base / "clips.csv").write_text("\n".join(rows) + "\n")
    ids, split = np.array([path.stem for path in paths]), np.array(split)
    rng = np.random.default_rng(0)

    def write(name, keep, split):
        values = rng.dirichlet(np.ones(4), len(keep)).astype(np.float32)
        targets = Targets(ids[keep], values, "distributions", split=split)
        write_targets(base / f"{name}.h5", targets)

    everything = np.arange(12)
    write("m", everything, split)
    write("d", everything[3:], split[3:])  # some clips have none
    write("other", everything, np.roll(split, 1))
    write("few", everything[:1], split[:1])
    return base


@pytest.fixture
def go(workspace, corpus, tmp_path):
    def call(names=("m", "d"), reports="r", **options):
        folders = {"cache": workspace / "cache", "root": corpus, "reports": tmp_path / reports}
        also = [str(workspace / f"{name}.h5") for name in names]
        options = {"epochs": 3, "batch": 4, "recipe": "kim2018", "device": "cpu", **options}
        network = options.pop("network", SMALL)
        return train(str(workspace / "clips.csv"), network, also=also, **folders, **options)

    return call


def test_a_run_is_stored_and_is_an_extractor(go, tmp_path, monkeypatch):
    [result] = go(epochs=8)
    assert result["probe"] == "student:artist-net:branches=3,width=16"
    assert "with m + d" in result["embedding"]
    terms = [set(epoch) & {"loss", "m", "d"} for epoch in result["history"]]
    assert all(len(each) == 1 for each in terms) and set.union(*terms) == {"loss", "m", "d"}
    assert any(note.startswith("further targets m.h5") for note in result["provenance"])
    assert result["settings"]["draw"] == "epoch"
    monkeypatch.setenv("PROBEKIT_REPORTS", str(tmp_path / "r"))
    [folder] = (tmp_path / "r" / "students").iterdir()
    spec = load.resolve_spec(f"runs/{folder.name}")
    assert load.build_extractor(spec).streams["embedding"].dim == 48


class Killed(Exception):
    pass


@pytest.mark.parametrize("draw", ["epoch", "step"])
def test_a_killed_run_goes_on_to_the_same_weights(go, tmp_path, monkeypatch, draw):
    def weights(folder):
        [path] = (tmp_path / folder / "students").glob("*/weights.pt")
        return torch.load(path, weights_only=True)

    go(reports="whole", draw=draw)
    fit = trainer.fit

    def killed(job, folder, **others):
        def stop(done, total, line):
            if done == 2:
                raise Killed

        return fit(job, folder, **{**others, "on_epoch_end": stop})

    with monkeypatch.context() as context:
        context.setattr(trainer, "fit", killed)
        with pytest.raises(Killed):
            go(reports="halves", draw=draw)
    go(reports="halves", draw=draw)
    first, second = weights("whole"), weights("halves")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_target_that_is_never_drawn_is_noted(go):
    [result] = go(epochs=1)
    notes = [note for note in result["provenance"] if "drawn in no epoch" in note]
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"names": ("other",)}, DataError, "are those of another split: 4 of 4 test clips"),
        ({"names": ("few",)}, DataError, "1 of 8 training clips"),
        ({"names": ("m", "m")}, ProbekitError, "two files 'm'"),
        ({"draw": "never"}, ProbekitError, "--draw must be epoch or step"),
        ({"names": (), "draw": "step"}, ProbekitError, "--draw is for several targets"),
        ({"network": "artist-net:width=4"}, ProbekitError, "width must be >= 16"),
    ],
)
def test_mistakes_are_one_message(go, options, error, words):
    with pytest.raises(error, match=words):
        go(**options)


def test_labeled_stream_comes_first():
    assert make_objective().stream_names[0] == LABELED


def test_trainings_on_several_targets_share_one_file_of_audio(workspace, corpus, tmp_path):
    folders = {"cache": tmp_path / "c", "root": corpus, "reports": tmp_path / "r"}
    options = {"epochs": 1, "batch": 4, "recipe": "kim2018", "device": "cpu"}
    task = str(workspace / "clips.csv")
    for name in ("m", "d"):
        train(task, SMALL, targets=workspace / f"{name}.h5", **folders, **options)
    train(task, SMALL, **folders, **options)
    assert len(list((tmp_path / "c" / "sound").glob("*.raw"))) == 1
