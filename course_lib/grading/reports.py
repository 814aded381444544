"""What a teacher and a student read: a gradebook, feedback for each student, an analysis of the questions."""

import functools
import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import numpy as np

from course_lib.errors import CourseError
from course_lib.files import write_atomically
from course_lib.grading.checks import load_exercise
from course_lib.grading.exercise import FOLDER
from course_lib.text.spreadsheet import csv_bytes

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; }
td, th { border: 1px solid #999; padding: .3rem .6rem; text-align: left; }
section { border-top: 1px solid #999; margin-top: 1.5rem; }
.hint, footer { color: #555; }
@media (prefers-color-scheme: dark) {
  body { background: #181818; color: #eee; }
  .hint, footer { color: #aaa; }
}
"""
_MEANING = {
    "right": "Every check passed.",
    "partly right": "Some checks passed.",
    "wrong": "The answer ran but gave something else than was asked for.",
    "crashed": "The answer stopped with an error.",
    "timed out": "The answer took too long.",
    "out of memory": "The answer used too much memory.",
    "not attempted": "There is no answer.",
    "our fault": "The grader failed, not you: your teacher will grade this again.",
}


def gradebook(grades: Sequence[Mapping[str, Any]]) -> bytes:
    """CSV with one row for each student and exercise, safe to open in a spreadsheet.

    Raises:
        CourseError: there are no grades.
    """
    if not grades:
        raise CourseError("There are no grades to write down.")
    num_questions = max(len(grade["questions"]) for grade in grades)
    rows = []
    for grade in grades:
        row = {name: grade[name] for name in ("student", "exercise", "points", "max_points")}
        row["percent"] = round(100 * grade["points"] / grade["max_points"], 1)
        for index in range(num_questions):
            question = grade["questions"][index] if index < len(grade["questions"]) else None
            row[f"question {index + 1}"] = question["points"] if question else ""
            row[f"status {index + 1}"] = question["status"] if question else ""
        rows.append(row)
    return csv_bytes(rows)


def feedback(grade: Mapping[str, Any]) -> str:
    """A page for one student: points, what went wrong in each question, where to look."""
    parts = [
        f"<h1>Exercise {_text(grade['exercise'])}: {grade['points']} of {grade['max_points']} points</h1>"
    ]
    parts.append(f"<p>{_text(grade['student'])}</p>")
    for question in grade["questions"]:
        parts.append(
            f"<section><h2>{_text(question['id'])}: {_text(question['status'])}, "
            f"{question['points']} of {question['max_points']} points</h2>"
            f"<p>{_MEANING[question['status']]} {_text(question['message'])}</p>"
        )
        wrong = [check for check in question["checks"] if check["status"] != "right"]
        if wrong and question["status"] != "not attempted":
            items = "".join(
                f"<li>{_text(check['message'])} <em>{_text(check['detail'])}</em> "
                f"<span class='hint'>See {_text(_place(check['hint']))}.</span></li>"
                for check in wrong
            )
            parts.append(f"<ul>{items}</ul>")
        parts.append("</section>")
    origin = grade["provenance"]
    hashes = ", ".join(
        f"{part} {_text(origin[part][:12])}" for part in ("submission", "checks", "environment")
    )
    parts.append(f"<footer><p>Sandbox: {_text(origin['sandbox'])}; {hashes}.</p></footer>")
    return _page(f"Exercise {grade['exercise']}", "\n".join(parts))


def _place(hint):
    """Where a reader finds what a hint names by the id of a cell, which no notebook shows."""
    lesson, _, cell_id = hint.partition("#")
    places = " to ".join(f"“{heading}”" for heading in _headings(lesson).get(cell_id, ()))
    return f"{lesson}, {places}" if places else lesson


@functools.cache
def _headings(lesson):
    """Id of each cell of a lesson → the heading that it stands under, then one further down in the cell."""
    path, above, headings = FOLDER.parent / f"{lesson}.ipynb", [], {}
    for cell in nbformat.read(path, as_version=4).cells if path.is_file() else ():
        own = []
        if cell.cell_type == "markdown":
            text = re.sub(r"^```.*?^```", "", cell.source, flags=re.MULTILINE | re.DOTALL)
            own = [re.sub("[*`$]", "", line) for line in re.findall(r"^#{1,6} +(.+)", text, re.MULTILINE)]
        headings[cell.id] = own[:1] if cell.source.startswith("#") and own else above + own[:1]
        above = own[-1:] or above
    return headings


def item_analysis(grades: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each question of each exercise.

    `difficulty` is the mean share of points (1 is easy); `discrimination` the correlation of the question's
    points with the points of all other questions, None where either does not vary; `misconception` the
    message of the check that most students missed although they tried, and `missed_by` how many did.

    Source: Ebel & Frisbie 1991, "Essentials of Educational Measurement", chapter 13.
    """
    rows = []
    for exercise in sorted({grade["exercise"] for grade in grades}):
        of_exercise = [grade for grade in grades if grade["exercise"] == exercise]
        points = np.array([[question["points"] for question in grade["questions"]] for grade in of_exercise])
        for column, question in enumerate(of_exercise[0]["questions"]):
            missed = Counter(
                check["name"]
                for grade in of_exercise
                for check in grade["questions"][column]["checks"]
                if check["status"] not in ("right", "not attempted", "our fault")
            )
            name, number = missed.most_common(1)[0] if missed else (None, 0)
            messages = {check.name: check.message for check in load_exercise(exercise).checks}
            rows.append(
                {
                    "exercise": exercise,
                    "question": question["id"],
                    "students": len(of_exercise),
                    "difficulty": float(points[:, column].mean() / question["max_points"]),
                    "discrimination": _correlation(points[:, column], np.delete(points, column, 1).sum(1)),
                    "misconception": messages.get(name, ""),
                    "missed_by": number,
                }
            )
    return rows


def analysis_page(grades: Sequence[Mapping[str, Any]]) -> str:
    """The item analysis as a page with a figure, for the teacher."""
    import plotly.graph_objects as go

    from course_lib.evaluation.figures import set_style

    set_style()
    rows = item_analysis(grades)
    figure = go.Figure()
    for exercise in dict.fromkeys(row["exercise"] for row in rows):
        part = [row for row in rows if row["exercise"] == exercise]
        figure.add_bar(
            x=[f"{exercise} {row['question']}" for row in part],
            y=[row["difficulty"] for row in part],
            name=exercise,
        )
    figure.update_layout(title="Mean share of points for each question", showlegend=False)
    figure.update_xaxes(title="question")
    figure.update_yaxes(title="share of points", range=[0, 1])
    columns = [
        "exercise",
        "question",
        "students",
        "difficulty",
        "discrimination",
        "missed_by",
        "misconception",
    ]
    table = "".join(f"<th>{column.replace('_', ' ')}</th>" for column in columns)
    table = f"<tr>{table}</tr>"
    for row in rows:
        table += "<tr>" + "".join(f"<td>{_text(_rounded(row[column]))}</td>" for column in columns) + "</tr>"
    meaning = (
        "<p>Difficulty is the mean share of points: 1 is easy. Discrimination is the correlation of a "
        "question's points with those of all others: near 0 or below, the question measures something "
        "else. The misconception is that of the check which most of those missed who tried.</p>"
    )
    body = (
        f"<h1>Analysis of the questions</h1>{figure.to_html(full_html=False)}{meaning}<table>{table}</table>"
    )
    return _page("Analysis of the questions", body + _imports_table(grades))


def _imports_table(grades):
    """What answers import that their exercise does not: a library's answer is right, but is it an answer?"""
    users: dict[tuple[str, str, str], list[str]] = {}
    for grade in grades:
        for question in grade["questions"]:
            for module in question["imports"]:
                users.setdefault((grade["exercise"], question["id"], module), []).append(grade["student"])
    if not users:
        return ""
    rows = "".join(
        f"<tr><td>{_text(exercise)}</td><td>{_text(question)}</td><td>{_text(module)}</td>"
        f"<td>{_text(', '.join(students))}</td></tr>"
        for (exercise, question, module), students in sorted(users.items())
    )
    head = "<tr><th>exercise</th><th>question</th><th>module</th><th>students</th></tr>"
    return (
        "<h2>Modules that answers import and the exercise does not</h2><p>They cost no points: look whether "
        f"the answer still shows what the question is about.</p><table>{head}{rows}</table>"
    )


def write_reports(grades: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Writes grades.csv, analysis.html and feedback/*.html into a folder."""
    (out / "feedback").mkdir(parents=True, exist_ok=True)
    write_atomically(out / "grades.csv", gradebook(grades))
    write_atomically(out / "analysis.html", analysis_page(grades))
    for grade, path in zip(grades, _feedback_paths(grades, out), strict=True):
        write_atomically(path, feedback(grade))


def _feedback_paths(grades, out):
    from course_lib.grading.classes import Submission, grade_path

    submissions = [Submission(Path(), grade["exercise"], grade["student"]) for grade in grades]
    return [grade_path(out / "feedback", submission).with_suffix(".html") for submission in submissions]


def _correlation(points, others):
    if len(points) < 2 or np.ptp(points) == 0 or np.ptp(others) == 0:
        return None
    return float(np.corrcoef(points, others)[0, 1])


def _rounded(value):
    return "–" if value is None else f"{value:.2f}" if isinstance(value, float) else value


def _text(value):
    return html.escape(str(value), quote=True)


def _page(title, body):
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{body}</body></html>\n"
    )
