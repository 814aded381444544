"""Every page answers, says what is wrong in one sentence and never shows a traceback."""

import json
import math
import shutil
from pathlib import Path

import pytest
import shared

from course_lib.relations import TextRelation
from course_lib.serving.cards import read_card
from course_lib.serving.lexicon import LexiconPredictor
from course_lib.serving.predictors import (
    EntityPredictor,
    QuestionPredictor,
    RelationPredictor,
    SentimentAnswer,
    SentimentPredictor,
    SummaryPredictor,
    TimedRelations,
    TranslationPredictor,
)
from course_lib.serving.questions import QuestionAnswer

APP = Path(shared.__file__).parent
PAGES = ["sentiment", "entities", "relations", "question_answering", "summarization", "translation"]
TEXT = "Angela Merkel went to Paris. It was a wonderful journey. Nobody was bored."


def read(app, text, question="Where did Angela Merkel go?"):
    for field in app.text_input:
        field.set_value(question)
    app.text_area[0].set_value(text).run()
    return app.button[0].click().run()


def drawn(app):
    graphs = [element.proto.spec for element in app.get("graphviz_chart")]
    return " ".join([*(str(element.proto.body) for element in app.get("html")), *graphs])


@pytest.mark.parametrize("page", ["start", *PAGES, "compare", "about"])
def test_every_page_opens_without_an_error(open_page, page):
    app = open_page(page)
    assert not app.exception and not app.error and not app.warning
    assert len(app.title) == 1


@pytest.mark.parametrize("page", [*PAGES, "compare"])
def test_an_empty_text_is_asked_for(open_page, page):
    app = read(open_page(page), " \u200b\n ")
    assert not app.exception
    name = "passage" if page == "question_answering" else "text"
    assert f"There is no {name} yet" in app.info[0].value


def test_sentiment_says_what_the_predictor_says(open_page):
    app = read(open_page("sentiment"), TEXT)
    answer = SentimentPredictor.load(APP / "models" / "sentiment").predict(TEXT)
    assert app.subheader[0].value == f"{answer.label.capitalize()}, {answer.probabilities[answer.label]:.0%}"
    assert list(answer.probabilities) == ["negative", "neutral", "positive"]
    for label, probability in answer.probabilities.items():
        assert label in drawn(app) and f"{probability:.1%}" in drawn(app)
    assert "ms" in app.caption[0].value and "tokens" in app.caption[0].value
    assert "wonderful" in app.dataframe[0].value["words"].to_list()


@pytest.mark.parametrize(
    "negative, neutral, positive, sentence, entropy",
    [
        (0.1, 0.42, 0.48, "The model wavers: positive is only 6 points ahead of neutral.", "86%"),
        (0.2, 0.395, 0.405, "The model wavers: positive is only 1 point ahead of neutral.", "96%"),
        (0.1, 0.35, 0.55, "The model leans towards positive, 20 points ahead of neutral.", "84%"),
        (0.125, 0.25, 0.625, "The model leans towards positive, 38 points ahead of neutral.", "82%"),
        (0.75, 0.25, 0.0, "The model is clear: negative is 50 points ahead of neutral.", "51%"),
        (0.0, 1.0, 0.0, "The model is clear: neutral is 100 points ahead of negative.", "0%"),
    ],
)
def test_the_models_own_doubt_is_put_into_words(
    open_page, monkeypatch, negative, neutral, positive, sentence, entropy
):
    """The entropy by hand: -(sum of p ln p) / ln 3."""

    class Fake:
        def predict(self, text):
            probabilities = {"negative": negative, "neutral": neutral, "positive": positive}
            label = max(probabilities, key=probabilities.get)
            return SentimentAnswer(label, probabilities, 7, 0.0, False, 1.0)

        def explain(self, text):
            return []

    monkeypatch.setattr(shared, "load_predictor", lambda task: Fake())
    app = read(open_page("sentiment"), TEXT)
    assert not app.exception
    (said,) = (each.value for each in app.markdown if " ahead of " in each.value)
    assert said.startswith(sentence) and f" entropy {entropy} of its maximum" in app.caption[0].value


def test_sentiment_says_what_neutral_is(open_page):
    said = open_page("sentiment").markdown[0].value
    assert "**Neutral**" in said and "twenty people" in said and "-4 to 4" in said and "±0.5" in said


