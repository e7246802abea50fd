"""Demo of a run: its web page, made once and served from this computer."""

import hashlib
import os
import sys
import webbrowser
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import as_file, files
from ipaddress import ip_address
from pathlib import Path

from torch import Tensor

from vision_attn.core.errors import UserError
from vision_attn.core.terminal import say
from vision_attn.core.version import __version__
from vision_attn.export.delivery import Export
from vision_attn.export.web import PILLOW
from vision_attn.export.web_runtime import VERSION, user_cache
from vision_attn.runs.folder import RunFolder

MODEL_FILES = ("model.json", "model.safetensors")
TOLERANCE = 1e-4  # of the comparison with the model, as in `vision-attn export`


def page_folder(run: str | Path) -> Path:
    """The folder of a run's page in the user's cache; its name is a hash of all that it is made of.

    Raises:
        UserError: there is no trained model in the run.
    """
    folder = RunFolder(Path(run))
    folder.load_spec()
    checksum = hashlib.sha256(f"{__version__}\0{VERSION}\0{PILLOW}\0".encode())
    with as_file(files("vision_attn.export") / "page") as page:
        sources = sorted(path for path in page.rglob("*") if path.is_file())
        for path in (*sources, *(folder.path / name for name in MODEL_FILES)):
            checksum.update(path.read_bytes())
    return user_cache() / "vision-attn" / "pages" / checksum.hexdigest()[:16]


def prepare(run: str | Path, runtime: str | None, trusted: Collection[str]) -> Export | None:
    """The export that makes the page of a run; None if the page was made before.

    Raises:
        UserError: there is no run, or a library is missing.
    """
    folder = page_folder(run)
    if folder.is_dir():
        return None
    options = {} if runtime is None else {"runtime": runtime}
    return Export.prepare(run, "web", folder, options, TOLERANCE, trusted)


def make(export: Export, images: Tensor) -> None:
    """Make the page, and compare its model on images (N, 3, H, W) in [0, 1].

    Raises:
        ParityError: the outputs of the exported model differ from the model's.
    """
    for line in export.write(images):
        say(line)


@dataclass(frozen=True)
class Address:
    """Where the page is served.

    Attributes:
        host: an IP address of this computer; 127.0.0.1 can be reached from this computer only.
        port: 0 takes a free one.
    """

    host: str = "127.0.0.1"
    port: int = 0

    def check(self) -> None:
        """Check the values.

        Raises:
            UserError: the host is no IP address, or the port is out of range.
        """
        try:
            ip_address(self.host)
        except ValueError:
            raise UserError(f"--host: {self.host} is no IP address, such as 127.0.0.1.") from None
        if ":" in self.host:
            raise UserError(f"--host: {self.host} is of version 6; name one of version 4.")
        if not 0 <= self.port < 2**16:
            raise UserError(f"--port must be 0 to 65535, not {self.port}.")

    @property
    def is_local(self) -> bool:
        """Whether only this computer can reach it.

        >>> Address("127.0.0.1").is_local, Address("0.0.0.0").is_local
        (True, False)
        """
        return ip_address(self.host).is_loopback


class PageHandler(SimpleHTTPRequestHandler):
    """Serves the files of a folder, without a line per request."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",  # on Windows, the registry may say something else
        ".wasm": "application/wasm",
    }

    def send_head(self):  # type: ignore[no-untyped-def] # its type is private in typeshed
        """Refuse requests that a foreign page made through a name of its own (DNS rebinding)."""
        host, port = self.server.server_address[:2]
        names = {f"{host}:{port}", f"localhost:{port}"}
        if ip_address(str(host)).is_loopback and self.headers.get("Host") not in names:
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        return super().send_head()

    def end_headers(self) -> None:
        """Let browsers ask again for each file, since another run may be served next."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def server(folder: Path, address: Address) -> ThreadingHTTPServer:
    """A server of a folder that listens already.

    Raises:
        UserError: the port is taken, or the address is not of this computer.
    """
    try:
        return ThreadingHTTPServer(
            (address.host, address.port), partial(PageHandler, directory=str(folder))
        )
    except OSError as error:
        at = f"{address.host}:{address.port}"
        raise UserError(f"cannot serve at {at}: {error.strerror}; name another --port.") from error


def serve(folder: Path, address: Address, opens_browser: bool = True) -> None:
    """Serve a page until Ctrl-C.

    Raises:
        UserError: the port is taken, or the address is not of this computer.
    """
    with server(folder, address) as listening:
        host = "127.0.0.1" if ip_address(address.host).is_unspecified else address.host
        url = f"http://{host}:{listening.server_port}/"
        if not address.is_local:
            say(
                f"warning    {address.host}: everyone in your network can open the page", error=True
            )
        try:
            say(f"open       {url} (Ctrl-C stops)")
            if opens_browser and has_screen():
                webbrowser.open(url)
            listening.serve_forever()
        except KeyboardInterrupt:
            say("stopped")


def has_screen() -> bool:
    """Whether a browser can open a window; without one, a text browser would take the terminal."""
    return sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
