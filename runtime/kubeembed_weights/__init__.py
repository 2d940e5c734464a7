"""Source of weights -> verified files in the cache. No torch: it runs in the small image.

`fetch` fills the cache, `open_copy` finds what is in it. Importing this room loads no HTTP library, so that
a serving pod, which only opens, does not pay for one.
"""

from kubeembed_weights.adapters import fetch_adapter
from kubeembed_weights.copies import Copy, local_cache, open_copy
from kubeembed_weights.errors import FetchError
from kubeembed_weights.fetching import fetch
from kubeembed_weights.progress import Meter, shown

__all__ = [
    "Copy",
    "FetchError",
    "Meter",
    "fetch",
    "fetch_adapter",
    "local_cache",
    "open_copy",
    "shown",
]
