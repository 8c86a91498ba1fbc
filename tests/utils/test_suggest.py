from probekit.utils.suggest import unknown_name_error


def test_a_misspelt_name_brings_the_near_ones():
    text = str(unknown_name_error("metric", "Acuracy", ["pr-auc", "accuracy"]))
    assert text == "unknown metric 'Acuracy'. Did you mean 'accuracy'? Known: accuracy, pr-auc."


def test_messages_for_no_names_and_for_many():
    assert str(unknown_name_error("task", "x", [])) == "unknown task 'x'. Known: none."
    text = str(
        unknown_name_error("label", "name7", [f"name{k}" for k in range(99)], "See the card.")
    )
    assert "Known:" not in text
    assert "'name7" in text
    assert text.endswith("See the card.")
