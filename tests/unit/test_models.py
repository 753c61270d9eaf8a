"""Learned models: manifest, checksums, and what is said of files that are missing or wrong."""

import numpy as np
import pytest

from robotaxi import model_store
from robotaxi.cli import main
from robotaxi.model_store import ModelEntry, ModelError, find, models_dir, pull, read_manifest, sha256, verify
from robotaxi.perception.camera.light_state import FEATURES, LightModelError, LightStateNetwork
from robotaxi.perception.inference import InferenceError, OnnxModel


def test_every_shipped_model_is_the_manifests():
    shipped = [item for item in read_manifest().values() if item.shipped]
    assert shipped
    for item in shipped:
        assert find(item).parent == models_dir() and item.licence and (models_dir() / item.card).is_file()


def test_the_split_of_the_light_crops_is_half():
    names = (models_dir() / "traffic_light_state.train.txt").read_text().split()
    assert len(names) == len(set(names)) == 742


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "net.onnx"
    path.write_bytes(b"weights")
    return ModelEntry("net", "net.onnx", sha256(path), "test", "none", source="https://models.invalid/net.onnx"), path


def test_pulling_checks_what_it_fetches(weights, tmp_path):
    item, path = weights
    with pytest.raises(ModelError, match="run 'robotaxi models pull net'"):
        find(item)
    assert find(item, [path.parent]) == path
    assert pull(item, path.parent).read_bytes() == b"weights" and find(item) == model_store.cache_dir() / "net.onnx"
    path.write_bytes(b"other weights")
    with pytest.raises(ModelError, match=r"SHA-256 is .* the manifest says"):
        verify(item, path)
    (model_store.cache_dir() / "net.onnx").unlink()
    with pytest.raises(ModelError, match="damaged"):
        pull(item, path)
    assert not list(model_store.cache_dir().iterdir()), "nothing that fails the checksum stays"
    with pytest.raises(ModelError, match="cannot be fetched"):
        pull(item, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("models: [", "cannot be read"),
        ("other: 1", "expected 'models:'"),
        ("models: {a: {file: x, task: t, licence: l}}", "model 'a': 'sha256' is missing"),
        ("models: {a: {file: x, sha256: y, task: t, licence: l, size: 3}}", "unknown keys size"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path, text, match):
    path = tmp_path / "manifest.yaml"
    path.write_text(text)
    with pytest.raises(ModelError, match=match):
        read_manifest(path)


def test_broken_weights_are_named(tmp_path):
    path = tmp_path / "net.npz"
    for content in (b"", b"not a zip"):
        path.write_bytes(content)
        with pytest.raises(LightModelError, match=r"net\.npz: is no traffic light network"):
            LightStateNetwork.load(path)
    np.savez(path, hidden=np.zeros((3, 4)), out=np.zeros((5, 3)))
    with pytest.raises(LightModelError, match=rf"expected \({FEATURES + 1}, H\)"):
        LightStateNetwork.load(path)
    pytest.importorskip("onnxruntime")
    path.write_bytes(b"not an onnx file")
    with pytest.raises(InferenceError, match="cannot be loaded as an ONNX model"):
        OnnxModel(path)


def test_models_of_another_shape_are_named():
    pytest.importorskip("onnxruntime")
    model = OnnxModel(models_dir() / "lidar_second_look.onnx")
    with pytest.raises(InferenceError, match=r"expected input 'patch' of shape \(None, 3, 8, 8\), the model has"):
        model.expect({"patch": (None, 3, 8, 8)})
    with pytest.raises(InferenceError, match="expected input 'images'"):
        model.expect({"images": (1, 3, 416, 416)})
    with pytest.raises(InferenceError, match="do not fit"):
        model(patch=np.zeros((1, 7, 8, 8), np.float32), fact=np.zeros((1, 12), np.float32))


def test_the_commands(capsys, weights):
    assert main(["models", "list"]) == 0 and "licence: Apache-2.0" in capsys.readouterr().out
    assert main(["models", "verify"]) == 0 and capsys.readouterr().out.splitlines()[-1].endswith(" 0 wrong, 1 absent")
    assert main(["models", "pull", "nothing"]) == 2 and "unknown model 'nothing'" in capsys.readouterr().err


def test_unusable_data_ends_in_a_sentence(tmp_path, capsys):
    for bench in ("lidar", "tracking", "lights", "camera"):
        assert main(["bench", bench, "--data", str(tmp_path / "nowhere"), "--json", str(tmp_path / "out.json")]) == 2
        assert "nowhere" in capsys.readouterr().err and "nowhere" in (tmp_path / "out.json").read_text()
