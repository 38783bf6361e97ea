"""Finding a receipt on paper: in the QRs of a picture, or attached to a PDF.

The verifier's program asks for this only when it is given such a file: it needs zxing-cpp, Pillow and pyHanko.
"""

import io
import json
from typing import Final

import zxingcpp
from PIL import Image, UnidentifiedImageError
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import PdfFileReader

from card.ledger.receipts import Document, is_code
from card.ledger.tree import BadProof

NAME: Final = "receipt.json"


def scanned(content: bytes) -> list[str]:
    """The texts of a receipt's QRs in a picture. Raises :class:`BadProof`."""
    try:
        picture = Image.open(io.BytesIO(content)).convert("L")
    except (UnidentifiedImageError, OSError) as error:
        raise BadProof("this is no receipt, no picture and no PDF") from error
    found = [code.text for code in zxingcpp.read_barcodes(picture) if is_code(code.text)]
    if not found:
        raise BadProof("the picture shows no receipt")
    return found


def attached(content: bytes) -> Document:
    """The receipt attached to a PDF. Raises :class:`BadProof`."""
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
