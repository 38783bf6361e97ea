"""``python -m card.ledger.verify RECEIPT --key KEY`` says whether a transfer is in a city's books.

It needs the receipt and the city's public key, and asks nobody. The receipt is the JSON file, the PDF that carries it, a
picture of its QR (or several, where it has several), or the text of that QR. It says what the transfer is and ends with 0; or
which part of the proof does not hold, and ends with 1; or why it could not look, and ends with 2.

It opens no database, no network and no file but the receipt, and runs on Python and the ``cryptography`` package alone: it is
this file, ``verification``, ``receipts``, ``leaves``, ``notes``, ``tree`` and ``app.kernel.sm2``. Pictures and PDFs need the
readers of ``scanning``.
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from card.ledger.receipts import Document, is_code, unpack
from card.ledger.tree import BadProof
from card.ledger.verification import verify

PROVEN, NOT_PROVEN, NOT_READ = 0, 1, 2
PDF: Final = b"%PDF-"

WORDS: Final[Mapping[str, str]] = {
    "proven": "证明成立",
    "NOT proven": "证明不成立",
    "cannot look": "无法核验",
    "ledger": "账本",
    "suite": "密码套件",
    "transfer": "转账编号",
    "out of": "转出",
    "into": "转入",
    "amount": "金额",
    "code": "事由代码",
    "happened": "发生时间",
    "booked": "入账时间",
    "reference": "业务编号",
    "checkpoint": "检查点",
    "signed": "签署时间",
    "cosigned": "联署",
    "cosigned, its key as the receipt has it": "联署（公钥取自回执）",
    "this is not a receipt": "这不是回执",
    "the receipt cannot be read": "回执无法读取",
    "the key is not base64": "公钥不是 base64",
    "the key does not fit its name": "公钥与其名称不符",
    "this suite is not known here": "未知的密码套件",
    "the key is for another suite": "公钥属于另一套密码套件",
    "the transfer is not in its batch": "该转账不在其批次中",
    "an account is not in its batch": "账户不在其批次中",
    "the receipt does not name both accounts": "回执未列明两方账户",
    "named only afterwards": "账户名称在转账之后才封存",
    "one receipt at a time": "请一次核验一张回执",
    "a code of the receipt is missing": "缺少回执的一个二维码",
    "pictures and PDFs need zxing-cpp, Pillow and pyHanko": "读取图片和 PDF 需要 zxing-cpp、Pillow 和 pyHanko",
    "the batch is not in the signed tree": "该批次不在已签署的树中",
    "the checkpoint cannot be read": "检查点无法读取",
    "the checkpoint is another ledger's": "检查点属于另一账本",
    "this key did not sign the checkpoint": "该公钥未签署此检查点",
    "the signature does not verify": "签名验证不通过",
    "this is not a cosignature": "这不是联署",
    "the cosignature's time cannot be read": "联署时间无法读取",
    "the index is not in the tree": "序号不在树中",
    "the path is too long": "证明路径过长",
    "the path is too short": "证明路径过短",
    "this is no receipt, no picture and no PDF": "既不是回执，也不是图片或 PDF",
    "the picture shows no receipt": "图片中没有回执二维码",
    "the PDF carries no receipt": "PDF 中没有附带回执",
    "the file cannot be read": "文件无法读取",
}


def read(places: Sequence[str]) -> object:
    """The receipt at ``places``: a file of JSON or a PDF; or its QRs, as pictures or as texts.

    Raises :class:`BadProof`, ``OSError``.
    """
    codes: list[str] = []
    for place in places:
        found = [place.strip("\r\n")] if is_code(place) else _file(Path(place).read_bytes())
        if isinstance(found, list):
            codes += found
        elif len(places) == 1:
            return found
        else:
            raise BadProof("one receipt at a time")
    return unpack(codes)


def _file(content: bytes) -> Document | list[str]:
    """A receipt, or the texts of the QRs that a file holds."""
    try:
        text = content.decode()
        if is_code(text):
            return [line for line in text.splitlines() if line]
        document = json.loads(text)
    except (UnicodeDecodeError, json.JSONDecodeError):
        return _read_by_others(content)
    return document if isinstance(document, dict) else {}


def _read_by_others(content: bytes) -> Document | list[str]:
    """The same of a picture or a PDF: only who has one needs their readers."""
    try:
        scanning = importlib.import_module("card.ledger.scanning")
    except ImportError as error:
        raise BadProof("pictures and PDFs need zxing-cpp, Pillow and pyHanko") from error
    reader = scanning.attached if content.startswith(PDF) else scanning.scanned
    found: Document | list[str] = reader(content)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Verify one receipt; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m card.ledger.verify", description="Verify a receipt of the ledger.")
    parser.add_argument("receipt", nargs="+", help="a JSON file, a PDF, a picture of its QR, or the QR's text; all its QRs")
    parser.add_argument("--key", required=True, help="the city's verifier key: origin+hash+key")
    parser.add_argument("--cosigner", action="append", default=[], help="the key of another city that must have cosigned")
    own = "zh" if os.environ.get("LANG", "").startswith("zh") else "en"
    parser.add_argument("--language", choices=("en", "zh"), default=own, help="of what it says")
    asked = parser.parse_args(arguments)

    def say(text: str) -> str:
        base, mark, number = text.partition(" #")
        return WORDS.get(base, base) + mark + number if asked.language == "zh" else text

    try:
        document = read(asked.receipt)
    except OSError as error:
        sys.stderr.write(f"{say('cannot look')}: {say('the file cannot be read')}: {error.filename}\n")
        return NOT_READ
    except BadProof as error:
        sys.stderr.write(f"{say('cannot look')}: {say(str(error))}\n")
        return NOT_READ
    try:
        said = verify(document, key=asked.key, cosigners=tuple(asked.cosigner))
    except BadProof as error:
        sys.stderr.write(f"{say('NOT proven')}: {say(str(error))}\n")
        return NOT_PROVEN
    sys.stdout.write(f"{say('proven')}\n" + "".join(f"  {say(name)}: {value}\n" for name, value in said.items()))
    return PROVEN


if __name__ == "__main__":
    sys.exit(main())
