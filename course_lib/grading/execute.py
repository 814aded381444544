"""Runs inside the sandbox: one rebuilt notebook through papermill, an event for each cell as it ends.

    python -P -s execute.py < job.json

The job: {"notebook": …, "nonce": …, "cell_seconds": …, "total_seconds": …}. Each event is one line of JSON on
standard output, which the kernel does not inherit. Nothing here is trusted by the grader, and nothing here
knows an expected value.
"""

import json
import os
import signal
import sys

MAX_TEXT = 4_000
OUT_OF_TIME = "OutOfTime"


def main() -> None:
    """Execute the notebook on standard input; what goes wrong in a cell is an event, not a failure."""
    job = json.load(sys.stdin)
    events = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    # For a format that no notebook has, jsonschema would compile a grammar, which takes a second.
    sys.modules["rfc3987_syntax"] = None

    import nbformat
    import papermill
    from papermill.engines import NBClientEngine, papermill_engines

    def send(**event):
        os.write(events, (json.dumps(event) + "\n").encode())

    def out_of_time(*_):
        send(stopped=OUT_OF_TIME)
        os._exit(1)

    signal.signal(signal.SIGALRM, out_of_time)

    class Streaming(NBClientEngine):
        """Reports each cell as soon as it is done, so that a kernel that dies later takes nothing with it."""

        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **settings):
            complete, start = nb_man.cell_complete, nb_man.cell_start

            def cell_start(cell, *arguments, **more):
                if cell is nb_man.nb.cells[0]:  # a slow start of the kernel is not the student's fault
                    signal.alarm(job["total_seconds"])
                send(begins=cell.id)
                return start(cell, *arguments, **more)

            def cell_complete(cell, *arguments, **more):
                send(ended=cell.id, **summary(cell, job["nonce"]))
                cell.outputs = []
                complete(cell, *arguments, **more)
                # It is also called on the way out of an error, which is told below.
                if cell is nb_man.nb.cells[-1] and sys.exc_info()[0] is None:
                    send(finished=True)
                    os._exit(0)  # whoever started the sandbox ends the kernel, and at once

            nb_man.cell_start, nb_man.cell_complete = cell_start, cell_complete
            return super().execute_managed_notebook(nb_man, kernel_name, **settings)

    papermill_engines.register("streaming", Streaming)
    notebook = nbformat.from_dict(job["notebook"])
    for cell in notebook.cells:
        cell.metadata.tags = ["raises-exception"]  # the next question is not this one's fault
    nbformat.write(notebook, "exercise.ipynb")
    try:
        papermill.execute_notebook(
            "exercise.ipynb",
            None,
            engine_name="streaming",
            kernel_name="python3",
            progress_bar=False,
            execution_timeout=job["cell_seconds"],
            start_timeout=60,
            extra_arguments=["--IPKernelApp.log_level=ERROR", "--HistoryManager.enabled=False"],
        )
    except Exception as error:
        send(stopped=type(error).__name__, reason=str(error)[:MAX_TEXT])


def summary(cell, nonce):
    """A cell's outputs, cut short: the error, the beginning of what was printed, and the marked lines."""
    text, marked, error = "", [], None
    for output in cell.get("outputs", []):
        if output["output_type"] == "error":
            error = [str(output["ename"])[:200], str(output["evalue"])[:300]]
        elif output["output_type"] == "stream" and output["name"] == "stdout":
            marked += [line[len(nonce) :] for line in output["text"].splitlines() if line.startswith(nonce)]
            text += output["text"][: MAX_TEXT - len(text)]
    return {"error": error, "text": text, "marked": [line[:250_000] for line in marked[:2]]}


if __name__ == "__main__":
    main()
