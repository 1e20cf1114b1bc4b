"""The HTTP API, on a real socket with the real network."""

import io
import json
import socket
import struct
import tempfile
import threading
import zipfile
import zlib

import numpy as np
import pytest
import trimesh
from demo_server import encode, form_of
from PIL import Image

from vrn_jax.outputs import in_frame

RECONSTRUCT = "/api/v1/reconstruct"
FORM = "multipart/form-data; boundary=x"


@pytest.fixture(scope="module")
def portrait(astronaut) -> bytes:
    return encode(astronaut)  # without loss: what comes out must be what `Reconstructor` makes


@pytest.fixture(scope="module")
def expected(astronaut_face):
    return in_frame(astronaut_face.mesh, astronaut_face, "metres")


@pytest.fixture(scope="module")
def openapi(demo) -> dict:
    return demo.ask("GET", "/api/openapi.json").json


def loaded(data: bytes, kind: str) -> trimesh.Trimesh:
    return trimesh.load(io.BytesIO(data), file_type=kind, force="mesh", process=False)


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be of this size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


def test_a_photo_becomes_the_mesh_that_python_users_get(demo, portrait, expected):
    answer = demo.ask("POST", RECONSTRUCT, portrait, "image/png")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "model/gltf-binary")
    assert answer.headers["X-Faces-Found"] == "1"
    made = loaded(answer.body, "glb")
    np.testing.assert_array_equal(made.faces, expected.faces)
    np.testing.assert_allclose(made.vertices, expected.vertices, atol=1e-6)


def test_a_form_and_a_chunked_body_say_the_same(demo, portrait):
    plain = demo.ask("POST", RECONSTRUCT, portrait, "image/png").body
    form = form_of("photo", "../../etc/passwd", portrait)
    assert demo.ask("POST", RECONSTRUCT, form, FORM).body == plain
    pieces = (portrait[i : i + 50_000] for i in range(0, len(portrait), 50_000))
    assert demo.ask("POST", RECONSTRUCT, pieces, "application/octet-stream").body == plain


def test_formats(demo, portrait, expected):
    def made(format: str) -> bytes:
        answer = demo.ask("POST", f"{RECONSTRUCT}?format={format}&faces=4000", portrait)
        assert answer.status == 200, answer.body
        return answer.body

    height = np.ptp(expected.vertices[:, 1])
    for format in ("ply", "stl"):
        mesh = loaded(made(format), format)
        assert np.ptp(mesh.vertices[:, 1]) == pytest.approx(height, rel=0.02)
        assert 3500 < len(mesh.faces) <= 4000
    archive = zipfile.ZipFile(io.BytesIO(made("obj")))
    assert sorted(archive.namelist()) == ["face.jpg", "face.mtl", "face.obj"]
    numbers = json.loads(made("json"))
    assert numbers["faces"][0]["mesh"]["faces"] <= 4000
    gif = Image.open(io.BytesIO(made("gif")))
    assert (gif.n_frames, gif.size) == (24, (320, 320))


def test_every_face_or_one_of_them(demo, astronaut, openapi):
    small = np.asarray(Image.fromarray(astronaut[:256, 64:320]).resize((160, 160)))
    two = np.full((512, 700, 3), 200, np.uint8)
    two[:, :512] = astronaut
    two[100:260, 530:690] = small
    photo = encode(two)
    found = demo.ask("POST", "/api/v1/faces", photo).json
    assert found["photo"] == {"width": 700, "height": 512}
    large, smaller = (face["box"] for face in found["faces"])
    assert large[0] < 300
    assert smaller[0] > 530
    archive = demo.ask("POST", f"{RECONSTRUCT}?face=all&format=stl", photo)
    names = zipfile.ZipFile(io.BytesIO(archive.body)).namelist()
    assert names == ["face-1.stl", "face-2.stl"]
    second = demo.ask("POST", f"{RECONSTRUCT}?face=1&format=json", photo).json["faces"][0]
    assert list(second["box"].values()) == pytest.approx(smaller, abs=1e-3)


def test_other_settings_do_not_run_the_network_again(demo, portrait):
    opened = demo.ask("POST", "/api/v1/sessions", portrait)
    assert opened.status == 201
    at = f"/api/v1/sessions/{opened.json['id']}/faces/0"
    assert demo.ask("GET", f"{at}/mesh").json["error"] == "no_network"
    assert demo.ask("POST", at).status == 204
    runs = demo.metric("vrn_batch_faces_count")
    sizes = []
    for query in ("", "?threshold=0.2", "?threshold=0.8", "?sigma_px=4"):
        answer = demo.ask("GET", f"{at}/mesh{query}")
        assert answer.status == 200, answer.body
        sizes.append(loaded(answer.body, "glb").volume)
    usual, swollen, shrunk, _ = sizes
    assert shrunk < usual < swollen
    assert demo.metric("vrn_batch_faces_count") == runs
    assert demo.ask("DELETE", at.partition("/faces")[0]).status == 204
    assert demo.ask("GET", f"{at}/mesh").json["error"] == "no_session"


