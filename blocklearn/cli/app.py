"""The command line: fit, validate, test, predict."""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import blocklearn.criteria
import blocklearn.data
import blocklearn.masks
import blocklearn.metrics
import blocklearn.objectives
import blocklearn.optim
import blocklearn.training.mixed_execution  # noqa: F401  (all so that classes can be named without a path)
from blocklearn.blocks.blockwise import BlockwiseModule
from blocklearn.callbacks.save_run_config import SaveRunConfig, written
from blocklearn.callbacks.write_features import WriteFeatures
from blocklearn.cli.arguments import OF_LIGHTNING, add_own_arguments
from blocklearn.cli.early_end import run_and_explain
from blocklearn.cli.loading import loaded
from blocklearn.cli.parser import CommandParser, first_reason, prepare_parsing
from blocklearn.cli.plan import reduced_for_plan
from blocklearn.cli.run_parts import (
    choose_folder,
    evaluation_callbacks,
    loggers,
    processes,
    settle_folder,
    take_few_samples,
    training_callbacks,
    whole_unless_asked,
)
from blocklearn.cli.then_test import ThenTest
from blocklearn.cli.trainer import BlocklearnTrainer
from blocklearn.cli.trainer_help import say_it_our_way
from blocklearn.cli.verbs import DESCRIPTION, LEAVE_NOTHING, TRAINER_VERBS
from blocklearn.cli.wrong_values import Asked, broken_part
from blocklearn.data.datamodule import KeyedDataModule
from blocklearn.distributed.launch import is_first_process
from blocklearn.errors import UserError
from blocklearn.evaluation import Evaluation, Row
from blocklearn.interop.checkpoint_io import StreamingCheckpointIO
from blocklearn.reporting.loggers import WandbSettings, build_wandb, finish_wandb
from blocklearn.reporting.tables import print_blocks, print_validation
from blocklearn.runs.ending import ending
from blocklearn.runs.evaluate import choose_evaluation, evaluate_into
from blocklearn.runs.plan import refuse_plan
from blocklearn.runs.refusals import refuse_flags, refuse_seed
from blocklearn.runs.resume import go_on_from
from blocklearn.runs.room import require_room
from blocklearn.runs.run_folder import UNTRAINED, RunFolder
from blocklearn.weights.checkpoint import STRUCTURE, as_large_as, is_checkpoint, read_weights


