"""A server on this machine that answers as Zenodo, Dataverse and mridata.org do, and misbehaves when told to."""

import hashlib
import io
import json
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from samples import make_dataset

from rekon.data import http
from rekon.data.download_set import KEPT

SECRET = "s1gnature"
BODY = bytes(range(256)) * 400  # of every file


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files` by path; `server.script` holds, path by path, what goes wrong first."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        """Lengths are told, unless `server.silent`: then, as with signed links, GET alone is allowed."""
        content = None if self.server.silent else self.server.files.get(urlsplit(self.path).path)
        self.send_response(403 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()

    def do_GET(self):
        path = urlsplit(self.path).path
        self.server.asked.append(self.path)
        problems = self.server.script.get(path, [])
        problem = problems.pop(0) if problems else ""
        content = self.server.files.get(path)
        if problem.isdigit() or content is None:
            self.send_response(int(problem or 404))
            self.send_header("Content-Length", "0")
            if problem == "429":
                self.send_header("Retry-After", "7")
            self.end_headers()
            return
        if self.headers.get("Range") == "bytes=0-0":  # how long it is
            self.server.asked.pop()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-0/{len(content)}")
            self.send_header("Content-Length", "1")
            self.end_headers()
            self.wfile.write(content[:1])
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = b"?" * len(content) if problem == "wrong" else content
        self.wfile.write(body[start : len(content) // 2 if problem == "drops" else None])
        self.close_connection = problem == "drops"


@contextmanager
def serving(monkeypatch):
    """The server, running; pauses between attempts are skipped."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(http, "wait", lambda seconds: None)
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.files, running.script, running.asked, running.silent = {}, {}, [], False
    running.daemon_threads = True
    running.base = f"http://127.0.0.1:{running.server_address[1]}"
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def published(volumes: int) -> dict:
    return {"volumes": volumes, "slices": volumes, "coils": (1.0, 1), "matrix": (8, 8), "gigabytes": 1.0}


def a_set(server, kind, id="7", files="*.h5", volumes=3, **more):
    fetch = {"kind": kind, "id": id, "server": server.base, "files": {"test": files}}
    return make_dataset(fetch=fetch, published={"test": published(volumes)}, access="ask at example.org.", **more)


def zenodo(server, **contents):
    listed = [{"key": name, "size": len(body), "checksum": f"md5:{md5(body)}"} for name, body in contents.items()]
    server.files["/api/records/7"] = json.dumps({"id": 7, "files": listed}).encode()
    server.files |= {f"/api/records/7/files/{name}/content": body for name, body in contents.items()}


def dataverse(server, *names):
    files = [
        {"label": name, "dataFile": {"id": 10 + i, "filename": name, "filesize": len(BODY), "md5": md5(BODY)}}
        for i, name in enumerate(names)
    ]
    place = "/api/datasets/:persistentId/versions/:latest-published/files"
    server.files[place] = json.dumps({"status": "OK", "data": files}).encode()
    server.files |= {f"/api/access/datafile/{10 + i}": BODY for i in range(len(names))}


def archive(**contents) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, body in contents.items():
            file.writestr(f"inside/{name}.h5", body)
    return out.getvalue()


def here(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != KEPT)
