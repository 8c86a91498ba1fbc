"""Papers' cards: what cells say, what is refused, and that the numbers are those of the papers."""

import re
from functools import cache

import pytest

from probekit import cards
from probekit.cards.paper import Column, Figure, Table
from probekit.cards.selector import parse_selectors
from probekit.distillation import methods
from probekit.errors import CardError
from probekit.extractors.students import zoo
from probekit.reproduce import preconditions
from probekit.reproduce.runs import run_key
from probekit.training import schedules

TABLE = {
    "name": "table-1",
    "title": "T",
    "where": "Table 1",
    "metric": "accuracy",
    "columns": [
        {"label": "A", "embedding": "melstats"},
        {"label": "B", "embedding": "vggish", "differs": "other weights"},
        {"label": "old", "prior": True},
    ],
    "rows": [{"label": "x", "task": "fsdd", "values": [0.5, 0.6, 0.7], "differs": "other folds"}],
}
TEXTS = {
    "kumar2021": "kumar2021_sound_event_representations",
    "hung2022": "hung2022_feature_informed_regularization",
    "lee2019": "lee2019_cf_estimator_poster",
    "lee2021": "lee2021_contrastive_regularization",
    "kim2018": "kim2018_artist_group_factors",
}


def test_a_cell_is_what_table_column_and_row_say():
    first, second, old = Table.model_validate(TABLE).cells()
    assert (first.task, first.embedding, first.metric) == ("fsdd", "melstats", "accuracy")
    assert (first.probe, first.fraction, first.computed) == ("linear", 1.0, True)
    assert first.remarks == ["other folds"]
    assert second.remarks == ["other weights", "other folds"]
    assert second.differs == "other weights; other folds"
    # what differs of a run here says nothing about a score that is quoted
    assert not old.computed and old.remarks == []


