"""The page, in a real browser where there is one."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from blocklearn import UserError
from blocklearn.__main__ import main
from blocklearn.cli.report import run_report
from blocklearn.evaluation import Row
from blocklearn.pictures.figure import new_figure, save_figure
from blocklearn.reporting.results import Results, write_results

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
METRICS = "block1/loss,block2/loss,step\n3.0,2.0,0\n1.0,1.5,9\n"
FACTS = {
    "from_batch": 0,
    "to_batch": 10,
    "seconds": 5.0,
    "peak_memory_bytes": 3 * 2**20,
    "device": "a <processor>",
    "python": "3.11",
}


def make_run(
    folder: Path,
    top1: float = 50.0,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    dataset: str = "digits",
) -> Path:
    """The folder of a run as `fit` and `test` leave it."""
    folder.mkdir(parents=True)
    data = {"class_path": f"blocklearn.data.{dataset.title()}", "init_args": {"batch_size": 64}}
    config = {
        "seed_everything": seed,
        "trainer": {"max_epochs": 3, "default_root_dir": str(folder)},
        "model": {"backbone": "resnet18", "blocks": "per_stage", **(settings or {})},
        "data": data,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.csv").write_text(METRICS)
    (folder / "run_facts.json").write_text(json.dumps([FACTS]))
    rows = [Row(f"layer{k}", k, "raw", {"top1": top1 + k, "top5": 90.0}) for k in (1, 2)]
    write_results(Results("c", dataset, None, 10, {}, rows), folder / "probe" / "results.json")
    save_figure(new_figure(2, 1), folder / "probe" / "spectra.png", "Spectra", "They fall <fast>.")
    return folder


def written(tmp_path: Path, *arguments: object) -> str:
    out = tmp_path / "page.html"
    run_report([*map(str, arguments), "--out", str(out)])
    return out.read_text()


def texts(page: str) -> str:
    return re.sub(
        r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S))
    )


def test_one_run_is_a_page_in_its_own_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run")
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"Written: {run / 'report.html'}\n"
    told = texts((run / "report.html").read_text())
    for expected in ("resnet18", "51.00", "52.00", "3 MiB", "500.0 ms", "1 layer1, global average"):
        assert expected in told


def test_the_page_needs_no_network_and_no_script(tmp_path: Path) -> None:
    page = written(tmp_path, make_run(tmp_path / "run"))
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "url(" not in page


def test_what_a_run_says_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    page = written(tmp_path, make_run(tmp_path / "run", settings={"noise": "<script>x</script>"}))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "They fall &lt;fast&gt;." in page
    assert "a &lt;processor&gt;" in page


def test_runs_that_differ_in_their_seed_alone_are_a_mean_and_a_deviation(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"s{seed}", 50.0 + 2 * seed, seed) for seed in range(3)]
    told = texts(written(tmp_path, *runs))
    assert "s0 (3 seeds)" in told
    assert "53.00 ± 2.00" in told, "50 + 1, 52 + 1 and 54 + 1: mean 53, deviation 2"
    assert "90.00 ± 0.00" in told


def test_runs_that_differ_in_more_stand_beside_each_other_and_the_page_says_in_what(
    tmp_path: Path,
) -> None:
    one = make_run(tmp_path / "one")
    two = make_run(tmp_path / "two", 60.0, settings={"blocks": "end_to_end"})
    told = texts(written(tmp_path, f"blockwise={one}", f"whole={two}"))
    assert "±" not in told
    assert re.search(r"model.blocks per_stage end_to_end", told)
    assert "1 layer1, global average 51.00 61.00" in told
    assert "trainer.default_root_dir" not in told


def test_runs_on_different_data_are_refused_in_a_line(tmp_path: Path) -> None:
    one = make_run(tmp_path / "one")
    two = make_run(tmp_path / "two", dataset="cifar10")
    with pytest.raises(
        UserError, match=r"one was trained on Digits and two on Cifar10;.*a report of each"
    ):
        run_report([str(one), str(two)])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{}"], "has no config.yaml"),
        (["{}/run", "{}/run"], "two runs are called run; write LABEL=FOLDER"),
        (["{}/run", "--out", "page.pdf"], "ends in .html"),
    ],
)
def test_bad_arguments_are_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    make_run(tmp_path / "run")
    with pytest.raises(UserError, match=told):
        run_report([argument.format(tmp_path) for argument in arguments])


def test_a_run_without_evaluations_says_how_to_get_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    shutil.rmtree(run / "probe")
    (run / "run_facts.json").write_text("damaged")
    told = texts(written(tmp_path, run))
    assert "blocklearn test --model.checkpoint" in told
    assert "Not known" in told


LOOK = """<!doctype html><body><iframe id=f width=390 height=800></iframe><script>
const frame = document.getElementById("f");
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  const style = frame.contentWindow.getComputedStyle(page.querySelector("figcaption"));
  document.body.dataset.found = JSON.stringify({
    tables: page.querySelectorAll("table").length,
    images: [...page.images].map(i => i.complete && i.naturalWidth > 0 && i.alt.length > 10),
    overflow: root.scrollWidth - root.clientWidth,
    caption: style.color,
  });
};
frame.srcdoc = PAGE;
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_browser_shows_every_table_and_picture_on_a_phone_and_complains_of_nothing(
    tmp_path: Path,
) -> None:
    two = make_run(tmp_path / "two", 60.0, settings={"blocks": "end_to_end"})
    page = written(tmp_path, make_run(tmp_path / "one"), two)
    looking = tmp_path / "look.html"
    looking.write_text(LOOK.replace("PAGE", json.dumps(page).replace("</", "<\\/")))
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=4000",
        "--dump-dom",
        looking.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not re.findall(r".*CONSOLE.*", done.stderr)
    told = re.search(r'data-found="([^"]*)"', done.stdout)
    assert told, done.stdout[:2000]
    found = json.loads(told[1].replace("&quot;", '"'))
    assert found["tables"] == page.count("<table") == 6
    assert len(found["images"]) == page.count("<img") == 4
    assert all(found["images"])
    assert found["overflow"] <= 0, "a phone would have to scroll the page sideways"
