"""Government services: people, catalogue, applications, documents, payments. May call the card's doors; never the reverse."""
