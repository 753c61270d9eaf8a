"""The installer starts with nothing but the standard library."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "src" / "install.py"


def test_nothing_beside_the_installer_hides_the_standard_library() -> None:
    beside = {path.stem for path in SCRIPT.parent.iterdir()} - {SCRIPT.stem}
    assert not beside & set(sys.stdlib_module_names)


def test_an_unknown_python_is_refused_in_a_sentence(tmp_path: Path) -> None:
    code = f"import runpy, sys; sys.version_info = (3, 9, 0); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode != 0 and "Traceback" not in found.stderr
    assert "Python 3.10, 3.11 or 3.12 is needed" in found.stderr + found.stdout
