"""Writes schemes.rs: known answers for keys, key switching, and products of both schemes.

Independent of the crate, as `generate.py` beside it: a small ring without security, numbers modulo the whole of Q and Q P
as Python integers, polynomials multiplied by the definition, roundings of exact fractions. Regenerate with

    python3 he-core/tests/vectors/schemes.py > he-core/tests/vectors/schemes.rs
    rustfmt --edition 2024 he-core/tests/vectors/schemes.rs
"""

import hashlib
import struct
from math import prod

from lattice import binomial, fork, largest_primes, read, reverse, root, rust, stream, ternary, uniform

N = 32
T = 257
# Three ciphertext primes in digits of two, two special primes.
Q = largest_primes(30, 2 * N, 3)
P = largest_primes(31, 2 * N, 2)
ALL = Q + P
DIGIT = len(P)


def multiply(a, b):
    c = [0] * N
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            if i + j < N:
                c[i + j] += x * y
            else:
                c[i + j - N] -= x * y
    return c


def add(a, b):
    return [x + y for x, y in zip(a, b)]


def modulo(a, m):
    return [x % m for x in a]


def centred(a, m):
    return [(x % m) - m if 2 * (x % m) > m else x % m for x in a]


def nearest(x, y):
    """round(x / y) for odd y: there are no ties."""
    return (2 * x + y) // (2 * y)


