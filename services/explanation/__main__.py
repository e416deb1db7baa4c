"""`python -m services.explanation`: see `settings` for what it takes."""

from services.explanation.app import create_app
from services.explanation.settings import ExplanationSettings
from wintergarden.service.lifecycle import serve

if __name__ == "__main__":
    serve("services.explanation", ExplanationSettings, create_app)