def test_entities_are_those_of_the_predictor_with_their_type_in_words(open_page):
    app = read(open_page("entities"), TEXT)
    found = EntityPredictor.load(APP / "models" / "entities").predict(TEXT).entities
    assert {"Angela Merkel", "Paris"} <= {entity.text for entity in found}
    assert "Angela Merkel <small><b>person</b>" in drawn(app)
    assert "Paris <small><b>place</b>" in drawn(app)


def test_the_summary_has_as_many_sentences_as_the_slider_says(open_page):
    app = read(open_page("summarization"), TEXT)
    app.slider[0].set_value(1).run()
    chosen = SummaryPredictor.load(APP / "models" / "summary").predict(TEXT, 1).sentences
    assert len(chosen) == 1 and chosen[0].text in drawn(app)
    assert list(app.dataframe[0].value["chosen"]).count("yes") == 1


def test_a_sentence_is_no_formula_in_the_table(open_page):
    app = read(open_page("summarization"), "=1+1 is what the report said. It was a wonderful journey.")
    assert app.dataframe[0].value["sentence"][0] == "'=1+1 is what the report said."


def test_relations_are_those_of_the_predictor_in_graph_and_table(open_page):
    text = "Steffi Graf defeated Monica Seles. Qantas will open an office in Auckland."
    app = read(open_page("relations"), text)
    found = RelationPredictor.load(APP / "models" / "relations").predict(text).relations
    assert [relation[:3] for relation in found] == [
        ("Steffi Graf", "defeated", "Monica Seles"),
        ("Qantas", "will open an office in", "Auckland"),
    ]
    table = app.dataframe[0].value
    assert table["subject"].to_list() == ["Steffi Graf", "Qantas"]
    assert table["confidence"].to_list() == [round(relation.confidence, 3) for relation in found]
    assert table["sentence"].to_list() == [
        "Steffi Graf defeated Monica Seles.",
        "Qantas will open an office in Auckland.",
    ]
    first, second = (f"{relation.confidence:.2f}" for relation in found)
    assert rf'"Steffi Graf" -> "Monica Seles" [label="defeated\n{first}"' in drawn(app)
    assert rf'"Qantas" -> "Auckland" [label="will open an\noffice in\n{second}"' in drawn(app)
    app.slider[0].set_value(0.95).run()
    assert app.info[0].value == "No relation has a confidence of 0.95 or more."
    assert not app.get("graphviz_chart") and not app.dataframe


@pytest.mark.parametrize(
    "text, said",
    [
        ("Helen Clark slept badly.", "no sentence holds two names"),
        ("… 12 — !!", "the text holds no words"),
    ],
)
def test_without_relations_the_page_says_why(open_page, text, said):
    app = read(open_page("relations"), text)
    assert said in app.info[0].value and not app.get("graphviz_chart") and not app.error


def test_names_and_phrases_cannot_leave_their_quotes_in_the_graph(open_page, monkeypatch):
    class Fake:
        threshold = 0.3

        def predict(self, text):
            relation = TextRelation('A" -> "B', "is\\", "C]; x [label=1", 0.9, 0, 5)
            return TimedRelations([relation] * 50, "", 1.0)

    monkeypatch.setattr(shared, "load_predictor", lambda task: Fake())
    app = read(open_page("relations"), TEXT)
    assert not app.exception
    (line, *others) = drawn(app).split("; ", 4)[-1].removesuffix("}").split('; "')
    assert line == r'"A\" -> \"B" -> "C]; x [label=1" [label="is\\\n0.90", penwidth=3.70]'
    assert len(others) == 39 and "the 40 surest of 50" in app.caption[0].value


ALWAYS = "none"


def test_an_answer_is_that_of_the_predictor_marked_in_its_passage(open_page, models):
    passage, question = "\n".join([TEXT] * 30), "Where did Angela Merkel go?"  # 480 tokens
    predictor = QuestionPredictor.load(models / "question_answering")
    app = read(open_page("question_answering"), passage, question)
    app.button_group[-1].set_value(ALWAYS).run()
    answer = predictor.predict(question, passage, -math.inf)
    assert not app.exception and answer.text and answer.num_windows > 1
    told, marked = (element.proto.body for element in app.get("html"))
    assert f">{answer.text}</div>" in told
    before, rest = marked.split("<mark ", 1)
    assert before.endswith(f">{passage[: answer.start]}")
    assert rest.split(">", 1)[1] == f"{answer.text}</mark>{passage[answer.end :]}</div>"
    assert [each.value for each in app.subheader] == ["Answer", "In the passage"]
    tokens = f"480 tokens · {answer.unknown_share:.0%} unknown · read in {answer.num_windows} parts"
    assert f"log-odds {answer.log_odds:+.1f} · {tokens}" in app.caption[0].value.replace("\\", "")


