"""The command line: what it writes, and one line for every error."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

import vrn_jax
from vrn_jax.cli import main

ROOT = Path(__file__).parent.parent


@pytest.fixture
def portrait(tmp_path, astronaut) -> Path:
    path = tmp_path / "me.jpg"
    Image.fromarray(astronaut[:256, 80:380]).save(path, quality=95)
    return path


def test_infer_without_arguments_makes_a_face(tmp_path):
    """The first command of the README, in a process of its own."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "infer.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "astronaut.glb",
        "astronaut.preview.png",
    ]
    mesh = trimesh.load(tmp_path / "astronaut.glb", force="mesh")
    assert mesh.visual.material.baseColorTexture is not None
    assert mesh.is_watertight
    assert mesh.body_count == 1
    assert mesh.volume > 0
    assert 0.15 < mesh.extents[1] < 0.25  # metres
    picture = np.asarray(Image.open(tmp_path / "astronaut.preview.png"))
    assert picture.shape[2] == 3
    assert picture.std() > 20


def test_reconstruct_writes_where_it_is_told(portrait, tmp_path):
    out = tmp_path / "new" / "folder" / "face.glb"
    assert main(["reconstruct", str(portrait), "-o", str(out), "--save", "glb"]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["face.glb"]
    scene = trimesh.load(out)
    assert "0.09 m" in scene.metadata["scale"]
    folder = tmp_path / "meshes"
    assert main(["reconstruct", str(portrait), "-o", str(folder), "--save", "ply", "stl"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["me.ply", "me.stl"]
    # A mesh file as output asks for its kind, whatever is saved by default.
    assert main(["reconstruct", str(portrait), "-o", str(folder / "a.b.obj")]) == 0
    assert (folder / "a.b.obj").is_file()
    assert (folder / "a.b.preview.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.jpg"], "no photo at absent.jpg"),
        (["text.jpg"], "not a picture"),
        (["grey.png"], "no face found"),
        (["me.jpg", "-o", "face.xyz"], "ends in none of .glb"),
        (["*.nothing"], "no pictures in *.nothing"),
        (["me.jpg", "grey.png", "--box", "1", "2", "3", "4"], "for one photo"),
        (["me.jpg", "--faces", "2"], "at least 4 faces"),
        (["me.jpg", "--weights", "nothing"], "no weights at nothing"),
        (["me.jpg", "--weights", "text.jpg"], "cannot read weights"),
        (["me.jpg", "--landmarks", "text.jpg"], "cannot read landmarks"),
        (["me.jpg", "--landmarks", "text.jpg", "--box", "1", "2", "3", "4"], "give one"),
        (["me.jpg", "--landmarks", "object.json"], "cannot read landmarks"),
        (["me.jpg", "--box", "9", "9", "1", "1"], "face box"),
        (["me.jpg", "--box", "0", "0", "1e300", "1e300"], "cannot be a face's"),
        (["me.jpg", "--threshold", "7"], "between 0 and 1"),
        (["me.jpg", "-o", "text.jpg/face.glb"], "text.jpg"),
    ],
)
def test_errors_are_one_line(portrait, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(portrait.parent)
    Path("text.jpg").write_text("hello")
    Path("object.json").write_text('{"points": 3}')
    Image.new("RGB", (200, 200), "grey").save("grey.png")
    before = sorted(Path().iterdir())
    assert main(["reconstruct", *arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("vrn: error: ")
    assert message in lines[0]
    assert sorted(Path().iterdir()) == before


def test_many_photos(portrait, monkeypatch, capsys, astronaut):
    """One bad photo does not stop the others; a second run does only what is left."""
    monkeypatch.chdir(portrait.parent)
    Path("photos").mkdir()
    for name in ("a.jpg", "b.png", "a.png"):
        Image.fromarray(astronaut[:256, 80:380]).save(f"photos/{name}")
    Path("photos/bad.jpg").write_text("hello")
    command = ["reconstruct", "photos", "-o", "out", "--save", "stl", "--faces", "1000"]
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert "photos/bad.jpg is not a picture" in err
    assert out.split()[:3] == ["photos", "done", "3"]
    made = ["a_jpg.stl", "a_png.stl", "b.stl"]
    written = sorted(path.name for path in Path("out").iterdir())
    assert written == [*made[:2], "b.stl", "contact-sheet.jpg", "vrn-run.jsonl"]
    times = [Path("out", name).stat().st_mtime_ns for name in made]
    Path("out/b.stl").unlink()
    Path("photos/bad.jpg").unlink()
    with Path("out/vrn-run.jsonl").open("a") as journal:
        journal.write('{"photo": "photos/a.jpg", "state": [1')  # as a crash would leave it
    assert main([*command, "--resume"]) == 0
    out, _ = capsys.readouterr()
    assert out.split()[:3] == ["photos", "done", "1"]
    assert Path("out/b.stl").is_file()
    assert [Path("out", name).stat().st_mtime_ns for name in made[:2]] == times[:2]
    # Other settings make everything anew.
    assert main([*command[:-1], "500", "--resume"]) == 0
    assert capsys.readouterr().out.split()[:3] == ["photos", "done", "3"]


@pytest.mark.parametrize("arguments", [["reconstruct", "--bad-flag"], ["nonsense"], []])
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_version(capsys):
    assert main(["--version"]) == 0
    assert vrn_jax.__version__ in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["reconstruct", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    assert "photo" in capsys.readouterr().out.lower()


def test_help_does_not_wait_for_jax():
    code = "import sys, vrn_jax.cli; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_demo_says_what_to_install(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "vrn_jax.demo.app", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["demo", "--no-browser"]) == 1
    assert 'pip install "vrn-jax[demo]"' in capsys.readouterr().err


def test_demo_says_when_the_port_is_taken(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "--no-browser", "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1, port {port}" in capsys.readouterr().err
