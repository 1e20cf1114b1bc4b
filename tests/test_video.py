"""Videos in and out: times, sound and pictures kept; faces followed; less trembling, little lag."""

import contextlib
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from vrn_jax.bench.video import jitter, outline_shift
from vrn_jax.cli import main
from vrn_jax.config import VideoSettings
from vrn_jax.detection import FaceDetector, FaceTracker
from vrn_jax.errors import InputError
from vrn_jax.faces.builtin import builtin_head
from vrn_jax.faces.clip import make_clip, talking
from vrn_jax.geometry.grid import VRN_GRID
from vrn_jax.geometry.isosurface import isosurface
from vrn_jax.geometry.mesh import moved
from vrn_jax.geometry.rasterize import rasterize
from vrn_jax.io.video import Frame, VideoReader, open_writer
from vrn_jax.types import Face
from vrn_jax.video import OneEuro, ShapeMaker, Stabilizer, reconstruct_video
from vrn_jax.video.stabilize import BETA
from vrn_jax.video.surface import STEP, coarse_mesh

RATE = 8


def encode(path, pictures, *, rate=RATE, times=None, tone=False):
    """A video of its own making, with a sine of 440 Hz if asked for."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "12"}
        stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=16000, layout="mono") if tone else None
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            frame.pts = round(1000 * i / rate) if times is None else times[i]
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            count = 16000 * len(pictures) // rate
            wave = np.sin(2 * np.pi * 440 * np.arange(count) / 16000).astype(np.float32)
            for start in range(0, count, 1024):
                part = av.AudioFrame.from_ndarray(
                    wave[None, start : start + 1024], format="fltp", layout="mono"
                )
                part.sample_rate, part.pts = 16000, start
                container.mux(sound.encode(part))
            container.mux(sound.encode(None))
    return path


def decode(path):
    """Seconds and pictures of a video."""
    with av.open(str(path)) as container:
        frames = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    times, pictures = zip(*frames, strict=True)
    return np.array(times), np.stack(pictures)


def sound_packets(path):
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(audio=0) if p.size]
        return [bytes(p) for p in packets], [float(p.pts * p.time_base) for p in packets]


def portrait_pictures(astronaut, count, empty=()):
    """The portrait moved by 3 pixels a frame; grey where it is `empty`."""
    pictures = []
    for i in range(count):
        left = 60 + 3 * i
        picture = astronaut[:320, left : left + 320]
        picture = np.asarray(Image.fromarray(picture).resize((192, 192)))
        pictures.append(np.full_like(picture, 120) if i in empty else picture)
    return pictures


@pytest.fixture(scope="module")
def clip(tmp_path_factory, astronaut):
    folder = tmp_path_factory.mktemp("clip")
    pictures = portrait_pictures(astronaut, 10, empty=(4, 5))
    return encode(folder / "portrait.mp4", pictures, tone=True)


@pytest.fixture(scope="module")
def drawn(clip, reconstructor):
    target = clip.with_name("drawn.mp4")
    seen = []
    count = reconstruct_video(
        reconstructor, clip, target, VideoSettings(opacity=1.0, batch=4), on_frame=seen.append
    )
    assert seen == [10] * 10
    assert count == 7  # one frame passes before the face is searched for again
    return target


def test_frames_and_their_times_are_kept(clip, drawn):
    (before, given), (after, found) = decode(clip), decode(drawn)
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert found.shape == given.shape
    with av.open(str(clip)) as one, av.open(str(drawn)) as other:
        assert other.streams.video[0].average_rate == one.streams.video[0].average_rate
        assert abs(other.duration - one.duration) < 0.15e6


def test_sound_is_copied_bit_by_bit(clip, drawn):
    (packets, times), (copied, copied_times) = sound_packets(clip), sound_packets(drawn)
    assert copied == packets
    np.testing.assert_allclose(copied_times, times, atol=1e-6)


def test_frames_without_a_face_are_passed_through(clip, drawn):
    given, found = decode(clip)[1].astype(int), decode(drawn)[1].astype(int)
    for i in (4, 5):
        assert np.abs(given[i] - found[i]).mean() < 1.5
    outside = np.abs(given[0] - found[0])[150:, 160:]  # the corner of a frame with a face
    assert outside.mean() < 4
    assert np.abs(given[0] - found[0])[60:110, 60:120].mean() > 15


def test_the_view_beside_leaves_the_picture_and_adds_a_panel(clip, reconstructor, tmp_path):
    settings = VideoSettings(view="side", faces="all")
    reconstruct_video(reconstructor, clip, tmp_path / "side.mkv", settings)
    given, found = decode(clip)[1].astype(int), decode(tmp_path / "side.mkv")[1].astype(int)
    assert found.shape == (10, 192, 288, 3)
    assert np.abs(found[:, :, :184] - given[:, :, :184]).mean() < 2
    panel = found[0, :96, 192:]
    middle = panel[48, 48]
    assert middle[0] > middle[2] + 10  # clay
    empty = found[5, :, 196:]
    assert empty.min() > 180  # nothing but the backdrop
    assert sound_packets(tmp_path / "side.mkv")[0] == sound_packets(clip)[0]


def test_a_variable_frame_rate_stays_one(tmp_path):
    times = [0, 40, 200, 220, 500, 540]
    pictures = [np.full((32, 48, 3), 40 * i, np.uint8) for i in range(6)]
    source = encode(tmp_path / "vfr.mp4", pictures, rate=25, times=times)
    with (
        VideoReader(source) as reader,
        open_writer(tmp_path / "out.mp4", like=reader, audio_from=source) as writer,
    ):
        for frame in reader:
            writer.write(frame)
    after, found = decode(tmp_path / "out.mp4")
    np.testing.assert_allclose(after, np.array(times) / 1000, atol=1e-3)
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), [40 * i for i in range(6)], atol=2)


def test_a_rotation_in_the_file_is_undone(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 255  # the upper left quarter
    source = encode(tmp_path / "flat.mp4", [picture] * 3)
    content = bytearray(source.read_bytes())
    matrix = content.index(b"tkhd") + 44
    assert content[matrix : matrix + 4] == b"\x00\x01\x00\x00"  # one, as 16.16
    one, minus = (1 << 16).to_bytes(4, "big"), (-(1 << 16)).to_bytes(4, "big", signed=True)
    # To be shown turned by a quarter clockwise: x' = -y, y' = x.
    content[matrix : matrix + 20] = bytes(4) + one + bytes(4) + minus + bytes(4)
    (tmp_path / "turned.mp4").write_bytes(content)
    with VideoReader(tmp_path / "turned.mp4") as reader:
        upright = next(iter(reader)).pixels
    assert upright.shape == (64, 48, 3)
    expected = np.rot90(picture, -1).astype(int)
    assert np.abs(upright - expected).mean() < 8


def test_odd_sizes_get_a_row_and_a_column(tmp_path):
    with open_writer(tmp_path / "odd.mp4", rate=Fraction(5)) as writer:
        for i in range(3):
            writer.write(Frame(np.full((33, 47, 3), 90, np.uint8), i, 1))
    assert decode(tmp_path / "odd.mp4")[1].shape == (3, 34, 48, 3)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.mp4", None, "cannot open"),
        ("empty.mp4", b"", "cannot open"),
        ("text.mp4", b"no video at all" * 99, "cannot open"),
    ],
)
def test_files_that_are_no_videos(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        VideoReader(tmp_path / name)


def test_sound_alone_and_videos_cut_off(tmp_path, clip, reconstructor):
    with av.open(str(clip)) as source, av.open(str(tmp_path / "a.m4a"), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    with pytest.raises(InputError, match="holds no video"):
        VideoReader(tmp_path / "a.m4a")
    content = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cannot open|cannot decode"):
        reconstruct_video(reconstructor, tmp_path / "cut.mp4", tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_there_is_no_file(clip, reconstructor, tmp_path, error):
    target = tmp_path / "never.mp4"

    def stop(_):
        raise error

    with pytest.raises(error):
        reconstruct_video(reconstructor, clip, target, on_frame=stop)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_camera_leaves_what_was_recorded(clip, reconstructor, tmp_path, monkeypatch):
    monkeypatch.setattr("vrn_jax.io.video._camera", lambda number: (str(clip), None))
    count = iter(range(100))

    def stop(_):
        if next(count) == 3:
            raise KeyboardInterrupt

    reconstruct_video(reconstructor, 0, tmp_path / "camera.mp4", on_frame=stop)
    assert len(decode(tmp_path / "camera.mp4")[1]) == 4


def test_video_command(tmp_path, clip, capsys):
    target = tmp_path / "new" / "out.mp4"
    assert main(["video", str(clip), "-o", str(target), "--faces", "largest"]) == 0
    assert "a face in 7 of 10 frames" in capsys.readouterr().out
    assert len(decode(target)[1]) == 10
    for arguments, message in [
        (["video", "absent.mp4", "-o", str(target)], "no video at absent.mp4"),
        (["video", str(clip), "-o", str(tmp_path / "out.gif")], "ends in none of .mp4"),
        (["video", str(clip), "-o", str(clip)], "overwritten"),
    ]:
        assert main(arguments) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["video", str(clip), "-o", str(target), "--opacity", "2"])
    assert "opacity lies in" in capsys.readouterr().err


# -- following -------------------------------------------------------------------------------------


class Counting(FaceDetector):
    """Counts its searches."""

    searches = 0

    def __call__(self, photo):
        self.searches += 1
        return super().__call__(photo)


def test_one_search_serves_until_the_face_is_lost(astronaut):
    detector = Counting()
    track = FaceTracker(detector)
    pictures = portrait_pictures(astronaut, 14, empty=range(6, 9))
    numbers = []
    for i, picture in enumerate(pictures):
        tracked = track(picture)
        numbers.append([one.number for one in tracked])
        if tracked and i < 6:
            (expected, *_) = FaceDetector.__call__(detector, picture)
            difference = tracked[0].face.landmarks[:, :2] - expected.landmarks[:, :2]
            assert np.linalg.norm(difference, axis=1).mean() < 1.5
    assert numbers[:6] == [[0]] * 6
    assert numbers[6:9] == [[]] * 3
    assert numbers[-1] == [1]
    assert detector.searches <= 4


def test_all_faces_keep_their_numbers(astronaut):
    face = astronaut[30:230, 120:320]
    small = np.asarray(Image.fromarray(face).resize((150, 150)))
    canvas = np.full((200, 400, 3), 60, np.uint8)
    canvas[:, 200:] = face
    late = canvas.copy()
    late[20:170, 10:160] = small
    track = FaceTracker(followed="all")
    found = [track(picture) for picture in [canvas] * 3 + [late] * 16]
    assert [one.number for one in found[0]] == [0]
    assert [one.number for one in found[-1]] == [0, 1]
    assert found[-1][1].face.box[2] < 200 < found[-1][0].face.box[0]
    largest = FaceTracker()
    assert [one.number for one in largest(late)] == [0]


# -- smoothing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0.1, 1.0, 5.0])
def test_lag_at_a_steady_speed_stays_under_its_bound(speed):
    smooth, rate = OneEuro(), 25.0
    lag = 0.0
    for i in range(200):
        place = np.array([[speed * i / rate, 0.0]])
        lag = float((place - smooth(place, i / rate))[0, 0])
    assert 0 < lag <= 1 / (2 * np.pi * BETA)


def test_noise_of_a_point_at_rest_goes_down():
    noise = np.random.default_rng(0).normal(size=(400, 20, 2)) * 0.002
    smooth = OneEuro()
    smoothed = np.stack([smooth(points, i / 25) for i, points in enumerate(noise)])
    assert smoothed[50:].std() < 0.4 * noise.std()
    assert jitter(smoothed[50:]) < 0.2 * jitter(noise)


def test_a_cut_is_not_smoothed_over():
    points = np.random.default_rng(0).uniform(0, 100, (68, 2))
    stabilizer = Stabilizer()
    for i, shift in enumerate([0.0, 1.0, 300.0]):
        moved_points = points + shift
        box = np.concatenate([moved_points.min(axis=0), moved_points.max(axis=0)])
        steady, weight = stabilizer.face(Face(box, moved_points, 1.0), i / 25)
        if shift != 1.0:
            np.testing.assert_allclose(steady.landmarks, moved_points)
            assert weight == 1
    first = np.zeros((2, 2, 2), np.float32)
    stabilizer.volume(first, 1.0)
    np.testing.assert_array_equal(stabilizer.volume(first + 1, 0.25), first + 0.25)
    np.testing.assert_array_equal(stabilizer.volume(first + 1, 1.0), first + 1)


def test_a_still_noisy_face_trembles_less(reconstructor, astronaut):
    rng = np.random.default_rng(0)
    picture = np.asarray(Image.fromarray(astronaut[:320, 60:380]).resize((192, 192))).astype(int)
    frames = [
        Frame((picture + rng.normal(0, 12, picture.shape)).clip(0, 255).astype(np.uint8), i)
        for i in range(14)
    ]
    trembling = {}
    for smooth in (False, True):
        make = ShapeMaker(reconstructor, FaceTracker(), 1 / 25, smooth=smooth, batch=4)
        crops, middles = [], []
        for _, shapes in make(frames):
            (shape,) = shapes
            home = np.linalg.inv(shape.crop.crop_from_photo)
            vertices = moved(shape.mesh, home, "photo").vertices
            front = vertices[vertices[:, 2] > np.quantile(vertices[:, 2], 0.5)]
            middles.append(np.append(front[:, :2].mean(axis=0), np.ptp(vertices[:, 2])))
            crops.append(home[:2] @ [95.5, 95.5, 1.0])
        trembling[smooth] = [jitter(np.stack(track)[4:, None]) for track in (crops, middles)]
    assert trembling[True][0] < 0.5 * trembling[False][0]
    assert trembling[True][1] < 0.6 * trembling[False][1]


def test_jitter_is_the_deviation_of_white_noise_and_ignores_steady_motion():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.3, (3000, 4, 2))
    ramp = np.arange(3000.0)[:, None, None]
    assert jitter(noise + 0.7 * ramp) == pytest.approx(0.3, rel=0.03)


def test_a_path_that_comes_late_is_said_to():
    time = np.arange(80.0)
    path = np.stack([np.sin(time / 9), np.cos(time / 7)], axis=1)
    late = np.stack([np.sin((time - 1.3) / 9), np.cos((time - 1.3) / 7)], axis=1)
    assert outline_shift(late, path) == pytest.approx(1.3, abs=0.1)
    assert outline_shift(path, path) == pytest.approx(0.0, abs=0.05)


# -- shapes ----------------------------------------------------------------------------------------


def test_a_coarse_volume_has_the_surface_of_the_fine_one():
    h, w, d = np.indices(VRN_GRID.shape, np.float32)
    distance = np.sqrt((h - 90) ** 2 + (w - 100) ** 2 + (d - 110) ** 2 / 4)
    volume = (1 / (1 + np.exp((distance - 40).clip(-30, 30)))).astype(np.float32)
    volume[5:9, 5:9, 5:13] = 1  # a speck
    fine = isosurface(np.where(distance < 60, volume, 0), VRN_GRID)
    thin = volume[:: STEP[0], :: STEP[1], :: STEP[2]]
    coarse = coarse_mesh(thin, VRN_GRID, 0.5)
    for mesh in (fine, coarse):
        radius = np.linalg.norm(mesh.vertices - [100, 90, (110 - 178) / 2], axis=1)
        np.testing.assert_allclose(radius, 40, atol=0.25)
    assert coarse_mesh(np.zeros_like(thin), VRN_GRID, 0.5) is None


def test_a_talking_head_that_turns_is_covered_by_its_shape(reconstructor):
    frames = list(make_clip(builtin_head(), talking, frames=9, rate=5, number=4))
    make = ShapeMaker(reconstructor, FaceTracker(), 1 / 5)
    overlaps, jaws = [], []
    with contextlib.closing(make(Frame(f.picture, i) for i, f in enumerate(frames))) as made:
        for frame, (_, shapes) in zip(frames, made, strict=True):
            (shape,) = shapes
            mesh = moved(shape.mesh, np.linalg.inv(shape.crop.crop_from_photo), "photo")
            seen = rasterize(mesh.vertices, mesh.faces, (384, 384)).face >= 0
            truth = frame.covered.repeat(2, axis=0).repeat(2, axis=1)
            overlaps.append((seen & truth).sum() / (seen | truth).sum())
            jaws.append(frame.landmarks[66, 1] - frame.landmarks[62, 1])
    assert np.ptp(jaws) > 8  # it does talk
    assert np.ptp([frame.landmarks[30, 0] for frame in frames]) > 40  # and turn
    assert np.mean(overlaps) > 0.8
    assert min(overlaps) > 0.65
