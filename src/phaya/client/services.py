"""A method for each service of the catalog. Printed by `make docs`; change the catalog, not this file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

if TYPE_CHECKING:
    from phaya.client.jobs import AsyncJob, Job

File = str | Path
"""A link, a data URL, or a file of this machine, which is uploaded first."""


class Options(TypedDict, total=False):
    """What every service's method takes beside the service's own fields."""

    idempotency_key: str
    """Your name for this purchase; without it the client takes one of its own."""
    cancel_after: int
    """Seconds after which the job is cancelled and refunded, if it has not ended."""
    webhook_url: str
    """Who is told of the job's end."""


CREATE_PATHS: Mapping[str, str] = {
    "text-to-image": "text-to-image/generate",
    "seedream": "seedream/create",
    "nano-banana": "nano-banana/create",
    "gpt-image-2-text-to-image": "gpt-image-2-text-to-image/create",
    "gpt-image-2-image-to-image": "gpt-image-2-image-to-image/create",
    "sora2-text-to-video": "sora2-text-to-video/create",
    "sora2-video": "sora2-video/create",
    "seedance-video": "seedance-video/create",
    "veo31-video": "veo31-video/create",
    "kling-motion-control": "kling-motion-control/create",
    "sora2-character": "sora2-character/create",
    "flux-2": "flux-2/create",
    "grok-imagine": "grok-imagine/create",
    "seedream-4-5": "seedream-4-5/create",
    "remove-background": "remove-background/create",
    "elevenlabs-speech": "elevenlabs-speech/create",
    "text-to-music": "text-to-music/generate",
    "text-to-speech": "text-to-speech/generate",
    "image-to-video": "image-to-video/create",
    "media/merge-audio-video": "media/merge-audio-video",
    "media/merge-video": "media/merge-video",
    "media/merge-audio": "media/merge-audio",
    "media/overlay-gif": "media/overlay-gif",
    "media/extract-last-frame": "media/extract-last-frame",
    "media/transcribe": "media/transcribe",
    "thai-subtitle": "thai-subtitle/generate",
    "video-download": "video-download/create",
}
"""Where each service is asked for, by its path."""


