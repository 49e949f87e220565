//! The pixels around the first frame of a GIF that is smaller than its canvas.
//!
//! The decoder leaves them black. Pillow gives them the transparent colour, or the first of
//! the table, and so do we.

use crate::Image;

/// Where the first frame is, and the colour of the rest.
struct Frame {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    around: [u8; 3],
}

/// Colours what the first frame leaves free.
pub(crate) fn fill(bytes: &[u8], image: &mut Image) {
    let Some(frame) = Frame::read(bytes) else {
        return;
    };
    if image.channels != 3 {
        return;
    }
    let rows = image.data.chunks_exact_mut(3 * image.width as usize);
    for (y, row) in rows.enumerate() {
        let is_beside = y < frame.top || y >= frame.top + frame.height;
        for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            if is_beside || x < frame.left || x >= frame.left + frame.width {
                *pixel = frame.around;
            }
        }
    }
}

impl Frame {
    /// `None` if the file is damaged, which the decoder names.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut palette = palette(bytes, 13, *bytes.get(10)?)?;
        let mut at = 13 + palette.len();
        let mut transparent = 0;
        loop {
            match *bytes.get(at)? {
                0x21 => {
                    // A control block: its length, flags, a delay and the colour.
                    if let [0x21, 0xf9, 4, flags, _, _, index] = *bytes.get(at..at + 7)? {
                        transparent = if flags & 1 == 1 { index } else { 0 };
                    }
                    at += 2;
                    while *bytes.get(at)? > 0 {
                        at += 1 + usize::from(bytes[at]);
                    }
                    at += 1;
                }
                0x2c => break,
                _ => return None,
            }
        }
        let [l0, l1, t0, t1, w0, w1, h0, h1, flags] =
            *bytes.get(at + 1..)?.first_chunk()?;
        let own = self::palette(bytes, at + 10, flags)?;
        if !own.is_empty() {
            palette = own;
        }
        let number = |low, high| usize::from(u16::from_le_bytes([low, high]));
        Some(Frame {
            left: number(l0, l1),
            top: number(t0, t1),
            width: number(w0, w1),
            height: number(h0, h1),
            around: *palette.get(3 * usize::from(transparent)..)?.first_chunk()?,
        })
    }
}

/// The colours at a place, if the flags say that there are any.
fn palette(bytes: &[u8], at: usize, flags: u8) -> Option<&[u8]> {
    if flags & 0x80 == 0 {
        return Some(&[]);
    }
    bytes.get(at..at + (6 << (flags & 7)))
}

#[cfg(test)]
mod tests {
    use crate::{DecodeOptions, decode};

    /// A canvas of 3x2 pixels with a frame of one at column 1 of row 0.
    fn file(control: &[u8]) -> Vec<u8> {
        let mut bytes = b"GIF89a\x03\0\x02\0\x80\x01\0".to_vec();
        bytes.extend([10, 20, 30, 40, 50, 60]);
        bytes.extend(control);
        bytes.extend(b",\x01\0\0\0\x01\0\x01\0\0");
        // Clear, the colour 1, end: codes of 3 bits.
        bytes.extend([2, 2, 0b0100_1100, 0b0000_0001, 0, b';']);
        bytes
    }

    #[track_caller]
    fn check(control: &[u8], around: [u8; 3]) {
        let image = decode(&file(control), &DecodeOptions::default()).unwrap();
        let frame = [40, 50, 60];
        let expected = [around, frame, around, around, around, around];
        assert_eq!(image.data.as_chunks::<3>().0, expected);
    }

    // Image.open(file).convert("RGB")
    #[test]
    fn around_the_first_frame_is_pillows_colour() {
        check(&[], [10, 20, 30]);
        check(&[0x21, 0xf9, 4, 1, 0, 0, 1, 0], [40, 50, 60]);
        check(
            &[0x21, 0xfe, 1, 7, 0, 0x21, 0xf9, 4, 0, 0, 0, 1, 0],
            [10, 20, 30],
        );
    }
}
