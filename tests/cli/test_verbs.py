"""What is told before anything heavy is imported: help, version, and words that are wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import blocklearn
from blocklearn.__main__ import main
from blocklearn.cli.verbs import TRAINER_VERBS, VERBS

HEAVY = ["torch", "lightning", "jsonargparse", "timm", "numpy", "wandb", "matplotlib", "sklearn"]


def run_and_list_heavy_modules(*arguments: str) -> tuple[int, list[str], str]:
    """Exit status, which heavy modules were imported, and all that was printed."""
    code = (
        "import json, sys\nfrom blocklearn.__main__ import main\n"
        f"try:\n    status = main({list(arguments)!r})\n"
        "except SystemExit as stop:\n    status = stop.code\n"
        f"print(json.dumps([status, [name for name in {HEAVY!r} if name in sys.modules]]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    *printed, last = done.stdout.splitlines()
    status, heavy = json.loads(last)
    return status, heavy, "\n".join([*printed, done.stderr])


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    status, heavy, printed = run_and_list_heavy_modules("--help")
    assert (status, heavy) == (0, [])
    words = " ".join(printed.split())
    assert all(f"{name} {' '.join(text.split())}" in words for name, text in VERBS.items())


@pytest.mark.parametrize(
    ("arguments", "expected", "told"),
    [
        (["--version"], 0, "blocklearn 0."),
        (["help"], 0, "usage: blocklearn"),
        (["help", "compare"], 0, "usage: blocklearn compare"),
        ([], 2, "usage: blocklearn"),
        (["fti"], 2, "blocklearn: error: there is no verb 'fti'; did you mean fit?"),
        (["zzz"], 2, "blocklearn: error: there is no verb 'zzz'; there are fit, "),
        (
            ["--config", "bt_digits.yaml", "fit"],
            2,
            "--config comes before the verb; write blocklearn fit --config",
        ),
        (
            ["--config", "bt_digits.yaml"],
            2,
            "--config comes before the verb; write blocklearn VERB --config, VERB one",
        ),
        (["fit", "--config", "bt_digit.yaml"], 1, "did you mean bt_digits.yaml?"),
        (["test", "--config", "probe_linear"], 1, "probe_linear.yaml says nothing of a model"),
    ],
)
def test_what_is_wrong_at_once_is_told_at_once(
    arguments: list[str], expected: int, told: str
) -> None:
    status, heavy, printed = run_and_list_heavy_modules(*arguments)
    assert (status, heavy) == (expected, [])
    assert told in printed


@pytest.mark.parametrize("verb", TRAINER_VERBS)
def test_a_verb_on_a_configuration_tells_its_own_arguments(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert " ".join(TRAINER_VERBS[verb].split()) in printed
    assert "--model.backbone" in printed


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - TRAINER_VERBS.keys()))
def test_the_other_verbs_tell_theirs_and_import_nothing_heavy(verb: str) -> None:
    code = (
        f"import sys\nfrom blocklearn.__main__ import main\ntry:\n    main([{verb!r}, "
        "'--help'])\nfinally:\n"
    )
    code += f"    assert not {set(HEAVY)!r} & set(sys.modules), sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: blocklearn {verb} ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_is_no_error(unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "blocklearn", "--help"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_all_places_say_how_long_the_demo_takes_in_the_same_words() -> None:
    root = Path(blocklearn.__file__).parents[1]
    files = ("README.md", "Makefile", "blocklearn/cli/demo.py", "blocklearn/cli/verbs.py")
    assert [file for file in files if "1 to 2 minutes" not in (root / file).read_text()] == []
