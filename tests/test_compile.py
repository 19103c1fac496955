"""`--model.network.compile true` with every network that a shipped recipe trains."""

import json
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from blocklearn import BlockwiseModule
from blocklearn.backbones.patches import Patches
from blocklearn.blocks.without_objectives import NoObjective
from blocklearn.runs.run_folder import shipped_configs

PARTS = ("backbone", "blocks", "backbone_kwargs", "small_stem", "patches")


def networks() -> dict[str, dict[str, Any]]:
    """What the shipped recipes build, each once, by the first recipe that builds it."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(shipped_configs().glob("*.yaml")):
        model = yaml.safe_load(path.read_text()).get("model") or {}
        if "backbone" in model:
            found.setdefault(
                json.dumps([model.get(part) for part in PARTS]), {"name": path.stem, **model}
            )
    return {
        model["name"]: {part: model[part] for part in PARTS if model.get(part) is not None}
        for model in found.values()
    }


def inputs(model: dict[str, Any], network: BlockwiseModule) -> list[Tensor]:
    """A batch, a smaller one, and one of another size where the recipe cuts no patches."""
    takes = network.input_spec
    channels = takes.channels
    shapes = [(4, channels, 64, 64), (2, channels, 64, 64), (2, channels, 96, 96)]
    if "speech" in model["backbone"]:
        shapes = [(4, 1, 2560), (2, 1, 2560), (1, 1, 4000)]
    elif takes.shape and "patches" not in model:
        shapes = [(2, *takes.shape), (1, *takes.shape)]
    elif "patches" in model:
        patches = Patches(**model["patches"])
        side = patches.size + (patches.grid - 1) * patches.stride
        shapes = [(2, channels, side, side), (1, channels, side, side)]
    return [torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in shapes]


@pytest.mark.slow
# which the compiler looks at
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("name", networks())
def test_every_shipped_network_runs_compiled_at_changing_sizes(name: str) -> None:
    """Case 9: stages of other widths looked like one function of changing shapes."""
    model = networks()[name]
    torch.manual_seed(0)
    eager = BlockwiseModule(NoObjective, **model)
    compiled = BlockwiseModule(NoObjective, compile=True, **model)
    compiled.load_state_dict(eager.state_dict())
    for x in inputs(model, eager):
        for training in (True, False):
            results = []
            for network in (eager, compiled):
                network.train(training)
                with torch.set_grad_enabled(training):
                    results.append(walk(network, x))
            torch.testing.assert_close(results[1], results[0], rtol=1e-3, atol=1e-3)


def walk(network: BlockwiseModule, x: Tensor) -> list[Tensor]:
    """The output of every block, and its first gradient, as in training."""
    found = []
    for block in network.walked:
        x = block(x.detach())
        found.append(x.detach())
        if x.requires_grad:
            x.float().pow(2).mean().backward()
            found += [p.grad.clone() for p in list(block.parameters())[:1] if p.grad is not None]
            block.zero_grad()
    return found
