"""The HTTP API."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as PathParameter
from jaxtyping import UInt8

from vrn_jax.demo.engine import Engine, Shape
from vrn_jax.demo.files import MEDIA_TYPES, Detail, Format, encoded, zipped
from vrn_jax.demo.metrics import Metrics
from vrn_jax.demo.refusal import Refusal, busy
from vrn_jax.demo.schema import FoundFaces, Health, NewSession, failures, found
from vrn_jax.demo.sessions import Sessions
from vrn_jax.demo.settings import Limits
from vrn_jax.demo.uploads import Uploads, decode
from vrn_jax.types import Face
from vrn_jax.version import __version__

__all__ = ["Service", "router"]


@dataclass(frozen=True, eq=False)
class Service:
    """What the routes work with; `app.state.service`."""

    engine: Engine
    sessions: Sessions
    uploads: Uploads
    limits: Limits
    metrics: Metrics


def _service(request: Request) -> Service:
    return request.app.state.service


def _shape(
    threshold: Annotated[
        float | None, Query(gt=0, lt=1, description="Occupancy at the surface; default: weights'.")
    ] = None,
    sigma_px: Annotated[
        float | None, Query(ge=0, le=16, description="Smoothing of the volume, crop pixels.")
    ] = None,
) -> Shape:
    return Shape(threshold, sigma_px)


def _detail(
    faces: Annotated[
        int | None, Query(ge=100, le=1_000_000, description="Simplify to about so many triangles.")
    ] = None,
    smooth: Annotated[
        int, Query(ge=0, le=50, description="Rounds of smoothing of the surface.")
    ] = 0,
) -> Detail:
    return Detail(faces, smooth)


Services = Annotated[Service, Depends(_service)]
Shapes = Annotated[Shape, Depends(_shape)]
Details = Annotated[Detail, Depends(_detail)]
Name = Annotated[str, PathParameter(max_length=64, description="`id` of a session.")]
Number = Annotated[int, PathParameter(ge=0, description="Of a face, from 0: the largest.")]

_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["photo"],
        "properties": {"photo": {"type": "string", "format": "binary"}},
    }
}
_TAKES_PHOTO = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": _PICTURE,
            "application/octet-stream": _PICTURE,
            "multipart/form-data": _FORM,
        },
    }
}
_GIVES_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": {kind: {} for kind in set(MEDIA_TYPES.values())}}
}

_UPLOAD = failures(400, 403, 408, 413, 415, 422, 503)
_SESSION = failures(403, 404, 422, 503)
_READ = failures()

router = APIRouter()


@router.post(
    "/api/v1/reconstruct",
    response_class=Response,
    responses={**_GIVES_FILE, **_UPLOAD},
    openapi_extra=_TAKES_PHOTO,
    tags=["photos"],
)
async def reconstruct(
    request: Request,
    service: Services,
    shape: Shapes,
    detail: Details,
    format: Annotated[Format, Query(description="Of the file; an OBJ comes zipped.")] = "glb",
    face: Annotated[
        Annotated[int, Query(ge=0)] | Literal["all"],
        Query(description="Which face, from 0: the largest. 'all': a ZIP with a file for each."),
    ] = 0,
) -> Response:
    """Makes a 3D face from a photo. Nothing of it is kept."""
    async with _photo(request, service) as photo:
        faces = (await service.engine.find_faces(photo))[: service.limits.faces]
        chosen = faces if face == "all" else [_of(faces, face)]
        names = ["face"] if face != "all" else [f"face-{i + 1}" for i in range(len(chosen))]
        writes = (partial(encoded, stem=name, kind=format, detail=detail) for name in names)
        made = await asyncio.gather(
            *(
                service.engine.make((photo, one), shape, write)
                for one, write in zip(chosen, writes, strict=True)
            )
        )
    files = {name: data for one in made for name, data in one.items()}
    if format == "json":
        text = b'{"faces": [' + b", ".join(files.values()) + b"]}"
        return Response(text, media_type="application/json")
    return _answer(files, len(faces), archive=face == "all")


@router.post("/api/v1/faces", responses=_UPLOAD, openapi_extra=_TAKES_PHOTO, tags=["photos"])
async def faces(request: Request, service: Services) -> FoundFaces:
    """Finds the faces of a photo. Nothing of it is kept."""
    async with _photo(request, service) as photo:
        everyone = await service.engine.find_faces(photo)
    return FoundFaces(**found(photo.shape, everyone[: service.limits.faces]))


@router.post(
    "/api/v1/sessions",
    status_code=201,
    responses=_UPLOAD,
    openapi_extra=_TAKES_PHOTO,
    tags=["sessions"],
)
async def open_session(request: Request, service: Services) -> NewSession:
    """Finds the faces of a photo and keeps it in memory for a while, for the page."""
    async with _photo(request, service) as photo:
        everyone = (await service.engine.find_faces(photo))[: service.limits.faces]
    session = service.sessions.add(photo, everyone)
    seconds = service.limits.session_seconds
    return NewSession(id=session.id, seconds=seconds, **found(photo.shape, everyone))


@router.post(
    "/api/v1/sessions/{name}/faces/{number}",
    status_code=204,
    response_class=Response,
    responses=_SESSION,
    tags=["sessions"],
)
async def regress(service: Services, name: Name, number: Number) -> Response:
    """Runs the network on a face, unless it has been; what it says is kept with the session."""
    session = service.sessions.get(name)
    face = _of(session.faces, number)
    if number not in session.regressed:
        async with _in_work(service):
            session.regressed[number] = await service.engine.regress(session.photo, face)
        service.sessions.drop_old()
    return Response(status_code=204)


@router.get(
    "/api/v1/sessions/{name}/faces/{number}/mesh",
    response_class=Response,
    responses={**_GIVES_FILE, **_SESSION},
    tags=["sessions"],
)
async def mesh(
    service: Services,
    name: Name,
    number: Number,
    shape: Shapes,
    detail: Details,
    format: Annotated[Format, Query(description="Of the file; an OBJ comes zipped.")] = "glb",
) -> Response:
    """Makes the mesh of a face; the network does not run again."""
    session = service.sessions.get(name)
    _of(session.faces, number)
    regressed = session.regressed.get(number)
    if regressed is None:
        raise Refusal(404, "no_network", "POST to this face first, which runs the network on it")
    async with _in_work(service):
        write = partial(encoded, stem="face", kind=format, detail=detail)
        files = await service.engine.make(regressed, shape, write)
    return _answer(files, len(session.faces))


@router.delete(
    "/api/v1/sessions/{name}",
    status_code=204,
    response_class=Response,
    responses=_SESSION,
    tags=["sessions"],
)
async def close_session(service: Services, name: Name) -> Response:
    """Forgets a photo and all that was made of it."""
    service.sessions.remove(name)
    return Response(status_code=204)


@router.get("/healthz", responses={**_READ, 503: {"model": Health}}, tags=["server"])
async def health(service: Services, response: Response) -> Health:
    """200 when ready, 503 while programs are being compiled."""
    ready = service.engine.ready
    response.status_code = 200 if ready else 503
    return Health(status="ok" if ready else "starting", version=__version__)


@router.get("/metrics", response_class=Response, responses=_READ, tags=["server"])
async def metrics(service: Services) -> Response:
    """Counters in the text format of Prometheus."""
    service.sessions.drop_old()
    service.metrics.sessions.set(len(service.sessions))
    service.metrics.session_bytes.set(service.sessions.nbytes)
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


@asynccontextmanager
async def _photo(request: Request, service: Service) -> AsyncIterator[UInt8[np.ndarray, "h w 3"]]:
    """The photo in a request, and a place among those worked on."""
    service.engine.check_room()  # before the upload, and again after it
    async with service.uploads.photo(request) as data, _in_work(service):
        yield await service.engine.on_host("decode", decode, data, service.limits)


@asynccontextmanager
async def _in_work(service: Service) -> AsyncIterator[None]:
    """A place among the requests worked on, for a limited time."""
    async with service.engine.admitted():
        try:
            async with asyncio.timeout(service.limits.work_seconds):
                yield
        except TimeoutError as error:
            raise busy("this took too long, the server is busy; try again later", 10) from error


def _of(faces: list[Face], number: int) -> Face:
    if number >= len(faces):
        raise Refusal(
            422, "no_such_face", f"there are {len(faces)} faces, counted from 0; got {number}"
        )
    return faces[number]


def _answer(files: dict[str, bytes], faces: int, *, archive: bool = False) -> Response:
    """One file as it is; several, or any if asked for, in a ZIP."""
    (name, data), *others = files.items()
    if others or archive:
        name, data = "faces.zip" if archive else "face.zip", zipped(files)
    return Response(
        data,
        media_type=MEDIA_TYPES[name.rpartition(".")[2]],
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Faces-Found": str(faces),
        },
    )
