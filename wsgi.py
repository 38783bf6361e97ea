"""The WSGI entry: ``granian --interface wsgi wsgi:application``."""

from app.factory import create_app
from app.kernel.settings import Settings

application = create_app(Settings.from_env())
