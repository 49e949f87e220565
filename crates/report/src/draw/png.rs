//! Drawings as pixels, for where no one draws SVG.

use atoll_imaging::{Filter, Format, Image, encode, resize};
use plotters::backend::BitMapBackend;

use super::look::{Look, size};
use super::picture::draw;
use crate::Error;
use crate::chart::Chart;

/// Pixels of the file a pixel of the page, for dense screens and print.
const DENSITY: u32 = 2;
/// The backend smooths no edges, so it draws larger than needed.
const OVERSAMPLING: u32 = 2;

/// A PNG file. Letters that the embedded font lacks (it has Latin, Greek and Cyrillic)
/// are boxes.
pub fn png(chart: &Chart) -> Result<Vec<u8>, Error> {
    let look = Look {
        zoom: DENSITY * OVERSAMPLING,
        narrow: false,
        titled: true,
    };
    let (width, height) = size(chart, &look);
    let drawn = (width * look.zoom, height * look.zoom);
    let mut data = vec![0xFF; drawn.0 as usize * drawn.1 as usize * 3];
    draw(chart, BitMapBackend::with_buffer(&mut data, drawn), &look)?;
    let image = Image {
        width: drawn.0,
        height: drawn.1,
        channels: 3,
        data,
    };
    let failed = |error: atoll_imaging::Error| Error::Drawing(error.to_string());
    let (width, height) = (width * DENSITY, height * DENSITY);
    let small =
        resize(image.as_ref(), width, height, Filter::Bilinear).map_err(failed)?;
    encode(small.as_ref(), Format::Png).map_err(failed)
}
