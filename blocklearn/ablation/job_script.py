"""A script for SLURM's job arrays, for those who want to send the runs of a sweep themselves."""

import shlex
from collections.abc import Sequence

from blocklearn.ablation.trials import Trial

HEAD = """#!/bin/bash
# The runs of a sweep as one job array of SLURM: sbatch THIS_FILE. Each begins, or goes on where it
# was, so a job that was put back into the queue, or sent again, loses nothing.
# When they have ended: {table}
#SBATCH --job-name={name}
#SBATCH --array=0-{last}{limit}
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output={logs}/%a.log
"""
TAIL = """
eval "srun blocklearn ${runs[$SLURM_ARRAY_TASK_ID]}"
"""


def job_script(trials: Sequence[Trial], name: str, table: str, parallel: int | None) -> str:
    """The script. What a run needs of a machine stands in its `#SBATCH` lines, to be changed.

    Args:
        trials: that are to be run.
        name: of the job.
        table: the command that shows what they found.
        parallel: how many may run beside one another; null for as many as there is room for.
    """
    lines = [f"  {shlex.quote(shlex.join(trial.arguments))}" for trial in trials]
    head = HEAD.format(
        table=table,
        name=name,
        last=len(trials) - 1,
        limit=f"%{parallel}" if parallel else "",
        logs=trials[0].folder.parents[1 if trials[0].seed is not None else 0],
    )
    return "\n".join([head, "runs=(", *lines, ")", TAIL])