class Reader:
    """Marks the characters from 4 to 12, if the odds are above the limit that it is asked with."""

    threshold = -1.0

    def __init__(self, log_odds):
        self.log_odds = log_odds

    def predict(self, question, passage, threshold):
        facts = (self.log_odds, 3, 0.0, 1, 1.0)
        if self.log_odds <= threshold:
            return QuestionAnswer("", 0, 0, "The passage does not seem to tell.", *facts)
        return QuestionAnswer(passage[4:12], 4, 12, "", *facts)


@pytest.mark.parametrize(
    "log_odds, limit, said",
    [
        (
            1.0,
            None,
            "2.7 times as probable as no answer; it answers unless no answer is more than 2.7 times as "
            "probable.",
        ),
        (
            3.0,
            "even odds",
            "20 times as probable as no answer; it answers only what is more probable than no answer.",
        ),
        (9.0, ALWAYS, "more than 1,000 times as probable as no answer."),
        (
            -0.5,
            "even odds",
            "0.61 times as probable as no answer; it answers only what is more probable than no answer.",
        ),
        (
            -5.0,
            None,
            "less than a hundredth as probable as no answer; it answers unless no answer is more than 2.7 "
            "times as probable.",
        ),
        (-5.0, ALWAYS, "less than a hundredth as probable as no answer."),
    ],
)
def test_the_log_odds_are_put_into_words(open_page, monkeypatch, log_odds, limit, said):
    """The odds by hand: e is 2.718, e ** 3 is 20.1, e ** -0.5 is 0.607."""
    monkeypatch.setattr(shared, "load_predictor", lambda task: Reader(log_odds))
    refused = log_odds <= {None: -1.0, "even odds": 0.0, ALWAYS: -math.inf}[limit]
    app = read(open_page("question_answering"), TEXT)
    if limit is not None:
        app.button_group[-1].set_value(limit).run()
    assert not app.exception
    (found,) = (each.value for each in app.markdown if "To the model" in each.value)
    words = "the best words of the passage" if refused else "the marked words"
    assert found.endswith(f"To the model, {words} are {said}")
    assert found.startswith("The passage does not seem to tell.") == refused
    heads = ["Not in the passage"] if refused else ["Answer", "In the passage"]
    assert [each.value for each in app.subheader] == heads
    assert ("<mark " in drawn(app)) != refused


def test_a_limit_that_is_too_low_to_refuse_is_called_so(open_page, monkeypatch):
    reader = Reader(-2.0)
    reader.threshold = -6.6
    monkeypatch.setattr(shared, "load_predictor", lambda task: reader)
    app = read(open_page("question_answering"), TEXT)
    (said,) = (each.value for each in app.markdown if "To the model" in each.value)
    assert said == (
        "To the model, the marked words are 0.14 times as probable as no answer; its limit is so low that it "
        "nearly always answers."
    )


def test_a_hostile_passage_is_marked_and_never_interpreted(open_page, monkeypatch):
    monkeypatch.setattr(shared, "load_predictor", lambda task: Reader(1.0))
    passage = "<b> <script>\u202ealert(1)</script> <img src=x onerror=alert(2)>"
    app = read(open_page("question_answering"), passage, "<script>alert(3)</script> **who**?")
    assert not app.exception and not app.error
    told, marked = (element.proto.body for element in app.get("html"))
    assert ">&lt;script&gt;</div>" in told
    assert ">&lt;b&gt; <mark " in marked
    assert ">&lt;script&gt;</mark>alert(1)&lt;/script&gt; &lt;img src=x onerror=alert(2)&gt;</div>" in marked


@pytest.mark.parametrize(
    "question, passage, said",
    [
        ("", TEXT, "There is no question yet: type one, or choose an example."),
        ("Who?", "vvkq wqq zzk", "The passage has no word that the reader knows."),
        ("qwxz zzyx", TEXT, "The question has no word that the reader knows."),
        (
            "Wer hat die Stadt gegründet?",
            "Die Stadt wurde von Händlern am Fluss gegründet.",
            "% of the words; it was trained on English.",
        ),
    ],
)
def test_what_cannot_be_answered_is_said(open_page, question, passage, said):
    app = read(open_page("question_answering"), passage, question)
    assert not app.exception and not app.error and not app.subheader
    (message,) = (each.value for each in app.info)
    assert said in message


