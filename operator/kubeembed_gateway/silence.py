"""Peers that say nothing because they are no more: a node that was lost tells nobody."""

import socket

#: A peer is gone that answers no probe for so long, or takes nothing of what was sent; one that takes some
#: stays.
SILENT_SECONDS = 60


def end_silent(connected: socket.socket) -> None:
    """The kernel ends a connection whose peer is gone. Whoever is to be probed sets when."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_SECONDS * 1000)
