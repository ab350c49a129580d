"""Verifies webhooks, as https://www.standardwebhooks.com has them."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Mapping
from typing import Any

from phaya.client.amounts import read
from phaya.client.refusals import BadSignature

TOLERANCE = 300
"""Seconds by which a webhook's time may differ from ours."""


def verify_webhook(
    secret: str, headers: Mapping[str, str], body: bytes | str, *, tolerance: int = TOLERANCE
) -> dict[str, Any]:
    """The event that a webhook tells, once its signature and time are found right. `secret` begins with `whsec_`.

    `body` is the request's body, byte for byte. Raises BadSignature, or ValueError where the secret is none.
    """
    named = {name.lower(): value for name, value in headers.items()}
    content = body.encode() if isinstance(body, str) else body
    message, sent = named.get("webhook-id", ""), named.get("webhook-timestamp", "")
    if not (message and sent.isascii() and sent.isdigit()):
        raise BadSignature("The request has no webhook-id and webhook-timestamp.")
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("The secret must be whsec_ and base64.") from error
    mark = base64.b64encode(hmac.digest(key, f"{message}.{sent}.".encode() + content, "sha256"))
    given = [one.partition(",") for one in named.get("webhook-signature", "").split()]
    if not any(version == "v1" and hmac.compare_digest(mark, one.encode()) for version, _, one in given):
        raise BadSignature("No signature of the request is right.")
    if abs(time.time() - int(sent)) > tolerance:
        raise BadSignature(f"The request was signed at {sent}, which is more than {tolerance} seconds from now.")
    return read(content)
