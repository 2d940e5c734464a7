"""A model hub over HTTP, as far as huggingface_hub speaks to one, with faults on demand and a log.

GET  /api/models/ORG/NAME[/revision/REV][?blobs=true]   commit and files
GET  /api/models/ORG/NAME/tree/REV                      files, as snapshot_download lists them
GET  /ORG/NAME/resolve/REV/PATH                         small files; large ones redirect to /_cdn, as LFS does
GET  /_cdn/ORG/NAME/COMMIT/PATH                         on a port of its own where one is given
GET, DELETE /_log   GET, POST, DELETE /_faults   POST /_repos {repository, folder, revision}   GET /_health
"""

import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from faulty import RANGE, FaultyHandler
from hub_faults import Entry, Fault
from hub_files import File, Revision

if TYPE_CHECKING:
    from hub_server import Server

API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+?)(/(?P<kind>revision|tree)/(?P<rev>[^/]+))?")
RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<rev>[^/]+)/(?P<file>.+)")
CDN = re.compile(r"/_cdn/(?P<repo>[^/]+/[^/]+)/(?P<rev>[0-9a-f]{40})/(?P<file>.+)")


class Handler(FaultyHandler):
    server: "Server"
    server_version = "hub"

    def do_GET(self) -> None:
        self._hub = self.server.hub
        url = urlsplit(self.path)
        self._place, self._path, self._query = url.path, unquote(url.path), parse_qs(url.query)
        if self._path.startswith("/_") and not self._path.startswith("/_cdn/"):
            return self._control()
        self._entry = self._hub.log.open(
            Entry(
                method=self.command,
                path=self._path,
                range=self.headers.get("Range"),
                authorized="Authorization" in self.headers,
            )
        )
        fault = self._hub.faults.take(self._path, body=False)
        if fault is not None:
            return self._fail(fault)
        if match := CDN.fullmatch(self._place):
            return self._content(*self._found(match))
        if self._refused():
            return None
        if match := API.fullmatch(self._place):
            return self._api(match)
        if match := RESOLVE.fullmatch(self._place):
            return self._resolve(match)
        return self._error(404, "NotFound", "Sorry, we can't find the page you are looking for.")

    do_HEAD = do_GET
    do_POST = do_GET
    do_DELETE = do_GET

    # The hub's protocol

    def _refused(self) -> bool:
        """401, told apart as the real hub does: a wrong token, or none."""
        wanted, given = self._hub.token, self.headers.get("Authorization")
        if wanted is None or given == f"Bearer {wanted}":
            return False
        if given is not None:
            self._error(401, None, "Invalid credentials in Authorization header")
        else:
            self._error(401, None, "Invalid username or password.")
        return True

    def _api(self, match: re.Match[str]) -> None:
        revision = self._revision(match["repo"], unquote(match["rev"] or "main"))
        if revision is None:
            return None
        if match["kind"] == "tree":
            return self._json([file.entry() for file in revision.files.values()])
        blobs = self._query.get("blobs", ["false"])[0].lower() == "true"
        told = [file.sibling(blobs=blobs) for file in revision.files.values()]
        repository = match["repo"]
        return self._json(
            {"id": repository, "modelId": repository, "sha": revision.commit, "siblings": told}
        )

    def _resolve(self, match: re.Match[str]) -> None:
        revision = self._revision(match["repo"], unquote(match["rev"]))
        if revision is None:
            return None
        commit = {"X-Repo-Commit": revision.commit}
        file = revision.files.get(unquote(match["file"]))
        if file is None:
            return self._error(404, "EntryNotFound", "Entry not found", commit)
        if not file.lfs:
            return self._content(revision, file)
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0] or "127.0.0.1"
        place = f"/_cdn/{match['repo']}/{revision.commit}/{file.path}"
        linked = {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.etag}"'}
        where = {"Location": f"http://{host}:{self._hub.cdn_port}{quote(place)}"}
        return self._answer(302, b"", commit | linked | where)

    def _revision(self, repository: str, name: str) -> Revision | None:
        """None once the error is answered: 401 for strangers, who may not know what there is."""
        known = repository in self._hub.repositories
        revision = self._hub.repositories.find(repository, name)
        if not known and "Authorization" not in self.headers:
            self._error(401, None, "Invalid username or password.")
        elif not known:
            self._error(404, "RepoNotFound", "Repository not found")
        elif revision is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {name}")
        return revision

    def _found(self, match: re.Match[str]) -> tuple[Revision, File]:
        revision = self._hub.repositories.find(match["repo"], match["rev"])
        assert revision is not None, "only we name places in the CDN"
        return revision, revision.files[unquote(match["file"])]

    # Bodies

    def _content(self, revision: Revision, file: File) -> None:
        fault = self._hub.faults.take(self._path, body=True) if self.command == "GET" else None
        fault = fault or Fault()
        asked = None if fault.ignore_range else RANGE.fullmatch(self.headers.get("Range") or "")
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2]) if asked and asked[2] else file.size - 1, file.size - 1)
        if asked and first >= file.size:
            return self._answer(416, b"", {"Content-Range": f"bytes */{file.size}"})
        length = last - first + 1 + (fault.extra or 0)
        headers = {
            "Content-Length": str(length),
            "Content-Type": "application/octet-stream",
            "ETag": f'"{file.etag}"',
            "Accept-Ranges": "bytes",
            "X-Repo-Commit": revision.commit,
        }
        if asked:
            headers["Content-Range"] = f"bytes {first}-{last}/{file.size}"
        if fault.encoding:
            headers["Content-Encoding"] = fault.encoding
        self._head(206 if asked else 200, headers)
        if self.command == "GET":
            with file.location.open("rb") as content:
                content.seek(first)
                self._send_body(content, first, length, fault)
        return None

    # Answers

    def _error(
        self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None
    ) -> None:
        told = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._answer(status, json.dumps({"error": message}).encode(), told | (headers or {}))

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    # The controls

    def _control(self) -> None:
        self._entry = Entry(method=self.command, path=self._path, range=None, authorized=False)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        match self.command, self._path:
            case "GET", "/_log":
                return self._answer(200, self._hub.log.lines(), {"Content-Type": "text/plain"})
            case "DELETE", "/_log":
                self._hub.log.clear()
            case "GET", "/_faults":
                return self._json(self._hub.faults.all())
            case "DELETE", "/_faults":
                self._hub.faults.clear()
            case "POST", "/_faults":
                return self._control_fault(body)
            case "POST", "/_repos":
                return self._control_repository(body)
            case "GET", "/_health":
                pass
            case _:
                return self._error(404, None, f"no such control: {self.command} {self._path}")
        return self._json({})

    def _control_fault(self, body: dict[str, Any]) -> None:
        try:
            self._json(self._hub.fault(**body).as_json())
        except TypeError as error:
            self._error(HTTPStatus.BAD_REQUEST, None, str(error))

    def _control_repository(self, body: dict[str, Any]) -> None:
        try:
            commit = self._hub.repositories.add(
                body["repository"], Path(body["folder"]), body.get("revision", "main")
            )
            self._json({"commit": commit})
        except (KeyError, OSError) as error:
            self._error(HTTPStatus.BAD_REQUEST, None, repr(error))
