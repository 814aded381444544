"""Several processes: the losses of one, a killed one goes on, a missing one is named; wrong options."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest

from course_lib import distributed
from course_lib.distributed import Cluster, agree, cluster_of, supervise
from course_lib.errors import CourseError, UsageError
from course_lib.recipes import RECIPES, train_task
from course_lib.text.batches import BucketedBatches, ShardedBatches

SCRIPT = Path(__file__).with_name("distributed_run.py")
EPOCHS = 5
needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="several processes need the extra [jax]")


def start(out, *cluster, epochs=EPOCHS):
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        # Compiling takes longer than all steps together: little of it, and nothing twice in a session.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(out.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, (out, epochs, *cluster))],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def started(out, num_processes, *, only=None, wait=120):
    """The processes, by id; whatever still runs at the end is killed."""
    address = f"127.0.0.1:{free_port()}"
    processes = {
        number: start(out, address, num_processes, number, wait) for number in only or range(num_processes)
    }
    try:
        yield address, processes
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def finish(process):
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return out, errors


def history_of(out):
    return json.loads((out / "result.json").read_text(encoding="utf-8"))["history"]


def assert_same_losses(history, expected):
    assert history.keys() == expected.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, atol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The history of one process."""
    out = tmp_path_factory.mktemp("alone")
    finish(start(out))
    history = history_of(out)
    # It has learned something: equal losses of a network that stands still would say little.
    assert len(history["loss"]) == EPOCHS and history["loss"][-1] < 0.9 * history["loss"][0]
    return history


@needs_jax
def test_four_processes_have_the_losses_of_one(alone, tmp_path):
    with started(tmp_path, 4) as (_, processes):
        said = {number: finish(process) for number, process in processes.items()}
    assert_same_losses(history_of(tmp_path), alone)
    assert json.loads((tmp_path / "result.json").read_text())["processes"] == 4
    assert "Epoch 5/5" in said[0][0]
    assert all("Epoch" not in said[number][0] for number in (1, 2, 3))
    written = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".log")
    assert written == ["checkpoints", "encoder.json", "model.keras", "result.json"]


@needs_jax
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_process_that_comes_back_goes_on_with_the_others(alone, tmp_path):
    (tmp_path / "stop-1").touch()
    with started(tmp_path, 2) as (address, processes):
        deadline = time.monotonic() + 240
        while not (tmp_path / "stopped").exists():
            assert processes[1].poll() is None, processes[1].stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        processes[1].send_signal(signal.SIGKILL)
        processes[1].communicate()
        (tmp_path / "stop-1").unlink()
        assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == [
            "checkpoint-00001.npz",
            "checkpoint-00002.npz",
        ]
        processes[1] = start(tmp_path, address, 2, 1, 120)
        out, errors = finish(processes[0])
        finish(processes[1])
    # Epoch 3 was begun twice, epochs 1 and 2 once: both went on from the checkpoint.
    assert [line for line in out.splitlines() if line.startswith("Epoch")] == [
        f"Epoch {number}/5" for number in (1, 2, 3, 3, 4, 5)
    ]
    assert errors.count("Process 0 broke off or lost the others; it waits up to 120 s") == 1
    assert "Traceback" not in errors
    assert_same_losses(history_of(tmp_path), alone)


@needs_jax
def test_a_process_that_never_comes_ends_the_others_in_one_sentence(tmp_path):
    with started(tmp_path, 4, only=(0, 1), wait=3) as (address, processes):
        for number, process in processes.items():
            out, errors = process.communicate(timeout=120)
            assert (process.returncode, out) == (1, ""), errors
            assert errors == (
                f"course: Process {number} waited 3 s, but not all 4 came to {address}: start each id from 0 "
                "to 3 once, where process 0 can be reached, or let them --wait longer.\n"
            )


@needs_jax
def test_processes_that_do_not_do_the_same_say_what_differs(monkeypatch):
    from jax.experimental import multihost_utils

    def beside(other):
        """As if a second process held the other facts."""
        rows = []
        monkeypatch.setattr(multihost_utils, "process_allgather", lambda own: rows.append(own) or own[None])
        agree(other)
        monkeypatch.setattr(multihost_utils, "process_allgather", lambda own: np.stack([own, rows[0]]))

    facts = {"data": b"reviews", "checkpoints": b"3"}
    beside(facts)
    agree(facts)
    beside({"data": b"reviews", "checkpoints": b"2"})
    with pytest.raises(UsageError, match=r"differ in their checkpoints: .* folder --out that they share"):
        agree(facts)


