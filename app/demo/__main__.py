"""``python -m app.demo [--reset]``."""

import sys

from app.demo import supervisor
from app.demo.cities import Place

if __name__ == "__main__":
    try:
        if "--reset" in sys.argv:
            supervisor.reset(Place.from_env())
        else:
            supervisor.run(Place.from_env())
    except supervisor.CannotStart as reason:
        sys.exit(f"\n{reason}")
