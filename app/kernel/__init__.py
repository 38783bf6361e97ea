"""The kernel: settings, database, money, ids, time, errors, audit, outbox, signing, HTTP. No Flask, no domain."""
