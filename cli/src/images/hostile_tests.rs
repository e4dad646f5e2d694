//! Files that somebody damaged: lies in headers, cuts, bombs, random bytes.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::source::LARGEST_UNPACKED;
use super::{Image, ImageError, Wanted, read, read_labels};

const SMALL: Wanted = Wanted { channels: 1, height: 3, width: 4, channels_last: false };
const COLOUR: Wanted = Wanted { channels: 3, height: 32, width: 32, channels_last: false };

fn idx3(images: u32, height: u32, width: u32, data: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, 3];
    for size in [images, height, width] {
        file.extend(size.to_be_bytes());
    }
    file.extend(data);
    file
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read_named(name: &str, bytes: &[u8], want: Wanted) -> Result<Vec<Image>, ImageError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    read(&path, want, 0, None)
}

#[test]
fn idx3_is_read_plain_and_packed_from_any_place() {
    let data: Vec<u8> = (0..60).collect();
    let file = idx3(5, 3, 4, &data);
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("plain", file.clone()), ("packed.gz", packed(&file))] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        for first in 0..5 {
            for count in 1..=5 - first {
                let images = read(&path, SMALL, first, Some(count)).unwrap();
                assert_eq!(images.len(), count);
                let values: Vec<f32> = images.iter().flat_map(|image| image.chw.clone()).collect();
                let expected: Vec<f32> =
                    data[12 * first..12 * (first + count)].iter().map(|&b| b.into()).collect();
                assert_eq!(values, expected, "{name}, {count} from {first}");
                assert_eq!(images[0].name, format!("{name}[{first}]"));
            }
        }
        assert!(matches!(read(&path, SMALL, 5, None), Err(ImageError::TooFew { available: 5, .. })));
    }
}

#[test]
fn idx3_of_another_size_names_both() {
    let error = read_named("images", &idx3(1, 4, 3, &[0; 12]), SMALL).unwrap_err().to_string();
    assert!(error.contains("1×4×3") && error.contains("1×3×4"), "{error}");
    let flat = Wanted { channels: 12, height: 1, width: 1, channels_last: false };
    assert_eq!(read_named("images", &idx3(1, 4, 3, &[7; 12]), flat).unwrap()[0].chw, [7.0; 12]);
}

#[test]
fn cut_or_longer_idx3_is_refused() {
    let file = idx3(5, 3, 4, &[9; 60]);
    for length in 0..file.len() {
        assert!(read_named("images", &file[..length], SMALL).is_err(), "cut to {length}");
    }
    let zipped = packed(&file);
    for length in 0..zipped.len() {
        assert!(read_named("images.gz", &zipped[..length], SMALL).is_err(), "packed, cut to {length}");
    }
    let longer = idx3(5, 3, 4, &[9; 61]);
    assert!(read_named("images", &longer, SMALL).is_err());
    assert!(read_named("images.gz", &packed(&longer), SMALL).is_err());
}

#[test]
fn a_wrong_checksum_is_noticed_at_the_end() {
    let mut zipped = packed(&idx3(5, 3, 4, &[9; 60]));
    let checksum = zipped.len() - 8;
    zipped[checksum] ^= 1;
    let error = read_named("images.gz", &zipped, SMALL).unwrap_err();
    assert!(matches!(error, ImageError::Format { .. }), "{error}");
}

#[test]
fn headers_that_lie_cost_nothing() {
    // Sizes whose products overflow 32 or 64 bits, and a gigabyte that is not there.
    for (images, height, width) in [(u32::MAX, u32::MAX, u32::MAX), (u32::MAX, 3, 4), (0x8000_0000, 3, 4)] {
        let file = idx3(images, height, width, &[0; 60]);
        assert!(read_named("images", &file, SMALL).is_err());
        let error = read_named("images.gz", &packed(&file), SMALL).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. } | ImageError::Format { .. }), "{error}");
    }
    // Just under the cap, but not there either.
    let images = (LARGEST_UNPACKED / 12 - 2) as u32;
    let error = read_named("images.gz", &packed(&idx3(images, 3, 4, &[0; 60])), SMALL).unwrap_err();
    assert!(matches!(error, ImageError::TooManyAtOnce { .. }), "{error}");
}

#[test]
fn bombs_are_unpacked_no_further_than_promised() {
    // 64 MiB of zeros after the one image that the header promises. The last half of the packed data is missing, which
    // whoever unpacks them all would notice.
    let bomb = packed(&idx3(1, 3, 4, &vec![0; 64 << 20]));
    let error = read_named("images.gz", &bomb[..bomb.len() / 2], SMALL).unwrap_err();
    assert!(error.to_string().contains("more data than its header promises"), "{error}");
}

