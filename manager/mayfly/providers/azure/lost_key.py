"""A public key whose private half nobody has: what it is given to can be opened by no one.

An entry will not be without a key, so this one takes the place of a key that a job has seen. The modulus is
RSA-2048 of RSA Laboratories' factoring challenge (1991 to 2007): its primes were destroyed when it was made,
and nobody has found them since. Another key would do as well, but not one whose primes anybody has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

LOST_KEY: Mapping[str, str] = MappingProxyType(
    {
        "modulus": (
            "x5cM7tzDsHVEkCAaeqYTzXOREIHHkPXxqHJvRjVQu1t/8NuOHqEYnscvk9FlABG9chrurMKs3jKgQQfwZIwoE6"
            "MfWwt3Zf+LRLS2/8kzhLZG6wnHz16FktQOozyAA581tPFKBLUfe/14G+TRZzFkuo65kcLE1zC7vjX1kr3vUkr3"
            "6Nrv0mxm/ALEea+J1k03P0QnCUOd5mzrlV8+o31RWfYTWAn4UzS1yxgTrdyAzQVgnxCsapWtZYcskJUlva0yvH"
            "KVkmQpIPJMYdxbPDt5I+VrFqTZ03PYch8ko/wPGzEx9VYVFyhmvMww+VBUyCTnM6XraBf3vBY5nUjGNhzH5Q=="
        ),
        "exponent": "AQAB",
    }
)
