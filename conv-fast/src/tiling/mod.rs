//! Planes larger than a polynomial, cut into tiles; small ones laid out as they pay best.
//!
//! A *tile* is a convolution of its own: it makes th × tw of the layer's output positions, all channels, from the part of
//! the input that these read, halo included. All tiles of a layer have one geometry, so that they are to packing and to
//! the fast convolution what further images are: *virtual images*, image-major (image·tiles + tile).
//!
//! | thing | order | elements |
//! |---|---|---|
//! | slots | tile (rows first), channel, row, column of the tile's input | tiles · tile input |
//! | tile outputs | tile, output channel, row, column of the tile | tiles · tile output |
//!
//! A slot holds an element of the input, perhaps one that other tiles hold as well (halo), or a known zero: borders made
//! explicit, and what the last tiles reach beyond the image. Tiles at the far edges may run over; their surplus outputs
//! mean nothing and slots that only those read may hold anything ([`Tiling::read`]).
//!
//! A layer that fits may stay one tile with its padding kept, axis by axis; then the border's zeros are those of the packing
//! ([`Packing::zero_reads`]). See `axis` for strides, [`Tiling::choose`] for the choice.
//!
//! Weights are the same for the layer and its tiles. Everything here follows from public shapes.

mod axis;
mod choose;

use crate::{ConvError, ConvGeometry, Packing, PackingCost};
use axis::Cut;

/// A layer cut into tiles, with the packing of the tiles.
#[derive(Clone, Debug)]
pub struct Tiling {
    whole: ConvGeometry,
    /// Rows and columns.
    cuts: [Cut; 2],
    packing: Packing,
    bits: u64,
}

impl Tiling {
    /// The tiling with the fewest bits for a bundle of `images` images in ring degree `degree`, among those tried.
    ///
    /// Counted are, beside [`PackingCost`]'s parts, `zero_bits` for each slot that is read and holds a known zero or an
    /// element that another slot holds already.
    ///
    /// # Errors
    /// As [`crate::packing::choose`]; [`ConvError::PlaneTooLarge`] only if a window of the kernel itself does not fit, and
    /// [`ConvError::TooLarge`] if tiles that fit have more than [`crate::MAX_ELEMENTS`] slots or outputs.
    pub fn choose(
        geometry: &ConvGeometry,
        degree: usize,
        images: usize,
        cost: &PackingCost,
    ) -> Result<Self, ConvError> {
        choose::choose(geometry, degree, images, cost)
    }

    /// The layer.
    pub fn whole(&self) -> &ConvGeometry {
        &self.whole
    }

    /// The convolution of one tile.
    pub fn tile(&self) -> &ConvGeometry {
        self.packing.geometry()
    }

    /// Tiles of one image.
    pub fn tiles(&self) -> usize {
        self.cuts[0].tiles * self.cuts[1].tiles
    }

    /// The tile's packing, chosen for all virtual images of the bundle.
    pub fn packing(&self) -> &Packing {
        &self.packing
    }

    /// Input slots of one image, tiles · tile input; at most [`crate::MAX_ELEMENTS`].
    pub fn slot_count(&self) -> usize {
        self.tiles() * self.tile().input_len()
    }

    /// Outputs of all tiles of one image, surplus included; at most [`crate::MAX_ELEMENTS`].
    pub fn output_slots(&self) -> usize {
        self.tiles() * self.tile().output_len()
    }

    /// Bits for the bundle that the choice counted.
    pub fn bits(&self) -> u64 {
        self.bits
    }

    /// For each slot the element of the layer's input that it holds; `None` for a known zero.
    pub fn slots(&self) -> Vec<Option<u32>> {
        let s = self.whole.shape();
        let [rows, columns] = self.coordinates();
        let mut slots = Vec::with_capacity(self.slot_count());
        self.each_line(&rows, &columns, |channel, (row, _), columns| {
            let base = row.map(|row| (channel * s.in_height + row) * s.in_width);
            slots.extend(columns.iter().map(|(column, _)| Some((base? + (*column)?) as u32)));
        });
        slots
    }

    /// For each slot whether a used output reads it. What it holds does not matter otherwise.
    pub fn read(&self) -> Vec<bool> {
        let [rows, columns] = self.coordinates();
        let mut read = Vec::with_capacity(self.slot_count());
        self.each_line(&rows, &columns, |_, (_, row), columns| {
            read.extend(columns.iter().map(|&(_, column)| row && column));
        });
        read
    }

    /// For each element of the layer's output its index among the outputs of all tiles.
    pub fn outputs(&self) -> Vec<u32> {
        let [rows, columns] = &self.cuts;
        let (width, length) = (self.whole.out_width(), self.tile().output_len());
        let mut outputs = Vec::with_capacity(self.whole.output_len());
        for channel in 0..self.whole.shape().out_channels {
            for y in 0..self.whole.out_height() {
                let (tile_row, row) = (y / rows.size, y % rows.size);
                for x in 0..width {
                    let tile = tile_row * columns.tiles + x / columns.size;
                    let within = (channel * rows.size + row) * columns.size + x % columns.size;
                    outputs.push((tile * length + within) as u32);
                }
            }
        }
        outputs
    }

    fn coordinates(&self) -> [Vec<Coordinate>; 2] {
        [self.cuts[0].coordinates(), self.cuts[1].coordinates()]
    }

    /// Visits the lines of all tiles in slot order: channel, the row's coordinate, and the columns' of its tile.
    fn each_line(
        &self,
        rows: &[Coordinate],
        columns: &[Coordinate],
        mut visit: impl FnMut(usize, Coordinate, &[Coordinate]),
    ) {
        for rows in rows.chunks_exact(self.cuts[0].len) {
            for columns in columns.chunks_exact(self.cuts[1].len) {
                for channel in 0..self.whole.shape().in_channels {
                    rows.iter().for_each(|&row| visit(channel, row, columns));
                }
            }
        }
    }
}

/// A coordinate of the layer's input, if it is one, and whether a used output reads it.
type Coordinate = (Option<usize>, bool);

#[cfg(test)]
mod tests;