class AsyncServices(ABC):
    """The services, each a method that buys a job and returns it at once."""

    @abstractmethod
    async def generate(self, service: str, fields: Mapping[str, Any], **options: Unpack[Options]) -> AsyncJob:
        """Buys a job of any service."""

    async def text_to_image(
        self,
        *,
        prompt: str,
        aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16"] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Z-Image: a picture from a prompt, quick and cheap. Credits: picture 1.

        Args:
            prompt: What to make, in any language.
            aspect_ratio: Width to height.
        """
        fields: dict[str, Any] = {"prompt": prompt, "aspect_ratio": aspect_ratio}
        return await self.generate("text-to-image", fields, **options)

    async def seedream(
        self,
        *,
        prompt: str,
        image_urls: Sequence[File] | None = None,
        aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16", "2:3", "3:2", "21:9"] | None = None,
        quality: Literal["basic", "high"] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Seedream 5: a picture from a prompt, or another picture changed by one. Credits: picture 1.5.

        Args:
            prompt: What to make, in any language.
            image_urls: A picture to change.
            aspect_ratio: Width to height.
            quality: 2K or 3K.
        """
        fields: dict[str, Any] = {"prompt": prompt, "image_urls": image_urls, "aspect_ratio": aspect_ratio, "quality": quality}
        return await self.generate("seedream", fields, **options)

    async def nano_banana(
        self,
        *,
        prompt: str,
        image_input: Sequence[File] | None = None,
        aspect_ratio: Literal["1:1", "1:4", "1:8", "2:3", "3:2", "3:4", "4:1", "4:3", "4:5", "5:4", "8:1", "9:16", "16:9", "21:9", "auto"] | None = None,
        google_search: bool | None = None,
        resolution: Literal["1K", "2K", "4K"] | None = None,
        output_format: Literal["jpg", "png"] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Nano Banana 2: a picture from a prompt and up to fourteen pictures. Credits: 1K 2, 2K 3, 4K 4.

        Args:
            prompt: What to make, in any language.
            image_input: Pictures to work from.
            aspect_ratio: Width to height.
            google_search: Look facts up first.
            resolution: Size of the picture.
            output_format: Kind of file.
        """
        fields: dict[str, Any] = {"prompt": prompt, "image_input": image_input, "aspect_ratio": aspect_ratio, "google_search": google_search, "resolution": resolution, "output_format": output_format}
        return await self.generate("nano-banana", fields, **options)

    async def gpt_image_2_text_to_image(
        self,
        *,
        prompt: str,
        aspect_ratio: Literal["auto", "1:1", "5:4", "9:16", "21:9", "16:9", "4:3", "3:2", "4:5", "3:4", "2:3"] | None = None,
        resolution: Literal["1K", "2K", "4K"] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """GPT Image 2 text to image: a picture from a long and exact prompt. Credits: 1K 1, 2K 2, 4K 3.

        Args:
            prompt: What to make, in any language.
            aspect_ratio: Width to height; `auto` only at 1K, 1:1 not at 4K. Unset: auto at 1K, 1:1 at 2K, 16:9 at 4K.
            resolution: Size of the picture.
        """
        fields: dict[str, Any] = {"prompt": prompt, "aspect_ratio": aspect_ratio, "resolution": resolution}
        return await self.generate("gpt-image-2-text-to-image", fields, **options)

    async def gpt_image_2_image_to_image(
        self,
        *,
        prompt: str,
        input_urls: Sequence[File],
        aspect_ratio: Literal["auto", "1:1", "5:4", "9:16", "21:9", "16:9", "4:3", "3:2", "4:5", "3:4", "2:3"] | None = None,
        resolution: Literal["1K", "2K", "4K"] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """GPT Image 2 image to image: up to five pictures, put together or changed as a prompt says. Credits: 1K 1, 2K 2, 4K 3.

        Args:
            prompt: What to make, in any language.
            input_urls: Pictures to work from.
            aspect_ratio: Width to height; `auto` only at 1K, 1:1 not at 4K. Unset: auto at 1K, 1:1 at 2K, 16:9 at 4K.
            resolution: Size of the picture.
        """
        fields: dict[str, Any] = {"prompt": prompt, "aspect_ratio": aspect_ratio, "resolution": resolution, "input_urls": input_urls}
        return await self.generate("gpt-image-2-image-to-image", fields, **options)

    async def sora2_text_to_video(
        self,
        *,
        prompt: str,
        aspect_ratio: Literal["landscape", "portrait"] | None = None,
        n_frames: Literal["10", "15"] | None = None,
        remove_watermark: bool | None = None,
        character_id_list: Sequence[str] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Sora 2 text to video: a film with sound from a prompt. Credits: film 8.

        Args:
            prompt: What to make, in any language.
            aspect_ratio: Width to height.
            n_frames: Seconds of film.
            remove_watermark: Ask the model for a film without its mark.
            character_id_list: Ids of Sora characters that the prompt names.
        """
        fields: dict[str, Any] = {"prompt": prompt, "aspect_ratio": aspect_ratio, "n_frames": n_frames, "remove_watermark": remove_watermark, "character_id_list": character_id_list}
        return await self.generate("sora2-text-to-video", fields, **options)

    async def sora2_video(
        self,
        *,
        prompt: str,
        image_urls: Sequence[File],
        aspect_ratio: Literal["landscape", "portrait", "square"] | None = None,
        n_frames: Literal["5", "10", "15", "20"] | None = None,
        remove_watermark: bool | None = None,
        character_id_list: Sequence[str] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Sora 2 image to video: a film that sets a picture in motion. Credits: film 8.

        Args:
            prompt: What to make, in any language.
            image_urls: The picture to animate.
            aspect_ratio: Width to height.
            n_frames: Seconds of film.
            remove_watermark: Ask the model for a film without its mark.
            character_id_list: Ids of Sora characters that the prompt names.
        """
        fields: dict[str, Any] = {"prompt": prompt, "image_urls": image_urls, "aspect_ratio": aspect_ratio, "n_frames": n_frames, "remove_watermark": remove_watermark, "character_id_list": character_id_list}
        return await self.generate("sora2-video", fields, **options)

    async def seedance_video(
        self,
        *,
        prompt: str,
        input_urls: Sequence[File] | None = None,
        aspect_ratio: Literal["1:1", "21:9", "4:3", "3:4", "16:9", "9:16"] | None = None,
        resolution: Literal["480p", "720p", "1080p"] | None = None,
        duration: Literal["4", "8", "12"] | None = None,
        fixed_lens: bool | None = None,
        generate_audio: bool | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Seedance 1.5 Pro: a clip from a prompt and up to two stills. Credits: 480p-4 2, 480p-4-sound 3, 480p-8 3, 480p-8-sound 6, 480p-12 4, 480p-12-sound 8, 720p-4 3, 720p-4-sound 6, 720p-8 6, 720p-8-sound 12, 720p-12 9, 720p-12-sound 18, 1080p-4 6, 1080p-4-sound 12, 1080p-8 12, 1080p-8-sound 23, 1080p-12 18, 1080p-12-sound 35.

        Args:
            prompt: What to make, in any language.
            input_urls: None: from words. One: is animated. Two: first and last frame.
            aspect_ratio: Width to height.
            resolution: Lines of the film.
            duration: Seconds of film.
            fixed_lens: Keep the camera still.
            generate_audio: With sound, also as a file of its own.
        """
        fields: dict[str, Any] = {"prompt": prompt, "input_urls": input_urls, "aspect_ratio": aspect_ratio, "resolution": resolution, "duration": duration, "fixed_lens": fixed_lens, "generate_audio": generate_audio}
        return await self.generate("seedance-video", fields, **options)

    async def veo31_video(
        self,
        *,
        prompt: str,
        model: Literal["veo3_fast", "veo3"] | None = None,
        image_urls: Sequence[File] | None = None,
        generation_type: Literal["TEXT_2_VIDEO", "FIRST_AND_LAST_FRAMES_2_VIDEO", "REFERENCE_2_VIDEO"] | None = None,
        aspect_ratio: Literal["16:9", "9:16", "Auto"] | None = None,
        seeds: int | None = None,
        enable_translation: bool | None = None,
        watermark: str | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Veo 3.1: a film of eight seconds with sound, from words, from one or two frames, or like some pictures. Credits: veo3_fast 15, veo3 50.

        Args:
            prompt: What to make, in any language.
            model: Fast, or of the highest quality.
            image_urls: One: is animated. Two: first and last frame. Three: references of the look.
            generation_type: What the pictures are. Unset: by their number.
            aspect_ratio: Width to height.
            seeds: The same seed gives similar films.
            enable_translation: Translate the prompt to English first.
            watermark: Text shown in the film.
        """
        fields: dict[str, Any] = {"prompt": prompt, "model": model, "image_urls": image_urls, "generation_type": generation_type, "aspect_ratio": aspect_ratio, "seeds": seeds, "enable_translation": enable_translation, "watermark": watermark}
        return await self.generate("veo31-video", fields, **options)

    async def kling_motion_control(
        self,
        *,
        input_urls: Sequence[File],
        video_urls: Sequence[File],
        prompt: str | None = None,
        character_orientation: Literal["image", "video"] | None = None,
        mode: Literal["720p", "1080p"] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Kling 2.6 motion control: whoever is in a picture moves like the person in a film. Credits: started second at 720p 1.21, started second at 1080p 1.82.

        Args:
            input_urls: Who moves: one picture.
            video_urls: Whose movements: one film of 3 to 30 seconds.
            prompt: The scene.
            character_orientation: Faces as in the picture (up to 10 seconds are made) or as in the film (up to 30).
            mode: Lines of the film.
        """
        fields: dict[str, Any] = {"prompt": prompt, "input_urls": input_urls, "video_urls": video_urls, "character_orientation": character_orientation, "mode": mode}
        return await self.generate("kling-motion-control", fields, **options)

    async def sora2_character(
        self,
        *,
        character_file_url: File,
        character_prompt: str | None = None,
        safety_instruction: str | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Sora 2 character: somebody from a short clip, under an id that later films name in `character_id_list`. Credits: character 0.5.

        Args:
            character_file_url: A clip of 1 to 4 seconds that shows the character.
            character_prompt: Who it is and how they act.
            safety_instruction: What the character must never do.
        """
        fields: dict[str, Any] = {"character_file_url": character_file_url, "character_prompt": character_prompt, "safety_instruction": safety_instruction}
        return await self.generate("sora2-character", fields, **options)

    async def flux_2(
        self,
        *,
        prompt: str,
        input_urls: Sequence[File] | None = None,
        aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3"] | None = None,
        resolution: Literal["1K", "2K"] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Flux 2 Pro: a picture from a prompt, or from up to eight pictures and a prompt. Credits: 1K 1, 2K 1.25.

        Args:
            prompt: What to make, in any language.
            input_urls: Pictures to work from.
            aspect_ratio: Width to height.
            resolution: Size of the picture.
        """
        fields: dict[str, Any] = {"prompt": prompt, "input_urls": input_urls, "aspect_ratio": aspect_ratio, "resolution": resolution}
        return await self.generate("flux-2", fields, **options)

    async def grok_imagine(
        self,
        *,
        prompt: str,
        aspect_ratio: Literal["2:3", "3:2", "1:1", "16:9", "9:16"] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Grok Imagine: several pictures from one prompt. Credits: pictures 0.75.

        Args:
            prompt: What to make, in any language.
            aspect_ratio: Width to height.
        """
        fields: dict[str, Any] = {"prompt": prompt, "aspect_ratio": aspect_ratio}
        return await self.generate("grok-imagine", fields, **options)

    async def seedream_4_5(
        self,
        *,
        prompt: str,
        image_urls: Sequence[File] | None = None,
        aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16", "2:3", "3:2", "21:9"] | None = None,
        quality: Literal["basic", "high"] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Seedream 4.5: a picture from a prompt, or pictures edited by one, up to 4K. Credits: picture 1.25.

        Args:
            prompt: What to make, in any language.
            image_urls: Pictures to edit.
            aspect_ratio: Width to height.
            quality: 2K or 4K.
        """
        fields: dict[str, Any] = {"prompt": prompt, "image_urls": image_urls, "aspect_ratio": aspect_ratio, "quality": quality}
        return await self.generate("seedream-4-5", fields, **options)

    async def remove_background(
        self,
        *,
        image_url: File,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Recraft remove background: what a picture shows, cut out, on transparent ground. Credits: picture 0.25.

        Args:
            image_url: The picture.
        """
        fields: dict[str, Any] = {"image_url": image_url}
        return await self.generate("remove-background", fields, **options)

    async def elevenlabs_speech(
        self,
        *,
        prompt: str,
        voice: str | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """ElevenLabs Turbo 2.5: a text read aloud. Credits: 100 started characters 0.125.

        Args:
            prompt: What is said.
            voice: A voice's name or id.
        """
        fields: dict[str, Any] = {"prompt": prompt, "voice": voice}
        return await self.generate("elevenlabs-speech", fields, **options)

    async def text_to_music(
        self,
        *,
        prompt: str,
        style: str | None = None,
        title: str | None = None,
        instrumental: bool | None = None,
        model: Literal["V3", "V3_5", "V4", "V5"] | None = None,
        negative_tags: str | None = None,
        vocal_gender: Literal["m", "f"] | None = None,
        style_weight: float | None = None,
        weirdness_constraint: float | None = None,
        audio_weight: float | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Suno: two songs from a description, or from lyrics in a given style. Credits: two songs 3.

        Args:
            prompt: What the song is about; with 'style' and vocals, its lyrics.
            style: Genre, mood, instruments.
            title: The song's name.
            instrumental: Without a voice.
            model: Suno's version.
            negative_tags: What to keep out of the music.
            vocal_gender: The voice, male or female.
            style_weight: How closely to follow the style.
            weirdness_constraint: How much surprise to allow.
            audio_weight: How much the sound counts.
        """
        fields: dict[str, Any] = {"prompt": prompt, "style": style, "title": title, "instrumental": instrumental, "model": model, "negative_tags": negative_tags, "vocal_gender": vocal_gender, "style_weight": style_weight, "weirdness_constraint": weirdness_constraint, "audio_weight": audio_weight}
        return await self.generate("text-to-music", fields, **options)

    async def text_to_speech(
        self,
        *,
        prompt: str,
        voice: Literal["Zephyr", "Puck", "Charon", "Kore", "Fenrir", "Leda", "Orus", "Aoede", "Callirrhoe", "Autonoe", "Enceladus", "Iapetus", "Umbriel", "Algieba", "Despina", "Erinome", "Algenib", "Rasalgethi", "Laomedeia", "Achernar", "Alnilam", "Schedar", "Gacrux", "Pulcherrima", "Achird", "Zubenelgenubi", "Vindemiatrix", "Sadachbia", "Sadaltager", "Sulafat"] | None = None,
        slow: bool | None = None,
        language: Literal["en", "th", "ja", "zh-CN", "ko"] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Gemini TTS: a text read aloud by one of thirty voices, in any language. Credits: a million text tokens 17.5, a million audio tokens 315.

        Args:
            prompt: What to say, word for word, in any language.
            voice: Who reads; all voices speak all languages.
            slow: Slowly and clearly.
            language: The text's language; null: found out from the text.
        """
        fields: dict[str, Any] = {"prompt": prompt, "voice": voice, "slow": slow, "language": language}
        return await self.generate("text-to-speech", fields, **options)

    async def image_to_video(
        self,
        *,
        image_url: File,
        music_url: File | None = None,
        duration: float | None = None,
        image_format: Literal["auto", "jpeg", "png", "gif", "webp"] | None = None,
        zoom: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Image to video: a clip from a still with a moving camera, rendered on this server with FFmpeg. Credits: clip 0.5.

        Args:
            image_url: The still.
            music_url: Music, cut or repeated to the clip's length.
            duration: Seconds of film.
            image_format: Taken from the file itself; kept for clients.
            zoom: Without it the picture stays still.
        """
        fields: dict[str, Any] = {"image_url": image_url, "music_url": music_url, "duration": duration, "image_format": image_format, "zoom": zoom}
        return await self.generate("image-to-video", fields, **options)

    async def media_merge_audio_video(
        self,
        *,
        video_url: File,
        audio_url: File,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Merge audio and video: a film with another sound, as long as the film. Credits: film 0.5.

        Args:
            video_url: The film; its own sound is left out.
            audio_url: The sound: cut to the film's length, or followed by silence.
        """
        fields: dict[str, Any] = {"video_url": video_url, "audio_url": audio_url}
        return await self.generate("media/merge-audio-video", fields, **options)

    async def media_merge_video(
        self,
        *,
        video_urls: Sequence[File],
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Merge videos: films one after another, in the size of the first. Credits: film 0.5.

        Args:
            video_urls: The films, in order; other shapes get black bars.
        """
        fields: dict[str, Any] = {"video_urls": video_urls}
        return await self.generate("media/merge-video", fields, **options)

    async def media_merge_audio(
        self,
        *,
        audio_urls: Sequence[File],
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Merge audios: sounds one after another. Credits: sound 0.5.

        Args:
            audio_urls: The sounds, in order.
        """
        fields: dict[str, Any] = {"audio_urls": audio_urls}
        return await self.generate("media/merge-audio", fields, **options)

    async def media_overlay_gif(
        self,
        *,
        video_url: File,
        gif_url: File,
        position: Literal["top_left", "top_right", "bottom_left", "bottom_right", "center"] | None = None,
        scale: float | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Overlay GIF: an animation on a film, repeated to its end. Credits: film 0.5.

        Args:
            video_url: The film.
            gif_url: The animation, or a still; what is clear in it stays clear.
            position: Where it is seen.
            scale: Its width as a part of the film's.
        """
        fields: dict[str, Any] = {"video_url": video_url, "gif_url": gif_url, "position": position, "scale": scale}
        return await self.generate("media/overlay-gif", fields, **options)

    async def media_extract_last_frame(
        self,
        *,
        video_url: File,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Extract last frame: the last picture of a film, to go on from there. Credits: picture 0.1.

        Args:
            video_url: The film.
        """
        fields: dict[str, Any] = {"video_url": video_url}
        return await self.generate("media/extract-last-frame", fields, **options)

    async def media_transcribe(
        self,
        *,
        media_url: File,
        language: str | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Transcribe: what is said in a film or sound, with times. Credits: minute 0.17, at least 0.07.

        Args:
            media_url: The film or sound.
            language: Its language, such as th; unset: as heard.
        """
        fields: dict[str, Any] = {"media_url": media_url, "language": language}
        return await self.generate("media/transcribe", fields, **options)

    async def thai_subtitle(
        self,
        *,
        media_url: File,
        script: str | None = None,
        animation: Literal["none", "word_pop_fade"] | None = None,
        timing_offset_ms: int | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Thai subtitles: captions burnt into a film, from its speech or from a script, broken between Thai words. Credits: minute 0.17, at least 0.07.

        Args:
            media_url: The film: MP4, MOV or WebM.
            script: What is said; a newline begins the next caption, a | a new line. Unset: transcribed.
            animation: Whether the words pop up one by one.
            timing_offset_ms: Milliseconds by which captions come later, or sooner.
        """
        fields: dict[str, Any] = {"media_url": media_url, "script": script, "animation": animation, "timing_offset_ms": timing_offset_ms}
        return await self.generate("thai-subtitle", fields, **options)

    async def video_download(
        self,
        *,
        url: str,
        format: Literal["mp4", "mp3", "best"] | None = None,
        quality: Literal["best", "720p", "480p", "360p", "audio"] | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Video download: a film, or its sound, from a page of another site. Credits: each started 10 MB of the file 0.5.

        Args:
            url: The film's page. `GET video-download/supported-platforms` lists sites.
            format: `mp3` is the sound alone; `best` leaves the site's own container.
            quality: The largest picture, or the sound alone (as MP3 unless `format` is `best`).
        """
        fields: dict[str, Any] = {"url": url, "format": format, "quality": quality}
        return await self.generate("video-download", fields, **options)


class Services(ABC):
    """The services, each a method that buys a job and returns it at once."""

    @abstractmethod
    def generate(self, service: str, fields: Mapping[str, Any], **options: Unpack[Options]) -> Job:
        """Buys a job of any service."""

    def text_to_image(
        self,
        *,
        prompt: str,
        aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16"] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Z-Image: a picture from a prompt, quick and cheap. Credits: picture 1.

        Args:
            prompt: What to make, in any language.
            aspect_ratio: Width to height.
        """
        fields: dict[str, Any] = {"prompt": prompt, "aspect_ratio": aspect_ratio}
        return self.generate("text-to-image", fields, **options)

    def seedream(
        self,
        *,
        prompt: str,
        image_urls: Sequence[File] | None = None,
        aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16", "2:3", "3:2", "21:9"] | None = None,
        quality: Literal["basic", "high"] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Seedream 5: a picture from a prompt, or another picture changed by one. Credits: picture 1.5.

        Args:
            prompt: What to make, in any language.
            image_urls: A picture to change.
            aspect_ratio: Width to height.
            quality: 2K or 3K.
        """
        fields: dict[str, Any] = {"prompt": prompt, "image_urls": image_urls, "aspect_ratio": aspect_ratio, "quality": quality}
        return self.generate("seedream", fields, **options)

    def nano_banana(
        self,
        *,
        prompt: str,
        image_input: Sequence[File] | None = None,
        aspect_ratio: Literal["1:1", "1:4", "1:8", "2:3", "3:2", "3:4", "4:1", "4:3", "4:5", "5:4", "8:1", "9:16", "16:9", "21:9", "auto"] | None = None,
        google_search: bool | None = None,
        resolution: Literal["1K", "2K", "4K"] | None = None,
        output_format: Literal["jpg", "png"] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Nano Banana 2: a picture from a prompt and up to fourteen pictures. Credits: 1K 2, 2K 3, 4K 4.

        Args:
            prompt: What to make, in any language.
            image_input: Pictures to work from.
            aspect_ratio: Width to height.
            google_search: Look facts up first.
            resolution: Size of the picture.
            output_format: Kind of file.
        """
        fields: dict[str, Any] = {"prompt": prompt, "image_input": image_input, "aspect_ratio": aspect_ratio, "google_search": google_search, "resolution": resolution, "output_format": output_format}
        return self.generate("nano-banana", fields, **options)

    def gpt_image_2_text_to_image(
        self,
        *,
        prompt: str,
        aspect_ratio: Literal["auto", "1:1", "5:4", "9:16", "21:9", "16:9", "4:3", "3:2", "4:5", "3:4", "2:3"] | None = None,
        resolution: Literal["1K", "2K", "4K"] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """GPT Image 2 text to image: a picture from a long and exact prompt. Credits: 1K 1, 2K 2, 4K 3.

        Args:
            prompt: What to make, in any language.
            aspect_ratio: Width to height; `auto` only at 1K, 1:1 not at 4K. Unset: auto at 1K, 1:1 at 2K, 16:9 at 4K.
            resolution: Size of the picture.
        """
        fields: dict[str, Any] = {"prompt": prompt, "aspect_ratio": aspect_ratio, "resolution": resolution}
        return self.generate("gpt-image-2-text-to-image", fields, **options)

    def gpt_image_2_image_to_image(
        self,
        *,
        prompt: str,
        input_urls: Sequence[File],
        aspect_ratio: Literal["auto", "1:1", "5:4", "9:16", "21:9", "16:9", "4:3", "3:2", "4:5", "3:4", "2:3"] | None = None,
        resolution: Literal["1K", "2K", "4K"] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """GPT Image 2 image to image: up to five pictures, put together or changed as a prompt says. Credits: 1K 1, 2K 2, 4K 3.

        Args:
            prompt: What to make, in any language.
            input_urls: Pictures to work from.
            aspect_ratio: Width to height; `auto` only at 1K, 1:1 not at 4K. Unset: auto at 1K, 1:1 at 2K, 16:9 at 4K.
            resolution: Size of the picture.
        """
        fields: dict[str, Any] = {"prompt": prompt, "aspect_ratio": aspect_ratio, "resolution": resolution, "input_urls": input_urls}
        return self.generate("gpt-image-2-image-to-image", fields, **options)

    def sora2_text_to_video(
        self,
        *,
        prompt: str,
        aspect_ratio: Literal["landscape", "portrait"] | None = None,
        n_frames: Literal["10", "15"] | None = None,
        remove_watermark: bool | None = None,
        character_id_list: Sequence[str] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Sora 2 text to video: a film with sound from a prompt. Credits: film 8.

        Args:
            prompt: What to make, in any language.
            aspect_ratio: Width to height.
            n_frames: Seconds of film.
            remove_watermark: Ask the model for a film without its mark.
            character_id_list: Ids of Sora characters that the prompt names.
        """
        fields: dict[str, Any] = {"prompt": prompt, "aspect_ratio": aspect_ratio, "n_frames": n_frames, "remove_watermark": remove_watermark, "character_id_list": character_id_list}
        return self.generate("sora2-text-to-video", fields, **options)

    def sora2_video(
        self,
        *,
        prompt: str,
        image_urls: Sequence[File],
        aspect_ratio: Literal["landscape", "portrait", "square"] | None = None,
        n_frames: Literal["5", "10", "15", "20"] | None = None,
        remove_watermark: bool | None = None,
        character_id_list: Sequence[str] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Sora 2 image to video: a film that sets a picture in motion. Credits: film 8.

        Args:
            prompt: What to make, in any language.
            image_urls: The picture to animate.
            aspect_ratio: Width to height.
            n_frames: Seconds of film.
            remove_watermark: Ask the model for a film without its mark.
            character_id_list: Ids of Sora characters that the prompt names.
        """
        fields: dict[str, Any] = {"prompt": prompt, "image_urls": image_urls, "aspect_ratio": aspect_ratio, "n_frames": n_frames, "remove_watermark": remove_watermark, "character_id_list": character_id_list}
        return self.generate("sora2-video", fields, **options)

    def seedance_video(
        self,
        *,
        prompt: str,
        input_urls: Sequence[File] | None = None,
        aspect_ratio: Literal["1:1", "21:9", "4:3", "3:4", "16:9", "9:16"] | None = None,
        resolution: Literal["480p", "720p", "1080p"] | None = None,
        duration: Literal["4", "8", "12"] | None = None,
        fixed_lens: bool | None = None,
        generate_audio: bool | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Seedance 1.5 Pro: a clip from a prompt and up to two stills. Credits: 480p-4 2, 480p-4-sound 3, 480p-8 3, 480p-8-sound 6, 480p-12 4, 480p-12-sound 8, 720p-4 3, 720p-4-sound 6, 720p-8 6, 720p-8-sound 12, 720p-12 9, 720p-12-sound 18, 1080p-4 6, 1080p-4-sound 12, 1080p-8 12, 1080p-8-sound 23, 1080p-12 18, 1080p-12-sound 35.

        Args:
            prompt: What to make, in any language.
            input_urls: None: from words. One: is animated. Two: first and last frame.
            aspect_ratio: Width to height.
            resolution: Lines of the film.
            duration: Seconds of film.
            fixed_lens: Keep the camera still.
            generate_audio: With sound, also as a file of its own.
        """
        fields: dict[str, Any] = {"prompt": prompt, "input_urls": input_urls, "aspect_ratio": aspect_ratio, "resolution": resolution, "duration": duration, "fixed_lens": fixed_lens, "generate_audio": generate_audio}
        return self.generate("seedance-video", fields, **options)

    def veo31_video(
        self,
        *,
        prompt: str,
        model: Literal["veo3_fast", "veo3"] | None = None,
        image_urls: Sequence[File] | None = None,
        generation_type: Literal["TEXT_2_VIDEO", "FIRST_AND_LAST_FRAMES_2_VIDEO", "REFERENCE_2_VIDEO"] | None = None,
        aspect_ratio: Literal["16:9", "9:16", "Auto"] | None = None,
        seeds: int | None = None,
        enable_translation: bool | None = None,
        watermark: str | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Veo 3.1: a film of eight seconds with sound, from words, from one or two frames, or like some pictures. Credits: veo3_fast 15, veo3 50.

        Args:
            prompt: What to make, in any language.
            model: Fast, or of the highest quality.
            image_urls: One: is animated. Two: first and last frame. Three: references of the look.
            generation_type: What the pictures are. Unset: by their number.
            aspect_ratio: Width to height.
            seeds: The same seed gives similar films.
            enable_translation: Translate the prompt to English first.
            watermark: Text shown in the film.
        """
        fields: dict[str, Any] = {"prompt": prompt, "model": model, "image_urls": image_urls, "generation_type": generation_type, "aspect_ratio": aspect_ratio, "seeds": seeds, "enable_translation": enable_translation, "watermark": watermark}
        return self.generate("veo31-video", fields, **options)

    def kling_motion_control(
        self,
        *,
        input_urls: Sequence[File],
        video_urls: Sequence[File],
        prompt: str | None = None,
        character_orientation: Literal["image", "video"] | None = None,
        mode: Literal["720p", "1080p"] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Kling 2.6 motion control: whoever is in a picture moves like the person in a film. Credits: started second at 720p 1.21, started second at 1080p 1.82.

        Args:
            input_urls: Who moves: one picture.
            video_urls: Whose movements: one film of 3 to 30 seconds.
            prompt: The scene.
            character_orientation: Faces as in the picture (up to 10 seconds are made) or as in the film (up to 30).
            mode: Lines of the film.
        """
        fields: dict[str, Any] = {"prompt": prompt, "input_urls": input_urls, "video_urls": video_urls, "character_orientation": character_orientation, "mode": mode}
        return self.generate("kling-motion-control", fields, **options)

    def sora2_character(
        self,
        *,
        character_file_url: File,
        character_prompt: str | None = None,
        safety_instruction: str | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Sora 2 character: somebody from a short clip, under an id that later films name in `character_id_list`. Credits: character 0.5.

        Args:
            character_file_url: A clip of 1 to 4 seconds that shows the character.
            character_prompt: Who it is and how they act.
            safety_instruction: What the character must never do.
        """
        fields: dict[str, Any] = {"character_file_url": character_file_url, "character_prompt": character_prompt, "safety_instruction": safety_instruction}
        return self.generate("sora2-character", fields, **options)

    def flux_2(
        self,
        *,
        prompt: str,
        input_urls: Sequence[File] | None = None,
        aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3"] | None = None,
        resolution: Literal["1K", "2K"] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Flux 2 Pro: a picture from a prompt, or from up to eight pictures and a prompt. Credits: 1K 1, 2K 1.25.

        Args:
            prompt: What to make, in any language.
            input_urls: Pictures to work from.
            aspect_ratio: Width to height.
            resolution: Size of the picture.
        """
        fields: dict[str, Any] = {"prompt": prompt, "input_urls": input_urls, "aspect_ratio": aspect_ratio, "resolution": resolution}
        return self.generate("flux-2", fields, **options)

    def grok_imagine(
        self,
        *,
        prompt: str,
        aspect_ratio: Literal["2:3", "3:2", "1:1", "16:9", "9:16"] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Grok Imagine: several pictures from one prompt. Credits: pictures 0.75.

        Args:
            prompt: What to make, in any language.
            aspect_ratio: Width to height.
        """
        fields: dict[str, Any] = {"prompt": prompt, "aspect_ratio": aspect_ratio}
        return self.generate("grok-imagine", fields, **options)

    def seedream_4_5(
        self,
        *,
        prompt: str,
        image_urls: Sequence[File] | None = None,
        aspect_ratio: Literal["1:1", "4:3", "3:4", "16:9", "9:16", "2:3", "3:2", "21:9"] | None = None,
        quality: Literal["basic", "high"] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Seedream 4.5: a picture from a prompt, or pictures edited by one, up to 4K. Credits: picture 1.25.

        Args:
            prompt: What to make, in any language.
            image_urls: Pictures to edit.
            aspect_ratio: Width to height.
            quality: 2K or 4K.
        """
        fields: dict[str, Any] = {"prompt": prompt, "image_urls": image_urls, "aspect_ratio": aspect_ratio, "quality": quality}
        return self.generate("seedream-4-5", fields, **options)

    def remove_background(
        self,
        *,
        image_url: File,
        **options: Unpack[Options],
    ) -> Job:
        """Recraft remove background: what a picture shows, cut out, on transparent ground. Credits: picture 0.25.

        Args:
            image_url: The picture.
        """
        fields: dict[str, Any] = {"image_url": image_url}
        return self.generate("remove-background", fields, **options)

    def elevenlabs_speech(
        self,
        *,
        prompt: str,
        voice: str | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """ElevenLabs Turbo 2.5: a text read aloud. Credits: 100 started characters 0.125.

        Args:
            prompt: What is said.
            voice: A voice's name or id.
        """
        fields: dict[str, Any] = {"prompt": prompt, "voice": voice}
        return self.generate("elevenlabs-speech", fields, **options)

    def text_to_music(
        self,
        *,
        prompt: str,
        style: str | None = None,
        title: str | None = None,
        instrumental: bool | None = None,
        model: Literal["V3", "V3_5", "V4", "V5"] | None = None,
        negative_tags: str | None = None,
        vocal_gender: Literal["m", "f"] | None = None,
        style_weight: float | None = None,
        weirdness_constraint: float | None = None,
        audio_weight: float | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Suno: two songs from a description, or from lyrics in a given style. Credits: two songs 3.

        Args:
            prompt: What the song is about; with 'style' and vocals, its lyrics.
            style: Genre, mood, instruments.
            title: The song's name.
            instrumental: Without a voice.
            model: Suno's version.
            negative_tags: What to keep out of the music.
            vocal_gender: The voice, male or female.
            style_weight: How closely to follow the style.
            weirdness_constraint: How much surprise to allow.
            audio_weight: How much the sound counts.
        """
        fields: dict[str, Any] = {"prompt": prompt, "style": style, "title": title, "instrumental": instrumental, "model": model, "negative_tags": negative_tags, "vocal_gender": vocal_gender, "style_weight": style_weight, "weirdness_constraint": weirdness_constraint, "audio_weight": audio_weight}
        return self.generate("text-to-music", fields, **options)

    def text_to_speech(
        self,
        *,
        prompt: str,
        voice: Literal["Zephyr", "Puck", "Charon", "Kore", "Fenrir", "Leda", "Orus", "Aoede", "Callirrhoe", "Autonoe", "Enceladus", "Iapetus", "Umbriel", "Algieba", "Despina", "Erinome", "Algenib", "Rasalgethi", "Laomedeia", "Achernar", "Alnilam", "Schedar", "Gacrux", "Pulcherrima", "Achird", "Zubenelgenubi", "Vindemiatrix", "Sadachbia", "Sadaltager", "Sulafat"] | None = None,
        slow: bool | None = None,
        language: Literal["en", "th", "ja", "zh-CN", "ko"] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Gemini TTS: a text read aloud by one of thirty voices, in any language. Credits: a million text tokens 17.5, a million audio tokens 315.

        Args:
            prompt: What to say, word for word, in any language.
            voice: Who reads; all voices speak all languages.
            slow: Slowly and clearly.
            language: The text's language; null: found out from the text.
        """
        fields: dict[str, Any] = {"prompt": prompt, "voice": voice, "slow": slow, "language": language}
        return self.generate("text-to-speech", fields, **options)

    def image_to_video(
        self,
        *,
        image_url: File,
        music_url: File | None = None,
        duration: float | None = None,
        image_format: Literal["auto", "jpeg", "png", "gif", "webp"] | None = None,
        zoom: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Image to video: a clip from a still with a moving camera, rendered on this server with FFmpeg. Credits: clip 0.5.

        Args:
            image_url: The still.
            music_url: Music, cut or repeated to the clip's length.
            duration: Seconds of film.
            image_format: Taken from the file itself; kept for clients.
            zoom: Without it the picture stays still.
        """
        fields: dict[str, Any] = {"image_url": image_url, "music_url": music_url, "duration": duration, "image_format": image_format, "zoom": zoom}
        return self.generate("image-to-video", fields, **options)

    def media_merge_audio_video(
        self,
        *,
        video_url: File,
        audio_url: File,
        **options: Unpack[Options],
    ) -> Job:
        """Merge audio and video: a film with another sound, as long as the film. Credits: film 0.5.

        Args:
            video_url: The film; its own sound is left out.
            audio_url: The sound: cut to the film's length, or followed by silence.
        """
        fields: dict[str, Any] = {"video_url": video_url, "audio_url": audio_url}
        return self.generate("media/merge-audio-video", fields, **options)

    def media_merge_video(
        self,
        *,
        video_urls: Sequence[File],
        **options: Unpack[Options],
    ) -> Job:
        """Merge videos: films one after another, in the size of the first. Credits: film 0.5.

        Args:
            video_urls: The films, in order; other shapes get black bars.
        """
        fields: dict[str, Any] = {"video_urls": video_urls}
        return self.generate("media/merge-video", fields, **options)

    def media_merge_audio(
        self,
        *,
        audio_urls: Sequence[File],
        **options: Unpack[Options],
    ) -> Job:
        """Merge audios: sounds one after another. Credits: sound 0.5.

        Args:
            audio_urls: The sounds, in order.
        """
        fields: dict[str, Any] = {"audio_urls": audio_urls}
        return self.generate("media/merge-audio", fields, **options)

    def media_overlay_gif(
        self,
        *,
        video_url: File,
        gif_url: File,
        position: Literal["top_left", "top_right", "bottom_left", "bottom_right", "center"] | None = None,
        scale: float | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Overlay GIF: an animation on a film, repeated to its end. Credits: film 0.5.

        Args:
            video_url: The film.
            gif_url: The animation, or a still; what is clear in it stays clear.
            position: Where it is seen.
            scale: Its width as a part of the film's.
        """
        fields: dict[str, Any] = {"video_url": video_url, "gif_url": gif_url, "position": position, "scale": scale}
        return self.generate("media/overlay-gif", fields, **options)

    def media_extract_last_frame(
        self,
        *,
        video_url: File,
        **options: Unpack[Options],
    ) -> Job:
        """Extract last frame: the last picture of a film, to go on from there. Credits: picture 0.1.

        Args:
            video_url: The film.
        """
        fields: dict[str, Any] = {"video_url": video_url}
        return self.generate("media/extract-last-frame", fields, **options)

    def media_transcribe(
        self,
        *,
        media_url: File,
        language: str | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Transcribe: what is said in a film or sound, with times. Credits: minute 0.17, at least 0.07.

        Args:
            media_url: The film or sound.
            language: Its language, such as th; unset: as heard.
        """
        fields: dict[str, Any] = {"media_url": media_url, "language": language}
        return self.generate("media/transcribe", fields, **options)

    def thai_subtitle(
        self,
        *,
        media_url: File,
        script: str | None = None,
        animation: Literal["none", "word_pop_fade"] | None = None,
        timing_offset_ms: int | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Thai subtitles: captions burnt into a film, from its speech or from a script, broken between Thai words. Credits: minute 0.17, at least 0.07.

        Args:
            media_url: The film: MP4, MOV or WebM.
            script: What is said; a newline begins the next caption, a | a new line. Unset: transcribed.
            animation: Whether the words pop up one by one.
            timing_offset_ms: Milliseconds by which captions come later, or sooner.
        """
        fields: dict[str, Any] = {"media_url": media_url, "script": script, "animation": animation, "timing_offset_ms": timing_offset_ms}
        return self.generate("thai-subtitle", fields, **options)

    def video_download(
        self,
        *,
        url: str,
        format: Literal["mp4", "mp3", "best"] | None = None,
        quality: Literal["best", "720p", "480p", "360p", "audio"] | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Video download: a film, or its sound, from a page of another site. Credits: each started 10 MB of the file 0.5.

        Args:
            url: The film's page. `GET video-download/supported-platforms` lists sites.
            format: `mp3` is the sound alone; `best` leaves the site's own container.
            quality: The largest picture, or the sound alone (as MP3 unless `format` is `best`).
        """
        fields: dict[str, Any] = {"url": url, "format": format, "quality": quality}
        return self.generate("video-download", fields, **options)
