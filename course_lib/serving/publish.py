"""`course publish`: a notebook's model becomes a folder that the app loads, with a card of what it is."""

import datetime
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from course_lib.compression import quantization
from course_lib.compression.report import processor_name
from course_lib.data import (
    THREE_CLASSES,
    LabelledText,
    load_conll2003,
    load_human_ratings,
    load_imdb,
    load_narrative_qa,
    load_quac,
    load_tatoeba_en_es,
    load_xsum_1k,
    split_by_source,
    ternary_label,
)
from course_lib.data.catalog import load_catalog
from course_lib.errors import CourseError, unknown_name
from course_lib.evaluation.bootstrap import Interval, bootstrap_interval
from course_lib.evaluation.entities import entity_counts, f1_of_counts
from course_lib.evaluation.rouge import rouge_scores
from course_lib.evaluation.spans import span_scores
from course_lib.evaluation.translation import bleu_counts, bleu_of_sums
from course_lib.files import REPOSITORY, artifacts_root, replace_folder
from course_lib.question_answering import (
    ReaderSettings,
    encode_pair,
    encode_with_spans,
    join_pair,
    split_by_passage,
)
from course_lib.relations import Relation, load_relation_labels, relation_counts
from course_lib.serving.cards import (
    CARD,
    CARD_FORMAT,
    ENCODER,
    GRAPHS,
    PRECISIONS,
    READING,
    RELATIONS,
    SOURCE_SUBWORDS,
    SOURCE_WORDS,
    TARGET_SUBWORDS,
    TARGET_WORDS,
    TRANSITIONS,
    TRANSLATION_GRAPHS,
    WORDS,
    read_card,
)
from course_lib.serving.lexicon import LexiconPredictor
from course_lib.serving.network import Network, WordVectors
from course_lib.serving.predictors import (
    PREDICTORS,
    EntityPredictor,
    RelationPredictor,
    SentimentPredictor,
    SummaryPredictor,
)
from course_lib.serving.questions import QuestionPredictor
from course_lib.serving.translation import TranslationPredictor, search_network
from course_lib.summarization import network_inputs
from course_lib.text import TextEncoder, sentence_spans
from course_lib.text.features import TaggingEncoder

PROFILES = ("fast", "full")
# The notebooks' own default.
SEED = 0
# Half a point.
MAX_LOSS = 0.005
MAX_BYTES = 40_000_000

_NUM_TIMED = 200
_NUM_COMPARED, _TOKENS_COMPARED = 24, 240
# Sources that notebook 12 holds out to choose on and to test on.
_HELD_OUT_PAIRS = (1_000, 2_000)


class Task(NamedTuple):
    """What a task is published from, and how its models are judged.

    Attributes:
        notebook: its number, and its name in notebooks/results.json.
        datasets: names in the catalog.
        labels: classes in the order of their numbers, or entity types; empty where there are none.
        metric: what `counts` add up to.
        split: what the metric is measured on, by profile.
        examples: function from the profile to the units of the test data.
        counts: function from a predictor and units to one row of counts for each.
        statistic: from sums of the rows to the metric, between 0 and 1.
        num_checked: so many units, the first ones, are the card's fixed part.
        texts: from units to what `predict_batch` takes, whose latency is measured.
        build: makes the candidate for publication from the artifact.
        artifact: the files that the notebook saves.
        timed: what one of the `texts` is.
        baseline: makes a predictor without training that is measured beside the model; None where there is
            none.
    """

    notebook: str
    datasets: tuple[str, ...]
    labels: tuple[str, ...]
    metric: str
    split: dict[str, str]
    examples: Callable[[str], list]
    counts: Callable[[Any, Sequence], np.ndarray]
    statistic: Callable[[np.ndarray], np.ndarray]
    num_checked: int
    texts: Callable[[Sequence], list]
    build: Callable[["_Source"], "_Candidate"]
    artifact: tuple[str, ...] = ("model.keras", ENCODER)
    timed: str = "one sentence"
    baseline: Callable[[], Any] | None = None


