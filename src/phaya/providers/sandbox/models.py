"""The models of KIE's jobs API that the sandbox knows: one row each, as documented or seen in 2026.

A model without a row is answered as KIE answers an unknown one.
"""

from __future__ import annotations

from collections.abc import Mapping

from phaya.providers.sandbox.fields import Refusal
from phaya.providers.sandbox.film_models import FILMS
from phaya.providers.sandbox.picture_models import PICTURES
from phaya.providers.sandbox.sound_models import SOUNDS
from phaya.providers.sandbox.tariffs import Model

MODELS: Mapping[str, Model] = {row.name: row for row in (*PICTURES, *FILMS, *SOUNDS)}


def model_named(name: object) -> Model:
    """The model's row. Raises Refusal with KIE's text for an unknown one."""
    model = MODELS.get(name) if isinstance(name, str) else None
    if model is None:
        raise Refusal(
            422,
            "The model name you specified is not supported. Please verify your input and use one of the "
            "supported models provided by KIE.",
        )
    return model
