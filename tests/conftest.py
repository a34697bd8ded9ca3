"""Every shape in a signature is checked while the tests run; one thread per process, so that parallel tests do not crawl."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

install_import_hook("sdi_bench", "checker.check")
