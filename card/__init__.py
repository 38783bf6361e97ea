"""The citizen card: ledger, credentials, partners, transit, health, benefits, clearing. Knows no screen and no person."""
