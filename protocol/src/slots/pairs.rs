//! Two images in one ciphertext: the first of a pair in the real parts of the slots, the second in the imaginary ones.
//!
//! Ciphertexts come pair by pair, within a pair as the layout numbers them. An odd image is alone: its imaginary parts are
//! zero where a pair is written.

use he_core::ckks::Complex;
use zeroize::Zeroizing;

use super::SlotLayout;

/// Images that share a ciphertext.
const PAIR: usize = 2;

/// Pairs of so many images.
pub(crate) fn count(images: usize) -> usize {
    images.div_ceil(PAIR)
}

/// Whether an image is in the real parts.
pub(crate) fn is_real(image: usize) -> bool {
    image.is_multiple_of(PAIR)
}

/// Ciphertext, among those of all pairs, and first slot of an image's element.
///
/// # Panics
/// Beyond the last element.
pub(crate) fn place(layout: &SlotLayout, image: usize, element: usize) -> (usize, usize) {
    let (ciphertext, slot) = layout.place(element);
    (image / PAIR * layout.ciphertexts() + ciphertext, slot)
}

/// The slots of ciphertext `at` of `images` images, of which `value` gives elements; free ones are zero.
pub(crate) fn fill(
    layout: &SlotLayout,
    images: usize,
    at: usize,
    value: impl Fn(usize, usize) -> f64,
) -> Zeroizing<Vec<Complex>> {
    let mut slots = Zeroizing::new(vec![Complex::ZERO; layout.slots()]);
    let first = at / layout.ciphertexts() * PAIR;
    for image in first..images.min(first + PAIR) {
        for element in 0..layout.elements() {
            let (ciphertext, slot) = place(layout, image, element);
            if ciphertext == at {
                let value = value(image, element);
                let copies = slots[slot..].iter_mut().step_by(layout.period());
                copies.for_each(|slot| if is_real(image) { slot.re = value } else { slot.im = value });
            }
        }
    }
    slots
}

/// The elements of `images` images, image after image, from the first copies in these slots.
///
/// # Panics
/// For fewer ciphertexts than the images have, or fewer slots than one period.
pub(crate) fn read(
    layout: &SlotLayout,
    images: usize,
    slots: &[Zeroizing<Vec<Complex>>],
) -> Zeroizing<Vec<f64>> {
    let value = |index: usize| {
        let image = index / layout.elements();
        let (ciphertext, slot) = place(layout, image, index % layout.elements());
        let value = slots[ciphertext][slot];
        if is_real(image) { value.re } else { value.im }
    };
    Zeroizing::new((0..images * layout.elements()).map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_is_read() {
        let layouts = [
            SlotLayout::dense(64, [12, 1, 1], true).unwrap(),
            // Ten ciphertexts, nothing repeated.
            SlotLayout::aligned(16, [10, 3, 4], true).unwrap(),
        ];
        for layout in layouts {
            for images in 1..=5 {
                let value = |image, element| (100 * image + element + 1) as f64;
                let all = count(images) * layout.ciphertexts();
                let slots: Vec<_> = (0..all).map(|at| fill(&layout, images, at, value)).collect();
                let found = read(&layout, images, &slots);
                let expected = (0..images)
                    .flat_map(|image| (0..layout.elements()).map(move |element| value(image, element)));
                assert!(found.iter().copied().eq(expected), "{images} images");
                let last = &slots[all - layout.ciphertexts()..];
                let alone = last.iter().all(|slots| slots.iter().all(|slot| slot.im == 0.0));
                assert_eq!(alone, images % PAIR == 1);
                // Copies have what the first one has.
                for slots in &slots {
                    assert!(slots.iter().zip(&slots[layout.period()..]).all(|(copy, next)| copy == next));
                }
            }
        }
    }
}
