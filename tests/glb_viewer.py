"""Shows GLB files in the WebGL viewers people use, so that tests can compare pictures.

A headless Chromium with a software GL runs three.js and model-viewer, which npm installs under
``tests/viewer``. Every request is answered from there; one for anything else is an error.

All pictures are square. The camera looks horizontally at `centre` (metres) and turns about the y
axis: at yaw 0 it stands on the +z side of the object, at +90 degrees on the +x side, where the
picture's right is -z. `view_width` is the width of the picture in metres, `size` in pixels. The
point `centre` is seen in the middle, which is a corner of pixels if `size` is even.
"""

import base64
import io
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import numpy as np
import pytest
from jaxtyping import Bool, UInt8
from PIL import Image
from playwright.sync_api import ConsoleMessage, Page, Playwright, Route, sync_playwright
from playwright.sync_api import Error as PlaywrightError

__all__ = [
    "BACKGROUND",
    "CHROMIUM_FLAGS",
    "GlbViewer",
    "Picture",
    "ViewerError",
    "find_chromium",
    "glb_viewer_fixture",
    "open_viewer",
    "silhouette_iou",
    "unavailable",
]

BACKGROUND = (255, 0, 255)
"""The colour outside the mask."""

Picture = tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]
"""RGB, and where the object is."""

Vector = tuple[float, float, float]
T = TypeVar("T")

