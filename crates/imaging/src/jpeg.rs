//! What the JPEG codec does not check.

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// Whether an end-of-image marker follows the first scan.
///
/// The codec fills what is missing with gray and says nothing, so a photo that was
/// cut off while downloading would be labelled as if it were whole. Pillow refuses
/// such files, and so do we. Only an image that ends early is found this way: the
/// marker cannot occur inside a scan, and those of thumbnails stand before it.
pub(crate) fn is_complete(bytes: &[u8]) -> bool {
    match first_scan(bytes) {
        Some(scan) => scan.windows(2).any(|pair| pair == END_OF_IMAGE),
        // Not even a scan, or markers that make no sense: the codec says it better.
        None => true,
    }
}

/// What follows the header of the first scan.
fn first_scan(bytes: &[u8]) -> Option<&[u8]> {
    // Skips the start-of-image marker.
    let mut rest = bytes.get(2..)?;
    loop {
        let [0xff, marker, tail @ ..] = rest else {
            return None;
        };
        match *marker {
            // Fill byte: the marker follows it.
            0xff => rest = &rest[1..],
            START_OF_SCAN => return Some(tail),
            // Markers without a length.
            0x01 | 0xd0..=0xd8 => rest = tail,
            _ => {
                let length = u16::from_be_bytes([*tail.first()?, *tail.get(1)?]);
                rest = tail.get(usize::from(length)..)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 8] = [0xff, 0xd8, 0xff, 0xe1, 0, 4, 0xff, 0xd9];

    fn file(scan: &[u8]) -> Vec<u8> {
        [HEADER.as_slice(), &[0xff, START_OF_SCAN], scan].concat()
    }

    #[test]
    fn the_marker_of_a_thumbnail_does_not_count() {
        assert!(!is_complete(&file(&[1, 2, 3])));
    }

    #[test]
    fn bytes_after_the_marker_do_not_matter() {
        assert!(is_complete(&file(&[1, 2, 0xff, 0xd9, 7, 7])));
    }
}
