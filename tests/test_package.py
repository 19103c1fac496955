import subprocess
import sys

import pytest

import blocklearn


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)


def test_import_loads_nothing_heavy_and_prints_nothing() -> None:
    heavy = "{'torch', 'lightning', 'timm', 'wandb', 'matplotlib', 'sklearn'}"
    done = run_python(f"import sys, blocklearn; assert not {heavy} & set(sys.modules), sys.modules.keys()")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_public_name_resolves_without_wandb() -> None:
    code = (
        "import sys, warnings; sys.modules['wandb'] = None; warnings.simplefilter('default')\n"
        "import blocklearn; print(len([getattr(blocklearn, name) for name in blocklearn.__all__]))"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(blocklearn.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Blok'"):
        _ = blocklearn.Blok  # pyright: ignore[reportAttributeAccessIssue]
