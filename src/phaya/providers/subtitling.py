"""Speech of a film as text, and captions burnt into a film."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from phaya.calls import Subtitle, Transcribe
from phaya.decoding.findings import Clip
from phaya.providers import Made, ProviderError, Rejected, Report, Unavailable
from phaya.providers.captions import from_script, from_speech, shifted
from phaya.providers.clips import frame_of
from phaya.providers.lettering import script
from phaya.providers.rendering import MP4, SOUND, TAGS, Renderer, file_address, media_input
from phaya.providers.transcription import Heard, Span, Transcription

FONTS = Path(__file__).parents[1] / "fonts"
PIECE_SECONDS = 600
"""Of sound sent to the transcriber at once: 19 MB, where OpenAI takes 25."""
_BYTES_A_SECOND = 32_000


class Subtitling:
    """Hears and writes. Without a transcription only what has a script gets captions."""

    def __init__(self, renderer: Renderer, transcription: Transcription | None) -> None:
        self._renderer = renderer
        self._transcription = transcription

    async def transcribe(self, call: Transcribe, media: Path, folder: Path, report: Report) -> Made:
        """What is said, as facts. Raises Rejected or Unavailable."""
        clip = await self._renderer.look_at(media)
        if not clip.sounds:
            raise Rejected("The film has no sound to transcribe.")
        heard = await self._hear(media, clip, call.language, folder, report)
        return Made((), {"text": heard.text, "segments": [span.told() for span in heard.segments]})

    async def subtitle(self, call: Subtitle, media: Path, folder: Path, report: Report) -> Made:
        """The film with captions. Raises Rejected or Unavailable."""
        clip, made = await self._renderer.look_at(media), folder / "video.mp4"
        heard = await self._speech(call, media, clip, folder, report)
        if call.script is not None:
            captions = await asyncio.to_thread(from_script, call.script, heard, clip.seconds)
        else:
            assert heard is not None
            captions = await asyncio.to_thread(from_speech, heard, clip.seconds)
        captions = shifted(captions, call.offset, clip.seconds)
        if not captions:
            raise Rejected("No speech was heard in the film; send a script.", code="no_speech")
        text = script(captions, frame_of(clip), pop=call.animation == "word_pop_fade")
        (folder / "captions.ass").write_text(text, encoding="utf-8")
        (folder / "fonts").mkdir(exist_ok=True)
        for font in FONTS.glob("*.ttf"):
            shutil.copyfile(font, folder / "fonts" / font.name)
        width, height = frame_of(clip)
        # Names in the filter are ours and relative to the run's own folder: nothing needs quoting.
        drawn = "subtitles=filename=captions.ass:fontsdir=fonts:wrap_unicode=1"
        picture = f"scale={width}:{height}:out_color_matrix=bt709:out_range=tv,setsar=1,format=yuv420p,{TAGS},{drawn}"
        arguments = [
            *media_input(media),
            *("-map", "0:v:0", "-map", "0:a:0?", "-vf", picture, *self._renderer.encoder(), *SOUND),
            *(*MP4, file_address(made)),
        ]
        await self._renderer.run(arguments, folder, seconds=clip.seconds, report=report)
        found = await self._renderer.look_at(made)
        if abs(found.seconds - clip.seconds) > 0.2 + 0.02 * clip.seconds:
            raise Rejected("Rendering made no film of the right length.", f"{found} instead of {clip}")
        return Made([made])

    async def _speech(self, call: Subtitle, media: Path, clip: Clip, folder: Path, report: Report) -> Heard | None:
        """What is said in the film; beside a script it only gives the times, and may be missing."""
        if call.script is None:
            if not clip.sounds:
                raise Rejected("The film has no sound to transcribe; send a script.", code="no_speech")
            return await self._hear(media, clip, "th", folder, report)
        if not clip.sounds or self._transcription is None:
            return None
        try:
            return await self._hear(media, clip, None, folder, report)
        except ProviderError:
            return None

    async def _hear(self, media: Path, clip: Clip, language: str | None, folder: Path, report: Report) -> Heard:
        if self._transcription is None:
            raise Unavailable("There is no transcriber.", retry_after=600)
        arguments = [
            *media_input(media),
            *("-map", "0:a:0", "-vn", "-ac", "1", "-ar", "16000", "-c:a", "pcm_s16le", "-map_metadata", "-1"),
            *("-f", "segment", "-segment_time", str(PIECE_SECONDS), "-segment_format", "wav", "speech%04d.wav"),
        ]
        await self._renderer.run(arguments, folder, seconds=clip.seconds)
        texts: list[str] = []
        segments: list[Span] = []
        words: list[Span] = []
        pieces = sorted(folder.glob("speech*.wav"))
        for number, piece in enumerate(pieces):
            seconds = max(0, piece.stat().st_size - 44) / _BYTES_A_SECOND
            if seconds < 0.1:  # what is left over after the last full piece; transcribers refuse such
                continue
            heard = await self._transcription.hear(piece, seconds, language)
            texts.append(heard.text)
            segments += [span.later(number * PIECE_SECONDS) for span in heard.segments]
            words += [span.later(number * PIECE_SECONDS) for span in heard.words]
            piece.unlink()
            await report(0.3 * (number + 1) / len(pieces))
        return Heard(" ".join(text for text in texts if text), tuple(segments), tuple(words))
