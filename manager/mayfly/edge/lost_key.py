"""A public key whose private half nobody has: what it is given to can be opened by no one.

Where a service keeps an agent's entry and will not be without a key, this one takes the place of a key that
a job has seen. It is made anew in each process, since one that stood in a file could be studied.
"""

from __future__ import annotations

import base64
import math
import secrets
from functools import cache

BITS = 2048
EXPONENT = 65537
ROUNDS = 20  # of Miller-Rabin; a wrong answer is less likely than a broken machine
_SMALL = math.prod(
    number
    for number in range(3, 2000, 2)
    if all(number % odd for odd in range(3, int(number**0.5) + 1, 2))
)


@cache
def lost_key() -> tuple[str, str]:
    """Modulus (256 bytes) and exponent of an RSA key, big-endian in base64; takes about half a second."""
    modulus = _prime(BITS // 2) * _prime(BITS // 2)
    return _base64(modulus, BITS // 8), _base64(EXPONENT, 3)


def _prime(bits: int) -> int:
    """A random prime with both highest bits set, so that the product of two has twice as many bits."""
    while True:
        number = secrets.randbits(bits) | (0b11 << (bits - 2)) | 1
        if math.gcd(number, _SMALL) == 1 and number % EXPONENT != 1 and _is_prime(number):
            return number


def _is_prime(number: int) -> bool:
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(number, odd, twos) for _ in range(ROUNDS))


def _passes(number: int, odd: int, twos: int) -> bool:
    """One round of Miller-Rabin."""
    power = pow(secrets.randbelow(number - 3) + 2, odd, number)
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False


def _base64(number: int, length: int) -> str:
    return base64.b64encode(number.to_bytes(length, "big")).decode()
