//! Arrays are written here by hand, byte by byte, and read back.

use std::path::PathBuf;

use super::super::{read, read_labels as read_labels_of};
use super::*;

const COLOUR: Wanted = Wanted { channels: 3, height: 2, width: 4, channels_last: false };
const LAST: Wanted = Wanted { channels_last: true, ..COLOUR };
const GREY: Wanted = Wanted { channels: 1, ..COLOUR };
const FLAT: Wanted = Wanted { channels: 1, height: 24, width: 1, channels_last: false };

fn array(version: u8, descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}    \n");
    raw(version, &header, data)
}

fn raw(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = b"\x93NUMPY".to_vec();
    file.extend([version, 0]);
    match version {
        1 => file.extend((header.len() as u16).to_le_bytes()),
        _ => file.extend((header.len() as u32).to_le_bytes()),
    }
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn write(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("array.npy");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read_bytes(
    bytes: &[u8],
    want: Wanted,
    first: usize,
    count: Option<usize>,
) -> Result<Vec<Image>, ImageError> {
    let (_folder, path) = write(bytes);
    read(&path, want, first, count)
}

fn floats(count: usize) -> Vec<f32> {
    (0..count).map(|value| value as f32 * 0.37 - 3.0).collect()
}

fn f4(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn each_type_is_read_as_the_table_says() {
    let values: Vec<f32> = (0..24).map(|value| value as f32 * 10.0).collect();
    let f8: Vec<u8> = values.iter().flat_map(|&value| f64::from(value).to_le_bytes()).collect();
    let u1: Vec<u8> = values.iter().map(|&value| value as u8).collect();
    let i8: Vec<u8> = values.iter().flat_map(|&value| (value as i64).to_le_bytes()).collect();
    for (descr, data, pixels) in
        [("<f4", f4(&values), false), ("<f8", f8, false), ("|u1", u1, true), ("<i8", i8, true)]
    {
        for version in [1, 2] {
            let images = read_bytes(&array(version, descr, "(1, 3, 2, 4)", &data), COLOUR, 0, None).unwrap();
            assert_eq!(images.len(), 1, "{descr}");
            assert_eq!((&images[0].chw, images[0].pixels), (&values, pixels), "{descr}");
        }
    }
}

#[test]
fn each_shape_is_read_as_the_table_says() {
    let cases = [
        (COLOUR, "(2, 3, 2, 4)", 2),
        (COLOUR, "(3, 2, 4)", 1),
        (COLOUR, "(2, 24)", 2),
        (COLOUR, "(24,)", 1),
        (LAST, "(2, 2, 4, 3)", 2),
        (LAST, "(2, 4, 3)", 1),
        (LAST, "(2, 24)", 2),
        (GREY, "(5, 1, 2, 4)", 5),
        (GREY, "(5, 2, 4)", 5),
        (GREY, "(2, 4)", 1),
        (GREY, "(5, 8)", 5),
        (FLAT, "(4, 6)", 1),
        (FLAT, "(2, 24)", 2),
        (FLAT, "(2, 2, 3, 4)", 2),
        (FLAT, "(24,)", 1),
    ];
    for (want, shape, count) in cases {
        let data = floats(count * want.values());
        let images = read_bytes(&array(1, "<f4", shape, &f4(&data)), want, 0, None).unwrap();
        assert_eq!(images.len(), count, "{shape}");
        for (image, expected) in images.iter().zip(data.chunks(want.values())) {
            for (at, value) in image.chw.iter().enumerate() {
                let (channel, pixel) = (at / 8, at % 8);
                let source = if want.channels_last { pixel * 3 + channel } else { at };
                assert_eq!(*value, expected[source], "{shape}, position {at}");
            }
        }
    }
}

#[test]
fn other_shapes_are_refused_by_name() {
    let cases = [
        (COLOUR, "(2, 4, 3)", 24),
        (LAST, "(3, 2, 4)", 24),
        (COLOUR, "(2, 2, 3, 2, 4)", 96),
        (COLOUR, "(2, 4)", 8),
        (COLOUR, "()", 1),
        (GREY, "(4, 2)", 8),
        (FLAT, "(23,)", 23),
    ];
    for (want, shape, values) in cases {
        let error = read_bytes(&array(1, "<f4", shape, &f4(&floats(values))), want, 0, None).unwrap_err();
        assert!(matches!(error, ImageError::WrongSize { .. }), "{shape}: {error}");
        let sentence = error.to_string();
        assert!(sentence.contains(shape) && sentence.contains(&want.to_string()), "{sentence}");
    }
}

#[test]
fn windows_start_at_the_right_image() {
    let data = floats(6 * 24);
    let file = array(2, "<f4", "(6, 3, 2, 4)", &f4(&data));
    let all = read_bytes(&file, COLOUR, 0, None).unwrap();
    for first in 0..6 {
        for count in 0..=6 - first {
            let some = read_bytes(&file, COLOUR, first, Some(count)).unwrap();
            assert_eq!(some, all[first..first + count]);
        }
    }
    assert_eq!(all[5].chw, data[120..]);
    assert_eq!(all[5].name, "array.npy[5]");
    let error = read_bytes(&file, COLOUR, 4, Some(3)).unwrap_err();
    assert!(matches!(error, ImageError::TooFew { available: 6, .. }), "{error}");
}

#[test]
fn values_that_are_no_numbers_are_refused_with_their_place() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut data = floats(48);
        data[24 + 17] = bad;
        let error = read_bytes(&array(1, "<f4", "(2, 24)", &f4(&data)), COLOUR, 0, None).unwrap_err();
        assert!(matches!(error, ImageError::NotFinite { image: 1, position: 17, .. }), "{error}");
    }
    // Beyond f32, though finite.
    let data: Vec<u8> = (0..24).flat_map(|at| if at == 5 { 1e39f64 } else { 0.5 }.to_le_bytes()).collect();
    let error = read_bytes(&array(1, "<f8", "(24,)", &data), COLOUR, 0, None).unwrap_err();
    assert!(matches!(error, ImageError::NotFinite { image: 0, position: 5, .. }), "{error}");
    for bad in [-1i64, 256, i64::MIN] {
        let data: Vec<u8> = (0..24).flat_map(|at| if at == 9 { bad } else { 255 }.to_le_bytes()).collect();
        let error = read_bytes(&array(1, "<i8", "(24,)", &data), COLOUR, 0, None).unwrap_err();
        assert!(matches!(error, ImageError::NotAPixel { position: 9, value, .. } if value == bad), "{error}");
    }
}

#[test]
fn other_types_orders_and_versions_are_refused() {
    let data = f4(&floats(24));
    for (file, fact) in [
        (array(1, ">f4", "(24,)", &data), ">f4"),
        (array(1, "|O", "(24,)", &data), "|O"),
        (array(1, "<f2", "(24,)", &data), "<f2"),
        (array(3, "<f4", "(24,)", &data), "3.0"),
        (raw(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2, 4)}", &data), "Fortran"),
        (array(1, "<f4", "(18446744073709551615, 3, 2, 4)", &data), "absurd"),
        (array(1, "<f4", "(99999999999999999999999, 24)", &data), "dictionary"),
        (array(1, "<f4", "(-24,)", &data), "dictionary"),
        (raw(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (24,)}", &data), "dictionary"),
        (raw(1, "{'descr': '<f4', 'shape': (24,)}", &data), "dictionary"),
        (
            raw(1, "{'descr': '<f4', 'shape': (24,), 'shape': (24,), 'fortran_order': False}", &data),
            "dictionary",
        ),
        (raw(1, "", &data), "dictionary"),
        (raw(2, &" ".repeat(1 << 17), &data), "131072"),
    ] {
        let error = read_bytes(&file, COLOUR, 0, None).unwrap_err();
        assert!(error.to_string().contains(fact), "{error} does not say {fact}");
    }
}

#[test]
fn more_or_less_data_than_promised_is_refused() {
    let file = array(1, "<f4", "(2, 3, 2, 4)", &f4(&floats(48)));
    for length in 0..file.len() {
        assert!(read_bytes(&file[..length], COLOUR, 0, Some(1)).is_err(), "cut to {length}");
    }
    let mut longer = file.clone();
    longer.push(0);
    let error = read_bytes(&longer, COLOUR, 0, None).unwrap_err();
    assert!(matches!(error, ImageError::Format { .. }), "{error}");
    // Also where the images that are asked for are all there.
    assert!(read_bytes(&longer, COLOUR, 0, Some(1)).is_err());
    assert!(read_bytes(&file, COLOUR, 0, None).is_ok());
}

#[test]
fn integer_vectors_are_labels() {
    let data: Vec<u8> = [3i64, 1, 4, 1, 5].iter().flat_map(|label| label.to_le_bytes()).collect();
    let (_folder, path) = write(&array(1, "<i8", "(5,)", &data));
    assert_eq!(read_labels_of(&path, 1, Some(3)).unwrap(), [1, 4, 1]);
    let (_folder, path) = write(&array(1, "<i8", "(1,)", &(-1i64).to_le_bytes()));
    assert!(read_labels_of(&path, 0, None).unwrap_err().to_string().contains("-1"));
    let (_folder, path) = write(&array(1, "<f4", "(24,)", &f4(&floats(24))));
    assert!(read_labels_of(&path, 0, None).unwrap_err().to_string().contains("floating"));
}
