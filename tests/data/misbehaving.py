"""A server on this machine that misbehaves in all the ways servers do."""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rekon.config import RemoteFile

BODY = bytes(range(256)) * 3000  # 768 kB
SHA = hashlib.sha256(BODY).hexdigest()
SECRET = "s1gnature"


class Handler(BaseHTTPRequestHandler):
    """Takes the next behaviour off the server's list for each request; serves well when the list is empty.

    `server.body` is the file, `server.version` what is said of its version, as headers.
    """

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        behaviour = self.server.script.pop(0) if self.server.script else "good"
        getattr(self, behaviour.split()[0])(*behaviour.split()[1:])

    def good(self):
        start = self.start()
        if start and start >= len(self.server.body):
            return self.status("416")
        self.head(206 if start else 200, len(self.server.body) - start, start or None, **self.server.version)
        self.wfile.write(self.server.body[start:])

    def start(self):
        """First byte to send: all where the file is no longer the one that is asked for."""
        asked, only_of = self.headers.get("Range"), self.headers.get("If-Range")
        if not asked or (only_of and only_of not in self.server.version.values()):
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def head(self, status, length=None, start=None, **more):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if start is not None:
            size = len(self.server.body)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def status(self, status, after=None):
        more = {"Retry_After": after.replace("_", " ")} if after else {}
        self.head(int(status), 5, **more)
        self.wfile.write(b"sorry")

    def drops(self, at):
        """Promise all that is missing, then break the connection."""
        start = self.start()
        self.head(206 if start else 200, len(self.server.body) - start, start or None, **self.server.version)
        self.wfile.write(self.server.body[start : int(at)])
        self.wfile.flush()
        self.close_connection = True

    def silent(self):
        """Break the connection without any answer."""
        self.close_connection = True

    def unframed(self, at):
        """No length, and too short: only the hash can tell."""
        self.head(200)
        self.wfile.write(BODY[: int(at)])

    def ignores_range(self):
        self.head(200, len(BODY))
        self.wfile.write(BODY)

    def other_range(self):
        self.head(206, len(BODY), 0)
        self.wfile.write(BODY)

    def wrong(self):
        self.head(200, 9, Content_Type="text/html")
        self.wfile.write(b"<p>log in")

    def moved(self):
        self.head(302, 0, Location=f"/elsewhere?token={SECRET}")

    def changed(self, *version):
        """Another file of the same length is there now; told as a list of NAME=VALUE."""
        self.server.body = self.server.body[::-1]
        self.server.version = dict(one.split("=") for one in version)
        self.good()

    def careless_change(self, *version):
        """The same, but the rest that was asked for is sent, whatever If-Range says."""
        self.server.body = self.server.body[::-1]
        self.server.version = dict(one.split("=") for one in version)
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.head(206, len(self.server.body) - start, start, **self.server.version)
        self.wfile.write(self.server.body[start:])


@contextmanager
def serving(monkeypatch):
    """The server, running."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.script, running.ranges, running.body, running.version = [], [], BODY, {}
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def remote(server, sha256=SHA, **more):
    port = server.server_address[1] if server else 1  # nothing listens on port 1
    url = f"http://127.0.0.1:{port}/folder/k.npy?token={SECRET}"
    return RemoteFile(volume="v", path="sub/k.npy", url=url, sha256=sha256, contrast="T2", subject="s", **more)


def files_below(folder: Path):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