class RelatedSentence(NamedTuple):
    """A sentence labelled with its relations, within its document.

    Attributes:
        document: the tokens of each of the document's sentences.
        number: of the sentence in the document.
        relations: those with a verb; no pattern can find the others.
    """

    document: list[tuple[str, ...]]
    number: int
    relations: list[Relation]


class _Source(NamedTuple):
    """Where a candidate is made from.

    Attributes:
        name: of the task.
        folder: the notebook's artifact.
        models: folder of the published models.
        examples: the card's fixed part of the test data.
        way_out: what to do about a damaged artifact.
    """

    name: str
    folder: Path
    models: Path
    examples: Sequence
    way_out: str


class _Candidate(NamedTuple):
    """A model on its way to being published.

    Attributes:
        files: for each file of the folder a function that writes it to a path.
        predictors: by precision, from the same content as the files.
        unrounded: the predictor before its word vectors were rounded; None where nothing is rounded.
        parity: the largest difference to Keras; None for what is no Keras model.
        built_on: the published tasks whose models it uses; when one of them changes, it is published again.
    """

    files: dict[str, Callable[[Path], Any]]
    predictors: dict[str, Any]
    unrounded: Any = None
    parity: float | None = None
    built_on: tuple[str, ...] = ()


def publish(
    name: str,
    profile: str,
    *,
    artifacts: Path | None = None,
    models: Path = REPOSITORY / "app" / "models",
    results: Path = REPOSITORY / "notebooks" / "results.json",
) -> dict[str, Any]:
    """Exports what a notebook saved, measures it, and puts it with its card into `models/<task>`.

    The word vectors are stored in 8 bits, the network in float32 and in int8. Everything is written aside and
    loaded again first; if anything fails, the old model stays.

    Args:
        name: `sentiment`, `reviews`, `entities`, `summary`, `relations`, `translation` or
            `question_answering`.
        profile: `fast` or `full`: whose artifact.
        artifacts: folder of the artifacts; by default COURSE_ARTIFACTS or the repository's `artifacts`.
        models: folder of the published models.
        results: what `course run` measured.

    Returns:
        The card.

    Raises:
        UsageError: an unknown task or profile.
        CourseError: no artifact, or one of another task; export and Keras differ; 8 bits cost more than half
            a point of the metric; the models take too much room; or a file cannot be written.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    if profile not in PROFILES:
        raise unknown_name("profile to publish", profile, PROFILES)
    task = TASKS[name]
    artifacts = artifacts or artifacts_root()
    folder, number = artifacts / profile / name, task.notebook[:2]
    way_out = f"make it with: course run {number} --profile {profile}"
    for file in task.artifact:
        if not (folder / file).is_file():
            raise CourseError(f"There is no {folder / file}: {way_out}")
    quoted = _quoted_metric(task, profile, results)

    examples = task.examples(profile)
    checked = examples[: task.num_checked]
    candidate = task.build(_Source(name, folder, models, checked, way_out))
    predictors = candidate.predictors
    measured = {precision: measure(name, each, examples) for precision, each in predictors.items()}
    change = {"int8": measured["int8"].value - measured["float32"].value}
    if candidate.unrounded is not None:
        exact = measure(name, candidate.unrounded, examples).value
        change["8-bit word vectors"] = measured["float32"].value - exact
        _check_loss("Word vectors in 8 bits", task, exact, measured["float32"].value)
    _check_loss("int8", task, measured["float32"].value, measured["int8"].value)
    points = {precision: each._asdict() for precision, each in measured.items()}

    aside = models / f".{name}.new"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        for file, write in candidate.files.items():
            write(aside / file)
        card = {
            **_card(name, profile, candidate, quoted or points, change, examples, models),
            "files": {
                path.name: {
                    "size": path.stat().st_size,
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                }
                for path in sorted(aside.iterdir())
            },
        }
        (aside / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        _verify(name, aside, card, checked)
        _check_size(models, aside, name)
        replace_folder(models / name, aside)
    except OSError as error:
        raise CourseError(f"The model could not be written to {models / name} ({error}).") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return card


def _card(
    name: str,
    profile: str,
    candidate: _Candidate,
    metric: dict[str, Any],
    change: dict[str, float],
    examples: Sequence,
    models: Path,
) -> dict[str, Any]:
    """All of the card but its files."""
    task, predictors = TASKS[name], candidate.predictors
    checked = examples[: task.num_checked]
    catalog = load_catalog()
    datasets = [catalog[name] for name in task.datasets]
    return {
        "format": CARD_FORMAT,
        "task": name,
        "labels": list(task.labels),
        "notebook": task.notebook,
        "profile": profile,
        "seed": SEED,
        "date": datetime.date.today().isoformat(),
        "command": f"course publish {name} --profile {profile}",
        "licence": "Apache-2.0; trained on "
        + " and on ".join(f"{dataset.title}: {dataset.licence}" for dataset in datasets),
        "data": {
            "name": " and ".join(task.datasets),
            "version": " and ".join(dict.fromkeys(dataset.version for dataset in datasets)),
            "sha256": {file.name: file.sha256 for dataset in datasets for file in dataset.files},
        },
        "metric": {
            "name": task.metric,
            "split": task.split[profile],
            **metric,
        },
        **_baseline(name, examples),
        # What fewer bits cost, on the texts of the metric or, without a test split, on all articles.
        "change": change,
        **({} if candidate.parity is None else {"largest difference to Keras": candidate.parity}),
        **(
            {"built on": {each: read_card(models / each)["files"] for each in candidate.built_on}}
            if candidate.built_on
            else {}
        ),
        "check": {
            "num_examples": len(checked),
            **{precision: measure(name, each, checked).value for precision, each in predictors.items()},
        },
        "latency": {
            "text": task.timed,
            **{precision: _latency(each, task.texts(checked)) for precision, each in predictors.items()},
            "device": f"{processor_name()}, {os.cpu_count()} cores, one in use",
            "onnxruntime": onnxruntime.__version__,
        },
    }


def measure(name: str, predictor: Any, examples: Sequence) -> Interval:
    """A task's metric on examples of its test data, with a 95 % bootstrap interval."""
    task = TASKS[name]
    return bootstrap_interval(task.counts(predictor, examples), task.statistic)


