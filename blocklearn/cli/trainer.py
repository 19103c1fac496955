"""The Trainer, with a verb of our own."""

from lightning.pytorch import Trainer

from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.errors import UserError
from blocklearn.evaluation.isolation import measure_reach
from blocklearn.reporting.tables import print_reach


class BlocklearnTrainer(Trainer):
    """Lightning's, with a verb of our own."""

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
