"""Pictures and films for requests, made here and sent as data URLs, so that no test needs the network."""

from __future__ import annotations

import base64
import io
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from phaya.catalog.service import Generation
from phaya.providers.sandbox.workshop import ffmpeg


@cache
def picture(width: int = 320, height: int = 400) -> str:
    """A PNG."""
    content = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


@cache
def clip(seconds: float = 3.2) -> str:
    """An MP4 of ten frames a second, without sound."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        source = ["-f", "lavfi", "-i", f"testsrc=size=320x400:rate=10:duration={seconds}"]
        subprocess.run([ffmpeg(), "-v", "error", *source, "-pix_fmt", "yuv420p", file], check=True)
        return f"data:video/mp4;base64,{base64.b64encode(file.read_bytes()).decode()}"


def example(service: type[Generation], **fields: Any) -> dict[str, Any]:
    """A service's own example whose files can be had, with the given fields.

    Raises KeyError for a kind of file that nothing is made for here.
    """
    makers = {"image": picture, "video": clip}
    body: dict[str, Any] = dict(service.example)
    for name, mark in service.inputs().items():
        if name in body:
            seconds = (max(mark.shortest or 0, 1) + 0.2,) if mark.media == "video" else ()
            made = makers[mark.media](*seconds)
            body[name] = [made] if isinstance(body[name], list) else made
    return body | fields