def _keras_model(source: _Source) -> _Candidate:
    """What is one network: its word vectors rounded, the network in two precisions."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from course_lib.serving import export  # needs TensorFlow

    name, folder = source.name, source.folder
    kind = PREDICTORS[name]
    is_tagger = kind is EntityPredictor
    encoder = (TaggingEncoder if is_tagger else TextEncoder).load(folder / ENCODER)
    model = export.load_model(folder / "model.keras")
    transitions, graph = export.transitions(model), export.to_onnx(model)
    vectors = export.word_vectors(model)
    if vectors is not None and len(vectors) != len(encoder.words if is_tagger else encoder.vocabulary):
        raise CourseError(f"Model and encoder in {folder} do not belong together: {source.way_out}")
    labels, num_classes = TASKS[name].labels, model.output_shape[-1]
    if kind is SentimentPredictor and num_classes != len(labels):
        raise CourseError(
            f"The model in {folder} has {num_classes} classes, the task {name} {len(labels)}: "
            f"{source.way_out}"
        )
    settings = ReaderSettings.load(folder / READING) if kind is QuestionPredictor else None
    more = {
        SentimentPredictor: [labels],
        EntityPredictor: [transitions],
        SummaryPredictor: [],
        QuestionPredictor: [settings],
    }[kind]
    unrounded = None
    if vectors is not None:
        original = WordVectors.exact(vectors)
        unrounded = kind(Network(graph.SerializeToString(), original), encoder, *more)

    words = export.compress_words(model)
    graphs = {"float32": graph, "int8": quantization.quantize_graph(graph)}
    contents = {precision: each.SerializeToString() for precision, each in graphs.items()}
    networks = {precision: Network(content, words) for precision, content in contents.items()}
    batches = _parity_batches(name, encoder, source.examples)
    tolerance = export.READER_TOLERANCE if kind is QuestionPredictor else export.TOLERANCE
    files = {GRAPHS[precision]: _writer(content) for precision, content in contents.items()}
    files[ENCODER] = encoder.save
    if words is not None:
        files[WORDS] = words.save
    if transitions is not None:
        files[TRANSITIONS] = _writer(json.dumps(transitions.tolist()).encode())
    if settings is not None:
        files[READING] = settings.save
    return _Candidate(
        files,
        {precision: kind(network, encoder, *more) for precision, network in networks.items()},
        unrounded,
        export.check_parity(model, networks["float32"], batches, tolerance),
    )


def _relations(source: _Source) -> _Candidate:
    """Patterns, tags and a regression as they are; the entities are those published, in two precisions."""
    path = source.folder / RELATIONS
    predictors = {
        precision: RelationPredictor.of_file(
            path, EntityPredictor.load(source.models / "entities", precision)
        )
        for precision in PRECISIONS
    }
    return _Candidate({RELATIONS: _writer(path.read_bytes())}, predictors, built_on=("entities",))


def _translator(source: _Source) -> _Candidate:
    """Encoder and decoder: the vectors of their tokens rounded, their networks in two precisions."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from course_lib.serving import export, translator_export  # need TensorFlow
    from course_lib.text.subwords import Subwords

    paths = {file: source.folder / file for file in (SOURCE_SUBWORDS, TARGET_SUBWORDS)}
    subwords = [Subwords.load(path) for path in paths.values()]
    model = export.load_model(source.folder / "model.keras")
    vectors = translator_export.token_vectors(model)
    if [len(each) for each in vectors] != [len(each) for each in subwords]:
        raise CourseError(f"Model and subwords in {source.folder} do not belong together: {source.way_out}")
    exact = [WordVectors.exact(each) for each in vectors]
    unrounded = _search_network(
        [graph.SerializeToString() for graph in translator_export.translator_to_onnx(model)], exact
    )

    words = translator_export.compress_tokens(model)
    graphs = translator_export.translator_to_onnx(model)
    contents = {
        "float32": [graph.SerializeToString() for graph in graphs],
        "int8": [quantization.quantize_graph(graph).SerializeToString() for graph in graphs],
    }
    networks = {precision: _search_network(parts, words) for precision, parts in contents.items()}
    files = {
        file: _writer(content)
        for precision, parts in contents.items()
        for file, content in zip(TRANSLATION_GRAPHS[precision], parts, strict=True)
    }
    files |= {SOURCE_WORDS: words[0].save, TARGET_WORDS: words[1].save}
    files |= {file: _writer(path.read_bytes()) for file, path in paths.items()}
    pairs = [(pair.source, pair.references[0]) for pair in source.examples[:_NUM_COMPARED]]
    ids = [each.encode_all(texts) for each, texts in zip(subwords, zip(*pairs, strict=True), strict=True)]
    return _Candidate(
        files,
        {precision: TranslationPredictor(network, *subwords) for precision, network in networks.items()},
        TranslationPredictor(unrounded, *subwords),
        translator_export.check_translator(model, networks["float32"], *ids),
    )


