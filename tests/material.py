"""Pictures and films for requests, made here and sent as data URLs, so that no test needs the network."""

from __future__ import annotations

import base64
import io
from functools import cache
from typing import Any

import av
from PIL import Image

from phaya.catalog.service import Generation


@cache
def picture(width: int = 320, height: int = 400) -> str:
    """A PNG."""
    content = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


@cache
def clip(seconds: float = 3.2) -> str:
    """An MP4 of ten frames a second, without sound."""
    content = io.BytesIO()
    with av.open(content, "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 400, "yuv420p"
        still = av.VideoFrame.from_image(Image.linear_gradient("L").resize((320, 400)).convert("RGB"))
        for number in range(round(seconds * 10)):
            still.pts = number
            film.mux(stream.encode(still))
        film.mux(stream.encode())
    return f"data:video/mp4;base64,{base64.b64encode(content.getvalue()).decode()}"


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
