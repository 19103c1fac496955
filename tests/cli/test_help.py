"""Help that is short, at once, and as the parser is."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blocklearn.__main__ import main
from blocklearn.cli.flags import HELP, read_flags
from blocklearn.cli.help_page import first_sentence
from blocklearn.cli.help_text import files
from blocklearn.cli.parser_of import parser_of
from blocklearn.cli.recipes import list_recipes
from blocklearn.cli.trainer_help import REFUSED
from blocklearn.cli.verbs import TRAINER_VERBS
from blocklearn.runs.run_folder import shipped_configs

HEAVY = {"torch", "lightning", "jsonargparse", "timm", "numpy", "wandb", "matplotlib", "sklearn"}


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_the_pages_of_help_are_what_the_parsers_say_today() -> None:
    """`python -m blocklearn.cli.help_text` writes them anew."""
    for name, text in files().items():
        assert (HELP / name).read_text(encoding="utf-8") == text, name


@pytest.mark.parametrize("verb", TRAINER_VERBS)
def test_a_page_has_at_most_120_lines_of_80_columns(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, verb, "--help").splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 80


def test_help_of_a_verb_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom blocklearn.__main__ import main\nmain(['fit', '--help'])\n"
        "main(['help', 'fit', '--all'])\nmain(['help', 'recipes'])\n"
        f"assert not {HEAVY!r} & set(sys.modules), set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["fit", "compare", "completion"])
def test_all_ways_to_ask_for_help_are_alike(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    pages = []
    for arguments in (["help", verb], [verb, "-h"], [verb, "--help"]):
        with contextlib.suppress(SystemExit):
            main(arguments)
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1] == pages[2]
    assert pages[0].startswith(f"usage: blocklearn {verb}")


def test_the_short_names_that_can_be_chosen_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    page = " ".join(printed(capsys, "fit", "--help").split())
    for names in (
        "BarlowTwins, LPL, SimCLR, SwAV, VICReg, SupCon",
        "GlobalPooling, LocalPooling, TwoLayerPooling, ExpandPooling",
        "SimultaneousSchedule, SequentialSchedule",
        "LARS, Adam, AdamW, SGD (default AdamW)",
        "auto, blockwise_ddp, block_parallel",
    ):
        assert names in page


def test_what_is_refused_is_not_offered_and_still_parses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = printed(capsys, "fit", "--help=all")
    named = {action.dest for action in parser_of("fit")._actions}
    assert named >= REFUSED
    for name in (*REFUSED, "LearningRateFinder", "StochasticWeightAveraging", " 16-mixed", "FSDP"):
        assert name not in whole
    assert "torch.optim.Adadelta" not in whole


def test_every_flag_of_the_parser_that_is_not_refused_is_in_the_whole_help() -> None:
    for verb in TRAINER_VERBS:
        flags = read_flags(verb)
        for action in parser_of(verb)._actions:
            plain = type(action).__name__ not in ("_ActionConfigLoad", "_ActionHelpClassPath")
            if plain and action.dest not in (*REFUSED, "help"):
                assert action.dest in flags
                assert flags[action.dest].text, action.dest


def test_the_whole_help_is_as_wide_as_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        widest = max(map(len, printed(capsys, "help", "fit", "--all").splitlines()))
        assert width - 5 < widest <= width


def test_a_part_tells_what_it_is_and_takes(capsys: pytest.CaptureFixture[str]) -> None:
    one = printed(capsys, "fit", "--model.objective.criterion.help", "SimCLR")
    assert "NT-Xent" in one
    assert "--model.objective.criterion.temperature X  t, > 0 (default 0.5)" in one
    several = printed(capsys, "fit", "--model.objective.criterion.help")
    assert all(f"\n  {name} " in several for name in ("BarlowTwins", "SimCLR", "VICReg"))
    assert main(["fit", "--model.objective.criterion.help", "SimCRL"]) == 1
    assert "there is no SimCRL; did you mean SimCLR?" in capsys.readouterr().err


def test_help_recipes_names_every_shipped_file_and_says_what_it_is() -> None:
    listed = list_recipes()
    for path in shipped_configs().rglob("*.yaml"):
        entry = listed.partition(f"\n  {path.stem}\n      ")[2]
        assert len(entry.partition("\n  ")[0]) > 20, path
    assert max(map(len, listed.splitlines()[1:])) <= 80


def test_a_text_is_cut_at_its_first_sentence() -> None:
    assert first_sentence("by name, `[[a], [b]]` (e.g. two; or. three); more") == (
        "by name, `[[a], [b]]` (e.g. two; or. three)"
    )
    assert first_sentence("0.25 of it. More") == "0.25 of it"


def completed(tmp_path: Path, *words: str) -> list[str]:
    """What bash offers for the last of some words."""
    pytest.importorskip("shtab")
    from blocklearn.cli.completion import script

    path = tmp_path / "completion.bash"
    path.write_text(script("bash"))
    line = " ".join(f"'{word}'" for word in words)
    code = (
        f"source {path}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
        '$(complete -p blocklearn | sed "s/.*-F \\([^ ]*\\).*/\\1/") blocklearn '
        '"${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["blocklearn", "co"], {"compare", "completion"}),
        (["blocklearn", "fit", "--model.objective.criterion", "Si"], {"SimCLR"}),
        (["blocklearn", "fit", "--config", "bt_dig"], {"bt_digits.yaml"}),
        (
            ["blocklearn", "fit", "--config", "bt_digits.yaml", "--data", "CIF"],
            {"CIFAR10", "CIFAR100"},
        ),
        (["blocklearn", "compare", "--ou"], {"--out"}),
        (["blocklearn", "help", "reci"], {"recipes"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_completes_verbs_flags_and_short_names(
    tmp_path: Path, words: list[str], expected: set[str]
) -> None:
    assert set(completed(tmp_path, *words)) == expected


def test_completion_without_its_library_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocklearn.cli.completion.find_spec", lambda name: None)
    assert main(["completion", "bash"]) == 1
    assert capsys.readouterr().err == (
        "blocklearn: error: completion: shtab writes it, and is not installed: pip install shtab\n"
    )


def test_an_installed_package_carries_the_pages() -> None:
    assert {path.name for path in HELP.iterdir()} == {
        "flags.json",
        *(f"{verb}.txt" for verb in TRAINER_VERBS),
    }
    assert os.access(HELP / "fit.txt", os.R_OK)
