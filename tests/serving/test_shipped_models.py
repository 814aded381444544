"""The models in app/models are whole, small enough, and as good as their cards say."""

import json

import pytest

from course_lib.files import REPOSITORY
from course_lib.serving.cards import read_card
from course_lib.serving.predictors import PREDICTORS
from course_lib.serving.publish import MAX_BYTES, TASKS, measure

MODELS = REPOSITORY / "app" / "models"
SHIPPED = sorted(card.parent.name for card in MODELS.glob("*/card.json"))
# Another processor rounds differently: two of 500 texts may change sides, or one relation of 60 sentences.
TOLERANCES = {"relations": 0.02, "translation": 0.01, "question_answering": 0.01}


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", SHIPPED)
def test_a_fixed_part_of_the_data_gives_the_metric_of_the_card(name, precision):
    check, profile = read_card(MODELS / name)["check"], read_card(MODELS / name)["profile"]
    examples = TASKS[name].examples(profile)[: check["num_examples"]]
    found = measure(name, PREDICTORS[name].load(MODELS / name, precision), examples).value
    assert found == pytest.approx(check[precision], abs=TOLERANCES.get(name, 0.004))


def test_relations_are_as_good_as_their_notebook_says():
    """It measured them by code of its own."""
    card = read_card(MODELS / "relations")
    results = json.loads((REPOSITORY / "notebooks" / "results.json").read_text(encoding="utf-8"))
    measured = results[card["profile"]][card["notebook"]]["metrics"]["f1_own"]
    assert card["metric"]["float32"]["value"] == pytest.approx(measured, abs=1e-5)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_that_uses_another_was_measured_with_the_one_that_is_shipped(name):
    for other, files in read_card(MODELS / name).get("built on", {}).items():
        assert read_card(MODELS / other)["files"] == files, f"run: {read_card(MODELS / name)['command']}"


def test_relations_name_the_entities_that_they_use():
    assert list(read_card(MODELS / "relations")["built on"]) == ["entities"]


def test_all_models_together_are_small_enough():
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) <= MAX_BYTES
