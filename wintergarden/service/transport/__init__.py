"""The seam between gRPC servers and what they serve.

A room says which routes it serves and gets calls to answer; pygrpc-native and grpcio stand
behind the same few names, and the same contract tests hold both.
"""

from wintergarden.service.transport.call import BidirectionalCall, Call
from wintergarden.service.transport.options import ServerOptions
from wintergarden.service.transport.route import Route, bidirectional, parse, server_stream, unary
from wintergarden.service.transport.server import Server, create_server

__all__ = [
    "BidirectionalCall",
    "Call",
    "Route",
    "Server",
    "ServerOptions",
    "bidirectional",
    "create_server",
    "parse",
    "server_stream",
    "unary",
]
