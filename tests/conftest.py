"""One thread for every test and every process a test starts: small models, and 30 times faster on shared cores.

The examples of property tests are the same in every run; `HYPOTHESIS_PROFILE=default` looks for new ones.
"""

import os

from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"
settings.register_profile("same", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
