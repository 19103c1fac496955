"""What a job of SLURM finds, as far as one machine can have it: `srun` and `scontrol` on the PATH,
and the variables that `sbatch` sets from a script's `#SBATCH` lines.

`srun` starts a process for every task of every node, all of them here, and where one fails it soon
ends the others and all that they have started, as clusters do that set `SLURM_KILL_BAD_EXIT`.
`scontrol requeue` takes its time and then leaves a line in `asked`; nothing is started again by
itself.
"""

import os
import re
import sys
from pathlib import Path

SRUN = """
import os, subprocess, sys, time
from pathlib import Path

command = sys.argv[1:]
while command[0].startswith("-"):
    command.pop(0)
nodes, each = int(os.environ["SLURM_NNODES"]), int(os.environ["SLURM_NTASKS_PER_NODE"])
tasks = []
for rank in range(nodes * each):
    own = {"PROCID": rank, "LOCALID": rank % each, "NODEID": rank // each, "NTASKS": nodes * each,
           "STEP_ID": 0}
    environment = os.environ | {f"SLURM_{name}": str(value) for name, value in own.items()}
    tasks.append(subprocess.Popen(command, env=environment, start_new_session=True))
folder = Path(os.environ["STAND_IN"])
(folder / "starting").write_text(" ".join(str(task.pid) for task in tasks))
(folder / "starting").rename(folder / "tasks")
ends = [None] * len(tasks)
while None in ends and not any(ends):
    time.sleep(0.05)
    ends = [task.poll() for task in tasks]
time.sleep(3)
for task in tasks:
    if task.poll() is None:
        os.killpg(task.pid, 9)
status = max((task.wait() for task in tasks), key=abs)
sys.exit(status if status >= 0 else 128 - status)
"""
SCONTROL = """
import os, sys, time
from pathlib import Path

if sys.argv[1:3] == ["show", "hostnames"]:
    print("127.0.0.1\\n" * int(os.environ["SLURM_NNODES"]), end="")
else:
    time.sleep(5)
    with (Path(os.environ["STAND_IN"]) / "asked").open("a") as file:
        print(*sys.argv[1:], file=file)
"""


def options(script: Path) -> dict[str, str]:
    """Of the `#SBATCH` lines."""
    found = re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", script.read_text(), re.MULTILINE)
    return dict(found)


def job(folder: Path, script: Path, number: int, **changes: int) -> dict[str, str]:
    """The environment of a job of this script, whose stand-ins write into `folder`.

    Args:
        folder: an existing one.
        script: whose `#SBATCH` lines are read.
        number: of the job.
        changes: to those lines, as one gives them to `sbatch` (`nodes=2`).
    """
    for name, content in (("srun", SRUN), ("scontrol", SCONTROL)):
        path = folder / name
        path.write_text(f"#!{sys.executable}{content}")
        path.chmod(0o755)
    asked = options(script) | {name.replace("_", "-"): str(n) for name, n in changes.items()}
    nodes, each = asked["nodes"], asked["ntasks-per-node"]
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "STAND_IN": str(folder),
        "SLURM_JOB_ID": str(number),
        "SLURM_JOB_NAME": asked["job-name"],
        "SLURM_NNODES": nodes,
        "SLURM_JOB_NUM_NODES": nodes,
        "SLURM_NTASKS": str(int(nodes) * int(each)),
        "SLURM_NTASKS_PER_NODE": each,
        "SLURM_JOB_NODELIST": f"node[1-{nodes}]",
    }
