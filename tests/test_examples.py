import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_ten_lines_of_python_do_what_the_command_line_does(tmp_path: Path) -> None:
    script = EXAMPLES / "ten_lines.py"
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("world to do\n")
    assert done.stdout.endswith("whole\n")
    assert (tmp_path / "runs" / "ten_lines" / "mix-kept" / "manifest.json").is_file()
