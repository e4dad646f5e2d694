"""Writes vectors.rs: known answers for the transform, the seed tree and the public polynomials.

Independent of the crate: everything below is written from the definitions with Python integers and hashlib, and
shares no code or tables with the code under test. Regenerate with

    python3 he-core/tests/vectors/generate.py > he-core/tests/vectors/vectors.rs
    rustfmt --edition 2024 he-core/tests/vectors/vectors.rs

A change of any vector changes the wire format: raise the protocol version with it.
"""

from lattice import (
    binomial,
    cubes,
    digest,
    evaluate,
    fork,
    largest_primes,
    read,
    root,
    rust,
    signed_digest,
    stream,
    ternary,
    uniform,
)

PROFILES = [("TINY", 1024, 26, 1), ("NARROW", 2048, 32, 1), ("WIDE", 2048, 50, 1), ("EXACT", 4096, 48, 2)]

print("//! Known answers, written by `generate.py` in this folder: do not edit by hand.\n")
print("/// The first eight bytes of `Seed::from_bytes([7; 32]).fork(\"label\", &[1, 2])`.")
print(f"pub(crate) const SEED_CHILD_HEAD: [u8; 8] = {rust(fork(bytes([7] * 32), 'label', [1, 2])[:8])};\n")
print("/// The answers of one limb of a parameter set.")
print("pub(crate) struct Known {")
print("    pub(crate) n: usize,")
print("    pub(crate) q: u64,")
print("    pub(crate) psi: u64,")
print("    /// Values 0, 1, N/2 and N-1 of the polynomial with coefficients (i + 1)^7 * 1234567891 mod q.")
print("    pub(crate) some: [u64; 4],")
print("    /// SHA3-256 of all its values as 64-bit little-endian words.")
print("    pub(crate) values: [u8; 32],")
print("    /// The same of the public a of layer 3, polynomial 5 of the epoch [1; 32], and of the a of its key.")
print("    pub(crate) public_a: [u8; 32],")
print("    pub(crate) public_key_a: [u8; 32],")
print("}\n")
print("/// The profiles, narrowest first, limb by limb.")
print("pub(crate) const KNOWN: [Known; 5] = [")
for name, n, bits, limbs in PROFILES:
    primes = largest_primes(bits, 2 * n, limbs)
    ring = fork(bytes([1] * 32), "epoch", [n, *primes])
    # One stream for all limbs of a polynomial, limb after limb.
    public_stream = stream(fork(ring, "split: a of an input polynomial", [3, 5]))
    key_stream = stream(fork(ring, "split: a of a public key", [3]))
    for q in primes:
        psi = root(q, 2 * n)
        a = cubes(n, q)
        values = [evaluate(a, q, psi, i) for i in range(n)]
        public = uniform(public_stream, q, n)
        key = uniform(key_stream, q, n)
        print("    Known {")
        print(f"        n: {n},\n        q: {q},\n        psi: {psi},")
        print(f"        some: {rust([values[0], values[1], values[n // 2], values[n - 1]])},")
        print(f"        values: {rust(digest(values))},")
        print(f"        public_a: {rust(digest(public))},")
        print(f"        public_key_a: {rust(digest(key))},")
        print("    },")
print("];")

source = stream(fork(bytes([7] * 32), "small", []))
print("\n/// From the stream of `Seed::from_bytes([7; 32]).fork(\"small\", &[])`, one after the other: SHA3-256, as signed bytes,")
print("/// of 4001 ternary values, of 1001 binomial ones of eta 21 and of 11 of eta 4, and the 64-bit word after them.")
print("pub(crate) const SMALL: ([[u8; 32]; 3], u64) = (")
small = [ternary(source, 4001), binomial(source, 21, 1001), binomial(source, 4, 11)]
print("[" + ", ".join(rust(signed_digest(values)) for values in small) + "],")
print(f"{int.from_bytes(read(source, 8), 'little')},);")
