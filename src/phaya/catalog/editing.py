"""Work done on this server with FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from phaya.calls import (
    LastFrame,
    LocalCall,
    MergeAudios,
    MergeAudioVideo,
    MergeVideos,
    OverlayGif,
    StillToVideo,
)
from phaya.calls import Zoom as Motion
from phaya.catalog.answers import Answer, Image, Video, Words, first
from phaya.catalog.fields import MB, Address, Aliases, ImageUrl, Input, MusicUrl
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


FILM = Input("video", 200 * MB, longest=3600)
SOUND = Input("audio", 200 * MB, longest=3600)
FilmUrl = Annotated[Address, Aliases(("media_url", "input_url", "url")), FILM]
FilmUrls = Annotated[list[Address], Aliases(("video_url", "media_urls", "input_urls", "urls", "videos")), FILM]
SoundUrl = Annotated[Address, Aliases(("music_url", "sound_url")), SOUND]
SoundUrls = Annotated[list[Address], Aliases(("audio_url", "media_urls", "input_urls", "urls", "audios")), SOUND]
GifUrl = Annotated[
    Address,
    Aliases(("overlay_url", "image_url")),
    Input("image", 30 * MB, animated=True),
]


class Edit(Generation):
    """What the services below `media/` have in common."""

    verb = ""
    words = Words.LOWER_UNCANCELLED
    minutes = 45
    local = True

    def price(self, rates: Rates) -> Credits:
        """One price for any length."""
        return next(iter(rates.values()))


class MergeSoundIntoFilm(Edit):
    """Merge audio and video: a film with another sound, as long as the film."""

    path = "media/merge-audio-video"
    answer = Video
    rates = {"film": credits("0.5")}
    example = {"video_url": "https://example.com/sea.mp4", "audio_url": "https://example.com/waves.mp3"}
    seconds = 10

    video_url: Annotated[FilmUrl, Field(description="The film; its own sound is left out.")]
    audio_url: Annotated[SoundUrl, Field(description="The sound: cut to the film's length, or followed by silence.")]

    def call(self) -> LocalCall:
        """The addresses are keys in our storage by now."""
        return MergeAudioVideo(self.video_url, self.audio_url)


class MergeFilms(Edit):
    """Merge videos: films one after another, in the size of the first."""

    path = "media/merge-video"
    answer = Video
    rates = {"film": credits("0.5")}
    example = {"video_urls": ["https://example.com/one.mp4", "https://example.com/two.mp4"]}
    seconds = 20

    video_urls: Annotated[
        FilmUrls,
        Field(min_length=2, max_length=20, description="The films, in order; other shapes get black bars."),
    ]

    def call(self) -> LocalCall:
        """The addresses are keys in our storage by now."""
        return MergeVideos(self.video_urls)


class MergeSounds(Edit):
    """Merge audios: sounds one after another."""

    path = "media/merge-audio"
    answer = Answer("audio", {"audio_url": first})
    rates = {"sound": credits("0.5")}
    example = {"audio_urls": ["https://example.com/one.mp3", "https://example.com/two.mp3"]}
    seconds = 5

    audio_urls: Annotated[SoundUrls, Field(min_length=2, max_length=20, description="The sounds, in order.")]

    def call(self) -> LocalCall:
        """The addresses are keys in our storage by now."""
        return MergeAudios(self.audio_urls)


class Sticker(Edit):
    """Overlay GIF: an animation on a film, repeated to its end."""

    path = "media/overlay-gif"
    answer = Video
    rates = {"film": credits("0.5")}
    example = {
        "video_url": "https://example.com/sea.mp4",
        "gif_url": "https://example.com/gull.gif",
        "position": "top_right",
        "scale": 0.3,
    }
    seconds = 15

    video_url: Annotated[FilmUrl, Field(description="The film.")]
    gif_url: Annotated[GifUrl, Field(description="The animation, or a still; what is clear in it stays clear.")]
    position: Annotated[
        Literal["top_left", "top_right", "bottom_left", "bottom_right", "center"],
        Field(description="Where it is seen."),
    ] = "bottom_right"
    scale: Annotated[float, Field(ge=0.05, le=1, description="Its width as a part of the film's.")] = 0.3

    def call(self) -> LocalCall:
        """The addresses are keys in our storage by now."""
        return OverlayGif(self.video_url, self.gif_url, self.position, self.scale)


class ExtractLastFrame(Edit):
    """Extract last frame: the last picture of a film, to go on from there."""

    path = "media/extract-last-frame"
    answer = Image
    rates = {"picture": credits("0.1")}
    example = {"video_url": "https://example.com/sea.mp4"}
    seconds = 3

    video_url: Annotated[FilmUrl, Field(description="The film.")]

    def call(self) -> LocalCall:
        """The address is a key in our storage by now."""
        return LastFrame(self.video_url)


EDITING = (ImageToVideo, MergeSoundIntoFilm, MergeFilms, MergeSounds, Sticker, ExtractLastFrame)