def test_the_row_goes_before_the_column():
    row = {"label": "y", "task": "fsdd", "metric": "f1-macro", "values": [None, 0.1, None]}
    [cell] = Table.model_validate({**TABLE, "rows": [row]}).cells()
    assert (cell.metric, cell.column, cell.value) == ("f1-macro", "B", 0.1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": [{"label": "x", "task": "a", "values": [1.0]}]}, "1 values for 3 columns"),
        ({"rows": [{"label": "x", "values": [0.1, None, None]}]}, "'A': no task"),
        (
            {"rows": [{"label": "x", "task": "a", "values": [0.1, 0.1, 0.1], "spreads": [0.1]}]},
            "1 spreads for 3 values",
        ),
        ({"rows": [{"label": "x", "values": [None, None, None]}]}, "table-1: no values"),
        ({"metrik": "accuracy"}, "unknown field"),
        ({"over": "x", "of": ["C"]}, "'C' is no row or column"),
        ({"over": "y", "of": ["A"]}, "'y' is no row or column"),
        ({"count": "training"}, "'A': no student"),
    ],
)
def test_a_table_that_does_not_add_up_is_refused(tmp_path, monkeypatch, change, said):
    import yaml

    content = {"name": "mine", "title": "M", "tables": [{**TABLE, **change}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(CardError, match=said):
        cards.read_card(tmp_path / "mine.yaml", cards.PaperCard)


def test_two_parts_of_one_name_are_refused(tmp_path):
    import yaml

    content = {"name": "mine", "title": "M", "tables": [TABLE, TABLE]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(CardError, match="several tables or figures have the name 'table-1'"):
        cards.read_card(tmp_path / "mine.yaml", cards.PaperCard)


def test_a_figure_needs_an_analysis_or_a_reason():
    with pytest.raises(ValueError, match="needs kind"):
        Figure(name="f", title="F", where="Figure 1")
    assert Figure(name="f", title="F", where="Figure 1", pending="no").kind == ""
    line = Column(label="x", student="short-chunk")
    with pytest.raises(ValueError, match="lines and shares"):
        Figure(name="f", title="F", where="Figure 1", kind="dendrogram", task="fsdd",
                      lines=[line], shares=[0.1, 1.0])  # fmt: skip
    with pytest.raises(ValueError, match="must be a score"):
        Figure(name="f", title="F", where="Figure 1", kind="efficiency", task="fsdd",
                      lines=[Column(label="x")], shares=[0.1, 1.0])  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_card_names_is_there(name):
    build_student = cache(zoo.build_student)
    card = cards.load_paper_card(name)
    cells = [cell for table in card.tables for cell in table.cells()]
    assert cells
    labels = {column.label: column for table in card.tables for column in table.columns}
    for part in [*(c for c in cells if c.computed), *(f for f in card.figures if not f.pending)]:
        for one in [one for text in part.networks for one in parse_selectors(text)]:
            own = cards.load_extractor_card(one.name)
            assert not one.stream or one.stream in own.streams
            assert set(one.params) <= set(own.parameters)
        if isinstance(part, Figure):
            assert cards.load_task_card(part.task)
            for line in part.lines:
                assert not line.student or build_student(line.student, 2)
            continue
        assert not part.preset or part.embedding in cards.load_paper_card(part.preset).presets
        if part.student:
            assert build_student(part.student, 2) and part.method in methods.NAMES
            assert schedules.get_recipe(part.recipe, "accuracy")
        if part.of:
            for name in part.of:
                assert labels[name].metric == "accuracy"  # a share: points are of shares
        elif not part.count:
            task = cards.load_task_card(part.task)
            assert part.metric in (task.metric, *task.also)


def test_hung2022_is_what_its_commands_would_be():
    """Each cell of Table I asks for a run that distillation accepts, with the paper's weights."""
    table, by_loss, counts = cards.load_paper_card("hung2022").tables
    cells = table.cells()
    assert len(cells) == 32
    for cell in [*cells, *by_loss.cells()]:
        teachers = parse_selectors(cell.embedding) if cell.embedding else []
        method = methods.make_method(
            cell.method, cell.alpha, len(teachers), cell.init, cell.alignment
        )
        assert method.alpha == {"con-reg": 5, "dis-reg": 1}.get(cell.method, 0)
        # the paper selects by the task's metric; what it quotes of Won et al. is selected by loss
        own = cell in cells and cell.method != "none"
        assert (cell.recipe, cell.student) == ("hung2022" if own else "won", "harmonic-cnn")
        assert cell.alignment == ("paper" if teachers else "time")
        for one in teachers:
            if one.name == "openl3":
                content = {"magnatagatune": "music", "dcase2017-4": "env"}[cell.task]
                assert one.params["content"] == content and int(one.params["size"]) == 512
            else:
                assert (one.name, one.stream) == ("vggish", "pca8")
    assert len(counts.cells()) == 30
    music = [cell for cell in cells if cell.task == "magnatagatune"]
    assert by_loss.by_request and not table.by_request
    assert [(c.row, c.embedding, c.method, c.value) for c in by_loss.cells()] == [
        (c.row, c.embedding, c.method, c.value) for c in music
    ]


def test_lee2021_names_its_scores_alike_in_the_cards_of_tasks():
    """Table 2 without unlabeled data and Table 3's Supervised are the network from ImageNet."""
    table_2, table_3 = cards.load_paper_card("lee2021").tables[1:3]
    published = {
        name: {p.method: p.score for p in cards.load_task_card(name).published if "lee" in p.where}
        for name in ("esc10", "esc50")
    }
    values = {cell.row: cell.value for cell in table_2.cells()}
    supervised = "ResNet50V2, supervised from ImageNet"
    assert published["esc10"][supervised] == values["ESC-10"]
    assert published["esc50"][supervised] == values["ESC-50"] == 0.736
    ablation = {c.row: c for c in table_3.cells()}
    assert ablation["Supervised from ImageNet"].value == values["ESC-50"]
    assert "ResNet50V2, supervised from scratch" not in published["esc50"]
    # rows of all tables, cards of tasks, and runs have the same names
    for table in cards.load_paper_card("lee2021").tables:
        for cell in table.cells():
            method = f"ResNet50V2, {cell.name}"
            if cell.computed and cell.fraction == 1 and cell.statistic == "last":
                assert published.get(cell.task, {}).get(method, cell.value) == cell.value
    names = {f"ResNet50V2, {c.name}" for c in cards.load_paper_card("lee2021").tables[0].cells()}
    assert published["esc10"].keys() <= names


def test_lee2021_trains_each_network_once():
    card = cards.load_paper_card("lee2021")
    settings = list(preconditions.training_settings(card))
    runs = {run_key(setting): setting for setting in settings}
    # 3 methods on 5 shares of ESC-10; 4 more in Table 2, 2 more in Table 3; figure 3 has none
    assert len(runs) == 15 + 4 + 2
    assert {s.name for s in settings if "contrastive" not in s.objective} == {
        "supervised from scratch", "supervised from ImageNet"
    }  # fmt: skip
    for setting in runs.values():
        assert (setting.init == "resnet50v2") == (setting.name != "supervised from scratch")
        recipe = {"supervised": "lee2021-supervised", "contrastive": "lee2021"}
        assert setting.recipe == recipe[setting.objective]
        # the paper has a shorter warm-up on UrbanSound8K alone
        is_long = setting.task != "urbansound8k" or setting.objective == "supervised"
        assert setting.warm_up == (None if is_long else 10)


def test_lee2019_compares_its_modes_and_no_row_with_itself():
    transfer, capacity = cards.load_paper_card("lee2019").tables
    cells = {(c.row, c.column): c for c in transfer.cells()}
    modes = {row: c.method for (row, column), c in cells.items() if column == "genre (GTZAN)"}
    assert modes == {"base": "none", "fix": "fix", "init": "init", "kd": "cf-reg"}
    gains = {key: c.value for key, c in cells.items() if c.of}
    assert gains == {
        ("init", "gain over base"): 2.20, ("kd", "gain over base"): 2.26,
        ("fix", "gain over base"): None, ("fix", "gain over init"): None,
        ("kd", "gain over init"): None,
    }  # fmt: skip
    for cell in capacity.cells():
        assert not cell.of or cell.over == cell.row.replace("kd", "base")


def test_kumar2021_agrees_with_the_cards_of_its_tasks():
    """Both were written from the paper, each by itself."""
    compared = 0
    for table in cards.load_paper_card("kumar2021").tables:
        for cell in table.cells():
            for one in cards.load_task_card(cell.task.replace("-balanced", "")).published:
                column = "TALNet" if "TALNet" in one.method else "WEANet"
                ours = (cell.column, cell.row)
                if one.where != f"kumar2021, {table.where}" or one.metric != cell.metric:
                    continue
                if any(text.startswith(column) for text in ours):
                    assert one.score == cell.value, (cell.row, cell.column)
                    compared += 1
    assert compared >= 18


@pytest.mark.parametrize("name", TEXTS)
def test_every_number_stands_in_the_paper(name, shared):
    text = (shared / "papers" / f"{TEXTS[name]}.txt").read_text()
    printed = set(re.findall(r"\d+(?:\.\d+)?[kM]?", text))
    for table in cards.load_paper_card(name).tables:
        for cell in table.cells():
            for value in (cell.value, cell.spread):
                if value is None:  # places that the paper leaves open
                    continue
                forms = {f"{value:.{d}f}" for d in (1, 2, 3, 4)} | {f"{100 * value:.1f}"}
                forms |= {f"{value / 1e3:.0f}k", f"{value / 1e6:.1f}M"}
                assert forms & printed, (table.name, cell.row, cell.column, value)
