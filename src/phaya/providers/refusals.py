"""What the texts of providers' refusals mean, and the sentences that users read instead of them.

Providers mix English and Chinese, user's faults and their own, in the same field and under the same codes, so
the text decides. Users never read of our account with a provider: it is not theirs to settle.
"""

from __future__ import annotations

import re

CONTENT = "content_rejected"
PROVIDER = "provider_error"

AGAINST_POLICY = "The provider refused this content: it seems to break its content policy."
TRY_LATER = "The provider failed to make this; trying again later may work."
NOT_MADE = "The provider could not make this."
PAUSED = "The provider has paused this model."
NO_SUCH_MODEL = "The provider does not offer this model at the moment."

LONGEST_SENTENCE = 240

_POLICY = re.compile(
    r"(?<!case[ -])(?<![a-z])sensitive(?![a-z])|\bpolic(y|ies)\b|\bnsfw\b"
    r"|\bprohibited\b|\breal[ -](person|people)\b|\blikeness\b"
    r"|\bcopyright(ed)?\b|\binappropriate\b|\bmoderat(ed|ion)\b|\bflagged\b|\bsafety\b|\bharmful\b|\boffensive\b"
    r"|\bviolat(es?|ed|ing|ions?)\b|\bguardrails?\b"
    r"|敏感|违规|违禁|违反|违法|色情|涉黄|涉政|暴力|血腥|审核|版权|侵权|真人|肖像|不当内容|政策",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(
    r"\b(credits?|balance|points|quota|funds)\b[^.]{0,30}\b(insufficient|not enough|exhausted|too low)\b"
    r"|\b(insufficient|not enough|out of|more)\s+(\w+\s+)?(credits?|balance|points|quota|funds)\b"
    r"|\bpoints used by api_?key\b|\bkey limit exceeded\b"
    r"|\bbudgets?\b[^.]{0,30}\b(exceeded|exhausted|limit)\b"
    r"|(积分|余额|额度|点数|配额)\s*(不足|不够|已用完)|欠费",
    re.IGNORECASE,
)
_PASSING = re.compile(
    r"\btry(ing)? again\b|\bretry\b|\binternal (server )?error\b|\bserver (exception|error)\b"
    r"|\btime(d )?[ -]?out\b"
    r"|\boverload(ed)?\b|\bbusy\b|\bservice (is )?(temporarily )?unavailable\b"
    r"|稍后|重试|繁忙|超时|服务器|系统错误|内部错误",
    re.IGNORECASE,
)
_PAUSED = re.compile(r"\b(temporarily |been )?paused\b|\bmaintenance\b|暂停|维护", re.IGNORECASE)
_NO_SUCH_MODEL = re.compile(r"\bmodel\b[^.]{0,60}\bnot (supported|found|available)\b|模型不存在", re.IGNORECASE)
_NOT_FOR_USERS = re.compile(
    r"api[ _-]?key|\bcredits?\b|\bbalance\b|\bquota\b|\baccount\b|\bbilling\b|\bpoints\b"
    r"|\bcustomer service\b|\bbearer\b"
    r"|\bexception\b|\bnull\b|\bstack\b|\bkie\b|https?:|[<>{}\[\]\\`]|\bopenrouter\b"
    r"|\bcallbackurl\b|\bprovider returned\b",
    re.IGNORECASE,
)


def breaks_policy(text: str) -> bool:
    """Whether the provider refuses what was asked for, not how."""
    return _POLICY.search(text) is not None


def lacks_credit(text: str) -> bool:
    """Whether our own account with the provider is empty or capped, which is the operator's matter."""
    return _NO_CREDIT.search(text) is not None


def readable(text: str) -> str | None:
    """The provider's own sentence where a user can read it: English, and about the request; else None."""
    text = " ".join(text.split())
    plain = sum(1 for letter in text if " " <= letter <= "~")
    if not re.search(r"[A-Za-z]{2}", text) or plain < 0.95 * len(text) or _NOT_FOR_USERS.search(text):
        return None
    text = "".join(letter for letter in text if letter.isprintable())
    if len(text) > LONGEST_SENTENCE:
        text = text[:LONGEST_SENTENCE].rsplit(" ", 1)[0] + "…"
    return text if text[-1] in ".!?…" else text + "."


def explain(text: str) -> tuple[str, str]:
    """A sentence for the user, and `content_rejected` or `provider_error`, for a provider's refusal."""
    if lacks_credit(text):
        return TRY_LATER, PROVIDER
    if _PAUSED.search(text):
        return PAUSED, PROVIDER
    # A fault of the provider's: KIE gives it failCode 400 and a text that asks to try again (October 2026).
    if _PASSING.search(text) and not breaks_policy(text):
        return TRY_LATER, PROVIDER
    if breaks_policy(text):
        return AGAINST_POLICY, CONTENT
    if _NO_SUCH_MODEL.search(text):
        return NO_SUCH_MODEL, PROVIDER
    sentence = readable(text)
    return (f"The provider says: {sentence}" if sentence else NOT_MADE), PROVIDER
