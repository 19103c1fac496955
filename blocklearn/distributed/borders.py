"""What all processes do behind a batch that they do not reach at the same time."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple


class Border(NamedTuple):
    """What happens behind one batch.

    Attributes:
        signal: number of the one that ends the run there; 0 for none.
        save: whether the state is saved.
    """

    signal: int = 0
    save: bool = False


class AtBorders:
    """A callback that has a say in what happens behind a batch."""

    def wish(self) -> Border:
        """What this process would have done behind the next batch."""
        return Border()


class Borders:
    """The first process decides, before it begins a batch, what all do behind it. Nobody can have
    come to the end of that batch before, since it begins at the first.

    Args:
        store: of the run's processes.
        decides: whether this process is the first.
    """

    def __init__(self, store: Any, decides: bool) -> None:
        self.store, self.decides = store, decides
        self.here = Border()  # behind the batch that this process has done last

    def before(self, step: int, updates: bool, wishes: Sequence[Border]) -> None:
        """Before batch `step` is begun: the first process announces what all do behind it, the
        others tell it of a signal.

        Args:
            step: of the batch.
            updates: whether no gradient waits behind it.
            wishes: of this process' callbacks.
        """
        signal = max((wish.signal for wish in wishes), default=0)
        if not self.decides:
            if signal:
                self.store.set("wish", str(signal))
        elif updates:
            signal = signal or self._wished()
            border = Border(signal, any(wish.save for wish in wishes))
            if any(border):
                self.store.set(f"border/{step}", json.dumps(border))

    def behind(self, step: int) -> None:
        """Learn what was announced for batch `step`."""
        key = f"border/{step}"
        announced = self.store.check([key])
        self.here = Border(*json.loads(self.store.get(key))) if announced else Border()

    def _wished(self) -> int:
        """The signal that another process received; 0 for none."""
        return int(self.store.get("wish")) if self.store.check(["wish"]) else 0
