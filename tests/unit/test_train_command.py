"""`robotaxi train`: what is unusable is named before hours are spent, and an interrupted training leaves nothing."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from robotaxi.cli import main
from robotaxi.commands import train


def crops(folder, *names):
    cv2 = pytest.importorskip("cv2")
    for name in names:
        (folder / name).mkdir(parents=True)
        for k in range(2):
            cv2.imwrite(str(folder / name / f"{k}.png"), np.full((30, 12, 3), 40 + 50 * k, np.uint8))
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lidar", "--scenes", "1"), "--scenes is 1, at least 2 is needed"),
        (("lidar", "--epochs", "0"), "--epochs is 0"),
        (("camera", "--pictures", "0"), "--pictures is 0"),
        (("camera", "--seed", "-1"), "--seed is -1"),
        (("lights", "--data", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_unusable_numbers_and_folders_are_named(tmp_path, capsys, words, said):
    assert main(["train", *words, "-o", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named_first(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["train", "lidar", "-o", str(tmp_path / "file" / "out")]) == 2
    assert "file" in capsys.readouterr().err


def test_crops_that_are_missing_or_broken_are_named(tmp_path, capsys):
    folder = crops(tmp_path / "data", "red", "green")
    assert main(["train", "lights", "--data", str(folder), "-o", str(tmp_path)]) == 2
    assert "no crops to train on of amber" in capsys.readouterr().err
    crops(folder, "yellow")
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    assert main(["train", "lights", "--data", str(folder), "-o", str(tmp_path)]) == 2
    assert ".png: cannot be read as a picture" in capsys.readouterr().err


@pytest.fixture
def interruptible():
    """Who is started in the background by a shell ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_leaves_the_folder_as_it_was(tmp_path, capsys, monkeypatch, by, interruptible):
    def cut(path, **arrays):
        path.write_bytes(b"half of it")
        os.kill(os.getpid(), by)
        raise AssertionError("was not interrupted")

    folder, out = crops(tmp_path / "data", "red", "yellow", "green"), tmp_path / "out"
    monkeypatch.setattr(np, "savez", cut)
    assert main(["train", "lights", "--data", str(folder), "-o", str(out)]) == 130
    assert "interrupted" in capsys.readouterr().err and not list(out.iterdir())


def test_a_file_is_put_in_place_once_it_is_whole(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_text("old")
    with pytest.raises(OSError, match="full"):
        train._export(path, lambda part: (_ for _ in ()).throw(OSError("full")))
    assert path.read_text() == "old"
    train._export(path, lambda part: part.write_text("new"))
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"] and path.read_text() == "new"
