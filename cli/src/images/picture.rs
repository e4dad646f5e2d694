//! Single pictures: PNG, JPEG, and the portable anymaps PBM, PGM, PPM, PAM.
//!
//! The size in the header is compared with the network's before a pixel is decoded. Then:
//!
//! - **grey → colour**: the value is repeated;
//! - **colour → grey**: luma of ITU-R BT.601 in 16-bit fixed point, `(19595·R + 38470·G + 7471·B + 2^15) / 2^16`, as
//!   the usual training tools compute it;
//! - **16 bits → 0..=255**: divided by 257, not rounded;
//! - **transparency**: refused unless every pixel is opaque or the network takes four channels, since what shines
//!   through is not in the file;
//! - other numbers of channels than 1, 3 and 4 do not come from pictures.
//!
//! JPEG decoders paint the missing part of a file that is cut off in grey, without an error; [`jpeg_is_complete`] looks
//! for the end marker first.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader};

use super::source::Source;
use super::{Image, ImageError, Wanted};

/// Bytes that a picture's file may have: 64 MiB.
const LARGEST_FILE: u64 = 64 << 20;

/// Bytes that decoding may allocate: 512 MiB.
const LARGEST_DECODING: u64 = 512 << 20;

/// Extensions that make a file in a directory a picture.
const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "pbm", "pgm", "ppm", "pnm", "pam"];

/// Whether the file's name says that it is a picture.
pub(super) fn has_picture_name(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

/// Reads one picture.
pub(super) fn read(source: &mut Source, want: Wanted) -> Result<Image, ImageError> {
    let bytes = source.whole(LARGEST_FILE)?;
    if bytes.starts_with(&[0xff, 0xd8]) && !jpeg_is_complete(&bytes) {
        return Err(ImageError::Truncated {
            path: source.path().to_owned(),
            what: "its picture: the end marker is missing".to_owned(),
        });
    }
    let broken = |error: image::ImageError| source.damaged(&error.to_string());
    let mut reader = ImageReader::new(Cursor::new(&bytes))
        .with_guessed_format()
        .map_err(|error| source.damaged(&error.to_string()))?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(LARGEST_DECODING);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let has_color = decoder.color_type().has_color();
    let layout = Layout::of(want, height as usize, width as usize, has_color).ok_or_else(|| {
        let channels = if has_color { 3 } else { 1 };
        let found = format!("a picture of {channels}×{height}×{width}");
        ImageError::WrongSize { path: source.path().to_owned(), found, wanted: want }
    })?;
    let picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    let chw = planes(&picture, layout).ok_or_else(|| {
        source.damaged("it has transparent pixels; put it on a background before it is classified")
    })?;
    let name = source.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Image { name, chw, pixels: true })
}

/// What becomes of a picture's channels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Grey,
    Rgb,
    Rgba,
}

impl Layout {
    /// The layout in which a picture of this size is the network's input, if there is one.
    fn of(want: Wanted, height: usize, width: usize, has_color: bool) -> Option<Self> {
        let same_size = (height, width) == (want.height, want.width);
        match want.channels {
            1 if same_size => Some(Self::Grey),
            3 if same_size => Some(Self::Rgb),
            4 if same_size => Some(Self::Rgba),
            _ if !has_color && want.accepts(1, height, width) => Some(Self::Grey),
            _ => None,
        }
    }
}