def _search_network(contents, words):
    return search_network(*map(Network, contents, words))


def _writer(content):
    return lambda path: path.write_bytes(content)


def _baseline(name, examples):
    """The card's part on what stands beside the model without training; empty where nothing does."""
    make = TASKS[name].baseline
    if make is None:
        return {}
    predictor = make()
    return {"baseline": {"name": predictor.name, **measure(name, predictor, examples)._asdict()}}


def _check_loss(what, task, before, after):
    if after < before - MAX_LOSS:
        raise CourseError(
            f"{what} would lower the {task.metric} from {before:.4f} to {after:.4f}, more than half a point: "
            f"nothing was published. Train notebook {task.notebook[:2]} with more regularization, or longer."
        )


def _check_size(models, aside, name):
    folders = [folder for folder in models.iterdir() if folder.is_dir() and folder.name[0] != "."]
    folders = [folder for folder in folders if folder.name != name] + [aside]
    size = sum(path.stat().st_size for folder in folders for path in folder.iterdir())
    if size > MAX_BYTES:
        raise CourseError(
            f"The published models would take {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:.0f} MB: "
            "nothing was published. Let the notebook keep fewer words."
        )


def _verify(name, folder, card, examples):
    """The files, as the app will load them, give what the card says."""
    for precision in PRECISIONS:
        found = measure(name, PREDICTORS[name].load(folder, precision), examples).value
        if found != card["check"][precision]:
            raise CourseError(f"The files in {folder} did not arrive whole; nothing was published.")


