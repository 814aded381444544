"""What every notebook begins with: seeds, device and profile, and the numbers it reports."""

import contextlib
import math
import numbers
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course_lib.errors import UsageError, unknown_name
from course_lib.evaluation.figures import set_style
from course_lib.files import artifacts_root
from course_lib.process import prepare_for_training

PROFILES = ("smoke", "fast", "full")
RECORD_MIME = "application/vnd.course.record+json"
SESSION_MIME = "application/vnd.course.session+json"


class Lesson:
    """One run of one notebook; `start` makes it.

    Attributes:
        notebook: name of the notebook, e.g. "04_training".
        profile: "smoke", "fast" or "full".
        seed: the seed that everything random was started from.
    """

    def __init__(self, notebook: str, profile: str, seed: int) -> None:
        self.notebook = notebook
        self.profile = profile
        self.seed = seed
        self._recorded: dict[str, bool | int | float] = {}

    def pick(self, *, smoke: Any, fast: Any, full: Any) -> Any:
        """The value for the current profile; all three stand in the call for the reader to see."""
        return {"smoke": smoke, "fast": fast, "full": full}[self.profile]

    def record(self, name: str, value: bool | int | float) -> None:
        """Show a number and carry it in the cell's output, where `course run` reads and gates it.

        Args:
            name: lower-case words joined by underscores, e.g. "test_accuracy".
            value: one finite number; NumPy scalars are fine.

        Raises:
            UsageError: malformed name, not one finite number, or a second value for the same name.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise UsageError(f"Metric name {name!r}: use lower-case letters, digits and underscores.")
        if hasattr(value, "item") and getattr(value, "shape", None) == ():
            value = value.item()
        if not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise UsageError(f"Metric {name!r} must be one finite number, not {value!r}.")
        if name in self._recorded and self._recorded[name] != value:
            raise UsageError(
                f"Metric {name!r} was recorded as {self._recorded[name]!r} and now as {value!r}: "
                "record each name once, or begin again at the cell that calls start(...)."
            )
        self._recorded[name] = value
        _show(f"{name} = {number_text(value)}", RECORD_MIME, {"name": name, "value": value})

    def artifact(self, name: str) -> Path:
        """Folder for what later notebooks and the app pick up: artifacts/<profile>/<name>/, made if missing.

        The environment variable COURSE_ARTIFACTS replaces the `artifacts` folder of the repository.

        Raises:
            UsageError: the name could lead out of the folder.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise UsageError(f"Artifact name {name!r}: use letters, digits, underscores and hyphens.")
        folder = artifacts_root() / self.profile / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def number_text(value: bool | int | float) -> str:
    """A number as the course prints it, with four significant digits: 0.8712, 20,000, 3.1e-08."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 10_000 else f"{value:.4g}"


def start(notebook: str, profile: str, seed: int) -> Lesson:
    """Begin a notebook: seed everything, choose the device, set the figures' style, print what runs on what.

    Seeds Python's `random`, NumPy and Keras. TensorFlow is imported in every notebook, also where little
    needs it: one way to begin is simpler than two. How the process uses memory and cores is set for training
    on a CPU (`prepare_for_training`).

    Args:
        notebook: the notebook's file name without ".ipynb".
        profile: "smoke", "fast" or "full".
        seed: from 0 to 2**32 - 1.

    Raises:
        UsageError: unknown profile, or a seed that NumPy cannot take.
    """
    if profile not in PROFILES:
        raise unknown_name("profile", profile, PROFILES)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UsageError(f"The seed must be a whole number from 0 to 2**32 - 1, not {seed!r}.")

    prepare_for_training()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _silent_stderr():
        import keras
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            # Fails once the device is in use, i.e. when the cell runs again; growth is then on already.
            with contextlib.suppress(RuntimeError):
                tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.list_logical_devices()
    keras.utils.set_random_seed(seed)
    set_style()

    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
        device = f"{name} (float32, memory as needed)"
    else:
        device = f"{os.cpu_count()} CPU cores"
    session = {
        "notebook": notebook,
        "profile": profile,
        "seed": seed,
        "device": device,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
    _show(
        f"{notebook} · profile {profile} · seed {seed} · {device} · Python {session['python']} · "
        f"TensorFlow {tf.__version__} · Keras {keras.__version__}",
        SESSION_MIME,
        session,
    )
    return Lesson(notebook, profile, seed)


def _show(text: str, mime: str, content: dict[str, Any]) -> None:
    """Display text with machine-readable content beside it; outside IPython print the text alone."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        print(text)
        return
    ipython.display.display({"text/plain": text, mime: content}, raw=True)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """TensorFlow writes start-up notes straight to file descriptor 2, before any log level applies."""
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
