"""The Trainer, with verbs of our own."""

from pathlib import Path

from lightning.pytorch import Trainer

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.cli.plan import make_plan
from blocklearn.cli.views import draw_views
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.errors import UserError
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.reporting.placement import print_plan, write_plan
from blocklearn.reporting.tables import print_reach


class BlocklearnTrainer(Trainer):
    """Lightning's, with verbs of our own."""

    def isolation(self, model: BlockwiseModule, datamodule: KeyedDataModule) -> None:
        """Show which local loss reaches which block's parameters, on a few samples.

        Raises:
            UserError: where a loss reaches a block that it must not.
        """
        datamodule.prepare_data()
        datamodule.setup("fit")
        model.require_fit(datamodule)
        batch = next(iter(datamodule.train_dataloader()))
        if not print_reach(measure_reach(model, batch)):
            raise UserError(
                "a gradient crosses a border between blocks: look for tensors that two blocks share"
            )

    def views(
        self,
        model: BlockwiseModule,
        datamodule: KeyedDataModule,
        count: int = 8,
        out: Path = Path("views.png"),
    ) -> None:
        """Draw the training views of a few samples, as the network gets to see them.

        Args:
            model: to be trained.
            datamodule: it would be trained on.
            count: samples that are shown, >= 1.
            out: the picture, a PNG.
        """
        if count < 1 or out.suffix.lower() != ".png":
            raise UserError(
                f"views: --count must be at least 1 and --out end in .png, got {count} and {out}"
            )
        datamodule.prepare_data()
        datamodule.setup("fit")
        print(f"Written: {draw_views(datamodule, count, model.patches, out)}")

    def plan(
        self,
        model: BlockwiseModule,
        datamodule: KeyedDataModule,
        devices: int,
        measure: bool | None = None,
        data_parallel: int = 1,
        out: Path | None = None,
    ) -> None:
        """Show what every block costs, and the best grouping of consecutive blocks onto ranks.

        Args:
            model: to be trained.
            datamodule: it would be trained on; where its files are not there, random inputs of the
                shape that it states are counted.
            devices: how many there are, one a rank.
            measure: run every block on one device and time it; otherwise its products are counted,
                which takes no device. By default where there is a GPU.
            data_parallel: how many times every group of blocks is there, each with its part of
                every batch; it divides `devices`.
            out: JSON file to write besides.
        """
        if devices < 1 or data_parallel < 1 or devices % data_parallel:
            raise UserError(
                f"plan: --devices {devices} do not divide among --data_parallel {data_parallel}"
            )
        plan = make_plan(
            model,
            datamodule,
            devices // data_parallel,
            data_parallel,
            bool(measure),
            self.strategy.root_device,
            self.precision_plugin,
        )
        print_plan(plan)
        if out:
            write_plan(plan, out)