def _quoted_metric(task, profile, results):
    """The metric from the notebook, for a model that has seen all texts; None where it can be measured."""
    if task.datasets != ("xsum_1k",) or profile != "full":
        return None
    try:
        measured = json.loads(results.read_text(encoding="utf-8"))
        points = measured[profile][task.notebook]["metrics"]["rouge1_model"]
    except (OSError, ValueError, KeyError):
        raise CourseError(
            f"{results} does not say how good the full summarizer is, which has no test split of its own: "
            f"measure it with: course run {task.notebook[:2]} --profile full"
        ) from None
    return {"float32": {"value": points / 100, "low": None, "high": None}, "int8": None}


def _parity_batches(name, encoder, examples):
    """Two batches of real texts, from the shortest to the longest."""
    kind = PREDICTORS[name]
    if kind is SentimentPredictor:
        rows = [{"token_ids": encoder.encode(example.text)} for example in examples]
    elif kind is EntityPredictor:
        rows = [encoder.encode(sentence.tokens) for document in examples for sentence in document]
    elif kind is QuestionPredictor:
        rows = [_joined(record, encoder) for records in examples for record in records]
    else:
        rows = [{"features": network_inputs(_sentences(example.text), encoder)[1]} for example in examples]
    lengths = [len(next(iter(row.values()))) for row in rows]
    chosen = np.argsort(lengths, kind="stable")[np.linspace(0, len(rows) - 1, _NUM_COMPARED).astype(int)]
    for part in (chosen[:16], chosen[8:]):
        yield {feature: _padded([np.asarray(rows[index][feature]) for index in part]) for feature in rows[0]}


def _joined(record, encoder):
    """A question and the beginning of its passage."""
    encode = functools.partial(encode_with_spans, encoder=encoder)
    pair = encode_pair(record.question, record.passage, encode)
    token_ids, roles = join_pair(pair, (0, _TOKENS_COMPARED))
    return {"token_ids": token_ids, "roles": roles}


def _padded(rows):
    """Like `course_lib.text.pad`, for numbers of any type."""
    longest = max(map(len, rows))
    rows = [np.pad(row, [(0, longest - len(row)), *[(0, 0)] * (row.ndim - 1)]) for row in rows]
    return np.stack(rows).astype(np.float32 if rows[0].dtype.kind == "f" else np.int32)


def _latency(predictor, texts):
    """Milliseconds of single answers."""
    times = [predictor.predict_batch([text])[0].latency_ms for text in texts[:_NUM_TIMED]]
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


def _first_sentences(examples):
    return [_sentences(example.text)[0] for example in examples]


def _whole_texts(examples):
    return [example.text for example in examples]


def _tagged_sentences(documents):
    return [" ".join(sentence.tokens) for document in documents for sentence in document]


def _sources(pairs):
    return [pair.source for pair in pairs]


def _questions(passages):
    return [(record.question, record.passage) for records in passages for record in records]


def _labelled_sentences(examples):
    return [" ".join(example.document[example.number]) for example in examples]


