"""`vision-attn demo` makes the page once, serves it to this computer only, and stops at Ctrl-C."""

import http.client
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from vision_attn.cli.main import main
from vision_attn.export import demo, web
from vision_attn.export.demo import Address, page_folder, server

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and files in place of onnxruntime-web."""
    runtime = {name: tmp_path / name for name in ("ort.wasm.bundle.min.mjs", "ort.wasm")}
    for path in runtime.values():
        path.write_text("runtime")
    monkeypatch.setattr(web, "runtime_files", lambda _: runtime)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    """A server of a folder with two files."""
    (tmp_path / "page").mkdir()
    for name in ("page.js", "a.wasm"):
        (tmp_path / "page" / name).write_text("x")
    with server(tmp_path / "page", Address()) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def get(found: ThreadingHTTPServer, path: str, host: str = "") -> http.client.HTTPResponse:
    """The answer to a request, by any name of the host."""
    connection = http.client.HTTPConnection("127.0.0.1", found.server_port, timeout=10)
    connection.request("GET", path, headers={"Host": host} if host else {})
    return connection.getresponse()


class TestServer:
    def test_it_serves_files_with_their_types(self, listening: ThreadingHTTPServer) -> None:
        assert get(listening, "/page.js").getheader("Content-Type") == "text/javascript"
        assert get(listening, "/a.wasm").getheader("Content-Type") == "application/wasm"
        assert get(listening, "/page.js", f"localhost:{listening.server_port}").status == 200

    def test_it_serves_nothing_else(self, listening: ThreadingHTTPServer) -> None:
        assert get(listening, "/../ort.wasm").status == 404
        assert get(listening, "/page.js", "evil.example").status == 403  # DNS rebinding

    def test_a_taken_port_is_one_line(
        self, listening: ThreadingHTTPServer, trained: tuple[Path, Path], capsys: Captured
    ) -> None:
        page_folder(trained[0]).mkdir(parents=True)
        assert main(["demo", str(trained[0]), "--port", str(listening.server_port)]) == 2
        error = capsys.readouterr().err
        assert "name another --port" in error
        assert len(error.splitlines()) == 1


def test_it_is_made_once_and_stops_at_ctrl_c(
    run: Path, trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def interrupt(_: ThreadingHTTPServer) -> None:
        raise KeyboardInterrupt

    opened: list[str] = []
    monkeypatch.setattr(demo.ThreadingHTTPServer, "serve_forever", interrupt)
    monkeypatch.setattr(demo.webbrowser, "open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    images = ["--images", str(trained[1] / "test")]
    assert main(["demo", str(run), *images]) == 0
    first = capsys.readouterr()
    assert "differs    by at most" in first.out
    assert first.out.splitlines()[-1] == "stopped"
    assert opened[0].startswith("http://127.0.0.1:")
    assert "warning" not in first.err
    folder = page_folder(run)
    assert (folder / "index.html").is_file()

    assert main(["demo", str(run), "--host", "0.0.0.0", "--no_browser"]) == 0
    second = capsys.readouterr()
    assert "differs" not in second.out
    assert "everyone in your network" in second.err
    assert len(opened) == 1

    (run / "model.json").write_text((run / "model.json").read_text() + "\n")
    assert page_folder(run) != folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "99999"], "--port must be 0 to 65535"),
        (["--host", "example"], "--host: example is no IP address"),
        (["--host", "::1"], "of version 6"),
    ],
)
def test_errors_are_one_line(
    words: list[str], message: str, trained: tuple[Path, Path], cache: Path, capsys: Captured
) -> None:
    assert main(["demo", str(trained[0]), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not cache.exists()


def test_a_folder_without_a_model_is_refused(tmp_path: Path, capsys: Captured) -> None:
    assert main(["demo", str(tmp_path / "nowhere")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
