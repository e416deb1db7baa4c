"""`python -m gateway`: see `settings` for what it takes."""

from gateway.app import create_app
from gateway.settings import GatewaySettings
from wintergarden.service.lifecycle import serve

if __name__ == "__main__":
    serve("gateway", GatewaySettings, create_app)