def _sentences(text):
    return [text[start:end] for start, end in sentence_spans(text)]


def _class_counts(predictor: SentimentPredictor | LexiconPredictor, examples):
    answers = predictor.predict_batch([example.text for example in examples])
    labels = [predictor.labels[example.label] for example in examples]
    right = [answer.label == label for answer, label in zip(answers, labels, strict=True)]
    return np.stack([right, np.ones(len(right))], axis=1)


def _entity_counts(predictor: EntityPredictor, documents):
    counts = []
    for document in documents:
        tags = predictor.tag_document([sentence.tokens for sentence in document])
        counts.append(entity_counts([sentence.entities for sentence in document], tags).sum(axis=0))
    return np.array(counts)


def _summary_counts(predictor: SummaryPredictor, articles):
    answers = predictor.predict_batch([article.text for article in articles], num_sentences=1)
    summaries = [answer.sentences[0].text for answer in answers]
    rouge = rouge_scores(summaries, [article.summary for article in articles])["rouge1"]
    return np.stack([rouge, np.ones(len(rouge))], axis=1)


def _relation_counts(predictor: RelationPredictor, examples):
    counts = []
    for document, number, gold in examples:
        found = predictor.relate_document(document)[number]
        counts.append(relation_counts(document[number], gold, found))
    return np.array(counts)


def _translation_counts(predictor: TranslationPredictor, pairs):
    translations = [found.text for found in predictor.translate([pair.source for pair in pairs])]
    return bleu_counts(translations, [pair.references for pair in pairs])


def _span_counts(predictor: QuestionPredictor, passages):
    """The sum of token F1 on each passage, and its number of questions; an answer is always given."""
    counts = []
    for records in passages:
        answers = predictor.predict_batch(_questions([records]), threshold=-np.inf)
        scores = span_scores([answer.text for answer in answers], [record.answers for record in records])
        counts.append([scores["f1"].sum(), len(records)])
    return np.array(counts)


def _bleu(sums):
    return bleu_of_sums(sums) / 100


def _mean(sums):
    return sums[..., 0] / sums[..., 1]


def _rated_sentences(profile):
    """Shuffled: the data set has one domain after the other, and the card's fixed part shall have all."""
    rated = load_human_ratings("test")
    order = np.random.default_rng(SEED).permutation(len(rated))
    return [LabelledText(rated[index].text, ternary_label(rated[index].rating)) for index in order]


def _reviews(profile):
    return load_imdb("test")


def _documents(profile):
    documents = {}
    for sentence in load_conll2003("test"):
        documents.setdefault(sentence.document, []).append(sentence)
    return list(documents.values())


def _related_sentences(profile):
    sentences = load_conll2003("test")
    examples = []
    for item in load_relation_labels(sentences, split="test"):
        document = [n for n, each in enumerate(sentences) if each.document == sentences[item.number].document]
        relations = [labelled.relation for labelled in item.relations if labelled.kind == "verb"]
        tokens = [sentences[n].tokens for n in document]
        examples.append(RelatedSentence(tokens, document.index(item.number), relations))
    return examples


def _sentence_pairs(profile):
    """Those that notebook 12 tests on, shuffled: the data set begins with the short ones."""
    _, _, test = split_by_source(load_tatoeba_en_es(), *_HELD_OUT_PAIRS, seed=SEED)
    return [test[index] for index in np.random.default_rng(SEED).permutation(len(test))]


def _passages(profile):
    """The questions with an answer that notebook 13 tests on in `full`, by passage.

    Shuffled: QuAC's passages stand before NarrativeQA's, and the card's fixed part shall have both.
    """
    _, _, test = split_by_passage([*load_quac(), *load_narrative_qa()], SEED)
    passages = {}
    for record in test:
        if record.spans:
            passages.setdefault(record.passage, []).append(record)
    order = np.random.default_rng(SEED).permutation(len(passages))
    return [list(passages.values())[index] for index in order]


