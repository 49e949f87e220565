//! How an image is turned, by the EXIF data in its file, or by its XMP data where there are
//! none, as in Pillow.

use ::image::metadata::Orientation;

/// The tag of the orientation.
const ORIENTATION: u16 = 0x0112;

/// The valid orientation that EXIF data name.
pub(crate) fn of_exif(exif: &[u8]) -> Option<Orientation> {
    let mut exif = exif;
    // Some programs write the name of the JPEG segment into other formats too.
    while let Some(rest) = exif.strip_prefix(b"Exif\0\0") {
        exif = rest;
    }
    let reader = match exif.first_chunk()? {
        // Pillow reads the number 42 in the wrong byte order, too.
        b"II\x2a\0" | b"II\0\x2a" => ExifReader {
            exif,
            is_little: true,
        },
        b"MM\0\x2a" | b"MM\x2a\0" => ExifReader {
            exif,
            is_little: false,
        },
        _ => return None,
    };
    let start = reader.long(4)? as usize;
    let entries = usize::from(reader.short(start)?);
    (0..entries).find_map(|n| {
        let at = start.checked_add(2 + 12 * n)?;
        if reader.short(at)? != ORIENTATION {
            return None;
        }
        let value = match reader.short(at + 2)? {
            1 => u32::from(*exif.get(at + 8)?),
            3 => u32::from(reader.short(at + 8)?),
            4 => reader.long(at + 8)?,
            _ => return None,
        };
        Orientation::from_exif(u8::try_from(value).ok()?)
    })
}

/// Reads numbers of a TIFF structure, in the byte order that its header names.
struct ExifReader<'a> {
    exif: &'a [u8],
    is_little: bool,
}

impl ExifReader<'_> {
    fn short(&self, at: usize) -> Option<u16> {
        let bytes = *self.exif.get(at..)?.first_chunk()?;
        Some(if self.is_little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    }

    fn long(&self, at: usize) -> Option<u32> {
        let bytes = *self.exif.get(at..)?.first_chunk()?;
        Some(if self.is_little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    }
}

/// The valid orientation that XMP data name, an XML text.
pub(crate) fn of_xmp(xmp: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut places = xmp.windows(NAME.len()).enumerate();
    let (at, _) = places.find(|(_, text)| *text == NAME)?;
    // An attribute or an element.
    let value = match xmp.get(at + NAME.len()..)? {
        [b'=', b'"', value, ..] | [b'>', value, ..] => value.checked_sub(b'0')?,
        _ => return None,
    };
    Orientation::from_exif(value)
}

/// The orientation of a PNG file. The specification allows EXIF data after the pixels as
/// well; of several the last count, as in Pillow.
pub(crate) fn of_png(bytes: &[u8]) -> Option<Orientation> {
    let mut rest = bytes.get(8..)?;
    let (mut exif, mut xmp) = (None, None);
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let [l3, l2, l1, l0, kind @ ..] = *head;
        let length = u32::from_be_bytes([l3, l2, l1, l0]) as usize;
        let Some((data, after)) = after.split_at_checked(length) else {
            break;
        };
        match &kind {
            b"eXIf" => exif = of_exif(data),
            // Not compressed, as the specification of XMP wants it.
            b"iTXt" if data.starts_with(b"XML:com.adobe.xmp\0\0") => xmp = of_xmp(data),
            b"IEND" => break,
            _ => {}
        }
        // Behind the checksum.
        rest = after.get(4..).unwrap_or_default();
    }
    exif.or(xmp)
}

/// The orientation of a WebP file, whose metadata stand before or after the pixels.
pub(crate) fn of_webp(bytes: &[u8]) -> Option<Orientation> {
    /// The bits of the header that say what there is.
    const HAS_EXIF: u8 = 0x08;
    const HAS_XMP: u8 = 0x04;
    let mut rest = bytes.get(12..)?;
    if !rest.starts_with(b"VP8X") {
        return None;
    }
    let flags = *rest.get(8)?;
    let (mut exif, mut xmp) = (None, None);
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let [k0, k1, k2, k3, length @ ..] = *head;
        let length = u32::from_le_bytes(length) as usize;
        let Some(data) = after.get(..length) else {
            break;
        };
        match &[k0, k1, k2, k3] {
            b"EXIF" if flags & HAS_EXIF != 0 && exif.is_none() => exif = of_exif(data),
            b"XMP " if flags & HAS_XMP != 0 && xmp.is_none() => xmp = of_xmp(data),
            _ => {}
        }
        // Chunks have an even number of bytes.
        rest = after.get(length + length % 2..).unwrap_or_default();
    }
    exif.or(xmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EXIF data with one entry.
    fn exif(is_little: bool, kind: u16, value: u32) -> Vec<u8> {
        let short = |value: u16| {
            if is_little {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            }
        };
        let long = |value: u32| {
            if is_little {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            }
        };
        let mut bytes = if is_little {
            b"II".to_vec()
        } else {
            b"MM".to_vec()
        };
        bytes.extend(short(42));
        bytes.extend(long(8));
        bytes.extend(short(1));
        bytes.extend(short(ORIENTATION));
        bytes.extend(short(kind));
        bytes.extend(long(1));
        if kind == 3 {
            bytes.extend(short(value as u16));
            bytes.extend([0, 0]);
        } else {
            bytes.extend(long(value));
        }
        bytes
    }

    #[test]
    fn both_byte_orders_and_both_widths_are_read() {
        for is_little in [true, false] {
            for kind in [3, 4] {
                let bytes = exif(is_little, kind, 6);
                let named = [b"Exif\0\0".as_slice(), &bytes].concat();
                assert_eq!(of_exif(&bytes), Some(Orientation::Rotate90));
                assert_eq!(of_exif(&named), Some(Orientation::Rotate90));
            }
        }
    }

    #[test]
    fn what_is_invalid_says_nothing() {
        for value in [0, 9, 255, 256 + 6] {
            assert_eq!(of_exif(&exif(true, 3, value)), None, "{value}");
        }
        let whole = exif(false, 3, 6);
        for length in 0..whole.len() - 4 {
            assert_eq!(of_exif(&whole[..length]), None, "{length}");
        }
        assert_eq!(of_exif(b"II\x2a\0\xff\xff\xff\xff"), None);
    }

    #[test]
    fn xmp_names_it_by_an_attribute_or_an_element() {
        let turned = Some(Orientation::Rotate90);
        assert_eq!(of_xmp(b"<a tiff:Orientation=\"6\"/>"), turned);
        assert_eq!(of_xmp(b"<tiff:Orientation>6</tiff:Orientation>"), turned);
        assert_eq!(of_xmp(b"<tiff:Orientation>9</tiff:Orientation>"), None);
        assert_eq!(of_xmp(b"tiff:Orientation"), None);
        assert_eq!(of_xmp(b"tiff:Orientation=\"#"), None);
    }
}