@pytest.mark.parametrize("page", ["sentiment", "question_answering"])
def test_a_visitor_who_comes_back_to_a_page_finds_it_as_new(open_page, page):
    app = read(open_page(page), TEXT)
    assert app.subheader or app.info
    app = app.switch_page("views/about.py").run().switch_page(f"views/{page}.py").run()
    assert app.text_area[0].value == "" and not app.subheader and not app.info and not app.exception


def test_a_link_to_a_question_opens_with_its_passage(open_page):
    app = read(open_page("question_answering"), "A film & more", "Which film?")
    app.button[1].click().run()
    assert app.code[0].value.endswith("?question=Which+film%3F&passage=A+film+%26+more")
    linked = open_page("question_answering", {"question": "Which film?", "passage": "A film & more"})
    assert linked.text_input[0].value == "Which film?" and linked.text_area[0].value == "A film & more"
    assert linked.caption[0].value.count("tokens") == 1


def test_a_translation_is_that_of_the_predictor(open_page, models):
    text = "I like apples. Where are you?"
    predictor = TranslationPredictor.load(models / "translation")
    app = read(open_page("translation"), text)
    answers = {name: predictor.predict(text, size) for name, size in (("Greedy", 1), ("Beam of 4", 4))}
    assert shared.safe(answers["Beam of 4"].text) in drawn(app)
    app.button_group[-1].set_value("Greedy").run()
    assert not app.exception and shared.safe(answers["Greedy"].text) in drawn(app)
    table = app.dataframe[0].value
    assert table["sentence"].to_list() == ["I like apples.", "Where are you?"]
    expected = [sentence.translation for sentence in answers["Greedy"].sentences]
    for shown, translation in zip(table["doubt"], expected, strict=True):
        assert shown == round(-translation.log_probability / len(translation.target_tokens), 2)
    assert f"greedy · {sum(len(each.source_tokens) for each in expected)} subwords" in app.caption[0].value


def test_attention_is_drawn_when_it_is_asked_for(open_page, models):
    text = "I like apples. Where are you?"
    app = read(open_page("translation"), text)
    assert "<table" not in drawn(app)
    app.button_group[-1].set_value("Greedy").run()
    app.toggle[0].set_value(True).run()
    app.selectbox[0].set_value(1).run()
    translation = TranslationPredictor.load(models / "translation").predict(text, 1).sentences[1].translation
    markup = drawn(app)
    assert markup.count("<tr>") == 1 + len(translation.target_tokens)
    assert markup.count("<td title=") == len(translation.target_tokens) * len(translation.source_tokens)
    weights = [float(part.split('"')[0]) for part in markup.split('<td title="')[1:]]
    assert weights == [round(weight, 2) for row in translation.attention.tolist() for weight in row]
    for token in translation.source_tokens:
        assert f">{token}</th>" in markup


@pytest.mark.parametrize(
    "text, said",
    [
        (
            "¿Dónde está la estación? Quisiera beber un vaso de agua, por favor.",
            "does not seem to be English",
        ),
        ("日本語の文章", "has learnt none of these characters"),
        ("?! …", "the text holds no words"),
        ("very " * 399 + "good.", "cut it into shorter sentences"),
    ],
)
def test_what_cannot_be_translated_is_said(open_page, text, said):
    app = read(open_page("translation"), text)
    assert not app.exception and not app.error and not app.dataframe
    (message,) = (each.value for each in app.info)
    assert said in message


@pytest.mark.parametrize("page", ["translation", "question_answering"])
def test_without_its_model_a_page_says_how_to_make_one(open_page, models, tmp_path, monkeypatch, page):
    rest = shutil.copytree(models, tmp_path / "models", ignore=shutil.ignore_patterns(page))
    monkeypatch.setattr(shared, "MODELS", rest)
    (error,) = open_page(page).error
    assert error.value.replace("\\", "").endswith(
        f"make it with: course publish {page} Pages that do not need this model work."
    )
    (warning,) = open_page("start").warning
    assert warning.value.replace("\\", "").endswith(f"make it with: course publish {page}")
    assert not open_page("relations").error


