//! The IDX format: a magic number, the dimensions, then one byte a value.
//!
//! Only its two uses in MNIST-like data sets are known here: images (three
//! dimensions) and labels (one). Gzip is recognised by its first bytes.

use std::io::{Cursor, ErrorKind, Read};

use bytes::Bytes;
use datafusion::common::{Result, exec_err, plan_datafusion_err};
use flate2::read::MultiGzDecoder;

/// Two zero bytes, 0x08 for unsigned bytes, then the number of dimensions.
const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;

/// What a file is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Images,
    Labels,
}

/// The beginning of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Images or labels in the file.
    pub(crate) rows: usize,
    /// Pixels in a row and a column of an image; 1 for labels.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Bytes of the header itself.
    pub(crate) length: u64,
}

impl Header {
    /// Bytes of one image or label.
    pub(crate) fn row_bytes(&self) -> usize {
        self.width as usize * self.height as usize
    }

    /// Bytes of the whole file, unpacked.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.length + (self.rows as u64).saturating_mul(self.row_bytes() as u64)
    }
}

/// Whether a file that begins like this is packed with gzip.
pub(crate) fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b])
}

/// The header of a file, from its first bytes.
pub(crate) fn header(file: &str, kind: Kind, start: &Bytes) -> Result<Header> {
    Reader::open(file, kind, start.clone()).map(|reader| reader.header)
}

/// Reads a file row by row.
pub(crate) struct Reader {
    file: String,
    pub(crate) header: Header,
    /// Rows that were read.
    row: usize,
    bytes: Box<dyn Read + Send>,
}

impl Reader {
    pub(crate) fn open(file: &str, kind: Kind, content: Bytes) -> Result<Self> {
        let mut bytes: Box<dyn Read + Send> = match is_gzip(&content) {
            true => Box::new(MultiGzDecoder::new(Cursor::new(content))),
            false => Box::new(Cursor::new(content)),
        };
        let header = read_header(file, kind, &mut bytes)?;
        Ok(Self {
            file: file.to_string(),
            header,
            row: 0,
            bytes,
        })
    }

    /// The bytes of the next `rows` rows, fewer only at the end.
    pub(crate) fn read(&mut self, rows: usize) -> Result<Vec<u8>> {
        let rows = rows.min(self.header.rows - self.row);
        let mut values = vec![0; rows * self.header.row_bytes()];
        if let Err(error) = self.bytes.read_exact(&mut values) {
            return match error.kind() {
                ErrorKind::UnexpectedEof => exec_err!(
                    "{} is truncated: its header promises {} rows of {} bytes, and it ends \
                     after row {} or soon after; fetch it again",
                    self.file,
                    self.header.rows,
                    self.header.row_bytes(),
                    self.row
                ),
                _ => exec_err!("cannot unpack {}: {error}; fetch it again", self.file),
            };
        }
        self.row += rows;
        Ok(values)
    }

    /// Checks, after the last row, that the file ends there.
    pub(crate) fn finish(mut self) -> Result<()> {
        match self.bytes.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => exec_err!(
                "{} goes on after the {} rows that its header promises; it is not the file \
                 it seems to be",
                self.file,
                self.header.rows
            ),
            Err(error) => {
                exec_err!("cannot unpack {}: {error}; fetch it again", self.file)
            }
        }
    }
}