def pieces(length=5):
    """Seven texts in batches of four: the last batch has one row that is filled."""
    sequences = [list(range(2, 3 + number % length)) for number in range(7)]
    return sequences, np.arange(7) % 2


@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_the_shards_one_below_the_other_are_the_batch(num_processes):
    sequences, labels = pieces()
    sizes = {"batch_size": 4, "bucket_lengths": [3, 5], "seed": 1}
    whole = BucketedBatches(sequences, labels, **sizes)
    shards = [
        ShardedBatches(BucketedBatches(sequences, labels, **sizes), num_processes, number)
        for number in range(num_processes)
    ]
    for _ in range(3):  # epochs, each in another order
        assert all(len(shard) == len(whole) == 2 and shard.epoch == whole.epoch for shard in shards)
        for index in range(2):
            parts = [shard[index] for shard in shards]
            assert all(len(array) == 4 // num_processes for part in parts for array in part)
            for joint, array in zip(zip(*parts, strict=True), whole[index], strict=True):
                np.testing.assert_array_equal(np.concatenate(joint), array)
        for batches in (whole, *shards):
            batches.on_epoch_end()
    shards[0].epoch = 0
    whole.epoch = 0
    np.testing.assert_array_equal(shards[0][0][1], whole[0][1][: 4 // num_processes])


def test_shards_of_several_inputs_and_token_labels():
    sequences, _ = pieces()
    inputs = {"token_ids": sequences, "casing_ids": [[1] * len(ids) for ids in sequences]}
    batches = BucketedBatches(inputs, token_labels=sequences, batch_size=4, bucket_lengths=[5])
    ids, labels, weights = ShardedBatches(batches, 2, 1)[1]
    # The second batch holds texts 4, 5 and 6: text 6, of two ids, and a filled row are left for process 1.
    np.testing.assert_array_equal(ids["token_ids"], [[2, 3, 0, 0, 0], [1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(labels, [[2, 3, -1, -1, -1], [-1] * 5])
    np.testing.assert_allclose(weights, [[2 * 4 / 7], [0]], rtol=1e-6)


def test_the_mean_of_the_shards_gradients_is_the_gradient_of_the_batch():
    """For least squares, whose gradient 2/n Xᵀ(Xw − y) is written down in a line."""
    sequences, labels = pieces()
    batches = BucketedBatches(sequences, labels, batch_size=4, bucket_lengths=[5])
    weights = np.linspace(-1, 1, 5)

    def gradient(batch):
        ids, targets, rows = batch
        return 2 / len(ids) * ids.T @ (rows * (ids @ weights - targets))

    for index in range(2):
        shards = [gradient(ShardedBatches(batches, 2, number)[index]) for number in range(2)]
        np.testing.assert_allclose(np.mean(shards, axis=0), gradient(batches[index]), rtol=1e-6)


def test_without_the_three_options_there_is_one_process():
    assert cluster_of(None, None, None, 60) is None
    assert cluster_of("[::1]:1234", 2, 1, 60) == Cluster("[::1]:1234", 2, 1, 60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("a:1", None, None), r"add --num-processes and --process-id, or leave"),
        (("a:1", 2, None), r"add --process-id, or leave"),
        ((None, 2, 0), r"add --coordinator, or leave"),
        (("a", 2, 0), r"The coordinator 'a' is no HOST:PORT"),
        ((":1234", 2, 0), r"no HOST:PORT"),
        (("a:", 2, 0), r"no HOST:PORT"),
        (("a:70000", 2, 0), r"no HOST:PORT"),
        (("a:0", 2, 0), r"no HOST:PORT"),
        (("a:port", 2, 0), r"no HOST:PORT"),
        (("a:1", 2, 2), r"The process id is 2; of 2 processes it must be one from 0 to 1"),
        (("a:1", 2, -1), r"The process id is -1"),
        (("a:1", 0, 0), r"The number of processes is 0; it must be at least 1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UsageError, match=message):
        cluster_of(*options, 60)


def test_no_time_to_wait():
    with pytest.raises(UsageError, match="seconds to wait are 0"):
        cluster_of("a:1", 2, 0, 0)


def test_without_jax_the_sentence_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(distributed, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"JAX, which is not installed: run `pip install -e \.\[jax\]`"):
        supervise(["never", "started"], Cluster("127.0.0.1:1", 2, 1), tmp_path)


@pytest.mark.parametrize("task", RECIPES)
def test_processes_that_cannot_share_a_batch(task, tmp_path):
    with pytest.raises(UsageError, match=r"3 processes cannot share batches of (64|32) rows equally"):
        train_task(task, "smoke", out=tmp_path, cluster=Cluster("127.0.0.1:1", 3, 0))
    assert list(tmp_path.iterdir()) == []


def test_wrong_use_of_train_task(tmp_path):
    with pytest.raises(UsageError, match=r"Unknown task to train 'review'\. Did you mean 'reviews'\?"):
        train_task("review", "smoke", out=tmp_path)
    with pytest.raises(UsageError, match=r"Unknown profile 'fats'\. Did you mean 'fast'\?"):
        train_task("reviews", "fats", out=tmp_path)
    with pytest.raises(UsageError, match="The number of epochs is 0"):
        train_task("reviews", "smoke", out=tmp_path, epochs=0)
    with pytest.raises(UsageError, match="The batch size is 0; it must be at least 1"):
        train_task("reviews", "smoke", out=tmp_path, batch_size=0)
    with pytest.raises(UsageError, match="3 processes cannot share batches of 10 rows equally"):
        train_task("reviews", "smoke", out=tmp_path, batch_size=10, cluster=Cluster("127.0.0.1:1", 3, 0))


# Supervisors without JAX: their workers are lines of Python that end as JAX would let them end.


@pytest.fixture
def with_jax(monkeypatch):
    monkeypatch.setattr(distributed, "find_spec", lambda name: True)


def worker(code):
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_worker_that_has_spoken_for_itself_is_not_started_again(with_jax, tmp_path, code):
    assert supervise(worker(f"import sys; sys.exit({code})"), Cluster("127.0.0.1:1", 2, 1), tmp_path) == code


def test_a_worker_that_breaks_off_is_started_again_but_not_forever(with_jax, tmp_path, capfd):
    runs = tmp_path / "runs"
    code = f"import os; open({str(runs)!r}, 'a').write('x'); os.abort()"
    with pytest.raises(
        CourseError, match=r"broke off 4 times without a new checkpoint .*process-1\.log says"
    ):
        supervise(worker(code), Cluster("127.0.0.1:1", 2, 1), tmp_path)
    assert runs.read_text() == "xxxx"
    assert capfd.readouterr().err.count("waits up to 60 s for all to be there again") == 3


def test_a_worker_that_gets_on_is_started_again_as_often_as_it_takes(with_jax, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    code = (
        f"import os, pathlib; folder = pathlib.Path({str(tmp_path / 'checkpoints')!r}); "
        "done = len(list(folder.iterdir())); "
        "(folder / f'checkpoint-{done + 1:05d}.npz').touch(); os._exit(0 if done == 7 else 75)"
    )
    assert supervise(worker(code), Cluster("127.0.0.1:1", 2, 1), tmp_path) == 0


def test_a_port_that_is_taken(with_jax, tmp_path):
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UsageError, match=rf"Process 0 cannot have port {port} .*choose another one"):
            supervise(worker("pass"), Cluster(f"127.0.0.1:{port}", 2, 0), tmp_path)


def test_resume_without_saving_reads_and_writes_nothing(tmp_path):
    """What all processes but process 0 do: they follow the checkpoints and leave them alone."""
    from course_lib.training import compile_classifier, train

    def run(epochs, **options):
        keras.utils.set_random_seed(0)
        token_ids = keras.Input((None,), dtype="int32")
        pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 3)(token_ids))
        model = keras.Model(token_ids, keras.layers.Dense(2)(pooled))
        compile_classifier(model, keras.optimizers.Adam(0.05))
        batches = BucketedBatches(*pieces(), batch_size=4, bucket_lengths=[5], seed=0)
        return train(model, batches, epochs=epochs, checkpoint_dir=tmp_path, verbose=0, **options)

    run(2)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    follower = run(3, save_checkpoints=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert follower == run(3)