#[test]
fn cifar_records_of_both_lengths() {
    for label_bytes in [1, 2] {
        let mut file = Vec::new();
        for record in 0..4u8 {
            file.extend([90 + record, record].iter().skip(2 - label_bytes));
            file.extend((0..3072).map(|at| (at % 251) as u8 ^ record));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.bin");
        std::fs::write(&path, &file).unwrap();
        let images = read(&path, COLOUR, 1, Some(2)).unwrap();
        assert_eq!(images[1].name, "data.bin[2]");
        assert!(
            images[1].chw.iter().enumerate().all(|(at, &value)| value == f32::from((at % 251) as u8 ^ 2))
        );
        assert_eq!(read_labels(&path, 1, None).unwrap(), [1, 2, 3]);
        let error = read(&path, SMALL, 0, None).unwrap_err().to_string();
        assert!(error.contains("3×32×32") && error.contains("1×3×4"), "{error}");
        for cut in [0, 1, 3072, file.len() - 1, file.len() - 3000] {
            std::fs::write(&path, &file[..cut]).unwrap();
            assert!(read(&path, COLOUR, 0, None).is_err(), "cut to {cut}");
            assert!(read_labels(&path, 0, None).is_err(), "cut to {cut}");
        }
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let error = read(Path::new("/dev/null"), SMALL, 0, None).unwrap_err();
    assert!(matches!(error, ImageError::NotAFile { .. }), "{error}");
    assert!(matches!(read_named("empty.png", &[], SMALL).unwrap_err(), ImageError::UnknownFormat { .. }));
    assert!(matches!(read_named("labels", &[0, 0, 8, 1, 0, 0, 0, 0], SMALL), Err(ImageError::Format { .. })));
}

/// Complete small files of each kind, with the name that they need.
fn whole_files() -> Vec<(&'static str, Vec<u8>)> {
    let encode = |format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::GrayImage::from_fn(4, 3, |x, y| image::Luma([(x * 50 + y) as u8]));
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let npy = [
        b"\x93NUMPY\x01\x00\x3a\x00".as_slice(),
        b"{'descr':'|u1','fortran_order':False,'shape':(2,3,4,),}   ",
        &[5; 24],
    ]
    .concat();
    vec![
        ("a.png", encode(image::ImageFormat::Png)),
        ("a.jpg", encode(image::ImageFormat::Jpeg)),
        ("a.pgm", encode(image::ImageFormat::Pnm)),
        ("a.pbm", b"P4\n4 3\n\x50\xa0\xf0".to_vec()),
        ("a.ppm", b"P3\n4 3\n255\n1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36\n".to_vec()),
        ("a.pam", b"P7\nWIDTH 4\nHEIGHT 3\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE\nENDHDR\nabcdefghijkl".to_vec()),
        ("a.npy", npy.clone()),
        ("a.npy.gz", packed(&npy)),
        ("a-idx3", idx3(2, 3, 4, &[6; 24])),
        ("a-idx3.gz", packed(&idx3(2, 3, 4, &[6; 24]))),
    ]
}

#[test]
fn files_cut_anywhere_give_errors_or_the_very_same_pixels() {
    for (name, whole) in whole_files() {
        let images = read_named(name, &whole, SMALL).unwrap();
        let mut harmless = 0;
        for length in 0..whole.len() {
            if let Ok(cut) = read_named(name, &whole[..length], SMALL) {
                // Line ends and end-of-file chunks that carry no pixel, or the last digit of a number written as text.
                harmless += 1;
                assert!(cut == images || name == "a.ppm", "{name} cut to {length} of {}", whole.len());
            }
        }
        assert!(harmless <= 20, "{name}: {harmless} cuts were not noticed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes_never_panic(
        start in prop::sample::select(vec![
            &b""[..], b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"P5\n", b"P7\n", b"\x93NUMPY\x01\x00", b"\0\0\x08\x03",
            b"\0\0\x08\x01", b"\x1f\x8b\x08\0",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
        name in prop::sample::select(vec!["x", "x.bin", "x.csv"]),
    ) {
        let bytes = [start, &rest].concat();
        let _ = read_named(name, &bytes, SMALL);
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let _ = read_labels(&path, 0, None);
    }

    #[test]
    fn flipped_bytes_never_panic_and_sizes_hold(
        which in 0..10usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (name, mut bytes) = whole_files().swap_remove(which);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for image in read_named(name, &bytes, SMALL).unwrap_or_default() {
            prop_assert_eq!(image.chw.len(), 12);
            prop_assert!(image.chw.iter().all(|value| (0.0..=255.0).contains(value)));
        }
    }
}
