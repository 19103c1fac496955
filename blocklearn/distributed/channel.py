"""A one-way connection between two processes, for tensors in any nesting."""

import pickle
import queue
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Place(NamedTuple):
    """Where a tensor was taken out, and how it lies in memory.

    Attributes:
        shape: in the order of `axes`.
        dtype: of the tensor.
        axes: its axes from the outermost in memory to the innermost.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    axes: tuple[int, ...]


def take_apart(value: Any) -> tuple[Any, list[Tensor]]:
    """Lists, tuples and mappings with a `Place` for every tensor, and the tensors, contiguous."""
    if isinstance(value, Tensor):
        axes = tuple(sorted(range(value.ndim), key=lambda axis: -value.stride(axis)))
        tensor = value.detach().permute(axes).contiguous()
        return Place(tuple(tensor.shape), tensor.dtype, axes), [tensor]
    if isinstance(value, Mapping):
        parts = {name: take_apart(inner) for name, inner in value.items()}
        structure = {name: inner for name, (inner, _) in parts.items()}
        return structure, [tensor for _, tensors in parts.values() for tensor in tensors]
    if isinstance(value, (list, tuple)):
        listed = [take_apart(inner) for inner in value]
        structure = [inner for inner, _ in listed]
        tensors = [tensor for _, found in listed for tensor in found]
        return tuple(structure) if isinstance(value, tuple) else structure, tensors
    return value, []


def put_together(structure: Any, tensors: deque[Tensor]) -> Any:
    """The reverse. Tensors lie in memory as they did."""
    if isinstance(structure, Place):
        back = sorted(range(len(structure.axes)), key=structure.axes.__getitem__)
        return tensors.popleft().permute(back)
    if isinstance(structure, Mapping):
        return {name: put_together(inner, tensors) for name, inner in structure.items()}
    if isinstance(structure, (list, tuple)):
        return type(structure)(put_together(inner, tensors) for inner in structure)
    return structure


def places(structure: Any) -> list[Place]:
    """All that a structure holds, in its order."""
    if isinstance(structure, Place):
        return [structure]
    inner = structure.values() if isinstance(structure, Mapping) else structure
    if isinstance(structure, str) or not isinstance(inner, Iterable):
        return []
    return [p for part in inner for p in places(part)]


class Channel:
    """From one process to another. Whatever is sent arrives in the same order.

    A message is the length of its head, the head (structure, shapes, types), and the tensors: the
    receiver need not know what comes. Heads go over gloo and wait for no device.

    Args:
        heads: a gloo group that both processes are in.
        tensors: the group for tensors on `device`; the same one on a CPU.
        source: rank of the sender in the groups.
        target: rank of the receiver.
        device: where tensors are made that arrive.
        tag: of its messages; channels between the same two processes need different ones.
        lead: messages that may be under way: the sender waits for the oldest before it sends
            another.
    """

    def __init__(
        self,
        heads: Any,
        tensors: Any,
        source: int,
        target: int,
        device: torch.device,
        tag: int = 0,
        lead: int = 2,
    ) -> None:
        self.heads, self.tensors = heads, tensors
        self.source, self.target = source, target
        self.device, self.tag, self.lead = device, tag, lead
        self.sent_bytes = 0
        self._under_way: deque[tuple[list[Any], list[Tensor]]] = deque()

    def send(self, value: Any) -> None:
        """Begin to send; the tensors must not change until they have arrived."""
        self.settle(self.lead - 1)
        structure, tensors = take_apart(value)
        head = torch.frombuffer(bytearray(pickle.dumps(structure)), dtype=torch.uint8)
        heads = [torch.tensor([len(head)]), head]
        filled = [tensor for tensor in tensors if tensor.numel()]
        works = [self._isend(tensor, self.heads) for tensor in heads]
        works += [self._isend(tensor, self.tensors) for tensor in filled]
        self._under_way.append((works, heads + filled))  # kept until they have arrived
        self.sent_bytes += sum(tensor.nbytes for tensor in tensors)

    def settle(self, left: int = 0) -> None:
        """Wait until no more than so many messages are under way."""
        while len(self._under_way) > left:
            for work in self._under_way[0][0]:
                work.wait()
            self._under_way.popleft()

    def receive(self) -> Any:
        """Wait for the next message."""
        length = self._recv(torch.empty(1, dtype=torch.int64), self.heads)
        head = self._recv(torch.empty(int(length), dtype=torch.uint8), self.heads)
        structure = pickle.loads(head.numpy().tobytes())
        arrived = deque(
            torch.empty(place.shape, dtype=place.dtype, device=self.device)
            for place in places(structure)
        )
        for tensor in arrived:
            if tensor.numel():
                self._recv(tensor, self.tensors)
        return put_together(structure, arrived)

    def _isend(self, tensor: Tensor, group: Any) -> Any:
        work = dist.isend(tensor, group=group, group_dst=self.target, tag=self.tag)
        assert work is not None
        return work

    def _recv(self, tensor: Tensor, group: Any) -> Tensor:
        work = dist.irecv(tensor, group=group, group_src=self.source, tag=self.tag)
        assert work is not None
        work.wait()
        return tensor


END = "end"
INBOX = "blocklearn inbox"  # name of its thread


class Inbox:
    """What arrives on a channel, received ahead while what came before is computed: one message
    waits, one is on its way. It stops at the sender's `END`.

    Args:
        channel: whose target this process is.
        timeout_s: longest wait for a message.
    """

    def __init__(self, channel: Channel, timeout_s: float) -> None:
        self.channel, self.timeout_s = channel, timeout_s
        self._arrived: queue.Queue[Any] = queue.Queue(maxsize=1)
        self._thread: threading.Thread | None = None

    def get(self) -> Any:
        """The next message.

        Raises:
            RuntimeError: where the connection was lost, or nothing came in time.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._receive, daemon=True, name=INBOX)
            self._thread.start()
        try:
            message, event = self._arrived.get(timeout=self.timeout_s + 5)
        except queue.Empty:
            raise RuntimeError("gloo: timed out waiting for a block's output") from None
        if isinstance(message, Exception):
            raise message
        if event is not None:
            stream = torch.cuda.current_stream(self.channel.device)
            stream.wait_event(event)
            for tensor in take_apart(message)[1]:
                tensor.record_stream(stream)
        return message

    def _receive(self) -> None:
        on_gpu = self.channel.device.type == "cuda"
        stream = torch.cuda.Stream(self.channel.device) if on_gpu else None
        while True:
            event = None
            try:
                with torch.cuda.stream(stream):
                    message = self.channel.receive()
                if stream is not None:
                    event = stream.record_event()
            except Exception as error:
                self._arrived.put((error, None))
                return
            if message == END:
                return
            self._arrived.put((message, event))
