from pathlib import Path

import pytest
import yaml

from blocklearn import UserError
from blocklearn.runs.run_folder import shipped_configs
from blocklearn.runs.strict_yaml import read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (BOMB, "more than 20,000 values, aliases counted"),
        ("[" * 90_000, "line 1: nested deeper than 50 levels"),
        ("[" * 4_000, "line 1: nested deeper than 50 levels"),
        ("- " * 40_000, "line 1: nested deeper than 50 levels"),
        ("a: " + "[" * 60 + "]" * 60, "line 1: nested deeper than 50 levels"),
        ("a: &a [*a]\n", "an alias that contains itself"),
        ("a: 1\n" * 50_000, "more than 100,000 bytes"),
        (
            "a: 1\nb: !!python/object/apply:os.system [ls]\n",
            "line 2: the tag 'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        ("a: !env HOME\n", "line 1: the tag '!env' is refused"),
        (
            "trainer: {a: 1}\nmodel: {}\ntrainer: {b: 2}\n",
            "line 3: 'trainer' stands in line 1 already",
        ),
        ("model:\n  noise: all\n  noise: none\n", "line 3: 'noise' stands in line 2 already"),
        ("", "is empty"),
        ("# nothing yet\n", "is empty"),
        ("- a\n", "should hold settings as KEY: VALUE, it holds one list"),
        ("a: [1\nb: 2\n", "line 2: while parsing a flow sequence: expected ',' or ']'"),
        ("a:\n\tb: 1\n", "line 2: .*cannot start any token"),
        ("a: 1\n---\nb: 2\n", "line 2: expected a single document"),
        ("a: \0\n", "is not YAML: unacceptable character"),
        ("a: 2024-99-99\n", "is not YAML: month must be in 1..12"),
        ("? [a]\n: 1\n", "line 1: .*unhashable key"),
    ],
    ids=lambda text: text[:20].replace("\0", "0"),
)
def test_what_is_no_plain_configuration_is_one_line_with_file_and_line(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=complaint) as error:
        read_yaml(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("opening", ["[", "- ", "a: [", "{a: ", "? "])
def test_a_deep_file_is_read_no_further_than_its_first_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opening: str
) -> None:
    steps = 0
    fetch = yaml.SafeLoader.fetch_more_tokens

    def counted(loader: yaml.SafeLoader) -> None:
        nonlocal steps
        steps += 1
        fetch(loader)

    monkeypatch.setattr(yaml.SafeLoader, "fetch_more_tokens", counted)
    path = tmp_path / "own.yaml"
    path.write_text(opening * (90_000 // len(opening)))
    with pytest.raises(UserError):
        read_yaml(path)
    assert steps < 3_000


def test_a_file_that_is_no_text_or_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    with pytest.raises(UserError, match=f"cannot read {path}: No such file"):
        read_yaml(path)
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(UserError, match=f"{path} is no text"):
        read_yaml(path)


def test_plain_settings_aliases_and_merges_are_read(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("a: &a {x: 1, y: [1, 2]}\nb:\n  <<: *a\n  y: null\nc: *a\n")
    assert read_yaml(path) == {
        "a": {"x": 1, "y": [1, 2]},
        "b": {"x": 1, "y": None},
        "c": {"x": 1, "y": [1, 2]},
    }


@pytest.mark.parametrize(
    "path", sorted(shipped_configs().rglob("*.yaml")), ids=lambda path: path.name
)
def test_every_shipped_configuration_is_read(path: Path) -> None:
    assert read_yaml(path)
