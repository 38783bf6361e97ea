"""The WSGI entry: ``granian --interface wsgi wsgi:application``."""

from app.factory import create_app
from app.kernel import garbage
from app.kernel.settings import Settings

application = create_app(Settings.from_env())
garbage.settle()
