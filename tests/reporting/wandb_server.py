"""A server of W&B on this machine, in good health or not: what the client asks is kept, what it is
told is made up."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0" * 40
PROJECT = {"id": "p", "name": "blocklearn", "entity": {"id": "e", "name": "me"}}
VIEWER = {
    "id": "u",
    "entity": "me",
    "username": "me",
    "email": None,
    "flags": "{}",
    "teams": {"edges": []},
}


class WandbServer(ThreadingHTTPServer):
    """Answers what a run asks.

    Attributes:
        delay: seconds before every answer.
        status: of every answer.
        uploads: False: metrics and files are accepted and never answered.
        prompt: whether it answers at once when it is only asked whether it is there.
        runs: every `upsertBucket` the client sent, its variables.
        streams: every piece of a run's stream, by the run's id.
        requests: number of them.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, delay: float, status: int, uploads: bool, prompt: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.delay, self.status, self.uploads, self.prompt = delay, status, uploads, prompt
        self.runs: list[dict[str, Any]] = []
        self.streams: dict[str, list[dict[str, Any]]] = {}
        self.requests = 0
        self.closed = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed has hung up; nothing to tell."""

    def history(self, run: str) -> list[dict[str, Any]]:
        """The rows of metrics that arrived, in their order."""
        rows: dict[int, dict[str, Any]] = {}
        for piece in self.streams.get(run, []):
            chunk = (piece.get("files") or {}).get("wandb-history.jsonl")
            if chunk:
                rows |= {
                    chunk["offset"] + at: json.loads(line)
                    for at, line in enumerate(chunk["content"])
                }
        return [rows[at] for at in sorted(rows)]

    def exit_codes(self, run: str) -> list[int]:
        return [piece["exitcode"] for piece in self.streams.get(run, []) if piece.get("complete")]


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._answer({})

    do_PUT = do_GET

    def do_HEAD(self) -> None:
        self._answer({}, 0.0 if self.server.prompt else self.server.delay)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path == "/graphql":
            self._answer({"data": self._data(body.get("query", ""), body.get("variables") or {})})
        else:
            self._receive(self.path.split("/")[-2], body)

    def _receive(self, run: str, body: dict[str, Any]) -> None:
        if not self.server.uploads:
            self.server.closed.wait()
            return
        self.server.streams.setdefault(run, []).append(body)
        self._answer({"exitcode": None, "limits": {}})

    def _data(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertBucket" in query:
            return {"upsertBucket": self._upsert(variables)}
        if "RunResumeStatus" in query:
            return {"model": {**PROJECT, "bucket": self._resumed(variables["name"])}}
        if "createRunFiles" in query:
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": []}}
        if "ServerFeatures" in query:
            return {"serverInfo": {"features": []}}
        return {"viewer": VIEWER, "serverInfo": None, "project": None}

    def _upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.server.runs.append(variables)
        name = variables.get("name")
        lines = len(self.server.history(str(name)))
        run = {
            "id": "r",
            "name": name,
            "displayName": variables.get("displayName"),
            "description": "",
            "config": "{}",
        }
        return {
            "bucket": {**run, "sweepName": "", "project": PROJECT, "historyLineCount": lines},
            "inserted": True,
        }

    def _resumed(self, run: str) -> dict[str, Any] | None:
        rows = self.server.history(run)
        if not rows:
            return None
        tail = json.dumps([json.dumps(rows[-1])])
        counts = {"logLineCount": 0, "historyLineCount": len(rows), "eventsLineCount": 0}
        texts = {
            "summaryMetrics": "{}",
            "historyTail": tail,
            "eventsTail": "[]",
            "config": "{}",
            "wandbConfig": json.dumps({"t": {}}),
        }
        return {
            "id": "r",
            "name": run,
            "displayName": "x",
            "tags": [],
            "notes": "",
            **counts,
            **texts,
        }

    def _answer(self, content: dict[str, Any], delay: float | None = None) -> None:
        self.server.requests += 1
        self.server.closed.wait(self.server.delay if delay is None else delay)
        data = json.dumps(content).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def wandb_server(
    delay: float = 0.0, status: int = 200, uploads: bool = True, prompt: bool = False
) -> Iterator[WandbServer]:
    """A server that runs while the block does."""
    server = WandbServer(delay, status, uploads, prompt)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closed.set()
        server.shutdown()
        server.server_close()
