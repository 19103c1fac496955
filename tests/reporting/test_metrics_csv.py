import csv
import os
from pathlib import Path

import pytest
from small_disk import fill, make_read_only, small_disk

from blocklearn import UserError
from blocklearn.reporting.loggers import MetricsCSV


def logged(folder: Path, steps: range, begin: int | None = None, **more: float) -> MetricsCSV:
    logger = MetricsCSV(folder)
    if begin is not None:
        logger.begin_at(begin)
    for step in steps:
        logger.log_metrics({"loss": float(step), **more}, step)
    return logger


def log_many(logger: MetricsCSV) -> None:
    for step in range(3, 1000):
        logger.log_metrics({"loss": 1 / 3, "note": 1 / 7}, step)


def steps(folder: Path) -> list[str]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [row["step"] for row in csv.DictReader(file)]


def test_a_run_that_begins_anew_drops_the_rows_of_one_that_died(tmp_path: Path) -> None:
    logged(tmp_path, range(5))
    logged(tmp_path, range(3, 4), begin=0)
    assert steps(tmp_path) == ["3"]


def test_a_run_that_goes_on_keeps_the_rows_before_its_batch_whichever_it_logs_first(
    tmp_path: Path,
) -> None:
    logged(tmp_path, range(6))
    logged(tmp_path, range(5, 7), begin=3)
    assert steps(tmp_path) == ["0", "1", "2", "5", "6"]


@pytest.mark.parametrize(
    "cut",
    [b"3,4.", b"3.5,4", b"9.5,1", b"\0" * 40, b"\xff\xfe,3\r\n", b"\0,\0\r\n9.0\r\n", b"1,2,3\r\n"],
)
def test_a_row_that_a_crash_cut_is_left_out(tmp_path: Path, cut: bytes) -> None:
    logged(tmp_path, range(3))
    path = tmp_path / "metrics.csv"
    path.write_bytes(path.read_bytes() + cut)
    logged(tmp_path, range(3, 5))
    assert steps(tmp_path) == ["0", "1", "2", "3", "4"]


def test_what_is_no_table_of_metrics_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(b"somebody's notes\n")
    logged(tmp_path, range(2))
    assert steps(tmp_path) == ["0", "1"]
    assert (tmp_path / "metrics.csv.damaged").read_bytes() == b"somebody's notes\n"


def test_a_new_name_makes_a_new_column_and_keeps_the_rows(tmp_path: Path) -> None:
    logger = logged(tmp_path, range(2))
    logger.log_metrics({"loss": 2.0, "accuracy": 0.5}, 2)
    assert (tmp_path / "metrics.csv").read_text().split() == [
        "accuracy,loss,step",
        ",0.0,0",
        ",1.0,1",
        "0.5,2.0,2",
    ]
    assert os.listdir(tmp_path) == ["metrics.csv"]


@pytest.mark.parametrize("late", [False, True])
def test_nothing_is_written_through_a_symbolic_link(tmp_path: Path, late: bool) -> None:
    folder, target = tmp_path / "run", tmp_path / "target"
    folder.mkdir()
    logger = logged(folder, range(2 * late))
    target.write_bytes(b"precious\n")
    (folder / "metrics.csv").unlink(missing_ok=True)
    (folder / "metrics.csv").symlink_to(target)
    with pytest.raises(UserError, match=r"run/metrics.csv is a symbolic link"):
        logger.log_metrics({"loss": 2.0}, 2)
    assert target.read_bytes() == b"precious\n"


def test_a_link_to_nowhere_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"metrics.csv is a symbolic link"):
        logged(tmp_path, range(1))
    assert not (tmp_path / "nowhere").exists()


def test_a_pipe_in_its_place_does_not_hold_up_the_run(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.csv")
    with pytest.raises(UserError, match=r"cannot write .*metrics.csv: .*no regular file"):
        logged(tmp_path, range(1))


def test_a_full_disk_is_named_and_leaves_whole_rows(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1 << 16) as disk:
        logger = logged(disk, range(3), note=1 / 3)
        fill(disk)
        with pytest.raises(
            UserError,
            match=r"^cannot write .*/disk/metrics.csv: No space left on device; [\d,]+ bytes ",
        ) as told:
            log_many(logger)
        assert "and 0 are free" in str(told.value)
        assert (disk / "metrics.csv").read_bytes().endswith(b"\r\n")
        written = steps(disk)
        assert written == [str(step) for step in range(len(written))]
        logger.finalize("failed")  # Lightning's last word; it must not fail a second time


def test_on_a_full_disk_a_new_column_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1 << 16) as disk:
        logger = logged(disk, range(3))
        before = (disk / "metrics.csv").read_bytes()
        fill(disk)
        with pytest.raises(UserError, match="No space left"):
            logger.log_metrics({"loss": 1.0, "new": 2.0}, 3)
        assert (disk / "metrics.csv").read_bytes() == before
        assert sorted(os.listdir(disk)) == ["ballast", "metrics.csv"]


def test_a_disk_that_became_read_only_is_named(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1 << 16) as disk:
        logger = logged(disk, range(3))
        make_read_only(disk)
        with pytest.raises(UserError, match=r"cannot write .*metrics.csv: Read-only file system"):
            logger.log_metrics({"loss": 1.0}, 3)
