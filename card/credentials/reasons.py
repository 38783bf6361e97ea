"""Why a credential, a proof or a tap is refused: permanent codes, each with its sentence for the person at the gate."""

from enum import StrEnum
from typing import Final

from app.kernel.errors import Invalid, msg


class Reason(StrEnum):
    """One reason a card is not accepted. The values are public and permanent: taps, files and disputes carry them."""

    NOT_A_CREDENTIAL = "not-a-credential"
    UNKNOWN_VERSION = "unknown-version"
    MALFORMED = "malformed"
    ALGORITHM_NOT_ALLOWED = "algorithm-not-allowed"
    UNKNOWN_ISSUER = "unknown-issuer"
    UNKNOWN_KEY = "unknown-key"
    ISSUER_KEY_EXPIRED = "issuer-key-expired"
    BAD_ISSUER_SIGNATURE = "bad-issuer-signature"
    ISSUER_SIGNATURE_MISSING = "issuer-signature-missing"
    WRONG_ISSUER = "wrong-issuer"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    USE_NOT_ACCEPTED = "use-not-accepted"
    DEVICE_SIGNATURE_MISSING = "device-signature-missing"
    DEVICE_SIGNATURE_UNEXPECTED = "device-signature-unexpected"
    BAD_DEVICE_SIGNATURE = "bad-device-signature"
    CODE_FROM_THE_FUTURE = "code-from-the-future"
    CODE_TOO_OLD = "code-too-old"
    CARD_BLOCKED = "card-blocked"
    REPLAYED = "replayed"
    PASSBACK = "passback"
    ENTITLEMENT_MISSING = "entitlement-missing"
    FIRST_SEEN_LIMIT = "first-seen-limit"
    LIST_TOO_OLD = "list-too-old"
    CLOCK_QUARANTINED = "clock-quarantined"
    NO_BUNDLE = "no-bundle"
    BAD_SIGNATURE = "bad-signature"
    WRONG_REQUEST = "wrong-request"
    GAP = "gap"


SENTENCES: Final[dict[Reason, dict[str, str]]] = {
    Reason.NOT_A_CREDENTIAL: {"en": "This is not a citizen card code", "zh_Hans_CN": "这不是市民卡二维码"},
    Reason.UNKNOWN_VERSION: {"en": "This version of the code is not known here", "zh_Hans_CN": "二维码版本不受支持"},
    Reason.MALFORMED: {"en": "The code is damaged", "zh_Hans_CN": "二维码已损坏"},
    Reason.ALGORITHM_NOT_ALLOWED: {
        "en": "This kind of signature is not accepted",
        "zh_Hans_CN": "二维码的签名方式不受支持",
    },
    Reason.UNKNOWN_ISSUER: {"en": "The card's city is not a partner", "zh_Hans_CN": "发卡城市尚未互通"},
    Reason.UNKNOWN_KEY: {"en": "The card is signed with an unknown key", "zh_Hans_CN": "签发密钥未知"},
    Reason.ISSUER_KEY_EXPIRED: {"en": "The card is signed with a retired key", "zh_Hans_CN": "签发密钥已停用"},
    Reason.BAD_ISSUER_SIGNATURE: {"en": "The card was not signed by its city", "zh_Hans_CN": "发卡城市签名不符"},
    Reason.ISSUER_SIGNATURE_MISSING: {
        "en": "One of the city's signatures is missing",
        "zh_Hans_CN": "缺少发卡城市的一重签名",
    },
    Reason.WRONG_ISSUER: {"en": "The number belongs to another city", "zh_Hans_CN": "卡号与发卡城市不符"},
    Reason.NOT_YET_VALID: {"en": "The card is not valid yet", "zh_Hans_CN": "卡片尚未生效"},
    Reason.EXPIRED: {"en": "The card has expired", "zh_Hans_CN": "卡片已过期"},
    Reason.USE_NOT_ACCEPTED: {
        "en": "This code is for desks, not gates",
        "zh_Hans_CN": "此码仅供窗口查验",
    },
    Reason.DEVICE_SIGNATURE_MISSING: {"en": "The phone did not sign the code", "zh_Hans_CN": "缺少手机签名"},
    Reason.DEVICE_SIGNATURE_UNEXPECTED: {
        "en": "The code carries one signature too many",
        "zh_Hans_CN": "多出一重签名",
    },
    Reason.BAD_DEVICE_SIGNATURE: {"en": "Another phone signed the code", "zh_Hans_CN": "手机签名不符"},
    Reason.CODE_FROM_THE_FUTURE: {"en": "The phone's clock is ahead", "zh_Hans_CN": "手机时间超前"},
    Reason.CODE_TOO_OLD: {"en": "The code is too old: refresh it", "zh_Hans_CN": "二维码已超时，请刷新"},
    Reason.CARD_BLOCKED: {"en": "The card is blocked", "zh_Hans_CN": "卡片已挂失或停用"},
    Reason.REPLAYED: {"en": "This code was used before", "zh_Hans_CN": "此码已使用过"},
    Reason.PASSBACK: {"en": "The card was used here a moment ago", "zh_Hans_CN": "刚刚已刷过此卡"},
    Reason.ENTITLEMENT_MISSING: {"en": "This gate needs an entitlement", "zh_Hans_CN": "此通道需要相应资格"},
    Reason.FIRST_SEEN_LIMIT: {"en": "New cards cannot be accepted while offline", "zh_Hans_CN": "离线期间暂不受理首次使用的卡"},
    Reason.LIST_TOO_OLD: {"en": "The gate has been offline for too long", "zh_Hans_CN": "闸机离线过久"},
    Reason.CLOCK_QUARANTINED: {"en": "The gate's clock is wrong", "zh_Hans_CN": "闸机时间异常"},
    Reason.NO_BUNDLE: {"en": "The gate is not set up yet", "zh_Hans_CN": "闸机尚未初始化"},
    Reason.BAD_SIGNATURE: {"en": "The signature does not verify", "zh_Hans_CN": "签名不符"},
    Reason.WRONG_REQUEST: {"en": "The proof was made for another request", "zh_Hans_CN": "凭证与请求不符"},
    Reason.GAP: {"en": "A part of the list is missing", "zh_Hans_CN": "名单不连续"},
}


class CredentialRefused(Invalid):
    """A credential, proof, bundle or list that is not accepted; ``reason`` says why."""

    code = "credential-refused"
    sentence = msg("The card's code was refused (%(reason)s).")

    def __init__(self, reason: Reason, detail: str = "") -> None:
        """``detail`` is for logs: it may quote the offending part, never a key."""
        super().__init__(detail or reason.value, reason=reason.value)
        self.reason = reason
