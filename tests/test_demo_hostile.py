"""Uploads meant to do harm: VRN_HOSTILE_UPLOADS=500 sends so many of them, the suite a few."""

import os
import random
import socket
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from demo_server import DemoServer, encode, form_of
from malformed import malformed

COUNT = int(os.environ.get("VRN_HOSTILE_UPLOADS", "60"))
FACES = "/api/v1/faces"
REFUSALS = {"400", "403", "404", "405", "408", "411", "413", "415", "421", "422", "431"}
_TIMEOUT_S = 60


def chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png(width: int, height: int, *extra: bytes) -> bytes:
    """Black, compressed a thousandfold; `extra` chunks come before it. Large ones are cut off."""
    rows = zlib.compressobj(1)
    black = bytes(min((1 + 3 * width) * height, 60_000_000))
    data = rows.compress(black) + rows.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


def bombs() -> list[bytes]:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000), 1))
    profile = chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(80_000_000), 1))
    gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0xF7, 0, 0) + bytes(768) + b",;"
    bmp = b"BM" + struct.pack("<IHHI", 90, 0, 0, 54)
    bmp += struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0)
    return [
        png(6000, 3000),  # allowed: 54 MB from 50 kB
        png(20_000, 20_000),
        png(2**31 - 1, 2**31 - 1),
        png(64, 64, text),
        png(64, 64, profile),
        gif,
        bmp,
    ]


WRONG_TYPES = [
    b"PK\x03\x04" + bytes(200),
    b"MZ" + bytes(200),
    b"\x7fELF" + bytes(200),
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
    b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    b"<!doctype html><script>alert(1)</script>",
    b"import os; os.system('id')",
    b"\x80\x04\x95" + bytes(64),
    b"\0" * 4096,
    b"",
]

_HEAD = b"POST /api/v1/faces HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
_FORM_HEAD = b"POST /api/v1/faces HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data"
RAW = [
    b"GET /page/../../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /page/%2e%2e%2f%2e%2e%2fapp.py HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /page//etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /examples/../../app.jpg HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /api/v1/sessions/..%2f..%2fx/faces/0/mesh HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00" + bytes(100) + b"\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a" * 1_000_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 20_000 + b"\r\n",
    _HEAD + b"Content-Length: -1\r\n\r\n",
    _HEAD + b"Content-Length: 99999999999999999999\r\n\r\n",
    _HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
    _HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    _FORM_HEAD + b"; boundary=" + b"a" * 5000 + b"\r\nContent-Length: 4\r\n\r\nabcd",
    _FORM_HEAD + b"; boundary=\r\nContent-Length: 4\r\n\r\n--x\n",
]

FILE_NAMES = [
    "../../../../etc/cron.d/x",
    "..\\..\\windows\\x.exe",
    "/etc/passwd",
    "x.php\0.jpg",
    "x" * 20_000,
    "$(id).png",
    "<script>.png",
]


def send(server: DemoServer, request: bytes) -> str:
    """The status of whatever comes back, or 'closed'."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=_TIMEOUT_S) as there:
        try:
            there.sendall(request)
            there.shutdown(socket.SHUT_WR)
            answer = there.recv(64)
        except OSError:
            return "closed"
    return answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1 ") else "closed"


def post(server: DemoServer, data: bytes, kind: str) -> str:
    answer = server.ask("POST", FACES, data, kind)
    if answer.status != 200:
        assert answer.json["message"]
        assert b"Traceback" not in answer.body
    return str(answer.status)


def fuzzed(count: int, picture: np.ndarray, rng: random.Random) -> list[tuple[str, bytes]]:
    """Damaged pictures of every kind, and damaged forms around a good one."""
    each = -(-count // 6)
    uploads = []
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF"):
        for data in malformed(encode(picture, kind), each, seed=rng.randrange(1000)):
            uploads.append((f"image/{kind.lower()}", data))
    form = form_of("photo", "x.png", encode(picture))
    for data in malformed(form, each, seed=rng.randrange(1000)):
        uploads.append(("multipart/form-data; boundary=x", data))
    return rng.sample(uploads, count)


def resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def test_hostile_uploads_are_refused_and_the_server_answers(demo, astronaut):
    picture = astronaut[30:190:2, 140:300:2]  # the face of 80 pixels
    forms = [form_of("photo", name, b"no picture") for name in FILE_NAMES]
    forms.append(b"".join(form_of(f"f{i}", "x", b"")[:-5] for i in range(200)) + b"--x--\r\n")
    given = [("image/png", data) for data in [*bombs(), *WRONG_TYPES]]
    given += [("multipart/form-data; boundary=x", form) for form in forms]
    slow = [socket.create_connection(("127.0.0.1", demo.port)) for _ in range(10)]
    for there in slow:
        there.sendall(_HEAD + b"Content-Length: 1000\r\n\r\nab")
    post(demo, given[0][1], "image/png")  # the largest that is decoded
    before = resident_mb()
    met = Counter(send(demo, request) for request in RAW)
    left = max(0, COUNT - len(given) - len(RAW) - len(slow))
    for kind, data in [*given, *fuzzed(left, picture, random.Random(1))]:
        met[post(demo, data, kind)] += 1
    assert sum(met.values()) + len(slow) >= min(COUNT, 60)
    assert set(met) <= REFUSALS | {"200", "closed"}, met
    assert met["200"] <= left  # a damaged picture may still show a face
    assert demo.ask("POST", FACES, encode(astronaut)).json["faces"]
    assert not resident_mb() - before > 150  # MB; no number where there is no /proc
    for there in slow:
        there.close()
