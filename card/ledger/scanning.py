"""Finding a receipt on paper: in the QR of a picture, or attached to a PDF. Only the verifier's program needs this."""

import io
import json
from typing import Final

import zxingcpp
from PIL import Image, UnidentifiedImageError
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader

from card.ledger import receipts
from card.ledger.receipts import Document
from card.ledger.tree import BadProof

PDF: Final = b"%PDF-"
NAME: Final = "receipt.json"


def read(content: bytes) -> Document:
    """The receipt in a picture or a PDF. Raises :class:`BadProof`."""
    return _attached(content) if content.startswith(PDF) else _scanned(content)


def _scanned(content: bytes) -> Document:
    try:
        picture = Image.open(io.BytesIO(content)).convert("L")
    except (UnidentifiedImageError, OSError) as error:
        raise BadProof("this is no receipt, no picture and no PDF") from error
    found = [code.text for code in zxingcpp.read_barcodes(picture) if code.text.startswith(receipts.PREFIX)]
    if not found:
        raise BadProof("the picture shows no receipt")
    return receipts.unpack(found[0])


def _attached(content: bytes) -> Document:
    try:
        names = PdfFileReader(io.BytesIO(content), strict=False).root["/Names"]["/EmbeddedFiles"]["/Names"]
        for place in range(0, len(names), 2):
            if str(names[place]) == NAME:
                document = json.loads(names[place + 1]["/EF"]["/F"].data)
                if isinstance(document, dict):
                    return document
    except (KeyError, PdfError, ValueError) as error:
        raise BadProof("the PDF carries no receipt") from error
    raise BadProof("the PDF carries no receipt")
