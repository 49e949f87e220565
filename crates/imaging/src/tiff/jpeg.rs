//! TIFF files whose strips or tiles are JPEG files: decoded as libtiff and Pillow do it, each
//! by itself.

use ::image::metadata::Orientation;

use super::directory::{Directory, tag};
use crate::jpeg::{Colors, JpegHeader, decode_whole};
use crate::{Error, Format, Image};

/// They are read once for each part; those of all kinds have fewer bytes.
const MOST_TABLES: usize = 4096;

/// A TIFF file of JPEG parts, gray or in three colours.
pub(crate) struct JpegParts<'a> {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) orientation: Orientation,
    colors: Colors,
    /// Pixels of a part, across and down.
    part: (usize, usize),
    directory: Directory<'a>,
}

impl<'a> JpegParts<'a> {
    /// `None` if the file is of another kind.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let directory = Directory::read(bytes)?;
        let number = |tag| directory.number(tag);
        let is_jpeg = number(tag::COMPRESSION) == Some(super::JPEG);
        if !is_jpeg || number(tag::PLANAR) == Some(2) {
            return None;
        }
        let samples = number(tag::SAMPLES).unwrap_or(1);
        let colors = match (number(tag::PHOTOMETRIC)?, samples) {
            (1, 1) => Colors::Gray,
            (2, 3) => Colors::Rgb,
            (6, 3) => Colors::Ycc,
            _ => return None,
        };
        if directory.numbers(tag::BITS)?.iter().any(|bits| *bits != 8) {
            return None;
        }
        let width = u32::try_from(number(tag::WIDTH)?).ok()?;
        let height = u32::try_from(number(tag::LENGTH)?).ok()?;
        let part = if directory.is_tiled() {
            (number(tag::TILE_WIDTH)?, number(tag::TILE_LENGTH)?)
        } else {
            let rows = number(tag::STRIP_ROWS).unwrap_or(u64::from(height));
            (u64::from(width), rows.min(u64::from(height)))
        };
        // The sides of a JPEG have 16 bits.
        let side = |side: u64| usize::from(u16::try_from(side).unwrap_or(0));
        let orientation =
            number(tag::ORIENTATION).and_then(|value| value.try_into().ok());
        Some(JpegParts {
            width,
            height,
            orientation: orientation
                .and_then(Orientation::from_exif)
                .unwrap_or(Orientation::NoTransforms),
            colors,
            part: (side(part.0), side(part.1)),
            directory,
        })
    }

    pub(crate) fn channels(&self) -> u8 {
        if self.colors == Colors::Gray { 1 } else { 3 }
    }

    /// Decodes all parts.
    pub(crate) fn decode(&self) -> Result<Image, Error> {
        let mut image = Image::black(self.width, self.height, self.channels())?;
        if self.part.0 == 0 || self.part.1 == 0 {
            return Err(damaged("its parts have no size"));
        }
        let across = (self.width as usize).div_ceil(self.part.0);
        let down = (self.height as usize).div_ceil(self.part.1);
        let parts = self.directory.parts().unwrap_or_default();
        if parts.len() < across * down {
            return Err(damaged("parts of it are missing"));
        }
        let tables = self.directory.data(tag::JPEG_TABLES).unwrap_or_default();
        if tables.len() > MOST_TABLES {
            return Err(damaged("its tables are too long"));
        }
        // The tables are a file of their own, without pixels.
        let tables = tables.strip_suffix(&[0xff, 0xd9]).unwrap_or(tables);
        for (n, part) in parts.into_iter().take(across * down).enumerate() {
            let place = (n % across * self.part.0, n / across * self.part.1);
            self.put(&self.directory.bytes[part], tables, place, &mut image)?;
        }
        Ok(image)
    }

    /// Decodes a part to its place.
    fn put(
        &self,
        part: &[u8],
        tables: &[u8],
        (left, top): (usize, usize),
        image: &mut Image,
    ) -> Result<(), Error> {
        let start = if tables.is_empty() { 0 } else { 2 };
        let file = [tables, part.get(start..).unwrap_or_default()].concat();
        let mut header = JpegHeader::read(&file)?;
        // The directory says what the colours are.
        if header.channels() != self.channels() {
            return Err(damaged("its parts have other channels"));
        }
        header.colors = self.colors;
        let (width, height) = (self.width as usize - left, self.height as usize - top);
        let (width, height) = (width.min(self.part.0), height.min(self.part.1));
        let size = header.size();
        let size = (size.0 as usize, size.1 as usize);
        let fits =
            |have: usize, least: usize, most: usize| (least..=most).contains(&have);
        if !fits(size.0, width, self.part.0) || !fits(size.1, height, self.part.1) {
            return Err(damaged("its parts have another size"));
        }
        let decoded = decode_whole(&file, &header)?;
        let channels = usize::from(self.channels());
        let rows = decoded.data.chunks_exact(size.0 * channels).take(height);
        let stride = self.width as usize * channels;
        for (y, row) in rows.enumerate() {
            let at = (top + y) * stride + left * channels;
            let count = width * channels;
            image.data[at..at + count].copy_from_slice(&row[..count]);
        }
        Ok(())
    }
}

fn damaged(reason: &str) -> Error {
    Error::Corrupt {
        format: Format::Tiff,
        reason: reason.to_string(),
    }
}
