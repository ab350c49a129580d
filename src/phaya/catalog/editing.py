"""Work done on this server with FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from phaya.calls import StillToVideo
from phaya.calls import Zoom as Motion
from phaya.catalog.answers import Video, Words
from phaya.catalog.fields import ImageUrl, MusicUrl
from phaya.catalog.service import Generation, Rates
from phaya.credits import Credits, credits

Mode = Literal[
    "center", "top_left", "top_right", "bottom_left", "bottom_right",
    "pan_right", "pan_left", "pan_up", "pan_down", "none",
]  # fmt: skip


class Zoom(BaseModel):
    """How the still moves."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    mode: Annotated[Mode, Field(description="Where the camera goes.")] = "center"
    speed: Annotated[float, Field(ge=0, le=0.05, description="Growth for each thirtieth of a second.")] = 0.0015
    max_scale: Annotated[float, Field(ge=1, le=5, description="The largest zoom.")] = 1.5
    pan_speed: Annotated[float, Field(gt=0, le=10, description="Passes over the picture during the clip.")] = 1.0


class ImageToVideo(Generation):
    """Image to video: a clip from a still with a moving camera, rendered on this server with FFmpeg."""

    path = "image-to-video"
    answer = Video
    words = Words.LOWER_UNCANCELLED
    rates = {"clip": credits("0.5")}
    example = {"image_url": "https://example.com/sea.png", "duration": 5, "zoom": {"mode": "center"}}
    minutes = 15
    seconds = 10
    local = True

    image_url: Annotated[ImageUrl, Field(description="The still.")]
    music_url: Annotated[MusicUrl | None, Field(description="Music, cut or repeated to the clip's length.")] = None
    duration: Annotated[float, Field(ge=1, le=60, description="Seconds of film.")] = 5
    image_format: Annotated[
        Literal["auto", "jpeg", "png", "gif", "webp"],
        Field(description="Taken from the file itself; kept for clients."),
    ] = "auto"
    zoom: Annotated[Zoom | None, Field(description="Without it the picture stays still.")] = None

    @classmethod
    def mend(cls, body: dict[str, Any]) -> Iterator[str]:
        """Some clients send `zoom: true`; an empty music address means none."""
        if isinstance(body.get("zoom"), bool):
            wanted = body.pop("zoom")
            if wanted:
                body["zoom"] = {}
            yield "'zoom' takes an object; true was read as the default zoom and false as none."
        if body.get("music_url") == "":
            del body["music_url"]

    def price(self, rates: Rates) -> Credits:
        """One price for any length."""
        return rates["clip"]

    def call(self) -> StillToVideo:
        """The addresses are keys in our storage by now, see `Generation.local`."""
        moving = self.zoom if self.zoom and self.zoom.mode != "none" else None
        motion = moving and Motion(moving.mode, moving.speed, moving.max_scale, moving.pan_speed)
        return StillToVideo(self.image_url, self.duration, self.music_url, motion)


EDITING = (ImageToVideo,)
