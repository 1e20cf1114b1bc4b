"""The app: API, page and examples, with everything around them."""

import base64
import hashlib
import io
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from jaxtyping import UInt8
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from vrn_jax.demo.api import Service, router
from vrn_jax.demo.engine import Engine
from vrn_jax.demo.guard import Guard
from vrn_jax.demo.metrics import Metrics
from vrn_jax.demo.refusal import Refusal, answer, refusal_of
from vrn_jax.demo.schema import About, Example, failures
from vrn_jax.demo.sessions import Sessions
from vrn_jax.demo.settings import Limits
from vrn_jax.demo.uploads import Uploads
from vrn_jax.errors import VrnError
from vrn_jax.inference import Reconstructor
from vrn_jax.version import __version__

__all__ = ["ExamplePhoto", "create_app"]

_PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True, eq=False)
class ExamplePhoto:
    """A picture that the page offers to try; it shows a face."""

    title: str
    photo: UInt8[np.ndarray, "h w 3"]


def create_app(
    reconstructor: Reconstructor,
    examples: list[ExamplePhoto],
    *,
    limits: Limits | None = None,
    hosts: Iterable[str] = (),
) -> ASGIApp:
    """The whole app, as any ASGI server runs it.

    Args:
        reconstructor: belongs to the app from now on.
        examples: at least one; the first is used to compile on.
        limits: what is accepted.
        hosts: names that this server is called by, besides addresses and localhost.
    """
    limits, metrics = limits or Limits(), Metrics()
    engine = Engine(reconstructor, limits, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine.start(examples[0].photo)
        yield
        engine.stop()

    app = FastAPI(
        title="vrn_jax",
        version=__version__,
        summary="3D faces from a single photo",
        openapi_url="/api/openapi.json",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers={
            VrnError: _answer_refusal,
            HTTPException: _answer_http,
            RequestValidationError: _answer_invalid,
            Exception: _answer_internal,
        },
    )
    app.state.service = Service(engine, Sessions(limits), Uploads(limits), limits, metrics)
    app.include_router(router)
    html = (_PAGE / "index.html").read_text(encoding="utf-8")
    _add_page(app, html, _about(reconstructor, limits, examples), examples)
    return Guard(app, hosts=hosts, policy=_policy(html), limits=limits, metrics=metrics)


def _about(reconstructor: Reconstructor, limits: Limits, examples: list[ExamplePhoto]) -> About:
    return About(
        version=__version__,
        weights=reconstructor.info.name,
        threshold=reconstructor.settings.threshold,
        sigma_px=reconstructor.settings.sigma_px,
        upload_bytes=limits.upload_bytes,
        session_minutes=limits.session_seconds / 60,
        examples=[
            Example(title=example.title, url=f"/examples/{number}.jpg")
            for number, example in enumerate(examples)
        ],
    )


def _add_page(app: FastAPI, html: str, about: About, examples: list[ExamplePhoto]) -> None:
    pictures = [_jpeg(example.photo) for example in examples]

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(html)

    @app.get("/api/v1/about", responses=failures(), tags=["server"])
    async def tell_about() -> About:
        """What the page needs to know: weights, their settings, limits, pictures to try."""
        return about

    @app.get("/examples/{number}.jpg", include_in_schema=False)
    async def example(number: int) -> Response:
        if not 0 <= number < len(pictures):
            raise Refusal(404, "not_found", f"there are {len(pictures)} examples")
        return Response(pictures[number], media_type="image/jpeg")

    app.mount("/page", StaticFiles(directory=_PAGE))


def _jpeg(photo: UInt8[np.ndarray, "h w 3"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _policy(html: str) -> str:
    """Only this server is ever asked; the one script inside the page is known by its hash."""
    inline = re.findall(r'<script type="importmap">(.*?)</script>', html, re.DOTALL)
    hashes = (hashlib.sha256(text.encode()).digest() for text in inline)
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in hashes)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {scripts}",
            "style-src 'self'",
            "img-src 'self' blob: data:",
            "media-src blob:",
            "connect-src 'self' blob:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


async def _answer_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, VrnError)
    return answer(refusal_of(error))


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    message = f"{request.method} {request.url.path[:80]}: {error.detail}"
    return answer(Refusal(error.status_code, code, message, dict(error.headers or {})))


async def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = (f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
    return answer(Refusal(422, "parameters", "; ".join(problems)))


async def _answer_internal(request: Request, error: Exception) -> Response:
    return answer(Refusal(500, "internal", "the server failed on this request; its log says why"))
