from pathlib import Path

import pytest

from blocklearn.reporting.wandb_run_id import keep_run_id, kept_run_id, new_run_id


def test_an_id_is_read_as_it_was_kept(tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    assert kept_run_id(tmp_path) is None
    for run_id in (new_run_id(), new_run_id(), "a" * 64, "My_run-1"):
        keep_run_id(tmp_path, run_id)
        assert kept_run_id(tmp_path) == run_id
    assert new_run_id() != new_run_id()


@pytest.mark.parametrize(
    "content", ["", "a/b", "../x", "a b", "a\nb", "a" * 65, "é", "a" * 100_000, "--flag?"]
)
def test_what_a_stranger_put_there_is_no_id(tmp_path: Path, content: str) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run_id").write_text(content)
    assert kept_run_id(tmp_path) is None


def test_it_is_never_read_or_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "target").write_text("abcdefgh\n")
    (tmp_path / "wandb" / "run_id").symlink_to(tmp_path / "target")
    assert kept_run_id(tmp_path) is None
    keep_run_id(tmp_path, "mine")
    assert kept_run_id(tmp_path) == "mine"
    assert (tmp_path / "target").read_text() == "abcdefgh\n"