def test_large_forms_stay_off_the_disk(demo, astronaut, monkeypatch):
    def rollover(self) -> None:
        raise AssertionError("an upload went to the disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollover)
    noisy = np.random.default_rng(0).integers(0, 256, (700, 900, 3), np.uint8)
    answer = demo.ask("POST", "/api/v1/faces", form_of("photo", "x.png", encode(noisy)), FORM)
    assert (answer.status, answer.json["error"]) == (422, "no_face")


PICTURE = encode(np.zeros((64, 64, 3), np.uint8))
REFUSED = {
    "no face": (422, "no_face", ("POST", RECONSTRUCT, PICTURE)),
    "empty": (400, "empty", ("POST", RECONSTRUCT, b"")),
    "text": (415, "not_a_picture", ("POST", RECONSTRUCT, b"hello", "text/plain")),
    "no type": (415, "not_a_picture", ("POST", RECONSTRUCT, PICTURE, None)),
    "not a picture": (415, "not_a_picture", ("POST", RECONSTRUCT, b"MZ\x90\0" * 50)),
    "postscript": (415, "not_a_picture", ("POST", RECONSTRUCT, b"%!PS-Adobe-3.0 EPSF-3.0\n")),
    "svg": (415, "not_a_picture", ("POST", RECONSTRUCT, b"<svg/>", "image/svg+xml")),
    "cut off": (422, "damaged", ("POST", RECONSTRUCT, PICTURE[:-30])),
    "bomb": (413, "too_many_pixels", ("POST", RECONSTRUCT, png_of(30000, 30000))),
    "large picture": (413, "too_many_pixels", ("POST", RECONSTRUCT, png_of(8000, 8000))),
    "long body": (413, "too_large", ("POST", RECONSTRUCT, bytes(3_000_001))),
    "long chunks": (413, "too_large", ("POST", RECONSTRUCT, [bytes(100_000)] * 40)),
    "no form": (400, "bad_form", ("POST", RECONSTRUCT, b"nothing", FORM)),
    "no boundary": (400, "bad_form", ("POST", RECONSTRUCT, b"--x", "multipart/form-data")),
    "other field": (400, "bad_form", ("POST", RECONSTRUCT, form_of("x", "y", PICTURE), FORM)),
    "threshold": (422, "parameters", ("POST", f"{RECONSTRUCT}?threshold=1.5", PICTURE)),
    "nan": (422, "parameters", ("POST", f"{RECONSTRUCT}?sigma_px=nan", PICTURE)),
    "format": (422, "parameters", ("POST", f"{RECONSTRUCT}?format=exe", PICTURE)),
    "face": (422, "parameters", ("POST", f"{RECONSTRUCT}?face=-1", PICTURE)),
    "no session": (404, "no_session", ("POST", "/api/v1/sessions/x/faces/0")),
    "method": (405, "method_not_allowed", ("PUT", RECONSTRUCT, PICTURE)),
    "nowhere": (404, "not_found", ("GET", "/etc/passwd")),
    "path tricks": (404, "not_found", ("GET", "/page/%2e%2e/%2e%2e/%2e%2e/settings.py")),
    "dots": (404, "not_found", ("GET", "/page/../../app.py")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(demo, openapi, name):
    status, code, request = REFUSED[name]
    answer = demo.ask(*request)
    assert (answer.status, answer.json["error"]) == (status, code), answer.body
    assert 10 < len(answer.json["message"]) < 300
    route = openapi["paths"].get(request[1].partition("?")[0], {}).get(request[0].lower())
    if route is not None:
        assert str(status) in route["responses"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_other_host_names_are_not_answered(demo, host):
    answer = demo.ask("GET", "/", headers={"Host": host})
    assert (answer.status, answer.json["error"]) == (421, "wrong_host")
    assert demo.ask("GET", "/healthz", headers={"Host": "localhost:1"}).status == 200


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_pages_elsewhere_cannot_use_it(demo, headers):
    answer = demo.ask("POST", RECONSTRUCT, PICTURE, headers=headers)
    assert (answer.status, answer.json["error"]) == (403, "wrong_origin")
    assert answer.headers["Access-Control-Allow-Origin"] is None


def test_headers_of_every_answer(demo):
    for path in ("/", "/healthz", "/nowhere", "/page/app.js"):
        headers = demo.ask("GET", path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Server"] is None


def test_openapi_says_what_every_route_takes_and_answers(openapi):
    assert openapi["openapi"].startswith("3.")
    for methods in openapi["paths"].values():
        for route in methods.values():
            assert route["description"]
            assert {"421", "429"} <= set(route["responses"])
            if "requestBody" in route:
                assert {"400", "413", "415", "422", "503"} <= set(route["responses"])
    body = openapi["paths"][RECONSTRUCT]["post"]["requestBody"]["content"]
    assert "multipart/form-data" in body
    glb = openapi["paths"][RECONSTRUCT]["post"]["responses"]["200"]["content"]
    assert "model/gltf-binary" in glb


def test_half_requests_hold_nobody_up(demo, portrait):
    def half(text: bytes) -> socket.socket:
        there = socket.create_connection(("127.0.0.1", demo.port))
        there.sendall(text)
        return there

    head = b"POST /api/v1/reconstruct HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    sockets = [half(b"GET / HT") for _ in range(20)]
    sockets += [half(head + b"Content-Length: 100000\r\n\r\nabc") for _ in range(20)]
    sockets += [half(head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")]
    sockets += [half(head + b"X-Long: " + b"a" * 200_000) for _ in range(3)]
    whole = head + f"Content-Length: {len(portrait)}\r\n\r\n".encode() + portrait
    sockets += [half(whole) for _ in range(2)]  # who never take their meshes
    assert demo.ask("POST", RECONSTRUCT, portrait, "image/png").status == 200
    for there in sockets:
        there.close()
    assert demo.ask("GET", "/healthz").status == 200


def test_many_clients_get_the_same_answer(demo, portrait):
    answers = []

    def ask() -> None:
        answers.append(demo.ask("POST", f"{RECONSTRUCT}?format=stl", portrait))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
