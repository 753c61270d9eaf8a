"""config/stack is what the config dataclasses say, and wrong files are named to the key."""

import pytest

from robotaxi.parameter_files import CONFIGS, check_file, domain_text
from robotaxi.params import ParameterError
from robotaxi.resources import config_dir


@pytest.mark.parametrize("domain", CONFIGS)
def test_shipped_file_is_up_to_date(domain):
    text = (config_dir() / "stack" / f"{domain}.param.yaml").read_text(encoding="utf-8")
    assert text == domain_text(domain), "run: robotaxi params --write config/stack"


@pytest.mark.parametrize("domain", CONFIGS)
def test_shipped_file_passes_the_check(domain):
    check_file(config_dir() / "stack" / f"{domain}.param.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "expected 'node: ros__parameters:' sections"),
        ("/**/planner:\n  gap: 1\n", "section '/**/planner' has no 'ros__parameters:' below it"),
        ("/**/pilot:\n  ros__parameters: {gap: 1}\n", "unknown node '/**/pilot'; known are: "),
        ("/**/controller:\n  ros__parameters: {wobble: 1}\n", "controller: unknown parameter 'wobble'"),
        (
            "/**/localization:\n  ros__parameters: {map: town, use_sim_time: true, no_such: 1}\n",
            "unknown parameter 'no_such'",
        ),
        (
            "/**/dispatch_bridge:\n  ros__parameters: {bridge: {state_period: 1.0e+9}}\n",
            "'state_period' is 1000000000.0, allowed is",
        ),
    ],
)
def test_wrong_file_is_named_to_the_key(tmp_path, text, message):
    file = tmp_path / "mine.param.yaml"
    file.write_text(text)
    with pytest.raises(ParameterError) as error:
        check_file(file)
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)