def _articles(profile):
    """In `fast` those of the fold that notebook 11 holds out; in `full` all, which the model has seen."""
    articles = load_xsum_1k()
    if profile == "full":
        return articles
    order = np.random.default_rng(SEED).permutation(len(articles))
    return [articles[index] for index in np.array_split(order, 5)[0]]


TASKS = {
    "sentiment": Task(
        notebook="08_sentiment",
        datasets=("human_ratings", "imdb", "minilm", "glove_6b_50d"),
        labels=THREE_CLASSES,
        metric="accuracy",
        split=dict.fromkeys(PROFILES, "the test split, 4,677 sentences of four domains"),
        examples=_rated_sentences,
        counts=_class_counts,
        statistic=_mean,
        num_checked=500,
        texts=_first_sentences,
        build=_keras_model,
        baseline=LexiconPredictor,
    ),
    "reviews": Task(
        notebook="04_training",
        datasets=("imdb", "glove_6b_50d"),
        labels=("negative", "positive"),
        metric="accuracy",
        split=dict.fromkeys(PROFILES, "5,000 held-out reviews"),
        examples=_reviews,
        counts=_class_counts,
        statistic=_mean,
        num_checked=500,
        texts=_first_sentences,
        build=_keras_model,
    ),
    "entities": Task(
        notebook="09_named_entities",
        datasets=("conll2003", "glove_6b_50d"),
        labels=("LOC", "MISC", "ORG", "PER"),
        metric="entity F1",
        split={
            "fast": "the official test split, 231 documents",
            "full": "the official test split, 231 documents; this model has learned from the training and "
            "the development split",
        },
        examples=_documents,
        counts=_entity_counts,
        statistic=f1_of_counts,
        num_checked=40,
        texts=_tagged_sentences,
        build=_keras_model,
    ),
    "summary": Task(
        notebook="11_summarization",
        datasets=("xsum_1k",),
        labels=(),
        metric="ROUGE-1",
        split={
            "fast": "200 held-out articles, one sentence each",
            "full": "estimate from notebook 11: five models like this one, each measured on the fifth of the "
            "999 articles that it has not seen, one sentence each; this model has seen all of them",
        },
        examples=_articles,
        counts=_summary_counts,
        statistic=_mean,
        num_checked=100,
        texts=_whole_texts,
        build=_keras_model,
        timed="one article",
    ),
    "relations": Task(
        notebook="10_relations",
        datasets=("conll2003",),
        labels=(),
        metric="relation F1",
        split=dict.fromkeys(
            PROFILES,
            "60 sentences of the official test split that were labelled by hand, with entities and tags of "
            "the models' own; relations with a verb, by the head rule",
        ),
        examples=_related_sentences,
        counts=_relation_counts,
        statistic=f1_of_counts,
        num_checked=60,
        texts=_labelled_sentences,
        build=_relations,
        artifact=(RELATIONS,),
    ),
    "translation": Task(
        notebook="12_translation",
        datasets=("tatoeba_en_es",),
        labels=(),
        metric="BLEU",
        split=dict.fromkeys(
            PROFILES, "2,000 held-out sentences with all their references, beam of 4, length penalty 1"
        ),
        examples=_sentence_pairs,
        counts=_translation_counts,
        statistic=_bleu,
        num_checked=200,
        texts=_sources,
        build=_translator,
        artifact=("model.keras", SOURCE_SUBWORDS, TARGET_SUBWORDS),
    ),
    "question_answering": Task(
        notebook="13_question_answering",
        datasets=("quac", "narrative_qa", "glove_6b_50d"),
        labels=(),
        metric="token F1",
        split=dict.fromkeys(
            PROFILES,
            "906 questions with an answer on 196 held-out passages; the reader has to answer",
        ),
        examples=_passages,
        counts=_span_counts,
        statistic=_mean,
        num_checked=40,
        texts=_questions,
        build=_keras_model,
        artifact=("model.keras", ENCODER, READING),
        timed="one question on its passage",
    ),
}
