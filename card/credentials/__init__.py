"""What a card shows and how it is verified offline: COSE tokens and QR."""