fn read_header(file: &str, kind: Kind, bytes: &mut dyn Read) -> Result<Header> {
    let mut number = || {
        let mut number = [0; 4];
        bytes
            .read_exact(&mut number)
            .map(|()| u32::from_be_bytes(number))
            .map_err(|error| {
                plan_datafusion_err!(
                    "{file} is not an IDX file, its header cannot be read: {error}"
                )
            })
    };
    let magic = number()?;
    let wrong = |found: &str| {
        let expected = if kind == Kind::Images {
            "images"
        } else {
            "labels"
        };
        plan_datafusion_err!(
            "{file} does not hold IDX {expected} but {found}; call \
             read_idx('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz')"
        )
    };
    match (kind, magic) {
        (Kind::Images, IMAGES) | (Kind::Labels, LABELS) => {}
        (_, IMAGES) => return Err(wrong("images")),
        (_, LABELS) => return Err(wrong("labels")),
        _ => return Err(wrong(&format!("something that begins with {magic:#010x}"))),
    }
    let rows = number()? as usize;
    let header = match kind {
        Kind::Images => {
            let (height, width) = (number()?, number()?);
            Header {
                rows,
                width,
                height,
                length: 16,
            }
        }
        Kind::Labels => Header {
            rows,
            width: 1,
            height: 1,
            length: 8,
        },
    };
    // An image must fit into a value, and its bytes must be countable.
    let fits = u64::from(header.width) * u64::from(header.height) <= i32::MAX as u64;
    if !fits || (kind == Kind::Images && header.row_bytes() == 0) {
        return Err(wrong(&format!(
            "images of {} x {} pixels",
            header.width, header.height
        )));
    }
    Ok(header)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    pub(crate) fn images(rows: u32, height: u32, width: u32) -> Vec<u8> {
        let mut file = IMAGES.to_be_bytes().to_vec();
        for number in [rows, height, width] {
            file.extend(number.to_be_bytes());
        }
        file.extend((0..rows * height * width).map(|value| value as u8));
        file
    }

    pub(crate) fn labels(labels: &[u8]) -> Vec<u8> {
        let mut file = LABELS.to_be_bytes().to_vec();
        file.extend((labels.len() as u32).to_be_bytes());
        file.extend(labels);
        file
    }

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(kind: Kind, file: Vec<u8>, step: usize) -> Result<Vec<u8>> {
        let mut reader = Reader::open("x.gz", kind, file.into())?;
        let mut values = Vec::new();
        while reader.row < reader.header.rows {
            values.extend(reader.read(step)?);
        }
        reader.finish()?;
        Ok(values)
    }

    #[track_caller]
    fn fails(kind: Kind, file: Vec<u8>, expected: &str) {
        let error = read(kind, file, 2).unwrap_err().strip_backtrace();
        assert!(
            error.contains("x.gz") && error.contains(expected),
            "{error}"
        );
    }

    #[test]
    fn packed_or_not_the_values_are_the_same() {
        let expected: Vec<u8> = (0..3 * 2 * 4).collect();
        assert_eq!(read(Kind::Images, images(3, 2, 4), 2).unwrap(), expected);
        assert_eq!(
            read(Kind::Images, gzip(&images(3, 2, 4)), 2).unwrap(),
            expected
        );
        assert_eq!(
            read(Kind::Labels, gzip(&labels(&[7, 8, 9])), 2).unwrap(),
            [7, 8, 9]
        );
    }

    #[test]
    fn height_comes_before_width() {
        let header = header("x", Kind::Images, &images(3, 2, 4).into()).unwrap();
        assert_eq!(
            header,
            Header {
                rows: 3,
                width: 4,
                height: 2,
                length: 16
            }
        );
        assert_eq!(header.file_bytes(), 16 + 24);
    }

    #[test]
    fn a_truncated_file_is_named() {
        let mut file = images(3, 2, 4);
        file.truncate(30);
        fails(Kind::Images, file, "promises 3 rows of 8 bytes");
        let mut packed = gzip(&images(300, 20, 4));
        packed.truncate(packed.len() / 2);
        fails(Kind::Images, packed, "truncated");
        fails(Kind::Labels, vec![0, 0], "is not an IDX file");
    }

    #[test]
    fn the_wrong_kind_shows_the_call() {
        fails(
            Kind::Images,
            labels(&[1]),
            "does not hold IDX images but labels",
        );
        fails(
            Kind::Labels,
            images(1, 1, 1),
            "does not hold IDX labels but images",
        );
        fails(Kind::Images, b"\x89PNG....".to_vec(), "0x89504e47");
    }

    #[test]
    fn more_bytes_than_promised_are_an_error() {
        let mut file = labels(&[1, 2]);
        file.push(3);
        fails(Kind::Labels, file, "goes on after the 2 rows");
    }

    #[test]
    fn a_corrupt_archive_is_named() {
        let mut packed = gzip(&images(300, 20, 4));
        let middle = packed.len() / 2;
        packed[middle] ^= 0xff;
        let error = read(Kind::Images, packed, 2).unwrap_err().strip_backtrace();
        assert!(error.contains("x.gz"), "{error}");
    }

    #[test]
    fn impossible_dimensions_are_refused() {
        fails(Kind::Images, images(0, 0, 5), "images of 5 x 0 pixels");
        let mut file = images(0, 1, 1);
        file[8..16].fill(0xff);
        fails(
            Kind::Images,
            file,
            "images of 4294967295 x 4294967295 pixels",
        );
    }
}
