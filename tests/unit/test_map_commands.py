"""`robotaxi map ...` as a person calls it."""

from robotaxi.cli import main


def test_picture_is_a_png(tmp_path, capsys):
    file = tmp_path / "town.png"
    assert main(["map", "picture", "town", "-o", str(file)]) == 0
    assert file.read_bytes().startswith(b"\x89PNG")
    assert str(file) in capsys.readouterr().out


def test_unknown_map_is_named(capsys):
    assert main(["map", "check", "atlantis"]) == 2
    assert "unknown map 'atlantis'; known maps: dead_end, town" in capsys.readouterr().err
