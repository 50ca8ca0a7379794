"""An S3 server (moto) on loopback, behind a proxy that counts, delays and spoils what is asked."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEYS = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing", "region_name": "us-east-1"}


@dataclass
class Endpoint:
    """``asked`` are method, path and range of every request; of the next ``cut`` reads half a body is answered, and the
    next ``refused`` ones get ``status``. ``delay`` is in seconds a request."""

    port: int
    server_port: int
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    cut: int = 0
    refused: int = 0
    status: int = 503
    delay: float = 0.0

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def reads(self) -> list[tuple[str, int]]:
        """Path and number of bytes of every range that was asked for."""
        ranges = [(path, each.removeprefix("bytes=").split("-")) for method, path, each in self.asked if each]
        return [(path, int(last) - int(first) + 1) for path, (first, last) in ranges]

    def client(self) -> Any:
        import boto3

        return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self.server_port}", **KEYS)


@contextmanager
def serve() -> Iterator[Endpoint]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = Endpoint(0, server.get_host_and_port()[1])
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(endpoint.delay)
            reads = "Range" in self.headers
            with lock:
                endpoint.asked.append((self.command, self.path, self.headers.get("Range", "")))
                refused, endpoint.refused = reads and endpoint.refused > 0, endpoint.refused - reads
                cut, endpoint.cut = reads and not refused and endpoint.cut > 0, endpoint.cut - (reads and not refused)
            if refused:
                self.answer(endpoint.status, [("Content-Type", "application/xml")], b"<Error><Code>Odd</Code></Error>")
                return
            connection = http.client.HTTPConnection("127.0.0.1", endpoint.server_port)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            data = answer.read()
            kept = [pair for pair in answer.getheaders() if pair[0].lower() not in ("connection", "transfer-encoding")]
            self.answer(answer.status, kept, data, len(data) // 2 if cut else None)
            if cut:
                self.close_connection = True
                self.connection.close()

        def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, cut: int | None = None) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if not any(name.lower() == "content-length" for name, _ in headers):
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[:cut])
                self.wfile.flush()

        def log_message(self, *arguments: Any) -> None:
            pass

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward  # noqa: N815 (names of the library)

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    endpoint.port = proxy.server_port
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield endpoint
    finally:
        proxy.shutdown()
        proxy.server_close()
        server.stop()