class BlocklearnCLI(LightningCLI):
    """LightningCLI over `BlockwiseModule` and any `KeyedDataModule`, with a folder for every run.

    Args:
        args: one of `TRAINER_VERBS`, and its arguments.
    """

    folder: RunFolder
    then_test: ThenTest | None = None

    def __init__(self, args: list[str]) -> None:
        prepare_parsing()
        self.arguments = args
        super().__init__(
            BlockwiseModule,
            KeyedDataModule,
            trainer_class=BlocklearnTrainer,
            save_config_callback=SaveRunConfig,
            trainer_defaults={"enable_model_summary": False, "num_sanity_val_steps": 0},
            seed_everything_default=0,
            parser_kwargs={
                "prog": "blocklearn",
                "description": DESCRIPTION,
                args[0]: {"description": TRAINER_VERBS[args[0]]},
            },
            parser_class=CommandParser,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=args,
        )

    def subcommands(self) -> dict[str, set[str]]:
        """The verb that is asked for alone: building the parsers of all takes as long as
        parsing."""
        verb = self.arguments[0]
        return {verb: OF_LIGHTNING[verb]}

    def add_arguments_to_parser(self, parser: Any) -> None:
        add_own_arguments(self.arguments[0], parser)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> Any:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        say_it_our_way(parser)
        return parser

    def parse_arguments(self, parser: Any, args: Any) -> None:
        try:
            self.config = parser.parse_args(args)
        except UserError:
            raise
        except Exception as error:  # of a module that a class path names
            broken = broken_part(Asked(self.arguments))
            if broken is None:
                raise
            raise UserError(broken) from error
        refuse_seed(self.config[self.arguments[0]].seed_everything)

    def _parse_ckpt_path(self) -> None:
        """Lightning would merge the checkpoint's hyper-parameters over the configuration; ours
        holds none."""

    def before_instantiate_classes(self) -> None:
        loaded()
        config = self.config[self.subcommand]
        self.building: AbstractContextManager[None] = nullcontext()
        if self.subcommand == "plan":
            self.save_config_callback, self.building = None, reduced_for_plan(config)
            return
        refuse_flags(config.trainer, trains=self.subcommand == "fit")
        if self.subcommand == "fit":
            settle_folder(config.trainer)
            self.plain = yaml.safe_load(written(self._parser(self.subcommand), config))
            self.going_on = go_on_from(config, self.plain)
            config.ckpt_path = self.going_on.checkpoint
            return
        self.save_config_callback = None
        if self.subcommand == "isolation":
            take_few_samples(config)
        elif config.model.checkpoint:
            content = read_weights(config.model.checkpoint)
            if is_checkpoint(content):
                # it says how it is grouped, so that one configuration can probe any of them
                config.model.blocks = [list(block) for block in content[STRUCTURE].blocks]
                self.building = as_large_as(content, config.model.checkpoint)
        else:
            print("No --model.checkpoint: the network has its initial weights.", file=sys.stderr)

    def instantiate_classes(self) -> None:
        try:
            with self.building:
                super().instantiate_classes()
        except UserError:
            raise
        # a value out of range; jsonargparse lists what it tried, the class' own words first
        except ValueError as error:
            raise UserError(first_reason(str(error))) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """With network and data there, so that what does not fit together is told before a folder
        is made."""
        config = self._get(self.config_init, "trainer")
        if self.subcommand == "fit" and is_first_process():
            refuse_plan(self.model, self.datamodule, config)
        asked = self.config[self.subcommand]
        self.folder = choose_folder(str(self.subcommand), asked, self.arguments)
        if self.subcommand not in LEAVE_NOTHING:
            self.folder.require_no_links()
            if self.subcommand != "fit":
                RunFolder(self._evaluation_folder).require_no_links()
        try:
            trainer = self._build_trainer(config, kwargs)
        except (
            MisconfigurationException,
            ImportError,
            TypeError,
            ValueError,
            RuntimeError,
        ) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"trainer: {' '.join(str(error).split())}") from error
        if self.subcommand == "fit" and is_first_process():
            require_room(self.model, self.folder.path)
        return trainer

    def _build_trainer(self, config: Any, kwargs: dict[str, Any]) -> Trainer:
        verb = str(self.subcommand)
        if verb == "fit":
            callbacks = training_callbacks(config, self.folder, self.plain, self.going_on)
        else:
            callbacks = evaluation_callbacks(config)
            kwargs |= {"enable_checkpointing": False, **whole_unless_asked(self.arguments)}
        if verb == "predict":
            self.writer = WriteFeatures(self.folder.features, {"checkpoint": self._checkpoint})
            callbacks.append(self.writer)
        if verb == "test":  # the trainer's own budget was the training run's
            kwargs |= {"max_epochs": 1, "max_steps": -1, "min_steps": None}
        plugins = config["plugins"] or []
        plugins = list(plugins) if isinstance(plugins, list) else [plugins]
        own = self.folder.path if verb in ("fit", *LEAVE_NOTHING) else self._evaluation_folder
        return super().instantiate_trainer(
            **{
                "default_root_dir": str(own),
                "callbacks": callbacks,
                "plugins": [*plugins, StreamingCheckpointIO(self._checkpoint_folders)],
                "logger": loggers(verb, config["logger"], own, self._wandb),
                **processes(verb, config),
                **kwargs,
            }
        )

    def _wandb(self) -> Any:
        settings: WandbSettings = self._get(self.config_init, "wandb")
        config = self.config[self.subcommand].as_dict()
        return build_wandb(settings, self.folder.path, config, str(self.subcommand), self._goes_on)

    def after_instantiate_classes(self) -> None:
        if self.subcommand == "predict" and self.datamodule.frame_labels:
            raise UserError(
                f"predict writes one label per sample, the target {self.datamodule.target} has one "
                "per frame; choose another --data.target"
            )
        if is_first_process():
            print_blocks(self.model)
            if self.subcommand not in LEAVE_NOTHING and not self._leaves_nothing:
                print(f"Run folder: {self.folder.path}")

    @property
    def _leaves_nothing(self) -> bool:
        """A trial of a few batches."""
        return bool(getattr(self.trainer, "fast_dev_run", False))

    def _checkpoint_folders(self) -> list[Path]:
        """Where this run keeps checkpoints: its own folder, and where the user's ModelCheckpoints
        were told to."""
        told = [getattr(one, "dirpath", None) for one in self.trainer.checkpoint_callbacks]
        return [self.folder.path, *(Path(path) for path in told if path)]

    @property
    def _goes_on(self) -> bool:
        """Whether this is the run of its folder again, rather than a new one from another run's
        state."""
        state = self.config[self.subcommand].get("ckpt_path")
        return bool(state) and Path(state).resolve().is_relative_to(self.folder.path.resolve())

    def _run_subcommand(self, subcommand: str) -> None:
        failed = True
        try:
            run_and_explain(
                lambda: super(BlocklearnCLI, self)._run_subcommand(subcommand),
                self.trainer,
                subcommand,
                self.folder,
            )
            failed = False
            unreadable = self.datamodule.unreadable_told() if is_first_process() else None
            if unreadable:
                print(unreadable, file=sys.stderr)
        finally:
            finish_wandb(self.trainer.loggers, failed)

    def before_fit(self) -> None:
        if self.config["fit"].then_test:
            folder = self.folder.evaluation(self._evaluation.name(self.datamodule.target))
            arguments = self._get(self.config_init, "trainer")
            self.then_test = ThenTest(self.folder, folder, self.model, arguments)

    def after_fit(self) -> None:
        if self.then_test and is_first_process():
            self.then_test.run(self.trainer)

    def fit(
        self, model: BlockwiseModule, datamodule: KeyedDataModule, ckpt_path: str | None = None
    ) -> None:
        self.trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)
        if not is_first_process():
            return
        for line in ending(self.trainer, self.going_on.step):
            print(line)
        written = [
            str(path)
            for path in (self.folder.last_checkpoint, self.folder.backbone)
            if path.exists()
        ]
        if written:  # a trial run leaves nothing
            print(f"Trained: {' and '.join(written)}")
        if self.folder.last_checkpoint.exists() and not self.then_test:
            print(f"Next: blocklearn test --model.checkpoint {self.folder.last_checkpoint}")

    def validate(self, model: BlockwiseModule, datamodule: KeyedDataModule) -> None:
        """The local losses on held-out samples, one line per block."""
        measured = self.trainer.validate(model, datamodule=datamodule, verbose=False)
        if is_first_process():
            print_validation(
                {name: value for metrics in measured for name, value in metrics.items()}
            )

    def predict(self, model: BlockwiseModule, datamodule: KeyedDataModule) -> None:
        """A vector for every sample of a split, or of all."""
        datamodule.predict_split = self.config[self.subcommand].split
        self.trainer.predict(model, datamodule=datamodule, return_predictions=False)
        if is_first_process():
            print(self.writer.told())

    def test(self, model: BlockwiseModule, datamodule: KeyedDataModule) -> Sequence[Row]:
        """Evaluate the network: by a linear probe on every stage, or as `--evaluation` says."""
        folder = self._evaluation_folder
        return evaluate_into(folder, self._evaluation, model, datamodule, self._checkpoint).rows

    @property
    def _evaluation(self) -> Evaluation:
        asked, protocol = (self._get(self.config_init, key) for key in ("evaluation", "probe"))
        return choose_evaluation(asked, protocol, self.datamodule, self._trainer_of)

    def _trainer_of(self, epochs: int) -> Trainer:
        """This command's own, for so many epochs."""
        self.trainer.fit_loop.max_epochs = epochs
        self.trainer.fit_loop.epoch_progress.reset()  # from the first, whatever it did before
        return self.trainer

    @property
    def _checkpoint(self) -> str | None:
        checkpoint = self.config[self.subcommand].model.checkpoint
        return str(checkpoint) if checkpoint else None

    @property
    def _evaluation_folder(self) -> Path:
        """Where the results go. Those of an untrained network lie beside the ones of a run in the
        same folder."""
        asked = self._get(self.config_init, "save_as")
        name = asked or self._evaluation.name(self.datamodule.target)
        beside = self._checkpoint is None and self.folder.last_checkpoint.exists()
        return self.folder.evaluation(f"{name}{UNTRAINED}" if beside else name)
