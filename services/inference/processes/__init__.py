"""Several processes that serve one port as one server.

    client ─▶ child 0 ┐                     the port, shared by SO_REUSEPORT
    client ─▶ child 1 ┤ ◀─ parent ─▶ store  the parent alone watches the store and decides

What changes the server, and what speaks of all of it, a child hands to the parent; the parent
asks every child, and answers when all have. Between them Triton's own messages travel over Unix
sockets, so a child serves its siblings' callers with the code that serves its own.
"""
