"""The models in app/models are whole, small enough, and as good as their cards say."""

import pytest

from course_lib.serving.predictors import PREDICTORS, read_card
from course_lib.serving.publish import MAX_BYTES, REPOSITORY, TASKS, measure

MODELS = REPOSITORY / "app" / "models"
SHIPPED = sorted(card.parent.name for card in MODELS.glob("*/card.json"))


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", SHIPPED)
def test_a_fixed_part_of_the_data_gives_the_metric_of_the_card(name, precision):
    check, profile = read_card(MODELS / name)["check"], read_card(MODELS / name)["profile"]
    examples = TASKS[name].examples(profile)[: check["num_examples"]]
    found = measure(name, PREDICTORS[name].load(MODELS / name, precision), examples).value
    # Another processor rounds differently: two of 500 texts may change sides.
    assert found == pytest.approx(check[precision], abs=0.004)


def test_all_models_together_are_small_enough():
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) <= MAX_BYTES
