"""How many connections a server may have: each of them is an open file.

Container engines start a process with the soft bound of a login, often 1,024, and leave it to those that need
more to ask for it, as every program in Go does when it starts.
"""

import resource

#: Open files that are no connections: what libraries keep, weights, watches of the API server.
OTHER_FILES = 512


def pairs(most: int) -> int:
    """Of connections, at most so many. Asks for the files that they need, as far as they are to be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * most + OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(most, (soft - OTHER_FILES) // 2))
