"""Two processes with half of every batch find what one process finds."""

from pathlib import Path

import online_ranks
import torch


def test_two_processes_have_the_classifiers_and_figures_of_one(tmp_path: Path) -> None:
    one = online_ranks.run(tmp_path / "one")
    several = online_ranks.launch(tmp_path)
    for found in several:
        for kind in ("knn", "probe"):
            assert found[kind] == one[kind]
            assert len(found[kind]) == 4
        for name, classifier in one["classifiers"].items():
            for key, tensor in classifier.items():
                other = found["classifiers"][name][key]
                torch.testing.assert_close(other, tensor, rtol=1e-4, atol=1e-5)
    for name, classifier in several[0]["classifiers"].items():
        for key, tensor in classifier.items():
            assert torch.equal(tensor, several[1]["classifiers"][name][key]), "ranks agree bitwise"
