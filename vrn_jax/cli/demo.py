"""`vrn demo`: the web app."""

from dataclasses import dataclass, field

import tyro

from vrn_jax.cli.process import astronaut, keep_compiled_programs, without_info_lines
from vrn_jax.demo.settings import Limits
from vrn_jax.errors import InputError

__all__ = ["Demo", "demo"]


@dataclass(frozen=True)
class Demo:
    """Open the web app: a photo in, a face to turn out, all on this machine. Has an HTTP API."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in."""
    port: int = 7860
    """Port to listen on; 0 takes any free one."""
    browser: bool = True
    """Open it in the browser."""
    allow_host: tuple[str, ...] = ()
    """Names that other machines may call this one by, besides its addresses."""
    weights: str = "default"
    """Name of embedded weights, or a .safetensors file."""
    mirror: bool = False
    """Average with the mirrored photo's volume; takes twice the time."""
    limits: tyro.conf.OmitArgPrefixes[Limits] = field(default_factory=Limits)
    """What is accepted."""


def demo(options: Demo) -> int:
    """Does what `vrn demo` says, until interrupted. Raises VrnError or OSError."""
    keep_compiled_programs()
    try:
        from vrn_jax.demo.app import ExamplePhoto, create_app
        from vrn_jax.demo.server import bind, new_server
    except ImportError as error:
        raise InputError(
            f'the web app needs packages that are not here ({error}): pip install "vrn-jax[demo]"'
        ) from error
    from vrn_jax.detection import FaceDetector
    from vrn_jax.inference import load

    listening, url = bind(options.host, options.port)
    with listening:
        with without_info_lines():
            detector = FaceDetector()
        app = create_app(
            load(options.weights, mirror=options.mirror, detector=detector),
            [ExamplePhoto("Eileen Collins, astronaut (NASA)", astronaut())],
            limits=options.limits,
            hosts=options.allow_host,
        )
        print(f"{url}  (Ctrl+C ends it)", flush=True)
        if options.browser:
            import webbrowser

            webbrowser.open(url)
        new_server(app).run(sockets=[listening])
    return 0
