"""A training step of linear probes on all stages of a frozen network, and on their heads.

Baseline: a probe on the last stage alone, in a plain loop: forward without graph, one classifier,
loss, backward, SGD. The ways take turns in one process. Heads are arithmetic of their own: those of
a ResNet-50 have 0.75 of its multiply-adds.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from torch.nn.functional import cross_entropy

from benchmarks.rows import Row, in_turns, run_rows
from blocklearn import Batch, BlockwiseModule, ExpandPooling, JointEmbedding, Projector
from blocklearn.evaluation.linear_classifiers import LinearClassifiers, linear_classifier
from blocklearn.evaluation.probe_settings import ProbeSettings
from blocklearn.objectives.objective import NoObjective


def step_of(network: BlockwiseModule, batch: Batch, num_classes: int) -> Callable[[], None]:
    """A training step of `LinearClassifiers` on all that a network publishes."""
    probe = LinearClassifiers(network, num_classes, ProbeSettings())
    probe.log = lambda *_, **__: None  # there is no trainer
    optimizer = probe.configure_optimizers()["optimizer"]

    def step() -> None:
        probe.training_step(batch, 0).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def step_of_last_stage(
    network: BlockwiseModule, batch: Batch, num_classes: int
) -> Callable[[], None]:
    spec = network.walked[-1].spec
    classifier = linear_classifier(spec.channels, num_classes)
    optimizer = ProbeSettings().configure(classifier.parameters())["optimizer"]

    def step() -> None:
        with torch.no_grad():
            x = batch.views[0]
            for block in network.walked:
                x = block(x)
            x = spec.average(x)
        cross_entropy(classifier(x), batch.label).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(settings: argparse.Namespace) -> list[Row]:
    torch.manual_seed(0)
    objective = partial(
        JointEmbedding,
        pooling=partial(ExpandPooling, width=2048),
        projector=partial(Projector, widths=[16]),
    )
    with_heads = BlockwiseModule(objective, settings.backbone).eval()
    bare = BlockwiseModule(NoObjective, settings.backbone).eval()
    size, count, classes = settings.image_size, settings.batch_size, settings.num_classes
    batch = Batch(
        [torch.randn(count, 3, size, size)], torch.randint(classes, (count,)), torch.arange(count)
    )
    ways = {
        "stages": step_of(bare, batch, classes),
        "heads": step_of(with_heads, batch, classes),
        "last": step_of_last_stage(bare, batch, classes),
    }
    seconds = in_turns(ways, settings.turns)
    what = f"{settings.backbone}, {size} px, batch {count}, {classes} classes"
    last = seconds["last"]
    return [
        Row(
            "P7",
            f"probes on all stages, {what}",
            "last stage alone",
            "s",
            seconds["stages"],
            last,
            1.15,
        ),
        Row(
            "P7 with heads",
            f"and on their 1x1 heads to 2048, {what}",
            "last stage alone",
            "s",
            seconds["heads"],
            last,
        ),
    ]


def more_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(turns=5)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--num_classes", type=int, default=1000)


if __name__ == "__main__":
    run_rows(measure, __doc__, {"backbone": "resnet18", "image_size": 64}, more_arguments)
