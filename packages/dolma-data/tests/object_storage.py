"""An S3 server (moto) on loopback, behind a proxy that notes what is asked and fails where a test says so."""

from __future__ import annotations

import http.client
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SECRET = "not-to-be-seen-anywhere"
NUMBERS = itertools.count()


@dataclass
class Fault:
    """What happens to the next ``times`` requests of ``method`` to a key that ends in ``key``.

    ``status`` is answered with the S3 error ``code``; without one the connection is dropped after half of the body;
    with ``passes`` nothing goes wrong. ``before`` is called first.
    """

    method: str
    key: str
    status: int | None = None
    code: str = ""
    times: int = 1_000_000
    before: Callable[[], None] = lambda: None
    passes: bool = False


@dataclass
class Endpoint:
    """``requests`` are (method, path, status) of all that were answered, in order."""

    port: int
    server_port: int
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "3",
        }

    def fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and path.endswith(fault.key):
                fault.times -= 1
                return fault
        return None


class Bucket:
    """A bucket of its own for a test, written to and read past the proxy."""

    def __init__(self, endpoint: Endpoint) -> None:
        import boto3

        self.endpoint = endpoint
        self.name = f"bucket-{next(NUMBERS)}"
        self.url = f"s3://{self.name}"
        server = f"http://127.0.0.1:{endpoint.server_port}"
        keys = {"aws_access_key_id": "nobody", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=server, **keys)
        self.client.create_bucket(Bucket=self.name)

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def put(self, folder: Path, name: str) -> str:
        """Copy a local folder (or file) to ``name``; returns its URL."""
        for path in [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file()):
            below = path.relative_to(folder).as_posix()
            self.write(name if below == "." else f"{name}/{below}".lstrip("/"), path.read_bytes())
        return f"{self.url}/{name}"

    def content(self, url: str) -> dict[str, bytes]:
        """Relative keys and bytes below a URL of this bucket, provenance left out."""
        root = (url.removeprefix(self.url).strip("/") + "/").removeprefix("/")
        return {key.removeprefix(root): self.read(key) for key in self.keys(root) if "provenance/" not in key}

    def written(self) -> list[str]:
        """Keys of this bucket that were put through the proxy, in order of their end."""
        own = f"/{self.name}/"
        done = [unquote(urlsplit(path).path) for method, path, _ in self.endpoint.requests if method == "PUT"]
        return [path.removeprefix(own) for path in done if path.startswith(own)]


@contextmanager
def serve() -> Iterator[Endpoint]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, server_port = server.get_host_and_port()
    endpoint = Endpoint(0, server_port)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            fault = endpoint.fault(self.command, unquote(urlsplit(self.path).path))
            if fault is not None:
                fault.before()
                fault = None if fault.passes else fault
            if fault is not None and fault.status is None and self.command == "PUT":
                self.rfile.read(length // 2)
                self.drop()
                return
            body = self.rfile.read(length)
            if fault is not None and fault.status is not None:
                text = f"<Error><Code>{fault.code}</Code><Message>{fault.code}</Message></Error>".encode()
                self.answer(fault.status, [("Content-Type", "application/xml")], text)
                return
            connection = http.client.HTTPConnection("127.0.0.1", server_port)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            data = answer.read()
            kept = [pair for pair in answer.getheaders() if pair[0].lower() not in ("connection", "transfer-encoding")]
            if fault is not None:
                self.answer(answer.status, kept, data, cut=len(data) // 2)
                self.drop()
                return
            self.answer(answer.status, kept, data)
            endpoint.requests.append((self.command, self.path, answer.status))

        def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, cut: int | None = None) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if not any(name.lower() == "content-length" for name, _ in headers):
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[:cut])

        def drop(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.close()

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
