"""Child process of `course run`: one notebook through papermill. Its parent may kill it at any time.

    python -m course_lib.runner.execute NOTEBOOK EXECUTED STATUS PROFILE SEED PROGRESS

STATUS receives one JSON string: what went wrong, or "" if every cell ran. PROGRESS is 1 for a bar and 0 for
none.
"""

import json
import signal
import sys
from pathlib import Path

# Ctrl-C reaches the parent, which stops everything at once; the imports below take seconds.
signal.signal(signal.SIGINT, signal.SIG_IGN)

import papermill  # noqa: E402
from nbclient.exceptions import DeadKernelError  # noqa: E402

from course_lib.files import write_atomically  # noqa: E402


def main(notebook: Path, executed: Path, status: Path, profile: str, seed: int, progress: bool) -> None:
    """Execute the notebook from its own folder, as Jupyter does, and write the status file."""
    failure = ""
    try:
        papermill.execute_notebook(
            notebook,
            executed,
            parameters={"PROFILE": profile, "SEED": seed},
            kernel_name="python3",
            progress_bar={"desc": notebook.stem} if progress else False,
            cwd=notebook.parent,
            # Otherwise ipykernel warns, once per notebook, that it talks over the local loopback unencrypted.
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
        )
    except papermill.PapermillExecutionError as error:
        failure = f"cell failed: {error.ename}: {(error.evalue.splitlines() or [''])[0][:300]}"
    except DeadKernelError:
        failure = "kernel died"
    except Exception as error:
        failure = f"papermill failed: {type(error).__name__}: {error}"
    write_atomically(status, json.dumps(failure))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), sys.argv[4], int(sys.argv[5]), sys.argv[6] == "1")