def crt(residues, primes):
    """Polynomials modulo primes to one modulo their product."""
    m = prod(primes)
    weights = [m // q * pow(m // q, -1, q) for q in primes]
    return [sum(w * x for w, x in zip(weights, xs)) % m for xs in zip(*residues)]


def values(a, q):
    psi = root(q, 2 * N)
    return [sum(c * pow(psi, (2 * reverse(i, N) + 1) * j, q) for j, c in enumerate(a)) % q for i in range(N)]


def coefficients(v, q):
    psi = pow(root(q, 2 * N), -1, q)
    inverse = pow(N, -1, q)
    return [
        inverse * sum(x * pow(psi, (2 * reverse(i, N) + 1) * j, q) for i, x in enumerate(v)) % q for j in range(N)
    ]


def packed(words, bits):
    whole = sum(w << bits * i for i, w in enumerate(words))
    return whole.to_bytes(-(-len(words) * bits // 8), "little")


def write_poly(a, primes):
    return b"".join(packed(values(modulo(a, q), q), q.bit_length()) for q in primes)


def header(kind, limbs, count):
    h = b"hushnet/he-core/rlwe/params/v1" + struct.pack("<QQ", N, len(P))
    h += b"".join(struct.pack("<Q", q) for q in ALL)
    return bytes([1, kind, limbs, count]) + hashlib.sha3_256(h).digest()[:8]


def public_bytes(seed):
    return read(stream(fork(seed, "rlwe: public bytes", [])), 32)


def public_uniform(primes, public, index):
    limbs = []
    for q in primes:
        source = stream(fork(public, "rlwe: public uniform", [N, q, index]))
        limbs.append(coefficients(uniform(source, q, N), q))
    return crt(limbs, primes)


def error(seed, label, index):
    return binomial(stream(fork(seed, label, [index])), 21, N)


def secret_key(seed):
    return ternary(stream(fork(seed, "rlwe: secret", [])), N)


def hide(s, a, seed, index):
    return add([-x for x in multiply(a, s)], error(seed, "rlwe: error", index))


def encrypt_zero(s, seed, limbs):
    public = public_bytes(seed)
    a = public_uniform(Q[:limbs], public, 0)
    return hide(s, a, seed, 0), a, public


def encrypt_zero_public(key, seed):
    u = ternary(stream(fork(seed, "rlwe: u", [])), N)
    return [add(multiply(part, u), error(seed, "rlwe: error of a part", i)) for i, part in enumerate(key)]


def switch_key(s, other, seed):
    public = public_bytes(seed)
    key = []
    for j, start in enumerate(range(0, len(Q), DIGIT)):
        a = public_uniform(ALL, public, j)
        inside = Q[start : start + DIGIT]
        # P times the other secret modulo the digit's primes, zero modulo all others.
        gadget = crt([[prod(P) % q if q in inside else 0] for q in ALL], ALL)[0]
        key.append((add(hide(s, a, seed, j), [gadget * x for x in other]), a))
    return key, public


def write_key(key, public):
    return public + b"".join(write_poly(b, ALL) for b, _ in key)


def apply_key(key, c, limbs):
    whole = prod(Q[:limbs]) * prod(P)
    sums = [[0] * N, [0] * N]
    for start, pair in zip(range(0, limbs, DIGIT), key):
        digit = centred(c, prod(Q[start : min(start + DIGIT, limbs)]))
        sums = [add(total, multiply(digit, part)) for total, part in zip(sums, pair)]
    rest = [centred(modulo(total, whole), prod(P)) for total in sums]
    return [[(x - r) // prod(P) for x, r in zip(modulo(t, whole), rs)] for t, rs in zip(sums, rest)]


def image(a, g):
    b = [0] * N
    for i, x in enumerate(a):
        place = i * g % (2 * N)
        b[place % N] += x if place < N else -x
    return b


def write_ciphertext(parts, limbs):
    return header(1, limbs, len(parts)) + b"".join(write_poly(part, Q[:limbs]) for part in parts)


def seed(i):
    return bytes([i] * 32)


s = secret_key(seed(1))
answers = {}
answers["SECRET_KEY"] = header(6, 1, 1) + packed([x % 3 for x in s], 2)

b, a, public = encrypt_zero(s, seed(2), 2)
answers["SEEDED_ZERO"] = header(2, 2, 1) + public + write_poly(b, Q[:2])

relin, relin_public = switch_key(s, multiply(s, s), fork(seed(3), "rlwe: relinearisation key", []))
answers["RELIN_KEY"] = header(4, 5, 2) + write_key(relin, relin_public)

turns = {g: switch_key(s, image(s, g), fork(seed(4), "rlwe: galois", [g])) for g in (5, 2 * N - 1)}
answers["GALOIS_KEYS"] = header(5, 5, 2) + struct.pack("<I", 2)
for g, (key, key_public) in sorted(turns.items()):
    answers["GALOIS_KEYS"] += struct.pack("<I", g) + write_key(key, key_public)

# The image of an encryption of zero at two limbs and at all three.
for name, limbs in (("IMAGE_AT_2", 2), ("IMAGE_AT_3", 3)):
    c0, c1, _ = encrypt_zero(s, seed(5), limbs)
    d0, d1 = apply_key(turns[5][0], image(c1, 5), limbs)
    answers[name] = write_ciphertext([add(image(c0, 5), d0), d1], limbs)

# BFV modulo T: two messages under the public key, their product, relinearised.
whole = prod(Q)
pk_b, pk_a, _ = encrypt_zero(s, fork(seed(6), "rlwe: public key", []), 3)
messages = [[(i * i + 3) % T for i in range(N)], [(7 * i + 250) % T for i in range(N)]]
ciphertexts = []
for i, message in enumerate(messages):
    c0, c1 = encrypt_zero_public([pk_b, pk_a], seed(7 + i))
    ciphertexts.append((add(c0, [nearest(whole * m, T) for m in message]), c1))
answers["BFV_FIRST"] = write_ciphertext(ciphertexts[0], 3)
(x0, x1), (y0, y1) = [[centred(part, whole) for part in c] for c in ciphertexts]
tensor = [multiply(x0, y0), add(multiply(x0, y1), multiply(x1, y0)), multiply(x1, y1)]
p0, p1, p2 = [[nearest(T * x, whole) for x in part] for part in tensor]
d0, d1 = apply_key(relin, p2, 3)
product = [add(p0, d0), add(p1, d1)]
answers["BFV_PRODUCT"] = write_ciphertext(product, 3)
phase = centred(add(product[0], multiply(product[1], s)), whole)
assert [nearest(T * x, whole) % T for x in phase] == modulo(multiply(*messages), T), "the product decrypts"

# The same tensor without scaling, relinearised and divided by the last prime: what CKKS does.
x0, x1, y0, y1 = [modulo(part, whole) for c in ciphertexts for part in c]
tensor = [multiply(x0, y0), add(multiply(x0, y1), multiply(x1, y0)), multiply(x1, y1)]
d0, d1 = apply_key(relin, modulo(tensor[2], whole), 3)
product = [modulo(add(tensor[0], d0), whole), modulo(add(tensor[1], d1), whole)]
answers["RESCALED"] = write_ciphertext([[nearest(x, Q[2]) for x in part] for part in product], 2)

print("//! Known answers, written by `schemes.py` in this folder: do not edit by hand. SHA3-256 of wire forms.\n")
print(f"/// The degree of the ring.\npub(crate) const N: usize = {N};")
print(f"/// The plaintext modulus of BFV.\npub(crate) const T: u64 = {T};")
print(f"/// The ciphertext primes.\npub(crate) const Q: [u64; 3] = {rust(Q)};")
print(f"/// The special primes.\npub(crate) const P: [u64; 2] = {rust(P)};")
for name, answer in answers.items():
    print(f"pub(crate) const {name}: [u8; 32] = {rust(hashlib.sha3_256(answer).digest())};")