_VIEWER = Path(__file__).parent / "viewer"
_ORIGIN = "http://localhost"  # never reached: the route below answers everything
_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM_FLAGS = (
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
_TIMEOUT_S = 60  # one picture takes a tenth of a second, but the machine may be busy


class ViewerError(AssertionError):
    """A viewer could not show a file, logged an error or asked for something from elsewhere."""


class GlbViewer:
    """A page in a headless Chromium, and node for the validator; `open_viewer` makes one."""

    def __init__(self, thread: Executor, playwright: Playwright, chromium: str, node: str):
        self._thread = thread
        self._node = node
        self._errors: list[str] = []
        self._glb = b""
        self._numbers = itertools.count()
        self._page = self._watched(lambda: self._open_page(playwright, chromium))

    def render_three(
        self, path: Path, yaw_deg: float, view_width: float, size: int, centre: Vector = (0, 0, 0)
    ) -> Picture:
        """Draws with three.js: orthographic, unlit, nothing antialiased; colours as in the texture.

        The mask is exact, and so is the colour of a texel in the middle of a pixel.

        Raises:
            ViewerError: if three.js cannot show the file or logs an error.
        """

        def render() -> str:
            arguments = self._arguments(path, yaw_deg, view_width, size, centre)
            return self._page.evaluate("(view) => renderThree(view)", arguments)

        data_url = self._watched(render)
        rgba = np.frombuffer(base64.b64decode(data_url.partition(",")[2]), np.uint8)
        rgba = rgba.reshape(size, size, 4)[::-1]  # WebGL counts rows from the bottom
        return _picture(rgba)

    def render_model_viewer(
        self, path: Path, yaw_deg: float, view_width: float, size: int, centre: Vector = (0, 0, 0)
    ) -> Picture:
        """Photographs a ``<model-viewer>``: lit, tone mapped and antialiased, nearly orthographic.

        The mask holds the pixels that are covered by half or more.

        Raises:
            ViewerError: if model-viewer cannot show the file or logs an error.
        """

        def photograph() -> bytes:
            arguments = self._arguments(path, yaw_deg, view_width, size, centre)
            self._page.set_viewport_size({"width": size, "height": size})
            self._page.evaluate("(view) => showModelViewer(view)", arguments)
            return self._page.screenshot(omit_background=True, animations="disabled")

        png = self._watched(photograph)
        return _picture(np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")))

    def validate(self, path: Path) -> dict[str, Any]:
        """The report of Khronos' glTF validator; its "issues" hold numErrors, messages and more."""
        command = [self._node, "validate.mjs", str(path.resolve())]
        return json.loads(_output(command, cwd=_VIEWER))

    def _open_page(self, playwright: Playwright, chromium: str) -> Page:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=CHROMIUM_FLAGS, timeout=1000 * _TIMEOUT_S
        )
        page = browser.new_page(device_scale_factor=1)
        page.set_default_timeout(1000 * _TIMEOUT_S)
        page.route("**/*", self._answer)
        page.on("pageerror", lambda error: self._errors.append(str(error)))
        page.on("console", self._note_console)
        page.goto(f"{_ORIGIN}/viewer.html")
        return page

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._errors.append(message.text)

    def _answer(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        file = _VIEWER / url.path.removeprefix("/")
        ours = f"{url.scheme}://{url.netloc}" == _ORIGIN
        if ours and file.suffix == ".glb":
            route.fulfill(body=self._glb, content_type="model/gltf-binary")
        elif ours and file.is_file():
            route.fulfill(path=file)
        else:
            self._errors.append(f"the page asked for {route.request.url}")
            route.abort()

    def _arguments(
        self, path: Path, yaw_deg: float, view_width: float, size: int, centre: Vector
    ) -> dict[str, Any]:
        self._glb = path.read_bytes()
        return {
            "url": f"/{next(self._numbers)}.glb",  # a new one, for model-viewer caches by address
            "yawDeg": yaw_deg,
            "viewWidth": view_width,
            "size": size,
            "centre": centre,
            "background": BACKGROUND,
        }

    def _watched(self, work: Callable[[], T]) -> T:
        self._errors.clear()
        try:
            result = self._thread.submit(work).result()
        except PlaywrightError as error:
            raise ViewerError("\n".join([error.message, *self._errors])) from error
        if self._errors:
            raise ViewerError("\n".join(self._errors))
        return result


@contextmanager
def open_viewer(chromium: str, node: str) -> Iterator[GlbViewer]:
    """A viewer that runs the programs `chromium` and `node`, with the npm packages in place.

    Playwright lives in a thread of its own: in the caller's it would leave an event loop running,
    and whatever else calls ``asyncio.run`` in the same process would fail.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="playwright") as thread:
        playwright = thread.submit(lambda: sync_playwright().start()).result()
        try:
            yield GlbViewer(thread, playwright, chromium, node)
        finally:
            thread.submit(playwright.stop).result()


@pytest.fixture(scope="session", name="glb_viewer")
def glb_viewer_fixture() -> Iterator[GlbViewer]:
    """A `GlbViewer` for the whole run, one in each worker that needs it.

    Skips where Chromium, node or the npm packages cannot be had, or fails if VRN_REQUIRE_BROWSER=1.
    """
    chromium = find_chromium()
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (chromium and node and npm):
        unavailable(f"needs chromium, node and npm; found {chromium}, {node} and {npm}")
    try:
        _install_packages(npm)
    except subprocess.SubprocessError as error:
        unavailable(f"npm ci failed in {_VIEWER}: {error}")
    with open_viewer(chromium, node) as viewer:
        yield viewer


def silhouette_iou(mask: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]) -> float:
    """Intersection over union of two masks of which one at least is not empty; in [0, 1]."""
    return float((mask & other).sum() / (mask | other).sum())


def _install_packages(npm: str) -> None:
    """Runs ``npm ci`` unless what is there was installed from the lock file as it is now."""
    fcntl = pytest.importorskip("fcntl")  # not on Windows
    wanted = _VIEWER / "package-lock.json"
    installed = _VIEWER / "node_modules" / ".package-lock.json"  # the last thing npm writes
    with wanted.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test workers get here at the same time
        if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
            _output([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=_VIEWER)


def _output(command: list[str], cwd: Path) -> str:
    return subprocess.run(
        command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True, timeout=5 * _TIMEOUT_S
    ).stdout


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, _CHROMIUM_NAMES)), None)


def unavailable(reason: str) -> NoReturn:
    """Skips the test, or fails it where a browser must be."""
    if os.environ.get("VRN_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _picture(rgba: UInt8[np.ndarray, "h w 4"]) -> Picture:
    mask = rgba[..., 3] >= 128
    return np.where(mask[..., None], rgba[..., :3], np.array(BACKGROUND, np.uint8)), mask
