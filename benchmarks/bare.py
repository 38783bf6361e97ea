"""The least that a request which changes something can be: a Flask route, one ``UPDATE``, one commit. For comparison only."""

import os
import random

from flask import Flask
from sqlalchemy import text

from app.kernel.db import Database

application = Flask(__name__)
database = Database(os.environ["DATABASE_URL"], pool_size=10)
ROWS = 1000


@application.post("/bare")
def bare() -> str:
    """One row of a thousand, changed and committed."""
    with database.transaction() as session:
        session.execute(text("UPDATE public.bare SET n = n + 1 WHERE id = :id"), {"id": random.randrange(ROWS)})
    return "done"
