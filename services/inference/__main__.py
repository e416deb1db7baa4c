"""`python -m services.inference`: see `settings` for what it takes."""

from services.inference.app import create
from services.inference.settings import InferenceSettings
from wintergarden.service.lifecycle import serve

if __name__ == "__main__":
    serve("services.inference", InferenceSettings, create)