def test_compare_shows_both_precisions_the_other_model_and_the_lexicon(open_page):
    app = read(open_page("compare"), TEXT)
    table = app.dataframe[0].value
    assert table["weights"].to_list() == ["float32", "int8", "float32", "none"]
    assert table["model"].to_list() == [
        "Sentiment",
        "Sentiment",
        "Film reviews",
        "VADER's lexicon and rules",
    ]
    for row, (task, precision) in enumerate(
        [("sentiment", "float32"), ("sentiment", "int8"), ("reviews", "float32")]
    ):
        answer = SentimentPredictor.load(APP / "models" / task, precision).predict(TEXT)
        assert table["answer"][row] == f"{answer.label} {answer.probabilities[answer.label]:.3f}"
        accuracy = read_card(APP / "models" / task)["metric"][precision]["value"]
        assert table["accuracy"][row] == f"{accuracy:.2%}"
    answer = LexiconPredictor().predict(TEXT)
    assert table["answer"][3] == f"{answer.label} {answer.score:+.3f}"
    baseline = read_card(APP / "models" / "sentiment")["baseline"]
    assert table["accuracy"][3] == f"{baseline['value']:.2%}"
    assert "another test" in app.caption[0].value


@pytest.mark.parametrize(
    "model, metric", [("Entities", "entity F1"), ("Summarization", "ROUGE-1"), ("Translation", "BLEU")]
)
def test_compare_shows_the_other_tasks_in_both_precisions(open_page, model, metric):
    app = open_page("compare")
    app.button_group[0].set_value(model).run()
    table = read(app, TEXT).dataframe[0].value
    assert not app.exception
    assert table["weights"].to_list() == ["float32", "int8"] and metric in table
    assert set(table["model"]) == {model}


def test_start_and_about_list_every_model(open_page, models):
    about, start = open_page("about"), open_page("start")
    titles = [
        *("Sentiment", "Entities", "Relations", "Question answering", "Summarization", "Translation"),
        "Film reviews, for comparison",
    ]
    assert [each.value for each in about.subheader] == [*titles, "Lexicon, for comparison"]
    assert len(about.json) == len(start.caption) == 7
    tasks = ["sentiment", "entities", "relations", "question_answering", "summary", "translation", "reviews"]
    for task, line in zip(tasks, start.caption, strict=True):
        card = read_card(models / task)
        assert card["task"] == task
        assert f"{card['metric']['float32']['value']:.1%}" in line.value


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script> <img src=x onerror=alert(2)>",
        "**bold** [link](javascript:alert(1)) $x^2$ :smile: `code`",
        "\u202etxet \u2066isolated\u2069 zero\u200bwidth",
        "a" * 20_000,
        "&lt;b&gt; & \" '",
    ],
)
def test_what_a_visitor_types_is_drawn_and_never_interpreted(open_page, page, text):
    app = read(open_page(page), text)
    assert not app.exception and not app.error
    markup = drawn(app)
    assert "<script" not in markup and "<img" not in markup
    assert not set(markup) & set("\u202e\u2066\u2069\u200b")


def test_a_link_is_made_only_when_it_is_asked_for_and_opens_with_its_text(open_page):
    app = open_page("sentiment")
    app.text_area[0].set_value("A fine film & more").run()
    assert not app.code
    app.button[1].click().run()
    assert app.code[0].value.endswith("?text=A+fine+film+%26+more")
    linked = open_page("sentiment", {"text": "A fine film & more"})
    assert linked.text_area[0].value == "A fine film & more"
    app.text_area[0].set_value("x" * 2_001).run()
    app.button[1].click().run()
    assert "at most 2,000 characters" in app.info[-1].value


@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_a_damaged_model_is_named_with_its_command_and_the_others_work(
    open_page, models, tmp_path, monkeypatch, damage
):
    models = shutil.copytree(models, tmp_path / "models")
    graph = models / "sentiment" / "model.onnx"
    if damage == "altered":
        graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    else:
        graph.unlink()
    monkeypatch.setattr(shared, "MODELS", models)
    shared._load.clear()
    app = open_page("sentiment")
    assert not app.exception
    command = json.loads((models / "sentiment" / "card.json").read_text(encoding="utf-8"))["command"]
    assert "model.onnx" in app.error[0].value.replace("\\", "")
    assert command in app.error[0].value.replace("\\", "")
    assert not open_page("entities").error
