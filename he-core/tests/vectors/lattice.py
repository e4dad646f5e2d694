"""Definitions that the known answers are computed from: Python integers and hashlib, nothing shared with the crate."""

import hashlib
import struct


def is_prime(n):
    """Miller–Rabin with twelve bases, exact below 3.3e24."""
    if n < 2 or any(n % p == 0 and n != p for p in (2, 3, 5, 7, 11, 13)):
        return False
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        if base % n == 0:
            continue
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def largest_primes(bits, order, count):
    candidates = (q for q in range(2**bits - order + 1, 2, -order) if is_prime(q))
    return [next(candidates) for _ in range(count)]


def root(q, order):
    return next(r for r in (pow(x, (q - 1) // order, q) for x in range(2, q)) if pow(r, order // 2, q) == q - 1)


def reverse(i, n):
    bits = n.bit_length() - 1
    return int(format(i, f"0{bits}b")[::-1], 2)


def evaluate(a, q, psi, i):
    n = len(a)
    x = pow(psi, 2 * reverse(i, n) + 1, q)
    value = 0
    for c in reversed(a):
        value = (value * x + c) % q
    return value


def digest(words):
    """SHA3-256 of the words as 64-bit little-endian integers."""
    return hashlib.sha3_256(b"".join(struct.pack("<Q", w) for w in words)).digest()


def cubes(n, q):
    """The input polynomial: coefficient i is (i + 1)^7 * 1234567891 mod q."""
    return [pow(i + 1, 7, q) * 1234567891 % q for i in range(n)]


# The seed tree and ChaCha20 (D. J. Bernstein's variant with 64-bit counter and zero nonce).
def fork(seed, label, index):
    h = b"hushnet/he-core/seed/v1" + b"\x01" + seed
    h += struct.pack("<Q", len(label)) + label.encode() + struct.pack("<Q", len(index))
    return hashlib.sha3_256(h + b"".join(struct.pack("<Q", i) for i in index)).digest()


def chacha20(key):
    def rotate(x, r):
        return (x << r | x >> (32 - r)) & 0xFFFFFFFF

    def quarter(s, a, b, c, d):
        for first, second, third, r in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[first] = (s[first] + s[second]) & 0xFFFFFFFF
            s[third] = rotate(s[third] ^ s[first], r)

    counter = 0
    while True:
        state = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key)]
        state += [counter & 0xFFFFFFFF, counter >> 32, 0, 0]
        s = list(state)
        for _ in range(10):
            for columns in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
                quarter(s, *columns)
            for diagonal in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
                quarter(s, *diagonal)
        yield from struct.pack("<16I", *((x + y) & 0xFFFFFFFF for x, y in zip(s, state)))
        counter += 1


def stream(seed):
    return chacha20(hashlib.sha3_256(b"hushnet/he-core/seed/v1" + b"\x00" + seed).digest())


def uniform(source, q, count):
    size = 4 if q <= 2**32 else 8
    mask = (1 << (q - 1).bit_length()) - 1
    words = []
    while len(words) < count:
        word = int.from_bytes(bytes(next(source) for _ in range(size)), "little") & mask
        if word < q:
            words.append(word)
    return words


def read(source, count):
    """A read of `count` bytes uses up whole words of four bytes."""
    data = bytes(next(source) for _ in range(-(-count // 4) * 4))
    return data[:count]


def ternary(source, count):
    values = []
    while len(values) < count:
        fives = -(-(count - len(values)) // 5)
        for byte in read(source, fives + fives // 16 + 1):
            if byte < 243:
                digits = [byte // 3**k % 3 for k in range(5)]
                values += [-1 if digit == 2 else digit for digit in digits]
        values = values[:count]
    return values


def binomial(source, eta, count):
    size = 6 if eta == 21 else 8
    data = read(source, size * count)
    coins = [int.from_bytes(data[size * i : size * (i + 1)], "little") % 4**eta for i in range(count)]
    return [bin(word).count("1") - eta for word in coins]


def signed_digest(values):
    """SHA3-256 of the values as signed bytes."""
    return hashlib.sha3_256(struct.pack(f"{len(values)}b", *values)).digest()


def rust(values):
    return "[" + ", ".join(f"{v}" for v in values) + "]"