/// The values in 0..=255, plane by plane; none where transparency would be lost.
fn planes(picture: &DynamicImage, layout: Layout) -> Option<Vec<f32>> {
    let deep = picture.color().bits_per_pixel() / u16::from(picture.color().channel_count()) > 8;
    // Widening to four channels repeats grey values and sets a missing alpha to opaque, exactly.
    let pixels: Vec<[f32; 4]> = if deep {
        picture.to_rgba16().pixels().map(|pixel| pixel.0.map(|value| f32::from(value) / 257.0)).collect()
    } else {
        picture.to_rgba8().pixels().map(|pixel| pixel.0.map(f32::from)).collect()
    };
    if layout != Layout::Rgba && pixels.iter().any(|pixel| pixel[3] < 255.0) {
        return None;
    }
    let plane = |channel: usize| pixels.iter().map(move |pixel| pixel[channel]);
    Some(match layout {
        Layout::Rgb => plane(0).chain(plane(1)).chain(plane(2)).collect(),
        Layout::Rgba => plane(0).chain(plane(1)).chain(plane(2)).chain(plane(3)).collect(),
        Layout::Grey => pixels.iter().map(|&[red, green, blue, _]| luma(red, green, blue, deep)).collect(),
    })
}

/// Brightness of a pixel; of grey pixels their value, exactly.
fn luma(red: f32, green: f32, blue: f32, deep: bool) -> f32 {
    if red == green && green == blue {
        return red;
    }
    let sum = 19595.0 * red + 38470.0 * green + 7471.0 * blue;
    // Whole numbers below 2^24 plus one half: exact in f32.
    if deep { sum / 65536.0 } else { ((sum + 32768.0) / 65536.0).floor() }
}

