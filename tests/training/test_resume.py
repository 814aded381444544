"""Checkpoints: a killed run ends as an uninterrupted one, bit for bit; damaged files are refused by name."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

from course_lib.errors import CourseError
from course_lib.text.batches import BucketedBatches
from course_lib.training import _read_checkpoint, compile_classifier, train

SCRIPT = Path(__file__).with_name("resumable_run.py")


def start(*arguments):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_resume_after_sigkill_equals_the_uninterrupted_run_bit_for_bit(tmp_path):
    uninterrupted = start(tmp_path / "whole", tmp_path / "whole.npz")
    killed = start(tmp_path / "cut", tmp_path / "cut.npz", tmp_path / "marker")
    deadline = time.monotonic() + 180
    while not (tmp_path / "marker").exists():
        assert killed.poll() is None, killed.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    finish(uninterrupted)
    assert not (tmp_path / "cut.npz").exists()
    assert [path.name for path in sorted((tmp_path / "cut").iterdir())] == [
        "checkpoint-00001.npz",
        "checkpoint-00002.npz",
    ]

    finish(start(tmp_path / "cut", tmp_path / "cut.npz"))
    with np.load(tmp_path / "whole.npz") as whole, np.load(tmp_path / "cut.npz") as cut:
        assert set(whole.files) == set(cut.files) and len(whole.files) > 30
        for name in whole.files:
            assert whole[name].tobytes() == cut[name].tobytes(), name
        history = json.loads(str(whole["history"]))
    # The run is worth resuming: it went on after the kill, and the best weights are not the last ones.
    losses = history["val_loss"]
    assert len(losses) > 3 and int(np.argmin(losses)) < len(losses) - 1
    newest = [sorted((tmp_path / folder).iterdir())[-1].read_bytes() for folder in ("whole", "cut")]
    assert newest[0] == newest[1]


def tiny_batches(seed=0):
    random = np.random.default_rng(3)
    sequences = [random.integers(2, 9, size=size).tolist() for size in (1, 2, 3, 4, 5, 6, 7, 8) * 2]
    return BucketedBatches(sequences, np.arange(16) % 2, batch_size=4, bucket_lengths=[4, 8], seed=seed)


def tiny_model(hidden_dim=3):
    keras.utils.set_random_seed(0)
    token_ids = keras.Input((None,), dtype="int32")
    states = keras.layers.Embedding(9, hidden_dim)(token_ids)
    pooled = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling1D()(states))
    model = keras.Model(token_ids, keras.layers.Dense(2)(pooled))
    compile_classifier(model, keras.optimizers.Adam(0.05))
    return model


def run(folder, epochs, model=None, **options):
    model = model or tiny_model()
    return model, train(model, tiny_batches(), epochs=epochs, checkpoint_dir=folder, verbose=0, **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def reference():
    """Weights and history of four epochs in one go, without checkpoints."""
    model, history = run(None, 4)
    return model.get_weights(), history


@pytest.fixture
def three_epochs(tmp_path):
    run(tmp_path / "run", 3)
    return tmp_path / "run"


def assert_equals(reference, model, history):
    weights, expected = reference
    assert history == expected
    assert all(a.tobytes() == b.tobytes() for a, b in zip(model.get_weights(), weights, strict=True))


def damaged_by(damage, content):
    if damage == "empty":
        return b""
    if damage == "truncated":
        return content[: len(content) // 2]
    if damage == "one byte short":
        return content[:-1]
    if damage == "no checkpoint":
        return b"something else"
    if damage == "one byte more":
        return content + b"\0"
    place = {
        "first byte": 0,
        "first quarter": len(content) // 4,
        "middle": len(content) // 2,
        "last byte": -1,
    }[damage]
    content = bytearray(content)
    content[place] ^= 0x04
    return bytes(content)


DAMAGE = ["empty", "truncated", "one byte short", "one byte more", "no checkpoint"]
FLIPS = ["first byte", "first quarter", "middle", "last byte"]


def test_only_the_newest_checkpoints_are_kept(three_epochs):
    assert names(three_epochs) == ["checkpoint-00002.npz", "checkpoint-00003.npz"]


def test_a_checkpoint_is_an_ordinary_npz_file(three_epochs):
    with np.load(three_epochs / "checkpoint-00003.npz", allow_pickle=False) as archive:
        assert int(archive["epochs_done"]) == 3
        assert archive["model/00000"].shape == (9, 3)


def test_resume_goes_on(three_epochs, reference):
    assert_equals(reference, *run(three_epochs, 4))
    assert names(three_epochs) == ["checkpoint-00003.npz", "checkpoint-00004.npz"]


@pytest.mark.parametrize("damage", DAMAGE + FLIPS)
def test_a_damaged_newest_checkpoint_is_refused_and_the_one_before_used(three_epochs, reference, damage):
    newest, older = three_epochs / "checkpoint-00003.npz", three_epochs / "checkpoint-00002.npz"
    newest.write_bytes(damaged_by(damage, newest.read_bytes()))
    before = older.read_bytes()
    with pytest.warns(UserWarning, match=r"checkpoint-00003\.npz is damaged"):
        resumed = run(three_epochs, 3)
    assert older.read_bytes() == before
    assert names(three_epochs) == ["checkpoint-00002.npz", "checkpoint-00003.npz"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert_equals(reference, *run(three_epochs, 4, resumed[0]))


def test_flipped_bits_are_noticed(three_epochs):
    """Also in the headers of the zip file, which its own checksums leave out."""
    path = three_epochs / "checkpoint-00003.npz"
    content = path.read_bytes()
    aside = three_epochs / "flipped.npz"
    assert _read_checkpoint(path)[0] == 3
    for place in range(0, len(content), 3):
        aside.write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        with pytest.raises(ValueError, match="checksum"):
            _read_checkpoint(aside)


def test_all_checkpoints_damaged(three_epochs):
    for path in three_epochs.iterdir():
        path.write_bytes(path.read_bytes()[:-40])
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(CourseError, match=r"All checkpoints in .*run"),
    ):
        run(three_epochs, 4)
    assert len(names(three_epochs)) == 2


@pytest.mark.parametrize("other", ["hidden size", "optimizer"])
def test_a_checkpoint_of_another_model_is_refused_and_changes_nothing(three_epochs, other):
    model = tiny_model(hidden_dim=4 if other == "hidden size" else 3)
    if other == "optimizer":
        compile_classifier(model, keras.optimizers.SGD(0.1))
    before, files = model.get_weights(), names(three_epochs)
    with pytest.raises(CourseError, match=r"checkpoint-00003\.npz belongs to another model"):
        run(three_epochs, 4, model)
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))
    assert names(three_epochs) == files


class FullDisk:
    """A file that takes half of what is written and then has no room left."""

    def __init__(self, path):
        self.path = Path(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def write(self, content):
        self.path.write_bytes(bytes(content)[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_older_checkpoints(three_epochs, reference, monkeypatch):
    before = {path.name: path.read_bytes() for path in three_epochs.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr("course_lib.files.open", lambda path, mode: FullDisk(path), raising=False)
        with pytest.raises(CourseError, match=r"checkpoint-00004\.npz could not be written.*No space left"):
            run(three_epochs, 4)
    assert {path.name: path.read_bytes() for path in three_epochs.iterdir()} == before
    assert_equals(reference, *run(three_epochs, 4))


def test_a_checkpoint_that_did_not_arrive_whole_does_not_take_its_name(three_epochs, monkeypatch):
    before = names(three_epochs)
    replaced = os.fsync

    def lose_the_end(descriptor):
        replaced(descriptor)
        os.ftruncate(descriptor, 100)

    monkeypatch.setattr("course_lib.files.os.fsync", lose_the_end)
    with pytest.raises(CourseError, match="could not be written"):
        run(three_epochs, 4)
    assert names(three_epochs) == before


def test_a_file_aside_of_a_killed_run_is_no_checkpoint(three_epochs, reference):
    (three_epochs / "checkpoint-00004.npz.0123456789abcdef.tmp").write_bytes(b"half a checkpoint")
    assert_equals(reference, *run(three_epochs, 4))
    assert names(three_epochs) == ["checkpoint-00003.npz", "checkpoint-00004.npz"]


def test_a_finished_run_does_nothing_more(three_epochs, monkeypatch):
    whole = run(None, 3)
    monkeypatch.setattr(keras.Model, "fit", lambda *args, **kwargs: pytest.fail("trained again"))
    for epochs in (3, 2):
        model, history = run(three_epochs, epochs)
        assert_equals((whole[0].get_weights(), whole[1]), model, history)


def test_a_run_that_stopped_early_does_nothing_more(tmp_path, monkeypatch):
    # The validation labels contradict the training labels: the loss rises from some epoch on.
    batches = tiny_batches()
    validation = BucketedBatches(
        batches.sequences, 1 - batches.labels, batch_size=4, bucket_lengths=[4, 8], seed=5
    )
    options = {"validation_batches": validation, "patience": 2}
    first, history = run(tmp_path, 50, **options)
    losses = history["val_loss"]
    assert len(losses) == int(np.argmin(losses)) + 3 < 50
    monkeypatch.setattr(keras.Model, "fit", lambda *args, **kwargs: pytest.fail("trained again"))
    again, same = run(tmp_path, 50, **options)
    assert_equals((first.get_weights(), history), again, same)


def test_early_stopping_goes_on_only_from_its_own_checkpoints(tmp_path):
    batches = tiny_batches()
    validation = BucketedBatches(
        batches.sequences, 1 - batches.labels, batch_size=4, bucket_lengths=[4, 8], seed=5
    )
    stopping = {"validation_batches": validation, "patience": 2}
    stopped, history = run(tmp_path / "a", 50, **stopping)
    epochs = len(history["val_loss"])
    # Without patience the last weights stay, which are not those of the best epoch.
    last, _ = run(tmp_path / "a", epochs, validation_batches=validation)
    whole, _ = run(tmp_path / "b", epochs, validation_batches=validation)
    for after_stop, best, after_all in zip(*(m.get_weights() for m in (last, stopped, whole)), strict=True):
        np.testing.assert_array_equal(after_stop, after_all)
        assert not np.array_equal(after_stop, best)
    with pytest.raises(CourseError, match="without early stopping and holds no best weights"):
        run(tmp_path / "b", epochs + 1, **stopping)
