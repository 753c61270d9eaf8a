"""Parameters: every error names file, key, value and what is allowed."""

from dataclasses import dataclass

import pytest

from robotaxi.params import ParameterError, build, load_config, load_yaml, param


@dataclass(frozen=True)
class Config:
    gap: float = param(0.5, lo=0.1, hi=2.0, unit="m", doc="gap")
    count: int = param(3, lo=1, hi=9)
    kind: str = param("a", choices=("a", "b"))
    on: bool = param(True)


def test_defaults_and_values():
    assert build(Config, {}) == Config()
    assert build(Config, {"gap": 1, "on": False}) == Config(gap=1.0, on=False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gap": 3.0}, "f.yaml: parameter 'gap' is 3.0, allowed is 0.1 to 2 m"),
        ({"gap": "wide"}, "f.yaml: parameter 'gap' is 'wide' (str), expected float 0.1 to 2 m"),
        ({"gap": float("nan")}, "f.yaml: parameter 'gap' is nan, expected a finite number"),
        ({"count": 2.5}, "f.yaml: parameter 'count' is 2.5 (float), expected int 1 to 9"),
        ({"count": True}, "f.yaml: parameter 'count' is True (bool), expected int 1 to 9"),
        ({"kind": "c"}, "f.yaml: parameter 'kind' is 'c', allowed is one of a, b"),
        ({"gaps": 1.0}, "f.yaml: unknown parameter 'gaps'; known are: count, gap, kind, on"),
    ],
)
def test_errors_name_everything(values, message):
    with pytest.raises(ParameterError) as error:
        build(Config, values, "f.yaml")
    assert str(error.value) == message


def test_unreadable_files(tmp_path):
    with pytest.raises(ParameterError, match=r"none\.yaml: cannot be read: No such file"):
        load_yaml(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: 1\nb: [1, 2\nc: 3\n")
    with pytest.raises(ParameterError, match=r"broken\.yaml: line \d+ is not valid YAML"):
        load_yaml(broken)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParameterError, match=r"bytes\.yaml: cannot be read"):
        load_yaml(tmp_path / "bytes.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ParameterError, match="expected 'key: value' lines, found list"):
        load_config(Config, tmp_path / "list.yaml")