/// Walks the segments of a JPEG file (ITU-T T.81, annex B) to its end marker.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END: u8 = 0xd9;
    let mut rest = bytes.get(2..).unwrap_or_default();
    let mut in_scan = false;
    loop {
        // In a scan, ff 00 is a data byte and ff d0..d7 restart it; elsewhere ff may be repeated as filling.
        let Some(at) = rest.iter().position(|&byte| byte == 0xff) else { return false };
        let Some(&marker) = rest.get(at + 1) else { return false };
        match marker {
            0xff => rest = &rest[at + 1..],
            END => return true,
            0x00 if in_scan => rest = &rest[at + 2..],
            0x01 | 0xd0..=0xd7 => rest = &rest[at + 2..],
            _ => {
                let Some(&[high, low]) = rest.get(at + 2..at + 4) else { return false };
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some(next) = rest.get(at + 2 + length..) else { return false };
                in_scan = marker == START_OF_SCAN;
                rest = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Luma, Rgb, Rgba};

    use super::super::read as read_file;
    use super::*;

    const RED: Wanted = Wanted { channels: 3, height: 5, width: 7, channels_last: false };
    const GREY: Wanted = Wanted { channels: 1, ..RED };

    /// A picture whose channels all differ, from pixel to pixel.
    fn colourful() -> image::RgbImage {
        image::RgbImage::from_fn(7, 5, |x, y| Rgb([(x * 36) as u8, (y * 60) as u8, (x * y * 9) as u8]))
    }

    fn write(picture: DynamicImage, format: ImageFormat) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture");
        picture.save_with_format(&path, format).unwrap();
        (folder, path)
    }

    #[test]
    fn lossless_formats_give_the_planes() {
        let picture = colourful();
        let expected: Vec<f32> = (0..3)
            .flat_map(|channel| picture.pixels().map(move |pixel| f32::from(pixel.0[channel])))
            .collect();
        for format in [ImageFormat::Png, ImageFormat::Pnm] {
            let (_folder, path) = write(picture.clone().into(), format);
            let images = read_file(&path, RED, 0, None).unwrap();
            assert_eq!(images.len(), 1);
            assert!(images[0].pixels);
            assert_eq!(images[0].chw, expected, "{format:?}");
        }
    }

    #[test]
    fn jpeg_is_close_to_the_picture() {
        // Flat, because the encoder blurs colours from pixel to pixel.
        let picture = image::RgbImage::from_pixel(7, 5, Rgb([200, 100, 50]));
        let (_folder, path) = write(picture.into(), ImageFormat::Jpeg);
        let image = read_file(&path, RED, 0, None).unwrap().remove(0);
        for (plane, value) in [200.0, 100.0, 50.0].into_iter().enumerate() {
            for pixel in &image.chw[35 * plane..35 * (plane + 1)] {
                assert!((pixel - value).abs() <= 4.0, "plane {plane}: {pixel} instead of {value}");
            }
        }
    }

    #[test]
    fn colours_become_grey_by_bt601() {
        let (_folder, path) = write(colourful().into(), ImageFormat::Png);
        let image = read_file(&path, GREY, 0, None).unwrap().remove(0);
        for (value, pixel) in image.chw.iter().zip(colourful().pixels()) {
            let [red, green, blue] = pixel.0.map(u64::from);
            let luma = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16;
            assert_eq!(*value, luma as f32);
        }
    }

    #[test]
    fn grey_pictures_fill_all_channels_and_16_bits_keep_their_fractions() {
        let picture = image::ImageBuffer::from_fn(7, 5, |x, y| Luma([(x * 9000 + y * 77) as u16]));
        let expected: Vec<f32> =
            picture.pixels().map(|pixel: &Luma<u16>| f32::from(pixel.0[0]) / 257.0).collect();
        let (_folder, path) = write(picture.into(), ImageFormat::Png);
        assert_eq!(read_file(&path, GREY, 0, None).unwrap()[0].chw, expected);
        assert_eq!(read_file(&path, RED, 0, None).unwrap()[0].chw, expected.repeat(3));
        let flat = Wanted { channels: 35, height: 1, width: 1, channels_last: false };
        assert_eq!(read_file(&path, flat, 0, None).unwrap()[0].chw, expected);
    }

    #[test]
    fn other_sizes_are_refused_by_name() {
        let (_folder, path) = write(colourful().into(), ImageFormat::Png);
        for want in [
            Wanted { width: 5, height: 7, ..RED },
            Wanted { width: 8, ..RED },
            Wanted { channels: 2, ..RED },
            Wanted { channels: 35, height: 1, width: 1, channels_last: false },
        ] {
            let error = read_file(&path, want, 0, None).unwrap_err();
            assert!(matches!(error, ImageError::WrongSize { .. }), "{error}");
            let sentence = error.to_string();
            assert!(sentence.contains("3×5×7") && sentence.contains(&want.to_string()), "{sentence}");
        }
    }

    #[test]
    fn transparency_is_refused_unless_wanted_and_opaque_alpha_is_not() {
        let mut picture = image::RgbaImage::from_pixel(7, 5, Rgba([10, 20, 30, 255]));
        let (_folder, path) = write(picture.clone().into(), ImageFormat::Png);
        assert!(read_file(&path, RED, 0, None).is_ok());
        picture.get_pixel_mut(3, 3).0[3] = 254;
        let (_folder, path) = write(picture.into(), ImageFormat::Png);
        let error = read_file(&path, RED, 0, None).unwrap_err();
        assert!(error.to_string().contains("transparent"), "{error}");
        let all = Wanted { channels: 4, ..RED };
        assert_eq!(read_file(&path, all, 0, None).unwrap()[0].chw[3 * 35 + 24], 254.0);
    }

    #[test]
    fn pgm_with_another_maximum_is_scaled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.pgm");
        std::fs::write(&path, "P2\n# digits\n3 1\n15\n0 5 15\n").unwrap();
        let want = Wanted { channels: 1, height: 1, width: 3, channels_last: false };
        assert_eq!(read_file(&path, want, 0, None).unwrap()[0].chw, [0.0, 85.0, 255.0]);
    }

    #[test]
    fn jpegs_cut_off_anywhere_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (_keep, path) = write(colourful().into(), ImageFormat::Jpeg);
        let whole = std::fs::read(&path).unwrap();
        assert!(jpeg_is_complete(&whole));
        let cut = folder.path().join("cut.jpg");
        for length in 0..whole.len() {
            assert!(!jpeg_is_complete(&whole[..length]), "cut to {length} of {} bytes", whole.len());
            std::fs::write(&cut, &whole[..length]).unwrap();
            assert!(read_file(&cut, RED, 0, None).is_err(), "cut to {length} of {} bytes", whole.len());
        }
    }
}
