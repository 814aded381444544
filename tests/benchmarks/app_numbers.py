"""What the demo costs one visitor: `python tests/benchmarks/app_numbers.py`, wherever the app runs.

Prints the time from start to first answer and of the imports alone, memory with all models loaded, and the
predictors' latencies; each beside its goal on two idle cores.
"""

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SENTENCE = "Angela Merkel met film makers in Berlin and called the new picture slow, but deeply moving."
ARTICLE = " ".join([SENTENCE] * 62)  # 1,000 words and points
REPEATS = 5

FIRST_ANSWER = """
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("app/main.py", default_timeout=60).run()
app = app.switch_page("views/sentiment.py").run()
app.text_area[0].set_value("A wonderful film.").run()
app.button[0].click().run()
assert app.subheader[0].value.startswith("Positive"), app.subheader
"""
IMPORTS = "import course_lib.serving.predictors, streamlit"


def seconds_of(code: str) -> float:
    """Median wall time of a fresh Python with this code, after one run that warms the disk."""
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def milliseconds_of(predict, text: str, repeats: int) -> np.ndarray:
    """Of each of so many answers to one text."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        predict(text)
        times.append(1e3 * (time.perf_counter() - began))
    return np.array(times)


def measure_predictors() -> None:
    """Loads every model in both precisions and prints memory and latencies."""
    from course_lib.serving.predictors import GRAPHS, PREDICTORS

    loaded = {
        (folder.name, precision): PREDICTORS[folder.name].load(folder, precision)
        for folder in sorted((ROOT / "app" / "models").iterdir())
        for precision in GRAPHS
    }
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"memory with all models in both precisions: {memory:.0f} MB (goal 400)")
    rows = (("sentiment", SENTENCE, 500, "5, 20"), ("entities", SENTENCE, 500, "5, 20"))
    for name, text, repeats, goal in (*rows, ("summary", ARTICLE, 50, "150, –")):
        for precision in GRAPHS:
            times = milliseconds_of(loaded[name, precision].predict, text, repeats)
            p50, p99 = np.percentile(times, (50, 99))
            print(f"{name}, {precision}: p50 {p50:.2f} ms, p99 {p99:.2f} ms (goals {goal})")
    texts = [f"{SENTENCE} {number}" for number in range(10_000)]
    for precision in GRAPHS:
        began = time.perf_counter()
        loaded["sentiment", precision].predict_batch(texts)
        rate = len(texts) / (time.perf_counter() - began)
        print(f"10,000 sentences, {precision}: {rate:,.0f} a second (goal 1,000)")


def main() -> None:
    """Measure and print, one row each."""
    print(f"start to first answer: {seconds_of(FIRST_ANSWER):.2f} s (goal 3)")
    print(f"imports: {seconds_of(IMPORTS) - seconds_of(''):.2f} s beyond Python's own start (goal 1)")
    measure_predictors()


if __name__ == "__main__":
    main()
